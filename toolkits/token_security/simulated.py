"""A stand-in without a network: made-up reports for simulated tokens."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from ...core.security import SecurityReport
from .evidence import Answer, Sheet, Subject
from .goplus import read_evm
from .protocol import Provider

NOTE = "SIMULATED: made up, says nothing about a real token"


class SimulatedSecurity(Provider):
    """Made-up contracts of every kind, about half of them safe, marked SIMULATED in every source.

    The findings (`data/simulated.json`) go through the same reading and rule as real ones, so a demo shows what the
    real thing does. Which kind a token is follows from the settings' seed and its symbol alone.
    """

    id = "simulated"

    async def _checked(self, subject: Subject, at: datetime) -> SecurityReport:
        sheet = Sheet(self.id, at)
        place = int.from_bytes(hashlib.sha256(f"{self._settings.seed}:{subject.symbol}".encode()).digest()[:8]) % 100
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
