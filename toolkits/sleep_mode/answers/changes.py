"""What changed in the market since the last cycle: signals, zones, bands, security, moves, who came and who left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ....core.settings import Settings
from ...khala.records import MarketAnalysis, Recall
from .cite import Composer, when
from .material import Market
from .templates import Draft
from .verdicts import breaks_out

if TYPE_CHECKING:
    from ...khala import Khala
    from ...khala.journal import Journal

SHOWN = 12
_MIGRATIONS = (
    """
    CREATE TABLE anticipation_marks (
        symbol TEXT PRIMARY KEY, at REAL NOT NULL, body TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
)


@dataclass(frozen=True)
class Mark:
    """What one token looked like at the end of a cycle: all that a change is told from."""

    at: datetime
    signal: str
    zone: str
    band: str
    security: str
    price: float
    seen_at: datetime


class Marks:
    """Keeps one mark per token between cycles."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        journal.ensure("anticipation_marks", _MIGRATIONS)

    def read(self) -> dict[str, Mark]:
        """The marks of the last cycle by symbol; empty before the first."""
        with self._journal.read() as connection:
            rows = connection.execute("SELECT symbol, at, body FROM anticipation_marks").fetchall()
        return {symbol: _mark_of(at, json.loads(body)) for symbol, at, body in rows}

    def write(self, marks: Mapping[str, Mark]) -> None:
        """Replace the marks of the tokens given; those of others stay, for when they come back."""
        rows = [
            (symbol, mark.at.timestamp(), json.dumps({**vars(mark), "at": None, "seen_at": mark.seen_at.timestamp()}))
            for symbol, mark in marks.items()
        ]
        with self._journal.write(durable=False) as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO anticipation_marks (symbol, at, body) VALUES (?, ?, ?)", rows
            )


def mark(recall: Recall, analysis: MarketAnalysis, settings: Settings, now: datetime) -> Mark:
    """What this token looks like now."""
    quote = recall.observed or analysis.quote
    return Mark(
        at=now,
        signal=analysis.signal.action or "none",
        zone=_zone(analysis, settings),
        band=_band(analysis),
        security=analysis.security.verdict if analysis.security else "not checked",
        price=quote.price if quote else analysis.price,
        seen_at=quote.as_of if quote else analysis.bar_close,
    )


def draft_changes(market: Market, before: Mapping[str, Mark], khala: Khala, settings: Settings, c: Composer) -> Draft:
    """The answer to "what changed since the last cycle?"."""
    pairs = [(recall, recall.analysis) for recall in market.recalls if recall.analysis is not None]
    of = c.count("considered", len(pairs), market.as_of, "fresh tokens")
    since = max((mark.at for mark in before.values()), default=None)
    # A token that was not fresh in the last cycle has an older mark: what changed since then is no answer to this.
    known = [(r, a, then) for r, a in pairs if (then := before.get(a.token.symbol)) and then.at == since]
    if since is None:
        return Draft(
            f"This is the first cycle: there is nothing to compare with; as of {when(market.as_of)}, {of} tokens."
        )
    changed: list[tuple[int, str, MarketAnalysis]] = []
    for recall, analysis, then in known:
        line = _line(c, recall, analysis, then, settings)
        if line:
            changed.append((_weight(line), line, analysis))
    changed.sort(key=lambda item: (-item[0], item[2].token.symbol))
    moves = _universe(khala, since)
    span = f"since the last cycle ({when(since)}), as of {when(market.as_of)}"
    apart = len(pairs) - len(known)
    new = (
        f" {c.count('apart', apart, market.as_of, 'tokens the last cycle had not')} of them were not fresh then."
        if apart
        else ""
    )
    if not changed and not moves:
        direct = f"Nothing changed {span}: no signal, zone, band, security finding or price band of {of} tokens.{new}"
        return Draft(direct)
    count = c.count("changed", len(changed), market.as_of, "tokens with a change")
    shown = changed[:SHOWN]
    more = len(changed) - len(shown)
    lines = [line for _, line, _ in shown]
    if more:
        lines.append(f"And {c.count('more', more, market.as_of, 'further tokens with a change')} more.")
    direct = f"{count} of {of} tokens changed {span}.{new} {moves}".rstrip()
    return Draft(direct, "\n".join(lines), rests_on=tuple(a for _, _, a in shown))


def _line(c: Composer, recall: Recall, a: MarketAnalysis, then: Mark, settings: Settings) -> str:
    now = mark(recall, a, settings, then.at)
    parts = []
    if now.signal != then.signal:
        parts.append(f"signal {then.signal} then, {now.signal} now")
    if now.zone != then.zone:
        rsi = f" (RSI(14) {c.figure(a, 'rsi_14')})" if a.value("rsi_14") is not None else ""
        parts.append(f"{then.zone} then, {now.zone} now{rsi}")
    if now.band != then.band:
        parts.append(f"{then.band} then, {now.band} now")
    if now.security != then.security:
        parts.append(f"security {then.security.replace('_', ' ')} then, {now.security.replace('_', ' ')} now")
    atr = a.value("atr_14")
    if atr and abs(now.price - then.price) > settings.price_band_atr * atr:
        change = now.price / then.price - 1
        text = c.derived(
            a,
            "move_since_cycle",
            "price move since the last cycle",
            change,
            "share",
            "price seen now / price seen then - 1",
            signed=True,
        )
        seen = recall.observed or a.quote
        parts.append(f"price {text}" + (f" to {c.seen(a, seen)}" if seen else ""))
    return f"{a.token.symbol}: {'; '.join(parts)}." if parts else ""


def _weight(line: str) -> int:
    """What a reader wants first: signals, then security, then zones, then the rest."""
    return 3 * ("signal " in line) + 2 * ("security " in line) + ("RSI" in line)


def _universe(khala: Khala, since: datetime) -> str:
    events = khala.universe_events(since=since, limit=20)
    parts = []
    for event, word in (("entered", "Entered"), ("left", "Left")):
        symbols = [e.symbol for e in events if e.event == event and e.at > since]
        if symbols:
            parts.append(f"{word} the top of the market: {', '.join(symbols[:SHOWN])}.")
    return " ".join(parts)


def _zone(a: MarketAnalysis, settings: Settings) -> str:
    rsi = a.value("rsi_14")
    if rsi is None:
        return "no RSI"
    if rsi < settings.rsi_oversold:
        return "oversold"
    return "overbought" if rsi > settings.rsi_overbought else "neutral"


def _band(a: MarketAnalysis) -> str:
    if breaks_out(a):
        return "breaking out"
    lower, upper = a.value("bb_lower_20_2"), a.value("bb_upper_20_2")
    if lower is not None and a.price < lower:
        return "below the lower band"
    return "above the upper band" if upper is not None and a.price > upper else "between the bands"


def _mark_of(at: float, body: dict[str, Any]) -> Mark:
    return Mark(
        **{**body, "at": datetime.fromtimestamp(at, UTC), "seen_at": datetime.fromtimestamp(body["seen_at"], UTC)}
    )


__all__ = ["Mark", "Marks", "draft_changes", "mark"]
