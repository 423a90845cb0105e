"""What every security provider offers: one token in, one dated report out."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from ...core.security import SecurityReport
from ...core.token import Token


class SecurityProvider(Protocol):
    """A source of security evidence.

    A failed look-up is a report with verdict `unknown` and its reason, not an exception; only a wrong argument raises
    (`InvalidInput`).
    """

    @property
    def id(self) -> str: ...

    def check(self, token: Token, *, now: datetime | None = None) -> SecurityReport: ...

    async def acheck(self, token: Token, *, now: datetime | None = None) -> SecurityReport: ...

    def calls_made(self) -> int:
        """Network calls since the provider was built: what the cycle's budget counts."""
        ...
