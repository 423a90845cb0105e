"""The rules that turn tagged words into the slots of a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from ....core.token import Interval, Token
from .slots import KINDS, Extreme, Horizon, Quantity, QuestionKind
from .wording import NUMBER, TOKEN_WORD, Found

_SINGLE: dict[str, str] = {
    "oversold": "state.oversold",
    "overbought": "state.overbought",
    "up": "state.uptrend",
    "down": "state.downtrend",
    "buy": "entry",
    "sell": "exit",
    "hold": "exit.hold",
    "risk": "risk",
    "volatility": "risk.volatility",
    "calm": "risk.volatility",
    "stop": "risk.stop",
    "safety": "safety",
    "similar": "history",
}
_MARKET_WIDE: dict[str, str] = {
    "buy": "best_buy",
    "sell": "best_sell",
    "oversold": "oversold",
    "overbought": "overbought",
    "breakout": "breakout",
    "volatility": "most_volatile",
    "calm": "least_volatile",
    "change": "changed",
    "up": "gainers",
    "down": "losers",
    "gainers": "gainers",
    "losers": "losers",
    "performance": "gainers",
    "rsi": "rsi",
    "volume": "volume",
}
_OPPOSITE = {"most_volatile": "least_volatile", "gainers": "losers"}
_WEAK = ("state", "trend")
# What a topic takes in when both are named: "is it safe to buy" asks about safety, "at what price to buy" about entry.
_ABSORBS: dict[str, tuple[str, ...]] = {
    "rank": ("compare", "performance"),
    "similar": ("change", "compare", "performance", "price"),
    "safety": ("buy", "risk"),
    "stop": ("risk", "price", "sell"),
    "buy": ("price",),
    "sell": ("price",),
    "oversold": ("rsi",),
    "overbought": ("rsi",),
    "breakout": ("bands", "up"),
    "change": ("up", "down", "price", "performance", "gainers", "losers"),
}
_BARE = frozenset(
    {"and", "now", "please", "pls", "again", "today", "currently", "so", "ok", "about", "on", "for", "the"}
)
"""What may stand beside a token in a question without any topic ("and eth now?"): it asks for its state."""
_MOVES = frozenset({"up", "down", "change", "breakout", "performance"})
_ORDERS = frozenset({"buy", "sell", "dump", "short", "exit", "enter", "unload", "offload", "purchase"})
_TELLING = frozenset({"tell", "say", "answer", "show", "give", "report", "check", "look", "buy", "sell"})
ORDER, DECLINED = "order", "no answer wanted"
"""Speech acts that no wording explains away."""
_SPAN = frozenset({"gainers", "losers", "change", "performance", "up", "down", "price"})
_SCALE = {"k": 1e3, "m": 1e6, "b": 1e9}
_BEFORE_DIRECTION = frozenset(
    {"is", "are", "been", "be", "still", "now", "currently", "far", "much", "and", "or", "it"}
)


class Reading:
    """The rules that turn tagged words into slots."""

    def __init__(self, found: list[Found], tokens: tuple[Token, ...], words: list[str]) -> None:
        self.topics: list[str] = list(
            dict.fromkeys(v for (family, v), at, _ in found if family == "topic" or _is_direction(family, words, at))
        )
        self.marks = {value for (family, value), _, _ in found if family == "mark"}
        self.obstacles: list[str] = [value for (family, value), _, _ in found if family == "obstacle"]
        self.quantities = _quantities(found, words, self.topics)
        self.count = len(tokens)
        self.bare = all(word[0] == TOKEN_WORD or word in _BARE for word in words)
        self.extreme: Extreme | None = self._extreme()
        self.interval: Interval | None = "1h" if "hourly" in self.marks else "1d" if "daily" in self.marks else None
        self.horizon: Horizon | None = next((h for h in ("cycle", "day", "week", "month") if h in self.marks), None)
        self.secure = False
        self.kind: QuestionKind = "other"
        self.topic = ""
        self.template: str | None = None
        if "similar" in self.topics:  # "when did it look like this before" asks for the past, and for nothing else
            self.obstacles = [o for o in self.obstacles if o not in ("past", "conditional")]
        if "half" in self.marks:
            self.obstacles.append("quantity")
        if self.interval == "1h" and "daily" in self.marks:
            self.obstacles.append("interval")
        self._reduce()
        if self.count == 0:
            self._read_market()
        else:
            self._read_tokens()
        if self.horizon is not None and self.kind not in ("change", "scenario"):
            self.obstacles.append("horizon")
        if self.topic in ("buy", "sell", "hold") and "how much" in " ".join(words):
            self.obstacles.append("quantity")  # "how much ETH should we buy" asks for an amount
        if self.topic in _MOVES and ("modal" in self.marks or "should" in words):
            self.obstacles.append("future")

    def _extreme(self) -> Extreme | None:
        if {"least", "worse"} & self.marks:
            return "least"
        return "most" if {"most", "better"} & self.marks else None

    def _reduce(self) -> None:
        topics = self.topics
        if "than" in self.marks and "compare" not in topics:
            topics.append("compare")
        if "close" in self.marks:  # one closes a position; a day closes at a price
            topics.append("sell" if "position" in self.marks else "price")
        elif "position" in self.marks and self.count and not topics:
            topics.append("hold")
        if "compare" in topics and self.count < 2 and (self.horizon or {"rank", "similar"} & set(topics)):
            topics.remove("compare")
        if self.count and {"gainers", "losers"} & set(topics) and "change" not in topics:
            topics.append("change")  # of one token it is asked how far it moved
        if "trend" in topics and {"up", "down"} & set(topics):
            topics.remove("trend")
        if "buy" in topics and "sell" in topics and self.count == 1:
            self.topics = topics = [t for t in topics if t not in ("buy", "sell", "compare")] + ["state"]
        if self.horizon in ("day", "week", "month") and set(topics) - {"state"} <= _SPAN and "change" not in topics:
            topics.append("change")
        for topic in list(topics):
            for absorbed in _ABSORBS.get(topic, ()):
                if absorbed in topics and topic in topics:
                    topics.remove(absorbed)
        if len(topics) > 1:
            self.topics = topics = [t for t in topics if t not in _WEAK] or topics[:1]

    def _read_market(self) -> None:
        """A question that names no token: a search of the market, or one that forgot to say which token."""
        topics = [t for t in self.topics if t != "state"]
        asks_market = bool({"market", "tokens", "most", "least", "better"} & self.marks) or "rank" in topics
        rest = [t for t in topics if t not in ("rank", "compare")]
        if "safety" in rest and len(rest) > 1:
            self.secure = True
            rest.remove("safety")
        if len(rest) > 1:
            self.obstacles.append("mixed")
        if not rest:
            return
        self.topic = rest[0]
        name = _MARKET_WIDE.get(self.topic)
        if name is None or not (asks_market or self.topic in ("breakout", "change")):
            self.kind = kind_of(_SINGLE.get(self.topic, "state"))
            self.obstacles.append("no token")
            return
        self.kind = "scenario"
        if self.extreme == "least":
            name = _OPPOSITE.get(name, f"{name}.least")
        if self.horizon is not None and (self.topic, self.horizon) != ("change", "cycle"):
            name = f"{name}.{self.horizon}"
        if self.secure and name not in ("best_buy",):  # the buy rule asks for clean security anyway
            name = f"{name}_safe"
        self.template = f"scenario.{name}"

    def _read_tokens(self) -> None:
        topics = self.topics
        if "compare" in topics or ("rank" not in topics and self.count > 1 and {"better", "worse"} & self.marks):
            self._read_comparison([t for t in topics if t != "compare"])
            return
        if "rank" in topics:
            rest = [t for t in topics if t != "rank"]
            self.kind, self.topic = "ranking", rest[0] if rest else ""
            self.template = ".".join(["ranking", *rest])
            return
        if len(topics) > 1:
            self.obstacles.append("mixed")
        if "tokens" in self.marks:
            self.obstacles.append("a token and a search")
        if self.count > 1:
            self.obstacles.append("several tokens")
        if not topics:
            if self.bare:
                self.kind, self.template = "state", "state"
            return
        self.topic = topics[0]
        if self.topic == "change":
            self.kind, self.template = "change", f"change.{self.horizon or 'day'}"
            return
        if self.topic == "state":
            self.kind, self.topic, self.template = "state", "", "state"
            return
        if {"most", "least"} & self.marks and self.topic not in ("buy", "sell", "stop", "price"):
            self.kind, self.template = "ranking", f"ranking.{self.topic}"
            return
        self.template = _SINGLE.get(self.topic, f"state.{self.topic}")
        self.kind = kind_of(self.template)

    def _read_comparison(self, rest: list[str]) -> None:
        self.kind = "comparison"
        rest = [t for t in rest if t not in _WEAK]
        if self.count < 2:
            self.obstacles.append("compared with something unknown")
        if len(rest) > 1:
            self.obstacles.append("mixed")
        self.topic = rest[0] if rest else ""
        self.template = f"comparison.{self.topic}" if self.topic else "comparison"
        if self.extreme == "least":
            self.template += ".least"


def speech_act(words: Sequence[str], text: str) -> str | None:
    """What makes the sentence something else than a question about a token or a search of the market, if anything.

    "Please buy SOL" wants a deed ("sell BTC?" and "sell BTC or not" want an answer), "do not tell me how BTC is" wants
    none, "is the market oversold" is about no token.
    """
    said = [word for word in words if word not in ("please", "pls", "now", "ok", "okay", "hey", "just")]
    ordered = said[:1] and said[0] in _ORDERS and (said[1:2] or [""])[0][:1] == TOKEN_WORD
    if ordered and "?" not in text and not {"or", "y"} & set(said):
        return ORDER
    if said[:2] in (["do", "not"], ["don", "not"], ["not"]) and said[2:3] and said[2] in _TELLING:
        return DECLINED
    if said[:2] == ["never", "mind"] or said[:4] == ["i", "am", "not", "asking"]:
        return DECLINED
    if said[:1] and said[0] in ("is", "are") and "market" in said[1:4] and TOKEN_WORD not in "".join(said):
        return "another matter"
    return None


def _is_direction(family: str, words: Sequence[str], position: int) -> bool:
    """True for the "up" of "is it up" and "down 5 %", not for that of "catch me up" and "hunt down"."""
    before = words[position - 1] if position else ""
    return family == "particle" and (not before or before[0] == TOKEN_WORD or before in _BEFORE_DIRECTION)


def kind_of(template: str) -> QuestionKind:
    """The kind of question that a template answers."""
    head = template.split(".", 1)[0]
    return cast(QuestionKind, head) if head in KINDS else "other"


def _quantities(found: list[Found], words: list[str], topics: list[str]) -> list[Quantity]:
    """Numbers outside any phrase, each with the comparison before it and the topic it is about."""
    taken = {at for _, start, end in found for at in range(start, end)}
    compared = {at: value for (family, value), at, _ in found if family == "mark" and value in ("below", "above")}
    quantities: list[Quantity] = []
    for position, word in enumerate(words):
        match = None if position in taken else NUMBER.match(word.lstrip("$"))
        if match is None:
            continue
        number, suffix = float(match[1].replace(",", "")), match[2] or ""
        following = words[position + 1] if position + 1 < len(words) else ""
        before = words[position - 1] if position else ""
        unit = "%" if suffix in ("%", "pct", "percent") or following in ("%", "percent", "pct") else ""
        unit = "$" if word.startswith("$") or before == "$" or following in ("dollars", "usd") else unit
        near = next((v for p, v in sorted(compared.items(), reverse=True) if p < position <= p + 4), "")
        op: Literal["<", ">", "="] = "="
        if near == "below" or "<" in words[max(0, position - 2) : position]:
            op = "<"
        elif near == "above" or ">" in words[max(0, position - 2) : position]:
            op = ">"
        about = next((t for t in topics if t not in _WEAK), "")
        quantities.append(Quantity(op, number * _SCALE.get(suffix, 1.0), unit, about))
    return quantities
