"""Run as a script: one of several sleepers on one journal. It tells in lines of JSON what it did.

Arguments: folder, URL of the journal or "", how many tokens, and after how many of them to stand still (0: never). One
that stands still says so, and goes on when a line comes in. It ends when its input does.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from pydantic import SecretStr

from deeptrader.core.settings import load_settings
from deeptrader.toolkits.runtime import Runtime
from deeptrader.toolkits.sleep_mode.context import Progress
from deeptrader.toolkits.sleep_mode.report import CycleReport

SHARDS = 4


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


class Teller:
    """Tells of each cycle in place of the ledger."""

    def record_cycle(self, report: CycleReport) -> None:
        done = [outcome.symbol for outcome in report.outcomes if outcome.outcome == "published"]
        tell(published=done, tokens=report.universe, stopped_by=report.stopped_by)

    def record_failure(self, error: Exception) -> None:
        tell(failed=str(error))


def main(folder: str, url: str, tokens: int, still_after: int) -> None:
    settings = load_settings(
        data_dir=folder,
        journal_url=SecretStr(url) if url else None,
        market="simulated",
        top=tokens,
        intervals=("1d",),
        sleep_shards=SHARDS,
        lease_seconds=3,
    )

    def stand_still(progress: Progress) -> None:
        if progress.step == "refresh" and progress.done == still_after:
            tell(still=progress.symbol)
            sys.stdin.readline()

    with Runtime(settings) as runtime:
        if still_after:
            runtime.engine.cycle.on_progress = stand_still
        with runtime.engine.scheduler(every=86_400, jitter=0, poll=0.2, recorder=Teller()):
            for _ in sys.stdin:
                pass


if __name__ == "__main__":
    logging.basicConfig(level="WARNING")
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
