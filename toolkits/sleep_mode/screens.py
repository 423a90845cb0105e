"""Comparisons, rankings and screens: tokens ordered by any figure of the catalogue, within conditions, winner first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
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
Passing = Literal["passes", "safe", "caution", "danger", "unknown"]

SHOWN = 5
MOST = 50
COMPARED = ("rsi_14", "return_1", "return_7", "return_30", "volatility_30", "distance_high_52w")
"""Figures that tokens are compared by when the question names none."""
RANKED = tuple(name for name, spec in SPECS.items() if spec.unit != "price")
"""Figures by which tokens can be ordered: a price in USD says nothing about which token has more of anything."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Which tokens, in what order.

    `figure` orders them, `below` and `above` are its limits (a fraction for percentages: 0.05 is 5 %). `verdict`
    "passes" keeps what the security settings let through and "safe" what was checked and found safe; another verdict
    keeps exactly that. `symbols` narrows it to tokens that were named; empty means every fresh token.
    """

    figure: str = "rsi_14"
    order: Order = "lowest"
    below: float | None = None
    above: float | None = None
    verdict: Passing | None = None
    signal: Literal["buy", "sell", "hold"] | None = None
    kind: TokenKind | None = None
    limit: int = SHOWN
    symbols: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.figure not in (known := (*RANKED, *OWN_SPECS)):
            raise InvalidInput(f"Tokens cannot be ordered by {self.figure!r}.", hint=f"Use one of {', '.join(known)}.")
        if self.order not in ("lowest", "highest"):
            raise InvalidInput(f"There is no order {self.order!r}.", hint="Use lowest or highest.")
        if not 1 <= self.limit <= MOST:
            raise InvalidInput(f"A screen shows 1 to {MOST} tokens, not {self.limit}.")

    @property
    def conditional(self) -> bool:
        """True when a token may fail to belong."""
        conditions = (self.below, self.above, self.verdict, self.signal, self.kind)
        return any(condition is not None for condition in conditions)


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
        if screen.symbols and recall.symbol not in screen.symbols:
            continue
        analysis = recall.analysis
        if analysis is None or not recall.servable or analysis.value(screen.figure) is None:
            left_out.append(recall.symbol)
        else:
            known.append(analysis)
    sign = 1 if screen.order == "lowest" else -1
    known.sort(key=lambda a: (sign * (a.value(screen.figure) or 0.0), a.token.symbol))
    members = [a for a in known if belongs(a, screen, settings)]
    unlimited = replace(screen, below=None, above=None)
    nearest = None if members else next((a for a in known if belongs(a, unlimited, settings)), None)
    return ScreenResult(screen, tuple(members[: screen.limit]), len(members), len(known), tuple(left_out), nearest, now)


def belongs(analysis: MarketAnalysis, screen: Screen, settings: Settings) -> bool:
    """True when a token meets every condition of a screen."""
    value = analysis.value(screen.figure)
    if value is None or (screen.kind is not None and analysis.token.kind != screen.kind):
        return False
    if (screen.below is not None and not value < screen.below) or (
        screen.above is not None and not value > screen.above
    ):
        return False
    if screen.signal is not None and analysis.signal.action != screen.signal:
        return False
    return screen.verdict is None or _verdict_fits(analysis, screen.verdict, settings)


def _verdict_of(analysis: MarketAnalysis) -> Verdict | Literal["not checked"]:
    return analysis.security.verdict if analysis.security is not None else "not checked"


def _verdict_fits(analysis: MarketAnalysis, wanted: Passing, settings: Settings) -> bool:
    verdict = _verdict_of(analysis)
    if wanted == "passes":
        return may_recommend(analysis.security, settings).allowed
    return verdict == wanted or (wanted == "unknown" and verdict == "not checked")


def screen_statement(result: ScreenResult, settings: Settings) -> Statement:
    """One sentence: how many of how many belong, and who, the winner first."""
    screen, figure = result.screen, result.screen.figure
    named = result.rows or ((result.nearest,) if result.nearest else ())
    values = {fact_name(a, figure): value for a in named if (value := a.value(figure)) is not None}
    told = [_told(a, figure, settings) for a in named]
    of = f"{result.considered} fresh token{'s' * (result.considered != 1)}"
    if screen.symbols:  # those that were named are named again
        left = [symbol for symbol in screen.symbols if symbol not in result.left_out]
        several = f"the {len(left)} tokens" if len(left) > 1 else "those named that are fresh"
        of = several if result.rows else ", ".join(left)
    if not named:
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
    limits = [
        f"{word} {_limit_text(screen.figure, limit)}"
        for limit, word in ((screen.above, "above"), (screen.below, "below"))
        if limit is not None
    ]
    parts = []
    if limits:
        condition = f"{figure_label(screen.figure)} {' and '.join(limits)}"
        named = {("below", settings.rsi_oversold): "oversold", ("above", settings.rsi_overbought): "overbought"}
        side = ("below", screen.below) if screen.above is None else ("above", screen.above)
        word = named.get(side) if screen.figure == "rsi_14" and len(limits) == 1 else None  # type: ignore[arg-type]
        parts.append(f"{are} {word} ({condition})" if word else f"{have} {condition}")
    if screen.signal is not None:
        parts.append(f"{are} a {screen.signal} by the mean reversion rule")
    if screen.verdict is not None:
        wanted = f"{have} a security verdict of {screen.verdict}"
        parts.append(f"{passes} the security settings" if screen.verdict == "passes" else wanted)
    if screen.kind is not None:
        parts.append(f"{are} {screen.kind}")
    return " and ".join(parts)


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


def _limit_text(figure: str, limit: float) -> str:
    spec = figure_spec(figure)
    percent = spec is not None and spec.form in ("percent", "signed_percent")
    return f"{threshold_text(round(100 * limit, 6))} %" if percent else threshold_text(limit)
