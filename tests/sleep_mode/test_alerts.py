"""Alerts: only material change, once each, on every channel, and no channel stops a cycle or another channel."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from doubles.analyses import BAR_CLOSE, NOW, make_analysis, make_quote, make_settings

from deeptrader.core.clock import ManualClock
from deeptrader.core.market import Trigger
from deeptrader.core.settings import Settings
from deeptrader.toolkits.khala import Freshness
from deeptrader.toolkits.khala.records import Recall, StaleReason
from deeptrader.toolkits.market_data import RecordedMarket
from deeptrader.toolkits.market_data.evidence import Outcome, RuleEvidence, TokenEvidence
from deeptrader.toolkits.runtime import Runtime
from deeptrader.toolkits.sleep_mode.alerts import MOST_TRIES, Alert, Look, changes, is_quiet, look_at
from deeptrader.toolkits.sleep_mode.holdings import Holding, Holdings

LEVEL = Trigger(level=105.0, side="above", meaning="upper band")


class Hook:
    """A webhook on the loopback that keeps what is posted to it."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        posted = self.posted

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet: `posted` is the log."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    opened = Hook()
    yield opened
    opened.close()


def look(
    price: float = 100.0, *, at: datetime = NOW, stop: float | None = 95.0, evidence: Any = None, **analysis: Any
) -> Look:
    """A look at a fresh analysis at a price, of a token that is held."""
    made = make_analysis(price=100.0, triggers=(LEVEL,), **analysis)
    seen = Recall(
        symbol="BTC-USD",
        interval="1d",
        freshness=Freshness.FRESH,
        analysis=made,
        observed=make_quote(price=price, as_of=at),
        read_at=at,
    )
    found = look_at(seen, None, make_settings(), evidence=evidence, stop=stop)
    assert found is not None
    return found


def kinds(before: Look | None, now: Look) -> list[str]:
    return [alert.kind for alert in changes(before, now)]


def test_nothing_changed_is_nothing_to_tell():
    assert changes(look(100), look(104.9)) == []
    assert changes(None, look(100)) == []


def test_a_stop_is_told_when_it_is_reached_and_not_while_it_stays_so():
    [alert] = changes(look(96), look(95, at=NOW + timedelta(minutes=5)))

    assert alert.text == "BTC-USD reached its stop at 95.00 USD: the price seen last is 95.00 USD. Nothing was sold."
    assert (alert.since, alert.found_at) == (NOW, NOW + timedelta(minutes=5))
    assert kinds(look(94), look(93)) == []
    assert kinds(None, look(94)) == ["stop"]
    assert kinds(look(96, stop=None), look(95, stop=None)) == []
    assert kinds(look(100), look(100, stop=101)) == ["stop"], "it was raised above the price"
    assert kinds(look(94), look(92, stop=93)) == ["stop"], "it was lowered, and reached again"


@pytest.mark.parametrize(("before", "now", "told"), [(105, 105.1, 1), (105.1, 106, 0), (106, 104, 0), (104, 105, 0)])
def test_a_level_is_told_when_it_is_crossed_to_its_own_side(before, now, told):
    found = changes(look(before), look(now))

    assert len(found) == told
    if told:
        assert found[0].text == "BTC-USD rose above 105.00 USD (the upper band): the price seen last is 105.10 USD."


def test_a_verdict_that_turns_and_a_signal_that_begins_or_ends_are_told_with_their_reasons():
    [verdict] = changes(look(security="safe"), look(security="danger"))
    [begun] = changes(look(), look(rsi=25.0, percent_b=-0.1))
    [ended] = changes(look(rsi=25.0, percent_b=-0.1), look())

    assert verdict.text.startswith("Security of BTC-USD: danger")
    assert verdict.text.endswith("Before, the verdict was safe.")
    assert begun.text.startswith("The mean reversion rule says buy for BTC-USD: RSI(14) 25.0 is below 30")
    assert ended.text.endswith("Before, it said buy.")
    assert kinds(look(security=None), look(security="safe")) == []


def test_a_verdict_that_turns_twice_before_the_next_bar_is_told_twice():
    checks = []
    for number, verdict in enumerate(("safe", "danger", "safe", "danger")):
        one = look(security=verdict)
        checked = one.stances["verdict"].model_copy(update={"of": NOW + number * timedelta(hours=6)})
        checks.append(one.model_copy(update={"stances": one.stances | {"verdict": checked}}))
    keys = [alert.key for before, now in pairwise(checks) for alert in changes(before, now)]

    assert len(set(keys)) == 3
    assert changes(*checks[:2])[0].key == keys[0]


def test_each_rule_that_fires_or_ends_is_told_with_its_record():
    def says(stance: str, since: datetime = BAR_CLOSE) -> Look:
        outcome = Outcome(bars=7, calls=14, right=9, base_right=55, base_bars=100)
        rule = RuleEvidence(rule="breakout", stance=stance, since=since, outcomes={"buy": (outcome,)})  # type: ignore[arg-type]
        return look(evidence=TokenEvidence(symbol="BTC-USD", bar_close=BAR_CLOSE, first_bar=BAR_CLOSE, rules=(rule,)))

    [fired] = changes(says("hold"), says("buy"))
    [ended] = changes(says("buy"), says("hold"))

    assert fired.text.startswith("Breakout calls BTC-USD a buy at this bar; of its 14 buys on it since 2026, 9 rose")
    assert fired.text.endswith("Before, it said hold.")
    assert ended.text == "Breakout says hold for BTC-USD at the last bar. Before, it said buy."
    assert kinds(says("buy"), says("buy")) == kinds(look(), says("buy")) == []


def test_an_analysis_that_no_longer_holds_is_told_once():
    old = make_analysis(price=100.0)
    begun = Recall(
        symbol="BTC-USD",
        interval="1d",
        freshness=Freshness.STALE,
        reasons=(StaleReason(code="price_moved", detail="its price moved 15 %"),),
        analysis=old,
        observed=make_quote(price=85, as_of=NOW),
        read_at=NOW,
    )
    now = look_at(begun, begun, make_settings())
    assert now is not None

    found = {alert.kind: alert.text for alert in changes(look(100), now)}

    assert found["move"] == "BTC-USD moved -15.0 % since 2026-03-02 00:05 UTC, -15.0 price bands."
    assert found["invalidated"].endswith("is not to be used until it is renewed: its price moved 15 %")
    assert "invalidated" not in kinds(now, now)


def test_the_same_change_has_the_same_key_until_the_next_bar():
    def key(**more: Any) -> str:
        return changes(look(96, **more), look(95, **more))[0].key

    assert key() == key()
    assert key() != key(bar_close=BAR_CLOSE - timedelta(days=1))


@pytest.mark.parametrize(
    ("clock", "quiet"), [("21:59", False), ("22:00", True), ("23:30", True), ("06:59", True), ("07:00", False)]
)
def test_quiet_hours_run_past_midnight_in_their_own_zone(clock, quiet):
    berlin = datetime.fromisoformat(f"2026-07-01T{clock}+02:00")

    assert is_quiet(berlin.astimezone(UTC), "22:00-07:00", "Europe/Berlin") is quiet
    assert is_quiet(berlin.astimezone(UTC), "13:00-14:00", "Europe/Berlin") is False


# -- in cycles --------------------------------------------------------------------------------------------------------

DAYS = [datetime(2013, 1, day, 22, tzinfo=UTC) for day in (22, 23, 24, 25)]
"""AAPL closed at 504.77, 514.01, 450.50 (after bad earnings) and 439.88 USD."""


class Replay:
    """Cycles over the recorded market, one a day, with AAPL held and a stop that lies between two closes."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = ManualClock(DAYS[0])
        made = Settings(data_dir=folder, market="recorded", intervals=("1d",), top=3, **settings)
        self.runtime = Runtime(made, market=RecordedMarket(clock=self.clock), clock=self.clock)
        self.holdings = Holdings(self.runtime.khala.journal)
        self.log = self.runtime.engine.teller.log

    def day(self, moment: datetime) -> list[Alert]:
        """The alerts that a cycle at this moment found."""
        self.clock.advance(moment - self.clock.now())
        self.report = self.runtime.engine.run_once()
        return [alert for alert in self.log.newest() if alert.found_at == moment]

    def hold(self) -> None:
        price = self.runtime.khala.latest("AAPL").price
        assert price is not None
        holding = Holding(symbol="AAPL", quantity=10, price=price, stop=0.95 * price, since=self.clock.now())
        self.holdings.put([holding])


@pytest.fixture
def replayed(tmp_path: Path) -> Iterator[Any]:
    opened: list[Replay] = []

    def open_replay(**settings: Any) -> Replay:
        opened.append(Replay(tmp_path / "data", **settings))
        return opened[-1]

    yield open_replay
    for replay in opened:
        replay.runtime.close()


def test_a_stop_that_is_crossed_in_a_replay_is_told_once_on_each_channel_and_a_dead_webhook_stops_nothing(
    replayed, hook, tmp_path, caplog
):
    caplog.set_level(logging.WARNING)
    file = tmp_path / "alerts.txt"
    dead = "http://127.0.0.1:9/hook?token=hidden"
    channels = (dead, "log", f"file:{file}", f"http://{hook.place}/hook", f"json://{hook.place}/apprise")
    replay = replayed(alert_channels=channels)
    replay.day(DAYS[0])
    replay.hold()

    assert [a for a in replay.day(DAYS[1]) if a.kind == "stop"] == []
    [alert] = [a for a in replay.day(DAYS[2]) if a.kind == "stop"]
    report = replay.report
    assert [a for a in replay.day(DAYS[3]) if a.kind == "stop"] == []
    assert [a for a in replay.day(DAYS[3] + timedelta(minutes=5)) if a.kind == "stop"] == []

    assert alert.text.startswith("AAPL reached its stop")
    assert alert.since == DAYS[1]
    assert file.read_text().count(alert.text) == 1
    assert sum(alert.text in record.getMessage() for record in caplog.records) == 1
    webhook = [a["text"] for posted in hook.posted for a in posted.get("alerts", ())]
    assert webhook.count(alert.text) == 1
    assert sum(alert.text in posted.get("message", "") for posted in hook.posted) == 1
    assert report.count("failed") == 0
    assert report.stopped_by is None
    assert any("http:127.0.0.1" in problem for problem in report.problems)
    assert "hidden" not in json.dumps(replay.log.deliveries([alert.key])) + str(report.problems) + caplog.text


def test_a_channel_that_fails_is_tried_again_up_to_a_limit(replayed, hook, tmp_path):
    late = tmp_path / "not yet" / "alerts.txt"
    replay = replayed(alert_channels=("http://127.0.0.1:9/", f"file:{late}"))
    replay.day(DAYS[0])
    replay.hold()
    [alert] = [a for a in replay.day(DAYS[2]) if a.kind == "stop"]
    late.parent.mkdir()

    for minutes in range(5, 60, 5):
        replay.day(DAYS[2] + timedelta(minutes=minutes))

    told = {row["channel"].split(":")[0]: row for row in replay.log.deliveries([alert.key])[alert.key]}  # type: ignore[attr-defined]
    assert late.read_text().count(alert.text) == 1
    assert (told["file"]["tries"], told["file"]["problem"]) == (2, "")
    assert (told["http"]["tries"], told["http"]["sent_at"]) == (MOST_TRIES, None)


def test_in_quiet_hours_nothing_is_told_and_afterwards_everything(replayed, tmp_path):
    file = tmp_path / "alerts.txt"
    replay = replayed(alert_channels=(f"file:{file}",), alert_quiet_hours="21:00-06:00")
    replay.day(DAYS[0])
    replay.hold()
    [alert] = [a for a in replay.day(DAYS[2]) if a.kind == "stop"]
    assert not file.exists()

    replay.day(DAYS[2] + timedelta(hours=9))

    assert file.read_text().count(alert.text) == 1


def test_what_was_let_go_of_in_quiet_hours_is_not_told_afterwards(replayed, tmp_path):
    file = tmp_path / "alerts.txt"
    replay = replayed(alert_channels=(f"file:{file}",), alert_quiet_hours="21:00-06:00")
    replay.day(DAYS[0])
    replay.hold()
    assert [a for a in replay.day(DAYS[2]) if a.kind == "stop"]
    replay.holdings.remove("AAPL")

    replay.day(DAYS[2] + timedelta(hours=9))

    assert not file.exists()


def test_the_brief_of_a_day_comes_once_at_its_hour(replayed, tmp_path):
    file = tmp_path / "alerts.txt"
    replay = replayed(alert_channels=(f"file:{file}",), daily_brief_at="17:30", timezone="America/New_York")
    replay.day(DAYS[0])  # 17:00 in New York
    replay.hold()
    assert not file.exists()

    replay.day(DAYS[0] + timedelta(minutes=30))
    replay.day(DAYS[0] + timedelta(minutes=35))

    text = file.read_text()
    assert text.count("# Brief as of 2013-01-22 22:30 UTC") == 1
    assert "- 1 token is held, worth" in text
    assert "- Held: 10 AAPL" in text.split("## Held or watched")[1]
    assert "## The market" in text


def test_a_token_that_was_let_go_of_is_looked_at_afresh_when_it_comes_back(replayed):
    replay = replayed(alert_channels=())
    replay.day(DAYS[0])
    replay.hold()
    replay.day(DAYS[1])
    replay.holdings.remove("AAPL")
    replay.day(DAYS[1] + timedelta(minutes=5))
    replay.holdings.watch(["AAPL"])

    assert replay.day(DAYS[2]) == []
    assert list(replay.log.looks()) == ["AAPL"]
