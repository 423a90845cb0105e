"""How processes that share a store tell each other that their team is answering."""

from __future__ import annotations

import fcntl
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger(__name__)

TRIES = 3
"""A look by another process holds the lock for some microseconds."""


class BusyMark:
    """A lock on a file, shared by all who are answering. The system takes it from a process that is killed, so no mark
    is ever left behind. The time of the file is when anybody's answering last began or ended.

    Where files cannot be locked (some network drives) nobody is marked and nobody is seen; that is logged once.

    Args:
        path: the file; made when it is first needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None
        self._told = False

    def put(self, at: datetime) -> None:
        """This process is answering, as of `at` (UTC). Again to give a sign of life."""
        try:
            if self._handle is None:
                self._handle = self._take()
            if self._handle is not None:
                self._touch(self._handle, at)
        except OSError as error:
            self._tell(error)

    def take_away(self, at: datetime) -> None:
        """It has answered."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        try:
            self._touch(handle, at)
            fcntl.flock(handle, fcntl.LOCK_UN)  # not only closed: a fork may have inherited it
        except OSError as error:
            self._tell(error)
        finally:
            os.close(handle)

    def seen(self) -> tuple[bool, datetime | None]:
        """Whether anybody is answering, and when answering last began or ended (None: never)."""
        try:
            handle = os.open(self.path, os.O_RDWR)
        except FileNotFoundError:
            return False, None
        except OSError as error:
            self._tell(error)
            return False, None
        try:
            busy = not _locked(handle, fcntl.LOCK_EX)
            return busy, datetime.fromtimestamp(os.fstat(handle).st_mtime, UTC)
        except OSError as error:
            self._tell(error)
            return False, None
        finally:
            os.close(handle)

    def _take(self) -> int | None:
        """The file, opened and locked with the others; None while somebody is looking."""
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            locked = _locked(handle, fcntl.LOCK_SH)
        except OSError:
            os.close(handle)
            raise
        if locked:
            return handle
        os.close(handle)
        return None

    def _touch(self, handle: int, at: datetime) -> None:
        os.utime(handle, (at.timestamp(), at.timestamp()))

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            log.warning("Other processes cannot be told when the team is at work: %s (%s).", self.path, error)


def _locked(handle: int, how: int) -> bool:
    for _ in range(TRIES):
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            continue
    return False
