"""The risk rules the team lives by, as code: what a recommendation must meet before anybody may act on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.errors import InvalidInput, UnknownToken
from ..core.text import clean_label
from ..core.token import normalize_symbol
from ..toolkits.khala.linked import unlinked_numbers
from ..toolkits.khala.records import Recall
from ..toolkits.sleep_mode.answers.facts import as_of, parse_fact, stamp
from ..toolkits.sleep_mode.questions.naming import unknown_token
from .recommendation import CheckedRecommendation, TradeRecommendation, Violation

if TYPE_CHECKING:
    from ..core.settings import Settings
    from ..toolkits.khala import Khala

ENTRY_ATRS = 3.0
"""An entry further from the last price than this many ATR(14) is no entry into the market that was analysed."""
ENTRY_RATIO = 0.1
"""The same where there is no ATR: as a fraction of the last price."""
MOST_CITED = 40


@dataclass(frozen=True)
class RiskRules:
    """Checks recommendations against memory and limits.

    Args:
        khala: where cited facts, prices and security verdicts are looked up.
        settings: limits and allowed verdicts; by default Khala's.
        loss_today: gives today's loss so far in percent of capital (0 or less means no loss). Only the owner of the
            account knows it: without one, the daily limit is checked against the position alone, and a note says so.
    """

    khala: Khala
    settings: Settings
    loss_today: Callable[[], float] | None = None

    def check(self, proposal: TradeRecommendation) -> CheckedRecommendation:
        """The proposal with its verdict. Nothing of it is changed or filled in.

        Raises:
            StoreError: memory cannot be read.
        """
        notes: list[str] = []
        violations = list(self._violations(proposal, notes))
        blocked = any(violation.blocks for violation in violations)
        fields = {name: getattr(proposal, name) for name in TradeRecommendation.model_fields}
        return CheckedRecommendation(
            **fields,
            status="blocked" if blocked else "held" if violations else "cleared",
            violations=violations,
            notes=notes,
            checked_at=self.khala.clock.now(),
        )

    def _violations(self, proposal: TradeRecommendation, notes: list[str]) -> Iterator[Violation]:
        try:
            recall = self._recall(proposal.token)
        except (UnknownToken, InvalidInput) as error:
            yield Violation(rule="known_token", detail=str(error))
            return
        yield from self._freshness(recall)
        yield from self._facts(proposal, recall)
        notes.extend(self._loose_numbers(proposal, recall))
        if proposal.action == "hold":
            return
        yield from self._security(recall)
        yield from self._size(proposal)
        yield from self._prices(proposal, recall)
        yield from self._daily_loss(proposal, notes)

    def _recall(self, symbol: str) -> Recall:
        recall = self.khala.latest(symbol)
        if recall.analysis is None:
            raise unknown_token([symbol], self.khala)
        return recall

    def _freshness(self, recall: Recall) -> Iterator[Violation]:
        if recall.reasons:
            why = "; ".join(f"{reason.code}: {reason.detail}" for reason in recall.reasons)
            yield Violation(
                rule="fresh_facts", detail=f"What memory holds about {recall.symbol} is stale ({why}). Refresh it."
            )

    def _facts(self, proposal: TradeRecommendation, recall: Recall) -> Iterator[Violation]:
        names = [name for reason in proposal.reasons for name in reason.facts]
        if not names:
            yield Violation(rule="cited_facts", detail="No reason cites a fact. Cite those it stands on by name.")
        if len(names) > MOST_CITED:
            yield Violation(
                rule="cited_facts", detail=f"{len(names)} facts are cited; cite the {MOST_CITED} that matter."
            )
        for name in dict.fromkeys(names[:MOST_CITED]):
            problem = self._fact_problem(name, recall)
            if problem:
                yield Violation(rule="cited_facts", detail=problem)

    def _fact_problem(self, name: str, recall: Recall) -> str:
        shown = clean_label(name)
        try:
            fact = parse_fact(name)
            cited = self.khala.latest(fact.symbol, interval=fact.interval)
        except InvalidInput as error:
            return str(error)
        if cited.analysis is None:
            return f"{shown}: nothing is stored about {fact.symbol} on {fact.interval} bars."
        true_at = as_of(cited, fact.name)
        if true_at is None:
            return f"{shown}: there is no such figure for {fact.symbol}."
        if stamp(true_at) != stamp(fact.as_of):
            return f"{shown}: that figure is of {stamp(true_at)}, not of {stamp(fact.as_of)}."
        if cited.reasons and (cited.symbol, cited.interval) != (recall.symbol, recall.interval):
            return f"{shown}: what memory holds about {fact.symbol} is stale ({cited.reasons[0].code}). Refresh it."
        return ""

    def _loose_numbers(self, proposal: TradeRecommendation, recall: Recall) -> Iterator[str]:
        """A note on numbers in the reasons that no fact accounts for: they may be invented, or of another source."""
        cited = {name.partition(":")[0] for reason in proposal.reasons for name in reason.facts} - {recall.symbol}
        recalls = [recall, *(self.khala.latest(symbol) for symbol in sorted(cited)[:MOST_CITED] if _is_symbol(symbol))]
        analyses = [found.analysis for found in recalls if found.analysis is not None]
        own = {proposal.entry, proposal.stop, proposal.target, proposal.position_percent}
        thresholds = [self.settings.rsi_oversold, self.settings.rsi_overbought, *(n for n in own if n is not None)]
        for reason in proposal.reasons:
            loose = [set(unlinked_numbers(reason.text, a, thresholds=thresholds)) for a in analyses]
            numbers = sorted(set.intersection(*loose)) if loose else []
            if numbers:
                shown = clean_label(", ".join(numbers), limit=80)
                yield f"Numbers in a reason that match no fact of the tokens it cites: {shown}."

    def _security(self, recall: Recall) -> Iterator[Violation]:
        from ..toolkits.token_security.policy import may_recommend

        report = self.khala.security(recall.symbol) or (recall.analysis.security if recall.analysis else None)
        decision = may_recommend(report, self.settings, now=self.khala.clock.now())
        if not decision.allowed:
            yield Violation(rule="security", detail=decision.reason, blocks=decision.blocked)

    def _size(self, proposal: TradeRecommendation) -> Iterator[Violation]:
        limit = self.settings.max_position_percent
        if proposal.position_percent is None:
            yield Violation(rule="position_size", detail=f"No position size is given. Give one up to {limit:g} %.")
        elif proposal.position_percent > limit:
            yield Violation(
                rule="position_size",
                detail=f"A position of {proposal.position_percent:g} % of capital is above the limit of {limit:g} %.",
            )

    def _prices(self, proposal: TradeRecommendation, recall: Recall) -> Iterator[Violation]:
        entry, stop, target = proposal.entry, proposal.stop, proposal.target
        missing = [name for name in ("entry", "stop", "target") if getattr(proposal, name) is None]
        if missing:
            yield Violation(rule="prices", detail=f"No price is given for: {', '.join(missing)}.")
        if entry is None:
            return
        yield from self._entry_near_price(entry, recall)
        below, above = (stop, target) if proposal.action == "buy" else (target, stop)
        names = ("stop", "target") if proposal.action == "buy" else ("target", "stop")
        if below is not None and below >= entry:
            yield Violation(
                rule="prices", detail=f"To {proposal.action}, the {names[0]} must lie below the entry {entry:g}."
            )
        if above is not None and above <= entry:
            yield Violation(
                rule="prices", detail=f"To {proposal.action}, the {names[1]} must lie above the entry {entry:g}."
            )

    def _entry_near_price(self, entry: float, recall: Recall) -> Iterator[Violation]:
        analysis = recall.analysis
        assert analysis is not None  # `_recall` saw to it
        price = recall.observed.price if recall.observed else analysis.reference_price
        seen_at = recall.observed.as_of if recall.observed else analysis.bar_close
        atr = analysis.value("atr_14")
        room = ENTRY_ATRS * atr if atr else ENTRY_RATIO * price
        if abs(entry - price) > room:
            yield Violation(
                rule="entry_near_price",
                detail=f"The entry {entry:g} is more than {room:g} away from the last price {price:g}, seen at "
                f"{stamp(seen_at)}.",
            )

    def _daily_loss(self, proposal: TradeRecommendation, notes: list[str]) -> Iterator[Violation]:
        limit = self.settings.daily_loss_limit_percent
        lost = 0.0
        if self.loss_today is None:
            notes.append(
                f"Today's loss so far is not known here; the {limit:g} % limit was checked for this trade alone."
            )
        else:
            lost = max(0.0, self.loss_today())
        if lost >= limit:
            yield Violation(
                rule="daily_loss", detail=f"{lost:g} % of capital is lost today; the limit is {limit:g} %.", blocks=True
            )
            return
        if proposal.entry and proposal.stop and proposal.position_percent is not None:
            at_risk = proposal.position_percent * abs(proposal.entry - proposal.stop) / proposal.entry
            if lost + at_risk > limit:
                yield Violation(
                    rule="daily_loss",
                    detail=f"The stop would cost {at_risk:.2g} % of capital; with {lost:g} % lost today that is more "
                    f"than the limit of {limit:g} %.",
                )


def _is_symbol(text: str) -> bool:
    try:
        normalize_symbol(text)
    except ValueError:
        return False
    return True
