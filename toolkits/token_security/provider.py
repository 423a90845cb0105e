"""What the sources of contract evidence share: one subject in, checks judged, a dated report out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import InvalidInput, TokenNotFound
from ...core.security import SecurityCheck, SecurityReport, Verdict
from ...core.settings import Settings, load_settings
from ...core.token import Contract, Token
from .chains import checked_contract, family_of
from .checks import Profile
from .contracts import ContractBook
from .evidence import Evidence, Subject
from .http import run_sync
from .identity import identity_checks
from .opinions import merge
from .verdict import SCORE_RULE, judge


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long a report stays in date.

    `caution` is shorter, since what it warns of can happen any day; `unknown` with an answer (a source that lacks the
    data) is as short. `failed` is for a look-up that did not work: it is tried again soon.
    """

    usual: timedelta = timedelta(hours=24)
    caution: timedelta = timedelta(hours=6)
    failed: timedelta = timedelta(minutes=15)

    @classmethod
    def of(cls, settings: Settings) -> Lifetimes:
        return cls(
            timedelta(hours=settings.security_ttl_hours),
            timedelta(hours=min(settings.security_ttl_hours_caution, settings.security_ttl_hours)),
            timedelta(minutes=settings.security_retry_minutes),
        )

    def until(self, verdict: Verdict, at: datetime, *, failed: bool) -> datetime:
        """When a report made at `at` runs out."""
        if failed and verdict != "danger":
            return at + min(self.failed, self.usual)
        return at + (self.caution if verdict in ("caution", "unknown") else self.usual)


def build_report(
    subject: Subject,
    checks: Iterable[SecurityCheck],
    profile: Profile,
    *,
    at: datetime,
    lifetimes: Lifetimes,
    sources: Sequence[str],
    disagreements: Sequence[str] = (),
    notes: Sequence[str] = (),
    remarks: Sequence[str] = (),
    failed: bool = False,
) -> SecurityReport:
    """Judge the checks and put the report together.

    Args:
        notes: reasons that are no check's and go before the others.
        remarks: further lines that go after them.
        failed: a look-up did not work, so the report is short-lived.
    """
    judged = judge(checks, profile, at=at)
    return SecurityReport(
        symbol=subject.symbol,
        contract=subject.contract,
        verdict=judged.verdict,
        score=judged.score,
        score_rule=SCORE_RULE,
        checks=judged.checks,
        reasons=(*notes, *judged.reasons, *remarks),
        disagreements=tuple(disagreements),
        sources=tuple(sources),
        checked_at=at,
        expires_at=lifetimes.until(judged.verdict, at, failed=failed),
    )


def unknown_report(
    subject: Subject, reason: str, *, at: datetime, lifetimes: Lifetimes, source: str, failed: bool = False
) -> SecurityReport:
    """The report about a token nobody could look at, with the reason. `failed`: it is worth trying soon again."""
    report = build_report(
        subject, (), "evm", at=at, lifetimes=lifetimes, sources=(source,), notes=(reason,), failed=failed
    )
    return report.model_copy(update={"reasons": report.reasons[:1]})  # that nothing is known follows from it


def contract_report(
    subject: Subject,
    evidences: Sequence[Evidence],
    *,
    book: ContractBook,
    at: datetime,
    lifetimes: Lifetimes,
) -> SecurityReport:
    """Merge what the sources found about a contract, add what it says about its own identity, and judge.

    Raises:
        InvalidInput: the subject has no contract, or one on a chain nobody knows.
    """
    if subject.contract is None:
        raise InvalidInput("This token has no contract to check.", hint="Give its chain and address.")
    opinions = [evidence for evidence in evidences if not evidence.withdrawn]
    own = Evidence("reviewed list", identity_checks(subject, [e.labels for e in opinions if e.labels], book, at=at))
    merged = merge([own, *opinions])
    remarks = [f"{evidence.source} does not know this token" for evidence in evidences if evidence.withdrawn]
    problems = [evidence.problem for evidence in evidences if evidence.problem is not None]
    return build_report(
        subject,
        merged.checks,
        family_of(subject.contract),
        at=at,
        lifetimes=lifetimes,
        sources=[evidence.source for evidence in opinions],
        disagreements=merged.disagreements,
        remarks=remarks,
        failed=any(not isinstance(problem, TokenNotFound) for problem in problems),
    )


class ContractSource(ABC):
    """A source that looks at contracts. By itself it is a provider too; `CompositeSecurity` asks several."""

    id: str

    def __init__(
        self, *, settings: Settings | None = None, clock: Clock | None = None, book: ContractBook | None = None
    ) -> None:
        self.settings = settings or load_settings()
        self.clock = clock or SystemClock()
        self.book = book or ContractBook.shipped()
        self.lifetimes = Lifetimes.of(self.settings)

    @abstractmethod
    def covers(self, contract: Contract) -> tuple[str, ...]:
        """The checks this source answers for a contract; empty when it does not look at its chain."""

    @abstractmethod
    async def evidence(self, contract: Contract, *, at: datetime) -> Evidence:
        """What the source finds. A failed look-up is evidence with a problem, never an exception."""

    @abstractmethod
    def calls_made(self) -> int:
        """Network requests since the source was built."""

    def check(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """The report about a token from this source alone.

        Raises:
            InvalidInput: the token has no contract, here or in the reviewed map, or its address cannot exist.
        """
        return run_sync(self.acheck(token, now=now))

    async def acheck(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """Async twin of `check`."""
        at = ensure_utc(now or self.clock.now())
        contract = token.contract or self.book.contract_of(Subject.of(token).coin_id)
        if contract is None:
            raise InvalidInput(f"{token.symbol} has no contract here.", hint="Give its chain and address.")
        subject = Subject.of(token, checked_contract(contract.chain, contract.address))
        assert subject.contract is not None
        if not self.covers(subject.contract):
            reason = f"{self.id} does not check chain {subject.contract.chain}"
            return unknown_report(subject, reason, at=at, lifetimes=self.lifetimes, source=self.id)
        found = await self.evidence(subject.contract, at=at)
        return contract_report(subject, [found], book=self.book, at=at, lifetimes=self.lifetimes)
