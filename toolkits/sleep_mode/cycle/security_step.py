"""The security part of a cycle: reuse what is in date, check what is not, within the budget and in quiet time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ....core.errors import BudgetExceeded
from ....core.metering import Allowance, metered
from ....core.security import SecurityReport
from ....core.token import Token
from ...token_security.protocol import SecurityProvider
from .cycle_run import QUIET_WAIT_SECONDS, CycleRun

if TYPE_CHECKING:
    from ...khala import Khala

# A token with second opinions asks this many sources; with less left in the budget it waits for the next cycle. What a
# check needs beyond them (a retry, CoinGecko's list) is asked of the budget before it is sent.
CALLS_PER_CHECK = 3


class SecurityStep:
    """Finds the report an analysis rests on."""

    def __init__(
        self, provider: SecurityProvider, khala: Khala, wait_for_quiet: Callable[[float], bool] | None = None
    ) -> None:
        self._provider = provider
        self._khala = khala
        self._wait_for_quiet = wait_for_quiet or (lambda _seconds: True)
        self._announces = False
        """Whether the provider announces each call before it sends it; one of a user's own may not, and is counted."""

    def report(self, token: Token, *, deep: bool, run: CycleRun) -> SecurityReport | None:
        """A report in date, a new one, or the last known one (whose age a reader sees). None: never checked.

        A look-up that fails does not replace a report that was good: the older evidence stays, out of date.
        """
        known = self._khala.security(token.symbol)
        if known is not None and run.now < known.expires_at:
            return known
        if not deep or run.halted():
            return known
        try:
            run.budget.spend("security_calls", CALLS_PER_CHECK)
        except BudgetExceeded:
            return known
        before = self._provider.calls_made()
        allowance = Allowance(lambda: run.budget.spend("security_calls"), reserved=CALLS_PER_CHECK)
        try:
            if not self._wait_for_quiet(QUIET_WAIT_SECONDS):
                return known
            with metered("security_calls", allowance):
                found = self._provider.check(token, now=run.now)
        except BudgetExceeded:
            return known
        finally:
            self._announces = self._announces or allowance.calls > 0
            used = allowance.calls if self._announces else self._provider.calls_made() - before
            run.budget.record("security_calls", used - CALLS_PER_CHECK - allowance.drawn)
        if found.verdict == "unknown" and known is not None and known.verdict != "unknown":
            return known
        self._khala.set_security(token.symbol, found)
        return found
