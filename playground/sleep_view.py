"""Sleep: what it does now, did last and will do next, what it may spend, what it was worth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from nicegui import ui

from ..core.errors import DeepTraderError
from ..core.formats import percent_text, time_text
from ..toolkits.sleep_mode.budgets import BudgetKind
from ..toolkits.sleep_mode.foresight import Foreseen, ForesightScore
from ..toolkits.sleep_mode.ledger import SERVED_WORDS, LedgerSummary
from ..toolkits.sleep_mode.planner import Plan
from ..toolkits.sleep_mode.report import MADE_WORDS, CycleReport
from ..toolkits.sleep_mode.topics import TOPICS
from .board import question_about
from .desk import Desk
from .dom import (
    Sections,
    ask_link,
    attempt,
    button,
    el,
    empty,
    panel,
    plain_table,
    set_attribute,
    set_classes,
    set_text,
    show_nothing,
    tile,
    token_link,
)
from .sleep_desk import Now

NOW_SECONDS = 0.5
REST_SECONDS = 3.0
WINDOW = timedelta(days=7)
RECENT = 12
ROWS = 12
"""Rows of a table before the rest is folded away."""
TROUBLES = 10
DOTS = {"running": "run", "waiting": "on", "paused": "held", "backing_off": "held", "standby": "held", "killed": "off"}
LIMITED: dict[BudgetKind, str] = {
    "requests": "Network requests",
    "security_calls": "Security calls",
    "model_tokens": "Model tokens",
    "usd": "US dollars",
}


async def sleep_view(desk: Desk) -> None:
    """Build the view for one page."""
    view = SleepView(desk)
    await view.refresh()
    await view.refresh_plan()


class SleepView:
    """The sections, and the timers that keep them up to date on this page."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._planned_for: str | None = None
        with el("div", cls="view"):
            with el("div", cls="view-head"):
                el("h1", "Sleep")
                every = desk.sleep.scheduler.status().every_seconds / 60
                el("span", f"{desk.runtime.market.id} market, a cycle every {every:g} min", "sub")
            with el("div", cls="sleep-grid"):
                self._build_now()
                with el("div", cls="span-7 stack"):
                    places = {name: el("div") for name in ("last", "plan", "foreseen")}
                with el("div", cls="span-5 stack"):
                    places |= {name: el("div") for name in ("budgets", "ledger")}
                places["recent"] = el("div", cls="span-12")
        self._show = Sections(places).show
        ui.timer(NOW_SECONDS, self.refresh_now, immediate=False)
        ui.timer(REST_SECONDS, self.refresh, immediate=False)

    def _build_now(self) -> None:
        controls, scheduler = self._desk.engine.controls, self._desk.sleep.scheduler
        with el("section", cls="panel span-12", aria_label="Now"):
            with el("div", cls="now"):
                with el("div"):
                    with el("div", cls="state"):
                        self._dot = el("span", cls="dot", aria_hidden="true")
                        self._words = el("span", "", role="status")
                    with el("div", cls="detail"):
                        self._next = el("span", "", data_before="next at")
                        self._detail = el("span", "")
                with el("div", cls="actions"):
                    self._run = self._switch("Run now", lambda: scheduler.wake("asked for on the page"), "primary")
                    self._pause = self._switch("Pause", lambda: controls.pause("paused on the page"))
                    self._resume = self._switch("Resume", controls.resume, "primary")
            self._meter = el("div", cls="meter", role="progressbar", aria_label="Progress of the cycle")
            with self._meter:
                self._bar = el("i")
        self.refresh_now()

    def _switch(self, text: str, what: Callable[[], object], cls: str = "") -> Any:
        """A button that steers sleep; the state is shown anew at once."""

        def act() -> None:
            attempt(what)
            self.refresh_now()

        return button(text, cls).on("click", act)

    def refresh_now(self) -> None:
        """Show the present state, in place."""
        try:
            self._show_now(self._desk.sleep.now())
        except DeepTraderError as error:
            set_text(self._words, str(error))

    def _show_now(self, now: Now) -> None:
        set_classes(self._dot, f"dot {DOTS.get(now.state, '')}".strip())
        set_text(self._words, now.words)
        error = f"last error: {now.error}" if now.error else ""
        set_text(self._detail, "; ".join(filter(None, (now.detail, error))) or " ")
        self._next.set_visibility(now.next_at is not None)
        if now.next_at is not None:
            set_attribute(self._next, "data-local", now.next_at.timestamp())
            set_attribute(self._next, "title", time_text(now.next_at))
        self._meter.set_visibility(now.fraction is not None)
        if now.fraction is not None:
            set_attribute(self._bar, "style", f"width: {now.fraction * 100:.0f}%")
            set_attribute(self._meter, "aria-valuenow", round(now.fraction * 100))
        held = now.state in ("paused", "killed")
        set_attribute(self._run, "disabled", "" if held or now.state == "running" else None)
        self._pause.set_visibility(not held)
        self._resume.set_visibility(now.state == "paused")

    async def refresh(self) -> None:
        """Read everything that needs no network, off the event loop, and show what has changed."""
        engine, log = self._desk.engine, self._desk.sleep.log
        try:
            recent, foreseen, score, ledger, today = await asyncio.to_thread(
                lambda: (
                    log.recent(RECENT),
                    engine.foresight.standing(),
                    engine.foresight.score(WINDOW),
                    engine.ledger.summary(WINDOW),
                    engine.budgets.used_today(),
                )
            )
        except DeepTraderError as error:
            set_text(self._words, str(error))
            return
        last = recent[0] if recent else None
        self._show("last", last, lambda: show_last(last))
        self._show("budgets", (today, last), lambda: show_budgets(today, last, self._desk))
        # The span of time moves with every read: what was counted decides whether anything is new.
        counted = (foreseen, score.asked, score.hits, score.predicted, score.came_true)
        self._show("foreseen", counted, lambda: show_foreseen(foreseen, score))
        self._show("ledger", (ledger.cycles, ledger.answers, ledger.savings), lambda: show_ledger(ledger))
        self._show("recent", recent, lambda: show_recent(recent))
        if self._planned_for not in (None, last.cycle_id if last else ""):
            await self.refresh_plan()

    async def refresh_plan(self) -> None:
        """Read the plan; it asks the market for its universe, so only once per cycle."""
        last = self._desk.sleep.log.last()
        self._planned_for = last.cycle_id if last else ""
        try:
            plan = await asyncio.to_thread(self._desk.sleep.plan)
        except DeepTraderError as error:
            problem = str(error)
            self._show("plan", problem, lambda: show_nothing("Next cycle", problem))
        else:
            self._show("plan", plan, lambda: show_plan(plan))


def show_last(last: CycleReport | None) -> None:
    """What the last cycle made, its longest steps, and what went wrong."""
    if last is None:
        show_nothing("Last cycle", "No cycle has run on this memory yet.")
        return
    with panel("Last cycle", f"as of {time_text(last.as_of)}"):
        with el("div", cls="tiles"):
            for name in ("published", "failed"):
                count = last.count(name)  # type: ignore[arg-type]
                tile(f"{count:,}", name, "bad-text" if count and name == "failed" else "")
            for name, count in last.made.items():
                tile(f"{count:,}", MADE_WORDS.get(name, name))
        steps = last.longest_steps()
        el("p", f"{len(last.universe)} tokens{'; longest: ' if steps else ''}{steps}", "muted")
        troubles = last.troubles()
        for text in [*troubles[:TROUBLES], *([f"and {len(troubles) - TROUBLES} more"] * (len(troubles) > TROUBLES))]:
            el("p", text, "warn-text")


def show_budgets(today: dict[BudgetKind, float], last: CycleReport | None, desk: Desk) -> None:
    """What may be spent and what was: today where the day is limited, else by the last cycle."""
    with panel("Budgets", "spent today (UTC), and by the last cycle"), el("div", cls="meters"):
        for kind, label in LIMITED.items():
            limit = desk.engine.budgets.limit(kind)
            per_day, per_cycle = (0.0 if most == float("inf") else most for most in (limit.per_day, limit.per_cycle))
            if not per_day and not per_cycle:
                continue
            by_last = last.spent.get(kind, 0.0) if last else 0.0
            spent, most = (today.get(kind, 0.0), per_day) if per_day else (by_last, per_cycle)
            share = spent / most
            with el("div", cls="row"):
                with el("div", cls="line"):
                    el("span", label)
                    words = "" if per_day else "last cycle "
                    el("span", f"{words}{_amount(spent)} of {_amount(most)}", "strong" if share > 0.8 else "")
                with el("div", cls="meter", aria_hidden="true"):
                    el("i", cls="high" if share > 0.8 else "", style=f"width: {min(100.0, 100 * share):.1f}%")


def show_foreseen(pairs: Sequence[Foreseen], score: ForesightScore) -> None:
    """Questions expected next, with the chance, why, and what stands ready; and how well that worked so far."""
    with panel("Foreseen questions", f"{len(pairs)} expected within six hours", flush=True):
        if score.asked:
            recall, precision = (
                "–" if share is None else percent_text(share) for share in (score.recall, score.precision)
            )
            judged = f"Last 7 days: {score.hits} of {score.asked} questions had been foreseen (recall {recall}); "
            judged += f"{score.came_true} of {score.predicted} predictions came true (precision {precision})."
        else:
            judged = "Nobody has asked anything in the last 7 days, so there is nothing to judge it by."
        el("p", judged, "muted pad")
        if not pairs:
            empty("None yet: what is asked often, or about a token just asked about, is foreseen by a cycle.")
            return
        rows = [
            [
                token_link(pair.symbol),
                ask_link(
                    TOPICS[pair.topic].label if pair.topic in TOPICS else pair.topic,
                    question_about(pair.symbol, pair.topic),
                ),
                percent_text(pair.chance),
                ", ".join(pair.prepared) or "nothing yet",
                pair.why,
            ]
            for pair in pairs
        ]
        columns = [("Token", "nowrap"), ("Ask", "nowrap"), ("Chance", "num"), ("Prepared", "wide"), ("Why", "")]
        _folding_table(columns, rows, "Questions foreseen, the likeliest first")


def show_plan(plan: Plan) -> None:
    """What the next cycle would do, in order, and why."""
    refreshes = list(plan.refreshes())
    deferred = [item for item in plan.items if item.action == "defer"]
    kept = sum(item.action == "keep" for item in plan.items)
    counts = f"{len(refreshes)} to refresh, {len(deferred)} deferred, {kept} kept; seen {time_text(plan.made_at)}"
    with panel("Next cycle", counts, flush=True):
        rows = [
            [token_link(item.token.symbol), item.interval, item.action, f"{item.priority:.3g}", item.reason]
            for item in [*refreshes, *deferred]
        ]
        if rows:
            columns = [("Token", "nowrap"), ("Bars", ""), ("What", "nowrap"), ("Priority", "num"), ("Why", "wide")]
            _folding_table(columns, rows, "What the next cycle would do, in order, and why")
        else:
            empty("Everything is fresh: there is nothing to refresh now." if kept else "Nothing is known yet.")
        for note in plan.notes:
            el("p", note, "muted pad")


def show_ledger(summary: LedgerSummary) -> None:
    """What sleep cost and saved, against the cheapest rival."""
    days = max(1, round((summary.until - summary.since).total_seconds() / 86_400))
    with panel("Ledger", f"last {days} days" if days > 1 else "the last day"):
        with el("div", cls="tiles"):
            tile(f"{sum(totals.answers for totals in summary.answers):,}", "questions")
            tile(f"{summary.cycles.cycles:,}", "cycles")
            tile(f"{summary.cycles.requests:,.0f}", "requests slept")
            tile(f"{summary.cycles.model_tokens:,.0f}", "model tokens slept")
            net = summary.net_tokens
            tile("not measured" if net is None else f"{net:+,.0f}", "input tokens saved, net")
            if summary.cycles.usd:
                tile(f"{summary.cycles.usd:.2f}", "USD slept")
        if not summary.answers:
            empty("Nobody has asked anything yet.")
            return
        rows = [
            [
                SERVED_WORDS[totals.served],
                f"{totals.answers:,}",
                f"{totals.median_tokens:,.0f}",
                "–" if totals.median_seconds is None else f"{totals.median_seconds:.2f} s",
            ]
            for totals in summary.answers
        ]
        columns = [("Answered", ""), ("Times", "num"), ("Median tokens", "num"), ("Median time", "num")]
        plain_table(columns, rows, caption="How questions were answered")
        if summary.savings.compared:
            rivals = ", ".join(summary.savings.rivals)
            counted = summary.savings.compared
            el("p", f"{counted} answer{'s' * (counted != 1)} compared with the cheapest rival: {rivals}.", "faint")


def show_recent(recent: Sequence[CycleReport]) -> None:
    """The newest cycles, a row each."""
    with panel("Recent cycles", flush=True):
        if not recent:
            empty("None yet.")
            return
        rows = [
            [
                time_text(report.started_at),
                f"{report.seconds:.1f} s",
                str(report.count("published")),
                str(report.count("kept") + report.count("unchanged")),
                str(report.count("deferred")),
                str(report.count("failed") + report.count("refused")),
                report.stopped_by or ("complete" if report.complete else ", ".join(report.failures()) or "incomplete"),
            ]
            for report in recent
        ]
        numbers = [("Took", "num"), ("Published", "num")]
        numbers += [(name, "num wide-only") for name in ("Kept", "Deferred", "Failed")]
        plain_table([("Begun", "nowrap"), *numbers, ("End", "")], rows, caption="Recent sleep cycles")


def _folding_table(columns: list[tuple[str, str]], rows: list[list[Any]], caption: str) -> None:
    """A table whose rows beyond the first few can be opened."""
    plain_table(columns, rows[:ROWS], caption=caption)
    if len(rows) > ROWS:
        with el("details", cls="pad"):
            el("summary", f"{len(rows) - ROWS} more", "muted")
            plain_table(columns, rows[ROWS:], caption=f"{caption}, the rest")


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:,.2f}"
