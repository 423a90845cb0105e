"""All questions, the same in every run: kinds in fixed shares, tokens and templates in turn, from one seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import permutations

from .contexts import Context, contexts
from .templates import STALE, TEMPLATES, Draft, Template, Truth, View, short_history

SEED = 15
RECORDED = {
    "look-up": 3,
    "yes-no": 2,
    "compare": 2,
    "best": 1,
    "change": 2,
    "screen": 1,
    "parameter": 1,
    "unanswerable": 1,
}
"""How many questions of a kind each recorded moment gets."""
SIMULATED = dict.fromkeys(RECORDED, 1)
KINDS = (*RECORDED, "stale")

FORMS = {
    "number": "<number>",
    "bool": "<yes or no>",
    "token": "<symbol>",
    "list": "<symbols, or none>",
    "direction": "<rise or fall>",
}


@dataclass(frozen=True)
class Question:
    """One question at one moment.

    `slept_at` is when memory was last filled: before the newest bar for the second half of a stale pair, whose
    `old_truth` was right until that bar.
    """

    id: str
    context: Context
    kind: str
    template: str
    text: str
    tokens: tuple[str, ...]
    truth: Truth
    asked_at: datetime
    slept_at: datetime
    old_truth: Truth | None = None

    @property
    def prompt(self) -> str:
        """The question with the form its answer is wanted in: the same words for every arm."""
        return (
            f'{self.text}\nReply with a short sentence, then a last line "ANSWER: {FORMS[self.truth.asks]}". If it '
            'cannot be known from what you have, the last line is "ANSWER: UNKNOWN".'
        )


def all_questions() -> list[Question]:
    """Every question, by moment."""
    made: list[Question] = []
    turn = dict.fromkeys(TEMPLATES, 0)
    wanted, balance = True, 0
    for place, context in enumerate(contexts()):
        rng = random.Random(f"{SEED}-{context.id}")
        shares = SIMULATED if context.market == "simulated" else RECORDED
        used: set[tuple[str, tuple[str, ...]]] = set()
        for kind, count in shares.items():
            for number in range(count):
                drafts = [
                    (template, draft)
                    for template in _from(TEMPLATES[kind], turn[kind])
                    if (draft := _draft(template, context, rng, used, wanted)) is not None
                ]
                right = [pair for pair in drafts if pair[1].truth.type != "bool" or pair[1].truth.yes == wanted]
                template, draft = (right or drafts)[0]
                turn[kind] = TEMPLATES[kind].index(template) + 1
                balance += (1 if draft.truth.yes else -1) if draft.truth.type == "bool" else 0
                wanted = balance <= 0
                used.add((name_of(template), draft.tokens))
                made.append(_question(f"{context.id}:{kind}:{number}", context, kind, template, draft))
        if (young := _draft(short_history, context, rng, used, wanted)) is not None:
            made.append(_question(f"{context.id}:unanswerable:young", context, "unanswerable", short_history, young))
        if place < len(STALE):
            made += _pair(context, STALE[place], rng)
    return made


def spread(questions: Sequence[Question], limit: int | None) -> list[Question]:
    """At most `limit` of them, spread evenly over kinds and moments, in their own order."""
    if limit is None or limit >= len(questions):
        return list(questions)
    by_kind: dict[str, list[Question]] = {}
    for question in questions:
        by_kind.setdefault(question.kind, []).append(question)
    chosen: set[str] = set()
    for kind, listed in by_kind.items():
        random.Random(f"{SEED}-{kind}").shuffle(listed)
    while len(chosen) < limit:
        for listed in by_kind.values():
            if listed and len(chosen) < limit:
                chosen.add(listed.pop().id)
    return [question for question in questions if question.id in chosen]


def _from(templates: Sequence[Template], turn: int) -> Iterator[Template]:
    for step in range(len(templates)):
        yield templates[(turn + step) % len(templates)]


def _draft(
    template: Template,
    context: Context,
    rng: random.Random,
    used: set[tuple[str, tuple[str, ...]]],
    wanted: bool,
) -> Draft | None:
    """The first draft over the tokens in a random order; of yes-or-no questions one whose truth is the wanted one, if
    there is any, so that neither answer is right much more often."""
    orders = list(permutations(context.tokens))
    rng.shuffle(orders)
    facts, spare = context.facts(context.moment), None
    for order in orders:
        draft = template(View(facts, order, rng))
        if draft is None or (name_of(template), draft.tokens) in used:
            continue
        if draft.truth.type != "bool" or draft.truth.yes == wanted:
            return draft
        spare = spare or draft
    return spare


def _pair(context: Context, template: Template, rng: random.Random) -> Iterator[Question]:
    """A question at a moment, and word for word again after the next bar, before memory has been filled anew."""
    facts, later = context.facts(context.moment), context.facts(context.later)
    for order in permutations(context.tokens):
        seed = rng.random()
        first = template(View(facts, order, random.Random(seed)))
        second = template(View(later, order, random.Random(seed)))
        if first is None or second is None or _same_number(first, second):
            continue
        name = f"{context.id}:stale"
        yield _question(f"{name}:a", context, "stale", template, first)
        yield Question(
            id=f"{name}:b",
            context=context,
            kind="stale",
            template=name_of(template),
            text=second.text,
            tokens=second.tokens,
            truth=second.truth,
            asked_at=context.later,
            slept_at=context.moment,
            old_truth=first.truth if first.truth != second.truth else None,
        )
        return


def _same_number(first: Draft, second: Draft) -> bool:
    """Whether one number would be right both times: then nothing is tested."""
    if first.truth.type != "number":
        return False
    reach = first.truth.tolerance + second.truth.tolerance
    return any(abs(a - b) <= reach for a in first.truth.values for b in second.truth.values)


def _question(id: str, context: Context, kind: str, template: Template, draft: Draft) -> Question:
    moment = context.moment
    return Question(id, context, kind, name_of(template), draft.text, draft.tokens, draft.truth, moment, moment)


def name_of(template: Template) -> str:
    return getattr(template, "__name__", "question")
