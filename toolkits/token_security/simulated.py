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

from ...core.clock import Clock
from ...core.errors import InvalidInput
from ...core.files import write_whole
from ...core.security import SecurityReport
from ...core.settings import Settings
from .evidence import Answer, Sheet, Subject
from .goplus import read_evm
from .protocol import Provider

NOTE = "SIMULATED: made up, says nothing about a real token"
_STAMP = "%Y%m%dT%H%M%SZ"


class SimulatedSecurity(Provider):
    """Made-up contracts of every kind, about half of them safe, marked SIMULATED in every source.

    The findings (`data/simulated.json`) go through the same reading and rule as real ones, so a demo shows what the
    real thing does. Which kind a token is follows from the seed and its symbol alone.

    Args:
        seed: what every verdict follows from; that of the settings when left out.
        settings: how long reports stay in date.
        clock: the present; the machine's when left out.
    """

    id = "simulated"

    def __init__(
        self, *, seed: int | None = None, settings: Settings | None = None, clock: Clock | None = None
    ) -> None:
        super().__init__(settings, clock)
        self._seed = self._settings.seed if seed is None else seed

    async def _checked(self, subject: Subject, at: datetime) -> SecurityReport:
        sheet = Sheet(self.id, at)
        place = int.from_bytes(hashlib.sha256(f"{self._seed}:{subject.symbol}".encode()).digest()[:8]) % 100
        read_evm(Answer(_kinds()[place]), sheet)
        for check_id in ("true_token", "look_alike", "wrapped"):
            sheet.put(check_id, "pass", "a simulated token", check_id == "true_token")
        return self.report(Subject(subject.symbol, subject.name), [sheet], "evm", at, NOTE)


@cache
def _kinds() -> list[dict[str, Any]]:
    """A hundred payloads, each kind as often as its share in percent; null takes a field of a clean one away."""
    data = json.loads(files(__package__).joinpath("data", "simulated.json").read_bytes())
    kinds = [data["clean"] | kind["differs"] for kind in data["kinds"] for _ in range(kind["percent"])]
    return [{key: value for key, value in kind.items() if value is not None} for kind in kinds]


class RecordedSecurity(Provider):
    """Reads and writes reports in a folder, one file for each token and moment (`LINK-USD@20261011T120000Z.json`).

    A replay at some moment sees the newest report made by then, with the dates it had; a token without one is unknown.

    Args:
        folder: of the reports.
        settings: how long reports stay in date.
        clock: the present; the machine's when left out.
    """

    id = "recorded"

    def __init__(self, folder: Path | str, *, settings: Settings | None = None, clock: Clock | None = None) -> None:
        super().__init__(settings, clock)
        self.folder = Path(folder)

    def save(self, report: SecurityReport) -> Path:
        """Keep a report in the folder; returns its file. One that names no symbol is `InvalidInput`."""
        if report.symbol is None:
            raise InvalidInput("A report without a symbol cannot be recorded.", hint="Check the token by its symbol.")
        path = self.folder / f"{report.symbol}@{report.checked_at.strftime(_STAMP)}.json"
        write_whole(path, report.model_dump_json(indent=1))
        return path

    async def _checked(self, subject: Subject, at: datetime) -> SecurityReport:
        made = {
            path.stem.partition("@")[2]: path for path in self.folder.glob(f"{subject.symbol}@????????T??????Z.json")
        }
        path = made.get(max((stamp for stamp in made if stamp <= at.strftime(_STAMP)), default=""))
        if path is None:
            return self.unknown(subject, "nothing was recorded about this token by then", at)
        try:
            report = SecurityReport.model_validate_json(path.read_bytes())
        except ValidationError:
            return self.unknown(subject, f"the recorded report {path.name} does not parse", at)
        strange = report.symbol != subject.symbol
        return self.unknown(subject, f"{path.name} is about another token", at) if strange else report
