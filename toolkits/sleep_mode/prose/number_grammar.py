"""How numbers, dates, definitions and directions are written in English: the patterns of the number check."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

NUMBER = re.compile(
    r"(?<![\w.,])(?P<sign>[+\-\u2212]?)(?P<dollar>\$?)(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?P<scale>\s?(?:thousand|million|billion|trillion|bn|[kKmMB])(?![\w]))?"
    r"(?P<percent>\s?(?:%|percent\b|per cent\b))?(?![\w%])(?![.,]\d)"
)
SCALES = {"k": 1e3, "thousand": 1e3, "m": 1e6, "million": 1e6, "b": 1e9, "bn": 1e9, "billion": 1e9, "trillion": 1e12}
DATE = re.compile(
    r"(?<![\w-])(\d{4})-(\d{2})-(\d{2})(?:[ T](?:at )?(\d{2}):(\d{2})(?::(\d{2}))?(?: ?(?:UTC|Z))?)?(?![\w-])"
)
TIME = re.compile(r"(?<![\w:])(\d{2}):(\d{2})(?: ?UTC)?(?![\w:])")
MONTHS: Sequence[str] = "January February March April May June July August September October November December".split()  # noqa: SIM905
LONG_DATE = re.compile(
    rf"(?<!\w)(?:(?P<d1>\d{{1,2}}) (?P<m1>{'|'.join(MONTHS)})|(?P<m2>{'|'.join(MONTHS)}) (?P<d2>\d{{1,2}}))"
    r"(?:,? (?P<y>\d{4}))?(?!\w)"
)
WEEKDAY = re.compile(r"(?i)\b((?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)\b")
TO_COME = re.compile(r"(?i)\b(?:next|until|till|due|expires?|valid|good|before)\b")
WORDS = re.compile(
    r"\b((?<!above )(?<!below )(?<!over )(?<!under )(?<!the )zero|nil|nought|naught|(?<!of the )two|three|four|five|"
    r"six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|"
    r"nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundreds?|thousands?|millions?|billions?|dozens?|"
    r"half|halved|halving|twice|thrice|doubl(?:e[ds]?|ing)|tripl(?:e[ds]?|ing)|quadrupled?|two[- ]thirds?|"
    r"an? (?:third|quarter|fifth|tenth)|(?:two|three|four|five|six|seven|eight|nine|ten|hundred|many)fold|"
    r"one[- ](?:third|quarter|percent|per cent)|three[- ]quarters?|one (?:per cent|percent|dollar|point)|"
    r"(?:single|double|triple)[- ]digits?|(?:few|several|some) (?:percent|per cent)|"
    r"(?:second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth) (?:straight|consecutive|successive|time|bar|day|"
    r"week|month|highest|lowest|largest|best|worst))\b",
    re.IGNORECASE,
)
INDICATORS = re.compile(
    r"RSI ?\(14\)|(?:Bollinger(?: [Bb]ands?)?|%B|bands?) ?\(20, ?2\)|MACD ?\(12, ?26, ?9\)|(?:2 |two )?ATR ?\(14\)|"
    r"ADX ?\(14\)|EMA ?\((?:20|50|200)\)|EMA (?:20|50|200)(?!\d)|RSI[- ]14(?!\d)|52[- ]week|"
    r"return over (?:1 bar|7 bars|30 bars)(?= absent| \([a-z])|20-bar mean(?= absent| \([a-z])"
)
"""Names with numbers in them: which indicator is meant, no value. They stand whatever the facts are."""
WINDOWS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        ("return_1", r"(?:over|after|in) (?:the last )?1(?: bar\b|(?=,))|1-bar return"),
        ("return_7", r"(?:over|after|in) (?:the last )?7(?: bars\b|(?=,))|7-bar return"),
        ("return_30", r"(?:over|after|in) (?:the last )?30 bars\b|30-bar return"),
        ("median_1", r"after (?:the next )?1 bar\b"),
        ("median_7", r"after (?:the next )?7 bars\b"),
        ("median_30", r"after (?:the next )?30 bars\b"),
        ("volatility_30", r"(?:over|of) (?:the last )?30 bars\b|30-bar (?:realised )?volatility"),
        ("volume_ratio_20", r"20-bar (?:mean|average)"),
        ("security", r"(?:of|out of) 100\b|/100\b"),
    )
)
"""Windows that a figure is defined by: they stand where that figure is among the facts."""
_NOT_ONE_OF_THEM = r"(?<!lower )(?<!middle )(?<!upper )(?<!lower Bollinger )(?<!middle Bollinger )(?<!upper Bollinger )"
NAMES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern), names)
    for pattern, names in (
        (r"\bRSI\b", ("rsi_",)),
        (r"\bMACD\b", ("macd_12_",)),
        (r"\bATR\b", ("atr_", "stop_")),
        (r"\bADX\b", ("adx_",)),
        (r"\bEMA ?\(?20\)?(?!\d)", ("ema_20",)),
        (r"\bEMA ?\(?50\)?(?!\d)", ("ema_50",)),
        (r"\bEMA ?\(?200\)?(?!\d)", ("ema_200",)),
        (r"%B", ("bb_percent_b_",)),
        (r"(?i)\bbandwidth\b", ("bb_bandwidth_20_2",)),
        (r"(?i)\blower (?:Bollinger )?band\b", ("bb_lower_",)),
        (r"(?i)\bmiddle (?:Bollinger )?band\b", ("bb_middle_",)),
        (r"(?i)\bupper (?:Bollinger )?band\b", ("bb_upper_",)),
        (rf"(?i){_NOT_ONE_OF_THEM}\b(?:Bollinger )?bands?\b", ("bb_", "trigger_")),
        (r"(?i)\bhistogram\b", ("macd_histogram_",)),
        (r"(?i)\bsignal line\b|\bMACD signal\b|\bits signal\b", ("macd_signal_",)),
        (r"(?i)\bstop\b", ("stop_",)),
        (r"(?i)(?<!daily )(?<!weekly )(?<!monthly )\bvolatility\b", ("volatility_",)),
        (r"(?i)\b(?:daily|weekly|monthly) volatility\b", ()),
        (r"(?i)\bvolume\b", ("volume_",)),
        (r"(?i)\bscore\b", ("security",)),
        (r"(?i)\breturn over 1 bar\b", ("return_1",)),
        (r"(?i)\breturn over 7 bars\b", ("return_7",)),
        (r"(?i)\breturn over 30 bars\b", ("return_30",)),
        (r"(?i)\b52-week high\b", ("distance_high_52w", "high_52w")),
        (r"(?i)\b52-week low\b", ("distance_low_52w", "low_52w")),
        (r"(?i)\b(?:support|resistance)\b", ("bb_", "ema_", "rsi_14__at_")),
    )
)
NAMES_AFTER: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern), names)
    for pattern, names in (
        (r"(?i)\b(?:52-week )?high\b", ("distance_high_52w",)),
        (r"(?i)\b(?:52-week )?low\b", ("distance_low_52w",)),
        (r"(?i)\b(?:out )?of 100\b|/100\b", ("security",)),
        (r"(?i)\bof the close\b", ("atr_14_share",)),
        (r"(?i)\bmean\b|\baverage\b", ("volume_ratio_20",)),
    )
)
"""Names that follow their number: "20 % below its 52-week high"."""
_WINDOW = re.compile(
    r"(?i)\b(?:over|in|after|on|for|during|within) (?:the |an? |one )?(?:(?:last|past) )?"
    r"(?:(?P<bars>1|7|30)(?: bars?\b|(?=,))|(?P<span>day|week|month)\b)|"
    r"\b(?P<every>daily|weekly|monthly) (?:return|gain|loss|change|move|rise|fall|drop|decline|advance)\b"
)
_SPANS = {"day": "1", "week": "7", "month": "30", "daily": "1", "weekly": "7", "monthly": "30"}
CLOSE = re.compile(
    r"(?i)(?<!\ba )(?<!\bany )(?<!of the )\b(?:closed?|price seen|last price|price (?:is|was|stands?|stood)|"
    r"(?:trad(?:es|ed|ing)|changes hands) (?:at|near))(?: (?:of|at|is|was|stands?|stood|near|around|now))*:? ?\$?$"
)
"""What says that the number after it is the price, and no level."""
LIMIT_WORDS = re.compile(
    r"(?i)\b(above|below|under|over|between|at|than|threshold|line|level|limit|reach(?:es)?|cross(?:es)?|would|hit|"
    r"short of|past|beyond)\b|[<>]"
)
DOWN = re.compile(
    r"(?i)\b(f[ae]ll(?:s|en|ing)?|down|lost|los(?:e|es|s|ses|ing)|drop(?:s|ped|ping)?|declin(?:e|es|ed|ing)|below|lower|under|"
    r"negative|minus|off|sl[iu]d(?:es?|ing)?|shed(?:s|ding)?|decreas(?:e[sd]?|ing)|weaker|retreat(?:s|ed|ing)?|"
    r"slip(?:s|ped|ping)?|dip(?:s|ped|ping)?|tumbl(?:e[sd]?|ing)|plung(?:e[sd]?|ing)|slump(?:s|ed|ing)?|s[aiu]nk(?:s|ing)?|"
    r"crash(?:es|ed|ing)?|plummet(?:s|ed|ing)?|eas(?:es|ed|ing)|g[ai]v(?:e|es|ing) (?:back|up)|surrendered|drawdown|"
    r"from (?:its|the) (?:\w+-week )?high)\b"
)
UP = re.compile(
    r"(?i)\b(r[io]se[sn]?|rising|up|gain(?:s|ed|ing)?|above|higher|add(?:s|ed|ing)|climb(?:s|ed|ing)?|positive|plus|"
    r"increas(?:e[sd]?|ing)|advanc(?:e[sd]?|ing)|rall(?:y|ies|ied|ying)|surg(?:e[sd]?|ing)|soar(?:s|ed|ing)?|"
    r"jump(?:s|ed|ing)?|recover(?:s|ed|ing|y)?|rebound(?:s|ed|ing)?|from (?:its|the) (?:\w+-week )?low)\b"
)
NEGATIVE_BEFORE = re.compile(r"(?i)\b(?:negative|minus)\b[^.,;]{0,20}$")
SAID_AFTER = re.compile(
    r"(?i)\s?(?:USD)?,? ?(?:(?:is|are|was|has|turned|turns|remains|stays|now|still|just) )*(?P<way>positive|negative)\b"
)
DASH_BEFORE = re.compile(r"(?:^|[\s(])[\u2010-\u2015\ufe63\uff0d-](?P<gap>\s?)$")
PLUS_MINUS = re.compile(r"(?:\u00b1|\+\s?/?\s?[-\u2212]|[-\u2212]\s?/?\s?\+)\s?$")
NO_UNIT = re.compile(
    r"(?i)[\s-]?(?:bps?|basis points?|percentage points?|pp|days?|hours?|weeks?|months?|years?|minutes?|EUR|euros?|GBP|"
    r"times (?:above|below|over|under|more|less|higher|lower)|pips?|cents?|coins?|tokens?|shares?|contracts?|fold)\b"
)
"""What no figure is measured in: a number with it is another number."""
LIMIT_REACH = 30
"""A threshold may stand where a word of comparison ("below", "at") comes at most this many characters before it."""

CLAUSE_END = re.compile(r"[.;](?=\s)|[,:]|\s(?:and|while|but|with)\s")
SENTENCE_END = re.compile(r"[.;!?](?:\s|$)|\n")
OF_A_HUNDRED = re.compile(r"(?: out)? of 100\b|/100\b")
COUNTED = re.compile(r" (?:more|tokens|of|past)\b")
BAND = re.compile(r"%B|(?i:\b(?:Bollinger|bands?)\b)")
LEVEL = re.compile(r"(?:trigger|ema|stop|bb_(?:lower|middle|upper))_")
PLACED = re.compile(
    r"(?i)\b(?:would|if|unless|until|once|when|watch|levels?|triggers?|bands?|thresholds?|stays?|leaves?)\b|"
    r"\b(?:above|below|over|under|past|than|between|exceed\w*|beneath)\b(?! \d+ bars?).{0,45}$"
)
"""What makes a level of a number that is no price anybody paid: a condition, a comparison, its being called one."""
PLACED_AFTER = re.compile(
    r"(?i)^(?: USD)?,?(?: on the| to the)? (?:would|above|below|upside|downside|is the|are the)\b"
)
FOR = re.compile(r"(?i)(?: USD| a year| over \d+ bars?)* (?:for|of|in) ")
"""What stands between a number and the token it is named for."""
PRICED = re.compile(r"(?i)\b(close[sd]?|price|trades?|traded|at|near)\b")
_TRIGGER = re.compile(r"^trigger_(?:above|below)_")


def window_of(text: str) -> tuple[str, int] | None:
    """How many bars the window has that a text names last ("7" for "over the week"), and where that ends."""
    found = list(_WINDOW.finditer(text))[-1:]
    return (_bars(found[0]), found[0].end()) if found else None


def window_after(rest: str) -> str | None:
    """How many bars a number is over, by the words right after it."""
    found = _WINDOW.match(rest.lstrip(" "))
    return _bars(found) if found else None


def _bars(match: re.Match[str]) -> str:
    return match["bars"] or _SPANS[(match["span"] or match["every"]).lower()]


def goes_by(known: Sequence[str], name: str) -> bool:
    """Whether a figure goes by one of these names; those that end in `_` are the beginning of one. The price at which a
    line is crossed goes by the line's name."""
    name = _TRIGGER.sub("", name)
    name = f"bb_{name}" if name.endswith("_bollinger_band") else name
    return any(name == one or (one.endswith("_") and name.startswith(one)) for one in known)


def direction(sentence: str, start: int, end: int) -> Literal["up", "down"] | None:
    """Which way the words nearest to a number point."""
    nearest: tuple[int, Literal["up", "down"]] | None = None
    ways: tuple[tuple[re.Pattern[str], Literal["up", "down"]], ...] = ((DOWN, "down"), (UP, "up"))
    for pattern, way in ways:
        for match in pattern.finditer(sentence):
            distance = start - match.end() if match.end() <= start else match.start() - end
            if 0 <= distance <= 40 and (nearest is None or distance < nearest[0]):
                nearest = (distance, way)
    return nearest[1] if nearest else None
