"""What no prepared answer can say, however sure both readers are of its kind.

A prepared answer speaks of the present, on daily bars, with our own settings, and says what is so, not what is not. A
word or two turn a question into another one ("oversold but not safe", "MACD 5,35,5", "by Friday"), and to a model over
words and letters they look like a courtesy. Each rule here is narrow, and is told as an obstacle.
"""

from __future__ import annotations

import re

(
    NEGATED,
    UNSAFE,
    SETTING,
    TIME,
    ALERT,
    EXPLAINED,
    OWN,
    PLACE,
    DISTANCE,
    SEVERAL,
    COMMON_WORD,
    OTHER_WAY,
    TOO_LATE,
    BACKWARDS,
    ENDED,
    OTHER_SENSE,
) = (
    "negation",
    "the unsafe ones",
    "another setting",
    "another time",
    "an alert",
    "how it is made",
    "the asker's own account",
    "not the first",
    "how far from it",
    "the same of several",
    "a word that only looks like a token",
    "the other way",
    "whether it is too late",
    "whether it is wrong",
    "whether it is over",
    "another sense of the word",
)

_SETTINGS: dict[str, frozenset[str]] = {
    "state.rsi": frozenset({"14"}),
    "state.macd": frozenset({"9", "12", "26"}),
    "state.bands": frozenset({"2", "20"}),
    "state.atr": frozenset({"14"}),
    "state.adx": frozenset({"14"}),
    "state.ema": frozenset({"10", "20", "50", "100", "200"}),
}
"""Numbers that may stand in a question about an indicator."""
_NUMBER_WORDS = {
    "two": "2",
    "three": "3",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
    "twelve": "12",
    "twenty": "20",
    "twenty-one": "21",
    "thirty": "30",
    "fifty": "50",
}

_HARMLESS_NEGATION = re.compile(
    r"not sure|n't sure|can'?t (?:decide|tell|remember|read|see|find|make)|don'?t know|do not know|no idea|or not|"
    r"or no\b|yes\W+no|yes\W+or\W+no|isn'?t (?:it|that so|that right|the word)|nothing (?:else|fancy|more|elaborate)|"
    r"not too|haven'?t|no (?:rush|hurry|bother|need|nonsense|fluff|jargon|frills|offen[cs]e|other|more than|guess|"
    r"long|big|matter|sugar)|n'?t mind|why not|if not|rather than|avoid chasing|nothing to do with|"
    r"not (?:now|financial|asking|in a|looking|seeing|following|long|much|only|a fan)|"
    r"n'?t (?:have|got) (?:time|the)|couldn'?t|didn'?t|wasn'?t|won'?t|doesn'?t matter|"
    r"(?:is|are|has|have|does|do|did|was|were|would|should|can|will)n'?t (?:it|they|we|i)\W*$"
)
_NEGATION = re.compile(
    r"\b(?:not|never|avoid(?:ing)?|isnt|arent|dont|doesnt|no|nothing|neither|nor|none|steer clear|excluding|except|"
    r"other than)\b|n't\b"
)
_NEGATION_IS_THE_QUESTION = frozenset({"safety", "comparison.safety", "scenario.least_volatile"})
"""Of these one asks in the negative: "it isn't a scam, is it", "which hardly moves"."""

_NOT_SAFE = re.compile(
    r"(?:n't|\b(?:not|nt|isnt|arent|without|neither|never|didnt|dont|fail to|failed to))(?:\W+\w+){0,2}?\W+"
    r"(?:safe\w*|clean\w*|pass\w*|secure|sound|trustworthy)\b"
)
_SAFE = re.compile(r"\b(?:safe\w*|clean\w*|pass\w*|secure|legit\w*|sound|trustworthy|clear\w*)\b")
_DANGER = re.compile(
    r"\b(?:scam\w*|rug\w*|honey ?pots?|sketchy|shady|dodg\w+|danger\w*|unsafe|insecure|poor|fail\w*|flunk\w*|risky|"
    r"suspicious|cons?|fraud\w*|fishy|(?:red )?flags?|flagged|issues?|problems?|warnings?|concerns?|malicious|bad|weak|"
    r"dirty|unclean|unverified)\b"
)
_FREE_OF = re.compile(
    r"\b(?:no|not|nt|without|free|zero|minus|exclud\w+|never|avoid|isnt|arent|dont|wont|aint|except|besides|none|nor|"
    r"sans|lack\w*|nothing|non|removed|dropped|(?:filter|screen|leav)\w* out|rather than|0)\b|n't\b|w/o"
)

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|march|april|june|july|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|"
    r"dec(?:ember)?|christmas|thanksgiving|easter|new year)"
)
_DATE = rf"(?:\d+(?:st|nd|rd|th)|(?:mon|tues|wednes|thurs|fri|satur|sun)day|{_MONTH}|(?:19|20)\d\d)"
_OTHER_TIME = re.compile(
    rf"\b(?:tomorrow|tmrw|tmr|tmw|next (?:day|week|month|quarter|year|hour|few)|ytd|year to date|this year|"
    rf"(?:this|last) quarter|a year ago|(?:on|by|since|in|until|till|before|of|last|next|after) (?:the )?{_DATE}|"
    r"(?:past|last|over|next|in) (?:the )?(?:few|two|three|four|five|six|eight|ten|twelve|(?!24 )\d+) "
    r"(?:hours?|minutes?|mins?|months?|quarters?|years?))\b"
)
_ALERT = re.compile(
    r"\b(?:tell|ping|alert|notify|warn|message|text|wake|let) me (?:know )?"
    r"(?:the moment|the minute|when|as soon as|once)\b"
)
_EXPLAINED = re.compile(
    r"\b(?:stands for|worked out|determined|calculated|computed|defined|definition|formula|derived|hedg\w+|"
    r"meaning of|how (?:can|do|could) (?:i|you|we|one) (?:reduce|lower|check|set|calculate|compute|measure|avoid))\b"
)
_OWN = re.compile(
    r"\bmy (?:own )?(?:\S+ )?(?:avg|average|entry|returns?|pnl|p&l|biggest|cost|basis|break ?even)\b",
)
_PLACE = re.compile(
    r"\b(?:2nd|second|third|3rd|runner.?up|next) (?:best|biggest|most|highest|lowest|largest|worst)\b|\bnumber two\b"
)
_DEFINITION = re.compile(r"^\W*what(?:'s| is| are|s)(?: a| an| the)? [\w-]+\W*$")
"""Names a thing and says nothing else of it; "what's oversold" is the exception, and about the market."""
_FAR = re.compile(r"\bfar (?:from|off|away)\b")
_HAS_A_DISTANCE = ("state.high_52w", "state.low_52w", "state.bands", "state.ema", "risk.stop")
_BOTH = re.compile(r"^\W*(?:should|shall|can|could|do|would|is it wise to|is it time to)\b[^?]*\band\b")
_CHOOSING = ("comparison.buy", "comparison.sell")
_CHOICE = re.compile(
    r"\b(?:or|vs\.?|versus|which|better|rather|between|prefer|pick|choose|compar\w+|than|against|over|instead|"
    r"of the two)\b"
)
_LINK_TO = re.compile(r"\blinks? to (?:the|your|a|an|my|this|that|some)\b")
_FELL = (
    r"f[ae]ll(?:en|s|ing)?|drop(?:s|ped|ping)?|s[iau]nk|sinking|slid(?:e|es|ing)?|tank(?:s|ed|ing)?|plung(?:e|es|ed|ing)|"
    r"plummet(?:s|ed|ing)?|crash(?:es|ed|ing)?|collaps(?:e|es|ed|ing)|crater(?:s|ed|ing)?|dump(?:s|ed|ing)?|"
    r"bl(?:ed|eeding)|declin(?:e|es|ed|ing)|(?:come|came|gone|went) down|sell-?off|sold off|tumbl(?:e|es|ed|ing)|beaten"
)
_ROSE = (
    r"r[io]se[ns]?|rising|rall(?:y|ies|ied|ying)|climb(?:s|ed|ing)?|surg(?:e|es|ed|ing)|pump(?:s|ed|ing)?|soar(?:s|ed|ing)?|"
    r"(?:run|ran|gone|went|shot|shoot) up|run-?up|moon(?:s|ed|ing)?|jump(?:s|ed|ing)?|spik(?:e|es|ed|ing)|ripped"
)
_WAYS: dict[str, tuple[re.Pattern[str], re.Pattern[str]]] = {
    "state.overbought": (re.compile(rf"\b(?:{_FELL})\b"), re.compile(rf"\b(?:over-?bought|ob|{_ROSE})\b")),
    "state.oversold": (re.compile(rf"\b(?:{_ROSE})\b"), re.compile(rf"\b(?:over-?sold|os|{_FELL})\b")),
}
"""What a question about the other zone says, and what shows that it is about this one all the same."""
_LATE = re.compile(
    r"\btoo (?:late|early|soon)\b|\bmiss(?:ed|ing)? (?:the|my|our|a|out)\b|\b(?:i|we|i've|we've) missed\b"
)
_WRONG = re.compile(
    r"\b(?:(?:bad|wrong|poor|terrible|awful|worst|lousy) "
    r"(?:time|moment|idea|entry|place|spot|price|level|point|move|call)|stupid|unwise|crazy|foolish|mistake|dumb|"
    r"mad to|silly|insane|reckless|nuts|steer clear|stay (?:away|out)|keep away|avoid\w*|afford)\b"
)
_OR = re.compile(r"\bor\b")
_ENDED = re.compile(
    r"\b(?:ended|finished|exhausted|broken|bottomed|topped out|reversed|over)\W*$|"
    r"\b(?:ended|finished|over (?:yet|now|already)|done with|coming to an end|run its course)\b"
)
_OTHER_SENSE = re.compile(r"\ban? (?:\w+ )?securit(?:y|ies)\W*$|\baudited\b")
"""A security in law, and an audit, of which no check of ours knows."""
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?=\D|$)")
_NUMBER_WORD = re.compile(rf"\b({'|'.join(_NUMBER_WORDS)})[ -](?:day|period|bar)")
_DAILY = re.compile(r"\b(?:1 ?d(?:ay)?|24 ?/ ?7|24 ?h\w*|24 hours?|one day)\b")


def veto(text: str, template: str) -> str | None:
    """Why the prepared answer of a template is not the answer to this text; None when nothing speaks against it."""
    text = text.lower().replace("\u2019", "'")
    if template.endswith("_safe"):
        if _NOT_SAFE.search(text) or (_DANGER.search(text) and not (_SAFE.search(text) or _FREE_OF.search(text))):
            return UNSAFE
    elif template not in _NEGATION_IS_THE_QUESTION and _NEGATION.search(_HARMLESS_NEGATION.sub(" ", text)):
        return NEGATED
    allowed = _SETTINGS.get(template)
    if allowed is not None and not _numbers(text) <= allowed:
        return SETTING
    if template != "history" and _OTHER_TIME.search(text):
        return TIME
    if _ALERT.search(text):
        return ALERT
    if _EXPLAINED.search(text) or (_DEFINITION.search(text) and not template.startswith("scenario")):
        return EXPLAINED
    if _OWN.search(text):
        return OWN
    if _PLACE.search(text):
        return PLACE
    if template not in _HAS_A_DISTANCE and _FAR.search(text):
        return DISTANCE
    if template in _WAYS and _WAYS[template][0].search(text) and not _WAYS[template][1].search(text):
        return OTHER_WAY
    if template.startswith(("entry", "exit")) and _LATE.search(text):
        return TOO_LATE  # asked so, a yes means the opposite
    if template.startswith(("entry", "exit")) and _WRONG.search(text) and not _OR.search(text):
        return BACKWARDS  # here too
    if template in ("state.uptrend", "state.downtrend") and _ENDED.search(text):
        return ENDED  # and here
    if template == "safety" and _OTHER_SENSE.search(text):
        return OTHER_SENSE
    if template in _CHOOSING and _BOTH.search(text) and not _CHOICE.search(text):
        return SEVERAL
    return COMMON_WORD if _LINK_TO.search(text) else None


def _numbers(text: str) -> set[str]:
    text = _DAILY.sub(" ", text)
    return {number.removesuffix(".0") for number in _NUMBER.findall(text)} | {
        _NUMBER_WORDS[word] for word in _NUMBER_WORD.findall(text)
    }
