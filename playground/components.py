"""The parts of the page that work in the browser: the table of tokens, the transcript, the question box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui.element import Element


class MemoryTable(Element, component="static/memory_table.js"):
    """What is known, sorted and filtered in the browser. Children go in front of the filters."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self.props["rows"] = list(rows)

    def patch(self, changed: Sequence[dict[str, Any]], gone: Sequence[str]) -> None:
        """Show changed rows and take gone ones away."""
        self.run_method("patch", list(changed), list(gone))


class Transcript(Element, component="static/transcript.js"):
    """A conversation. Emits `retry` with a turn's id."""

    def __init__(self, turns: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self.props["start"] = list(turns)

    def patch(self, turns: Sequence[dict[str, Any]]) -> None:
        """Show turns that are new or have changed."""
        self.run_method("patch", list(turns))


class Composer(Element, component="static/composer.js"):
    """The question box. Emits `send` with a text, and `stop`."""

    def __init__(self, *, placeholder: str, draft_key: str) -> None:
        super().__init__()
        self.props["running"] = False
        self.props["placeholder"] = placeholder
        self.props["draft-key"] = draft_key

    def set_running(self, running: bool) -> None:
        """Offer to stop instead of to send."""
        if self.props["running"] != running:
            self.props["running"] = running
            self.update()

    def restore(self, text: str) -> None:
        """Put a text back that could not be sent."""
        self.run_method("restore", text)
