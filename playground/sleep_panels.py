"""The panels of the sleep view: last cycle, budgets, plan, foreseen questions, ledger, recent cycles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.formats import percent_text, time_text
from ..toolkits.sleep_mode.foresight import Foreseen, ForesightScore
from ..toolkits.sleep_mode.ledger import SERVED_WORDS, LedgerSummary
from ..toolkits.sleep_mode.planner import Plan, PlanItem
from ..toolkits.sleep_mode.report import MADE_WORDS, CycleReport
from ..toolkits.sleep_mode.topics import TOPICS
from .desk import Desk
from .dom import el, empty, panel, plain_table, since
from .sleep_desk import BudgetLine

ROWS = 12
TROUBLES = 10


def show_last(last: CycleReport | None, desk: Desk) -> None:
    """What the last cycle did, its longest steps, and what went wrong."""
    if last is None:
        with panel("Last cycle"):
            empty("No cycle has run on this memory yet.")
        return
    with panel("Last cycle", f"as of {time_text(last.as_of)}"):
        with el("div", cls="tiles"):
            for name in ("published", "unchanged", "kept", "deferred", "failed", "refused"):
                count = last.count(name)  # type: ignore[arg-type]
                if count or name in ("published", "kept", "failed"):
                    _tile(f"{count:,}", name, "bad-text" if count and name in ("failed", "refused") else "")
            for name, count in last.made.items():
                _tile(f"{count:,}", MADE_WORDS.get(name, name))
            _tile(f"{last.seconds:.1f} s", "took")
        steps = last.longest_steps()
        with el("p", cls="muted"):
            el("span", f"{len(last.universe)} tokens{'; longest: ' if steps else ''}{steps}; finished ")
            if desk.replaying:
                el("span", time_text(last.finished_at))
            else:
                since(last.finished_at, desk.runtime.clock.now())
        troubles = last.troubles()
        for text in [*troubles[:TROUBLES], *([f"and {len(troubles) - TROUBLES} more"] * (len(troubles) > TROUBLES))]:
            el("p", text, "warn-text")


def show_budgets(lines: Sequence[BudgetLine]) -> None:
    """What may be spent and what was."""
    with panel("Budgets", "spent today (UTC), and by the last cycle"), el("div", cls="meters"):
        for line in lines:
            spent, limit = (line.today, line.per_day) if line.per_day else (line.last_cycle, line.per_cycle)
            share = spent / limit if limit else 0.0
            with el("div", cls="row"):
                with el("div", cls="line"):
                    el("span", line.label)
                    words = "" if line.per_day else "last cycle "
                    el("span", f"{words}{_amount(spent)} of {_amount(limit or 0)}", "strong" if share > 0.8 else "")
                with el("div", cls="meter", aria_hidden="true"):
                    el("i", cls="high" if share > 0.8 else "", style=f"width: {min(100.0, 100 * share):.1f}%")
                if line.per_day and line.per_cycle:
                    el("div", f"last cycle {_amount(line.last_cycle)} of {_amount(line.per_cycle)}", "faint")


def show_foreseen(content: tuple[Sequence[Foreseen], ForesightScore]) -> None:
    """Questions expected next, with the chance, why, and what stands ready; and how well that worked so far."""
    pairs, score = content
    with panel("Foreseen questions", f"{len(pairs)} expected within six hours", flush=True):
        if score.asked:
            recall, precision = (f"{percent_text(share)}" if share is not None else "–" for share in _shares(score))
            told = f"Last 7 days: {score.hits} of {score.asked} questions had been foreseen (recall {recall}); "
            told += f"{score.came_true} of {score.predicted} predictions came true (precision {precision})."
        else:
            told = "Nobody has asked anything in the last 7 days, so there is nothing to judge it by."
        el("p", told, "muted pad")
        if not pairs:
            empty("None yet: what is asked often, follows an ask or changed is foreseen by a cycle.")
            return
        rows = [
            [
                _token_link(pair.symbol),
                TOPICS[pair.topic].label if pair.topic in TOPICS else pair.topic,
                percent_text(pair.chance),
                ", ".join(pair.prepared) or "nothing yet",
                pair.why,
            ]
            for pair in pairs
        ]
        columns = [("Token", "nowrap"), ("Topic", "nowrap"), ("Chance", "num"), ("Prepared", "wide"), ("Why", "")]
        _folding_table(columns, rows, "Questions foreseen, the likeliest first")


def _shares(score: ForesightScore) -> tuple[float | None, float | None]:
    return score.recall, score.precision


def show_plan(plan: Plan) -> None:
    """What the next cycle would do, in order, and why."""
    refreshes = list(plan.refreshes())
    deferred = [item for item in plan.items if item.action == "defer"]
    kept = [item for item in plan.items if item.action == "keep"]
    told = f"{len(refreshes)} to refresh, {len(deferred)} deferred, {len(kept)} kept; seen {time_text(plan.made_at)}"
    with panel("Next cycle", told, flush=True):
        if refreshes or deferred:
            _plan_table([*refreshes, *deferred], "What the next cycle would do, in order, and why")
        else:
            empty("Everything is fresh: there is nothing to refresh now." if kept else "Nothing is known yet.")
        for note in plan.notes:
            el("p", note, "muted pad")


def _plan_table(items: Sequence[PlanItem], caption: str) -> None:
    rows = [
        [_token_link(item.token.symbol), item.interval, item.action, f"{item.priority:.3g}", item.reason]
        for item in items
    ]
    columns = [("Token", "nowrap"), ("Bars", ""), ("What", "nowrap"), ("Priority", "num"), ("Why", "wide")]
    _folding_table(columns, rows, caption)


def show_ledger(summary: LedgerSummary) -> None:
    """What sleep cost and saved, against the cheapest rival."""
    days = max(1, round((summary.until - summary.since).total_seconds() / 86_400))
    with panel("Ledger", f"last {days} days" if days > 1 else "the last day"):
        with el("div", cls="tiles"):
            _tile(f"{sum(totals.answers for totals in summary.answers):,}", "questions")
            _tile(f"{summary.cycles.cycles:,}", "cycles")
            _tile(f"{summary.cycles.requests:,.0f}", "requests slept")
            _tile(f"{summary.cycles.model_tokens:,.0f}", "model tokens slept")
            net = summary.net_tokens
            _tile("not measured" if net is None else f"{net:+,.0f}", "input tokens saved, net")
            if summary.cycles.usd:
                _tile(f"{summary.cycles.usd:.2f}", "USD slept")
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
        numbers = [(name, "num") for name in ("Took", "Published", "Kept", "Deferred", "Failed")]
        plain_table([("Begun", ""), *numbers, ("End", "wide")], rows, caption="Recent sleep cycles")


def show_problem(title: str, text: str) -> None:
    """A panel that cannot be filled says why."""
    with panel(title):
        el("p", text, "warn-text")


def _folding_table(columns: list[tuple[str, str]], rows: list[list[Any]], caption: str) -> None:
    """A table whose rows beyond the first few can be opened."""
    plain_table(columns, rows[:ROWS], caption=caption)
    if len(rows) > ROWS:
        with el("details", cls="pad"):
            el("summary", f"{len(rows) - ROWS} more", "muted")
            plain_table(columns, rows[ROWS:], caption=f"{caption}, the rest")


def _token_link(symbol: str) -> Any:
    return (lambda: el("a", symbol, href=f"/token/{symbol}")) if symbol else "the market"


def _tile(number: str, name: str, tone: str = "") -> None:
    with el("div", cls="tile"):
        el("div", number, f"n {tone}")
        el("div", name, "k")


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:,.2f}"
