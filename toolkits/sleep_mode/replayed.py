"""The record that a team would have had: cycles over recorded bars, one at each close, at no model cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from pathlib import Path

from ...core.clock import ManualClock
from ...core.errors import InvalidInput
from ...core.files import save_plot
from ...core.formats import time_text
from ...core.settings import Settings
from ...core.token import TokenKind
from ..khala import Khala
from ..market_data.calendar import bar_closes
from ..market_data.recorded import RecordedMarket
from .calls import CallLog, ScoredCall
from .cycle import SleepCycle
from .weighing import INTERVAL, weigh_rules


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay gave: its calls, the newest first, how many cycles ran and what went wrong in them."""

    calls: Sequence[ScoredCall]
    since: datetime
    until: datetime
    cycles: int
    symbols: tuple[str, ...]
    problems: tuple[str, ...] = ()


def replay(
    settings: Settings,
    since: datetime,
    until: datetime,
    folder: Path,
    *,
    on_cycle: Callable[[int, int], object] = lambda _done, _total: None,
) -> Replay:
    """Run a cycle at the close of every recorded daily bar in a span, in a memory of its own.

    Nothing after a cycle's moment enters it. What bars after `until` would have scored stays open. The tokens are those
    that were recorded: one that failed and was not recorded is missing.

    Args:
        settings: thresholds, costs, rules, and which recording.
        since: the first moment (UTC).
        until: the last one.
        folder: of the memory that is made; should be empty.
        on_cycle: called after each cycle with how many are done, of how many.

    Raises:
        InvalidInput: no bar was recorded in the span.
        SourceError: the recording cannot be read.
        StoreError: memory cannot be written.
    """
    clock = ManualClock(since)
    market = RecordedMarket(settings.recorded_dir, clock=clock)
    first, last = max(since, market.first_bar), min(until, market.last_bar)
    kinds: set[TokenKind] = {token.kind for token in market.manifest.tokens}
    closes = sorted({at for kind in kinds for at in bar_closes(kind, INTERVAL, first, last)} if first <= last else ())
    if not closes:
        raise InvalidInput(
            f"No daily bar was recorded between {time_text(since)} and {time_text(until)}.",
            hint=f"The recording goes from {time_text(market.first_bar)} to {time_text(market.last_bar)}.",
        )
    settings = settings.with_changes(market="recorded", intervals=(INTERVAL,))
    problems: list[str] = []
    with Khala.open(folder, clock=clock, settings=settings) as khala:
        cycle = SleepCycle(
            market=market, khala=khala, settings=settings, clock=clock, after=(weigh_rules,), index=False
        )
        for done, at in enumerate(closes, 1):
            clock.set(at)
            problems += cycle.run().problems
            on_cycle(done, len(closes))
        calls = CallLog(khala.journal).calls()
        symbols = tuple(token.symbol for token in khala.symbols())
    return Replay(calls, closes[0], closes[-1], len(closes), symbols, tuple(dict.fromkeys(problems)))


def draw(calls: Sequence[ScoredCall], *, bars: int, cost: float, title: str, path: str) -> None:
    """Write a PNG: for each who called, the results of equal bets on its calls added up, after costs; dotted what
    holding the same tokens over the same bars gave.

    Raises:
        StoreUnavailable: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_ylabel(f"sum of results after {bars} bars, % (dotted: of holding)")
    axes.axhline(0, color="black", linewidth=0.6)
    scored = [(one.scores[bars], one.call) for one in calls if bars in one.scores and one.call.action != "hold"]
    scored.sort(key=lambda pair: pair[0].at)
    for number, name in enumerate(sorted({call.by for _, call in scored})):
        own = [(score, 1 if call.action == "buy" else -1) for score, call in scored if call.by == name]
        acted, held = [side * score.move - cost for score, side in own], [score.move for score, _ in own]
        for style, moves, label in (("-", acted, name.replace("_", " ")), (":", held, None)):
            curve, times = [100 * total for total in accumulate(moves)], [score.at for score, _ in own]
            axes.step(times, curve, style, where="post", color=f"C{number}", label=label)  # type: ignore[arg-type]
    if scored:
        axes.legend()
    save_plot(figure, path)
