"""`deeptrader results` and `deeptrader replay`: how calls turned out, as they were made or over recorded bars."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.progress import Progress
from rich.text import Text

from ..core.errors import InvalidInput
from ..core.formats import percent_text
from ..core.settings import Settings
from ..toolkits.market_data.evidence import TOLD_AFTER
from ..toolkits.sleep_mode.calls import TALLY_HEADS, TEAM, CallLog, Grouped, ScoredCall, tallies, tally_texts
from .options import AsOf, DataDir, Json, Market, parse_moment, runtime_for, settings_for
from .output import DASH, console, errors, plain_table, print_json

Way = Literal["maker", "token", "agent", "model"]
_WAYS: dict[Way, Grouped] = {"maker": "by", "token": "symbol", "agent": "agent", "model": "model"}

_REPLAYED = ("since", "until", "cycles", "symbols", "problems")
Bars = Annotated[int, typer.Option("--bars", help="Look so many bars after each call: 1, 7 or 30.")]
By = Annotated[Way, typer.Option("--by", help="Group by maker (a rule or the team), token, agent or model.")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Also draw the results, added up, to this PNG.")]


def results(
    token: Annotated[str | None, typer.Argument(help="Only calls on this token.")] = None,
    by: By = "maker",
    bars: Bars = TOLD_AFTER,
    team: Annotated[bool, typer.Option("--team", help="Only what the team recommended.")] = False,
    days: Annotated[float | None, typer.Option("--days", min=0.01, help="How far back. Default: all.")] = None,
    plot: Plot = None,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """How the calls of rules and of the team turned out, beside holding the same tokens and the market."""
    from .knowledge import find_token

    with runtime_for(data_dir, market, as_of, reading=True) as runtime:
        symbol = find_token(runtime, token).symbol if token else None
        now = runtime.clock.now()
        since, by_whom = now - timedelta(days=days) if days else None, TEAM if team else None
        calls = CallLog(runtime.khala.journal).calls(symbol=symbol, by=by_whom, since=since, until=now)
        _show(calls, runtime.settings, by, bars, plot, json, {}, "Calls as they were made")


def replay(
    since: Annotated[str, typer.Option("--from", help="First day, e.g. 2012-01-01.")],
    until: Annotated[str, typer.Option("--to", help="Last day.")],
    by: By = "maker",
    bars: Bars = TOLD_AFTER,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """The record that the rules would have had over recorded bars: a cycle at each close, at no model cost."""
    from ..toolkits.sleep_mode.replayed import replay as run_replay

    first, last = parse_moment(since), parse_moment(until)
    if first is None or last is None or first >= last:
        raise InvalidInput("--from must lie before --to.", hint="Write --from 2012-01-01 --to 2013-01-01.")
    tallies((), bars=bars, by=_WAYS[by])  # wrong ones are told before minutes of work
    settings = settings_for(None, "recorded")
    with tempfile.TemporaryDirectory(prefix="deeptrader-replay-") as folder, Progress(console=errors) as display:
        task = display.add_task("Replaying", total=None, visible=not json)
        made = run_replay(
            settings, first, last, Path(folder), on_cycle=lambda n, of: display.update(task, completed=n, total=of)
        )
    about = {"replayed": True} | {name: getattr(made, name) for name in _REPLAYED}
    head = (
        f"REPLAY over recorded bars, {made.since:%Y-%m-%d} to {made.until:%Y-%m-%d}: {made.cycles} cycles over "
        f"{', '.join(made.symbols)}. No trade was made and no model asked; these tokens are known to have survived."
    )
    _show(made.calls, settings, by, bars, plot, json, about, head)
    if not json:
        for problem in made.problems[:5]:
            console.print(Text(f"problem: {problem}", style="yellow"))


def _show(
    calls: Sequence[ScoredCall],
    settings: Settings,
    by: Way,
    bars: int,
    plot: Path | None,
    json: bool,
    about: dict[str, Any],
    head: str,
) -> None:
    cost = settings.round_trip_cost
    found = tallies(calls, bars=bars, cost=cost, by=_WAYS[by])
    if plot is not None:
        from ..toolkits.sleep_mode.replayed import draw

        draw(calls, bars=bars, cost=cost, title=head.partition(".")[0], path=str(plot))
    if json:
        made = [{**one.call.model_dump(), "scores": [one.scores[n] for n in sorted(one.scores)]} for one in calls]
        document = {"schema_version": 1, **about, "by": by, "bars": bars, "cost": cost, "tallies": found}
        print_json(document | {"calls": made} | ({"plot": str(plot)} if plot else {}))
        return
    console.print(Text(head))
    if not found:
        console.print("No call is on record yet: rules call when a bar closes, the team when it recommends.")
        return
    table = plain_table(by.capitalize(), TALLY_HEADS[0], *(f">{head}" for head in TALLY_HEADS[1:]))
    for tally in found:
        table.add_row(Text(tally.name.replace("_", " ") or DASH), *tally_texts(tally))
    console.print(table)
    text = (
        f"After {bars} bar{'s' * (bars > 1)}. Right: the token rose after a buy, fell after a sell, with the 95 % "
        "interval of the share (too narrow where calls lie close together). Means: result after costs of "
        f"{percent_text(cost)} a round trip; held, the token's own move; the market's."
    )
    console.print(Text(text, style="dim"))
    if plot is not None:
        console.print(f"Plot: {plot}", markup=False)
