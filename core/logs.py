"""Log lines of a process of ours: as text or as JSON, each with the id of the cycle that it is about."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

from .redaction import redacted

LogFormat = Literal["text", "json"]

_cycle: ContextVar[str] = ContextVar("deeptrader_cycle", default="")


@contextmanager
def naming_cycle(cycle_id: str) -> Iterator[None]:
    """Whatever this thread or task logs in the block is about this cycle. Other threads say so for themselves."""
    before = _cycle.set(cycle_id)
    try:
        yield
    finally:
        _cycle.reset(before)


def set_up_logs(kind: LogFormat = "text", *, level: int = logging.WARNING) -> None:
    """Have the process log to standard error in this form. Call it again to change the form."""
    logging.basicConfig(level=level)  # nothing where a program has handlers of its own
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:
            handler.setFormatter(_Json() if kind == "json" else _Text())


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        cycle, text = _cycle.get(), super().format(record)
        text += f" [cycle {cycle}]" if cycle and cycle not in text else ""
        return redacted(text)


class _Json(logging.Formatter):
    """One object a line, in ASCII: no message ends a line or cannot be written."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if cycle := _cycle.get():
            line["cycle"] = cycle
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps({name: redacted(text) for name, text in line.items()})
