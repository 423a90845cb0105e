"""Text in which every number is a fact: figures enter a sentence through here, and leave their source behind.

A `Composer` writes a value the way people read it and remembers which record it came from, so that an answer can list
its sources and a checker can compare text and facts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ....core.market import Quote, Trigger
from ....core.security import SecurityReport
from ....core.settings import Settings
from ...khala.records import MarketAnalysis
from .facts import PRICE, QUOTE, SECURITY, Fact

LABELS: dict[str, str] = {
    "rsi_14": "RSI(14)",
    "bb_lower_20_2": "lower Bollinger band",
    "bb_middle_20_2": "middle Bollinger band",
    "bb_upper_20_2": "upper Bollinger band",
    "bb_percent_b_20_2": "%B",
    "bb_bandwidth_20_2": "bandwidth",
    "macd_12_26_9": "MACD(12, 26, 9)",
    "macd_signal_12_26_9": "MACD signal",
    "macd_histogram_12_26_9": "MACD(12, 26, 9) histogram",
    "atr_14": "ATR(14)",
    "adx_14": "ADX(14)",
    "ema_20": "EMA(20)",
    "ema_50": "EMA(50)",
    "ema_200": "EMA(200)",
    "volatility_30": "realised volatility a year",
    "return_1": "return over 1 bar",
    "return_7": "return over 7 bars",
    "return_30": "return over 30 bars",
    "distance_high_52w": "distance from the 52-week high",
    "distance_low_52w": "distance from the 52-week low",
    "volume_ratio_20": "volume against its 20-bar mean",
    "rsi_14_live": "live RSI(14)",
    "bb_percent_b_live": "live %B",
}
SIGNED = frozenset({"return_1", "return_7", "return_30", "distance_high_52w", "distance_low_52w"})
SHARES = SIGNED | {"volatility_30"}
"""Ratios that people read in percent. The others (%B, the volume ratio) are read as they are."""


@dataclass(frozen=True, slots=True)
class Cited:
    """One fact a text rests on. `value` in the unit given; a ratio that is read in percent has unit "share"."""

    id: str
    label: str
    value: float
    unit: str
    as_of: datetime
    definition: str = ""
    symbol: str = ""
    source: str = ""

    def as_dict(self) -> dict[str, Any]:
        """What a document keeps of it."""
        return {
            "label": self.label,
            "value": self.value,
            "unit": self.unit,
            "as_of": self.as_of.isoformat(),
            "definition": self.definition,
            "symbol": self.symbol,
            "source": self.source,
        }

    @classmethod
    def of_dict(cls, identity: str, body: dict[str, Any]) -> Cited:
        """The fact a document kept."""
        return cls(id=identity, **{**body, "as_of": datetime.fromisoformat(body["as_of"])})


class Absent(Exception):
    """A figure that a sentence needs does not exist; whoever composes says so instead. Never leaves this package."""

    def __init__(self, symbol: str, name: str, reason: str) -> None:
        super().__init__(f"{LABELS.get(name, name)} of {symbol} is absent ({reason.replace('_', ' ')})")


class Composer:
    """Writes values and keeps the facts behind them, in order of first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._facts: dict[str, Cited] = {}

    @property
    def facts(self) -> tuple[Cited, ...]:
        return tuple(self._facts.values())

    def figure(self, analysis: MarketAnalysis, name: str) -> str:
        """A figure's value as text, without its label.

        Raises:
            Absent: the analysis holds no value for it.
        """
        value = self.value(analysis, name)
        figure = analysis.all_figures[name]
        unit = "share" if name in SHARES else figure.unit
        at = analysis.bar_close if not figure.forming or analysis.quote is None else analysis.quote.as_of
        self._keep(analysis, name, LABELS.get(name, name), value, unit, at, figure.definition)
        return show(value, unit, signed=name in SIGNED or name.startswith("macd"))

    def labelled(self, analysis: MarketAnalysis, name: str) -> str:
        """`RSI(14) 54.2`, or `RSI(14) absent (gap)`."""
        try:
            return f"{LABELS.get(name, name)} {self.figure(analysis, name)}"
        except Absent:
            figure = analysis.figure(name)
            reason = (figure.absent if figure else None) or "no data"
            return f"{LABELS.get(name, name)} absent ({reason.replace('_', ' ')})"

    @staticmethod
    def value(analysis: MarketAnalysis, name: str) -> float:
        """A figure's value, for comparing.

        Raises:
            Absent: the analysis holds none.
        """
        figure = analysis.figure(name)
        if figure is None or figure.value is None:
            raise Absent(analysis.token.symbol, name, (figure.absent if figure else None) or "no data")
        return figure.value

    def close(self, analysis: MarketAnalysis) -> str:
        """The close of the analysis's bar."""
        self._keep(
            analysis, PRICE, "close", analysis.price, "price", analysis.bar_close, "close of the last closed bar"
        )
        return f"{show(analysis.price, 'price')} USD"

    def seen(self, analysis: MarketAnalysis, quote: Quote) -> str:
        """A price somebody saw, with when."""
        self._keep(analysis, QUOTE, "price seen", quote.price, "price", quote.as_of, "last price seen")
        return f"{show(quote.price, 'price')} USD at {when(quote.as_of)}"

    def level(self, analysis: MarketAnalysis, trigger: Trigger) -> str:
        """The price of a trigger."""
        name = f"trigger_{trigger.side}_{_slug(trigger.meaning)}"
        self._keep(analysis, name, trigger.meaning, trigger.level, "price", analysis.bar_close, trigger.meaning)
        return f"{show(trigger.level, 'price')} USD"

    def score(self, analysis: MarketAnalysis, report: SecurityReport) -> str:
        """The security score, if there is one."""
        if report.score is None:
            return ""
        rule = report.score_rule or "security score, 0 worst to 100 best"
        self._keep(analysis, SECURITY, "security score", report.score, "index", report.checked_at, rule)
        return f"{report.score:.0f} of 100"

    def derived(
        self,
        analysis: MarketAnalysis,
        name: str,
        label: str,
        value: float,
        unit: str,
        definition: str,
        *,
        signed: bool = False,
    ) -> str:
        """A number worked out here from facts, with the rule by which it was."""
        self._keep(analysis, name, label, value, unit, analysis.bar_close, definition)
        text = show(value, unit, signed=signed)
        return f"{text} USD" if unit == "price" else text

    def threshold(self, name: str, value: float) -> str:
        """A limit from the settings: `oversold`, `overbought`, `position`."""
        identity = f"settings:{name}"
        self._facts.setdefault(identity, Cited(identity, name, value, "threshold", _EPOCH, f"setting {name}"))
        return f"{value:g}"

    def count(self, name: str, value: int, as_of: datetime, definition: str) -> str:
        """How many of something; `name` tells counts of one answer apart."""
        identity = f"count:{name}"
        self._facts[identity] = Cited(identity, name, value, "count", as_of, definition)
        return f"{value:,}"

    def statistic(
        self, symbol: str, name: str, label: str, value: float, unit: str, as_of: datetime, definition: str
    ) -> str:
        """A number about past situations."""
        identity = f"{symbol}:similar:{name}@{as_of:%Y-%m-%dT%H:%MZ}"
        self._facts.setdefault(identity, Cited(identity, label, value, unit, as_of, definition, symbol))
        return show(value, unit, signed=unit == "share" and not name.startswith("up_"))

    def _keep(
        self, analysis: MarketAnalysis, name: str, label: str, value: float, unit: str, at: datetime, definition: str
    ) -> None:
        symbol = analysis.token.symbol
        identity = str(Fact(symbol, analysis.interval, name, at))
        if identity not in self._facts:
            self._facts[identity] = Cited(
                identity, label, value, unit, at, definition, symbol, analysis.provenance.provider
            )


def show(value: float, unit: str, *, signed: bool = False) -> str:
    """A value as people read it: prices with the digits that matter, shares in percent, indices with one decimal."""
    if unit == "price":
        return _price(value, signed=signed)
    if unit in ("share", "percent"):
        percent = 100 * value if unit == "share" else value
        digits = 1 if abs(percent) < 100 else 0
        return f"{_not_minus_zero(percent, digits):{'+' if signed else ''},.{digits}f} %"
    if unit == "fraction":
        return f"{100 * value:.0f} %"
    if unit == "count":
        return f"{value:,.0f}"
    if unit == "index":
        return f"{_not_minus_zero(value, 1):.1f}"
    return f"{_not_minus_zero(value, 2):{'+' if signed else ''}.2f}"


def when(moment: datetime) -> str:
    """`2026-03-02 00:00 UTC`."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def bar(analysis: MarketAnalysis) -> str:
    """Which bar an analysis rests on, in words."""
    return f"the {'hourly' if analysis.interval == '1h' else 'daily'} bar closed {when(analysis.bar_close)}"


def sentence(parts: Iterable[str], *, end: str = ".") -> str:
    """Parts joined by commas, the first letter large; empty without parts."""
    text = ", ".join(part for part in parts if part)
    return text[:1].upper() + text[1:] + end if text else ""


def _price(value: float, *, signed: bool) -> str:
    sign = "+" if signed else ""
    size = abs(value)
    if size >= 1:
        return f"{value:{sign},.2f}"
    if size == 0:
        return "0.00"
    places = max(4, 3 - int(f"{size:e}".split("e")[1]))  # four digits that matter, however small the price
    return f"{value:{sign}.{places}f}"


def _not_minus_zero(value: float, digits: int) -> float:
    rounded = round(value, digits)
    return 0.0 if rounded == 0 else rounded


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text.lower())[:40].strip("_")


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
