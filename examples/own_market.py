"""A market of your own: bars from CSV files, slept on and asked about like any other market.

    python examples/own_market.py

A provider has nine members. `Runtime(market=...)` says which one is missing.
"""

import tempfile
from datetime import datetime
from pathlib import Path

import pandas as pd

from deeptrader.agents import answer_question
from deeptrader.core.errors import UnknownToken
from deeptrader.core.market import Quote
from deeptrader.core.settings import load_settings
from deeptrader.core.token import Interval, Token
from deeptrader.toolkits import Runtime
from deeptrader.toolkits.market_data import Bars, QuoteBatch, RecordedMarket, Universe


class CsvMarket:
    """Daily bars of shares, a file for each: columns bar_close (UTC), open, high, low, close, volume."""

    id = "csv"  # names the folder of its memory
    simulated = False
    intervals = ("1d",)

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("*.csv"))
        self._bars = {path.stem: pd.read_csv(path, index_col="bar_close", parse_dates=True) for path in files}

    def find(self, symbol: str) -> Token:
        if symbol not in self._bars:
            raise UnknownToken(f"There is no file {symbol}.csv.", hint="Add it.")
        return Token(symbol=symbol, kind="equity")  # or "crypto", which trades around the clock

    def present(self) -> datetime:
        return max(frame.index[-1] for frame in self._bars.values()).to_pydatetime()

    def requests_made(self) -> int:
        return 0  # over the network, since it was built: what a cycle's budget counts

    def bars(self, token: Token, *, interval: Interval = "1d", limit: int = 400, as_of: datetime | None = None) -> Bars:
        now = as_of or self.present()
        return Bars(token, interval, self._bars[token.symbol].loc[:now].iloc[-limit:], fetched_at=now, provider=self.id)

    def quotes(self, tokens, *, as_of: datetime | None = None) -> QuoteBatch:
        now, quotes = as_of or self.present(), {}
        for token in tokens:
            last = self._bars[token.symbol].loc[:now].iloc[-1]
            at = last.name.to_pydatetime()
            quotes[token.symbol] = Quote(symbol=token.symbol, price=last["close"], as_of=at, fetched_at=now)
        return QuoteBatch(quotes)

    def universe(self, *, top: int, as_of: datetime | None = None) -> Universe:
        tokens = tuple(self.find(symbol) for symbol in list(self._bars)[:top])
        quotes = self.quotes(tokens, as_of=as_of).quotes
        return Universe(as_of or self.present(), tokens, quotes, ranked_by="file name")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        shipped = RecordedMarket()  # the files you would have: here from the recording that ships with the package
        for symbol in ("AAPL", "IBM"):
            shipped.bars(shipped.find(symbol), limit=400).frame.to_csv(Path(folder) / f"{symbol}.csv")
        market = CsvMarket(Path(folder))
        # The files end in the past, so that moment is replayed. A live market leaves `as_of` out.
        with Runtime(load_settings(data_dir=folder), market=market, as_of=market.present()) as runtime:
            report = runtime.engine.run_once()
            print(f"{report.count('published')} analyses from {report.market}, in {runtime.store_dir.name}/")
            print(answer_question("How is IBM doing?", runtime, memory_only=True).text)


if __name__ == "__main__":
    main()
