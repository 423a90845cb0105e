"""The risk rules' two doors to agno: a tool that a model calls, and a post-hook that no output gets past."""

import json
import logging
from typing import TYPE_CHECKING, Any

from agno.tools import Toolkit
from pydantic import BaseModel, ValidationError

from ..core.clock import SystemClock
from ..core.errors import DeepTraderError, InvalidInput
from ..core.text import clean_label
from ..toolkits.arguments import Names, Number, Text, as_names, refuse_wrong_names
from .context import METADATA
from .recommendation import CheckedRecommendation, TradeRecommendation, Violation

if TYPE_CHECKING:
    from agno.run import RunContext

    from .risk import RiskRules
    from .wiring import Wiring

log = logging.getLogger(__name__)

UNCHECKED = "Not a checked recommendation: the answer did not have the asked-for form, so no risk rule was applied.\n\n"
MOST_ERRORS = 5


class RiskToolkit(Toolkit):
    """`check_recommendation`, for a model that wants to know before it speaks.

    `check_output` is a post-hook for teams and agents: every `TradeRecommendation` in what a run returns, wherever it
    stands in there, is replaced by a `CheckedRecommendation`, whether or not the model had it checked before.
    """

    def __init__(
        self,
        rules: "RiskRules | None" = None,
        *,
        wiring: "Wiring | None" = None,
        loss_today: Any = None,
        **options: Any,
    ) -> None:
        self._rules = rules
        self._wiring = wiring
        self._loss_today = loss_today
        super().__init__(**{"name": "risk", "tools": [self.check_recommendation]} | options)
        refuse_wrong_names(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> "RiskToolkit":
        return self

    @property
    def rules(self) -> "RiskRules":
        if self._rules is None:
            from .risk import RiskRules

            if self._wiring is None:
                raise InvalidInput("The risk toolkit was given neither rules nor a memory.")
            self._rules = RiskRules(self._wiring.khala, self._wiring.settings, self._loss_today)
        return self._rules

    def check_recommendation(
        self,
        token: Text = "",
        action: Text = "",
        confidence: Number | None = None,
        confidence_basis: Text = "",
        facts: Names = [],  # noqa: B006 - agno reads the default into JSON
        entry: Number | None = None,
        stop: Number | None = None,
        target: Number | None = None,
        position_percent: Number | None = None,
    ) -> str:
        """Check a recommendation against the risk rules before you give it. Replies in JSON.

        `status` is cleared, held or blocked, and `violations` say what is wrong and how to mend it. Give the user only
        what is cleared; say so when it is held or blocked, and why.

        Args:
            token (str): Symbol, e.g. BTC-USD.
            action (str): buy, sell or hold.
            confidence (float): 0 to 1.
            confidence_basis (str): What the confidence rests on.
            facts (list[str]): Names of the facts it stands on, from `cite` in sleep_mode's reply.
            entry (float): Price to enter at, USD.
            stop (float): Price that ends it at a loss, USD.
            target (float): Price that ends it at a gain, USD.
            position_percent (float): Share of capital, percent.
        """
        try:
            proposal = TradeRecommendation.model_validate(
                {
                    "token": token,
                    "action": action,
                    "entry": entry,
                    "stop": stop,
                    "target": target,
                    "position_percent": position_percent,
                    "confidence": confidence,
                    "confidence_basis": confidence_basis,
                    "reasons": [{"text": confidence_basis, "facts": as_names(facts)}],
                }
            )
            checked = self.rules.check(proposal)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:MOST_ERRORS])
            return json.dumps(InvalidInput(f"Not a recommendation: {problems}.", hint="Correct these.").as_dict())
        except DeepTraderError as error:
            return json.dumps(error.as_dict())
        body = checked.model_dump(
            mode="json", include={"token", "action", "status", "violations", "notes", "checked_at"}
        )
        return json.dumps(body)

    def check_output(self, run_output: Any, run_context: "RunContext | None" = None) -> None:
        """agno post-hook: check every recommendation in the output, and note the verdicts on the run."""
        found: list[CheckedRecommendation] = []
        run_output.content = self._checked(run_output.content, found)
        schema = run_context.output_schema if run_context is not None else None
        wanted = isinstance(schema, type) and issubclass(schema, TradeRecommendation)
        if wanted and not found and isinstance(run_output.content, str):
            # agno hands on a text that did not parse, as if it were the answer.
            run_output.content = UNCHECKED + run_output.content
        if found and isinstance(run_output.metadata, dict):
            notes = run_output.metadata.setdefault(METADATA, {})
            notes["recommendations"] = [
                {"token": c.token, "action": c.action, "status": c.status, "rules": [v.rule for v in c.violations]}
                for c in found
            ]

    def _checked(self, value: Any, found: list[CheckedRecommendation]) -> Any:
        if isinstance(value, TradeRecommendation):
            found.append(self._check(value))
            return found[-1]
        if isinstance(value, BaseModel):
            changes = {}
            for name in type(value).model_fields:
                before = getattr(value, name)
                after = self._checked(before, found)
                if after is not before:
                    changes[name] = after
            return value.model_copy(update=changes) if changes else value
        if isinstance(value, list | tuple):
            items = [self._checked(item, found) for item in value]
            if any(after is not before for after, before in zip(items, value, strict=True)):
                return type(value)(items)
        if isinstance(value, dict):
            members = {key: self._checked(item, found) for key, item in value.items()}
            if any(members[key] is not value[key] for key in value):
                return members
        return value

    def _check(self, proposal: TradeRecommendation) -> CheckedRecommendation:
        try:
            return self.rules.check(proposal)
        except Exception as error:
            # Anything at all: agno logs what a post-hook raises, and lets the output pass as it is.
            log.exception("A recommendation could not be checked.")
            fields = {name: getattr(proposal, name) for name in TradeRecommendation.model_fields}
            detail = f"It could not be checked: {clean_label(str(error), limit=200)}"
            return CheckedRecommendation(
                **fields,
                status="held",
                violations=[Violation(rule="unchecked", detail=detail)],
                checked_at=SystemClock().now(),
            )
