"""Comparisons, rankings and screens: tokens ordered by any figure of the catalogue, within conditions, winner first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import ge, gt, le, lt
from typing import Literal

from ...core.errors import InvalidInput
from ...core.formats import threshold_text
from ...core.security import Verdict
from ...core.settings import Settings
from ...core.token import TokenKind
from ..khala.records import MarketAnalysis, Recall
from ..market_data.figures import OWN_SPECS, SPECS, figure_label, figure_spec, figure_text
from ..token_security.policy import may_recommend
from .statements import Statement, fact_name

Order = Literal["lowest", "highest"]
Side = Literal["above", "below", "at least", "at most"]
Passing = Literal["passes", "safe", "caution", "danger", "unknown"]

SHOWN = 5
MOST = 50
COMPARED = ("rsi_14", "return_1", "return_week", "return_month", "volatility_30", "distance_high_52w")
"""Figures that tokens are compared by when the question names none."""
_HOLDS = {"above": gt, "below": lt, "at least": ge, "at most": le}
RANKED = tuple(name for name, spec in SPECS.items() if spec.unit != "price")
"""Figures by which tokens can be ordered: a price in USD says nothing about which token has more of anything."""


@dataclass(frozen=True, slots=True)
class Limit:
    """On which side of a value a figure is to lie; a percentage is a fraction: 0.05 is 5 %. No value: on which side of
    the figure, a price, the close is to lie."""

    figure: str
    side: Side
    value: float | None

    def holds(self, value: float, close: float = 0.0) -> bool:
        """True for a value of the figure (and a close, where that is compared with it) on that side."""
        value, limit = (close, value) if self.value is None else (value, self.value)
        return _HOLDS[self.side](value, limit)

    @property
    def text(self) -> str:
        """`below 30`, `at least 5 %`, `above EMA(50)`."""
        if self.value is None:
            return f"{self.side} {figure_label(self.figure)}"
        spec = figure_spec(self.figure)
        percent = spec is not None and spec.form in ("percent", "signed_percent")
        return f"{self.side} {threshold_text(self.value, percent=percent)}"


@dataclass(frozen=True, slots=True)
class Screen:
    """Which tokens, in what order.

    `figure` orders them, `below` and `above` are its limits (a fraction for percentages: 0.05 is 5 %), `also` are
    further ones, of any figure. `verdict` "passes" keeps what the security settings let through and "safe" what was
    checked and found safe; another verdict keeps exactly that. "not safe", like "not buy" as a signal, keeps all
    others. `kind` is the kind of token looked at; `symbols` narrows it to tokens that were named, and empty means every
    fresh token.
    """

    figure: str = "rsi_14"
    order: Order = "lowest"
    below: float | None = None
    above: float | None = None
    verdict: Passing | Literal["not safe", "not danger"] | None = None
    signal: Literal["buy", "sell", "hold", "not buy", "not sell"] | None = None
    kind: TokenKind | None = None
    limit: int = SHOWN
    symbols: tuple[str, ...] = ()
    also: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        if self.figure not in (known := (*RANKED, *OWN_SPECS)):
            raise InvalidInput(f"Tokens cannot be ordered by {self.figure!r}.", hint=f"Use one of {', '.join(known)}.")
        if self.order not in ("lowest", "highest"):
            raise InvalidInput(f"There is no order {self.order!r}.", hint="Use lowest or highest.")
        if not 1 <= self.limit <= MOST:
            raise InvalidInput(f"A screen shows 1 to {MOST} tokens, not {self.limit}.")

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Every limit, those of the figure that orders first."""
        own: tuple[tuple[Side, float | None], ...] = (("above", self.above), ("below", self.below))
        return (*(Limit(self.figure, side, value) for side, value in own if value is not None), *self.also)

    @property
    def conditional(self) -> bool:
        """True when a token may fail to belong."""
        return bool(self.limits) or self.verdict is not None or self.signal is not None


@dataclass(frozen=True, slots=True)
class ScreenResult:
    """`rows` belong, in order; `considered` fresh tokens had the figure; `left_out` were not fresh or lacked it."""

    screen: Screen
    rows: tuple[MarketAnalysis, ...]
    matched: int
    considered: int
    left_out: tuple[str, ...]
    nearest: MarketAnalysis | None
    as_of: datetime


def run_screen(screen: Screen, recalls: Iterable[Recall], settings: Settings, now: datetime) -> ScreenResult:
    """Order the tokens that may be served now and keep those that meet every condition.

    Args:
        recalls: what memory holds, fresh or not; what may not be served is left out and named.
        settings: which security verdicts pass.
        now: the moment of reading (UTC).
    """
    known: list[MarketAnalysis] = []
    left_out: list[str] = []
    for recall in recalls:
        analysis = recall.analysis
        if screen.symbols and recall.symbol not in screen.symbols:
            continue
        if screen.kind is not None and (analysis is None or analysis.token.kind != screen.kind):
            continue
        if analysis is None or not recall.servable or analysis.value(screen.figure) is None:
            left_out.append(recall.symbol)
        else:
            known.append(analysis)
    sign = 1 if screen.order == "lowest" else -1
    known.sort(key=lambda a: (sign * (a.value(screen.figure) or 0.0), a.token.symbol))
    members = [a for a in known if belongs(a, screen, settings)]
    unlimited = replace(screen, below=None, above=None)
    nearest = None if members or screen.also else next((a for a in known if belongs(a, unlimited, settings)), None)
    return ScreenResult(screen, tuple(members[: screen.limit]), len(members), len(known), tuple(left_out), nearest, now)


def belongs(analysis: MarketAnalysis, screen: Screen, settings: Settings) -> bool:
    """True when a token meets every condition of a screen."""
    for limit in screen.limits:
        value = analysis.value(limit.figure)
        if value is None or not limit.holds(value, analysis.price):
            return False
    wanted, action = screen.signal, analysis.signal.action
    if wanted is not None and (action == wanted[4:] if wanted.startswith("not ") else action != wanted):
        return False
    return screen.verdict is None or _verdict_fits(analysis, screen.verdict, settings)


def _verdict_of(analysis: MarketAnalysis) -> Verdict | Literal["not checked"]:
    return analysis.security.verdict if analysis.security is not None else "not checked"


def _verdict_fits(analysis: MarketAnalysis, wanted: str, settings: Settings) -> bool:
    verdict = _verdict_of(analysis)
    if wanted.startswith("not "):
        return verdict != wanted[4:]
    if wanted == "passes":
        return may_recommend(analysis.security, settings).allowed
    return verdict == wanted or (wanted == "unknown" and verdict == "not checked")


def screen_statement(result: ScreenResult, settings: Settings) -> Statement:
    """One sentence: how many of how many belong, and who, the winner first."""
    screen, figure = result.screen, result.screen.figure
    named = result.rows or ((result.nearest,) if result.nearest else ())
    values = {fact_name(a, figure): value for a in named if (value := a.value(figure)) is not None}
    told = [_told(a, figure, settings) for a in named]
    what = {"crypto": "coin", "equity": "stock"}.get(screen.kind or "", "token")
    of = f"{result.considered} fresh {what}{'s' * (result.considered != 1)}"
    if screen.symbols:  # those that were named are named again
        left = [symbol for symbol in screen.symbols if symbol not in result.left_out]
        several = f"the {len(left)} tokens" if len(left) > 1 else "those named that are fresh"
        of = several if result.rows else ", ".join(left)
    if not result.considered:
        text = f"Memory holds no fresh {what} with {figure_label(figure)}."
    elif not named:
        condition = screen_label(screen, settings, False) if screen.conditional else f"has {figure_label(figure)}"
        text = f"None of {of} {condition}."
    elif not screen.conditional:
        first, *others = told
        symbol, value = first.split(" ", 1)
        text = f"{symbol} has the {screen.order} {figure_label(figure)} of {of}, {value}"
        text += f"; then {', '.join(others)}." if others else "."
    elif result.rows:
        more = f" ({len(result.rows)} shown, {screen.order} first)" * (result.matched > len(result.rows))
        text = (
            f"{result.matched} of {of} {screen_label(screen, settings, result.matched != 1)}{more}: {', '.join(told)}."
        )
    else:
        text = f"None of {of} {screen_label(screen, settings, False)}; the nearest is {told[0]}."
    return Statement("screen", "", text, values, "neutral", 1.0, result.as_of)


def screen_label(screen: Screen, settings: Settings, plural: bool = True) -> str:
    """A screen's conditions in words: "are oversold (RSI(14) below 30) and have a security verdict of safe"."""
    are, have, passes = ("are", "have", "pass") if plural else ("is", "has", "passes")
    parts = []
    for name in dict.fromkeys(limit.figure for limit in screen.limits):
        own = [limit for limit in screen.limits if limit.figure == name]
        what = "a close" if own[0].value is None else figure_label(name)
        condition = f"{what} {' and '.join(limit.text for limit in own)}"
        word = _zone_word(own[0], settings) if len(own) == 1 else ""
        parts.append(f"{are} {word} ({condition})" if word else f"{have} {condition}")
    if screen.signal is not None:
        no = "no" if screen.signal.startswith("not ") else "a"
        parts.append(f"{are} {no} {screen.signal.removeprefix('not ')} by the mean reversion rule")
    if screen.verdict is not None:
        no = "no" if screen.verdict.startswith("not ") else "a"
        wanted = f"{have} {no} security verdict of {screen.verdict.removeprefix('not ')}"
        parts.append(f"{passes} the security settings" if screen.verdict == "passes" else wanted)
    return " and ".join(parts)


def _zone_word(limit: Limit, settings: Settings) -> str:
    """What it is called to lie on that side of RSI(14), where the limit is a threshold of the settings."""
    low, high = settings.rsi_oversold, settings.rsi_overbought
    words: dict[tuple[str, str, float | None], str] = {
        ("rsi_14", "below", low): "oversold",
        ("rsi_14", "at least", low): "not oversold",
        ("rsi_14", "above", high): "overbought",
        ("rsi_14", "at most", high): "not overbought",
    }
    return words.get((limit.figure, limit.side, limit.value), "")


def comparison_statements(recalls: Sequence[Recall], settings: Settings, now: datetime) -> tuple[Statement, ...]:
    """Named tokens ordered by the figures that matter when the question names none, each with the winner first."""
    symbols = tuple(recall.symbol for recall in recalls)
    made = []
    for name in COMPARED:
        order: Order = "highest" if name.startswith("return") else "lowest"
        screen = Screen(name, order, symbols=symbols, limit=max(1, min(len(symbols), MOST)))
        result = run_screen(screen, recalls, settings, now)
        if len(result.rows) > 1:
            made.append(screen_statement(result, settings))
    return tuple(made)


def _told(analysis: MarketAnalysis, figure: str, settings: Settings) -> str:
    value = analysis.value(figure)
    text = f"{analysis.token.symbol} {figure_text(figure, value)}" if value is not None else analysis.token.symbol
    passes = may_recommend(analysis.security, settings).allowed
    return text if passes else f"{text} (security: {_verdict_of(analysis).replace('_', ' ')})"
