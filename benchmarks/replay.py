"""Which tokens should a cycle refresh? The planner against simpler rules, over real bars and a synthetic question log.

    python benchmarks/replay.py [--tape recorded bitcoin] [--budgets 2 6 16] [--seeds 5] [--json]

Real: the bars (see `replay_data`), the planner, the demand log in a journal on disk, Khala's freshness rule. Made up:
who asks. Questions come at random moments, tokens by Zipf's law; half-way the popularity of all tokens is dealt anew.
Every rule sees the same questions, prices and budget, a number of refreshes per look at the market; those that need
popularity read it from the same log. `blind` rules refresh by their order alone. The others know what is still fresh
and skip it.

Reported, as mean and standard deviation over the seeds: the share of questions whose answer was fresh by Khala's rule,
by how much the planner is ahead of the rule on the same questions (mean and standard error of the differences, seed by
seed), answers served although an independent check finds them out of date (must be 0), and refreshes spent per look.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from replay_data import Tape, bitcoin_tape, recorded_tape

from deeptrader.core.clock import ManualClock
from deeptrader.core.market import Quote
from deeptrader.core.settings import Settings, load_settings
from deeptrader.core.token import Interval
from deeptrader.toolkits.khala.freshness import Evidence, judge
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.khala.records import Freshness, MarketAnalysis, Recall
from deeptrader.toolkits.sleep_mode import planner
from deeptrader.toolkits.sleep_mode.asks import Ask, AskLog
from deeptrader.toolkits.sleep_mode.budgets import Budget, BudgetKind
from deeptrader.toolkits.sleep_mode.foresight import Demand

QUESTIONS_PER_LOOK = 8.0
ZIPF = 1.0


class Requests(Budget):
    """So many are left; each refresh takes one."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def left(self, kind: BudgetKind) -> float:
        return float(self._count)


class Memory:
    """What the replay remembers: one analysis per token, the prices last seen, judged by Khala's own rule."""

    def __init__(self, tape: Tape, settings: Settings) -> None:
        self._tape = tape
        self._settings = settings
        self.analyses: list[MarketAnalysis | None] = [None] * len(tape.tokens)
        self.seen: list[Quote | None] = [None] * len(tape.tokens)

    def look(self, number: int) -> None:
        now = self._tape.looks[number]
        self.seen = [
            Quote(symbol=token.symbol, price=float(price), as_of=now, fetched_at=now)
            for token, price in zip(self._tape.tokens, self._tape.prices[number], strict=True)
        ]

    def refresh(self, token: int, number: int) -> None:
        self.analyses[token] = self._tape.analyse(token, number)

    def recall(self, token: int, now: datetime) -> Recall:
        analysis, interval = self.analyses[token], self._tape.interval
        symbol = self._tape.tokens[token].symbol
        if analysis is None:
            return Recall(
                symbol=symbol, interval=interval, freshness=Freshness.MISS, observed=self.seen[token], read_at=now
            )
        return judge(analysis, Evidence(observed=self.seen[token]), now, self._settings)[0]

    def fresh(self, token: int, now: datetime) -> bool:
        return self.recall(token, now).usable

    def out_of_date(self, token: int, now: datetime) -> bool:
        """The independent check, from the tape and first principles: a newer bar, the band, a threshold in between."""
        analysis, quote = self.analyses[token], self.seen[token]
        assert analysis is not None
        assert quote is not None
        grace = timedelta(minutes=self._settings.bar_grace_minutes)
        newest = max(close for close in self._tape.bar_closes if close <= now - grace)
        atr, then, price = analysis.value("atr_14") or 0.0, analysis.reference_price, quote.price
        low, high = sorted((analysis.price, price))  # levels are those of the bar's close
        crossed = any(low < trigger.level < high for trigger in analysis.triggers)
        return analysis.bar_close < newest or abs(price - then) > self._settings.price_band_atr * atr or crossed


@dataclass
class Moment:
    """What a rule may use when it chooses: the number of the look, the memory, popularity, and the budget."""

    look: int
    now: datetime
    tape: Tape
    memory: Memory
    demand: Demand
    budget: int

    def popularity(self) -> list[float]:
        rates = self.demand.rates(self.tape.tokens)
        return [rates[token.symbol] for token in self.tape.tokens]

    def volatility(self) -> list[float]:
        return [self.tape.analyse(n, self.look).value("volatility_30") or 0.0 for n in range(len(self.tape.tokens))]

    def stale(self) -> list[int]:
        return [n for n in range(len(self.tape.tokens)) if not self.memory.fresh(n, self.now)]


Rule = Callable[[Moment], Sequence[int]]


def round_robin(*, blind: bool) -> Rule:
    at = 0

    def choose(moment: Moment) -> Sequence[int]:
        nonlocal at
        count = len(moment.tape.tokens)
        wanted = set(range(count)) if blind else set(moment.stale())
        ring = [(at + n) % count for n in range(count)]
        chosen = [n for n in ring if n in wanted][: moment.budget]
        at = (chosen[-1] + 1) % count if chosen else at
        return chosen

    return choose


def by(score: Callable[[Moment], list[float]], *, blind: bool) -> Rule:
    def choose(moment: Moment) -> Sequence[int]:
        values = score(moment)
        wanted = range(len(moment.tape.tokens)) if blind else moment.stale()
        return sorted(wanted, key=lambda n: -values[n])[: moment.budget]

    return choose


def everything(*, blind: bool) -> Rule:
    """In the order of the universe, as many as the budget allows."""
    return by(lambda moment: [0.0] * len(moment.tape.tokens), blind=blind)


def planned(settings: Settings) -> Rule:
    planner.REQUEST_SECONDS, planner.COMPUTE_SECONDS = 0.0, 1.0  # which tokens are chosen, not what they cost
    own: planner.SleepPlanner | None = None

    def choose(moment: Moment) -> Sequence[int]:
        nonlocal own
        tape = moment.tape
        recalls: dict[tuple[str, Interval], Recall] = {
            (token.symbol, tape.interval): moment.memory.recall(n, moment.now) for n, token in enumerate(tape.tokens)
        }
        own = own or planner.SleepPlanner(settings, moment.demand.rates)
        plan = own.plan(tape.tokens, recalls, Requests(moment.budget), now=moment.now)
        place = {token.symbol: n for n, token in enumerate(tape.tokens)}
        return [place[item.token.symbol] for item in plan.refreshes()][: moment.budget]

    return choose


def rules(settings: Settings) -> dict[str, Rule]:
    return {
        "planner": planned(settings),
        "most popular first, skips fresh": by(Moment.popularity, blind=False),
        "round robin, skips fresh": round_robin(blind=False),
        "most volatile first, skips fresh": by(Moment.volatility, blind=False),
        "everything in order, skips fresh": everything(blind=False),
        "round robin, blind": round_robin(blind=True),
        "most popular first, blind": by(Moment.popularity, blind=True),
        "most volatile first, blind": by(Moment.volatility, blind=True),
        "everything in order, blind": everything(blind=True),
    }


def questions(tape: Tape, seed: int) -> list[list[tuple[datetime, int]]]:
    """For each look, who asks about what before the next one. Zipf over tokens, dealt anew half-way."""
    rng = random.Random(seed)
    count = len(tape.tokens)
    weights = [1 / (rank + 1) ** ZIPF for rank in range(count)]
    before, after = (rng.sample(range(count), count) for _ in range(2))
    log = []
    for number, look in enumerate(tape.looks):
        order = before if number < len(tape.looks) / 2 else after
        asked, at = [], rng.expovariate(QUESTIONS_PER_LOOK)
        while at < 1:
            asked.append((look + at * tape.step, order[rng.choices(range(count), weights)[0]]))
            at += rng.expovariate(QUESTIONS_PER_LOOK)
        log.append(asked)
    return log


@dataclass(frozen=True)
class Outcome:
    fresh_share: float
    stale_served: int
    refreshes_per_look: float
    asked: int


def replay(tape: Tape, name: str, budget: int, seed: int, memory: Memory | None = None) -> Outcome:
    """One rule over one tape and one question log."""
    settings = replay_settings(tape)
    memory, clock = memory or Memory(tape, settings), ManualClock(tape.looks[0])
    rule = rules(settings)[name]
    asked = fresh = stale_served = spent = 0
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.db")
        asks_log = AskLog(journal, clock=clock, background=False)
        demand = Demand(asks_log)
        for number, asks in enumerate(questions(tape, seed)):
            clock.set(tape.looks[number])
            memory.look(number)
            chosen = rule(Moment(number, tape.looks[number], tape, memory, demand, budget))
            assert len(chosen) <= budget
            spent += len(chosen)
            for token in chosen:
                memory.refresh(token, number)
            for at, token in asks:
                hit = memory.fresh(token, clock.set(at))
                asks_log.note(
                    Ask(f"ask-{asked}", at, "command", (tape.tokens[token].symbol,), served="sleep" if hit else "none")
                )
                asked, fresh = asked + 1, fresh + hit
                stale_served += hit and memory.out_of_date(token, at)
        journal.close()
    return Outcome(fresh / asked, stale_served, spent / len(tape.looks), asked)


def replay_settings(tape: Tape) -> Settings:
    """Defaults, but that a price sighting vouches until the next look, and only the tape's interval is planned."""
    minutes = tape.step / timedelta(minutes=1)
    return load_settings(
        intervals=(tape.interval,),
        sleep_every_seconds=tape.step.total_seconds(),
        observation_max_age_minutes=minutes,
        bar_grace_minutes=min(10.0, minutes / 2),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tape", nargs="+", choices=("recorded", "bitcoin"), default=["recorded", "bitcoin"])
    parser.add_argument("--budgets", nargs="+", type=int, default=[2, 6, 16])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="names of rules; all by default")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for tape in ({"recorded": recorded_tape, "bitcoin": bitcoin_tape}[name]() for name in options.tape):
        for budget in options.budgets:
            rows: list[dict[str, Any]] = []
            ours: list[float] = []
            for name in options.only or rules(replay_settings(tape)):
                runs = [replay(tape, name, budget, seed) for seed in range(options.seeds)]
                shares = [run.fresh_share for run in runs]
                ours = shares if name == "planner" else ours
                ahead = [mine - theirs for mine, theirs in zip(ours, shares, strict=False)]
                rows.append(
                    {
                        "tape": tape.name,
                        "budget": budget,
                        "rule": name,
                        "fresh_share": statistics.mean(shares),
                        "deviation": statistics.pstdev(shares),
                        "planner_ahead": statistics.mean(ahead) if ahead else None,
                        "ahead_error": standard_error(ahead),
                        "stale_served": sum(run.stale_served for run in runs),
                        "refreshes_per_look": statistics.mean(run.refreshes_per_look for run in runs),
                        "asked": sum(run.asked for run in runs),
                        "seeds": options.seeds,
                    }
                )
            found += rows
            if not options.json:
                show(tape, budget, rows)
    if options.json:
        print(json.dumps(found, indent=2))


def standard_error(values: Sequence[float]) -> float | None:
    """Of their mean; None for fewer than two."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def show(tape: Tape, budget: int, rows: list[dict[str, Any]]) -> None:
    print(
        f"\n{tape.name}: {len(tape.tokens)} pseudo-tokens, {len(tape.looks)} looks {tape.step} apart, "
        f"{rows[0]['asked'] // rows[0]['seeds']} questions; {budget} refreshes a look"
    )
    print(f"  {'rule':<36}{'fresh':>8}{'+-':>7}{'planner ahead by':>20}{'stale served':>14}{'spent a look':>14}")
    for row in rows:
        ahead, error = row["planner_ahead"], row["ahead_error"]
        lead = "" if row["rule"] == "planner" or ahead is None else f"{ahead:.3f}"
        lead += f" +- {error:.3f}" if lead and error is not None else ""
        print(
            f"  {row['rule']:<36}{row['fresh_share']:>8.3f}{row['deviation']:>7.3f}{lead:>20}"
            f"{row['stale_served']:>14}{row['refreshes_per_look']:>14.1f}"
        )


if __name__ == "__main__":
    main()
