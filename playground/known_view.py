"""What we know: every token in memory, live."""

from __future__ import annotations

from nicegui import ui
from nicegui.events import GenericEventArguments

from ..core.errors import DeepTraderError
from ..core.token import INTERVALS, Interval
from .board import BoardState, changes
from .desk import Desk
from .dom import MemoryTable, el, interval_switch, set_text, show_nothing, since, star

WATCH_SECONDS = 1.5


def known_view(desk: Desk, interval: str = "1d") -> None:
    """Build the view for one page."""
    KnownView(desk, interval if interval in INTERVALS else "1d")  # type: ignore[arg-type]


class KnownView:
    """The table, and the timer that sends what changed to this one page."""

    def __init__(self, desk: Desk, interval: Interval) -> None:
        self._desk = desk
        self._interval: Interval = interval
        self._shown: BoardState | None = None
        self._table: MemoryTable | None = None
        with el("div", cls="view"):
            with el("div", cls="view-head"):
                el("h1", "What we know")
                self._counts = el("span", "", "sub")
                self._slept = el("span", cls="sub")
            self._place = el("div")
        try:
            self._show(desk.board.latest(interval))
        except DeepTraderError as error:
            with self._place:
                show_nothing("Memory cannot be read", error.message, error.hint)
        ui.timer(WATCH_SECONDS, self._watch, immediate=False)

    async def _watch(self) -> None:
        try:
            state = await self._desk.board.aread(self._interval)
        except DeepTraderError:
            return  # the bar says so; what is shown stays as it was
        if state is not self._shown:
            self._show(state)

    async def _star(self, event: GenericEventArguments) -> None:
        star(self._desk, event.args["symbol"], on=event.args["on"])
        await self._watch()

    def _show(self, state: BoardState) -> None:
        if self._table is not None and state.rows and self._shown is not None:
            changed, gone = changes(self._shown, state)
            if changed or gone:
                self._table.patch(changed, gone)
        else:
            self._place.clear()
            self._table = None
            with self._place:
                if state.rows:
                    self._table = MemoryTable(list(state.rows.values())).on("star", self._star)
                    with self._table:
                        interval_switch("/known", self._interval)
                else:
                    filled = "The team's memory is empty. The first sleep cycle fills it."
                    show_nothing("Nothing yet", filled, "Watch it under Sleep, or run one there now.")
        self._shown = state
        set_text(self._counts, ", ".join(f"{count} {name}" for name, count in sorted(state.freshness.items())))
        last = self._desk.sleep.log.last()
        self._slept.clear()
        if last is not None:
            with self._slept:
                ended = last.finished_at if not self._desk.replaying else last.as_of
                since("last cycle ", ended, self._desk.runtime.clock.now())
