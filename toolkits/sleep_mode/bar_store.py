"""Bars kept beside the analyses: no bar is fetched twice, charts need no network, a restart starts warm."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ...core.errors import StoreCorrupt
from ...core.token import Interval, Token
from ..khala.schema import upsert
from ..market_data.panel import COLUMNS, in_order
from ..market_data.protocol import Bars

if TYPE_CHECKING:
    import pandas as pd

    from ..khala.journal import Journal

HEAD = ("provider", "source", "simulated", "adjusted", "settled")
_MIGRATIONS = (
    """
    CREATE TABLE bars (
        symbol TEXT NOT NULL,
        interval TEXT NOT NULL,
        last_close REAL NOT NULL,
        fetched_at REAL NOT NULL,
        head TEXT NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (symbol, interval)
    ) WITHOUT ROWID
    """,
    # Bars kept by 0.1.0 were adjusted for dividends paid later; they are fetched again by today's rule.
    "DELETE FROM bars",
)


class BarStore:
    """The newest bars of each token and interval, in the journal's file. One row each; a newer fetch replaces it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        journal.ensure("bars", _MIGRATIONS)

    def get(self, token: Token, interval: Interval, *, until: datetime | None = None) -> Bars | None:
        """The stored bars, or None, also where the last of them closed before `until`.

        Raises:
            StoreCorrupt: the row does not decode.
        """
        query = "SELECT fetched_at, head, body FROM bars WHERE symbol = ? AND interval = ? AND last_close >= ?"
        found = self._journal.rows(query, token.symbol, interval, until.timestamp() if until else 0.0)
        if not found:
            return None
        [(fetched_at, head, body)] = found
        try:
            head, frame = json.loads(head), _decode(body)
        except (ValueError, KeyError, zlib.error) as error:
            raise StoreCorrupt(
                f"The stored {interval} bars of {token.symbol} do not decode.",
                hint="Run `deeptrader repair`; the next cycle fetches them again.",
            ) from error
        head["revised"] = datetime.fromisoformat(head["revised"]) if head.get("revised") else None
        fetched = datetime.fromtimestamp(fetched_at, UTC)
        return Bars(token=token, interval=interval, frame=frame, fetched_at=fetched, **head)

    def fetched(self, interval: Interval) -> dict[str, float]:
        """By symbol, when the stored bars were fetched, in UTC epoch seconds: another number, other bars."""
        return dict(self._journal.rows("SELECT symbol, fetched_at FROM bars WHERE interval = ?", interval))

    def put_many(self, many: Sequence[Bars]) -> None:
        """Keep these, in one transaction. Bars that stand in for a failed fetch are not new and are not written."""
        rows = [self._row(bars) for bars in many if bars.stale_seconds is None and len(bars.frame)]
        if not rows:
            return
        with self._journal.write() as connection:
            connection.executemany(upsert("bars", "symbol, interval", "last_close, fetched_at, head, body"), rows)

    @staticmethod
    def _row(bars: Bars) -> tuple[str, str, float, float, str, bytes]:
        head = {name: getattr(bars, name) for name in HEAD} | {"revised": bars.revised and bars.revised.isoformat()}
        times = bars.frame.index[-1].timestamp(), bars.fetched_at.timestamp()
        return (bars.token.symbol, bars.interval, *times, json.dumps(head), _encode(bars))


def _encode(bars: Bars) -> bytes:
    times = bars.frame.index.as_unit("ns").asi8  # type: ignore[attr-defined]
    values = in_order(bars.frame).to_numpy(dtype="<f8")
    return zlib.compress(times.astype("<i8").tobytes() + values.tobytes(), level=1)


def _decode(body: bytes) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    raw = zlib.decompress(body)
    count, rest = divmod(len(raw), 8 * (1 + len(COLUMNS)))
    if rest:
        raise ValueError("cut short")
    times = np.frombuffer(raw, dtype="<i8", count=count)
    values = np.frombuffer(raw, dtype="<f8", offset=8 * count).reshape(count, len(COLUMNS))
    index = pd.DatetimeIndex(times, tz="UTC", name="bar_close")
    return pd.DataFrame(values.copy(), index=index, columns=list(COLUMNS))
