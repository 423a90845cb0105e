"""May a text that a model wrote stand in for the one that code wrote?

It may when every number in it is a fact, it is no thinner than the plain text, says what the facts say about signal,
zone and security, and holds neither markup nor anything that reads like an order. Otherwise there is a typed reason.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..answers.cite import Cited
from .number_lint import FindingCode, lint_numbers

RefusalCode = Literal[
    "empty",
    "too_long",
    "shrunken",
    "markup",
    "instruction",
    "contradiction",
    "missing_finding",
    "not_answerable",
    "budget",
    "failed",
    FindingCode,
]

SHORTEST = 40
COVERAGE = 0.5
"""Share of the plain text's facts that a text must cite, not to count as shrunken."""

_MARKUP = re.compile(
    r"<[A-Za-z/!?|]|`|\*\*|__|^\s*#{1,6}\s|\]\(|https?://|www\.|^\s*[-*•]\s|\|.*\||\{|\}", re.MULTILINE
)
_ORDER = re.compile(
    r"(?i)\b(?:ignore|disregard|forget)\b.{0,30}\b(?:instruction|previous|above|rule|prompt)|\bsystem prompt\b|"
    r"^\s*(?:system|assistant|user|tool|developer)\s*:|\b(?:call|use|invoke|run)\s+the\s+\w+\s+(?:tool|function)\b|"
    r"\byou (?:must|should|need to|have to|are now)\b|\bas an ai\b|"
    r"\b(?:buy|sell) (?:now|immediately|as much|everything)\b|"
    r"\b(?:delegate|transfer|wire|send) (?:this|the|all|your|funds)\b|\bguarantee[ds]?\b",
    re.MULTILINE,
)
_NEGATED = re.compile(
    r"(?i)(?:\b(?:not|no|neither|nor|never|without|far from|no longer|short of|away from)|n't)\b[^.;]{0,40}$"
)
_CONDITIONAL = re.compile(
    r"(?i)\b(?:would|could|might|if|until|unless|once|before|toward|towards|nor|or|line|level|threshold|reach|turn|become)\b"
)
_ZONE = re.compile(r"(?i)\b(oversold|overbought)\b")
_SIGNAL = re.compile(r"(?i)\b(buy|sell|hold)[ -]signal\b|\bsignal(?: is| of|:)?(?: a| an)? (buy|sell|hold)\b")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a text was refused: a code for machines, the words at fault for people."""

    code: RefusalCode
    detail: str


@dataclass(frozen=True)
class Claims:
    """What the facts say in words, for one token: which zones hold, which signal, which security verdict."""

    signal: str
    verdict: str
    zones: frozenset[str] = frozenset()


def refuse(
    text: str,
    facts: Sequence[Cited],
    *,
    plain: str = "",
    claims: Claims | None = None,
    longest: int = 4_000,
    moments: Collection[datetime] = (),
    names: Mapping[str, Sequence[str]] | None = None,
) -> Refusal | None:
    """The first reason against a text, None when it may stand.

    Args:
        facts: what it may cite.
        plain: the text it would replace; its facts must be covered. Empty: it replaces nothing.
        claims: what it must not contradict, and must say.
        longest: characters.
    """
    stripped = text.strip()
    if len(stripped) < SHORTEST:
        return Refusal("empty", stripped)
    if len(stripped) > longest:
        return Refusal("too_long", f"{len(stripped)} characters, {longest} at most")
    for pattern, code in ((_MARKUP, "markup"), (_ORDER, "instruction")):
        found = pattern.search(stripped)
        if found:
            return Refusal("markup" if code == "markup" else "instruction", found[0].strip()[:60])
    result = lint_numbers(stripped, facts, moments=moments, names=names)
    if not result.ok:
        first = result.findings[0]
        return Refusal(first.code, first.text)
    if plain:
        needed = lint_numbers(plain, facts, moments=moments, names=names).cited
        covered = len(needed & result.cited)
        if needed and covered < COVERAGE * len(needed):
            return Refusal("shrunken", f"{covered} of {len(needed)} facts")
    return _against_claims(stripped, claims) if claims else None


def _against_claims(text: str, claims: Claims) -> Refusal | None:
    for match in _ZONE.finditer(text):
        clause = re.split(r"[.;]", text[: match.start()])[-1]
        rest = re.split(r"[.;]", text[match.start() :])[0]
        denied = _NEGATED.search(clause) or _CONDITIONAL.search(clause) or _CONDITIONAL.search(rest)
        if match[1].lower() not in claims.zones and not denied:
            return Refusal("contradiction", match[0])
    for match in _SIGNAL.finditer(text):
        said = (match[1] or match[2]).lower()
        clause = re.split(r"[.;]", text[: match.start()])[-1]
        if said != claims.signal and not _NEGATED.search(clause) and not _CONDITIONAL.search(clause):
            return Refusal("contradiction", match[0])
    for finding in (claims.signal, claims.verdict):
        if finding and not re.search(rf"(?i)\b{re.escape(finding)}", text):
            return Refusal("missing_finding", finding)
    return None
