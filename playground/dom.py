"""What views are built of: plain HTML elements, whose text is never markup, and the parts that work in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from ..core.formats import age_text, time_text
from ..core.token import INTERVALS, Interval

GOOD, BAD, WARN, INFO, PLAIN = "good", "bad", "warn", "info", "plain"
FRESHNESS_TONE = {"fresh": GOOD, "partial": WARN, "stale": WARN, "miss": "hollow"}
SIGNAL_TONE = {"buy": GOOD, "sell": BAD, "hold": PLAIN}
VERDICT_TONE = {"safe": GOOD, "caution": WARN, "danger": BAD, "unknown": WARN, "not_applicable": PLAIN}
CHECK_TONE = {"pass": GOOD, "fail": BAD, "unknown": WARN, "not_applicable": PLAIN}


def el(tag: str, text: str | None = None, cls: str = "", **attributes: Any) -> Element:
    """One element. Attributes are given in snake_case (`aria_label=`), None leaves one out. `with el(...)` nests."""
    element = Element(tag) if text is None else TextElement(tag=tag, text=text)
    if cls:
        element.classes(cls)
    for name, value in attributes.items():
        if value is not None:
            element.props[name.rstrip("_").replace("_", "-")] = value
    return element


def set_text(element: Element, text: str) -> None:
    """Change an element's text if it differs; nothing is sent otherwise."""
    assert isinstance(element, TextElement)
    if element.text != text:
        element.set_text(text)


def set_attribute(element: Element, name: str, value: Any) -> None:
    """Change an attribute if it differs; None removes it."""
    if element.props.get(name) == value:
        return
    if value is None:
        element.props.pop(name, None)
    else:
        element.props[name] = value
    element.update()


def badge(text: str, tone: str = "", *, title: str | None = None) -> Element:
    """A word with a colour that helps it."""
    return el("span", text.replace("_", " "), f"badge {tone}", title=title)


def button(text: str, cls: str = "", **attributes: Any) -> Element:
    """A plain button; attach what it does with `.on("click", ...)`."""
    return el("button", text, f"btn {cls}", type="button", **attributes)


def since(moment: datetime, now: datetime) -> Element:
    """`4 min ago`, kept up to date in the browser, with the moment itself as title."""
    return el(
        "time",
        f"{age_text(moment, now)} ago",
        data_since=moment.timestamp(),
        datetime=moment.isoformat(),
        title=time_text(moment),
    )


def interval_switch(path: str, here: Interval) -> None:
    """Links between daily and hourly bars of the same view."""
    with el("span", cls="segments", role="group", aria_label="Interval"):
        for interval, label in zip(INTERVALS, ("Daily", "Hourly"), strict=True):
            el("a", label, href=f"{path}?interval={interval}", aria_current="true" if interval == here else None)


def panel(title: str, sub: str = "", *, cls: str = "", flush: bool = False) -> Element:
    """A titled box; returns its body. `flush` lets a table touch the sides."""
    box = el("section", cls=f"panel {cls}", aria_label=title)
    with box:
        with el("div", cls="panel-head"):
            el("h2", title)
            if sub:
                el("span", sub, "sub")
        return el("div", cls="panel-body flush" if flush else "panel-body")


def empty(*lines: str) -> None:
    """What a panel says when there is nothing to show."""
    with el("div", cls="empty"):
        for line in lines:
            el("p", line)


def plain_table(columns: list[tuple[str, str]], rows: list[list[Any]], *, caption: str) -> Element:
    """A table of texts. `columns` are (label, class); a cell may be a text or a callable that builds elements."""
    with el("div", cls="scroll-x", tabindex="0", role="region", aria_label=caption) as box, el("table", cls="plain"):
        el("caption", caption, "visually-hidden")
        with el("thead"), el("tr"):
            for label, cls in columns:
                el("th", label, cls, scope="col")
        with el("tbody"):
            for row in rows:
                with el("tr"):
                    for (_, cls), cell in zip(columns, row, strict=True):
                        if callable(cell):
                            with el("td", cls=cls):
                                cell()
                        else:
                            el("td", str(cell), cls)
    return box


# Parts that work in the browser


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
