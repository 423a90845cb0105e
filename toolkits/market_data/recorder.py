"""Write a recorded market from any provider: what `deeptrader record` does, with Yahoo in practice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...core.clock import Clock, SystemClock
from ...core.errors import DeepTraderError, InvalidInput, StoreUnavailable, VerificationFailed
from ...core.token import INTERVALS, Interval, Token
from .offline import require_positive
from .protocol import Bars, MarketProvider
from .recording import MANIFEST, Manifest, RecordedFile, read_manifest, read_rows, write_bars, write_manifest

if TYPE_CHECKING:
    import pandas as pd

_TOLERANCE = 1e-6


@dataclass(frozen=True)
class RecordOutcome:
    """What became of one token on one interval. `rows` are in the file now, `added` of them were not before."""

    symbol: str
    interval: Interval
    status: Literal["recorded", "unchanged", "failed"]
    rows: int = 0
    added: int = 0
    error: str = ""
    message: str = ""


@dataclass(frozen=True)
class RecordReport:
    """What `record` did, token by token. Plain values, so that `asdict` of it is JSON."""

    folder: str
    outcomes: tuple[RecordOutcome, ...] = ()
    excluded: dict[str, str] = field(default_factory=dict)

    @property
    def recorded(self) -> int:
        """How many token and interval pairs are up to date in the folder."""
        return sum(outcome.status != "failed" for outcome in self.outcomes)

    @property
    def failed(self) -> tuple[RecordOutcome, ...]:
        """The ones that are not; what was recorded of them before is kept."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "failed")

    def __str__(self) -> str:
        """For people: one line, and one more per failure."""
        done = [outcome for outcome in self.outcomes if outcome.status != "failed"]
        tokens, asked = (len({outcome.symbol for outcome in some}) for some in (done, self.outcomes))
        rows, added = sum(outcome.rows for outcome in done), sum(outcome.added for outcome in done)
        lines = [f"{tokens} of {asked} tokens recorded in {self.folder}: {rows:,} bars, {added:,} of them new."]
        lines += [f"{bad.symbol} {bad.interval} failed: {bad.error}: {bad.message}" for bad in self.failed]
        return "\n".join(lines)


def record(
    market: MarketProvider,
    folder: Path | str,
    *,
    tokens: Sequence[Token] | None = None,
    top: int | None = None,
    intervals: Iterable[Interval] = INTERVALS,
    limit: int = 400,
    clock: Clock | None = None,
) -> RecordReport:
    """Fetch closed bars and write them into `folder`, adding to what is already recorded there.

    Either `tokens` or the `top` of the market's universe. New bars replace recorded ones of the same moment; older
    ones stay. Adjusted prices restate the past, so recorded ones are rescaled where the two overlap, and bars that do
    not overlap them are refused. One token's failure does not stop the others. The folder changes in one step at the
    end: interrupted, it is as it was.

    Raises:
        InvalidInput: neither or both of `tokens` and `top`, a count below 1, or no interval the market has.
        StoreUnavailable: the folder cannot be written.
        MalformedResponse: it holds a recording that is damaged.
        SourceError: the universe could not be fetched.
    """
    folder = Path(folder)
    if (tokens is None) == (top is None):
        raise InvalidInput("Name either tokens or how many of the top to record.", hint="Pass one of tokens and top.")
    require_positive("limit", limit)
    wanted: tuple[Interval, ...] = tuple(
        interval for interval in INTERVALS if interval in set(intervals) & set(market.intervals)
    )
    if not wanted:
        raise InvalidInput(f"The {market.id} market has none of these intervals.", hint=f"It has {market.intervals}.")
    before = read_manifest(folder) if (folder / MANIFEST).exists() else None
    if before is not None and before.simulated != market.simulated:
        raise InvalidInput(f"{folder} holds a recording of another market.", hint="Record into another folder.")
    moment = (clock or SystemClock()).now()
    universe = market.universe(top=top) if top is not None else None
    chosen = list(universe.tokens) if universe is not None else list(tokens or ())
    units = dict(before.units) if before else {}
    for quote in universe.quotes.values() if universe is not None else ():
        if quote.market_cap:
            units[quote.symbol] = quote.market_cap / quote.price

    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = before.files if before else ()
        files: dict[tuple[str, Interval], RecordedFile] = {(entry.symbol, entry.interval): entry for entry in held}
        outcomes: list[RecordOutcome] = []
        sources: list[str] = [before.source] if before else []
        for token in chosen:
            for interval in wanted:
                old = files.get((token.symbol, interval))
                try:
                    bars = market.bars(token, interval=interval, limit=limit)
                    entry, outcome = _write(folder, bars, old)
                except DeepTraderError as error:
                    outcomes.append(_failure(token, interval, old, error))
                    continue
                files[(token.symbol, interval)] = entry
                sources.append(bars.source or bars.provider)
                outcomes.append(outcome)
        if any(outcome.status == "recorded" for outcome in outcomes):
            write_manifest(folder, _manifest(market, before, chosen, files, units, sources, moment))
    except OSError as error:
        raise StoreUnavailable(
            f"{folder} cannot be written: {error.strerror or error}.", hint="Name a folder you may write to."
        ) from error
    return RecordReport(
        folder=str(folder), outcomes=tuple(outcomes), excluded=dict(universe.excluded) if universe is not None else {}
    )


def _write(folder: Path, bars: Bars, old: RecordedFile | None) -> tuple[RecordedFile, RecordOutcome]:
    fresh = bars.frame.dropna(subset=["open", "high", "low", "close"])
    fresh = fresh.fillna({"volume": 0.0})
    if fresh.empty:
        raise VerificationFailed(f"{bars.token} has no {bars.interval} bar with a price.", hint="Try a larger limit.")
    rows, added = _merge(folder, bars, fresh, old)
    entry = write_bars(folder, bars.token, bars.interval, rows, adjusted=bars.adjusted)
    unchanged = old is not None and old.sha256 == entry.sha256
    outcome = RecordOutcome(
        symbol=bars.token.symbol,
        interval=bars.interval,
        status="unchanged" if unchanged else "recorded",
        rows=len(rows),
        added=added,
    )
    return entry, outcome


def _merge(folder: Path, bars: Bars, fresh: pd.DataFrame, old: RecordedFile | None) -> tuple[pd.DataFrame, int]:
    """Recorded and new rows in one, and how many of them are new moments."""
    import pandas as pd

    if old is None:
        return fresh, len(fresh)
    kept = read_rows(folder, old)
    if "adj_close" in kept.columns or old.adjusted != bars.adjusted:
        raise VerificationFailed(
            f"{bars.token} is recorded with prices adjusted in another way.", hint="Record into another folder."
        )
    shared = kept.index.intersection(fresh.index)
    older = kept.loc[~kept.index.isin(fresh.index)]
    if bars.adjusted and len(older):
        if not len(shared):
            raise VerificationFailed(
                f"New bars of {bars.token} do not overlap the recorded ones, so an adjustment between them is unseen.",
                hint="Record again with a larger limit.",
            )
        ratio = float(fresh.loc[shared[0], "close"]) / float(kept.loc[shared[0], "close"])
        if abs(ratio - 1) > _TOLERANCE:
            older = older.assign(**{name: older[name] * ratio for name in ("open", "high", "low", "close")})
    merged = pd.concat([older, fresh]).sort_index()
    merged.index.name = "bar_close"
    return merged, len(fresh) - len(shared)


def _failure(token: Token, interval: Interval, old: RecordedFile | None, error: DeepTraderError) -> RecordOutcome:
    rows = old.rows if old else 0
    return RecordOutcome(token.symbol, interval, "failed", rows, 0, error.code, error.message)


def _manifest(
    market: MarketProvider,
    before: Manifest | None,
    chosen: Sequence[Token],
    files: dict[tuple[str, Interval], RecordedFile],
    units: dict[str, float],
    sources: Sequence[str],
    moment: datetime,
) -> Manifest:
    tokens = {token.symbol: token for token in (*(before.tokens if before else ()), *chosen)}
    held = {symbol for symbol, _ in files}
    return Manifest(
        name=before.name if before else f"recorded from {market.id}",
        provider=market.id,
        source="; ".join(dict.fromkeys(source for source in sources if source)),
        licence=before.licence if before else "",
        simulated=market.simulated,
        recorded_at=moment,
        tokens=tuple(token for symbol, token in tokens.items() if symbol in held),
        units={symbol: value for symbol, value in units.items() if symbol in held},
        files=tuple(files[key] for key in sorted(files)),
    )
