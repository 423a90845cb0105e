"""A recorded market on disk, and how one is written: one `manifest.json`, one gzipped CSV file per token and interval.

A file holds closed bars as they were delivered, oldest first, one line each:

    bar_close,open,high,low,close,volume[,adj_close]
    2005-02-25T21:00:00Z,89.62,89.91,88.19,88.99,32691900,5.850108

`bar_close` is UTC. Bars that do not exist have no line. With the column `adj_close` the prices are as printed on the
day; `adjust` scales them by `adj_close / close`, so that neither a split nor a dividend shows as a jump. `splits` in
the manifest do the same for volumes.

The manifest carries a SHA-256 of every file. Files are named by their content and the manifest is replaced last, in
one step: a recording that is interrupted leaves the previous one whole.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import (
    DeepTraderError,
    InvalidInput,
    MalformedResponse,
    SourceError,
    StoreUnavailable,
    VerificationFailed,
)
from ...core.files import write_whole
from ...core.market import UtcDatetime
from ...core.token import INTERVALS, Interval, Record, Symbol, Token
from .calendar import bar_closes
from .panel import COLUMNS, moments
from .plausibility import check_bars, require_plausible
from .protocol import Bars, MarketProvider, require_positive

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "manifest.json"
_HINT = "Record the market again with `deeptrader record`, or name another folder in DEEPTRADER_RECORDED_DIR."
_PRICES = list(COLUMNS[:4])
_TOLERANCE = 1e-6


class Split(Record):
    """From the bar closing at `at` on, one old share is `ratio` new ones."""

    at: UtcDatetime
    ratio: Annotated[float, Field(gt=0)]


class RecordedFile(Record):
    """One token on one interval: which file, what is in it, and the hash it must have."""

    symbol: Symbol
    interval: Interval
    file: Annotated[str, Field(pattern=r"^[\w.^=-]+\.csv\.gz$", description="beside the manifest, in no other folder")]
    sha256: str
    rows: Annotated[int, Field(ge=1)]
    first_bar: UtcDatetime
    last_bar: UtcDatetime
    adjusted: bool = False
    splits: tuple[Split, ...] = ()


class Manifest(Record):
    """What a recorded market holds. `units` are units outstanding when recorded: market cap / price at that moment."""

    format: Literal[1] = 1
    name: str
    provider: str
    source: str = ""
    licence: str = ""
    simulated: bool = False
    recorded_at: UtcDatetime | None = None
    tokens: tuple[Token, ...]
    units: dict[Symbol, float] = Field(default_factory=dict)
    files: tuple[RecordedFile, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        known = {token.symbol for token in self.tokens}
        stray = [entry.symbol for entry in self.files if entry.symbol not in known]
        if stray or not self.files:
            raise ValueError(f"{stray[0]} has bars but is not among the tokens" if stray else "it lists no files")
        return self


# Reading


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a recorded market.

    Raises:
        InvalidInput: the folder is not there, cannot be read or holds no recording.
        MalformedResponse: the manifest does not parse.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InvalidInput(f"{folder} holds no recorded market: {MANIFEST} is missing.", hint=_HINT) from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", hint=_HINT) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the text"
        raise MalformedResponse(f"{path} is damaged: {where}: {first['msg']}.", hint=_HINT) from error


def read_bars(folder: Path, entry: RecordedFile, token: Token) -> pd.DataFrame:
    """Lines of one file on the token's calendar, as recorded: not yet adjusted, with the column `adj_close` if it has
    one. A bar that should exist and does not is a row of NaN.

    Raises:
        MalformedResponse: the file is missing, not the one that was recorded, or has a bad row (file and line named).
    """
    rows = read_rows(folder, entry)
    closes = moments(rows)
    expected = bar_closes(token.kind, entry.interval, closes[0] - timedelta(microseconds=1), closes[-1])
    stray = (~rows.index.isin(expected)).nonzero()[0]
    if len(stray):
        where = f"{folder / entry.file}, line {stray[0] + 2}"
        moment = closes[int(stray[0])].isoformat()
        raise MalformedResponse(f"{where}: no {entry.interval} bar closes at {moment}.", hint=_HINT)
    return rows.reindex(expected)


def read_rows(folder: Path, entry: RecordedFile) -> pd.DataFrame:
    """Lines of one file as they were recorded: float columns indexed by `bar_close` (UTC), checked line by line.

    Raises:
        MalformedResponse: as `read_bars`.
    """
    import pandas as pd

    path = folder / entry.file
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise MalformedResponse(f"{path} cannot be read: {error.strerror}.", hint=_HINT) from error
    if hashlib.sha256(packed).hexdigest() != entry.sha256:
        raise MalformedResponse(f"{path} is not the file that was recorded: its SHA-256 differs.", hint=_HINT)
    try:
        header, *lines = gzip.decompress(packed).decode().splitlines()
    except (ValueError, EOFError, OSError, zlib.error) as error:
        raise MalformedResponse(f"{path} does not parse: {error}.", hint=_HINT) from error
    usual = ",".join(["bar_close", *COLUMNS])
    if header not in (usual, f"{usual},adj_close") or not lines:
        raise MalformedResponse(f"{path}, line 1: expected the columns {usual}[,adj_close].", hint=_HINT)
    _, *columns = header.split(",")
    closes: list[datetime] = []
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 2):
        moment, *cells = line.split(",")
        try:
            close, row = ensure_utc(datetime.fromisoformat(moment)), [float(cell) for cell in cells]
        except ValueError as error:
            raise MalformedResponse(f"{path}, line {number}: {error}.", hint=_HINT) from error
        sound = len(row) == len(columns) and all(map(isfinite, row)) and min(*row[:4], *row[5:]) > 0 <= row[4]
        if not sound or (closes and close <= closes[-1]):
            raise MalformedResponse(f"{path}, line {number}: no bar, or not later than the line before.", hint=_HINT)
        closes.append(close)
        rows.append(row)
    return pd.DataFrame(rows, index=pd.DatetimeIndex(closes, name="bar_close").as_unit("us"), columns=columns)


def adjust(rows: pd.DataFrame, splits: Sequence[Split]) -> pd.DataFrame:
    """Scale printed prices by `adj_close / close` relative to the last row, and volumes by the splits up to it.

    Nothing after the last row enters: cut the rows at a moment first, and no later dividend is known. Rows without
    `adj_close` come back as they are.
    """
    import pandas as pd

    if "adj_close" not in rows or rows.empty:
        return rows
    factor = (rows["adj_close"] / rows["close"]).ffill().to_numpy()
    columns = {name: rows[name].to_numpy() * (factor / factor[-1]) for name in _PRICES}
    volume = rows["volume"].to_numpy(copy=True)
    for split in splits:
        if (at := pd.Timestamp(split.at)) <= rows.index[-1]:
            volume[rows.index < at] *= split.ratio
    return pd.DataFrame(columns | {"volume": volume}, index=rows.index)


# Writing


def write_bars(folder: Path, token: Token, interval: Interval, rows: pd.DataFrame, **about: object) -> RecordedFile:
    """Write one file under a name made of its content, equal rows to equal bytes; `about` fills the rest of the
    manifest's entry."""
    lines = rows.reset_index()
    lines["bar_close"] = lines["bar_close"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    lines["volume"] = [f"{volume:.0f}" if volume == int(volume) else repr(volume) for volume in lines["volume"]]
    packed = gzip.compress(lines.to_csv(index=False, lineterminator="\n").encode(), mtime=0)
    digest = hashlib.sha256(packed).hexdigest()
    safe = "".join(c if c.isalnum() or c in "-._" else "_" for c in token.symbol)
    name = f"{safe}.{interval}.{digest[:10]}.csv.gz"
    write_whole(folder / name, packed)
    first, *_, last = moments(rows) * 2
    entry = {"symbol": token.symbol, "interval": interval, "file": name, "sha256": digest, "rows": len(rows)}
    return RecordedFile.model_validate({**entry, "first_bar": first, "last_bar": last, **about})


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest in one step, then drop files that no manifest names any more."""
    told = json.dumps(manifest.model_dump(mode="json", exclude_defaults=True), indent=1)
    write_whole(folder / MANIFEST, told + "\n")
    named = {entry.file for entry in manifest.files}
    for path in folder.glob("*.csv.gz"):
        if path.name not in named:
            path.unlink()


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
        return len(self.outcomes) - len(self.failed)

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
    not overlap them are refused. What is recorded can be replayed: implausible bars are a failure of their token. One
    token's failure does not stop the others. The folder changes in one step at the end: interrupted, it is as it was.

    Args:
        market: where they come from.
        folder: where they go; made if missing.
        tokens: what is recorded; or
        top: so many of the universe, the largest first.
        intervals: those that are recorded.
        limit: closed bars of each token and interval at most.
        clock: the present; the machine's when left out.

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
    asked = set(intervals) & set(market.intervals)
    wanted: list[Interval] = [interval for interval in INTERVALS if interval in asked]
    if not wanted:
        raise InvalidInput(f"The {market.id} market has none of these intervals.", hint=f"It has {market.intervals}.")
    before = read_manifest(folder) if (folder / MANIFEST).exists() else None
    if before is not None and before.simulated != market.simulated:
        raise InvalidInput(f"{folder} holds a recording of another market.", hint="Record into another folder.")
    universe = market.universe(top=top) if top is not None else None
    chosen = list(universe.tokens) if universe is not None else list(tokens or ())
    files = {(entry.symbol, entry.interval): entry for entry in (before.files if before else ())}
    outcomes: list[RecordOutcome] = []
    sources: list[str] = [before.source] if before else []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for token, interval in product(chosen, wanted):
            old = files.get((token.symbol, interval))
            try:
                bars = market.bars(token, interval=interval, limit=limit)
                files[token.symbol, interval], outcome = _write(folder, bars, old)
                sources.append(bars.source or bars.provider)
            except DeepTraderError as error:
                rows = old.rows if old else 0
                outcome = RecordOutcome(token.symbol, interval, "failed", rows, 0, error.code, error.message)
            outcomes.append(outcome)
        if any(outcome.status == "recorded" for outcome in outcomes):
            held = {symbol for symbol, _ in files}
            every = {token.symbol: token for token in (*(before.tokens if before else ()), *chosen)}
            units = dict(before.units) if before else {}
            for quote in universe.quotes.values() if universe is not None else ():
                units |= {quote.symbol: quote.market_cap / quote.price} if quote.market_cap else {}
            manifest = Manifest(
                name=before.name if before else f"recorded from {market.id}",
                licence=before.licence if before else "",
                provider=market.id,
                source="; ".join(dict.fromkeys(source for source in sources if source)),
                simulated=market.simulated,
                recorded_at=(clock or SystemClock()).now(),
                tokens=tuple(token for symbol, token in every.items() if symbol in held),
                units={symbol: value for symbol, value in units.items() if symbol in held},
                files=tuple(files[key] for key in sorted(files)),
            )
            write_manifest(folder, manifest)
    except OSError as error:
        raise StoreUnavailable(
            f"{folder} cannot be written: {error.strerror or error}.", hint="Name a folder you may write to."
        ) from error
    return RecordReport(str(folder), tuple(outcomes), dict(universe.excluded) if universe is not None else {})


def _write(folder: Path, bars: Bars, old: RecordedFile | None) -> tuple[RecordedFile, RecordOutcome]:
    """Recorded and new rows of one token in one file."""
    import pandas as pd

    if isinstance(bars.problem, SourceError) and bars.stale_seconds is not None:
        raise bars.problem
    fresh = bars.frame.dropna(subset=_PRICES).fillna({"volume": 0.0})
    if fresh.empty:
        raise VerificationFailed(f"{bars.token} has no {bars.interval} bar with a price.", hint="Try a larger limit.")
    rows, added = fresh, len(fresh)
    if old is not None:
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
                    f"New bars of {bars.token} do not overlap the recorded ones: an adjustment between them is unseen.",
                    hint="Record again with a larger limit.",
                )
            ratio = float(fresh.loc[shared[0], "close"]) / float(kept.loc[shared[0], "close"])
            if abs(ratio - 1) > _TOLERANCE:
                older = older.assign(**{name: older[name] * ratio for name in _PRICES})
        rows, added = pd.concat([older, fresh]).sort_index(), len(fresh) - len(shared)
        rows.index.name = "bar_close"
    require_plausible(bars.token.symbol, check_bars(rows))
    entry = write_bars(folder, bars.token, bars.interval, rows, adjusted=bars.adjusted)
    status = "unchanged" if old is not None and old.sha256 == entry.sha256 else "recorded"
    return entry, RecordOutcome(bars.token.symbol, bars.interval, status, len(rows), added)
