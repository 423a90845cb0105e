"""The panels of the sleep view: last cycle, budgets, plan, anticipated questions, ledger, recent cycles."""

from __future__ import annotations

from nicegui import ui

from ..toolkits.sleep_mode.report import CycleReport
from ..toolkits.sleep_mode.planner import Plan, PlanItem
from .charts import ledger_chart
from .desk import Desk
from .dom import FRESHNESS_TONE, badge, el, empty, panel, plain_table, since, stamp
from .sleep_desk import Anticipated, BudgetLine, LedgerView

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
BUDGET_NAMES = {
    "requests": "Network requests",
    "security_calls": "Security calls",
    "model_tokens": "Model tokens",
    "usd": "US dollars",
    "seconds": "Seconds",
}


def show_last(last: CycleReport | None, desk: Desk) -> None:
    """What the last cycle did, how long each step took, and what went wrong."""
    if last is None:
        with panel("Last cycle"):
            empty("No cycle has run on this memory yet.")
        return
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
                el("span", f"{name.replace('_', ' ')} {seconds:.2f} s")


def show_budgets(lines: list[BudgetLine]) -> None:
    """What may be spent and what was."""
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


def show_anticipated(content: tuple[list[Anticipated], tuple[int, int]]) -> None:
    """Prepared questions with their answers, how often each was then asked, and how many were foreseen."""
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


def show_plan(plan: Plan) -> None:
    """What the next cycle would do, in order, and why."""
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


def show_ledger(view: LedgerView) -> None:
    """What sleep cost and saved, with its plot."""
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


def show_recent(recent: list[CycleReport]) -> None:
    """The newest cycles, a row each."""
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


def show_problem(title: str, text: str) -> None:
    """A panel that cannot be filled says why."""
    with panel(title):
        el("p", text, "warn-text")


def _tile(number: str, name: str, tone: str = "") -> None:
    with el("div", cls="tile"):
        el("div", number, f"n {tone}")
        el("div", name, "k")


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:,.2f}"


def duration(seconds: float) -> str:
    """`90 s`, `5 min`, `1.5 h`."""
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
