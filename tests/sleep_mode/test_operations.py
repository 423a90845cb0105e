"""What a cycle does, counted: a piece of work is done once for each batch, or for each token, and not again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deeptrader.core.clock import ManualClock
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.khala import index, khala, recall
from deeptrader.toolkits.khala.records import MarketAnalysis
from deeptrader.toolkits.khala.situations import SituationTable
from deeptrader.toolkits.market_data import indicators, rules
from deeptrader.toolkits.runtime import Runtime
from deeptrader.toolkits.sleep_mode.bar_store import BarStore
from deeptrader.toolkits.sleep_mode.budgets import BudgetBook
from deeptrader.toolkits.sleep_mode.engine import Engine
from deeptrader.toolkits.sleep_mode.refresh import BATCH

TOKENS = BATCH + 5
BATCHES = 2


class Counted:
    """An engine over simulated tokens, its days, and how often what was done in each of its cycles."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = ManualClock(datetime(2026, 11, 22, 10, 7, tzinfo=UTC))
        settings = load_settings(data_dir=folder, market="simulated", top=TOKENS, intervals=("1d",))
        self.runtime = Runtime(settings, clock=self.clock)
        self.engine = Engine(self.runtime, clock=self.clock)
        self.done: Counter[str] = Counter()

        def counting(where: object, name: str, what: str, size=lambda *_: 1) -> None:
            work = getattr(where, name)

            def counted(*args, **options):
                self.done[what] += size(*args)
                return work(*args, **options)

            monkeypatch.setattr(where, name, counted)

        counting(asyncio, "new_event_loop", "event loops")
        counting(BudgetBook, "charge", "charges")
        counting(indicators, "compute", "last bars computed", lambda _panel, at, *_: at.size)
        counting(rules, "compute", "tokens computed for rules", lambda _panel, at, *_: at.shape[1])
        counting(SituationTable, "add", "writes of situations")
        counting(recall, "decode", "records decoded")
        counting(BarStore, "get", "stored bars read")
        counting(MarketAnalysis, "__eq__", "analyses compared")
        counting(MarketAnalysis, "findings_json", "analyses serialised")
        counting(khala, "Lexicon", "lexicons compiled")
        counting(index, "embed_texts", "texts embedded", lambda _embedder, texts: len(texts))

    def cycle(self, later: timedelta) -> Counter[str]:
        self.clock.advance(later)
        self.done.clear()
        before = self.runtime.khala.journal.commits
        self.report = self.engine.run_once()
        self.done["transactions"] = self.runtime.khala.journal.commits - before
        return self.done


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    made = Counted(tmp_path, monkeypatch)
    yield made
    made.engine.close()
    made.runtime.close()


def test_a_cycle_does_each_piece_of_work_once(counted: Counted):
    counted.cycle(timedelta(0))
    done = counted.cycle(timedelta(days=1))

    assert counted.report.count("published") == TOKENS
    assert done["event loops"] == 1
    assert done["charges"] <= 2 * (BATCHES + 1)  # reserved and settled; a cycle's limit leaves room for 20 at once
    assert done["last bars computed"] == TOKENS
    assert done["tokens computed for rules"] == TOKENS
    assert done["writes of situations"] == BATCHES
    assert done["stored bars read"] == 2 * TOKENS  # is the newest bar there? and for the rules
    assert done["analyses compared"] == done["lexicons compiled"] == 0
    assert done["analyses serialised"] <= TOKENS + 60  # to be stored; and those that scenarios and new calls rest on
    assert done["records decoded"] <= 2 * TOKENS  # a quote and a security report
    assert done["texts embedded"] <= TOKENS + 12  # and those that are about the market
    assert done["transactions"] <= TOKENS + 8 * BATCHES + 16


def test_a_cycle_with_nothing_new_computes_and_writes_nothing(counted: Counted):
    counted.cycle(timedelta(0))
    counted.cycle(timedelta(minutes=5))
    done = counted.cycle(timedelta(minutes=5))

    assert counted.report.count("kept") == TOKENS
    assert done["transactions"] <= 8
    assert not {what for what, times in done.items() if times} - {"transactions", "records decoded"}
    assert done["records decoded"] <= TOKENS  # the quotes that were seen
