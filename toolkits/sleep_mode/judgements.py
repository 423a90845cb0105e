"""What a sleeping model does: it judges. It is given true statements and chooses among them; code writes the text.

The model returns a leaning, the numbers of the statements for and against, and which listed kinds of evidence are
missing, held to a JSON schema. It writes no figure and no sentence, so there is nothing in a judgement to be false.
A reply that fits no schema is an outcome with its reason; after three in a row a pass leaves the model alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...core.errors import DeepTraderError, MalformedResponse
from ...core.prices import PriceList
from ...core.text import estimate_tokens
from ...prompts import load_prompt
from ..khala.records import Document, Freshness
from ..models import json_schema_of
from .briefs import heading, order_for
from .reader import Reader
from .statements import Leaning, Statement
from .topics import TOPICS

if TYPE_CHECKING:
    from .context import CycleContext
    from .foresight import Foreseen

KIND = "judgement"
SHOWN = 12
"""Statements a model chooses among; numbered from 1."""
MOST_CHOSEN = 4
MOST_FAILURES = 3
REPLY_TOKENS = 200

Missing = Literal["longer history", "hourly bars", "volume", "security check", "news", "fundamentals", "nothing"]
"""What a model may call missing: a closed list, so that it writes no text of its own."""
HELD_BY = {"security": "security check", "volume": "volume", "news": "news", "fundamentals": "fundamentals"}
"""Statements whose facts show that one of these is not missing, whatever a model says."""


class Choice(BaseModel):
    """What a model returns: numbers of the statements shown to it."""

    model_config = ConfigDict(extra="forbid")

    leaning: Leaning
    statements_for: list[int] = Field(default_factory=list, max_length=SHOWN)
    statements_against: list[int] = Field(default_factory=list, max_length=SHOWN)
    missing: list[Missing] = Field(default_factory=list, max_length=len(get_args(Missing)))


@dataclass(frozen=True, slots=True)
class Judgement:
    """A model's reading of one token: its leaning, the text that code wrote in the words of the statements it chose,
    and what it misses."""

    leaning: Leaning
    text: str
    missing: tuple[str, ...]


def judge(
    statements: Sequence[Statement],
    reply: str,
    *,
    symbol: str,
    topic: str,
    model: str,
    held: Sequence[Statement] | None = None,
) -> Judgement:
    """The judgement in a model's reply. What is called missing and is held is left out: a small model names them all.

    Args:
        statements: those that were shown, in their order.
        reply: JSON as `Choice` describes it, possibly in a fence.
        held: all that can be said about the token; None: what was shown.

    Raises:
        MalformedResponse: it is no JSON of that form, or it names a statement that was not shown.
    """
    choice = _read(reply, Choice)
    numbers = [*choice.statements_for, *choice.statements_against]
    if any(not 1 <= number <= len(statements) for number in numbers):
        raise MalformedResponse(f"The model chose a statement that was not shown ({numbers}).")
    if set(choice.statements_for) & set(choice.statements_against):
        raise MalformedResponse("The model chose a statement both for and against.")
    if not choice.statements_for and choice.leaning != "neutral":
        raise MalformedResponse("The model gave a leaning and no statement for it.")

    there = {HELD_BY.get(s.id) for s in (statements if held is None else held) if s.facts}
    missing = tuple(m for m in dict.fromkeys(choice.missing) if m != "nothing" and m not in there)
    lines = [f"{model} reads {symbol} as {choice.leaning} ({TOPICS[topic].label})."]
    for lead, numbers in (("For it", choice.statements_for), ("Against it", choice.statements_against)):
        chosen = [statements[number - 1].text for number in dict.fromkeys(numbers)][:MOST_CHOSEN]
        lines += [f"{lead}: {' '.join(chosen)}"] if chosen else []
    lines += [f"It misses: {', '.join(missing)}."] if missing else []
    return Judgement(choice.leaning, "\n".join(lines), missing)


def _read[T: BaseModel](reply: str, schema: type[T]) -> T:
    """The outermost JSON object of a reply, in its form."""
    start, end = reply.find("{"), reply.rfind("}")
    try:
        return schema.model_validate_json(reply[start : end + 1] if 0 <= start < end else reply)
    except ValidationError as error:
        first = error.errors()[0]
        raise MalformedResponse(f"The model's choice does not fit: {first['msg']}.") from error


class Judges:
    """Has the sleeping model judge foreseen (token, topic) pairs within a cycle, for `Foresight`.

    Args:
        model: an agno model.
        reader: what statements are read through.
        prices: what the model costs, for the budget.
    """

    def __init__(self, model: Any, reader: Reader, *, prices: PriceList) -> None:
        self._model = model
        self.name = str(getattr(model, "id", model))
        self._reader = reader
        self._price = prices.find(getattr(model, "id", None), getattr(model, "provider", None))
        self._failures: dict[str, int] = {}

    def prepare(self, context: CycleContext, pair: Foreseen) -> bool:
        """Judge one pair; True when a judgement of it now stands. Counted in the cycle's report as made or refused.

        Raises:
            MalformedResponse: the reply fits no schema.
            BudgetExceeded: the model's budget is used up.
            SourceUnreachable: the model did not answer in time.
        """
        recall = self._reader.khala.latest(pair.symbol)
        if recall.analysis is None or not recall.servable or pair.topic not in TOPICS:
            return False
        key = f"{pair.symbol}/{pair.topic}"
        kept = self._reader.khala.documents(KIND, key=key)
        if any(d.rests_on == (recall.analysis.analysis_id,) and state is Freshness.FRESH for d, state, _ in kept):
            return True
        if self._failures.get(context.cycle_id, 0) >= MOST_FAILURES or not context.may_ask():
            return False
        held = self._reader.statements(recall, TOPICS[pair.topic])
        shown = order_for(TOPICS[pair.topic], held)[:SHOWN]
        prompt = load_prompt(
            "judgement",
            question=TOPICS[pair.topic].label,
            heading=heading(recall),
            statements="\n".join(f"{number}. {statement.text}" for number, statement in enumerate(shown, 1)),
            missing=", ".join(get_args(Missing)),
        )
        self._pay(context, prompt)
        try:
            reply = self._ask(context, prompt, Choice)
            judgement = judge(shown, reply, symbol=pair.symbol, topic=pair.topic, model=self.name, held=held)
        except DeepTraderError:
            self._failures = {context.cycle_id: self._failures.get(context.cycle_id, 0) + 1}
            context.made["judgements_refused"] += 1
            raise
        self._failures = {}
        context.made["judgements"] += 1
        known = self._reader.news.about(pair.symbol, context.now).fundamentals
        ends = [recall.analysis.next_bar_due + timedelta(minutes=context.settings.bar_grace_minutes)]
        if known is not None and known.earnings_at is not None and known.earnings_at > context.now:
            ends.append(known.earnings_at)  # what a report will have changed was not judged
        document = Document(
            kind=KIND,
            key=key,
            title=f"Judgement of {pair.symbol}: {TOPICS[pair.topic].label}",
            text=judgement.text,
            symbols=(pair.symbol,),
            rests_on=(recall.analysis.analysis_id,),
            created_at=context.now,
            dies_at=min(ends),
            facts={name: value for statement in shown for name, value in statement.facts.items()},
            fields={"leaning": judgement.leaning, "topic": pair.topic, "model": self.name},
            author=self.name,
        )
        self._reader.khala.put_documents([document])
        return True

    def choose[T: BaseModel](self, context: CycleContext, prompt: str, schema: type[T]) -> T:
        """What the model chooses.

        Args:
            schema: what its reply must fit; JSON, possibly in a fence.

        Raises:
            MalformedResponse: the reply fits no schema.
            BudgetExceeded: the model's budget is used up.
            SourceUnreachable: the model did not answer in time.
        """
        self._pay(context, prompt)
        return _read(self._ask(context, prompt, schema), schema)

    def _ask(self, context: CycleContext, prompt: str, schema: type[BaseModel]) -> str:
        return context.ask_model(lambda: ask_for_json(self._model, prompt, schema, REPLY_TOKENS))

    def _pay(self, context: CycleContext, prompt: str) -> None:
        tokens = estimate_tokens(prompt)
        context.budget.spend("model_tokens", tokens + REPLY_TOKENS)
        if self._price is not None:
            context.budget.spend("usd", self._price.cost(tokens, REPLY_TOKENS))


def ask_for_json(model: Any, prompt: str, schema: type[BaseModel], most_tokens: int) -> str:
    """What an agno model answers to a prompt, held to a JSON schema as its provider can be told of one: as a type, as a
    JSON schema, or as plain JSON. `most_tokens` of the reply are set on a copy where the model has such a limit."""
    from agno.models.message import Message

    own = copy(model)
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        if hasattr(own, name):
            setattr(own, name, most_tokens)
            break
    form: Any = {"type": "json_object"}
    if getattr(own, "supports_native_structured_outputs", False):
        form = schema
    elif getattr(own, "supports_json_schema_outputs", False):
        form = json_schema_of(schema)
    answer = own.response(messages=[Message(role="user", content=prompt)], response_format=form)
    return str(answer.content or "")
