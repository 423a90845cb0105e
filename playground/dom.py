"""What views are built of: plain HTML elements, whose text is never markup, and the parts that work in the browser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from ..core.errors import DeepTraderError
from ..core.formats import age_text, time_text
from ..core.token import INTERVALS, Interval

if TYPE_CHECKING:
    from .desk import Desk

GOOD, BAD, WARN, INFO, PLAIN = "good", "bad", "warn", "info", "plain"
FRESHNESS_TONE = {"fresh": GOOD, "partial": WARN, "stale": WARN, "miss": "hollow"}
SIGNAL_TONE = {"buy": GOOD, "sell": BAD, "hold": PLAIN}
VERDICT_TONE = {"safe": GOOD, "caution": WARN, "danger": BAD, "unknown": WARN, "not_applicable": PLAIN}
CHECK_TONE = {"pass": GOOD, "fail": BAD, "unknown": WARN, "not_applicable": PLAIN}


def el(tag: str, text: str | None = None, cls: str = "", **attributes: Any) -> TextElement:
    """One element. Attributes are given in snake_case (`aria_label=`), None leaves one out. `with el(...)` nests."""
    element = TextElement(tag=tag, text=text or "")
    if cls:
        element.classes(cls)
    for name, value in attributes.items():
        if value is not None:
            element.props[name.rstrip("_").replace("_", "-")] = value
    return element


def set_text(element: TextElement, text: str) -> None:
    """Change an element's text if it differs; nothing is sent otherwise."""
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


def set_classes(element: Element, classes: str) -> None:
    """Change an element's classes if they differ."""
    if " ".join(element.classes) != classes:
        element.classes(replace=classes)


def badge(text: str, tone: str = "", *, title: str | None = None) -> Element:
    """A word with a colour that helps it."""
    return el("span", text.replace("_", " "), f"badge {tone}", title=title)


def button(text: str, cls: str = "", **attributes: Any) -> TextElement:
    """A plain button; attach what it does with `.on("click", ...)`."""
    return el("button", text, f"btn {cls}", type="button", **attributes)


def since(words: str, moment: datetime, now: datetime) -> Element:
    """`computed 4 min ago`, kept up to date in the browser, with the moment itself as title."""
    with el("span"):
        el("span", words)
        return el(
            "time",
            f"{age_text(moment, now)} ago",
            data_since=moment.timestamp(),
            datetime=moment.isoformat(),
            title=time_text(moment),
        )


def ask_link(text: str, question: str) -> Callable[[], Element]:
    """A cell that leads to the chat with a question in its box."""
    return lambda: el("a", text, href=f"/?ask={quote(question)}")


def token_link(symbol: str) -> Callable[[], Element] | str:
    """A cell that leads to a token's page."""
    return (lambda: el("a", symbol, href=f"/token/{quote(symbol)}")) if symbol else "the market"


def tile(number: str, name: str, tone: str = "") -> None:
    """A number with what it counts beneath."""
    with el("div", cls="tile"):
        el("div", number, f"n {tone}")
        el("div", name, "k")


def star(desk: Desk, symbol: str, *, on: bool) -> bool:
    """Put a token on the watch list of this memory, or take it off; whether that was done."""
    if not on and symbol in desk.settings.watchlist:
        ui.notify(f"{symbol} stands in the settings: change `watchlist` there.", type="warning")
        return False
    desk.board.forget()
    return attempt(lambda: desk.reader.holdings.watch([symbol], on=on))


def star_button(desk: Desk, symbol: str, watched: bool) -> None:
    """A star that puts a token on the watch list and takes it off."""
    made = button("", "quiet star", aria_label=f"Watch {symbol}")

    def show(on: bool) -> None:
        set_text(made, "★" if on else "☆")
        set_attribute(made, "aria-pressed", "true" if on else "false")

    def press() -> None:
        on = made.text != "★"
        if star(desk, symbol, on=on):
            show(on)

    show(watched)
    made.on("click", press)


def complain(error: DeepTraderError) -> None:
    """Say what kept something from being done, and what to do."""
    ui.notify(f"{error.message} {error.hint}".strip(), type="warning")


def attempt(what: Callable[[], object]) -> bool:
    """Do what was asked for on the page; whether it was done. What keeps it from being done is said."""
    try:
        what()
    except DeepTraderError as error:
        complain(error)
        return False
    return True


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


def show_nothing(title: str, *lines: str) -> None:
    """A panel that has nothing to show, and why."""
    with panel(title):
        empty(*lines)


class Sections:
    """Parts of a view that are built anew only when what they show has changed."""

    def __init__(self, places: Mapping[str, Element]) -> None:
        self._places = places
        self._shown: dict[str, Any] = {}

    def show(self, name: str, key: Any, build: Callable[[], None]) -> None:
        """Build a section if `key`, which stands for what it shows, is another one than before."""
        if name in self._shown and self._shown[name] == key:
            return
        self._shown[name] = key
        place = self._places[name]
        place.clear()
        with place:
            build()


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
    """What is known, sorted and filtered in the browser. Children go in front of the filters. Emits `star`."""

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
