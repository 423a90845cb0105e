"""`results` and `replay`: the record as a table and as JSON, over a memory and over recorded bars."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deeptrader.cli.main import main
from deeptrader.core.settings import load_settings
from deeptrader.core.token import Token
from deeptrader.toolkits.market_data import RecordedMarket
from deeptrader.toolkits.market_data.panel import build_panel
from deeptrader.toolkits.market_data.rules import RULES, MarketIndex, Past, calls_of, closed_at
from deeptrader.toolkits.sleep_mode.replayed import replay


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPTRADER_DATA_DIR", str(tmp_path / "data"))


def run(capsys: Any, *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0), capsys.readouterr().out


SPAN = ("--from", "2012-09-17", "--to", "2012-10-02")


def test_a_replay_gives_the_record_and_says_that_it_is_one(capsys: Any, tmp_path: Path) -> None:
    plot = tmp_path / "plots" / "replay.png"
    code, text = run(capsys, "replay", *SPAN, "--bars", "1", "--plot", str(plot), "--json")
    assert code == 0
    document = json.loads(text)
    assert (document["schema_version"], document["replayed"], document["cycles"]) == (1, True, 11)
    assert sorted(document["symbols"]) == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    assert document["problems"] == []
    assert plot.read_bytes().startswith(b"\x89PNG")
    made = {(c["by"], c["symbol"], c["action"], datetime.fromisoformat(c["at"])) for c in document["calls"]}
    assert made == at_once(datetime.fromisoformat(document["since"]), datetime.fromisoformat(document["until"]))
    for tally in document["tallies"]:
        own = [c for c in document["calls"] if (c["by"], c["action"]) == (tally["name"], tally["action"])]
        scored = [s for c in own for s in c["scores"] if s["bars"] == 1]
        side = 1 if tally["action"] == "buy" else -1
        assert (tally["calls"], tally["scored"]) == (len(own), len(scored))
        assert tally["right"] == sum(side * s["move"] > 0 for s in scored)
        if scored:
            mean = sum(side * s["move"] for s in scored) / len(scored)
            assert tally["result"] == pytest.approx(mean - document["cost"])


def at_once(since: datetime, until: datetime) -> set[tuple[str, str, str, datetime]]:
    """The calls in a span, from the whole history looked at in one go: what cycle by cycle must come to as well."""
    market, limit = RecordedMarket(), 5_000
    tokens = [t for t in market.universe(top=5).tokens if isinstance(t, Token)]
    panel = build_panel([market.bars(t, limit=limit).frame for t in tokens], "1d", [t.kind for t in tokens])
    past = Past(panel, MarketIndex.of(panel).at(panel.time))
    found = set()
    for rule in RULES:
        stance = rule.stance(past)
        for n, token in enumerate(tokens):
            for row in calls_of(stance[: panel.count[n], n]).nonzero()[0]:
                at = closed_at(panel, int(row), n)
                if since <= at <= until:
                    found.add((rule.name, token.symbol, "buy" if stance[row, n] == 1 else "sell", at))
    return found


def test_a_replay_is_labelled_for_people(capsys: Any) -> None:
    code, text = run(capsys, "replay", "--from", "2012-09-17", "--to", "2012-09-20")
    assert code == 0
    plain = " ".join(text.split())
    assert "REPLAY over recorded bars, 2012-09-17 to 2012-09-19: 3 cycles" in plain
    assert "No trade was made and no model asked" in plain


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("replay", "--from", "2013-01-01", "--to", "2012-01-01"), "--from must lie before --to"),
        (("replay", "--from", "2030-01-01", "--to", "2031-01-01"), "No daily bar was recorded between"),
        (("replay", *SPAN[:3], "2012-09-18", "--bars", "5"), "not scored after 5 bars"),
        (("replay", *SPAN[:3], "2012-09-18", "--by", "mood"), "'mood' is not one of"),
    ],
)
def test_wrong_use_is_said(capsys: Any, arguments: tuple[str, ...], said: str) -> None:
    code, text = run(capsys, *arguments, "--json")
    assert code == 2
    assert said in json.loads(text)["message"]


def test_results_tell_what_was_called_in_a_memory(capsys: Any, tmp_path: Path) -> None:
    assert run(capsys, "results")[0] == 4  # there is no memory yet
    settings = load_settings(market="recorded")
    first, last = (datetime.fromisoformat(f"2012-09-{day}T00:00+00:00") for day in (17, 21))
    made = replay(settings, first, last, settings.store_dir)
    assert made.cycles == 4
    where = ("--market", "recorded", "--as-of", (last + timedelta(hours=1)).isoformat())
    code, text = run(capsys, "results", *where, "--json")
    document = json.loads(text)
    assert code == 0
    assert "replayed" not in document
    assert len(document["calls"]) == len(made.calls) > 2
    symbol = document["calls"][0]["symbol"]
    own = json.loads(run(capsys, "results", symbol, *where, "--json")[1])["calls"]
    assert {c["symbol"] for c in own} == {symbol}
    assert json.loads(run(capsys, "results", "--team", *where, "--json")[1])["calls"] == []
    assert "breakout" in run(capsys, "results", *where)[1]
    earlier = last - timedelta(days=2)
    then = json.loads(run(capsys, "results", *where[:3], earlier.isoformat(), "--json")[1])["calls"]
    assert 0 < len(then) < len(made.calls)
    assert all(datetime.fromisoformat(c["at"]) <= earlier for c in then)
    assert "No call is on record yet" in run(capsys, "results", "--team", *where)[1]
