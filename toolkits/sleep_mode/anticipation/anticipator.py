"""Prepare answers before anybody asks: scenarios every cycle, and for single tokens what demand says will be asked.

Only what changed is made again: each prepared answer remembers what it was made from. Answers whose analyses were
replaced are dropped, so the shelf never outgrows its cap.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from ....core.clock import Clock, SystemClock
from ....core.giving_way import give_way
from ....core.settings import Settings
from ...khala.records import Document, Recall
from ..answers.answering import Answer, NotInMemory, answer_from_memory, answer_template
from ..answers.catalogue import templates
from ..answers.changes import Marks, draft_changes, mark
from ..answers.cite import Absent, Composer
from ..answers.conditions import compose_scenario
from ..answers.material import Market, Material, read_market
from ..answers.scenarios import CHANGED, lives_until
from ..answers.templates import Draft, Template
from ..questions.understanding import Question, understand
from .asked import AnticipationScore, AskedLog, Outcome, Prepared, Weight
from .choice import Candidate, Demand, Economics, candidates, choose, parse_key, read_outlook
from .shelf import basis_for, basis_of, document_of, is_dead, life_hours, scenario_prepared

if TYPE_CHECKING:
    from ...khala import Khala
    from ..cycle.plan import Budget

CAP = 200
SLACK = 1.25
"""Answers that are no longer wanted but still true stay until there are this many times the cap."""
EXPLORE = 0.02
SLOW_PER_PASS = 10
"""Answers that take tens of milliseconds each (similar situations): so many are made in one pass."""
ASKED_SCENARIO = 0.2
"""Fading asks from which on a scenario that is not prepared as a matter of course is."""


class Essayist(Protocol):
    """A model's part: answers that no template covers, and what may be asked next; see essays.py."""

    def prepare(
        self, log: AskedLog, market: Market, *, now: datetime, budget: Budget | None, may_ask: Callable[[], bool]
    ) -> list[Document]: ...

    def suggest(
        self, log: AskedLog, market: Market, changed: str, *, budget: Budget | None, may_ask: Callable[[], bool]
    ) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class AnticipationReport:
    """What one pass prepared. `anticipated` and `scenarios` are documents written; `kept` still stood; `dropped` had
    died; `absent` could not be answered; `considered` were weighed, `explored` tried against the odds."""

    anticipated: int = 0
    scenarios: int = 0
    kept: int = 0
    dropped: int = 0
    absent: int = 0
    considered: int = 0
    explored: int = 0
    essays: int = 0
    seconds: float = 0.0


class Anticipator:
    """Prepares answers and measures how well they were foreseen.

    Args:
        khala: read for what is fresh, written with documents of kind `scenario` and `anticipated`.
        demand: how often what is asked; None works from priors and the own log alone.
        log: where questions and their outcomes are kept; one of its own on Khala's journal by default.
        economics: what a prepared answer saves and costs.
        cap: most answers about single tokens or pairs that stand prepared.
        explore: share of the cap that is tried at random, so that a faded template can come back.
        clock: real time, in which questions are asked; `prepare` is told the market's time.
        rng: source of randomness for exploring.
        essayist: has a model write what no template covers; None leaves it out.
    """

    def __init__(
        self,
        khala: Khala,
        demand: Demand | None = None,
        *,
        settings: Settings | None = None,
        log: AskedLog | None = None,
        economics: Economics | None = None,
        cap: int = CAP,
        explore: float = EXPLORE,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        essayist: Essayist | None = None,
    ) -> None:
        self._khala = khala
        self._demand = demand
        self._settings = settings or khala.settings
        self._clock: Clock = clock or SystemClock()
        self.log = log or AskedLog(khala.journal, clock=self._clock)
        self._marks = Marks(khala.journal)
        self._economics = economics or Economics()
        self._cap = cap
        self._explore = explore
        self._rng = rng or random.Random()
        self._essayist = essayist

    def __deepcopy__(self, memo: dict[int, object]) -> Anticipator:
        return self

    def close(self) -> None:
        """Write the questions that wait in memory."""
        self.log.close()

    # -- preparing ------------------------------------------------------------------------------------------------

    def prepare(
        self,
        now: datetime | None = None,
        *,
        budget: Budget | None = None,
        may_ask: Callable[[], bool] = lambda: True,
    ) -> AnticipationReport:
        """Prepare what is worth it as of `now` (Khala's present by default). Cheap when nothing changed. `may_ask` is
        asked before each call of a model.

        Raises:
            StoreError: memory cannot be read or written.
        """
        started = time.perf_counter()
        now = now or self._khala.clock.now()
        market = read_market(self._khala, now)
        standing = self.log.prepared()
        scenarios = self._scenarios(market, now)
        suggested: list[str] = []
        essays: list[Document] = []
        if self._essayist is not None:
            changed = scenarios[-1].text if scenarios else "unknown"
            suggested = self._essayist.suggest(self.log, market, changed, budget=budget, may_ask=may_ask)
            essays = self._essayist.prepare(self.log, market, now=now, budget=budget, may_ask=may_ask)
        made, wanted, report = self._answers(market, standing, now, suggested)
        give_way()
        self._khala.put_documents([*scenarios, *(document for document, _, _ in made), *essays])
        self.log.note_prepared(
            [Prepared(d.key, d.kind, c.template.name, basis, c.uses, c.life_hours) for d, c, basis in made]
            + [p for d in scenarios if (p := scenario_prepared(d)).basis != basis_of(standing, d.key)]
        )
        dropped = self._drop(wanted)
        return replace(
            report,
            scenarios=len(scenarios),
            dropped=dropped,
            essays=len(essays),
            seconds=time.perf_counter() - started,
        )

    async def aprepare(self, now: datetime | None = None, *, budget: Budget | None = None) -> AnticipationReport:
        """`prepare` in a thread."""
        return await asyncio.to_thread(lambda: self.prepare(now, budget=budget))

    def _scenarios(self, market: Market, now: datetime) -> list[Document]:
        """Every standing scenario, those that were asked for, and what changed since the last cycle; none of them while
        too little of the market is fresh to speak for it."""
        if not market.covered:
            return []
        weights = self.log.weights()
        documents = []
        for template in templates().values():
            if template.kind != "scenario" or template.name == CHANGED:
                continue
            asked = weights.get(template.name)
            if not template.standing and (asked is None or asked.asked < ASKED_SCENARIO):
                continue
            give_way()
            made = compose_scenario(template.name, market, self._settings)
            if made is not None:
                documents.append(self._scenario_document(template, made, market, now))
        documents.append(self._changes(market, now))
        return documents

    def _changes(self, market: Market, now: datetime) -> Document:
        before = self._marks.read()
        composer = Composer(self._settings)
        made = draft_changes(market, before, self._khala, self._settings, composer)
        head = "SIMULATED DATA. " if any(a.provenance.simulated for a in market.analyses()) else ""
        made = replace(made, direct=head + made.direct, facts=composer.facts)
        marks = {
            recall.symbol: mark(recall, recall.analysis, self._settings, now)
            for recall in market.recalls
            if recall.analysis is not None
        }
        self._marks.write(marks)
        return self._scenario_document(templates()[CHANGED], made, market, now)

    def _scenario_document(self, template: Template, made: Draft, market: Market, now: datetime) -> Document:
        return document_of(
            "scenario", template.name, template.wording, made, now, lives_until(market, made.rests_on, self._settings)
        )

    def _answers(
        self, market: Market, standing: dict[str, Prepared], now: datetime, suggested: Sequence[str]
    ) -> tuple[list[tuple[Document, Candidate, str]], set[str], AnticipationReport]:
        places = {symbol: place for place, symbol in enumerate(self._khala.universe())}
        ordered = sorted(market.recalls, key=lambda recall: places.get(recall.symbol, len(places)))
        recalls = {recall.symbol: recall for recall in ordered}
        tokens = [recall.analysis.token for recall in market.recalls if recall.analysis is not None]
        weights = self.log.weights()
        outlook = read_outlook(tokens, self._demand, weights, max(self.log.hours_seen(), 1.0), self._clock.now())
        lives = {symbol: life_hours(recall, now, self._settings) for symbol, recall in recalls.items()}
        hourly = {
            s: life_hours(self._khala.latest(s, interval="1h"), now, self._settings) for s in self._hourly(weights)
        }
        found = candidates(list(recalls), templates(), outlook, lives, suggested, hourly)
        chosen, rest = choose(found, self._economics, cap=self._cap, standing=standing.keys())
        explored = self._explored(rest)
        made: list[tuple[Document, Candidate, str]] = []
        kept = absent = slow = 0
        wanted = [*chosen, *explored]
        for candidate in wanted:
            give_way()
            served = self._recalls(candidate, recalls)
            if served is None:
                absent += 1
                continue
            basis = basis_for(candidate, served)
            stands = standing.get(candidate.key)
            if stands is not None and stands.basis == basis:
                kept += 1
                continue
            if candidate.template.cost:
                slow += 1
                if slow > SLOW_PER_PASS:
                    continue
            document = self._compose(candidate, served, market, now)
            if document is None:
                absent += 1
            else:
                made.append((document, candidate, basis))
        report = AnticipationReport(
            anticipated=len(made), kept=kept, absent=absent, considered=len(found), explored=len(explored)
        )
        return made, {candidate.key for candidate in wanted}, report

    def _hourly(self, weights: Mapping[str, Weight]) -> set[str]:
        """Tokens that answers on hourly bars were asked about."""
        keys = (parse_key(name, templates()) for name in weights if name.endswith("@1h"))
        return {symbol for parsed in keys if parsed is not None for symbol in parsed[1]}

    def _recalls(self, candidate: Candidate, daily: dict[str, Recall]) -> tuple[Recall, ...] | None:
        """Recalls of the candidate's tokens on its interval, None when one may not be served."""
        if candidate.interval == "1d":
            return tuple(daily[symbol] for symbol in candidate.symbols)
        recalls = tuple(self._khala.latest(symbol, interval=candidate.interval) for symbol in candidate.symbols)
        return recalls if all(recall.usable for recall in recalls) else None

    def _compose(
        self, candidate: Candidate, recalls: tuple[Recall, ...], market: Market, now: datetime
    ) -> Document | None:
        material = Material(self._khala, self._settings, now, recalls, candidate.interval)
        if candidate.interval == "1d":
            material.market_read = market
        try:
            made, dies_at = answer_template(candidate.template, recalls, material)
        except Absent:
            return None
        if candidate.template.name == "ranking":  # rests on everybody, so it lives as long as a sighting of prices
            dies_at = lives_until(market, made.rests_on, self._settings)
        title = candidate.template.wording.format(**dict(zip("ab", candidate.symbols, strict=False)))
        if candidate.interval == "1h":
            title += " (hourly)"
        return document_of("anticipated", candidate.key, title, made, now, dies_at)

    def _explored(self, rest: Sequence[Candidate]) -> list[Candidate]:
        """A few of the answers that are not worth it by what is known, in case that has changed."""
        count = min(int(self._cap * self._explore), len(rest))
        return self._rng.sample(list(rest), count) if count else []

    def _drop(self, wanted: set[str]) -> int:
        """Drop answers that died and, beyond the cap, those that nobody is expected to ask any more."""
        documents = self._khala.documents("anticipated")
        dead = [
            document.key
            for document, freshness, _ in documents
            if document.key not in wanted and freshness.value != "fresh" and is_dead(document, self._khala)
        ]
        spare = [
            d.key
            for d, freshness, _ in documents
            if d.key not in wanted and freshness.value == "fresh" and not d.key.startswith("free/")
        ]
        excess = len(documents) - len(dead) - int(self._cap * SLACK)
        dropped = dead + (spare[-excess:] if excess > 0 else [])  # documents come newest first
        if dropped:
            self._khala.drop_documents("anticipated", dropped)
            self.log.forget_prepared(dropped)
        return len(dropped)

    # -- asking and scoring ---------------------------------------------------------------------------------------

    def ask(self, question: Question | str) -> Answer | NotInMemory:
        """Answer from memory and note how it went. What serves people should ask here, so that anticipation learns.

        Raises:
            StoreError: memory cannot be read.
        """
        q = understand(question, self._khala) if isinstance(question, str) else question
        found = answer_from_memory(q, self._khala, settings=self._settings)
        outcome: Outcome = "none"
        if isinstance(found, Answer):
            outcome = found.source
        self.log.record(q, outcome, key=found.key if isinstance(found, Answer) else None)
        return found

    async def aask(self, question: Question | str) -> Answer | NotInMemory:
        """`ask` in a thread."""
        return await asyncio.to_thread(self.ask, question)

    def score(self, window: timedelta = timedelta(days=7)) -> AnticipationScore:
        """Recall and precision of what was prepared against what was asked in the last `window`."""
        return self.log.score(window)
