"""What a memory endures: killed processes, replicas, a full disk, wrong clocks, garbage (also for long), readers.

    python benchmarks/torture.py [--kills 200] [--tokens 500] [--seconds 300] [--soak 500] [--only TRIAL] [--postgres]

Each trial says what it did, what must hold, and what did not. `--postgres` does the trials of the journal on PostgreSQL
too, with a server of its own. The exit code is 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import psutil
from doubles.analyses import NOW, make_analysis
from doubles.chroma import chroma_server
from doubles.postgres import postgres_server
from pydantic import SecretStr

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import DeepTraderError, MalformedResponse, SourceUnreachable
from deeptrader.core.settings import Settings, load_settings
from deeptrader.core.token import Interval, Token
from deeptrader.toolkits.khala import Khala, MarketAnalysis
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.market_data.protocol import Bars
from deeptrader.toolkits.runtime import Runtime
from deeptrader.toolkits.sleep_mode import SleepCycle
from deeptrader.toolkits.sleep_mode.engine import Engine
from deeptrader.toolkits.sleep_mode.report import CycleReport
from deeptrader.toolkits.sleep_mode.scheduler import return_freed_memory

START = datetime(2026, 1, 3, 10, tzinfo=UTC)
DAY = timedelta(days=1)
GRACE_SECONDS = 1.0
"""How long after a publication a reader may still be given what was there before."""
FRAGMENTS_MB, GROWTH_KB = 12, 5
"""What a process may grow by in the later half of its cycles: once, and with each. A month of 5 kB is 43 MB."""


@dataclass
class Trial:
    """What one trial did, and what did not hold."""

    name: str
    done: str = ""
    broken: list[str] = field(default_factory=list)

    def must(self, holds: object, otherwise: str) -> None:
        if not holds:
            self.broken.append(otherwise)


@dataclass(frozen=True)
class Place:
    """Where the memory of a trial lies."""

    folder: Path
    tokens: int
    url: str = ""
    intervals: tuple[Interval, ...] = ("1d",)

    def settings(self) -> Settings:
        url = SecretStr(self.url) if self.url else None
        return load_settings(
            data_dir=self.folder, journal_url=url, market="simulated", top=self.tokens, intervals=self.intervals
        )

    @contextmanager
    def open(self, now: datetime) -> Iterator[Khala]:
        with Khala.open(self.folder, clock=ManualClock(now), settings=self.settings()) as khala:
            yield khala

    def cycle(self, khala: Khala, market: SimulatedMarket | None = None) -> SleepCycle:
        market = market or SimulatedMarket(self.tokens, clock=khala.clock)
        return SleepCycle(market=market, khala=khala, settings=self.settings(), clock=khala.clock)


def served(khala: Khala) -> dict[str, MarketAnalysis]:
    """What is served of each token."""
    recalls = khala.latest_many([token.symbol for token in khala.symbols()])
    return {symbol: recall.analysis for symbol, recall in recalls.items() if recall.analysis is not None}


def run_a_cycle(place: Place, khala: Khala, market: SimulatedMarket | None = None) -> CycleReport | DeepTraderError:
    try:
        return place.cycle(khala, market).run()
    except DeepTraderError as error:
        return error


def fresh(khala: Khala) -> set[str]:
    """Symbols of which a fresh version is read."""
    recalls = khala.latest_many([token.symbol for token in khala.symbols()])
    return {symbol for symbol, recall in recalls.items() if recall.usable}


def recovers(trial: Trial, place: Place, now: datetime) -> None:
    """A cycle without trouble publishes every token, and the index finds them.

    All are fresh that are in a memory which nothing happened to: the simulated market leaves out a bar or a quote too.
    """
    with tempfile.TemporaryDirectory() as folder, replace(place, folder=Path(folder), url="").open(now) as other:
        run_a_cycle(place, other)
        wanted = fresh(other)
    trial.must(len(wanted) > 0.9 * place.tokens, f"{len(wanted)} tokens are fresh even where nothing happened")
    with place.open(now) as khala:
        report = run_a_cycle(place, khala)
        trial.must(isinstance(report, CycleReport) and report.complete, f"no recovery: {report}")
        lost = sorted(wanted - fresh(khala))
        trial.must(not lost, f"{len(lost)} of {len(wanted)} tokens are not fresh after recovery: {lost[:3]}")
        khala.index()
        health = khala.check()
        trial.must(not health.problems, f"after recovery: {health.problems}")


def victim(place: Place, now: datetime, pipe: Connection) -> None:
    """Cycles a day apart. Sends "ready", then the ids of each version when it is acknowledged, and again as shown."""
    with place.open(now) as khala:
        store, publish = khala.store, khala.publish

        def stored(analyses: Iterable[MarketAnalysis]) -> list[str]:
            ids = store(analyses)
            pipe.send(ids)
            return ids

        def published(ids: Sequence[str]) -> Any:
            report = publish(ids)
            pipe.send(list(report.published))
            return report

        khala.store, khala.publish = stored, published  # type: ignore[method-assign]
        cycle = place.cycle(khala)
        pipe.send("ready")
        while True:
            cycle.run()
            khala.clock.advance(DAY)  # type: ignore[attr-defined]


def killed(context: Any, place: Place, now: datetime, lifetime: float) -> list[str]:
    """Let a victim work for `lifetime` seconds, kill it, and return what was acknowledged to it."""
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=victim, args=(place, now, sender))
    process.start()
    sender.close()
    said: list[str] = []
    if receiver.recv() == "ready":
        end = time.monotonic() + lifetime
        while (left := end - time.monotonic()) > 0:
            if receiver.poll(left):
                said += receiver.recv()
    process.kill()
    process.join()
    try:
        while receiver.poll():
            said += receiver.recv()
    except EOFError:
        pass  # the pipe ends with the process
    return said


def kills(place: Place, *, times: int, longest: float) -> Trial:
    """SIGKILL at random moments: what was acknowledged is there, whole, and the next start works without a hand."""
    trial = Trial("kills")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["chromadb", "wordllama", "deeptrader.toolkits.sleep_mode.cycle"])
    chance, said = random.Random(2026), 0
    for number in range(times):
        now = START + number * 2 * DAY  # later each time, so that there is always something new
        ids = killed(context, place, now, chance.uniform(0.02, longest))
        said += len(ids)
        with place.open(now) as khala:
            trial.must(all(map(khala.analysis, ids)), f"kill {number}: an acknowledged version is lost")
            trial.must(all(analysis.report for analysis in served(khala).values()), f"kill {number}: half a version")
            trial.must(not (damage := khala.journal.problems()), f"kill {number}: {damage}")
    recovers(trial, place, START + times * 2 * DAY)
    trial.must(said > times, f"only {said} versions were acknowledged: nothing was tried")
    trial.done = f"{times} SIGKILLs, {said:,} acknowledgements"
    return trial


SHARDS = 4
"""As the sleeper divides."""
SLEEPER = Path(__file__).resolve().parent.parent / "tests" / "doubles" / "shard_sleeper.py"


@contextmanager
def sleeper(place: Place, chroma_url: str, *, still_after: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that shares the universe with others; see `shard_sleeper.py`."""
    process = subprocess.Popen(
        [sys.executable, SLEEPER, place.folder, place.url, str(place.tokens), str(still_after)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | ({"DEEPTRADER_CHROMA_URL": chroma_url} if chroma_url else {}),
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def replicas(place: Place, *, end: str = "killed") -> Trial:
    """Two processes share the tokens, one ends in the middle of its shard: the other does that too, and nothing twice.

    `end` "stood still": it is held up for longer than its lease, and then goes on.
    """
    trial, shares = Trial("replicas"), list[dict[str, Any]]()

    def told(process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        return json.loads(process.stdout.readline())

    with ExitStack() as stack:
        chroma_url = stack.enter_context(chroma_server(place.folder / "server")) if place.url else ""
        first = stack.enter_context(sleeper(place, chroma_url, still_after=place.tokens // SHARDS // 3))
        trial.must("still" in told(first), "the first one did not begin")
        second = stack.enter_context(sleeper(place, chroma_url))
        shares += [told(second) for _ in range(SHARDS - 1)]
        if end == "killed":
            first.kill()
        begun = time.monotonic()
        shares.append(told(second))
        moved = time.monotonic() - begun
        if end == "stood still":
            first.communicate("\n", timeout=60)
        universe = [symbol for share in shares for symbol in share["tokens"]]
        settings = place.settings().with_changes(chroma_url=chroma_url or None)
        with Khala.open(settings.store_dir, settings=settings) as khala:
            published = Counter(symbol for (symbol,) in khala.journal.rows("SELECT symbol FROM published"))
            query = "SELECT a.symbol FROM publications p JOIN analyses a ON a.id = p.id"
            times = Counter(symbol for (symbol,) in khala.journal.rows(query))
            khala.index()
            trial.must(not (problems := khala.check().problems), f"the search index: {problems}")
    trial.must(not any(share["stopped_by"] for share in shares), "a share was stopped")
    trial.must(len(universe) == place.tokens, f"{len(universe)} of {place.tokens} tokens were shared out")
    trial.must(published == Counter(universe), "a token is lost, or was in two shards")
    trial.must(times == published, f"done twice: {[symbol for symbol, count in times.items() if count > 1][:3]}")
    searched = "a Chroma server" if chroma_url else "embedded Chroma"
    trial.done = (
        f"2 replicas, {searched}, {len(universe)} tokens in {SHARDS} shards, one {end}; "
        f"{len(shares[-1]['published'])} tokens of its shard moved and done in {moved:.1f} s"
    )
    return trial


def full_disk(place: Place) -> Trial:
    """The disk fills in the middle of a cycle: a typed error, the last good version, and recovery."""
    trial = Trial("full disk")
    try:
        _mount(place.folder, 20 + place.tokens // 2)
    except OSError as error:
        trial.done = f"not tried: no file system of its own can be mounted ({error})"
        return trial
    try:
        with place.open(START) as khala:
            run_a_cycle(place, khala)
            before = served(khala)
        ballast = place.folder / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4_096)):
                pass
        said = "it did not open"
        try:
            with place.open(START + DAY) as khala:
                outcome = run_a_cycle(place, khala)
                said = outcome.code if isinstance(outcome, DeepTraderError) else f"{outcome.troubles()[:1]}"
                trial.must(isinstance(outcome, DeepTraderError) or outcome.troubles(), "a full disk was not noticed")
        except DeepTraderError as error:
            said = f"{error.code}: {error}"
        ballast.unlink(missing_ok=True)
        with place.open(START + DAY) as khala:
            after = served(khala)
            trial.must(before.keys() == after.keys(), "a version is gone")
        recovers(trial, place, START + DAY)
        trial.done = f"filled after {len(before)} versions; told: {said}"
    finally:
        _unmount(place.folder)
    return trial


def _mount(folder: Path, megabytes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, f"size={megabytes}m".encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _unmount(folder: Path) -> None:
    ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(folder), 2)  # 2: detach, whoever still has a file open


def clocks(place: Place) -> Trial:
    """A clock set ahead, back, and right again: nothing from the future is fresh, and nothing blocks the present."""
    trial = Trial("clocks")
    moments = [START, START + 400 * DAY, START + DAY, START - 30 * DAY, START + 2 * DAY]
    for now in moments:
        with place.open(now) as khala:
            run_a_cycle(place, khala)
            for recall in khala.latest_many([token.symbol for token in khala.symbols()]).values():
                late = recall.analysis is not None and recall.usable and recall.analysis.computed_at > now
                trial.must(not late, f"{recall.symbol} computed after {now:%Y-%m-%d} is called fresh")
    recovers(trial, place, START + 3 * DAY)
    trial.done = f"{len(moments)} cycles, 400 days ahead and 30 back"
    return trial


class Garbage(SimulatedMarket):
    """A market whose bars are nonsense for a part of its tokens, another part in each cycle."""

    def __init__(self, tokens: int, *, clock: Any, chance: random.Random, share: float = 0.4) -> None:
        super().__init__(tokens, clock=clock)
        self._chance, self._share = chance, share

    def bars(self, token: Token, **asked: Any) -> Bars:
        bars = super().bars(token, **asked)
        if self._chance.random() > self._share:
            return bars
        frame = bars.frame.copy()
        kind = self._chance.randrange(7)
        if kind == 0:
            raise RuntimeError("nobody foresaw this")
        if kind == 1:
            raise MalformedResponse("the body is no JSON")
        if kind == 2:
            raise SourceUnreachable("no route")
        if kind == 3:
            frame.iloc[-1] *= 100
        elif kind == 4:
            frame.iloc[-5:] = float("nan")
        elif kind == 5:
            frame["close"] = frame["high"] * 2
        else:
            frame = frame.iloc[:0]
        return Bars(token, bars.interval, frame, bars.fetched_at, bars.provider)


def garbage(place: Place, *, times: int) -> Trial:
    """Sources turn to garbage for a part of the tokens: each is an outcome, the others go on, the last good stays."""
    trial = Trial("garbage")
    chance, outcomes = random.Random(7), {"published": 0, "failed": 0, "refused": 0}
    with place.open(START) as khala:
        run_a_cycle(place, khala)
    for number in range(1, times + 1):
        now = START + number * DAY
        with place.open(now) as khala:
            before = served(khala)
            report = run_a_cycle(place, khala, Garbage(place.tokens, clock=khala.clock, chance=chance))
            if not isinstance(report, CycleReport):
                trial.must(False, f"cycle {number} was lost: {report}")
                continue
            for outcome in outcomes:
                outcomes[outcome] += report.count(outcome)  # type: ignore[arg-type]
            after = served(khala)
            bad = [item.symbol for item in report.outcomes if item.outcome in ("failed", "refused")]
            worse = [symbol for symbol in bad if symbol in before and after.get(symbol) != before[symbol]]
            trial.must(not worse, f"cycle {number}: {worse[:3]} lost their last good version")
            for symbol in after.keys() & before.keys():
                jump = after[symbol].reference_price / before[symbol].reference_price
                trial.must(0.2 < jump < 5, f"cycle {number}: the price of {symbol} became {jump:.1f} times itself")
    recovers(trial, place, START + (times + 1) * DAY)
    trial.done = f"{times} cycles: " + ", ".join(f"{count} {name}" for name, count in outcomes.items())
    return trial


def soak(place: Place, *, times: int) -> Trial:
    """Cycles an hour apart over garbage in one process: memory, threads, handles and disk level off."""
    trial, levels = Trial("soak"), list[tuple[str, Level]]()
    place = replace(place, folder=place.folder.parent, intervals=("1d", "1h"))
    clock = ManualClock(START)
    market = Garbage(place.tokens, clock=clock, chance=random.Random(11), share=0.2)
    with Runtime(place.settings(), market=market, clock=clock) as runtime:
        engine, failed = Engine(runtime, clock=clock), 0
        for number in range(1, times + 1):
            attempt = engine.guard.run()
            trial.must(attempt.report, f"cycle {number}: {attempt.state} {attempt.error}")
            failed += attempt.report.count("failed") + attempt.report.count("refused") if attempt.report else 0
            if number % 24 == 0:
                runtime.khala.compact()
            return_freed_memory()
            if number in (times // 4, times // 2, times):
                levels.append((f"after {number}", Level.now(runtime.store_dir)))
            clock.advance(3_600)
        engine.close()
    (_, half), (_, end) = levels[-2:]
    trial.must(failed, "no fault was met")
    grown = (end.megabytes - half.megabytes - FRAGMENTS_MB) * 1_000 / (times - times // 2)
    trial.must(grown <= GROWTH_KB, f"memory grows by {grown:.0f} kB a cycle")
    trial.must(end.threads <= half.threads + 8, "threads are left behind")  # some end a moment after their work
    trial.must(end.handles <= half.handles + 8, "handles are left open")
    trial.must(end.disk <= 1.2 * half.disk + 5, "the folder grows")
    trial.done = f"{times} cycles, {failed:,} faults; " + "; ".join(f"{when}: {level}" for when, level in levels)
    return trial


@dataclass(frozen=True)
class Level:
    """What a process takes. `disk` is its memory's folder; megabytes both."""

    megabytes: float
    threads: int
    handles: int
    disk: float

    @classmethod
    def now(cls, folder: Path) -> Level:
        process = psutil.Process()
        disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return cls(process.memory_info().rss / 1e6, process.num_threads(), process.num_fds(), disk / 1e6)

    def __str__(self) -> str:
        return f"{self.megabytes:.0f} MB, {self.threads} threads, {self.handles} handles, {self.disk:.1f} MB of disk"


def reader(place: Place, published: Any, stop: Any, pipe: Connection) -> None:
    """Read tokens at random until told to stop; send how many, how many were stale, and microseconds of each read."""
    chance, taken, stale = random.Random(os.getpid()), [], 0
    with place.open(NOW) as khala:
        pipe.send("ready")
        while not stop.is_set():
            wanted = _published_before(published, GRACE_SECONDS)
            symbol = f"T{chance.randrange(place.tokens)}-USD"
            begun = time.perf_counter()
            analysis = khala.latest(symbol).analysis
            taken.append(time.perf_counter() - begun)
            stale += analysis is None or analysis.price < wanted
    pipe.send((len(taken), stale, statistics.median(taken) * 1e6))


def _hear(pipe: Connection) -> Any:
    if not pipe.poll(120):
        raise TimeoutError("a reader says nothing")
    return pipe.recv()


def _published_before(published: Any, seconds: float) -> float:
    """The number of the newest publication that is older than so many seconds."""
    with published.get_lock():
        newest, said_at, before = published
    return newest if time.time() - said_at > seconds else before


def readers(place: Place, *, seconds: float, count: int = 8) -> Trial:
    """One process publishes without a rest and others read: no stale read a second later, and at what price."""
    trial = Trial("readers")
    context = multiprocessing.get_context("spawn")
    published, alone = context.Array("d", 3), 0.0
    with place.open(NOW) as khala:
        for readers_at_once in (1, count):
            stop, pipes, processes = context.Event(), [], []
            for _ in range(readers_at_once):
                mine, theirs = context.Pipe()
                process = context.Process(target=reader, args=(place, published, stop, theirs))
                process.start()
                theirs.close()
                pipes.append(mine)
                processes.append(process)
            first = number = int(published[0])
            _publish_round(place, khala, published, number)
            for pipe in pipes:
                _hear(pipe)
            end = time.monotonic() + (seconds if readers_at_once > 1 else min(seconds, 10.0))
            while time.monotonic() < end:
                number += 1
                _publish_round(place, khala, published, number)
                stop.wait(0.25)
            stop.set()
            told = [_hear(pipe) for pipe in pipes]
            for process in processes:
                process.join()
            reads, stale = sum(row[0] for row in told), sum(row[1] for row in told)
            middle = statistics.median(row[2] for row in told)
            alone = alone or middle
            trial.must(not stale, f"{stale} of {reads} reads were stale")
            trial.must(reads, "nothing was read")
            trial.done = (
                f"{readers_at_once} readers, {reads:,} reads beside {number - first} publications of {place.tokens}, "
                f"{middle:.0f} us a read ({middle / alone:.1f} times one reader's {alone:.0f} us)"
            )
    return trial


def _publish_round(place: Place, khala: Khala, published: Any, number: int) -> None:
    """Publish a version of every token with the round's number as its price, and tell the readers."""
    now = NOW + timedelta(seconds=number)
    khala.clock.set(now)  # type: ignore[attr-defined]
    symbols = (f"T{n}-USD" for n in range(place.tokens))
    versions = [make_analysis(symbol, price=float(number + 1), computed_at=now) for symbol in symbols]
    khala.publish(khala.store(versions))
    with published.get_lock():
        published[:] = [number + 1, time.time(), published[0]]


def trials(options: argparse.Namespace) -> Iterable[tuple[str, Callable[[Place], Trial]]]:
    yield "kills", lambda place: kills(place, times=options.kills, longest=options.longest)
    yield "replicas", replicas
    yield "readers", lambda place: readers(place, seconds=options.seconds)
    yield "garbage", lambda place: garbage(place, times=options.cycles)
    yield "soak", lambda place: soak(place, times=options.soak)
    yield "clocks", clocks
    yield "full disk", full_disk


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--longest", type=float, default=6.0, help="seconds that a killed process lived at most")
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--cycles", type=int, default=40, help="cycles over garbage")
    parser.add_argument("--soak", type=int, default=500, help="cycles over garbage in one process")
    parser.add_argument("--seconds", type=float, default=300, help="of readers beside a writer")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args(arguments)
    logging.getLogger("deeptrader").setLevel(logging.CRITICAL)
    lost = 0
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server()) if options.postgres else None
        for journal in ["file", "postgres"] if server else ["file"]:
            for name, run in trials(options):
                if (options.only and name not in options.only) or (journal == "postgres" and name == "full disk"):
                    continue
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "memory"
                begun = time.monotonic()
                url = server.database() if server and journal == "postgres" else ""
                trial = run(Place(folder, options.tokens, url))
                verdict = "held" if not trial.broken else f"BROKEN: {'; '.join(trial.broken[:3])}"
                took = f"{time.monotonic() - begun:.0f} s"
                print(f"{name:<10} {journal:<9} {took:>7}  {trial.done}  {verdict}", flush=True)
                lost += len(trial.broken)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
