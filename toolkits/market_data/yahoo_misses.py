"""How often, and since when, Yahoo has not known a symbol: one miss is a miss, many over hours are evidence.

Kept in a small file, so that a process started once an hour remembers what the one before it saw.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

ENOUGH_MISSES = 4
ENOUGH_TIME = timedelta(hours=6)
SPACING = timedelta(minutes=20)
"""Misses closer together than this are one miss: asking ten times in a minute proves nothing more."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Miss:
    """A symbol's row of misses, unbroken by any answer."""

    count: int
    first: str
    last: str

    @property
    def since(self) -> datetime:
        """When the row began."""
        return datetime.fromisoformat(self.first)

    @property
    def is_evidence(self) -> bool:
        """True when there are enough of them, over enough hours."""
        return self.count >= ENOUGH_MISSES and datetime.fromisoformat(self.last) - self.since >= ENOUGH_TIME


class MissBook:
    """The misses of every symbol, shared by the threads of a market. Without a usable file they last as long as it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._misses: dict[str, Miss] | None = None

    def add(self, symbol: str, now: datetime) -> Miss:
        """Note a miss; returns the row it belongs to."""
        with self._lock:
            misses = self._load()
            row = misses.get(symbol)
            if row is None or now < row.since:
                misses[symbol] = Miss(1, now.isoformat(), now.isoformat())
            elif now - datetime.fromisoformat(row.last) >= SPACING:
                misses[symbol] = Miss(row.count + 1, row.first, now.isoformat())
            else:
                return row
            self._save(misses)
            return misses[symbol]

    def clear(self, symbol: str) -> None:
        """The symbol answered: whatever was noted against it is void."""
        with self._lock:
            misses = self._load()
            if misses.pop(symbol, None) is not None:
                self._save(misses)

    def _load(self) -> dict[str, Miss]:
        if self._misses is None:
            self._misses = {}
            try:
                rows = json.loads(self._path.read_text(encoding="utf-8"))
                self._misses = {symbol: Miss(**row) for symbol, row in rows.items()}
            except FileNotFoundError:
                pass
            except (OSError, ValueError, TypeError, AttributeError) as error:
                _log.warning("what was noted about missing symbols is lost: %s (%s)", self._path, error)
        return self._misses

    def _save(self, misses: dict[str, Miss]) -> None:
        fresh = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps({symbol: asdict(row) for symbol, row in misses.items()}), encoding="utf-8")
            fresh.replace(self._path)
        except OSError as error:
            _log.debug("misses are kept in memory only: %s", error)
