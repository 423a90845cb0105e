"""Stand-ins without a network: made-up reports for simulated tokens, and reports kept in files for replay."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
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
from .evidence import Answer, Evidence, Sheet, Subject
from .goplus import read_evm
from .protocol import Reporter

NOTE = "SIMULATED: made up, says nothing about a real token"
_STAMP = "%Y%m%dT%H%M%SZ"


class SimulatedSecurity:
    """Made-up contracts of every kind, about half of them safe, marked SIMULATED in every source.

    The findings (`data/simulated.json`) go through the same reading and rule as real ones, so a demo shows what the
    real thing does. Which kind a token is follows from the seed and its symbol alone.
    """

    id = "simulated"

    def __init__(
        self, *, seed: int | None = None, settings: Settings | None = None, clock: Clock | None = None
    ) -> None:
        settings = settings or load_settings()
        self._seed = settings.seed if seed is None else seed
        self._clock, self._reporter = clock or SystemClock(), Reporter(settings)

    def calls_made(self) -> int:
        """Always 0: nothing here touches a network."""
        return 0

    def check(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """The made-up report about a token: the same for the same seed and symbol."""
        at = ensure_utc(now or self._clock.now())
        sheet = Sheet(self.id, at)
        place = int.from_bytes(hashlib.sha256(f"{self._seed}:{token.symbol}".encode()).digest()[:8]) % 100
        read_evm(Answer(_kinds()[place]), sheet)
        for check_id in ("true_token", "look_alike", "wrapped"):
            sheet.put(check_id, "pass", "a simulated token", check_id == "true_token")
        subject = Subject(token.symbol, token.name)
        return self._reporter.report(subject, [Evidence(self.id, sheet.checks)], "evm", at, NOTE)

    async def acheck(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """Async twin of `check`."""
        return self.check(token, now=now)


@cache
def _kinds() -> list[dict[str, Any]]:
    """A hundred payloads, each kind as often as its share in percent; null takes a field of a clean one away."""
    data = json.loads(files(__package__).joinpath("data", "simulated.json").read_bytes())
    merged = [(kind["percent"], data["clean"] | kind["differs"]) for kind in data["kinds"]]
    kinds = [(share, {key: value for key, value in kind.items() if value is not None}) for share, kind in merged]
    return [kind for share, kind in kinds for _ in range(share)]


class RecordedSecurity:
    """Reads and writes reports in a folder, one file for each token and moment (`LINK-USD@20261011T120000Z.json`).

    A replay at some moment sees the newest report made by then, with the dates it had. A token without one is unknown.

    Args:
        folder: where the files are; it need not exist until something is recorded.
    """

    id = "recorded"

    def __init__(self, folder: Path | str, *, settings: Settings | None = None, clock: Clock | None = None) -> None:
        self.folder = Path(folder)
        self._clock, self._reporter = clock or SystemClock(), Reporter(settings or load_settings())

    def calls_made(self) -> int:
        """Always 0: nothing here touches a network."""
        return 0

    def find(self, symbol: str, *, by: datetime) -> SecurityReport | None:
        """The newest report about a symbol made by a moment; None when there is none.

        Raises:
            MalformedResponse: its file is damaged or holds another token's report.
        """
        stamps = {path.stem.partition("@")[2]: path for path in self.folder.glob(f"{symbol}@*.json")}
        made = [stamp for stamp in stamps if _is_stamp(stamp) and stamp <= by.strftime(_STAMP)]
        if not made:
            return None
        path = stamps[max(made)]
        try:
            report = SecurityReport.model_validate_json(path.read_bytes())
        except ValidationError as error:
            hint = "Record it again or delete the file."
            raise MalformedResponse(f"The recorded report {path.name} does not parse.", hint=hint) from error
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
            found, reason = self.find(token.symbol, by=at), "nothing was recorded about this token by then"
        except MalformedResponse as error:
            found, reason = None, error.message
        return found or self._reporter.unknown(Subject.of(token), reason, at, self.id)

    async def acheck(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """Async twin of `check`."""
        return self.check(token, now=now)


def _is_stamp(text: str) -> bool:
    try:
        datetime.strptime(text, _STAMP)
    except ValueError:
        return False
    return True
