"""A security source of your own: a list of tokens that your desk does not touch.

    python examples/own_security.py

A provider has three members: `id`, `check`, `calls_made`. `Runtime(security=...)` says which one is missing.
"""

import tempfile
from datetime import UTC, datetime, timedelta

from deeptrader.agents import answer_question
from deeptrader.core.security import SecurityCheck, SecurityReport
from deeptrader.core.settings import load_settings
from deeptrader.core.token import Token
from deeptrader.toolkits import Runtime


class DeskList:
    """Danger for what the desk has written down; of everything else it knows nothing, which is never safe."""

    id = "desk-list"

    def __init__(self, denied: dict[str, str]) -> None:
        self._denied = denied

    def check(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        at = now or datetime.now(UTC)
        why = self._denied.get(token.symbol)
        found = SecurityCheck(
            id="source_verdict", state="fail" if why else "unknown", detail=why or "", source=self.id, checked_at=at
        )
        return SecurityReport(
            symbol=token.symbol,
            verdict="danger" if why else "unknown",
            checks=(found,),
            reasons=(why or "not on the desk's list, and checked by nobody else",),
            sources=(self.id,),
            checked_at=at,
            expires_at=at + timedelta(hours=24),
        )

    def calls_made(self) -> int:
        return 0  # requests over the network: what a cycle's budget counts


def main() -> None:
    security = DeskList({"IBM": "restricted since we advise the company"})
    settings = load_settings(data_dir=tempfile.mkdtemp(), market="recorded")
    with Runtime(settings, security=security) as runtime:
        runtime.engine.run_once()
        print(answer_question("Is IBM a buy?", runtime, memory_only=True).text)
        print(answer_question("Is Apple safe?", runtime, memory_only=True).text)


if __name__ == "__main__":
    main()
