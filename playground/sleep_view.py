"""Sleep: what it does now, did last and will do next, what it may spend, what it was worth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from nicegui import ui

from ..core.errors import DeepTraderError
from ..toolkits.sleep_mode.cycle_report import CycleReport
from ..toolkits.sleep_mode.plan import Plan, PlanItem
from .charts import ledger_chart
from .desk import Desk
from .dom import (
    FRESHNESS_TONE,
    badge,
    button,
    el,
    empty,
    panel,
    plain_table,
    set_attribute,
    set_text,
    since,
    stamp,
)
from .sleep_desk import Anticipated, BudgetLine, LedgerView, Now

NOW_SECONDS = 0.5
REST_SECONDS = 3.0
PLAN_ROWS = 25
ANTICIPATED_ROWS = 12
STEP_COLORS = (
    "#5b8fc9",
    "#8fb3dc",
    "#2f9e76",
    "#c08a2b",
    "#7a6fb0",
    "#9aa6b2",
    "#4aa3a8",
    "#b06f8a",
    "#d0834a",
    "#6d7f93",
)
DOTS = {"running": "run", "waiting": "on", "paused": "held", "backing_off": "held", "standby": "held", "killed": "off"}
BUDGET_NAMES = {
    "requests": "Network requests",
    "security_calls": "Security calls",
    "model_tokens": "Model tokens",
    "usd": "US dollars",
    "seconds": "Seconds",
}


class Section:
    """A panel that is built anew only when what it shows has changed."""

    def __init__(self, cls: str = "") -> None:
        self._place = el("div", cls=cls)
        self._shown: Any = object()

    def show(self, content: Any, build: Callable[[Any], None]) -> None:
        if content == self._shown:
            return
        self._shown = content
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
                every = desk.sleep.scheduler.status().every_seconds
                el("span", f"{desk.runtime.market.id} market, a cycle every {_duration(every)}", "sub")
            with el("div", cls="sleep-grid"):
                self._build_now()
                with el("div", cls="span-7 stack"):
                    self._last = Section()
                    self._plan = Section()
                    self._anticipated = Section()
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
            parts.append(f"next at {now.next_at:%H:%M:%S} UTC")
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
        sleep = self._desk.sleep
        try:
            last, recent, budgets, anticipated, foreseen, ledger = await asyncio.to_thread(
                lambda: (
                    sleep.last(),
                    sleep.recent(),
                    sleep.budgets(),
                    sleep.anticipated(),
                    sleep.foreseen(),
                    sleep.ledger(),
                )
            )
        except DeepTraderError as error:
            set_text(self._words, str(error))
            return
        self._last.show(last, self._build_last)
        self._budgets.show(budgets, _build_budgets)
        self._anticipated.show((anticipated, foreseen), _build_anticipated)
        self._ledger.show(ledger, _build_ledger)
        self._recent.show(recent, _build_recent)
        cycle = last.cycle_id if last else ""
        if self._planned_for not in (None, cycle):
            await self.refresh_plan()

    async def refresh_plan(self) -> None:
        """Read the plan; it asks the market for its universe, so only once per cycle."""
        last = self._desk.sleep.last()
        self._planned_for = last.cycle_id if last else ""
        try:
            plan = await self._desk.sleep.aplan()
        except DeepTraderError as error:
            self._plan.show(str(error), lambda text: _problem("Next cycle", text))
            return
        self._plan.show(plan, _build_plan)

    def _build_last(self, last: CycleReport | None) -> None:
        if last is None:
            with panel("Last cycle"):
                empty("No cycle has run on this memory yet.")
            return
        desk = self._desk
        with panel("Last cycle", f"as of {stamp(last.as_of)} UTC"):
            with el("div", cls="tiles"):
                for name in ("published", "unchanged", "kept", "deferred", "failed", "refused"):
                    count = last.count(name)  # type: ignore[arg-type]
                    if count or name in ("published", "kept", "failed"):
                        _tile(f"{count:,}", name, "bad-text" if count and name in ("failed", "refused") else "")
                _tile(f"{last.scenarios + last.anticipated:,}", "answers prepared")
                _tile(f"{last.seconds:.1f} s", "took")
            _steps(last.steps)
            with el("p", cls="muted"):
                el("span", f"{len(last.universe)} tokens, finished ")
                if desk.replaying:
                    el("span", f"{stamp(last.finished_at)} UTC")
                else:
                    since(last.finished_at, desk.runtime.clock.now())
            _warnings(last)


def _warnings(last: CycleReport) -> None:
    if last.stopped_by:
        el("p", f"Stopped early: {last.stopped_by}", "warn-text")
    if last.universe_problem:
        el("p", f"Universe: {last.universe_problem}", "warn-text")
    for problem in last.problems[:5]:
        el("p", problem, "warn-text")
    bad = [outcome for outcome in last.outcomes if outcome.outcome in ("failed", "refused")]
    for outcome in bad[:5]:
        el("p", f"{outcome.symbol} {outcome.interval} {outcome.outcome}: {outcome.reason}", "warn-text")
    if len(bad) > 5:
        el("p", f"and {len(bad) - 5} more", "warn-text")


def _steps(steps: dict[str, float]) -> None:
    total = sum(steps.values())
    shown = [(name, seconds) for name, seconds in steps.items() if total and seconds / total > 0.004]
    if not shown:
        return
    with el("div", cls="step-bar", aria_hidden="true"):
        for (_, seconds), color in zip(shown, STEP_COLORS, strict=False):
            el("i", style=f"width: {100 * seconds / total:.2f}%; background: {color}")
    with el("div", cls="step-legend"):
        for (name, seconds), color in zip(shown, STEP_COLORS, strict=False):
            with el("span"):
                el("i", style=f"background: {color}", aria_hidden="true")
                el("span", f"{name} {seconds:.2f} s")


def _build_budgets(lines: list[BudgetLine]) -> None:
    with panel("Budgets", "spent today (UTC), and by the last cycle"), el("div", cls="meters"):
        for line in lines:
            spent, limit = (line.today, line.per_day) if line.per_day else (line.last_cycle, line.per_cycle)
            share = spent / limit if limit else 0.0
            with el("div", cls="row"):
                with el("div", cls="line"):
                    el("span", BUDGET_NAMES.get(line.kind, line.kind))
                    words = "" if line.per_day else "last cycle "
                    el("span", f"{words}{_amount(spent)} of {_amount(limit or 0)}", "strong" if share > 0.8 else "")
                with el("div", cls="meter", aria_hidden="true"):
                    el("i", cls="high" if share > 0.8 else "", style=f"width: {min(100.0, 100 * share):.1f}%")
                if line.per_day and line.per_cycle:
                    el("div", f"last cycle {_amount(line.last_cycle)} of {_amount(line.per_cycle)}", "faint")


def _build_anticipated(content: tuple[list[Anticipated], tuple[int, int]]) -> None:
    questions, (asked, hits) = content
    note = f"{len(questions)} prepared" + (f"; {hits} of the last {asked} questions were foreseen" if asked else "")
    with panel("Anticipated questions", note, flush=True):
        if not questions:
            empty("None prepared yet.")
            return
        with el("ul", cls="check-list"):
            for question in questions[:ANTICIPATED_ROWS]:
                with el("li"):
                    badge(question.freshness, FRESHNESS_TONE[question.freshness])
                    with el("details"):
                        with el("summary"):
                            el("span", question.title, "what")
                            if question.hits:
                                el("span", f" asked {question.hits} times", "why")
                        el("p", question.text, "report")
                        el("p", f"{question.author}, prepared {stamp(question.created_at)} UTC", "why")
        if len(questions) > ANTICIPATED_ROWS:
            el("p", f"and {len(questions) - ANTICIPATED_ROWS} more", "faint pad")


def _build_plan(plan: Plan) -> None:
    refreshes = list(plan.refreshes())
    deferred = [item for item in plan.items if item.action == "defer"]
    kept = [item for item in plan.items if item.action == "keep"]
    told = f"{len(refreshes)} to refresh, {len(deferred)} deferred, {len(kept)} kept; seen {stamp(plan.made_at)} UTC"
    with panel("Next cycle", told, flush=True):
        if refreshes or deferred:
            _plan_table([*refreshes, *deferred], "What the next cycle would do, in order, and why")
        else:
            empty("Everything is fresh: there is nothing to refresh now." if kept else "Nothing is known yet.")
        if kept:
            with el("details", cls="pad"):
                el("summary", f"{len(kept)} kept as they are", "muted")
                _plan_table(kept, "What the next cycle keeps as it is, and why")
        for note in plan.notes:
            el("p", note, "muted pad")


def _plan_table(items: list[PlanItem], caption: str) -> None:
    rows = [
        [
            lambda item=item: el("a", item.token.symbol, href=f"/token/{item.token.symbol}"),
            item.interval,
            item.action + (", deep" if item.deep and item.action == "refresh" else ""),
            f"{item.priority:.3g}",
            item.reason,
        ]
        for item in items[:PLAN_ROWS]
    ]
    plain_table(
        [("Token", ""), ("Bars", ""), ("What", "nowrap"), ("Priority", "num"), ("Why", "wide")], rows, caption=caption
    )
    if len(items) > PLAN_ROWS:
        el("p", f"and {len(items) - PLAN_ROWS} more", "faint pad")


def _build_ledger(view: LedgerView) -> None:
    summary = view.summary
    days = max(1, round((summary.until - summary.since).total_seconds() / 86_400))
    with panel("Ledger", f"last {days} days" if days > 1 else "the last day"):
        with el("div", cls="tiles"):
            by_way = {totals.served: totals for totals in summary.answers}
            served = by_way.get("sleep")
            _tile(f"{sum(t.answers for t in summary.answers):,}", "answers")
            _tile(f"{served.answers:,}" if served else "0", "served from sleep")
            if served and served.median_seconds is not None:
                _tile(f"{served.median_seconds:.2f} s", "median, from sleep")
            scratch = by_way.get("scratch")
            if scratch and scratch.median_seconds is not None:
                _tile(f"{scratch.median_seconds:.2f} s", "median, from scratch")
            _tile(f"{summary.cycles.cycles:,}", "cycles")
            _tile(f"{summary.cycles.requests:,.0f}", "requests slept")
            _tile(f"{summary.cycles.model_tokens:,.0f}", "model tokens slept")
            if summary.net_tokens is not None:
                _tile(f"{summary.net_tokens:+,.0f}", "model tokens saved, net")
            else:
                _tile("not measured", "model tokens saved, net")
        if view.cycles or view.answers:
            chart = ui.echart(ledger_chart(view.cycles, view.answers)).classes("ledger-plot")
            chart.props["role"] = "img"
            chart.props["aria-label"] = "Answers by the time they took and how they were served, above the cycles"
        else:
            empty("Nothing was measured yet.")


def _build_recent(recent: list[CycleReport]) -> None:
    with panel("Recent cycles", flush=True):
        if not recent:
            empty("None yet.")
            return
        rows = [
            [
                stamp(report.started_at),
                f"{report.seconds:.1f} s",
                str(report.count("published")),
                str(report.count("kept") + report.count("unchanged")),
                str(report.count("deferred")),
                str(report.count("failed") + report.count("refused")),
                report.stopped_by or ("complete" if report.complete else ", ".join(report.failures()) or "incomplete"),
            ]
            for report in recent
        ]
        plain_table(
            [
                ("Begun (UTC)", ""),
                ("Took", "num"),
                ("Published", "num"),
                ("Kept", "num"),
                ("Deferred", "num"),
                ("Failed", "num"),
                ("End", "wide"),
            ],
            rows,
            caption="Recent sleep cycles",
        )


def _problem(title: str, text: str) -> None:
    with panel(title):
        el("p", text, "warn-text")


def _tile(number: str, name: str, tone: str = "") -> None:
    with el("div", cls="tile"):
        el("div", number, f"n {tone}")
        el("div", name, "k")


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:,.2f}"


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
