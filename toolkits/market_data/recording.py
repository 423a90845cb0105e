"""A recorded market on disk: one `manifest.json`, and one gzipped CSV file per token and interval.

A file holds closed bars as they were delivered, oldest first, one line each:

    bar_close,open,high,low,close,volume[,adj_close]
    2005-02-25T21:00:00Z,89.62,89.91,88.19,88.99,32691900,5.850108

`bar_close` is UTC. Bars that do not exist have no line. With the column `adj_close` the prices are as printed on the
day; reading scales them by `adj_close / close`, so that neither a split nor a dividend shows as a jump, and so that
the last recorded bar keeps its printed price. `splits` in the manifest do the same for volumes.

The manifest carries a SHA-256 of every file. Files are named by their content and the manifest is replaced last, in
one step: a recording that is interrupted leaves the previous one whole.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError

from ...core.errors import InvalidInput, MalformedResponse
from ...core.market import UtcDatetime
from ...core.token import Interval, Record, Symbol, Token
from .calendar import bar_closes
from .panel import moments

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MANIFEST = "manifest.json"
COLUMNS = ("open", "high", "low", "close", "volume")
_HINT = "Record the market again with `deeptrader record`, or name another folder in DEEPTRADER_RECORDED_DIR."


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


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a recorded market.

    Raises:
        InvalidInput: the folder is not there, cannot be read or holds no recording.
        MalformedResponse: the manifest does not parse.
    """
    path = folder / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InvalidInput(f"{folder} holds no recorded market: {MANIFEST} is missing.", hint=_HINT) from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", hint=_HINT) from error
    except UnicodeDecodeError as error:
        raise MalformedResponse(f"{path} is damaged: it is not UTF-8 text.", hint=_HINT) from error
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the text"
        raise MalformedResponse(f"{path} is damaged: {where}: {first['msg']}.", hint=_HINT) from error
    known = {token.symbol for token in manifest.tokens}
    stray = [entry.symbol for entry in manifest.files if entry.symbol not in known]
    if stray or not manifest.files:
        problem = f"{stray[0]} has bars but is not among the tokens" if stray else "it lists no files"
        raise MalformedResponse(f"{path} is damaged: {problem}.", hint=_HINT)
    return manifest


def read_bars(folder: Path, entry: RecordedFile, token: Token) -> pd.DataFrame:
    """Bars of one file on the token's calendar, adjusted; a bar that should exist and does not is a row of NaN.

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
    return adjust(rows, entry.splits).reindex(expected)


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
        table = pd.read_csv(io.BytesIO(gzip.decompress(packed)), dtype=str, keep_default_na=False)
    except (ValueError, EOFError, OSError, zlib.error) as error:  # pandas' ParserError is a ValueError
        raise MalformedResponse(f"{path} does not parse: {str(error).strip()}.", hint=_HINT) from error
    header = ["bar_close", *COLUMNS]
    if list(table.columns) not in (header, [*header, "adj_close"]) or table.empty:
        raise MalformedResponse(f"{path}, line 1: expected the columns {','.join(header)}[,adj_close].", hint=_HINT)
    closes = pd.to_datetime(table["bar_close"], format="ISO8601", utc=True, errors="coerce")
    numbers = {name: _numbers(table[name].to_numpy(dtype=object)) for name in table.columns[1:]}
    rows = pd.DataFrame(numbers, index=pd.DatetimeIndex(closes, name="bar_close").as_unit("us"))
    problem = _first_bad_row(rows)
    if problem is not None:
        line, what = problem
        raise MalformedResponse(f"{path}, line {line}: {what}.", hint=_HINT)
    return rows


def adjust(rows: pd.DataFrame, splits: tuple[Split, ...]) -> pd.DataFrame:
    """Scale printed prices by `adj_close / close` relative to the last row, and volumes by the splits after them.

    Rows without `adj_close` come back as they are.
    """
    import pandas as pd

    if "adj_close" not in rows:
        return rows
    factor = (rows["adj_close"] / rows["close"]).to_numpy()
    columns = {name: rows[name].to_numpy() * (factor / factor[-1]) for name in ("open", "high", "low", "close")}
    volume = rows["volume"].to_numpy(copy=True)
    for split in splits:
        volume[rows.index < pd.Timestamp(split.at)] *= split.ratio
    return pd.DataFrame(columns | {"volume": volume}, index=rows.index)


def pack_rows(rows: pd.DataFrame) -> bytes:
    """Rows (index `bar_close`) as the gzipped CSV text of a recorded file; equal rows give equal bytes."""
    lines = rows.reset_index()
    lines["bar_close"] = lines["bar_close"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    lines["volume"] = [f"{volume:.0f}" if volume == int(volume) else repr(volume) for volume in lines["volume"]]
    return gzip.compress(lines.to_csv(index=False, lineterminator="\n").encode(), mtime=0)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest in one step, then drop files that no manifest names any more."""
    fresh = folder / f".{MANIFEST}.new"
    fresh.write_text(json.dumps(manifest.model_dump(mode="json", exclude_defaults=True), indent=1) + "\n", "utf-8")
    fresh.replace(folder / MANIFEST)
    named = {entry.file for entry in manifest.files}
    for path in folder.glob("*.csv.gz"):
        if path.name not in named:
            path.unlink()


def write_bars(folder: Path, token: Token, interval: Interval, rows: pd.DataFrame, **about: object) -> RecordedFile:
    """Write one file under a name made of its content; `about` fills the rest of the manifest's entry."""
    packed = pack_rows(rows)
    digest = hashlib.sha256(packed).hexdigest()
    safe = "".join(c if c.isalnum() or c in "-._" else "_" for c in token.symbol)
    name = f"{safe}.{interval}.{digest[:10]}.csv.gz"
    temporary = folder / f".{name}.new"
    temporary.write_bytes(packed)
    temporary.replace(folder / name)
    return RecordedFile.model_validate(
        {
            "symbol": token.symbol,
            "interval": interval,
            "file": name,
            "sha256": digest,
            "rows": len(rows),
            "first_bar": rows.index[0].to_pydatetime(),
            "last_bar": rows.index[-1].to_pydatetime(),
            **about,
        }
    )


def _numbers(texts: np.ndarray) -> np.ndarray:
    """The numbers to their last digit, which pandas' own parser does not promise; NaN where there is none."""
    import numpy as np
    import pandas as pd

    try:
        return texts.astype(float)
    except ValueError:
        return np.asarray(pd.to_numeric(texts, errors="coerce"), dtype=float)


def _first_bad_row(rows: pd.DataFrame) -> tuple[int, str] | None:
    """Line number (the header is line 1) and fault of the first row that cannot be a bar."""
    import numpy as np
    import pandas as pd

    assert isinstance(rows.index, pd.DatetimeIndex)
    later = np.diff(rows.index.asi8) > 0
    traded = rows[["open", "high", "low", "close"]].to_numpy()
    high, low = traded[:, 1], traded[:, 2]
    faults: dict[str, Any] = {
        "not a moment in time": np.asarray(rows.index.isna()),
        "not a number": np.isinf(rows.to_numpy()).any(axis=1) | np.isnan(rows.to_numpy()).any(axis=1),
        "a price is not positive": (rows.drop(columns="volume").to_numpy() <= 0).any(axis=1),
        "the volume is negative": rows["volume"].to_numpy() < 0,
        "high and low do not enclose open and close": (high < traded.max(axis=1)) | (low > traded.min(axis=1)),
        "not later than the line before": np.append(False, ~later),
    }
    found = [(int(bad.argmax()) + 2, what) for what, bad in faults.items() if bad.any()]
    return min(found, key=lambda item: item[0]) if found else None
