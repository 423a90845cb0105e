"""When cycles keep failing, try less and less often."""

from __future__ import annotations

from datetime import datetime, timedelta


class Backoff:
    """Counts failures in a row. From the `patience`-th on the pause between two attempts doubles, up to `longest`.

    Args:
        period: the usual time between attempts, in seconds; the first pause is twice that.
    """

    def __init__(self, period: float, *, patience: int, longest: float) -> None:
        self.failures = 0
        self.until: datetime | None = None
        self._period = period
        self._patience = patience
        self._longest = longest

    def failed(self, now: datetime) -> float:
        """Note a failure; returns the seconds to pause, 0 while patience lasts."""
        self.failures += 1
        excess = self.failures - self._patience
        if excess < 0:
            return 0.0
        pause = min(self._longest, self._period * 2 ** min(excess + 1, 20))
        self.until = now + timedelta(seconds=pause)
        return pause

    def succeeded(self) -> None:
        """Forget all failures."""
        self.failures, self.until = 0, None

    def blocks(self, now: datetime) -> bool:
        """Whether the pause lasts. One that reaches further ahead than any pause means the clock was set back."""
        return self.until is not None and now < self.until <= now + timedelta(seconds=self._longest)
