"""Bars in, verified analyses out, many together: pure computation, no network and no store."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import DeepTraderError, TooFewBars, VerificationFailed, typed
from ...core.giving_way import give_way
from ...core.market import Quote
from ...core.security import SecurityReport
from ...core.settings import Settings
from ..khala.freshness import rules_of
from ..khala.records import MarketAnalysis, Provenance, core_figures
from ..market_data.calendar import next_bar_close
from ..market_data.indicators import Latest, compute_latest, live_of
from ..market_data.panel import in_order
from ..market_data.protocol import Bars
from ..market_data.signals import decide_signal, levels_of
from .briefs import report_text

if TYPE_CHECKING:
    import pandas as pd

MAX_QUOTE_RATIO = 5.0
"""A quote this many times above or below the last close is another token's price or another unit, not a move."""


@dataclass(frozen=True)
class Material:
    """What one analysis is made of. `quote` is the price seen now, if any: live figures and the freshness band stand
    on it. `security_absent` says why there is no security report: no_provider, not_checked, failed."""

    bars: Bars
    quote: Quote | None = None
    security: SecurityReport | None = None
    security_absent: str = "not_checked"


def build_analyses(
    many: Sequence[Material], *, settings: Settings, now: datetime
) -> list[MarketAnalysis | DeepTraderError]:
    """Every figure, the signal, its triggers and the report for the last closed bar of each, in their order; in place
    of an analysis the error that kept it from being made. Figures of one interval are computed together."""
    found: dict[int, MarketAnalysis | DeepTraderError] = {}
    for interval in dict.fromkeys(material.bars.interval for material in many):
        places = [place for place, material in enumerate(many) if material.bars.interval == interval]
        try:
            figures = compute_latest(
                [many[place].bars.frame for place in places],
                interval=many[places[0]].bars.interval,
                extra=settings.extra_indicators,
                kinds=[many[place].bars.token.kind for place in places],
            )
        except Exception as error:  # noqa: BLE001 - one frame that is no bars fails the whole call: each by itself
            if len(places) > 1:
                for place in places:
                    found[place] = build_analyses([many[place]], settings=settings, now=now)[0]
            else:
                found[places[0]] = typed(error, f"The analysis of {many[places[0]].bars.token}")
            continue
        for place, own in zip(places, figures, strict=True):
            give_way()
            try:
                found[place] = _analysis(many[place], own, settings, now)
            except Exception as error:  # noqa: BLE001 - typed and logged, and one token's alone
                found[place] = typed(error, f"The analysis of {many[place].bars.token}")
    return [found[place] for place in range(len(many))]


def _analysis(material: Material, latest: Latest, settings: Settings, now: datetime) -> MarketAnalysis:
    bars, quote, figures = material.bars, material.quote, dict(latest.figures)
    frame = bars.frame
    closed = np.flatnonzero(frame["close"].notna().to_numpy())
    if not len(closed):
        raise TooFewBars(f"{bars.token.symbol} has no closed {bars.interval} bar.", hint="Try a longer history.")
    bar_close = bars.closes_at(int(closed[-1]))
    price = float(frame["close"].iloc[closed[-1]])
    thresholds = {"oversold": settings.rsi_oversold, "overbought": settings.rsi_overbought}
    signal = decide_signal(figures, price=price, **thresholds)
    crossings = levels_of(latest, seen=quote.price if quote else None, **thresholds)
    if quote is not None:
        figures |= live_of(latest, quote.price)
    rsi, bollinger, further = core_figures(figures)
    analysis = MarketAnalysis(
        token=bars.token,
        interval=bars.interval,
        bar_close=bar_close,
        fetched_at=bars.fetched_at,
        computed_at=now,
        next_bar_due=next_bar_close(bars.token.kind, bars.interval, bar_close),
        price=price,
        quote=quote,
        rsi=rsi,
        bollinger=bollinger,
        figures=further,
        signal=signal,
        triggers=crossings,
        security=material.security,
        security_absent=material.security_absent,
        rules=rules_of(settings),
        provenance=Provenance(
            provider=bars.provider,
            source=bars.source,
            simulated=bars.simulated,
            inputs_hash=inputs_hash(frame),
            code_version=code_version(),
            bars=len(frame),
            first_bar=bars.closes_at(0),
            gaps=bars.gaps,
            settled=bars.settled,
            revised=bars.revised,
            adjusted=bars.adjusted,
        ),
    )
    verify_analysis(analysis, now=now)
    return analysis.model_copy(update={"report": report_text(analysis, settings)})


def verify_analysis(analysis: MarketAnalysis, *, now: datetime) -> None:
    """Refuse an analysis that contradicts itself or the calendar.

    Raises:
        VerificationFailed: names the first contradiction.
    """
    symbol = analysis.token.symbol
    if analysis.bar_close > now:
        raise VerificationFailed(f"{symbol}: its last bar closes at {analysis.bar_close}, after {now}.")
    rsi = analysis.value("rsi_14")
    if rsi is not None and not 0 <= rsi <= 100:
        raise VerificationFailed(f"{symbol}: RSI(14) {rsi} is outside 0 to 100.")
    band = [analysis.value(f"bb_{part}_20_2") for part in ("lower", "middle", "upper")]
    if None not in band and not band[0] <= band[1] <= band[2]:  # type: ignore[operator]
        raise VerificationFailed(f"{symbol}: Bollinger bands out of order {band}.")
    if any(f.value is not None and not math.isfinite(f.value) for f in analysis.all_figures.values()):
        raise VerificationFailed(f"{symbol}: a figure is not a finite number.")
    if analysis.quote is not None:
        ratio = analysis.quote.price / analysis.price
        if not 1 / MAX_QUOTE_RATIO <= ratio <= MAX_QUOTE_RATIO:
            raise VerificationFailed(
                f"{symbol}: quoted at {analysis.quote.price} but last closed at {analysis.price}.",
                hint="The symbol may belong to another token, or a split is not in the bars yet.",
            )


def inputs_hash(frame: pd.DataFrame) -> str:
    """SHA-256 (16 hex digits) over bar times and values: equal inputs, equal hash, on every machine."""
    digest = hashlib.sha256(frame.index.as_unit("ns").asi8.astype("<i8").tobytes())  # type: ignore[attr-defined]
    columns = in_order(frame).to_numpy(dtype="<f8")
    digest.update(np.nan_to_num(columns, nan=-1.0).tobytes())
    return digest.hexdigest()[:16]


@cache
def code_version() -> str:
    """Version of the installed package, for provenance."""
    try:
        return version("deeptrader")
    except PackageNotFoundError:
        return "unknown"
