"""A team from scratch: DeepTraderManager leads a MarketAnalyst, and both share one memory.

python examples/team_from_scratch.py
"""

from __future__ import annotations

from _common import heading, model_or_script, show, slept_runtime

from deeptrader.agents import deep_trader_manager, market_analyst


def main() -> None:
    with slept_runtime() as runtime:
        parts = {"khala": runtime.khala, "market": runtime.market, "security": runtime.security}
        analyst = market_analyst(model_or_script("IBM is worked out."), **parts)
        team = deep_trader_manager(
            model_or_script("Both are in memory and fresh; there was nothing to delegate."),
            members=[analyst],
            **parts,
        )

        run = team.run("How are IBM and Apple doing?")

        heading("What the manager was given from memory")
        show((run.metadata or {})["deeptrader"]["brief"])
        heading("Members that were asked")
        print(", ".join(str(member.run_id) for member in run.member_responses) or "none: all of it was fresh")
        heading("The answer")
        print(run.content)


if __name__ == "__main__":
    main()
