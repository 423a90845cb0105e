"""A source of news and fundamentals of your own.

    python examples/own_news.py

A source has `id`, `news` and `fundamentals`. What it cannot deliver it raises as a `SourceError`; headlines are data,
and stand in prompts as quotations.
"""

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime

from deeptrader.agents import answer_question
from deeptrader.core.settings import load_settings
from deeptrader.core.token import Token
from deeptrader.toolkits import Runtime
from deeptrader.toolkits.market_data.news import Fundamentals, NewsItem

NOW = datetime(2013, 1, 25, 22, tzinfo=UTC)


class Wire:
    id = "wire"

    def news(self, token: Token) -> Sequence[NewsItem]:
        if token.symbol != "AAPL":
            return ()
        at = datetime(2013, 1, 23, 21, 30, tzinfo=UTC)
        return (
            NewsItem(
                symbol="AAPL",
                title="Apple reports first quarter results",
                publisher="Wire",
                link="https://example.com/1",
                published_at=at,
                fetched_at=NOW,
            ),
        )

    def fundamentals(self, token: Token) -> Fundamentals:
        return Fundamentals(symbol=token.symbol, source=self.id, fetched_at=NOW)


def main() -> None:
    settings = load_settings(data_dir=tempfile.mkdtemp(), market="recorded", watchlist=("AAPL",))
    with Runtime(settings, news=Wire(), as_of=NOW) as runtime:
        runtime.engine.run_once()
        print(answer_question("Any news about Apple?", runtime, memory_only=True).text)


if __name__ == "__main__":
    main()
