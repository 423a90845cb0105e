"""Sleep: what it does now, did last and will do next, what it may spend, what it was worth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from nicegui import ui

from ..core.errors import DeepTraderError
from ..core.formats import time_text
from .desk import Desk
from .dom import button, el, set_attribute, set_text
from .sleep_desk import Now
from .sleep_panels import (
    show_budgets,
    show_foreseen,
    show_last,
    show_ledger,
    show_plan,
    show_problem,
    show_recent,
)

NOW_SECONDS = 0.5
REST_SECONDS = 3.0
DOTS = {"running": "run", "waiting": "on", "paused": "held", "backing_off": "held", "standby": "held", "killed": "off"}


class Section:
    """A panel that is built anew only when what it shows has changed."""

    def __init__(self, cls: str = "") -> None:
        self._place = el("div", cls=cls)
        self._shown: Any = object()

    def show(self, content: Any, build: Callable[[Any], None], key: Any = None) -> None:
        """Show content; `key` stands for it where equality of the content itself says too much."""
        key = content if key is None else key
        if key == self._shown:
            return
        self._shown = key
        self._place.clear()
        with self._place:
            build(content)


async def sleep_view(desk: Desk) -> None:
    """Build the view for one page."""
    view = SleepView(desk)
    await view.refresh()
    await view.refresh_plan()


class SleepView:
    """The sections, and the timers that keep them up to date on this page."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._planned_for: Any = None
        with el("div", cls="view"):
            with el("div", cls="view-head"):
                el("h1", "Sleep")
                every = desk.sleep.scheduler.status().every_seconds / 60
                el("span", f"{desk.runtime.market.id} market, a cycle every {every:g} min", "sub")
            with el("div", cls="sleep-grid"):
                self._build_now()
                with el("div", cls="span-7 stack"):
                    self._last = Section()
                    self._plan = Section()
                    self._foreseen = Section()
                with el("div", cls="span-5 stack"):
                    self._budgets = Section()
                    self._ledger = Section()
                self._recent = Section("span-12")
        ui.timer(NOW_SECONDS, self.refresh_now, immediate=False)
        ui.timer(REST_SECONDS, self.refresh, immediate=False)

    # Now

    def _build_now(self) -> None:
        with el("section", cls="panel span-12", aria_label="Now"):
            with el("div", cls="now"):
                with el("div"):
                    with el("div", cls="state"):
                        self._dot = el("span", cls="dot", aria_hidden="true")
                        self._words = el("span", "", role="status")
                    self._detail = el("div", "", "detail")
                with el("div", cls="actions"):
                    self._run = button("Run now", "primary").on("click", self._do_run)
                    self._pause = button("Pause").on("click", self._do_pause)
                    self._resume = button("Resume", "primary").on("click", self._do_resume)
            self._meter = el("div", cls="meter", role="progressbar", aria_label="Progress of the cycle")
            with self._meter:
                self._bar = el("i")
        self._show_now(self._desk.sleep.now())

    def refresh_now(self) -> None:
        """Show the present state, in place."""
        try:
            self._show_now(self._desk.sleep.now())
        except DeepTraderError as error:
            set_text(self._words, str(error))

    def _show_now(self, now: Now) -> None:
        dot = f"dot {DOTS.get(now.state, '')}".strip()
        if " ".join(self._dot.classes) != dot:
            self._dot.classes(replace=dot)
        set_text(self._words, now.words)
        parts = [now.detail]
        if now.next_at is not None:
            parts.append(f"next at {time_text(now.next_at)}")
        if now.error:
            parts.append(f"last error: {now.error}")
        set_text(self._detail, "; ".join(part for part in parts if part) or " ")
        self._meter.set_visibility(now.fraction is not None)
        if now.fraction is not None:
            set_attribute(self._bar, "style", f"width: {now.fraction * 100:.0f}%")
            set_attribute(self._meter, "aria-valuenow", round(now.fraction * 100))
        held = now.state in ("paused", "killed")
        set_attribute(self._run, "disabled", "" if held or now.state == "running" else None)
        self._pause.set_visibility(not held)
        self._resume.set_visibility(now.state == "paused")

    def _do_run(self) -> None:
        self._act(self._desk.sleep.run_now)

    def _do_pause(self) -> None:
        self._act(self._desk.sleep.pause)

    def _do_resume(self) -> None:
        self._act(self._desk.sleep.resume)

    def _act(self, what: Callable[[], None]) -> None:
        try:
            what()
        except DeepTraderError as error:
            ui.notify(f"{error.message} {error.hint}", type="negative")
        self.refresh_now()

    # The rest

    async def refresh(self) -> None:
        """Read everything that needs no network, off the event loop, and show what has changed."""
        try:
            state = await asyncio.to_thread(self._desk.sleep.read)
        except DeepTraderError as error:
            set_text(self._words, str(error))
            return
        score, ledger = state.score, state.ledger
        self._last.show(state.last, lambda report: show_last(report, self._desk))
        self._budgets.show(state.budgets, show_budgets)
        # The span of time moves with every read: what was counted decides whether anything is new.
        counted = (state.foreseen, score.asked, score.hits, score.predicted, score.came_true)
        self._foreseen.show((state.foreseen, score), show_foreseen, counted)
        self._ledger.show(ledger, show_ledger, (ledger.cycles, ledger.answers, ledger.savings))
        self._recent.show(state.recent, show_recent)
        cycle = state.last.cycle_id if state.last else ""
        if self._planned_for not in (None, cycle):
            await self.refresh_plan()

    async def refresh_plan(self) -> None:
        """Read the plan; it asks the market for its universe, so only once per cycle."""
        last = self._desk.sleep.last()
        self._planned_for = last.cycle_id if last else ""
        try:
            plan = await asyncio.to_thread(self._desk.sleep.plan)
        except DeepTraderError as error:
            self._plan.show(str(error), lambda text: show_problem("Next cycle", text))
            return
        self._plan.show(plan, show_plan)
