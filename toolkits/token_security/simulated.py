"""Stand-ins without a network: made-up reports for simulated tokens, and reports kept in files for replay."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import InvalidInput, MalformedResponse
from ...core.security import SecurityReport
from ...core.settings import Settings, load_settings
from ...core.token import Token
from .contracts import write_whole
from .evidence import Answer, Sheet, Subject
from .goplus import read_evm
from .protocol import Reporter

NOTE = "SIMULATED: made up, says nothing about a real token"
_STAMP = "%Y%m%dT%H%M%SZ"


class _StandIn:
    """What both share: nothing of them touches a network."""

    def __init__(self, settings: Settings | None, clock: Clock | None) -> None:
        self._settings, self._clock = settings or load_settings(), clock or SystemClock()
        self._reporter = Reporter(self._settings)

    def calls_made(self) -> int:
        return 0

    def check(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """The report about a token at a moment (UTC), by default the clock's."""
        return self._report(token, ensure_utc(now or self._clock.now()))

    async def acheck(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """Async twin of `check`."""
        return self.check(token, now=now)

    def _report(self, token: Token, at: datetime) -> SecurityReport:
        raise NotImplementedError


class SimulatedSecurity(_StandIn):
    """Made-up contracts of every kind, about half of them safe, marked SIMULATED in every source.

    The findings (`data/simulated.json`) go through the same reading and rule as real ones, so a demo shows what the
    real thing does. Which kind a token is follows from the seed and its symbol alone.
    """

    id = "simulated"

    def __init__(
        self, *, seed: int | None = None, settings: Settings | None = None, clock: Clock | None = None
    ) -> None:
        super().__init__(settings, clock)
        self._seed = self._settings.seed if seed is None else seed

    def _report(self, token: Token, at: datetime) -> SecurityReport:
        sheet = Sheet(self.id, at)
        place = int.from_bytes(hashlib.sha256(f"{self._seed}:{token.symbol}".encode()).digest()[:8]) % 100
        read_evm(Answer(_kinds()[place]), sheet)
        for check_id in ("true_token", "look_alike", "wrapped"):
            sheet.put(check_id, "pass", "a simulated token", check_id == "true_token")
        subject = Subject(token.symbol, token.name)
        return self._reporter.report(subject, [sheet], "evm", at, NOTE)


@cache
def _kinds() -> list[dict[str, Any]]:
    """A hundred payloads, each kind as often as its share in percent; null takes a field of a clean one away."""
    data = json.loads(files(__package__).joinpath("data", "simulated.json").read_bytes())
    kinds = [data["clean"] | kind["differs"] for kind in data["kinds"] for _ in range(kind["percent"])]
    return [{key: value for key, value in kind.items() if value is not None} for kind in kinds]


class RecordedSecurity(_StandIn):
    """Reads and writes reports in a folder, one file for each token and moment (`LINK-USD@20261011T120000Z.json`).

    A replay at some moment sees the newest report made by then, with the dates it had; a token without one is unknown.
    """

    id = "recorded"

    def __init__(self, folder: Path | str, *, settings: Settings | None = None, clock: Clock | None = None) -> None:
        super().__init__(settings, clock)
        self.folder = Path(folder)

    def save(self, report: SecurityReport) -> Path:
        """Keep a report in the folder; returns its file.

        Raises:
            InvalidInput: the report names no symbol.
        """
        if report.symbol is None:
            raise InvalidInput("A report without a symbol cannot be recorded.", hint="Check the token by its symbol.")
        path = self.folder / f"{report.symbol}@{report.checked_at.strftime(_STAMP)}.json"
        write_whole(path, report.model_dump_json(indent=1))
        return path

    def find(self, symbol: str, *, by: datetime) -> SecurityReport | None:
        """The newest report about a symbol made by a moment; None when there is none.

        Raises:
            MalformedResponse: its file is damaged or holds another token's report.
        """
        made = {path.stem.partition("@")[2]: path for path in self.folder.glob(f"{symbol}@????????T??????Z.json")}
        path = made.get(max((stamp for stamp in made if stamp <= by.strftime(_STAMP)), default=""))
        try:
            report = SecurityReport.model_validate_json(path.read_bytes()) if path else None
        except ValidationError as error:
            raise MalformedResponse(f"The recorded report {path.name if path else ''} does not parse.") from error
        if report is not None and report.symbol != symbol:
            raise MalformedResponse(f"The recorded report about {symbol} is about another token.")
        return report

    def _report(self, token: Token, at: datetime) -> SecurityReport:
        try:
            found, reason = self.find(token.symbol, by=at), "nothing was recorded about this token by then"
        except MalformedResponse as error:
            found, reason = None, error.message
        return found or self._reporter.unknown(Subject.of(token), reason, at, self.id)
