"""One look into memory for a question: which tokens, how fresh, what was prepared, and all of it as one JSON reply.

The tool that managers call and the gate in front of delegations read through here, so both say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ...core.errors import InvalidInput
from ...core.model_tokens import estimate_tokens
from ...core.text import clean_label, clip_sentences
from ...core.token import Interval, normalize_symbol
from ..khala.records import Document, Freshness, Recall
from .answers.answering import Answer, answer_from_memory
from .answers.facts import stamp
from .briefing import Briefer, fit, to_json
from .questions.naming import find_token, unknown_token
from .questions.understanding import Question, look, settled

if TYPE_CHECKING:
    from ..khala import Khala

QUESTION_LIMIT = 1_000
DOCUMENT_LIMIT = 900
ANSWER_LIMIT = 2_000
FRAME_TOKENS = 40
"""What the members' names and brackets around the entries cost."""
LEFT_OUT_TOKENS = 40
"""What it costs to say what found no room."""


@dataclass(frozen=True)
class Reading:
    """What memory holds for one question.

    `answer` is the whole answer, where memory has one. `scenarios` are fresh prepared texts about the market.
    """

    question: Question
    interval: Interval
    recalls: tuple[Recall, ...] = ()
    unknown: tuple[str, ...] = ()
    answer: Answer | None = None
    scenarios: tuple[Document, ...] = ()

    @property
    def kind(self) -> str:
        """Kind of the question; `state` when none was asked."""
        return self.question.kind if self.question.text else "state"

    @property
    def to_refresh(self) -> tuple[Recall, ...]:
        """Tokens whose record may not be served as it stands."""
        return tuple(recall for recall in self.recalls if not recall.usable)

    @property
    def next_step(self) -> Literal["answer", "delegate", "decide"]:
        """answer: all that was asked is there and fresh. delegate: some of it is not. decide: there are texts that may
        fit, and whether they do takes judgement."""
        if self.recalls:
            return "delegate" if self.to_refresh or self.unknown else "answer"
        if self.answer is not None:
            return "answer"
        return "decide" if self.scenarios else "delegate"

    @property
    def knows_something(self) -> bool:
        """True when there is anything in it at all."""
        return any(recall.analysis is not None for recall in self.recalls) or bool(self.answer or self.scenarios)


class Reader:
    """Reads Khala for questions. Keep one for each Khala and share it; every method is safe across threads."""

    def __init__(self, khala: Khala, *, reply_budget_tokens: int | None = None) -> None:
        self.khala = khala
        self.briefer = Briefer(khala)
        self._budget = reply_budget_tokens or khala.settings.reply_budget_tokens

    def __deepcopy__(self, memo: dict[int, Any]) -> Reader:
        return self

    def read(self, names: Sequence[str] = (), text: str = "") -> Reading:
        """Look up the tokens named, or those in the text when none are; and what was prepared for such a question.

        Raises:
            UnknownToken: names were given and memory knows none of them.
            InvalidInput: neither a name nor a text was given.
            StoreError: memory cannot be read.
        """
        if not names and not text.strip():
            raise InvalidInput(
                "No token and no question were given.",
                hint='Name tokens, e.g. ["BTC-USD"], or ask about the market, e.g. "the best buy among large caps".',
            )
        question = self._understand(clean_label(text, limit=QUESTION_LIMIT), names)
        interval: Interval = question.interval or "1d"
        recalls: dict[str, Recall] = {}
        unknown: list[str] = []
        for name in names:
            recall = self._recall(name, interval)
            if recall is None:
                unknown.append(name)
            else:
                recalls.setdefault(recall.symbol, recall)
        if names and not recalls:
            raise unknown_token(unknown, self.khala)
        if not names:
            for token in question.tokens:
                recalls.setdefault(token.symbol, self.khala.latest(token, interval=interval))
        return Reading(
            question=question,
            interval=interval,
            recalls=tuple(recalls.values()),
            unknown=tuple(unknown),
            answer=self._answer(question),
            scenarios=self._scenarios(question, market_wide=not recalls),
        )

    def reply(self, reading: Reading, *, look_up_similar: bool = False) -> str:
        """The reading as JSON within the reply budget, most relevant first.

        `look_up_similar` allows the search for similar past situations of tokens nobody searched for yet.
        """
        members = [to_json(self._frame(reading))[1:-1]]
        budget = self._budget - FRAME_TOKENS - estimate_tokens(members[0])
        # With tokens to tell about, prepared texts take half the reply at most: their figures must find room.
        texts, spent = _prepared_texts(reading, budget // 2 if reading.recalls else budget)
        members += texts
        answered = any(text.startswith('"prepared"') for text in texts)
        entries = [
            self.briefer.entry(
                recall,
                reading.kind,
                look_up_similar=look_up_similar,
                with_report=not answered,  # an answer to the very question says it better
            )
            for recall in reading.recalls
        ]
        objects, left_out = fit(entries, budget - spent)
        if left_out:
            objects, left_out = fit(entries, budget - spent - LEFT_OUT_TOKENS)
        if objects:
            members.append(f'"tokens":[{",".join(objects)}]')
        if left_out:
            members.append(f'"left_out_for_length":{to_json({"count": len(left_out), "first": left_out[:5]})}')
        return "{" + ",".join(members) + "}"

    def _frame(self, reading: Reading) -> dict[str, Any]:
        body: dict[str, Any] = {"read_at": stamp(self.khala.clock.now())}
        body["next"] = reading.next_step
        if reading.next_step == "delegate":
            symbols = [recall.symbol for recall in reading.to_refresh]
            symbols += [clean_label(name, limit=24) for name in reading.unknown]
            body["delegate"] = {
                "tokens": symbols,
                "task": f"Analyse {', '.join(symbols)} now." if symbols else "Work out the answer from live data.",
            }
        if reading.unknown:
            body["unknown"] = unknown_token(reading.unknown, self.khala).as_dict()
        return body

    def _understand(self, text: str, names: Sequence[str]) -> Question:
        """The question's slots. Tokens named beside it ("should I buy them?") are read as if it had named them."""
        if not text:
            return Question(text="")
        seen = look(text, self.khala)
        if names and not seen.question.tokens:
            seen = look(f"{text} {', '.join(names)}", self.khala)
        return settled(seen)

    def _recall(self, name: str, interval: Interval) -> Recall | None:
        try:
            recall = self.khala.latest(normalize_symbol(name), interval=interval)
        except ValueError:
            recall = None
        if recall is not None and recall.analysis is not None:
            return recall
        token = find_token(name, self.khala)
        return None if token is None else self.khala.latest(token, interval=interval)

    def _answer(self, question: Question) -> Answer | None:
        if not question.text or question.kind == "other":
            return None
        found = answer_from_memory(question, self.khala)
        return found if isinstance(found, Answer) else None

    def _scenarios(self, question: Question, *, market_wide: bool) -> tuple[Document, ...]:
        """Prepared texts about the market that are fresh. One that is not is no answer, so it is left out."""
        if not question.text or not (market_wide or question.kind in ("scenario", "ranking")):
            return ()
        kept = self.khala.documents("scenario")
        return tuple(d for d, freshness, _ in kept if freshness is Freshness.FRESH and d.key != question.key)


def _prepared_texts(reading: Reading, budget: int) -> tuple[list[str], int]:
    """The answer and the scenarios that fit, as members of a JSON object, and what they cost."""
    members: list[str] = []
    spent = 0
    if reading.answer is not None:
        text = to_json(_answered(reading.answer))
        cost = estimate_tokens(text)
        if cost <= budget:
            members.append(f'"prepared":{text}')
            spent += cost
    scenarios = []
    for document in reading.scenarios:
        text = to_json(_shown(document))
        cost = estimate_tokens(text)
        if spent + cost <= budget:
            scenarios.append(text)
            spent += cost
    return members + ([f'"scenarios":[{",".join(scenarios)}]'] if scenarios else []), spent


def _answered(answer: Answer) -> dict[str, Any]:
    body: dict[str, Any] = {"text": clip_sentences(answer.text, ANSWER_LIMIT), "made": answer.source}
    if answer.as_of is not None:
        body["as_of"] = stamp(answer.as_of)
    return body


def _shown(document: Document) -> dict[str, Any]:
    return {
        "key": document.key,
        "title": clean_label(document.title),
        "text": clip_sentences(document.text, DOCUMENT_LIMIT),
        "as_of": stamp(document.created_at),
    }
