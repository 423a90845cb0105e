"""Khala's speed, each figure beside its aim.

    python benchmarks/khala.py [--big] [--short] [--json]

Wall time, the best of repeated runs where something can be repeated: what others do on the machine counts least. What
can only be done once has its processor time beside it.
`--big` adds 5,000 analyses, `--short` only measures what has a rival: the plainest thing that does the same work, timed
in the same run. What a kill leaves is `torture.py`'s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from deeptrader.core.clock import ManualClock
from deeptrader.core.settings import Settings, load_settings
from deeptrader.core.token import Token
from deeptrader.toolkits.khala import Document, Khala, MarketAnalysis
from deeptrader.toolkits.khala.embedder import embed_query, embed_texts
from deeptrader.toolkits.khala.entries import as_filter
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.sleep_mode.analyse import Material, build_analyses

NOW = datetime(2026, 11, 22, 0, 7, tzinfo=UTC)
WORDS = ("quiet", "breakout", "honeypot", "dip", "rally", "range", "trend", "volume", "squeeze", "gap", "reversal")


@dataclass
class Row:
    """One measured thing. `aim` None: no aim was set. `rival` does the same work in the plainest way, in `rival_value`
    of the same unit."""

    what: str
    value: float
    unit: str
    aim: float | None = None
    higher_is_better: bool = False
    cpu: float | None = None
    rival: str = ""
    rival_value: float | None = None

    @property
    def met(self) -> bool | None:
        if self.aim is None:
            return None
        return self.value >= self.aim if self.higher_is_better else self.value <= self.aim


def real_analyses(count: int, settings: Settings, clock: ManualClock) -> list[MarketAnalysis]:
    """`count` complete analyses, as a cycle over a simulated market writes them: sixty computed, the rest renamed."""
    market = SimulatedMarket(min(count, 60), clock=clock)
    tokens = market.universe(top=min(count, 60)).tokens
    quotes = market.quotes(tokens).quotes
    many = [Material(market.bars(token, interval="1d"), quotes[token.symbol]) for token in tokens]
    made = build_analyses(many, settings=settings, now=clock.now())
    computed = [analysis for analysis in made if isinstance(analysis, MarketAnalysis)]
    assert len(computed) == len(tokens), made
    return [
        computed[n % len(computed)].model_copy(
            update={"token": Token(symbol=f"X{n}Q-USD", name=f"Token {n}"), "report": f"{n} " + computed[n % 60].report}
        )
        for n in range(count)
    ]


def later(analyses: list[MarketAnalysis], step: int) -> list[MarketAnalysis]:
    """The same analyses with other prices and other reports: new versions, each of which is indexed anew."""
    moment = NOW + timedelta(seconds=step)
    return [
        a.model_copy(
            update={"price": a.price * (1 + step / 1e4), "report": f"{step} {a.report}", "computed_at": moment}
        )
        for a in analyses
    ]


def once(what: str, work: Callable[[], object], aim: float | None = None) -> Row:
    """Something that can only be done once: wall and processor time in ms."""
    begun, used = time.perf_counter(), time.process_time()
    work()
    wall, cpu = (time.perf_counter() - begun) * 1e3, (time.process_time() - used) * 1e3
    return Row(what, wall, "ms", aim, cpu=cpu)


def against(row: Row, rival: str, work: Callable[[], object]) -> Row:
    """The row with its rival, which can only be done once too."""
    return replace(row, rival=rival, rival_value=once(rival, work).value)


def per_call(work: Callable[[], object], *, calls: int, rounds: int = 60) -> float:
    """Milliseconds for one call: the best of some rounds of many calls, since the machine is shared."""
    spent = []
    for _ in range(rounds):
        begun = time.perf_counter()
        for _ in range(calls):
            work()
        spent.append((time.perf_counter() - begun) / calls * 1e3)
    return min(spent)


@contextmanager
def open_memory(folder: Path, settings: Settings, clock: ManualClock) -> Iterator[Khala]:
    with Khala.open(folder, settings=settings, clock=clock) as khala:
        yield khala


def reading(khala: Khala, folder: Path, short: bool) -> Iterator[Row]:
    every = [token.symbol for token in khala.symbols()]
    symbols = every[:50]
    for symbol in symbols:
        khala.latest(symbol)
    at = iter(range(10**9))
    held = {symbol: khala.latest(symbol) for symbol in symbols}
    yield Row(
        "read one analysis, in process",
        per_call(lambda: khala.latest(symbols[next(at) % 50]), calls=2_000),
        "ms",
        0.002,
        rival="a dict",
        rival_value=per_call(lambda: held[symbols[next(at) % 50]], calls=2_000),
    )
    for symbol in every:
        khala.latest(symbol)
    yield Row(
        f"read one of {len(every):,} analyses, each in its turn",
        per_call(lambda: khala.latest(every[next(at) % len(every)]), calls=5_000, rounds=5),
        "ms",
        0.005,
        rival="a dict",
        rival_value=per_call(lambda: held[symbols[next(at) % 50]], calls=2_000),
    )
    yield Row("read fifty at once", per_call(lambda: khala.latest_many(symbols), calls=50), "ms")
    yield Row("a token nobody stored (SQLite)", per_call(lambda: khala.latest("NOBODY-USD"), calls=500), "ms", 0.05)

    def cold() -> None:
        khala._recaller._kept = {}
        khala._recaller._parsed = {}
        khala.latest(symbols[next(at) % 50])

    database = sqlite3.connect(khala.journal.path)
    select = "SELECT body FROM published JOIN analyses USING (id) WHERE published.symbol = ?"

    def row() -> None:
        [body] = database.execute(select, (symbols[next(at) % 50],)).fetchone()
        json.loads(body)

    row_ms = per_call(row, calls=200)
    database.close()
    what = "read one that this process has not read"
    yield Row(what, per_call(cold, calls=200), "ms", rival="a SQLite row, its JSON decoded", rival_value=row_ms)
    if short:
        return

    text = "Is bitcoin or ETH the better buy, or should we wait until LINK token is near its low?"
    yield Row("find the tokens a question names", per_call(lambda: khala.resolve(text), calls=200), "ms")


def writing(folder: Path, settings: Settings, count: int, durable: float, searchable: float) -> Iterator[Row]:
    clock = ManualClock(NOW)
    analyses = real_analyses(count, settings, clock)
    with open_memory(folder, settings, clock) as khala:
        khala.embedder.embed(["warm"])
        khala.index()  # imports Chroma, which takes a second once in a process
        ids: list[str] = []
        stored = once(f"{count:,} analyses durable (first)", lambda: ids.extend(khala.store(analyses)), durable)
        yield against(stored, "executemany of the same JSON", lambda: insert_raw(folder / "raw.db", analyses))
        published = once(f"{count:,} analyses published (first)", lambda: khala.publish(ids))
        yield replace(published, rival="storing them", rival_value=stored.value)
        indexed = once(f"{count:,} analyses searchable in Chroma (first)", khala.index, searchable)
        yield against(indexed, "upsert of the same texts", lambda: upsert_raw(folder / "raw", khala))
        clock.advance(60)
        again = later(analyses, 1)
        ids.clear()
        yield once(f"{count:,} analyses durable (a later cycle)", lambda: ids.extend(khala.store(again)), durable)
        yield once(f"{count:,} analyses published (a later cycle)", lambda: khala.publish(ids))
        again_indexed = once(f"{count:,} analyses searchable in Chroma (all changed)", khala.index, searchable)
        yield replace(again_indexed, rival="indexing them first", rival_value=indexed.value)


def insert_raw(path: Path, analyses: list[MarketAnalysis]) -> None:
    """The same records, durable with nothing around them: one table, one transaction."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE analyses (id TEXT PRIMARY KEY, body TEXT NOT NULL)")
        rows = [(analysis.analysis_id, analysis.model_dump_json()) for analysis in analyses]
        database.executemany("INSERT INTO analyses VALUES (?, ?)", rows)
        database.commit()


def upsert_raw(folder: Path, khala: Khala) -> None:
    """The same texts and metadata, embedded and written straight into a Chroma collection."""
    import chromadb

    table = khala._entries
    entries = list(table.entries(table.newest(as_filter(None), 10_000)).values())
    collection = chromadb.PersistentClient(str(folder)).create_collection("raw", embedding_function=None)
    for at in range(0, len(entries), 100):
        some = entries[at : at + 100]
        collection.upsert(
            ids=[entry.id for entry in some],
            embeddings=embed_texts(khala.embedder, [entry.text for entry in some]),  # pyright: ignore[reportArgumentType]
            documents=[entry.text for entry in some],
            metadatas=[{k: v for k, v in entry.fields.items() if isinstance(v, str | int | float)} for entry in some],
        )


def searching(khala: Khala) -> Iterator[Row]:
    where = {"kinds": ("analysis",), "rsi_below": 45.0, "signal": "hold"}
    text = "weak momentum in a downtrend"
    index, condition = khala._index, as_filter(where)
    vector = embed_query(khala.embedder, text)
    nearest = per_call(lambda: index.nearest(vector, condition, 5), calls=20)
    yield Row("filtered nearest neighbours over current analyses, Chroma", nearest, "ms", 5)
    yield Row(
        "search() with filter, by meaning and words",
        per_call(lambda: khala.search(text, where=where), calls=20),
        "ms",
        5,
        rival="Chroma's nearest five alone",
        rival_value=nearest,
    )
    yield Row("search() over everything", per_call(lambda: khala.search(text), calls=10), "ms")
    yield Row("recall@5 of Chroma against exact search, our texts", recall_at_5(khala), "share", 0.99, True)


def recall_at_5(khala: Khala) -> float:
    """Share of the five truly nearest analyses that Chroma returns; texts equally near count as well."""
    table, index = khala._entries, khala._index
    where = as_filter({"kinds": ("analysis",)})
    entries = list(table.entries(table.newest(where, 10_000)).values())
    vectors = embed_texts(khala.embedder, [entry.text for entry in entries])
    row = {entry.id: number for number, entry in enumerate(entries)}
    hits = asked = 0
    for vector in vectors[:: max(1, len(vectors) // 40)]:
        cosine = vectors @ vector
        worst = np.sort(cosine)[-5:].min()
        hits += sum(cosine[row[id_]] >= worst - 1e-4 for id_, _ in index.nearest(vector, where, 5))
        asked += min(5, len(entries))
    return hits / asked


def finding(khala: Khala) -> Iterator[Row]:
    """Questions about one token in other words than its text: is that token's analysis the first hit?"""
    names = khala.symbols()[:60]
    patterns = ("how is {} doing", "what do we know about {}", "{} today", "should I sell my {}", "{} momentum?")
    asked = [(pattern.format(token.name), token.symbol) for token in names for pattern in patterns]
    where = {"kinds": ("analysis",)}
    right = sum(khala.search(text, where=where, limit=1)[0].symbols == (symbol,) for text, symbol in asked)
    yield Row("first hit right when a question names a token, meaning and words", right / len(asked), "share")
    index, condition = khala._index, as_filter(where)
    right = sum(
        index.nearest(embed_query(khala.embedder, text), condition, 1)[0][0] == f"analysis:{symbol}:1d"
        for text, symbol in asked
    )
    yield Row("the same by meaning alone", right / len(asked), "share")


def likening(khala: Khala) -> Iterator[Row]:
    from deeptrader.toolkits.khala.situations import SITUATION_FIGURES
    from deeptrader.toolkits.market_data.indicators import figure_history
    from deeptrader.toolkits.market_data.panel import moments_of

    clock = ManualClock(NOW)
    market = SimulatedMarket(50, clock=clock)
    for token in market.universe(top=50).tokens:
        bars = market.bars(token, interval="1d")
        history = figure_history(bars.frame, interval="1d", kind=token.kind)[list(SITUATION_FIGURES)].to_numpy()
        close = bars.frame["close"].to_numpy()
        there = close == close
        closed = moments_of(bars.frame)[there] / 1e6
        khala.add_situations([(token.symbol, "1d", closed, close[there], history[there])])
    yield once("similar situations among 20,000 bars, first time", lambda: khala.similar("SIM001-USD"))
    yield Row(
        "similar situations among 20,000 bars", per_call(lambda: khala.similar("SIM001-USD"), calls=3, rounds=9), "ms"
    )


async def longest_freeze(work: Callable[[], object]) -> float:
    """Longest time in ms that an event loop in the same process was held up while `work` ran in a thread."""
    task = asyncio.create_task(asyncio.to_thread(work))
    longest, last = 0.0, time.perf_counter()
    while not task.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    await task
    return longest * 1e3


def freezing(folder: Path, settings: Settings) -> Iterator[Row]:
    clock = ManualClock(NOW)
    with open_memory(folder, settings, clock) as khala:
        khala.embedder.embed(["warm"])
        khala.index()
        analyses = real_analyses(1_000, settings, clock)
        khala.publish(khala.store(analyses))
        idle = asyncio.run(longest_freeze(lambda: time.sleep(1)))
        yield Row("longest pause of an event loop with nothing going on", idle, "ms")
        freeze = asyncio.run(longest_freeze(khala.index))
        yield Row("longest pause of an event loop while 1,000 are indexed in a thread", freeze, "ms")


def fill(khala: Khala, settings: Settings, clock: ManualClock) -> None:
    """500 current analyses beside an archive of 3,000 texts."""
    khala.publish(khala.store(real_analyses(500, settings, clock)))
    chance = random.Random(1)
    khala.put_documents(
        [
            Document(
                kind="judgement" if n % 3 else "scenario",
                key=f"text {n}",
                title=f"Day {n}",
                text=" ".join(chance.choices(WORDS, k=30)),
                created_at=NOW - timedelta(hours=n),
            )
            for n in range(3_000)
        ]
    )
    khala.index()


def measure(options: argparse.Namespace) -> list[Row]:
    settings = load_settings(market="simulated")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        rows += writing(root / "500", settings, 500, 100, 1_000)
        if options.big:
            rows += writing(root / "5000", settings, 5_000, 600, 15_000)
        clock = ManualClock(NOW)
        with open_memory(root / "read", settings, clock) as khala:
            fill(khala, settings, clock)
            rows += searching(khala)
            if not options.short:
                rows += finding(khala)
                rows += likening(khala)
            rows += reading(khala, root / "read", options.short)
        if options.short:
            return [row for row in rows if row.rival]
        rows += freezing(root / "freeze", settings)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--big", action="store_true")
    parser.add_argument("--short", action="store_true", help="only what has a rival")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each row")
    options = parser.parse_args()
    rows = measure(options)
    if options.json:
        for row in rows:
            print(json.dumps(asdict(row) | {"met": row.met}))
        return
    for row in rows:
        aim = "" if row.aim is None else f"aim {row.aim:g} {'met' if row.met else 'MISSED'}"
        cpu = "" if row.cpu is None else f"({row.cpu:.0f} of processor)"
        rival = "" if row.rival_value is None else f"{row.value / row.rival_value:.1f} x {row.rival}"
        print(f"{row.what:<72} {row.value:>9.4g} {row.unit:<6}{aim:<18}{cpu:<22}{rival}")


if __name__ == "__main__":
    main()
