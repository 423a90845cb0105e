"""Digests: the days on which something turned, in words, so that the past can be searched without keeping all of it.

When the pointer of a daily analysis moves on to a later bar, the bar it leaves becomes a digest if its state (signal,
momentum, band, security) differs from that of the digest before. A quiet month is one digest.
"""

from __future__ import annotations

import sqlite3

from ...core.errors import StoreCorrupt
from .codec import decode, encode
from .describe import describe, states
from .entries import document_entry, put_entries
from .packing import plain
from .records import Document, MarketAnalysis
from .schema import epoch

_ASPECTS = ("momentum", "band")


def keep_digest(connection: sqlite3.Connection, previous_id: str, newer: MarketAnalysis) -> None:
    """Inside the publishing transaction: digest the version that `newer` replaces, if it says something new."""
    if newer.interval != "1d":
        return
    row = connection.execute("SELECT body, bar_close FROM analyses WHERE id = ?", (previous_id,)).fetchone()
    if row is None or row[1] >= epoch(newer.bar_close):
        return
    try:
        past = decode(MarketAnalysis, plain(connection, row[0]))
    except StoreCorrupt:
        return  # unreadable, so there is nothing to digest; the new version replaces it all the same
    digest = digest_of(past)
    prefix = f"{past.token.symbol}:{past.interval}:"
    last = connection.execute(
        "SELECT body FROM documents WHERE kind = 'digest' AND key >= ? AND key < ? ORDER BY key DESC LIMIT 1",
        (prefix, prefix[:-1] + ";"),
    ).fetchone()
    if last is not None and decode(Document, last[0]).facts.get("state") == digest.facts["state"]:
        return
    connection.execute(
        "INSERT OR REPLACE INTO documents (kind, key, created_at, dies_at, body) VALUES ('digest', ?, ?, NULL, ?)",
        (digest.key, epoch(digest.created_at), encode(digest)),
    )
    put_entries(connection, [document_entry(digest)])


def digest_of(past: MarketAnalysis) -> Document:
    """A day of a token in words, with the figures that say so."""
    words = states({name: figure.value for name, figure in past.figures.items()}, past.price)
    verdict = past.security.verdict if past.security else None
    rsi = past.value("rsi_14")
    fields: dict[str, str | float | bool] = {"interval": past.interval}
    if past.signal.action:
        fields["signal"] = past.signal.action
    if verdict:
        fields["security"] = verdict
    if rsi is not None:
        fields["rsi"] = rsi
    return Document(
        kind="digest",
        key=f"{past.token.symbol}:{past.interval}:{past.bar_close:%Y%m%d}",
        title=f"{past.token.symbol} on the bar of {past.bar_close:%Y-%m-%d}",
        text=describe(past),
        symbols=(past.token.symbol,),
        created_at=past.computed_at,
        facts={
            "state": [past.signal.action, verdict, *(words.get(aspect) for aspect in _ASPECTS)],
            "bar_close": past.bar_close.isoformat(),
            "price": past.price,
            "rsi_14": rsi,
        },
        fields=fields,
    )
