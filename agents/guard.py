"""The guard: after the model has spoken, code looks once whether the answer stands on what the model was given.

Every number in it must stand in the brief, a tool's reply, the question or the limits in settings, in any usual
rounding or as percent; else it is marked in the text, or the computed answer takes its place. An empty answer, and one
that only repeats a tool's JSON, becomes the computed answer. A token whose security verdict lets nobody buy it is never
named without that verdict in front. Recommendations are checked by the risk rules in whatever form they come: as
`TradeRecommendation`, as its JSON, or as a line `Call: BTC-USD buy` in prose. No other prose is read for them.

Numbers are compared as numbers. What a sentence says about them is not judged here.
"""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from agno.guardrails.base import BaseGuardrail
from agno.run import RunContext
from pydantic import BaseModel, ValidationError

from ..core.clock import SystemClock
from ..core.coins import base_ticker, plain_name
from ..core.errors import DeepTraderError
from ..core.text import clean_label
from ..core.token import Token
from ..toolkits.sleep_mode.calls import TEAM, CallLog, team_call
from . import runs
from .push import without_memory
from .risk import CheckedRecommendation, RiskRules, TradeRecommendation, Violation, checked
from .runs import EXECUTION, METADATA, TASK_ARGUMENT, Run

if TYPE_CHECKING:
    from ..toolkits.khala import Khala
    from .wiring import Wiring

log = logging.getLogger(__name__)

Answers = Literal["mark", "replace", "off"]

MARK = "[not in memory]"
UNCHECKED = "Not a checked recommendation: the answer did not have the asked-for form, so no risk rule was applied.\n\n"
SMALL_COUNT = 12
"""Whole numbers up to here count things ("two tokens", "1.") more often than they are figures."""
ROUNDED = 0.01
"""How far a whole number with zeros at its end may lie from the figure it rounds ("about 67,000"), as a share."""
DELEGATIONS = (EXECUTION | set(TASK_ARGUMENT)) - {"create_task"}
"""Tools whose reply is a member's answer."""
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-+−]?)(?P<money>[$€£¥]|USD\s?|EUR\s?|)"
    r"(?P<digits>\d{1,3}(?:[,’'\u00a0\u2009\u202f]\d{3})+(?!\d)|\d{1,3}(?:\.\d{3})+(?=,\d)|\d+|(?=\.\d|[½¼¾]))"
    r"(?P<decimals>[.,]\d+|[½¼¾])?(?P<power>[eE][-+]?\d{1,2})?"
    r"(?P<scale>\s?%|\s?(?:[kKmM]|[bB]n?|thousand|mln|million|billion|trillion)\b)?"
    r"(?!(?!(?:x|USD|EUR|bps?|pct)\b)\w|\.\d|/7\b|-(?:bar|minute|hour|day|week|month|year|period))"
)
_SCALES = (
    dict.fromkeys(("k", "thousand"), 1e3)
    | dict.fromkeys(("m", "mln", "million"), 1e6)
    | dict.fromkeys(("b", "bn", "billion"), 1e9)
    | {"trillion": 1e12}
)
_CALL = re.compile(r"^\W*call:(.*)\b(buy|sell|hold)\b(.*)$", re.IGNORECASE | re.MULTILINE)
_AROUND_A_NAME = re.compile(r"\(.*?\)|^\W+|\W+$")
_FENCE = re.compile(r"```\w*\s*(.*?)\s*(?:```|$)", re.DOTALL)
_THOUGHT = re.compile(r"<think>.*?(?:</think>|$)", re.DOTALL)
_TAG = re.compile(r"</?\w+>")
_KEY = re.compile(r"[\"'](\w+)[\"']\s*:")
_CALLED = re.compile(r"[a-z]+(?:_[a-z]+)+\(.*\)?", re.DOTALL)
_CAPITALS = re.compile(r"\b[A-Z0-9][A-Z0-9.^=-]*[A-Z][A-Z0-9]*")
"""Symbols, among other words of capitals."""
_NOTHING = frozenset({"", "none", "null"})


class Given:
    """The numbers a model was given in one run."""

    def __init__(self, texts: Iterable[str], numbers: Iterable[float] = ()) -> None:
        values = {abs(number) for number in numbers}
        for text in texts:
            matches = _NUMBER.finditer(text)
            values.update(_value(m)[0] for m in matches if not text.startswith(MARK, m.end() + 1))
        self._values = sorted(values)

    def holds(self, match: re.Match[str]) -> bool:
        """True when the number is one of these, rounded as it is written; a ratio may be written in percent."""
        value, step = _value(match)
        plain = not (match["decimals"] or match["scale"] or match["money"] or match["sign"])
        if plain and value <= SMALL_COUNT:
            return True
        room = 0.5 * step
        if self._near(value, room) or self._near(value / 100, room / 100) or self._near(value * 100, room * 100):
            return True
        digits = match["digits"].replace(",", "")
        zeros = 0 if match["decimals"] else len(digits) - len(digits.rstrip("0"))
        return bool(zeros) and self._near(value, min(room * 10**zeros, ROUNDED * value))

    def _near(self, value: float, room: float) -> bool:
        room *= 1 + 1e-9
        at = bisect_left(self._values, value - room)
        return at < len(self._values) and self._values[at] <= value + room


def _value(match: re.Match[str]) -> tuple[float, float]:
    """A written number without its sign, and the size of its last digit. A comma before other than three digits is a
    decimal one."""
    scale = _SCALES.get((match["scale"] or "").strip().lower(), 1.0) * float(f"1{match['power'] or ''}")
    whole, decimals = float(re.sub(r"\D", "", match["digits"]) or 0), match["decimals"] or ""
    if decimals and decimals in "½¼¾":
        return whole + unicodedata.numeric(decimals), 0.0
    return (whole + float("0" + decimals.replace(",", "."))) * scale, scale * 10.0 ** -max(0, len(decimals) - 1)


def not_given(text: str, given: Given) -> list[re.Match[str]]:
    """The numbers of a text that the model was not given."""
    return [match for match in _NUMBER.finditer(text) if not given.holds(match)]


def marked(text: str, numbers: Sequence[re.Match[str]]) -> str:
    """The text with a mark behind each of these numbers."""
    for match in reversed(numbers):
        text = f"{text[: match.end()]} {MARK}{text[match.end() :]}"
    return text


def is_echo(text: str, replies: Iterable[str]) -> bool:
    """True for an answer that is a tool's JSON over again, or a tool call written as text, whole or cut off."""
    fenced = _FENCE.search(text)
    bare = _TAG.sub("", fenced[1] if fenced else text).strip()
    if bare.startswith(("{", "[")):
        compact, keys = "".join(bare.split()), set(_KEY.findall(bare))
        repeats = any(compact[:200] in "".join(reply.split()) for reply in replies)
        return repeats or ("name" in keys and not keys.isdisjoint(("arguments", "parameters")))
    return _CALLED.fullmatch(bare) is not None


def verdicts_in_front(text: str, khala: Khala, settings: Any, about: Iterable[Token] = ()) -> tuple[str, list[str]]:
    """The text with the verdict first of every token in it, or that it is `about`, that may not be bought; and the
    symbols of those."""
    from ..toolkits.token_security.policy import may_recommend

    front, symbols = [], []
    for token in dict.fromkeys((*about, *khala.resolve(text))):
        report = khala.security(token.symbol)
        if report is None:
            analysis = khala.latest(token).analysis
            report = analysis.security if analysis else None
        if report is None:
            continue
        decision = may_recommend(report, settings)
        if decision.allowed:
            continue
        symbols.append(token.symbol)
        rule = "must not be bought" if decision.blocked else "is not cleared for buying"
        said = f"{token.symbol} {rule}: {clean_label(decision.reason, limit=200).rstrip('.')}."
        if said not in text:
            front.append(said)
    return "\n\n".join(filter(None, (" ".join(front), text))), symbols


def _about(run: Run, text: str) -> Iterator[Token]:
    """The tokens of the question, which an answer may call "it", and those of the brief that it writes in a way which
    memory takes for no name."""
    khala, asked = run.reader.khala, run.reading.symbols if run.reading is not None else ()
    told = _CAPITALS.findall(run.brief.text) if run.brief is not None else ()
    for token in map(khala.find, dict.fromkeys((*asked, *told))):
        if token is None:
            continue
        names = "|".join(re.escape(name) for name in (base_ticker(token.symbol), plain_name(token.name)) if name)
        if token.symbol in asked or re.search(rf"(?<![^\W_])(?:{names})(?![^\W_])", text, re.IGNORECASE):
            yield token


def _weigh(
    run: Run, text: str, messages: Iterable[Any], given: Iterable[str]
) -> tuple[str | None, Sequence[re.Match[str]]]:
    """What code says in place of an answer, None where it stands; and the numbers in it that were not given."""
    if re.sub(r"\W", "", _FENCE.sub(r"\1", _THOUGHT.sub("", text))).lower() in _NOTHING:
        return run.answer("empty"), ()
    if is_echo(text, (message.get_content_string() for message in messages if message.role == "tool")):
        return run.answer("echo"), ()
    wrong = not_given(text, Given(given, _numbers(run)))
    return (run.answer("replaced") if wrong and run.answers == "replace" else None), wrong


def stream_suffix(run: Run, text: str, messages: Sequence[Any]) -> str:
    """What stands at the end of a stream whose text cannot be taken back."""
    if run.answers == "off" or run.structured:
        return ""
    instead, wrong = _weigh(run, text, messages, _texts(messages))
    if instead is not None:
        return instead
    said = [f"{MARK.strip('[]').capitalize()}: {', '.join(dict.fromkeys(m[0] for m in wrong))}."] if wrong else []
    whole = verdicts_in_front(text, run.reader.khala, run.settings, _about(run, text))[0]
    if whole != text:
        said.insert(0, whole.removesuffix(text).strip())
    return "\n".join(said)


_PRICED = ("entry", "stop", "target", "position_percent", "confidence")
"""The numbers of a recommendation that are kept with it."""


@dataclass(eq=False)
class Guard(BaseGuardrail):
    """agno post-hook of a manager, an analyst, or any team with sleep mode. As a guardrail it is never put off.

    Args:
        loss_today: see `RiskRules`.
    """

    wiring: Wiring
    loss_today: Callable[[], float] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Guard:
        return self

    def check(self, run_output: Any, run_context: RunContext) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """After the last word: hold the answer, note on the run what was found, and put the run's input back."""
        run = runs.end(run_context.run_id)
        if run is None:
            return
        notes: dict[str, Any] = {"by": "code" if run.computed else "model", "why": run.computed or ""}
        before = run_output.content
        recommended: list[CheckedRecommendation] = []
        try:
            if isinstance(before, str):
                before = run.said if run.computed else before.removesuffix(run.suffix) if run.suffix else before
            run_output.content = self._checked(before, recommended)
            if isinstance(before, str) and run_output.content == before:
                run_output.content = self._held(run, run_output, before, notes, run_context.output_schema)
                recommended += () if run.computed else self._called(run_output.content)
        except DeepTraderError as error:
            log.warning("An answer could not be held to memory: %s", error)
            notes["problem"] = str(error)
        _put_back(run, run_output, before)
        self._note(run, run_output, run_context, notes, recommended)

    async def async_check(self, run_output: Any, run_context: RunContext) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The same in `arun`."""
        self.check(run_output, run_context)

    def _held(self, run: Run, run_output: Any, text: str, notes: dict[str, Any], schema: Any) -> str:
        text = text if text.strip() else run.text  # a stream in tasks mode keeps its last turn, which may be empty
        if run.answers != "off" and not run.computed:
            instead, wrong = _weigh(run, text, run_output.messages or (), _given(run_output))
            notes["not_in_memory"] = list(dict.fromkeys(match[0].strip() for match in wrong))
            text = marked(text, wrong) if instead is None else instead
        if isinstance(schema, type) and issubclass(schema, TradeRecommendation) and text:
            text = UNCHECKED + text  # agno hands on a text that did not parse, as if it were the answer
        text, notes["not_allowed"] = verdicts_in_front(text, self.wiring.khala, run.settings, _about(run, text))
        return text

    def _checked(self, value: Any, found: list[CheckedRecommendation]) -> Any:
        """The same value with every recommendation in it checked, wherever it stands and however it is written."""
        if isinstance(value, TradeRecommendation):
            found.append(self._check(value))
            return found[-1]
        if isinstance(value, BaseModel):
            fields = {name: getattr(value, name) for name in type(value).model_fields}
            after = {name: self._checked(field, found) for name, field in fields.items()}
            changes = {name: field for name, field in after.items() if field is not fields[name]}
            return value.model_copy(update=changes) if changes else value
        if isinstance(value, list | tuple):
            return type(value)(self._checked(item, found) for item in value)
        if isinstance(value, dict):
            if _proposes(value):
                return self._checked_dict(value, found)
            return {key: self._checked(item, found) for key, item in value.items()}
        if isinstance(value, str) and '"token"' in value and '"action"' in value:
            return self._checked_text(value, found)
        return value

    def _checked_dict(self, value: dict[str, Any], found: list[CheckedRecommendation]) -> dict[str, Any]:
        try:
            found.append(self._check(TradeRecommendation.model_validate({"confidence": 0.0} | value)))
        except ValidationError as error:
            problem = f"It cannot be read: {clean_label(str(error.errors()[0]['msg']), limit=200)}."
            violation = Violation(rule="unchecked", detail=problem)
            return value | {"status": "held", "violations": [violation.model_dump()]}
        return value | found[-1].model_dump(mode="json")

    def _called(self, text: str) -> Iterator[CheckedRecommendation]:
        calls: dict[tuple[str, str], None] = {}
        for before, action, after in _CALL.findall(text):  # nothing but a name beside the action: "not buy IBM" is none
            token = self.wiring.khala.find(_AROUND_A_NAME.sub("", _AROUND_A_NAME.sub("", f"{before}{after}")))
            if token is not None:
                calls[token.symbol, action.lower()] = None
        for symbol, action in calls:
            proposal = {"token": symbol, "action": action, "confidence": 0.0}
            yield self._check(TradeRecommendation.model_validate(proposal))

    def _checked_text(self, text: str, found: list[CheckedRecommendation]) -> str:
        fenced = _FENCE.match(text.strip())
        try:
            body = json.loads(fenced[1] if fenced else text)
        except ValueError:
            return text
        after = self._checked(body, found)
        return text if after == body else json.dumps(after)

    def _check(self, proposal: TradeRecommendation) -> CheckedRecommendation:
        try:
            return RiskRules(self.wiring.khala, self.wiring.settings, self.loss_today).check(proposal)
        except Exception as error:
            # Whatever it is: agno logs what a post-hook raises, and lets the output pass as it is.
            log.exception("A recommendation could not be checked.")
            detail = f"It could not be checked: {clean_label(str(error), limit=200)}"
            return checked(proposal, [Violation(rule="unchecked", detail=detail)], at=SystemClock().now())

    def _note(
        self,
        run: Run,
        run_output: Any,
        run_context: RunContext,
        notes: dict[str, Any],
        recommended: list[CheckedRecommendation],
    ) -> None:
        ours = runs.notes_of(run_context)
        if run.computed:
            notes |= {"by": "code", "why": run.computed}
        if run.problem:
            notes["problem"] = run.problem
        # What the page may show as green: every number was in memory, and all of it fresh.
        fresh = run.reading is not None and run.reading.covered and not run.reading.question.not_held
        notes["from_memory"] = fresh and run.pushed and not notes.get("not_in_memory")
        ours["answer"] = {key: value for key, value in notes.items() if value not in ("", [])}
        if run.brief is not None and run.brief.text:
            ours["brief"] = run.brief.text
        if recommended:
            ours["recommendations"] = [
                {"token": c.token, "action": c.action, "status": c.status, "rules": [v.rule for v in c.violations]}
                for c in recommended
            ]
            if not ours.get("delegated"):  # a member's recommendation is made to its team, not to a user
                self._keep(run, run_output, recommended)
        run_output.metadata = {**(run_output.metadata or {}), METADATA: ours}

    def _keep(self, run: Run, run_output: Any, recommended: list[CheckedRecommendation]) -> None:
        """Keep what was recommended as calls, to be scored later; what is blocked is no recommendation."""
        khala = self.wiring.khala
        who = {
            "agent": getattr(run_output, "team_name", None) or getattr(run_output, "agent_name", None) or "",
            "model": run_output.model or "",
        }
        try:
            made = [
                team_call(
                    khala,
                    each.token,
                    each.action,
                    call_id=f"{TEAM}:{run.id}:{number}",
                    status=each.status,
                    facts={name: value for name in _PRICED if (value := getattr(each, name))},
                    **who,
                )
                for number, each in enumerate(recommended)
                if each.status != "blocked"
            ]
            CallLog(khala.journal).keep(call for call in made if call is not None)
        except DeepTraderError as error:
            log.warning("A recommendation is not kept for the record: %s", error)


def _proposes(value: dict[str, Any]) -> bool:
    return "token" in value and str(value.get("action")).lower() in ("buy", "sell", "hold")


def _numbers(run: Run) -> list[float]:
    settings = run.settings
    limits = (settings.max_position_percent, settings.daily_loss_limit_percent)
    limits += (settings.rsi_oversold, settings.rsi_overbought)
    stated = run.brief.statements if run.brief is not None else ()
    return [*limits, *(value for statement in stated for value in statement.facts.values())]


def _given(run_output: Any) -> Iterator[str]:
    """What the models of a run read, members included. A member's words count by what that member itself was given."""
    members = [member for member in getattr(run_output, "member_responses", None) or () if member.messages]
    yield from _texts(
        message
        for message in run_output.messages or ()
        if not members or getattr(message, "tool_name", None) not in DELEGATIONS
    )
    for member in members:
        yield ((member.metadata or {}).get(METADATA) or {}).get("brief", "")
        yield from _given(member)


def _texts(messages: Iterable[Any]) -> Iterator[str]:
    return (message.get_content_string() for message in messages if message.role != "assistant")


def _put_back(run: Run, run_output: Any, before: Any) -> None:
    """Store what was asked and what was answered in the end: not the lines that were pushed, which age, nor a model's
    words that were corrected."""
    if run_output.input is not None:
        run_output.input.input_content = run.asked
    for message in run_output.messages or ():
        if message.role == "user" and isinstance(message.content, str):
            message.content = without_memory(message.content)
    last = next((message for message in reversed(run_output.messages or ()) if message.role == "assistant"), None)
    if last is not None and isinstance(before, str) and isinstance(run_output.content, str) and last.content:
        last.content = run_output.content
