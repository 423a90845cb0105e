"""What we know: every token in memory, live."""

from __future__ import annotations

from nicegui import ui

from ..core.errors import DeepTraderError
from ..core.token import INTERVALS, Interval
from .board import BoardState, changes
from .desk import Desk
from .dom import MemoryTable, el, empty, interval_switch, panel, set_text, since

WATCH_SECONDS = 1.5


def known_view(desk: Desk, interval: str = "1d") -> None:
    """Build the view for one page."""
    KnownView(desk, interval if interval in INTERVALS else "1d")  # type: ignore[arg-type]


class KnownView:
    """The table, and the timer that sends what changed to this one page."""

    def __init__(self, desk: Desk, interval: Interval) -> None:
        self._desk = desk
        self._interval: Interval = interval
        self._shown = BoardState()
        self._table: MemoryTable | None = None
        with el("div", cls="view"):
            with el("div", cls="view-head"):
                el("h1", "What we know")
                self._sub = el("span", "", "sub")
                self._slept = el("span", cls="sub")
            self._place = el("div")
        try:
            state = desk.board.latest(interval)
        except DeepTraderError as error:
            with self._place, panel("Memory cannot be read"):
                empty(error.message, error.hint)
            state = BoardState()
        self._show(state)
        ui.timer(WATCH_SECONDS, self._watch, immediate=False)

    async def _watch(self) -> None:
        try:
            state = await self._desk.board.aread(self._interval)
        except DeepTraderError:
            return  # the bar says so; what is shown stays as it was
        self._show(state)

    def _show(self, state: BoardState) -> None:
        if state is self._shown:
            return
        if self._table is None or not state.rows:
            self._place.clear()
            with self._place:
                if state.rows:
                    self._table = MemoryTable(list(state.rows.values()))
                    with self._table:
                        interval_switch("/known", self._interval)
                else:
                    self._table = None
                    _nothing_yet(self._desk)
        else:
            changed, gone = changes(self._shown, state)
            if changed or gone:
                self._table.patch(changed, gone)
        self._shown = state
        counts = ", ".join(f"{count} {name}" for name, count in sorted(state.freshness.items()))
        set_text(self._sub, counts)
        self._show_last_cycle()

    def _show_last_cycle(self) -> None:
        last = self._desk.sleep.last()
        self._slept.clear()
        if last is not None:
            with self._slept:
                el("span", "last cycle ")
                since(last.finished_at if not self._desk.replaying else last.as_of, self._desk.runtime.clock.now())


def _nothing_yet(desk: Desk) -> None:
    with panel("Nothing yet"):
        empty(
            "The team's memory is empty. The first sleep cycle fills it.",
            "Watch it under Sleep, or run one there now.",
        )
