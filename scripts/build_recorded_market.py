"""Write the recorded market that ships with the package, from the bars in bokeh-sampledata.

    python scripts/build_recorded_market.py [FOLDER]

The bars are Quandl's WIKI prices, which their publisher put into the public domain; bokeh-sampledata records that, with
the archived page that says so. Prices stay as printed, and the source's adjusted close goes beside them.
"""

from __future__ import annotations

import hashlib
import sys
from importlib import resources
from pathlib import Path

import pandas as pd

from deeptrader.core.token import Token
from deeptrader.toolkits.market_data.calendar import closes_of_bars_from
from deeptrader.toolkits.market_data.panel import moments
from deeptrader.toolkits.market_data.recorded import shipped_recording
from deeptrader.toolkits.market_data.recording import Manifest, RecordedFile, Split, write_bars, write_manifest

NAMES = {
    "AAPL": "Apple Inc.",
    "FB": "Facebook, Inc.",
    "GOOG": "Google Inc.",
    "IBM": "International Business Machines Corporation",
    "MSFT": "Microsoft Corporation",
}
SOURCE_SHA256 = "5abadf99b2d394f920120a27de6f0df129859d71d4cfb0bf661bcc99446ab1fd"


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else shipped_recording()
    folder.mkdir(parents=True, exist_ok=True)
    packed = resources.files("bokeh_sampledata").joinpath("_data/stocks.csv.gz")
    with resources.as_file(packed) as path:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != SOURCE_SHA256:
            sys.exit(f"bokeh-sampledata's stocks.csv.gz has changed: SHA-256 {digest}, reviewed {SOURCE_SHA256}")
        table = pd.read_csv(path)
    tokens = {symbol: Token(symbol=symbol, name=name, kind="equity") for symbol, name in NAMES.items()}
    files = [_write(folder, tokens[str(symbol)], rows) for symbol, rows in table.groupby("Ticker")]
    manifest = Manifest(
        name="US equities, daily, 2000 to 2013",
        provider="bokeh-sampledata 2026.1",
        source="Quandl WIKI prices, as packaged in bokeh-sampledata",
        licence="Public domain (the WIKI data; the package around it is BSD-3-Clause)",
        tokens=tuple(tokens.values()),
        files=tuple(files),
    )
    write_manifest(folder, manifest)
    print(f"{folder}: {sum(entry.rows for entry in files)} bars in {len(files)} files")


def _write(folder: Path, token: Token, table: pd.DataFrame) -> RecordedFile:
    # A session is stamped with its date; noon of that day in UTC lies before its close and after the one before.
    noon = pd.DatetimeIndex(pd.to_datetime(table["Date"])).tz_localize("UTC") + pd.Timedelta(hours=12)
    columns = ("Open", "High", "Low", "Close", "Volume", "Adj Close")
    values = {name.lower().replace(" ", "_"): table[name].to_numpy() for name in columns}
    rows = pd.DataFrame(values, index=closes_of_bars_from("equity", "1d", noon))
    return write_bars(folder, token, "1d", rows, adjusted=True, splits=_splits(rows))


def _splits(rows: pd.DataFrame) -> tuple[Split, ...]:
    """Where adj_close / close jumps to a whole multiple between two sessions. Dividends move it by far less."""
    factor = (rows["adj_close"] / rows["close"]).to_numpy()
    jumps = (factor[1:] / factor[:-1]).tolist()
    return tuple(
        Split(at=moment, ratio=round(jump))
        for moment, jump in zip(moments(rows)[1:], jumps, strict=True)
        if jump > 1.5 and abs(jump - round(jump)) < 0.01
    )


if __name__ == "__main__":
    main()
