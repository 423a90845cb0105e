"""How long an analysis made now would stay true: the other half of what a refresh is worth.

The price is taken for a random walk between two barriers: the nearer of the freshness band and the nearest threshold
on either side. At log distances a below and b above, with variance s per hour, it stays a*b/s hours on average; with
the band alone (a = b = theta) that is theta^2/sigma^2, so mu = sigma^2/theta^2. Prices are looked at every few minutes
only, and a walk that is not watched in between crosses as if each barrier were 0.5826 standard deviations of one step
further away (Broadie, Glasserman and Kou 1997); until the next look an answer is served whatever happens. A new bar or
the end of a security report ends the life at a known moment, and jumps that no volatility foretells add a constant
hazard.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from ....core.settings import Settings
from ....core.token import Interval, TokenKind
from ...khala.freshness import closed_since
from ...khala.records import MarketAnalysis, Recall
from ...market_data import calendar

BARS_PER_HOUR: dict[TokenKind, dict[Interval, float]] = {
    "crypto": {"1d": 1 / 24, "1h": 1.0},
    "equity": {"1d": 1 / 6.5, "1h": 7 / 6.5},
}
"""Bars per hour of trading: a session of 6.5 hours is one daily bar, or seven hourly ones."""

RANGE_PER_SIGMA = math.sqrt(8 / math.pi)
"""Mean high-low range of a random walk, in standard deviations of its end: 1.6."""

JUMP_PER_HOUR = 0.01
"""Hazard of a jump (news, a changed security finding) that volatility does not show: once in four days."""

SHOCK_BANDS = 3.0
"""A price this many freshness bands away from its analysis may be a shock: 1.5 ATR with the usual band."""
SHOCK_SIGMAS = 4.0
"""It is one if it also moved this many standard deviations of the time that has passed."""

UNWATCHED = 0.5826
"""-zeta(1/2)/sqrt(2 pi), see above."""

UNKNOWN_VARIANCE_PER_HOUR = 0.04**2 / 24
"""For a token that was never analysed: 4 percent a day, a lively coin."""
UNKNOWN_BAND = 0.025


@dataclass(frozen=True)
class Lifetime:
    """Expected life in hours, and `mu`, its inverse. `deadline_hours` is when it ends at the latest."""

    hours: float
    deadline_hours: float

    @property
    def mu(self) -> float:
        """Invalidations per hour."""
        return 1 / self.hours


def lifetime(
    kind: TokenKind,
    interval: Interval,
    *,
    analysis: MarketAnalysis | None,
    price: float | None,
    settings: Settings,
    now: datetime,
    look_hours: float | None = None,
) -> Lifetime:
    """How long an analysis of this token, made at `now` and at `price`, can be expected to stay fresh.

    `analysis` is the last one known, fresh or not: its volatility, ATR and thresholds describe the token. Without one
    a lively coin is assumed. `look_hours` is the time between two looks at prices, by default that between two cycles.
    """
    look = max(look_hours if look_hours is not None else settings.sleep_every_seconds / 3_600, 1e-3)
    deadline = _deadline(kind, interval, analysis, settings, now)
    hazard = JUMP_PER_HOUR
    if not (kind == "equity" and closed_since(kind, now, now)):
        hazard += _exit_rate(kind, interval, analysis, price, settings, look)
    # Alive for sure until the next look; then it has to survive each further one, up to the deadline.
    hours = -math.expm1(-hazard * deadline) * look / -math.expm1(-hazard * look)
    return Lifetime(hours=min(max(hours, min(look, deadline)), deadline), deadline_hours=deadline)


def is_shock(recall: Recall, settings: Settings, now: datetime) -> bool:
    """Whether the price has run away: many bands, and far more than this token's volatility explains by now.

    The second condition tells a shock from an old analysis that the market has slowly left behind.
    """
    analysis, observed = recall.analysis, recall.observed
    if analysis is None or observed is None or abs(bands_moved(recall, settings.price_band_atr)) < SHOCK_BANDS:
        return False
    price = analysis.reference_price
    variance = _variance_per_hour(analysis.token.kind, recall.interval, analysis, price, analysis.value("atr_14"))
    hours = max((now - analysis.computed_at).total_seconds(), settings.sleep_every_seconds) / 3_600
    return abs(math.log(observed.price / price)) > SHOCK_SIGMAS * math.sqrt(variance * hours)


def bands_moved(recall: Recall, band_atr: float) -> float:
    """How many freshness bands the last seen price is away from the price the analysis was made at, signed.

    0 when there is no analysis, no sighting or no ATR.
    """
    analysis, observed = recall.analysis, recall.observed
    atr = analysis.value("atr_14") if analysis else None
    if analysis is None or observed is None or not atr:
        return 0.0
    return (observed.price - analysis.reference_price) / (band_atr * atr)


def _deadline(
    kind: TokenKind, interval: Interval, analysis: MarketAnalysis | None, settings: Settings, now: datetime
) -> float:
    """Hours until the bar after the one that exists now has closed, its grace is over, or the security report ends."""
    grace = timedelta(minutes=settings.bar_grace_minutes)
    end = calendar.next_bar_close(kind, interval, now) + grace
    if analysis is not None and analysis.security is not None and analysis.security.expires_at > now:
        end = min(end, analysis.security.expires_at)
    return max((end - now).total_seconds() / 3_600, 1 / 60)


def _exit_rate(
    kind: TokenKind,
    interval: Interval,
    analysis: MarketAnalysis | None,
    price: float | None,
    settings: Settings,
    look: float,
) -> float:
    """Expected exits per hour through the nearest barriers, when looked at every `look` hours."""
    if analysis is None:
        return UNKNOWN_VARIANCE_PER_HOUR / UNKNOWN_BAND**2
    price = price or analysis.reference_price
    atr = analysis.value("atr_14")
    band = settings.price_band_atr * atr / price if atr else UNKNOWN_BAND
    below = above = band
    for trigger in analysis.triggers:
        distance = math.log(trigger.level / price)
        if distance > 0:
            above = min(above, distance)
        else:
            below = min(below, -distance)
    variance = _variance_per_hour(kind, interval, analysis, price, atr)
    further = UNWATCHED * math.sqrt(variance * look)
    return variance / ((below + further) * (above + further))


def _variance_per_hour(
    kind: TokenKind, interval: Interval, analysis: MarketAnalysis, price: float, atr: float | None
) -> float:
    """The larger of what closes and what ranges say, so that a calm month cannot hide a wild week, nor vice versa."""
    bars_per_hour = BARS_PER_HOUR[kind][interval]
    bars_per_year = bars_per_hour * (365 * 24 if kind == "crypto" else 252 * 6.5)
    volatility = analysis.value("volatility_30")
    estimates = []
    if volatility is not None:
        estimates.append(volatility**2 / bars_per_year * bars_per_hour)
    if atr is not None:
        estimates.append((atr / price / RANGE_PER_SIGMA) ** 2 * bars_per_hour)
    return max(estimates, default=UNKNOWN_VARIANCE_PER_HOUR)
