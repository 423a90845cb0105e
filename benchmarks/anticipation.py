"""Are questions in other words understood, is what will be asked foreseen, and is nothing stale served?

    python benchmarks/anticipation.py [--days 12] [--caps 25 50 100] [--json]

Matching: the held-out sets of `tests/sleep_mode/data`, against a shelf on which every standing answer about every token
and pair stands prepared, so that each question has every chance to be answered wrongly. Each set is shown as it scored
when it was first tried ("first sight", the first four by earlier readers) and as it scores now. No set was trained on;
what the first four showed was looked at while the readers were built; the last four were opened once each, when all
that they measured stood: three by the feature network and the grammar, the eighth with the sentence encoder, which came
last. The upper end is that of the exact one-sided 95 % interval.

Replay: real bars (see `replay_data`), prices seen four times a day, everything that is not fresh refreshed. Made up:
the asker. Tokens by Zipf's law, dealt anew half-way; kinds of question by a Markov chain; half of the questions come
between a look at prices and the refresh that follows. `demand` learns from what was asked, `beliefs` never does, and
`everything` prepares all it can. An independent check counts answers served although a newer bar had closed or the
price had left its band.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from replay_data import Tape, recorded_tape

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from deeptrader.core.clock import ManualClock
from deeptrader.core.market import Quote
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.sleep_mode.answers.answering import Answer
from deeptrader.toolkits.sleep_mode.answers.catalogue import templates
from deeptrader.toolkits.sleep_mode.anticipation.anticipator import Anticipator
from deeptrader.toolkits.sleep_mode.anticipation.asked import AskedLog
from deeptrader.toolkits.sleep_mode.planning.demand import DemandLog
from deeptrader.toolkits.sleep_mode.questions.bounds import clopper_pearson_upper
from deeptrader.toolkits.sleep_mode.questions.phrasing import phrasing_model
from deeptrader.toolkits.sleep_mode.questions.understanding import understand

ASKED_PER_LOOK = 12
EVERYTHING = 10_000
NEXT_KIND: dict[str, dict[str, float]] = {
    "state": {"entry": 0.4, "risk": 0.2, "safety": 0.2, "state": 0.2},
    "entry": {"risk": 0.3, "safety": 0.4, "exit": 0.1, "state": 0.2},
    "exit": {"change": 0.5, "state": 0.5},
    "risk": {"exit": 0.3, "entry": 0.3, "state": 0.4},
    "safety": {"entry": 0.5, "state": 0.5},
    "change": {"state": 0.6, "exit": 0.4},
}
SAME_TOKEN = 0.6
"""Share of questions that stay with the token of the one before."""


def matching() -> dict[str, Any]:
    """Hit rate and false-hit rate of every held-out set, at first sight and now."""
    from doubles.asking import (  # pyright: ignore[reportMissingImports]
        HELD_OUT,
        UNSEEN,
        KnownNames,
        everything_prepared,
        paraphrases,
        rows,
    )

    khala, shelf = KnownNames(), everything_prepared()
    sets: dict[str, Any] = {}
    pooled = {"hits": 0, "of": 0, "false_hits": 0, "questions": 0}
    for name in HELD_OUT:
        first = dict(paraphrases(name)["at_first_sight"])
        if name in UNSEEN:
            for count in pooled:
                pooled[count] += first[count]
        right = wrong = of = questions = 0
        for _, text, key in rows(name):
            found = understand(text, khala).key
            found = found if found in shelf else None
            questions += 1
            of += key in shelf
            right += key in shelf and found == key
            wrong += found not in (None, key)
        now = {"hits": right, "of": of, "false_hits": wrong, "questions": questions}
        sets[name] = {"first_sight": _rates(first), "now": _rates(now)}
    texts = [text for name in HELD_OUT for _, text, _ in rows(name)]
    phrasing_model.cache_clear()  # what a question takes that is asked for the first time
    phrasing_model()
    begun = time.perf_counter()
    for text in texts:
        understand(text, khala)
    each = (time.perf_counter() - begun) / len(texts)
    return {
        "sets": sets,
        "first_sight": _rates(pooled),
        "calibration": asdict(phrasing_model().calibration),
        "microseconds_a_question": round(each * 1e6),
    }


def _rates(counts: dict[str, int]) -> dict[str, Any]:
    return {
        **counts,
        "hit_rate": round(counts["hits"] / counts["of"], 4),
        "false_hit_rate": round(counts["false_hits"] / counts["questions"], 4),
        "false_hit_upper": round(clopper_pearson_upper(counts["false_hits"], counts["questions"]), 4),
    }


class Asker:
    """Asks about tokens by Zipf's law and kinds by a Markov chain; half-way all tokens change places."""

    def __init__(self, symbols: Sequence[str], seed: int) -> None:
        self._rng = random.Random(seed)
        self._ranked = list(symbols)
        self._rng.shuffle(self._ranked)
        self._weights = [1 / (rank + 1) for rank in range(len(symbols))]
        self._symbol, self._kind = self._ranked[0], "state"
        by_kind: dict[str, list[str]] = {}
        for template in templates().values():
            if template.tokens == 1 and template.standing and not template.live:
                by_kind.setdefault(template.kind, []).append(template.wording)
        self._wordings = by_kind

    def drift(self) -> None:
        self._rng.shuffle(self._ranked)

    def ask(self) -> tuple[str, str, str]:
        """Symbol, kind and text of the next question."""
        if self._rng.random() > SAME_TOKEN:
            self._symbol = self._rng.choices(self._ranked, self._weights)[0]
        kinds = NEXT_KIND[self._kind]
        self._kind = self._rng.choices(list(kinds), list(kinds.values()))[0]
        listed = self._wordings[self._kind]
        wording = listed[0] if self._rng.random() < 0.6 else self._rng.choice(listed)
        return self._symbol, self._kind, wording.format(a=self._symbol)


@dataclass
class Outcome:
    """What one policy came to."""

    policy: str
    cap: int
    asked: int = 0
    hits: int = 0
    refused_stale: int = 0
    stale_served: int = 0
    prepared: int = 0
    used: int = 0
    recall_second_half: float = 0.0
    prepare_ms: float = 0.0

    def row(self) -> dict[str, Any]:
        answerable = self.asked - self.refused_stale
        return {
            **asdict(self),
            "recall": round(self.hits / answerable, 3) if answerable else None,
            "precision": round(self.used / self.prepared, 3) if self.prepared else None,
        }


def replay(tape: Tape, policy: str, cap: int, seed: int) -> Outcome:
    """One policy over the whole tape."""
    clock = ManualClock(tape.looks[0] - timedelta(minutes=30))
    settings = load_settings(data_dir=Path(tempfile.gettempdir()))
    outcome = Outcome(policy, cap)
    with tempfile.TemporaryDirectory() as folder, Khala.open(folder, clock=clock, settings=settings) as khala:
        demand = DemandLog(khala.journal, clock=clock, background=False)
        log = AskedLog(khala.journal, clock=clock, background=False)
        learning = policy == "demand"
        anticipator = Anticipator(
            khala,
            demand if learning else None,
            log=log,
            clock=clock,
            cap=cap,
            rng=random.Random(seed),
            settings=settings,
        )
        asker = Asker([token.symbol for token in tape.tokens], seed)
        spent, passes, second = 0.0, 0, [0, 0]
        for number, now in enumerate(tape.looks):
            if number == len(tape.looks) // 2:
                asker.drift()
            clock.set(now)
            khala.observe(_quotes(tape, number, now))
            for half in range(2):
                for _ in range(ASKED_PER_LOOK // 2):
                    clock.advance(20)
                    hit, answerable = _ask(tape, number, khala, anticipator, demand, asker, outcome, learning=learning)
                    if number >= 3 * len(tape.looks) // 4:
                        second[0] += hit
                        second[1] += answerable
                if half == 0:
                    _refresh(tape, number, khala)
                    begun = time.perf_counter()
                    anticipator.prepare()
                    spent, passes = spent + time.perf_counter() - begun, passes + 1
        score = anticipator.score(timedelta(days=60))
        kinds = [k for name, k in score.by_kind.items() if name != "scenario"]
        outcome.prepared, outcome.used = sum(k.prepared for k in kinds), sum(k.used for k in kinds)
        if not learning:  # its own log was kept apart, so that it could not learn: count uses here
            outcome.used = len(_USED.pop(id(anticipator), set()))
        outcome.prepare_ms = round(1e3 * spent / passes, 1)
        outcome.recall_second_half = round(second[0] / second[1], 3) if second[1] else 0.0
        demand.close()
    return outcome


_USED: dict[int, set[tuple[str, datetime | None]]] = {}


def _ask(
    tape: Tape,
    number: int,
    khala: Khala,
    anticipator: Anticipator,
    demand: DemandLog,
    asker: Asker,
    outcome: Outcome,
    *,
    learning: bool,
) -> tuple[bool, bool]:
    from deeptrader.toolkits.sleep_mode.answers.answering import answer_from_memory

    symbol, kind, text = asker.ask()
    found = anticipator.ask(text) if learning else answer_from_memory(text, khala)
    outcome.asked += 1
    served = isinstance(found, Answer)
    hit = isinstance(found, Answer) and found.source == "prepared"
    if isinstance(found, Answer):
        outcome.hits += hit
        outcome.stale_served += _is_stale(tape, number, symbol, khala)
        if hit and not learning:
            _USED.setdefault(id(anticipator), set()).add((found.key or "", found.created_at))
    else:
        outcome.refused_stale += found.code in ("stale", "miss")
    if learning:
        demand.record(symbol, kind, hit=served, session="replay")
    return hit, served


def _is_stale(tape: Tape, number: int, symbol: str, khala: Khala) -> bool:
    """Out of date by a rule of our own: a newer bar had closed, or the price had left half an ATR around its own."""
    analysis = khala.latest(symbol).analysis
    column = next(n for n, token in enumerate(tape.tokens) if token.symbol == symbol)
    if analysis is None:
        return True
    now, grace = tape.looks[number], timedelta(minutes=10)
    newest = max(close for close in tape.bar_closes if close + grace <= now)
    atr = analysis.value("atr_14")
    moved = abs(float(tape.prices[number, column]) - analysis.reference_price)
    return newest > analysis.bar_close or (atr is not None and moved > 0.5 * atr * (1 + 1e-9))


def _quotes(tape: Tape, number: int, now: datetime) -> list[Quote]:
    return [
        Quote(symbol=token.symbol, price=float(price), as_of=now, fetched_at=now, source="replay")
        for token, price in zip(tape.tokens, tape.prices[number], strict=True)
    ]


def _refresh(tape: Tape, number: int, khala: Khala) -> None:
    stale = [n for n, token in enumerate(tape.tokens) if not khala.latest(token).usable]
    khala.publish(khala.store([tape.analyse(n, number) for n in stale]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=12)
    parser.add_argument("--caps", type=int, nargs="+", default=[25, 50, 100])
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found: dict[str, Any] = {"matching": matching(), "replay": []}
    tape = recorded_tape(arguments.tokens, arguments.days)
    runs = [(policy, cap) for cap in arguments.caps for policy in ("demand", "beliefs")] + [("everything", EVERYTHING)]
    for policy, cap in runs:
        found["replay"].append(replay(tape, policy, cap, arguments.seed).row())
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    _print(found)


def _print(found: dict[str, Any]) -> None:
    shown = found["matching"]
    print("Matching              hits           false hits     upper end (95 %)")
    lines = [(f"{name}, {at.replace('_', ' ')}", r) for name, both in shown["sets"].items() for at, r in both.items()]
    for name, r in [*lines, ("unseen, first sight", shown["first_sight"])]:
        print(
            f"{name:24}{r['hits']:>4}/{r['of']} {r['hit_rate']:6.1%}  {r['false_hits']:>2}/{r['questions']}"
            f" {r['false_hit_rate']:6.2%}   {r['false_hit_upper']:6.2%}"
        )
    learnt = shown["calibration"]
    print(
        f"Calibration, on authors not read: {learnt['kept']:.1%} of {learnt['asked']} matched, {learnt['passed']} of "
        f"{learnt['judged']} look-alikes served (at most {learnt['error_bound']:.1%}). "
        f"{shown['microseconds_a_question']} µs a question.\n"
    )
    print("Replay        cap  asked  refused stale  stale served  recall  last quarter  precision  prepare ms")
    for r in found["replay"]:
        print(
            f"{r['policy']:12}{r['cap']:>5}{r['asked']:>7}{r['refused_stale']:>15}{r['stale_served']:>14}"
            f"{r['recall']:>8.3f}{r['recall_second_half']:>14.3f}{r['precision'] or 0:>11.3f}{r['prepare_ms']:>12.1f}"
        )


if __name__ == "__main__":
    main()
