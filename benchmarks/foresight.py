"""Are the questions that come next foreseen? Foresight against simpler rules, over replayed logs of asks.

    python benchmarks/foresight.py [--json]

The log is made up by other assumptions than foresight's: users with topics and tokens of their own come in sessions, by
day more than by night, and ask several questions minutes apart, mostly about one token and in an order of their own;
the popularity of tokens drifts every day and is dealt anew half-way.

Every rule chooses at the same moments: ticks of five minutes, unless nothing was asked and an hour has not passed, and
when the team has been quiet for two minutes, then about the tokens of the last two hours alone. It may choose as many
pairs as foresight does. Recall is the share of asks of which every pair stood, precision the share of predictions that
were asked within six hours: means over the seeds. `ahead` is by how much the recall of foresight is more on the same
logs, with its 95 % interval (Student's t).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from deeptrader.core.clock import ManualClock
from deeptrader.core.token import Token
from deeptrader.toolkits.sleep_mode.asks import Ask, AskLog
from deeptrader.toolkits.sleep_mode.engine import TALKED_ABOUT_WITHIN
from deeptrader.toolkits.sleep_mode.foresight import STANDS, Demand, Foresight
from deeptrader.toolkits.sleep_mode.topics import TOPICS

BEGIN = datetime(2026, 11, 2, tzinfo=UTC)
TICK, QUIET, HOUR = timedelta(minutes=5), timedelta(minutes=2), timedelta(hours=1)
DAYS, SESSIONS_A_DAY, USERS, TOKENS, MINUTES_BETWEEN = 6, 25, 8, 30, 2.5
GOES_ON, OTHER_TOKEN, BY_HABIT, MARKET_SESSIONS = 0.65, 0.1, 0.5, 0.1
SEEDS, STUDENT = 6, 2.57
"""Logs, and for so many the quantile of the t distribution for 95 %."""

COLUMNS = ("rule", "recall", "precision", "ahead", "half_interval")
Pair = tuple[str, str]


class ReplayedLog(AskLog):
    """A log of asks in memory. It tells those up to its clock's moment."""

    def __init__(self, asks: Sequence[Ask]) -> None:
        self.asks, self.known, self.clock = asks, 0, ManualClock(BEGIN)

    def until(self, moment: datetime) -> None:
        self.clock = ManualClock(moment)
        while self.known < len(self.asks) and self.asks[self.known].at <= moment:
            self.known += 1

    def since(self, moment: datetime) -> list[Ask]:
        return [ask for ask in self.asks[: self.known] if ask.at >= moment]

    def version(self) -> tuple[int, int]:
        return self.known, 0


class Chooser(Foresight):
    """Foresight that chooses and keeps nothing."""

    def __init__(self, log: ReplayedLog) -> None:
        self.asks, self.demand = log, Demand(log)
        symbols = sorted({symbol for ask in log.asks for symbol in ask.tokens})
        self.tokens = [Token(symbol=symbol, name=symbol, kind="crypto") for symbol in symbols]

    def likely(self) -> list[Pair]:
        return [(pair.symbol, pair.topic) for pair in self.choose(self.tokens)]


RULES: dict[str, Callable[[Chooser], Sequence[Pair]]] = {
    "foresight": Chooser.likely,
    "most asked": lambda own: [p for p, _ in Counter(p for a in own.asks.since(BEGIN) for p in a.pairs).most_common()],
    "most asked, fading": lambda own: [pair for pair, _ in Counter(own.demand.weights()).most_common()],
    "nothing": lambda _own: [],
}


def made_up(seed: int) -> list[Ask]:
    rng = random.Random(seed)
    topics = [name for name, topic in TOPICS.items() if topic.takes in ("tokens", "either")]
    order, ranks = [f"T{n:02}-USD" for n in range(TOKENS)], [1 / (1 + rank) for rank in range(TOKENS)]
    weights = [1 / (1 + rank) for rank in range(len(topics))] * 2  # of the common order, and of one's own
    common, users, log = rng.sample(topics, len(topics)), [], list[Ask]()
    for _ in range(USERS):
        own, habit = rng.sample(topics, len(topics)), dict(zip(topics, rng.sample(topics, len(topics)), strict=True))
        users.append(([*common, *own], habit, rng.sample(order, 3)))
    for session in range(DAYS * SESSIONS_A_DAY):
        if session % SESSIONS_A_DAY == 0:
            order.insert(rng.randrange(TOKENS), order.pop(rng.randrange(TOKENS)))
        if session == DAYS * SESSIONS_A_DAY // 2:
            rng.shuffle(order)
        at = BEGIN + timedelta(days=session // SESSIONS_A_DAY, hours=rng.triangular(0, 24, 15))
        liked, habit, favourites = rng.choice(users)
        token = rng.choice([rng.choices(order, ranks)[0], rng.choice(favourites)])
        topic, market = "", rng.random() < MARKET_SESSIONS
        while True:
            by_habit = topic and rng.random() < BY_HABIT
            topic = habit[topic] if by_habit else rng.choices(liked, weights)[0]
            about, said = ((), rng.choice(("screen", "market", "change"))) if market else ((token,), topic)
            log.append(Ask(f"ask-{len(log)}", at, "team", about, said, session=f"session-{session}"))
            if rng.random() > GOES_ON:
                break
            at += timedelta(minutes=rng.expovariate(1 / MINUTES_BETWEEN))
            token = rng.choice(order) if rng.random() < OTHER_TOKEN else token
    return sorted(log, key=lambda ask: ask.at)


def replay(asks: Sequence[Ask], name: str, *, idle: bool = True, cycles: bool = True) -> tuple[float, float]:
    """Recall and precision of one rule over one log, with idle passes and the cycles of every five minutes or one of
    them alone."""
    log = ReplayedLog(asks)
    own, rule = Chooser(log), RULES[name]
    passes = {before.at + QUIET for before, after in pairwise(asks) if idle and after.at - before.at > QUIET}
    last_tick = math.ceil((asks[-1].at - BEGIN) / TICK) if cycles else 0
    ticks = {BEGIN + number * TICK for number in range(1, 1 + last_tick)}
    standing: dict[Pair, list[Any]] = {}  # by pair, until when and whether it was asked
    ended, hits, seen, last = list[bool](), 0, -1, BEGIN
    for moment in sorted(ticks | passes | {asks[-1].at}):
        for ask in asks[log.known :]:
            if ask.at > moment:
                break
            stood = [standing[pair] for pair in ask.pairs if pair in standing and ask.at < standing[pair][0]]
            hits += len(stood) == len(ask.pairs)
            for one in stood:
                one[1] = True
        log.until(moment)
        if moment not in passes | ticks:
            continue
        if moment not in passes:
            if log.known == seen and moment - last < HOUR:
                continue
            seen, last = log.known, moment
        found = set(rule(own)[: len(own.likely())])
        if moment in passes:
            about = log.talked_about(within=TALKED_ABOUT_WITHIN)
            found = {pair for pair in found if pair[0] in about} | {pair for pair in standing if pair[0] not in about}
        for pair in [pair for pair, (until, _) in standing.items() if until <= moment or pair not in found]:
            ended.append(standing.pop(pair)[1])
        for pair in found:
            standing.setdefault(pair, [moment + STANDS, False])
    return hits / len(asks), statistics.mean(ended) if ended else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logs = [made_up(seed) for seed in range(SEEDS)]
    runs = {name: [replay(log, name) for log in logs] for name in RULES}
    runs["foresight, no idle pass"] = [replay(log, "foresight", idle=False) for log in logs]
    for name in ("foresight", "most asked", "nothing"):
        runs[f"{name}, idle passes alone"] = [replay(log, name, cycles=False) for log in logs]
    rows = []
    for name, both in runs.items():
        recall, precision = (statistics.mean(values) for values in zip(*both, strict=True))
        ahead = [ours[0] - theirs[0] for ours, theirs in zip(runs["foresight"], both, strict=True)]
        half = STUDENT * statistics.stdev(ahead) / math.sqrt(len(ahead))
        values = name, recall, precision, statistics.mean(ahead), half
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    if options.json:
        print(json.dumps({"asks": sum(map(len, logs)), "logs": SEEDS, "days": DAYS, "rules": rows}, indent=2))
        return
    for row in rows:
        print("  ".join(f"{name} {value if name == 'rule' else f'{value:.3f}'}" for name, value in row.items()))


if __name__ == "__main__":
    main()
