"""Reports and answers by a model, where they pay: checked word by word against the facts, within the budget.

A model is handed facts and gets no further than the check: what it writes is taken only when every number in it is a
fact. Whatever goes wrong (no budget, a provider's error, a refused text) is an outcome with its reason, and the text
that code wrote stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from ....core.errors import BudgetExceeded
from ....core.model_tokens import estimate_tokens
from ....core.prices import PriceList
from ....core.settings import Settings
from ....core.text import quote_untrusted
from ....prompts import load_prompt
from ...khala.records import MarketAnalysis
from ..answers.cite import Absent, Cited, Composer, show, when
from ..answers.material import servable
from .prose_lint import Claims, Refusal, refuse

if TYPE_CHECKING:
    from ...khala import Khala
    from ..cycle.plan import Budget, PlanItem

log = logging.getLogger(__name__)

REPORT_WORDS = 160
REPORT_TOKENS = 500
"""What a report may cost beyond its prompt; reserved before the model is asked."""
REPLY_CAP = 4_096
"""The most tokens of one reply, thinking included: far more than these texts take, and every provider allows it."""
REPLY_SETTINGS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
"""What agno's models call the limit of a reply. OpenAI's have the first and, outdated, the last."""
FAILURES_IN_A_ROW = 3
"""After so many provider failures one after another the rest of the pass is left alone."""


@dataclass(frozen=True)
class Completion:
    """What a model said and what it cost, or why it said nothing."""

    text: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    refused: Refusal | None = None


@dataclass(frozen=True)
class ReportText:
    """A report and who wrote it. When the model's was refused, `text` is the plain one, `refused` the reason's code and
    `detail` the words at fault."""

    text: str
    author: str
    tokens_in: int = 0
    tokens_out: int = 0
    refused: str | None = None
    detail: str = ""


class Reporter(Protocol):
    """Writes the narrative report of one analysis."""

    def write(self, analysis: MarketAnalysis, plain: str) -> ReportText: ...


class Writer:
    """One agno model, asked for text under a budget. `model` is any agno Model object.

    With a price for the model its money is budgeted like its tokens; without one money is not counted, never guessed.
    """

    def __init__(self, model: Any, *, budget: Budget | None = None, prices: PriceList | None = None) -> None:
        self.model = model
        self.budget = budget
        self._told: Any = None
        self._price = (prices or PriceList()).find(getattr(model, "id", None), getattr(model, "provider", None))

    @property
    def author(self) -> str:
        """`model:gpt-5-mini`: what is noted as a text's author."""
        return f"model:{getattr(self.model, 'id', None) or type(self.model).__name__}"

    def complete(self, system: str, user: str, *, max_tokens: int) -> Completion:
        """The model's text. Prompt and a reply of `max_tokens` are reserved first; failures come back as data.

        A longer reply (a model that reasons) is taken and booked, up to `REPLY_CAP` and what the budget has left: so
        much and no more is allowed of a model that can be told. One that cannot may pass the limit by its last reply.
        """
        from agno.models.message import Message

        prompt = estimate_tokens(system) + estimate_tokens(user)
        try:
            self._reserve(prompt, max_tokens)
        except BudgetExceeded as error:
            return Completion(refused=Refusal("budget", str(error)))
        messages = [Message(role="system", content=system), Message(role="user", content=user)]
        try:
            response = self._capped(max_tokens).response(messages=messages)
        except Exception as error:  # noqa: BLE001 - providers raise anything; each is an outcome with its reason
            log.warning("%s did not answer: %s", self.author, error)
            return Completion(refused=Refusal("failed", f"{type(error).__name__}: {error}"[:200]))
        text = str(response.content or "")
        usage = response.response_usage
        tokens_in = int(getattr(usage, "input_tokens", 0) or 0) or prompt
        tokens_out = int(getattr(usage, "output_tokens", 0) or 0) or estimate_tokens(text)
        self._settle((prompt, max_tokens), (tokens_in, tokens_out))
        return Completion(text, tokens_in, tokens_out)

    def _capped(self, reserved: int) -> Any:
        """The model, told how long its reply may be."""
        most = float(REPLY_CAP)
        if self.budget is not None:
            most = min(most, reserved + self.budget.left("model_tokens"))
            if self._price is not None and self._price.output > 0:
                most = min(most, reserved + self.budget.left("usd") / self._price.output * 1_000_000)
        known = [name for name in REPLY_SETTINGS if hasattr(self.model, name)]
        if not known:
            return self.model
        if getattr(self.model, "provider", None) != "OpenAI":
            known.reverse()  # servers that only speak OpenAI's language know the name it had first
        chosen = {name: value for name in known if (value := getattr(self.model, name)) is not None}
        self._told = self._told or copy(self.model)  # the model is the user's, and may be in use elsewhere
        for name, value in (chosen or {known[0]: REPLY_CAP}).items():
            setattr(self._told, name, int(min(value, most)))
        return self._told

    def _reserve(self, prompt: int, reply: int) -> None:
        if self.budget is None:
            return
        self.budget.spend("model_tokens", prompt + reply)
        if self._price is not None:
            try:
                self.budget.spend("usd", self._price.cost(prompt, reply))
            except BudgetExceeded:
                self.budget.record("model_tokens", -(prompt + reply))
                raise

    def _settle(self, reserved: tuple[int, int], used: tuple[int, int]) -> None:
        """Book the difference between what was reserved and what it took. A call that failed keeps its reservation:
        whether the provider counts it nobody tells us."""
        if self.budget is None:
            return
        self.budget.record("model_tokens", sum(used) - sum(reserved))
        if self._price is not None:
            self.budget.record("usd", self._price.cost(*used) - self._price.cost(*reserved))


class ModelReporter:
    """Reports by a model. With no budget left, a failing provider or a refused text the plain report stays."""

    def __init__(self, writer: Writer, settings: Settings, *, max_tokens: int = REPORT_TOKENS) -> None:
        self._writer = writer
        self._settings = settings
        self._max_tokens = max_tokens

    def write(self, analysis: MarketAnalysis, plain: str) -> ReportText:
        """The model's report, checked; or the plain one with the reason why."""
        facts = facts_of(analysis, self._settings)
        claims = claims_of(analysis, self._settings)
        shown = _without_name(plain, analysis)
        system = load_prompt(
            "report",
            max_words=REPORT_WORDS,
            least_facts=max(1, len(facts) // 2),
            signal=claims.signal or "no signal",
            verdict=claims.verdict or "not checked",
        )
        done = self._writer.complete(
            system, f"FACTS\n{list_facts(facts)}\n\nPLAIN\n{shown}", max_tokens=self._max_tokens
        )
        refused = done.refused or refuse(
            done.text,
            facts,
            plain=shown,
            claims=claims,
            moments=moments_of(analysis),
            names={analysis.token.symbol: (analysis.token.ticker, analysis.token.name)},
        )
        if refused is not None:
            return ReportText(plain, "computed", done.tokens_in, done.tokens_out, refused.code, refused.detail)
        head = "SIMULATED DATA. " if analysis.provenance.simulated and "SIMULATED" not in done.text else ""
        return ReportText(head + done.text.strip(), self._writer.author, done.tokens_in, done.tokens_out)


class ReportWriter:
    """The cycle's report writer: asks a reporter for each token that is worth it, until budget or provider give out.

    `outcomes` holds what became of each that the model was asked for, of the last pass.
    """

    def __init__(self, model: Any, khala: Khala, settings: Settings, *, max_tokens: int = REPORT_TOKENS) -> None:
        self._model = model
        self._khala = khala
        self._settings = settings
        self._max_tokens = max_tokens
        self.outcomes: dict[str, ReportText] = {}

    def improve(
        self, items: Sequence[PlanItem], *, budget: Budget, may_ask: Callable[[], bool] = lambda: True
    ) -> Iterator[tuple[PlanItem, MarketAnalysis | None]]:
        """Each item that is settled: with a new version of its analysis under a better report, to be stored and
        published by the caller, or None where the plain one stays. Items that are not settled (`may_ask` said no, the
        budget or the provider gave out) are not yielded."""
        writer = Writer(self._model, budget=budget, prices=PriceList(self._settings.model_prices))
        reporter = ModelReporter(writer, self._settings, max_tokens=self._max_tokens)
        self.outcomes = {}
        failures = 0
        for item in items:
            recall = self._khala.latest(item.token, interval=item.interval)
            analysis = recall.analysis
            if analysis is None or not servable(recall) or analysis.report_author != "computed":
                yield item, None
                continue
            if not may_ask():
                return
            written = reporter.write(analysis, analysis.report)
            self.outcomes[f"{analysis.token.symbol}:{analysis.interval}"] = written
            failures = failures + 1 if written.refused == "failed" else 0
            if written.refused == "budget" or failures >= FAILURES_IN_A_ROW:
                return
            if written.refused == "failed":
                continue
            better = {"report": written.text, "report_author": written.author}
            yield item, analysis.model_copy(update=better) if written.refused is None else None


# -- what a model is given, and held to -------------------------------------------------------------------------------


def facts_of(analysis: MarketAnalysis, settings: Settings) -> tuple[Cited, ...]:
    """Everything a text about this analysis may cite: figures, close, price seen, triggers, score, thresholds."""
    c = Composer(settings)
    c.close(analysis)
    if analysis.quote is not None:
        c.seen(analysis, analysis.quote)
    for name in analysis.all_figures:
        try:
            c.figure(analysis, name)
        except Absent:
            continue
    atr = analysis.value("atr_14")
    if atr is not None:
        c.derived(
            analysis, "atr_14_share", "ATR(14) as a share of the close", atr / analysis.price, "share", "ATR / close"
        )
    for trigger in analysis.triggers:
        c.level(analysis, trigger)
    if analysis.security is not None:
        c.score(analysis, analysis.security)
    c.threshold("oversold", settings.rsi_oversold)
    c.threshold("overbought", settings.rsi_overbought)
    return c.facts


def claims_of(analysis: MarketAnalysis, settings: Settings) -> Claims:
    """What the facts say in words."""
    rsi = analysis.value("rsi_14")
    zones = set()
    if rsi is not None and rsi < settings.rsi_oversold:
        zones.add("oversold")
    if rsi is not None and rsi > settings.rsi_overbought:
        zones.add("overbought")
    verdict = analysis.security.verdict.replace("_", " ") if analysis.security else ""
    return Claims(analysis.signal.action or "", verdict, frozenset(zones))


def moments_of(analysis: MarketAnalysis) -> tuple[datetime, ...]:
    """Times that a text about this analysis may name."""
    moments = [analysis.bar_close, analysis.fetched_at, analysis.computed_at, analysis.next_bar_due]
    if analysis.quote is not None:
        moments.append(analysis.quote.as_of)
    if analysis.security is not None:
        moments += [analysis.security.checked_at, analysis.security.expires_at]
    return tuple(moments)


def list_facts(facts: Sequence[Cited]) -> str:
    """Facts as a model is shown them, one per line: token, name, value as it should be written, time."""
    lines = []
    for fact in facts:
        signed = fact.unit == "share" and not fact.label.startswith(("realised", "ATR"))
        value = f"{fact.value:g}" if fact.unit == "threshold" else show(fact.value, fact.unit, signed=signed)
        unit = " USD" if fact.unit == "price" else ""
        at = f" ({when(fact.as_of)})" if fact.unit != "threshold" else ""
        whose = f"{fact.symbol} " if fact.symbol else ""
        lines.append(f"{whose}{fact.label}: {value}{unit}{at}")
    return "\n".join(lines)


def _without_name(plain: str, analysis: MarketAnalysis) -> str:
    """The plain report without the token's name: whoever made the token wrote that, and may have meant a model."""
    name = analysis.token.name
    return plain.replace(f" ({name})", "") if name else plain


def quoted(text: str) -> str:
    """A foreign text as a model may be shown it."""
    return quote_untrusted(text, limit=300)
