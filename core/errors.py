"""One error tree, split by how the caller should react: change what was asked for, try later, look after the memory.

Every error carries one line that says what happened and, in `hint`, one that says what to do.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from .redaction import redacted

log = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 86_400.0


class DeepTraderError(Exception):
    """Base of all errors raised on purpose. `code` is a stable machine name, `exit_code` is for the shell. Keys and
    passwords in the texts given are taken out."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = redacted(message)
        self.hint = redacted(hint)
        super().__init__(self.message)

    @property
    def code(self) -> str:
        """Stable snake_case name of the class, for JSON: `RateLimited` -> `rate_limited`."""
        name = type(self).__name__
        return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(name))

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def as_dict(self) -> dict[str, Any]:
        """`{"error": code, "message": ..., "hint": ...}`: what tools and `--json` return."""
        return {"error": self.code, "message": self.message, "hint": self.hint}


class UserError(DeepTraderError):
    """Change what you asked for (exit code 2)."""

    exit_code = 2


class InvalidInput(UserError):
    """An argument or a field is out of range or malformed."""


class UnknownToken(UserError):
    """No token answers to that symbol, name or alias."""


class AmbiguousToken(UserError):
    """`candidates` are what it could be, one line each: people choose, nothing is guessed."""

    def __init__(self, message: str, *, hint: str = "", candidates: Iterable[str] = ()) -> None:
        self.candidates = tuple(candidates)
        super().__init__(message, hint=hint or f"Say which: {'; '.join(self.candidates[:5])}." * bool(self.candidates))

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {"candidates": list(self.candidates[:10])}


class SettingsError(UserError):
    """A setting or the settings file is wrong."""


class InstructionsError(UserError):
    """An instructions file is empty or has an unknown placeholder."""


class ModelNotConfigured(UserError):
    """The request needs a language model and none is set."""


class SourceError(DeepTraderError):
    """The outside world did not deliver; try later (exit code 3).

    `retry_after`: how many seconds to leave the source alone about it, where that is known.
    """

    exit_code = 3

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = _bearable(retry_after)


def _bearable(seconds: Any) -> float | None:
    """A pause that a source asked for, a day at most; None where it is no number."""
    try:
        asked = float(seconds)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if asked != asked else min(max(asked, 0.0), LONGEST_PAUSE_SECONDS)


class RateLimited(SourceError):
    """The source asks us to slow down."""


class SourceUnreachable(SourceError):
    """No connection, time-out, server error."""


class MalformedResponse(SourceError):
    """An answer came, but it does not parse."""


class TokenNotFound(SourceError):
    """The source does not know the token."""


class TokenDelisted(SourceError):
    """The source says the token no longer trades."""


class TooFewBars(SourceError):
    """An answer came with too little in it to work on."""


class ImplausiblePrices(SourceError):
    """An answer came, and its prices cannot be; `problems` are their kinds, one for each bar (see `check_bars`)."""

    def __init__(self, message: str, *, hint: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class NotPublishedYet(SourceError):
    """What should exist by now is not there yet."""


class CircuitOpen(SourceError):
    """The breaker is open after repeated failures."""


class StoreError(DeepTraderError):
    """Memory could not be read or written (exit code 4)."""

    exit_code = 4


class StoreUnavailable(StoreError):
    """The data directory is missing or unreadable."""


class StoreReadOnly(StoreUnavailable):
    """It may be read, and not written."""


class StoreCorrupt(StoreError):
    """The journal or the index is damaged."""


class StoreFull(StoreError):
    """No space is left."""


class StoreBusy(StoreError):
    """Another process holds what we need."""


class LeaseLost(StoreBusy):
    """Another process has taken over the work; write nothing more."""


class SchemaMismatch(StoreError):
    """The store was written by a newer or unknown version."""


class EmbedderMismatch(StoreError):
    """The store was embedded by another embedder or dimension."""


class BudgetExceeded(DeepTraderError):
    """A hard budget would be crossed (exit code 5)."""

    exit_code = 5


class VerificationFailed(DeepTraderError):
    """What was computed or written failed its check (exit code 6)."""

    exit_code = 6


class Unforeseen(DeepTraderError):
    """What raised an exception that is none of ours, typed so that it costs one token or one step and not a cycle."""


def typed(error: BaseException, what: str) -> DeepTraderError:
    """The error, if it is one of ours; else the typed one for what nobody foresaw, which is logged in full.

    Args:
        error: only its kind is told where it is none of ours: its text may hold secrets.
        what: was at work, for the log.
    """
    if isinstance(error, DeepTraderError):
        return error
    log.error("%s failed unexpectedly.\n%s", what, redacted(_in_full(error)))
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    at = f" at line {own[-1].lineno} of {Path(own[-1].filename).name}" if own else ""
    hint = "The log has all of it: correct the file if it is yours, else please report it."
    return Unforeseen(f"An unforeseen {type(error).__name__}{at}.", hint=hint)


def promised[T](given: Any, kind: type[T], source: object) -> T:
    """What a part of one's own returned, if it is what its protocol promises.

    Args:
        given: the answer.
        kind: what it should be.
        source: the part that gave it.

    Raises:
        MalformedResponse: it is something else.
    """
    if not isinstance(given, kind):
        raise MalformedResponse(f"{type(source).__name__} gave {type(given).__name__}, not {kind.__name__}.")
    return given


def _in_full(error: BaseException) -> str:
    """The traceback; of an exception that cannot even be printed, where it was raised."""
    try:
        lines = traceback.format_exception(error)
    except Exception:  # noqa: BLE001 - its own `__str__` or that of a cause, and whatever that raises
        lines = [*traceback.format_tb(error.__traceback__), type(error).__name__]
    return "".join(lines)


def one_of(choices: Any, value: str, what: str) -> Any:
    """The value, if it is one of a `Literal`'s; else raises InvalidInput, which says what there is."""
    known = get_args(choices)
    if value not in known:
        raise InvalidInput(f"There is no {what} {value!r}.", hint=f"Use one of {', '.join(known)}.")
    return value
