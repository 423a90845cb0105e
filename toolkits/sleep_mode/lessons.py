"""Lessons from calls that were scored: what code counted, and a sleeping model found worth telling.

Code counts how the calls of each rule, and of the team, did under each of a few conditions. Where that is evidence, by
the one measure there is (`Outcome.strength`) and against what the market did after the same calls, the model is shown
the counts and chooses among them. Code writes the lesson, with its counts and the calls it cites. It is told of a token
of which the rule says the same now, under the same condition, and ends when the counts no longer bear it out. Many
groups are counted, so one in twenty looks like evidence by chance: a lesson says its counts, and no cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from ...prompts import load_prompt
from ..khala.records import Document
from ..market_data.evidence import TOLD_AFTER, Outcome, share_text
from .calls import TEAM, CallLog, ScoredCall, tallies
from .catalogue import Leaning, Said, View, statement
from .rule_statements import CAME, count_text

if TYPE_CHECKING:
    from .context import CycleContext
    from .judgements import Judges

KIND = "lesson"
MOST_SHOWN = 12
"""Counts that a model chooses among, those of the most calls first; numbered from 1."""
CITED = 10
"""Calls that a lesson names, the newest."""
STANDS = timedelta(days=30)
"""How long a lesson stands when no bar comes that it could be counted anew on."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A figure, among those that a call keeps, from `low` (included) to `high`."""

    label: str
    figure: str
    low: float = -inf
    high: float = inf

    def holds(self, value: float | None) -> bool:
        return value is not None and self.low <= value < self.high


CONDITIONS: Mapping[str, Condition] = {
    "below_average": Condition("below the 200-day average", "distance_ema_200", high=0.0),
    "above_average": Condition("above the 200-day average", "distance_ema_200", low=0.0),
    "after_fall": Condition("after a fall of a tenth or more in 30 bars", "return_30", high=-0.1),
    "after_rise": Condition("after a rise of a tenth or more in 30 bars", "return_30", low=0.1),
    "high_volume": Condition("on twice the mean volume or more", "volume_ratio_20", low=2.0),
    "volatile": Condition("at a volatility of 60 % a year or more", "volatility_30", low=0.6),
}


class Chosen(BaseModel):
    """What a model returns: numbers of the counts shown to it."""

    model_config = ConfigDict(extra="forbid")

    lessons: list[int] = Field(max_length=MOST_SHOWN)


@dataclass(frozen=True, slots=True)
class Counted:
    """Calls of one maker and kind under one condition that are evidence for such calls, or against them."""

    by: str
    action: str
    condition: str
    outcome: Outcome
    cited: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.by}:{self.action}:{self.condition}"

    @property
    def text(self) -> str:
        """`Of 14 mean reversion buys below the 200-day average 3 rose after 7 bars, 21 % (8 to 48); ...`"""
        told, came = self.outcome, CAME[self.action]
        calls = count_text(told.calls, f"{self.by.replace('_', ' ')} {self.action}")
        share = f"{told.right} {came} after {told.bars} bars, {share_text(told.right, told.calls)}"
        beside = f"the market {came} in {told.base_right}"
        return f"Of {calls} {CONDITIONS[self.condition].label} {share}; {beside}: {told.strength}."

    def document(self, context: CycleContext, author: str) -> Document:
        """The lesson as it is kept."""
        return Document(
            kind=KIND,
            key=self.key,
            title=f"Lesson: {self.by.replace('_', ' ')} {self.action}, {CONDITIONS[self.condition].label}",
            text=f"{self.text}\nAmong these calls: {', '.join(self.cited)}.",
            created_at=context.now,
            dies_at=context.now + STANDS,
            facts={"calls": self.outcome.calls, "right": self.outcome.right},
            fields={"by": self.by, "action": self.action, "condition": self.condition},
            author=author,
        )


def counted(scored: Iterable[ScoredCall]) -> dict[str, Counted]:
    """What is evidence among scored calls, by key, that of the most calls first. The base rate is how often the market
    went the way of the same calls; calls without a market beside them are left out."""
    known = [one for one in scored if TOLD_AFTER in one.scores and one.scores[TOLD_AFTER].market is not None]
    found = []
    for name, condition in CONDITIONS.items():
        here = [one for one in known if condition.holds(one.call.facts.get(condition.figure))]
        for tally in tallies(here):
            outcome = Outcome(
                bars=tally.bars,
                calls=tally.scored,
                right=tally.right,
                base_right=tally.market_right,
                base_bars=tally.scored,
            )
            if outcome.strength in ("evidence for it", "evidence against it"):
                calls = [one.call for one in here if (one.call.by, one.call.action) == (tally.name, tally.action)]
                cited = tuple(f"{call.symbol} {call.at:%Y-%m-%d}" for call in calls[:CITED])
                found.append(Counted(tally.name, tally.action, name, outcome, cited))
    return {one.key: one for one in sorted(found, key=lambda one: -one.outcome.calls)}


class Lessons:
    """Keeps the lessons of one memory; `learn` is a step of the cycle, after calls were scored.

    Args:
        judges: what asks the sleeping model; without it lessons are only counted anew.
    """

    def __init__(self, judges: Judges | None) -> None:
        self._judges = judges
        self._shown: frozenset[str] = frozenset()

    def learn(self, context: CycleContext) -> None:
        """Count the lessons that stand anew, end those that the counts no longer bear out, and have new ones chosen.

        Raises:
            MalformedResponse: the model's reply fits no schema.
            BudgetExceeded: the model's budget is used up.
            SourceUnreachable: the model did not answer in time.
        """
        if not context.made["weighed"]:  # no bar came that could have scored a call
            return
        khala = context.khala
        stand = {document.key: document for document, state, _ in khala.documents(KIND) if state == "fresh"}
        if not stand and self._judges is None:  # nothing to hold to the counts, and nobody to choose among them
            return
        found = counted(CallLog(khala.journal).calls(scored_after=TOLD_AFTER))
        for key, kept in stand.items():
            if key in found:
                stand[key] = found[key].document(context, kept.author)
            else:
                stand[key] = kept.model_copy(update={"dies_at": context.now})
        khala.put_documents(list(stand.values()))
        new = [one for key, one in found.items() if key not in stand][:MOST_SHOWN]
        keys = frozenset(one.key for one in new)
        if self._judges is None or keys <= self._shown or not context.may_ask():
            return
        lines = "\n".join(f"{number}. {one.text}" for number, one in enumerate(new, 1))
        chosen = self._judges.choose(context, load_prompt("lessons", counts=lines), Chosen).lessons
        self._shown = keys
        taken = [one for number, one in enumerate(new, 1) if number in chosen]
        khala.put_documents([one.document(context, self._judges.name) for one in taken])
        context.made["lessons"] += len(taken)


@statement("lesson", topics=("entry", "exit", "rules"))
def _lesson(v: View) -> Sequence[Said]:
    """One for each lesson on calls like those that a rule makes of the token now, or the team might."""
    says = {rule.rule: rule.stance for rule in v.evidence.rules} if v.evidence is not None else {}
    made = []
    for lesson in v.lessons:
        by, action, name = (str(lesson.fields[part]) for part in ("by", "action", "condition"))
        condition = CONDITIONS.get(name)
        if condition is None or not condition.holds(v.value(condition.figure)):
            continue
        if by != TEAM and says.get(by) != action:
            continue
        text = lesson.text.split("\n", 1)[0]
        leaning: Leaning = "bullish" if text.endswith("evidence for it.") == (action == "buy") else "bearish"
        facts = {f"lesson:{lesson.key}:{part}": float(value) for part, value in lesson.facts.items()}
        made.append(Said(text, (condition.figure,), leaning, 0.75, facts))
    return made
