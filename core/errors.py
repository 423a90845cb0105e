"""One error tree, split by how the caller should react.

DeepTraderError
├── UserError                  change what you asked for (exit code 2)
│   ├── InvalidInput             an argument or a field is out of range or malformed
│   ├── UnknownToken             no token answers to that symbol, name or alias
│   ├── AmbiguousToken           several answer to it; `candidates` lists them
│   ├── SettingsError            a setting or the settings file is wrong
│   ├── InstructionsError        an instructions file is empty or has an unknown placeholder
│   └── ModelNotConfigured       the request needs a language model and none is set
├── SourceError                the outside world did not deliver; try later (exit code 3)
│   ├── RateLimited              the source asks us to slow down
│   ├── SourceUnreachable        no connection, time-out, server error
│   ├── MalformedResponse        an answer came, but it does not parse
│   ├── TokenNotFound            the source does not know the token
│   ├── TokenDelisted            the source says the token no longer trades
│   ├── TooFewBars               an answer came with too little in it to work on
│   ├── ImplausiblePrices        an answer came, and its prices cannot be (a split half seen, another unit)
│   ├── NotPublishedYet          what should exist by now is not there yet; ask again after `retry_after`
│   └── CircuitOpen              the breaker is open after repeated failures
├── StoreError                 memory could not be read or written (exit code 4)
│   ├── StoreUnavailable         the data directory is missing or unreadable
│   │   └── StoreReadOnly          it may be read, and not written
│   ├── StoreCorrupt             the journal or the index is damaged
│   ├── StoreFull                no space is left
│   ├── StoreBusy                another process holds what we need
│   │   └── LeaseLost              another process has taken over the work; write nothing more
│   ├── SchemaMismatch           the store was written by a newer or unknown version
│   └── EmbedderMismatch         the store was embedded by another embedder or dimension
├── BudgetExceeded             a hard budget would be crossed (exit code 5)
├── Unforeseen                 something raised an error that nobody expected (exit code 1); it is logged in full
└── VerificationFailed         what was computed or written failed its check (exit code 6)

Every error carries one line that says what happened and, in `hint`, one that says what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

log = logging.getLogger(__name__)


class DeepTraderError(Exception):
    """Base of all errors raised on purpose. `code` is a stable machine name, `exit_code` is for the shell."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def code(self) -> str:
        """Stable snake_case name of the class, for JSON: `RateLimited` -> `rate_limited`."""
        name = type(self).__name__
        return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(name))

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def as_dict(self) -> dict[str, str]:
        """`{"error": code, "message": ..., "hint": ...}`: what tools and `--json` return."""
        return {"error": self.code, "message": self.message, "hint": self.hint}


class UserError(DeepTraderError):
    exit_code = 2


class InvalidInput(UserError):
    pass


class UnknownToken(UserError):
    pass


class AmbiguousToken(UserError):
    """`candidates` are what it could be, one line each: people choose, nothing is guessed."""

    def __init__(self, message: str, *, hint: str = "", candidates: Iterable[str] = ()) -> None:
        self.candidates = tuple(candidates)
        super().__init__(message, hint=hint or f"Say which: {'; '.join(self.candidates[:5])}." * bool(self.candidates))


class SettingsError(UserError):
    pass


class InstructionsError(UserError):
    pass


class ModelNotConfigured(UserError):
    pass


class SourceError(DeepTraderError):
    exit_code = 3


class RateLimited(SourceError):
    """`retry_after` is in seconds when the source said how long to wait, otherwise None."""

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class SourceUnreachable(SourceError):
    pass


class MalformedResponse(SourceError):
    pass


class TokenNotFound(SourceError):
    pass


class TokenDelisted(SourceError):
    pass


class TooFewBars(SourceError):
    pass


class ImplausiblePrices(SourceError):
    """`problems` are their kinds, one for each bar: see `check_bars` in market data."""

    def __init__(self, message: str, *, hint: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class NotPublishedYet(SourceError):
    """`retry_after` is how many seconds to leave the source alone about it."""

    def __init__(self, message: str, *, hint: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class CircuitOpen(SourceError):
    pass


class StoreError(DeepTraderError):
    exit_code = 4


class StoreUnavailable(StoreError):
    pass


class StoreReadOnly(StoreUnavailable):
    pass


class StoreCorrupt(StoreError):
    pass


class StoreFull(StoreError):
    pass


class StoreBusy(StoreError):
    pass


class LeaseLost(StoreBusy):
    pass


class SchemaMismatch(StoreError):
    pass


class EmbedderMismatch(StoreError):
    pass


class BudgetExceeded(DeepTraderError):
    exit_code = 5


class Unforeseen(DeepTraderError):
    """What raised an exception that is none of ours, typed so that it costs one token or one step and not a cycle."""


def typed(error: Exception, what: str) -> DeepTraderError:
    """The error, if it is one of ours; else the typed one for what nobody foresaw, which is logged in full.

    Args:
        error: only its kind is told where it is none of ours: its text may hold secrets.
        what: was at work, for the log.
    """
    if isinstance(error, DeepTraderError):
        return error
    log.error("%s failed unexpectedly.", what, exc_info=error)
    return Unforeseen(f"An unforeseen {type(error).__name__}.", hint="It is in the log; please report it.")


class VerificationFailed(DeepTraderError):
    exit_code = 6
