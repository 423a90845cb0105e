"""Answers that need prose: questions no template covers, asked again and again, answered ahead of time by a model.

A free question is found again only in the very same words (fillers aside): there are no slots to hold it to. Its answer
passes the same check as a report, rests on the analyses of the tokens it names, and dies with them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ....core.clock import Clock, SystemClock
from ....core.prices import PriceList
from ....core.settings import Settings
from ....prompts import load_prompt
from ...khala.records import Document, Recall
from ..answers.answering import dies_at, free_key
from ..answers.cite import Cited
from ..answers.material import Market, ids
from ..anticipation.asked import AskedLog, Prepared
from ..questions.understanding import understand
from .prose_lint import refuse
from .writer import FAILURES_IN_A_ROW, Writer, facts_of, list_facts, moments_of, quoted

if TYPE_CHECKING:
    from ...khala import Khala
    from ..cycle.plan import Budget

ANSWER_WORDS = 120
ANSWER_TOKENS = 400
SUGGEST_TOKENS = 300
MOST_ESSAYS = 3
"""Free questions answered in one pass."""
MOST_SUGGESTED = 8
ASKED_AT_LEAST = 2
LOOK_BACK = 200
UNANSWERABLE = "NOT ANSWERABLE"


class Essays:
    """A model's part in anticipation: what may be asked next, and answers to free questions.

    Args:
        model: any agno Model object, a cheap one.
        suggest_every: how often it is asked what comes next; None never.
    """

    def __init__(
        self,
        model: Any,
        khala: Khala,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        suggest_every: timedelta | None = timedelta(hours=1),
    ) -> None:
        self._model = model
        self._khala = khala
        self._settings = settings or khala.settings
        self._clock: Clock = clock or SystemClock()
        self._suggest_every = suggest_every
        self._suggested_at: datetime | None = None
        self._refused: dict[str, str] = {}
        self.outcomes: Counter[str] = Counter()
        """How many texts were written, and how many refused by reason, since this object was made."""

    def prepare(
        self,
        log: AskedLog,
        market: Market,
        *,
        now: datetime,
        budget: Budget | None,
        may_ask: Callable[[], bool] = lambda: True,
    ) -> list[Document]:
        """Answers to the free questions that were asked most, made from what is fresh; those that stand are left.

        Ends when `may_ask`, asked before each model call, says no, when the budget is spent or the model fails again
        and again; a question that was not come to is tried in the next pass.
        """
        writer = self._writer(budget)
        recalls = {recall.symbol: recall for recall in market.recalls}
        standing = log.prepared()
        documents: list[Document] = []
        failures = 0
        for normal, text, symbols in self._wanted(log, recalls):
            key = free_key(normal)
            chosen = [recalls[symbol] for symbol in symbols]
            analyses = [recall.analysis for recall in chosen if recall.analysis is not None]
            basis = hashlib.sha256("|".join((key, *ids(analyses))).encode()).hexdigest()[:16]
            stands = standing.get(key)
            if (stands is not None and stands.basis == basis) or self._refused.get(key) == basis:
                continue
            if len(documents) >= MOST_ESSAYS or failures >= FAILURES_IN_A_ROW or not may_ask():
                break
            answer = self._answer(writer, key, text, chosen, now)
            failures = failures + 1 if answer == "failed" else 0
            if isinstance(answer, Document):
                documents.append(answer)
                log.note_prepared([Prepared(key, "anticipated", "free", basis)])
            elif answer == "budget":
                break
            elif answer != "failed":
                self._refused[key] = basis
        return documents

    def suggest(
        self,
        log: AskedLog,
        market: Market,
        changed: str,
        *,
        budget: Budget | None,
        may_ask: Callable[[], bool] = lambda: True,
    ) -> list[str]:
        """Keys of answers that the model expects to be asked for; at most once per `suggest_every`, if `may_ask`."""
        now = self._clock.now()
        if self._suggest_every is None or (self._suggested_at and now - self._suggested_at < self._suggest_every):
            return []
        if not may_ask():
            return []
        self._suggested_at = now
        asked = "\n".join(quoted(row["text"]) for row in log.recent(30)) or "nothing yet"
        symbols = ", ".join(recall.symbol for recall in market.recalls[:60])
        system = load_prompt("anticipate", most=MOST_SUGGESTED, symbols=symbols)
        done = self._writer(budget).complete(system, f"ASKED\n{asked}\n\nCHANGED\n{changed}", max_tokens=SUGGEST_TOKENS)
        if done.refused is not None:
            self.outcomes[done.refused.code] += 1
            return []
        lines = [line.strip() for line in done.text.splitlines() if line.strip()][:MOST_SUGGESTED]
        questions = [understand(line, self._khala) for line in lines]
        self.outcomes["suggested"] += len(questions)
        return [q.key for q in questions if q.key is not None and q.tokens]

    def _writer(self, budget: Budget | None) -> Writer:
        return Writer(self._model, budget=budget, prices=PriceList(self._settings.model_prices))

    def _wanted(self, log: AskedLog, recalls: Mapping[str, Recall]) -> list[tuple[str, str, tuple[str, ...]]]:
        """Free questions about tokens that are fresh, asked more than once lately, the most frequent first."""
        counts: Counter[str] = Counter()
        seen: dict[str, tuple[str, tuple[str, ...]]] = {}
        for row in log.recent(LOOK_BACK):
            symbols = tuple(part for part in row["symbols"].split(",") if part)
            template_covers = row["key"] and not row["key"].startswith("free/")
            if template_covers or row["outcome"] == "composed" or not row["normal"] or not symbols:
                continue
            if all(symbol in recalls for symbol in symbols):
                counts[row["normal"]] += 1
                seen.setdefault(row["normal"], (row["text"], symbols))
        return [(normal, *seen[normal]) for normal, count in counts.most_common() if count >= ASKED_AT_LEAST]

    def _answer(self, writer: Writer, key: str, text: str, recalls: list[Recall], now: datetime) -> Document | str:
        """The answer, or the code of why there is none."""
        analyses = [recall.analysis for recall in recalls if recall.analysis is not None]
        facts: dict[str, Cited] = {}
        for analysis in analyses:
            facts |= {fact.id: fact for fact in facts_of(analysis, self._settings)}
        listed = list_facts(tuple(facts.values()))
        findings = "\n".join(
            f"{a.token.symbol} signal: {a.signal.action or 'none'}, security: "
            f"{a.security.verdict.replace('_', ' ') if a.security else 'not checked'}"
            for a in analyses
        )
        system = load_prompt("answer", max_words=ANSWER_WORDS)
        user = f"QUESTION\n{quoted(text)}\n\nFACTS\n{listed}\n{findings}"
        done = writer.complete(system, user, max_tokens=ANSWER_TOKENS)
        if done.refused is not None:
            self.outcomes[done.refused.code] += 1
            return done.refused.code
        if UNANSWERABLE in done.text:
            self.outcomes["not_answerable"] += 1
            return "not_answerable"
        refused = refuse(
            done.text,
            tuple(facts.values()),
            moments=[moment for a in analyses for moment in moments_of(a)],
            names={a.token.symbol: (a.token.ticker, a.token.name) for a in analyses},
        )
        if refused is not None:
            self.outcomes[refused.code] += 1
            return refused.code
        self.outcomes["written"] += 1
        head = "SIMULATED DATA. " if any(a.provenance.simulated for a in analyses) else ""
        return Document(
            kind="anticipated",
            key=key,
            title=text[:200],
            text=head + done.text.strip(),
            symbols=tuple(a.token.symbol for a in analyses),
            rests_on=ids(analyses),
            created_at=now,
            dies_at=dies_at(analyses, self._settings),
            facts={fact.id: fact.as_dict() for fact in facts.values()},
            fields={"question_kind": "other", "template": "free"},
            author=writer.author,
        )
