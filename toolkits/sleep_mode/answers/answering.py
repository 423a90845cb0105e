"""Answers from memory: the prepared one if there is one, else one composed from what is fresh, else none.

Nothing stale is ever served. A prepared text counts only when it is fresh by its own conditions and rests on exactly
the analyses that are published now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from ....core.settings import Settings
from ....core.token import Interval
from ...khala.records import Document, Freshness, MarketAnalysis, Recall
from ..questions.understanding import Question, answer_key, understand
from .catalogue import templates
from .cite import Absent, Cited, Composer
from .conditions import compose_scenario, condition, with_condition
from .material import Material, analysis_id, ids, read_market, servable
from .replies import IN_WORDS, Answer, Code, NotInMemory, freshness_line
from .scenarios import lives_until
from .templates import Draft, Template, compose

if TYPE_CHECKING:
    from ...khala import Khala

MOST_TOKENS = 10
"""More tokens than this in one question are a search of the market, not a question about each."""


def answer_from_memory(
    question: Question | str,
    khala: Khala,
    *,
    settings: Settings | None = None,
    prepared: bool = True,
) -> Answer | NotInMemory:
    """The answer that memory alone can give at this moment, or why it cannot. Without a model, without a network.

    Args:
        question: a text, or one that was understood already.
        settings: thresholds; Khala's by default.
        prepared: False composes anew even where a prepared answer stands.

    Raises:
        StoreError: memory cannot be read.
    """
    q = understand(question, khala) if isinstance(question, str) else question
    settings = settings or khala.settings
    several = q.obstacles == ("several tokens",)
    refused = _refused(q, several=several)
    if refused is not None:
        return (prepared and _free(q, khala, settings)) or refused
    template = _template(q)
    if template is None:
        return NotInMemory(q, "beyond_memory", "Memory prepares no answer of this kind.", q.symbols)
    if q.kind == "scenario":
        return _scenario(q, template, khala, settings, prepared=prepared)
    if several and template.tokens == 1:
        return _each(q, template, khala, settings)
    return _about(q, template, khala, settings, prepared=prepared)


def free_key(normal: str) -> str:
    """The key of an answer to a question that no template covers: only the very same words find it again."""
    return f"free/{hashlib.sha256(normal.encode()).hexdigest()[:16]}"


def answer_template(template: Template, recalls: Sequence[Recall], material: Material) -> tuple[Draft, datetime | None]:
    """The answer of a template about these tokens, and when it dies at the latest.

    Raises:
        Absent: it cannot be answered from these analyses.
    """
    _check_parts(template, recalls)
    made = compose(template, material, material.settings)
    return made, dies_at(made.rests_on, material.settings)


def dies_at(analyses: Sequence[MarketAnalysis], settings: Settings) -> datetime | None:
    """When an answer that rests on these is over at the latest: a newer bar is due, a security check runs out."""
    grace = timedelta(minutes=settings.bar_grace_minutes)
    ends = [a.next_bar_due + grace for a in analyses]
    ends += [a.security.expires_at for a in analyses if a.security is not None]
    return min(ends, default=None)


# -- reading the question ---------------------------------------------------------------------------------------------


def _refused(q: Question, *, several: bool) -> NotInMemory | None:
    """Why the question cannot be answered by a template at all, or None."""
    if q.unknown:
        return NotInMemory(q, "unknown_token", f"Memory knows no token by the name of {', '.join(q.unknown[:3])}.")
    if q.kind == "other" or q.template is None:
        if "no token" in q.obstacles:
            return NotInMemory(q, "no_token", "It does not say which token it is about.")
        words = f" ({', '.join(q.unexplained[:5])})" if q.unexplained else ""
        return NotInMemory(q, "not_understood", f"It is not clear what is asked{words}.", q.symbols)
    if q.obstacles and not several:
        why = "; ".join(dict.fromkeys(IN_WORDS.get(obstacle, obstacle) for obstacle in q.obstacles))
        return NotInMemory(q, "beyond_memory", f"Memory prepares no such answer: {why}.", q.symbols)
    if q.unexplained:
        words = ", ".join(q.unexplained[:5])
        return NotInMemory(q, "not_understood", f"These words may change what is asked: {words}.", q.symbols)
    return None


def _template(q: Question) -> Template | None:
    template = templates().get(q.template or "")
    if template is None or (template.tokens == 2 and len(q.tokens) < 2):
        return None
    if q.quantities and condition(q) is None:
        return None
    return template


# -- one or more tokens -----------------------------------------------------------------------------------------------


def _about(
    q: Question, template: Template, khala: Khala, settings: Settings, *, prepared: bool
) -> Answer | NotInMemory:
    interval: Interval = q.interval or "1d"
    recalls = tuple(khala.latest(token, interval=interval) for token in q.tokens[:MOST_TOKENS])
    bad = _not_servable(q, recalls)
    if bad is not None:
        return bad
    key = answer_key(q.template or "", q.symbols, interval)
    if prepared and not q.quantities:
        found = _prepared(q, "anticipated", key, recalls, khala, settings)
        if found is not None:
            return found
    material = Material(khala, settings, khala.clock.now(), recalls, interval)
    try:
        made, until = answer_template(template, recalls, material)
        if q.quantities:
            made = with_condition(q, recalls[0], made, settings)
    except Absent as absent:
        return NotInMemory(q, "incomplete", f"{absent}.", q.symbols)
    return _answer(q, made, recalls, material.now, key=key, dies_at=until, source="composed")


def _each(q: Question, template: Template, khala: Khala, settings: Settings) -> Answer | NotInMemory:
    """One question about several tokens: an answer for each, or none when one of them cannot be answered."""
    if len(q.tokens) > MOST_TOKENS:
        return NotInMemory(q, "beyond_memory", f"It names {len(q.tokens)} tokens.", q.symbols)
    answers: list[Answer] = []
    missing: list[NotInMemory] = []
    for token in q.tokens:
        single = replace(q, tokens=(token,), obstacles=())
        found = _about(single, template, khala, settings, prepared=True)
        answers.append(found) if isinstance(found, Answer) else missing.append(found)
    if missing:
        return NotInMemory(
            q,
            missing[0].code,
            " ".join(m.detail for m in missing),
            tuple(dict.fromkeys(symbol for m in missing for symbol in m.delegate)),
            tuple(reason for m in missing for reason in m.reasons),
        )
    facts = {fact.id: fact for answer in answers for fact in answer.facts}
    return Answer(
        question=q,
        text="\n\n".join(answer.text for answer in answers),
        facts=tuple(facts.values()),
        symbols=q.symbols,
        rests_on=tuple(i for answer in answers for i in answer.rests_on),
        source="composed",
        read_at=answers[0].read_at,
        as_of=min((a.as_of for a in answers if a.as_of), default=None),
        dies_at=min((a.dies_at for a in answers if a.dies_at), default=None),
    )


def _not_servable(q: Question, recalls: Sequence[Recall]) -> NotInMemory | None:
    bad = [recall for recall in recalls if not servable(recall)]
    if not bad:
        return None
    missing = [recall.symbol for recall in bad if recall.analysis is None]
    reasons = tuple((recall.symbol, reason) for recall in bad for reason in recall.reasons)
    bars = " on hourly bars" if any(recall.interval == "1h" for recall in bad) else ""
    details = [f"Nothing is known about {symbol}{bars}" for symbol in missing]
    details += [f"{symbol} is out of date: {reason.detail}" for symbol, reason in reasons]
    code: Code = "miss" if len(missing) == len(bad) else "stale"
    return NotInMemory(q, code, ". ".join(details) + ".", tuple(recall.symbol for recall in bad), reasons)


def _check_parts(template: Template, recalls: Sequence[Recall]) -> None:
    for recall in recalls:
        for name in template.needs:
            if name == "security":
                if recall.analysis and recall.analysis.security is None and recall.analysis.token.kind == "crypto":
                    raise Absent(recall.symbol, name, "not checked")
            elif recall.analysis is not None:
                Composer.value(recall.analysis, name)


def _prepared(
    q: Question, kind: str, key: str, recalls: Sequence[Recall], khala: Khala, settings: Settings
) -> Answer | None:
    """The prepared answer under this key, if it may be served: fresh, and resting on what is published now."""
    for document, freshness, _ in khala.documents(kind, key=key):
        if freshness is not Freshness.FRESH:
            return None
        current = [recall.analysis for recall in recalls if recall.analysis is not None]
        if not set(document.rests_on) <= {analysis_id(analysis) for analysis in current}:
            return None
        if kind == "scenario" and any(analysis.computed_at > document.created_at for analysis in current):
            return None  # a token it does not name may belong to it by now
        return _of_document(q, document, recalls, khala.clock.now())
    return None


def _of_document(q: Question, document: Document, recalls: Sequence[Recall], now: datetime) -> Answer:
    facts = tuple(Cited.of_dict(identity, body) for identity, body in document.facts.items())
    closes = [recall.analysis.bar_close for recall in recalls if recall.analysis is not None]
    return Answer(
        question=q,
        text=f"{document.text}\n{freshness_line(recalls, now)}".rstrip(),
        facts=facts,
        symbols=document.symbols,
        rests_on=document.rests_on,
        source="prepared",
        read_at=now,
        key=document.key,
        as_of=min(closes, default=None),
        created_at=document.created_at,
        dies_at=document.dies_at,
        author=document.author,
    )


def _free(q: Question, khala: Khala, settings: Settings) -> Answer | None:
    """The prepared answer to a question that no template covers, if somebody asked in these very words before."""
    if not q.tokens or not q.normal:
        return None
    recalls = tuple(khala.latest(token) for token in q.tokens[:MOST_TOKENS])
    if not all(servable(recall) for recall in recalls):
        return None
    return _prepared(q, "anticipated", free_key(q.normal), recalls, khala, settings)


# -- the market as a whole --------------------------------------------------------------------------------------------


def _scenario(
    q: Question, template: Template, khala: Khala, settings: Settings, *, prepared: bool
) -> Answer | NotInMemory:
    interval: Interval = q.interval or "1d"
    now = khala.clock.now()
    market = read_market(khala, now, interval)
    key = answer_key(q.template or "", (), interval)
    if not market.covered:
        code: Code = "stale" if market.left_out else "miss"
        known = len(market.recalls) + len(market.left_out)
        detail = f"Only {len(market.recalls)} of {known} tokens are fresh." if known else "No token is known."
        return NotInMemory(q, code, detail, market.left_out)
    if prepared and not q.quantities:
        found = _prepared(q, "scenario", key, market.recalls, khala, settings)
        if found is not None:
            return found
    made = compose_scenario(q.template or "", market, settings, condition(q))
    if made is None:
        return NotInMemory(q, "beyond_memory", "It is known only once a cycle has prepared it.")
    by_symbol = {recall.symbol: recall for recall in market.recalls}
    recalls = [by_symbol[a.token.symbol] for a in made.rests_on]
    until = lives_until(market, made.rests_on, settings)
    return _answer(q, made, recalls, now, key=key, dies_at=until, source="composed")


# -- putting it together ----------------------------------------------------------------------------------------------


def _answer(
    q: Question,
    made: Draft,
    recalls: Sequence[Recall],
    now: datetime,
    *,
    key: str | None,
    dies_at: datetime | None,
    source: Literal["prepared", "composed"],
) -> Answer:
    return Answer(
        question=q,
        text=f"{made.text}\n{freshness_line(recalls, now)}".rstrip(),
        facts=made.facts,
        symbols=tuple(a.token.symbol for a in made.rests_on),
        rests_on=ids(made.rests_on),
        source=source,
        read_at=now,
        key=key,
        as_of=min((a.bar_close for a in made.rests_on), default=None),
        created_at=now,
        dies_at=dies_at,
    )
