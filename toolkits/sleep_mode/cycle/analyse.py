"""Bars in, one verified `MarketAnalysis` out: pure computation, no network and no store."""

from __future__ import annotations

import hashlib
import math
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from ....core.errors import TooFewBars, VerificationFailed
from ....core.giving_way import give_way
from ....core.market import Quote
from ....core.security import SecurityReport
from ....core.settings import Settings
from ...khala.freshness import rules_of
from ...khala.records import MarketAnalysis, Provenance, core_figures
from ...market_data.protocol import Bars
from .report import plain_report

if TYPE_CHECKING:
    import pandas as pd

# A quote this many times above or below the last close is another token's price or another unit, not a move.
MAX_QUOTE_RATIO = 5.0


def build_analysis(
    bars: Bars,
    *,
    quote: Quote | None,
    security: SecurityReport | None,
    security_absent: str = "not_checked",
    settings: Settings,
    now: datetime,
) -> MarketAnalysis:
    """Compute every figure, the signal, its triggers and the plain report for the last closed bar of `bars`.

    `quote` is the price seen now, if any: live figures and the freshness band stand on it. `security_absent` says why
    there is no security report: no_provider, not_checked, failed.

    Raises:
        TooFewBars: there is no closed bar with a price.
        VerificationFailed: the result contradicts itself; nothing of it may be published.
    """
    import numpy as np

    from ...market_data.calendar import next_bar_close
    from ...market_data.indicators import compute_indicators, live_figures
    from ...market_data.signals import decide_signal, triggers

    frame = bars.frame
    closed = np.flatnonzero(frame["close"].notna().to_numpy())
    if not len(closed):
        raise TooFewBars(f"{bars.token.symbol} has no closed {bars.interval} bar.", hint="Try a longer history.")
    bar_close = bars.closes_at(int(closed[-1]))
    price = float(frame["close"].iloc[closed[-1]])
    thresholds = {"oversold": settings.rsi_oversold, "overbought": settings.rsi_overbought}

    give_way()
    figures = compute_indicators(frame, interval=bars.interval, extra=settings.extra_indicators, kind=bars.token.kind)
    give_way()
    signal = decide_signal(figures, price=price, **thresholds)
    crossings = triggers(figures, frame, reference_price=price, **thresholds)
    if quote is not None:
        figures = figures | live_figures(frame, quote.price, interval=bars.interval)

    give_way()
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
        security=security,
        security_absent=security_absent,
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
        ),
    )
    verify_analysis(analysis, now=now)
    return analysis.model_copy(update={"report": plain_report(analysis)})


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
    import numpy as np

    digest = hashlib.sha256(frame.index.as_unit("ns").asi8.astype("<i8").tobytes())  # type: ignore[attr-defined]
    columns = frame[["open", "high", "low", "close", "volume"]].to_numpy(dtype="<f8")
    digest.update(np.nan_to_num(columns, nan=-1.0).tobytes())
    return digest.hexdigest()[:16]


@cache
def code_version() -> str:
    """Version of the installed package, for provenance."""
    try:
        return version("deeptrader")
    except PackageNotFoundError:
        return "unknown"
