"""Is this analysis still true? Decided when it is read, against what should exist by now.

Every reason is collected, in a fixed order, so that a reader sees all of them:

0. `not_yet`: its bar has not closed at the moment of reading, which lies before what memory knows (a replay of an
   earlier day, a clock set back). What came later must not answer. `from_future`: another of its times lies ahead of
   that moment. A sighting from the future vouches for nothing, a security finding from the future counts all the same.
1. `newer_bar`: a later bar has closed (plus grace). Until `next_bar_due` plus grace nothing newer can exist, so the
   usual case is one comparison; after it the market's calendar decides.
2. `price_moved`: the last seen price left the band of `price_band_atr` ATRs around the price it was made at.
3. `threshold_crossed`: the price seen since, also that of the analysis itself, passed a level that the bar's close had
   not passed, and the analysis does not say so; or it has come back from one that the analysis calls passed.
4. `price_unobserved`: nobody looked at the price for too long, so 2 and 3 can vouch for nothing. While an equity market
   is closed, a sighting at or after its last close is enough.
5. `security_changed`, `security_expired`: the newest finding is not the one embedded, or it ran out.
   `rules_changed`: it was made under other thresholds, further indicators or policy than today's.
6. `left_universe`: the token left the top of the market after this was made, so no cycle keeps it up any more. An
   analysis that somebody asked for later is judged like any other.
7. `ttl`: the last resort. It counts from the last time the same findings were computed again, since an unchanged
   market gives an unchanged analysis; `computed_at` is never moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...core.clock import CLOCK_SKEW
from ...core.formats import age_text, time_text
from ...core.market import Quote
from ...core.security import SecurityReport
from ...core.settings import Settings
from ...core.token import Interval, TokenKind
from ..market_data import calendar
from ..market_data.figures import OWN_SPECS, SPECS
from .records import Document, Freshness, MarketAnalysis, Recall, StaleReason

CURABLE = frozenset({"failed", "no_data"})
"""Reasons for an absent figure that another fetch may cure. A gap in the bars is not one: it leaves with time."""

BAND_WITHOUT_ATR = 0.02
"""A young token has no ATR yet; its price may move two percent, about half an ATR of a lively coin."""

RECHECK_CLOSED_MARKET = timedelta(minutes=1)
"""How long a judgement about a market with sessions may be kept, since it may open or close meanwhile."""


def rules_of(settings: Settings) -> str:
    """What an analysis is made under, beside the bars: RSI thresholds, further indicators, security policy."""
    own = "".join(f"; {name} {spec.definition}" for name, spec in sorted(OWN_SPECS.items()))
    return (
        f"RSI {settings.rsi_oversold:g}/{settings.rsi_overbought:g}"
        f"; extra {', '.join(settings.extra_indicators) or 'none'}"
        f"; security {', '.join(sorted(settings.security_allowed_verdicts))}{own}"
    )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known beside the analysis itself."""

    observed: Quote | None = None
    security: SecurityReport | None = None
    left_universe_at: datetime | None = None
    verified_at: datetime | None = None
    closure: datetime | None = None
    """Close of the newest session of the calendar that did not take place."""


def last_seen(analysis: MarketAnalysis, observed: Quote | None, now: datetime | None = None) -> Quote | None:
    """The newest sighting of the price, an observation or the quote the analysis was made at; none from after `now`."""
    seen = [q for q in (analysis.quote, observed) if q is not None and (now is None or q.as_of <= now + CLOCK_SKEW)]
    return max(seen, key=lambda quote: quote.as_of, default=None)


def judge(analysis: MarketAnalysis, evidence: Evidence, now: datetime, settings: Settings) -> tuple[Recall, datetime]:
    """One analysis recalled at `now`, with every reason against it, and until when time alone changes nothing."""
    reasons: list[StaleReason] = []
    until = [now + timedelta(days=365)]

    def stale(code: str, detail: str) -> None:
        reasons.append(StaleReason(code=code, detail=detail))  # pyright: ignore[reportArgumentType]

    if analysis.bar_close > now:
        stale("not_yet", f"it rests on {_at(analysis)}, which has not closed at {time_text(now)}")
        until.append(analysis.bar_close)
    else:
        when, what = max(_moments(analysis, evidence.security))
        if when > now:
            stale("from_future", f"its {what} is dated {time_text(when)}, and it is {time_text(now)}")
            until.append(when)

    closure = evidence.closure if evidence.closure and evidence.closure <= now else None
    grace = timedelta(minutes=settings.bar_grace_minutes)
    due = analysis.next_bar_due + grace
    if now < due:
        until.append(due)
    else:
        expected = _newest_due(analysis.token.kind, analysis.interval, now - grace, closure)
        if expected > analysis.bar_close:
            stale("newer_bar", f"a bar closed at {time_text(expected)}, this rests on {_at(analysis)}")
        else:
            until.append(now + RECHECK_CLOSED_MARKET)

    observed = last_seen(analysis, evidence.observed, now)
    if observed is not None:
        _judge_price(analysis, observed.price, settings.price_band_atr, stale)
    until += [q.as_of - CLOCK_SKEW for q in (evidence.observed, analysis.quote) if q and q.as_of - CLOCK_SKEW > now]
    seen_at = observed.as_of if observed is not None else analysis.bar_close
    unobserved = seen_at + timedelta(minutes=settings.observation_max_age_minutes)
    if now <= unobserved:
        until.append(unobserved)
    elif not _closed_since(analysis.token.kind, seen_at, now, closure):
        stale("price_unobserved", f"the price was last seen {age_text(seen_at, now)} ago")
    if analysis.token.kind != "crypto":
        until.append(now + RECHECK_CLOSED_MARKET)

    _judge_security(analysis, evidence.security, now, stale, until)
    rules = rules_of(settings)
    if analysis.rules != rules:
        stale("rules_changed", f"it was made under {analysis.rules or 'unrecorded rules'}, today's: {rules}")
    left = evidence.left_universe_at
    if left is not None and analysis.computed_at < left:
        stale("left_universe", f"{analysis.token.symbol} left the universe on {left:%Y-%m-%d}")

    hours = settings.ttl_hours_hourly if analysis.interval == "1h" else settings.ttl_hours_daily
    verified = max(analysis.computed_at, min(evidence.verified_at or analysis.computed_at, now))
    ends = verified + timedelta(hours=hours)
    if now > ends:
        stale("ttl", f"computed {age_text(verified, now)} ago, kept for {hours:g} h at most")
    else:
        until.append(ends)

    missing, absent = _parts(analysis, evidence.security)
    recall = Recall(
        symbol=analysis.token.symbol,
        interval=analysis.interval,
        freshness=Freshness.STALE if reasons else Freshness.PARTIAL if missing else Freshness.FRESH,
        reasons=tuple(reasons),
        missing=missing,
        absent=absent,
        analysis=analysis,
        observed=observed,
        read_at=now,
    )
    return recall, min(until)


def _moments(analysis: MarketAnalysis, current: SecurityReport | None) -> Iterator[tuple[datetime, str]]:
    """When everything was found. Sightings and findings come from other clocks, which may run a little ahead."""
    yield analysis.fetched_at, "fetch"
    yield analysis.computed_at, "computation"
    if analysis.quote is not None:
        yield analysis.quote.as_of - CLOCK_SKEW, "quote"
    for report in (analysis.security, current):
        if report is not None:
            yield report.checked_at - CLOCK_SKEW, "security check"


def judge_document(
    document: Document, versions: Mapping[str, Recall | None], now: datetime
) -> tuple[Freshness, tuple[StaleReason, ...]]:
    """Freshness of a prepared text: its own end, and each analysis it rests on judged by what is known now.

    `versions` maps each id in `rests_on` to its recall, or None when that version was superseded by one from other
    bars, or is no longer kept. A newer version of the same bars (a new quote, say) kills nothing by itself.
    """
    reasons: list[StaleReason] = []
    if document.created_at > now + CLOCK_SKEW:
        reasons.append(StaleReason(code="not_yet", detail=f"it was written at {time_text(document.created_at)}"))
    if document.dies_at is not None and now >= document.dies_at:
        reasons.append(StaleReason(code="ttl", detail=f"it was good until {time_text(document.dies_at)}"))
    for analysis_id in document.rests_on:
        symbol = analysis_id.split(":", 1)[0]
        recall = versions.get(analysis_id)
        if recall is None:
            reasons.append(StaleReason(code="newer_bar", detail=f"{symbol}: what it rests on was superseded"))
        else:
            reasons += [StaleReason(code=r.code, detail=f"{symbol}: {r.detail}") for r in recall.reasons]
    return (Freshness.STALE if reasons else Freshness.FRESH), tuple(reasons)


def _judge_price(analysis: MarketAnalysis, price: float, band: float, stale) -> None:
    reference = analysis.reference_price
    moved = abs(price - reference)
    atr = analysis.value("atr_14")
    if atr is not None:
        if moved > band * atr:
            size = f"{moved / atr if atr else 0:.1f} ATR, the band is {band:g}"
            stale("price_moved", f"price {price:g} against {reference:g} then: {size}")
    elif moved > _band_without_atr(analysis) * reference:
        stale("price_moved", f"price {price:g} against {reference:g} then, and there is no ATR to measure it by")
    for trigger in analysis.triggers:
        if trigger.passed_by(price) != trigger.crossed and not trigger.passed_by(analysis.price):
            now = f"{'no longer ' if trigger.crossed else ''}{trigger.side}"
            stale("threshold_crossed", f"price {price:g} is {now} {trigger.level:g}: {trigger.meaning}")


def _band_without_atr(analysis: MarketAnalysis) -> float:
    """How far the price may go, as a fraction, when ATR is absent: not at all after flat prices, else a little."""
    atr = analysis.figure("atr_14")
    return 0.0 if atr is not None and atr.absent == "flat_prices" else BAND_WITHOUT_ATR


def _judge_security(
    analysis: MarketAnalysis, current: SecurityReport | None, now: datetime, stale, until: list[datetime]
) -> None:
    embedded = analysis.security
    newest = current or embedded
    if newest is None:
        return
    if current is not None and (embedded is None or current.report_hash != embedded.report_hash):
        before = embedded.verdict if embedded else "not checked"
        stale("security_changed", f"security was {before} then, is {current.verdict} now")
    if now >= newest.expires_at:
        stale("security_expired", f"the security check of {time_text(newest.checked_at)} ran out")
    else:
        until.append(newest.expires_at)


def _parts(analysis: MarketAnalysis, current: SecurityReport | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    missing: list[str] = []
    absent: list[str] = []
    figures = analysis.all_figures
    missing += [name for name in SPECS if name not in figures]
    for name, figure in figures.items():
        if figure.absent is not None:
            (missing if figure.absent in CURABLE and name in SPECS else absent).append(name)
    report = analysis.security or current
    if report is None:
        # An equity has no contract to check, and nobody to ask is nothing that a refresh would bring.
        if analysis.token.kind == "crypto" and analysis.security_absent != "no_provider":
            missing.append("security")
    elif report.verdict == "unknown" and not any(check.state in ("pass", "fail") for check in report.checks):
        missing.append("security")
    return tuple(missing), tuple(absent)


def _newest_due(kind: TokenKind, interval: Interval, moment: datetime, closure: datetime | None) -> datetime:
    """Close of the newest bar that should exist at a moment; a session that did not take place has none."""
    expected = calendar.expected_bar_close(kind, interval, moment)
    if kind == "crypto" or closure is None:
        return expected
    bell = calendar.bar_open(kind, "1d", closure)
    return calendar.expected_bar_close(kind, interval, bell) if bell < expected <= closure else expected


def _closed_since(kind: TokenKind, seen_at: datetime, now: datetime, closure: datetime | None) -> bool:
    """True when the market is closed at `now` and already was at `seen_at`: no newer price can exist."""
    if kind == "crypto":
        return False
    last_close = _newest_due(kind, "1d", now, closure)
    if seen_at < last_close:
        return False
    upcoming = calendar.next_bar_close(kind, "1d", max(last_close, closure or last_close))
    return now < calendar.bar_open(kind, "1d", upcoming)


def _at(analysis: MarketAnalysis) -> str:
    return f"the bar of {time_text(analysis.bar_close)}"
