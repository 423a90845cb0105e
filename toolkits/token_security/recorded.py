"""Reports kept in files, replayed as of any moment: for a recorded market and for tests.

A folder holds one file per token and moment (`LINK-USD@20261011T120000Z.json`), each a `SecurityReport`. A replay at
some moment sees the newest report made by then, with the dates it had.
"""

from __future__ import annotations

import os
import tempfile
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import InvalidInput, MalformedResponse
from ...core.security import SecurityReport
from ...core.settings import Settings, load_settings
from ...core.token import Token
from .evidence import Subject
from .provider import Lifetimes, unknown_report

FOLDER = "security"
_STAMP = "%Y%m%dT%H%M%SZ"


class RecordedSecurity:
    """Reads and writes reports in a folder. A token without a report is unknown, and says so.

    Args:
        folder: where the files are; it need not exist until something is recorded.
    """

    id = "recorded"

    def __init__(self, folder: Path | str, *, settings: Settings | None = None, clock: Clock | None = None) -> None:
        self.folder = Path(folder)
        self._clock = clock or SystemClock()
        self._lifetimes = Lifetimes.of(settings or load_settings())

    def calls_made(self) -> int:
        """Always 0: nothing here touches a network."""
        return 0

    def find(self, symbol: str, *, by: datetime) -> SecurityReport | None:
        """The newest report about a symbol made by a moment; None when there is none.

        Raises:
            MalformedResponse: its file is damaged or holds another token's report.
        """
        moments = [
            (moment, path)
            for path in self.folder.glob(f"{symbol}@*.json")
            if (moment := _moment(path)) is not None and moment <= by.strftime(_STAMP)
        ]
        if not moments:
            return None
        path = max(moments)[1]
        try:
            report = SecurityReport.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise MalformedResponse(
                f"The recorded report {path.name} does not parse.", hint="Record it again or delete the file."
            ) from error
        if report.symbol != symbol:
            raise MalformedResponse(f"The recorded report {path.name} is about another token.")
        return report

    def save(self, report: SecurityReport) -> Path:
        """Keep a report in the folder; returns its file.

        Raises:
            InvalidInput: the report names no symbol.
        """
        if report.symbol is None:
            raise InvalidInput("A report without a symbol cannot be recorded.", hint="Check the token by its symbol.")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{report.symbol}@{report.checked_at.strftime(_STAMP)}.json"
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=self.folder, delete=False, suffix=".tmp") as file:
            file.write(report.model_dump_json(indent=1))
        os.replace(file.name, path)
        return path

    def check(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """The recorded report, or an unknown one when nothing usable was recorded by then."""
        at = ensure_utc(now or self._clock.now())
        try:
            found = self.find(token.symbol, by=at)
            reason = "nothing was recorded about this token by then"
        except MalformedResponse as error:
            found, reason = None, error.message
        if found is not None:
            return found
        return unknown_report(Subject.of(token), reason, at=at, lifetimes=self._lifetimes, source=self.id)

    async def acheck(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """Async twin of `check`."""
        return self.check(token, now=now)


def _moment(path: Path) -> str | None:
    stamp = path.stem.partition("@")[2]
    try:
        datetime.strptime(stamp, _STAMP)
    except ValueError:
        return None
    return stamp
