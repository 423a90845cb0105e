"""What is prepared is what demand foresees, made anew only when its basis changed, and measured by what is asked."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from doubles.analyses import NOW, make_analysis, make_quote, make_settings

from deeptrader.core.clock import ManualClock
from deeptrader.core.token import Token
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.khala.records import Freshness, MarketAnalysis
from deeptrader.toolkits.sleep_mode.answers.answering import Answer, NotInMemory
from deeptrader.toolkits.sleep_mode.answers.catalogue import templates
from deeptrader.toolkits.sleep_mode.anticipation.anticipator import Anticipator
from deeptrader.toolkits.sleep_mode.anticipation.asked import AskedLog, Prepared, Weight, asked_listener
from deeptrader.toolkits.sleep_mode.anticipation.choice import Candidate, Economics, Outlook, choose, fading, parse_key
from deeptrader.toolkits.sleep_mode.planning.ask import Ask
from deeptrader.toolkits.sleep_mode.planning.demand import DemandLog, Follow
from deeptrader.toolkits.sleep_mode.questions.understanding import understand
from deeptrader.toolkits.sleep_mode.toolkit import SleepModeToolkit

SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "DOGE-USD", "LINK-USD")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def khala(tmp_path: Path, clock: ManualClock) -> Iterator[Khala]:
    with Khala.open(tmp_path, clock=clock, settings=make_settings()) as khala:
        publish(khala, *(make_analysis(symbol, price=100.0 + i) for i, symbol in enumerate(SYMBOLS)))
        yield khala


def publish(khala: Khala, *analyses: MarketAnalysis) -> None:
    khala.publish(khala.store(analyses))


class Wanted:
    """A demand log that says what it is told to."""

    def __init__(
        self,
        rates: Mapping[str, float] | None = None,
        shares: Mapping[str, float] | None = None,
        asks: Sequence[Ask] = (),
        follows: Sequence[Follow] = (),
    ) -> None:
        self._rates, self._shares, self._asks, self._follows = rates or {}, shares or {}, asks, follows

    def rates(self, tokens: Sequence[Token]) -> dict[str, float]:
        return {token.symbol: self._rates.get(token.symbol, 0.01) for token in tokens}

    def kind_shares(self, symbols: Sequence[str]) -> dict[str, dict[str, float]]:
        return {symbol: dict(self._shares) for symbol in symbols} if self._shares else {}

    def recent(self, limit: int = 100) -> Sequence[Ask]:
        return self._asks

    def follows(self, kind: str) -> Sequence[Follow]:
        return self._follows


def build(khala: Khala, clock: ManualClock, demand: Wanted | DemandLog | None = None, **more: object) -> Anticipator:
    options = {"cap": 12, "explore": 0.0, "rng": random.Random(1)} | more
    log = AskedLog(khala.journal, clock=clock, background=False)
    return Anticipator(khala, demand, clock=clock, log=log, **options)  # pyright: ignore[reportArgumentType]


def keys(khala: Khala) -> set[str]:
    return {document.key for document, _, _ in khala.documents("anticipated")}


def test_answers_are_prepared_where_demand_foresees_them(khala: Khala, clock: ManualClock) -> None:
    report = build(khala, clock, Wanted({"SOL-USD": 30.0})).prepare()
    assert report.anticipated == 12
    assert {key.split("/")[1] for key in keys(khala)} == {"SOL-USD"}
    ((document, freshness, _),) = khala.documents("anticipated", key="state/SOL-USD")
    assert freshness is Freshness.FRESH
    assert document.title == "What is the state of SOL-USD?"
    assert document.rests_on == (khala.latest("SOL-USD").analysis.analysis_id,)  # pyright: ignore[reportOptionalMemberAccess]
    assert document.facts
    assert document.dies_at is not None


def test_the_cap_holds_and_nothing_is_prepared_that_costs_more_than_it_saves(khala: Khala, clock: ManualClock) -> None:
    assert build(khala, clock, cap=3).prepare().anticipated == 3
    dear = build(khala, clock, economics=Economics(saving=0.001, cost=10.0)).prepare()
    assert (dear.anticipated, dear.considered > 100) == (0, True)


def test_a_second_pass_makes_nothing_again_until_an_analysis_changes(khala: Khala, clock: ManualClock) -> None:
    anticipator = build(khala, clock, Wanted({"SOL-USD": 30.0}))
    anticipator.prepare()
    clock.advance(60)
    again = anticipator.prepare()
    assert (again.anticipated, again.kept) == (0, 12)
    publish(khala, make_analysis("SOL-USD", price=102.5, rsi=20.0, computed_at=clock.now()))
    changed = anticipator.prepare()
    assert changed.anticipated == 12
    assert all(freshness is Freshness.FRESH for _, freshness, _ in khala.documents("anticipated"))


def test_answers_that_died_are_dropped(khala: Khala, clock: ManualClock) -> None:
    build(khala, clock, Wanted({"SOL-USD": 30.0})).prepare()
    publish(khala, make_analysis("SOL-USD", price=102.5, rsi=20.0))
    report = build(khala, clock, Wanted({"BTC-USD": 30.0})).prepare()
    assert report.dropped == 12
    assert {key.split("/")[1] for key in keys(khala)} == {"BTC-USD"}


def test_the_shelf_never_outgrows_its_cap_by_much(khala: Khala, clock: ManualClock) -> None:
    for symbol in SYMBOLS:
        build(khala, clock, Wanted({symbol: 30.0})).prepare()
    assert 12 <= len(keys(khala)) <= 15


def test_nothing_is_prepared_about_a_token_that_is_not_fresh(khala: Khala, clock: ManualClock) -> None:
    khala.observe([make_quote("SOL-USD", 1.0, as_of=NOW + timedelta(seconds=1))])
    build(khala, clock, Wanted({"SOL-USD": 30.0})).prepare()
    assert not any("SOL-USD" in key for key in keys(khala))


def test_prices_that_every_look_renews_are_never_prepared(khala: Khala, clock: ManualClock) -> None:
    anticipator = build(khala, clock, cap=1_000)
    anticipator.ask("price of BTC")
    anticipator.prepare()
    assert not any(key.startswith(("state.price", "risk.stop")) for key in keys(khala))


def test_asking_for_what_was_prepared_is_a_hit_and_is_told_from_composing(khala: Khala, clock: ManualClock) -> None:
    anticipator = build(khala, clock, Wanted({"SOL-USD": 30.0}))
    anticipator.prepare()
    found = anticipator.ask("how is solana doing?")
    assert isinstance(found, Answer)
    assert (found.source, found.key) == ("prepared", "state/SOL-USD")
    assert isinstance(anticipator.ask("is BTC oversold"), Answer)
    assert isinstance(anticipator.ask("is SHIB oversold"), NotInMemory)
    score = anticipator.score(timedelta(hours=1))
    assert (score.total.asked, score.total.hits, score.total.composed) == (3, 1, 1)
    assert score.total.recall == pytest.approx(1 / 3)
    assert score.by_template["state"].used == 1
    assert score.by_kind["state"].asked == 3
    assert anticipator.log.hits() == {"state/SOL-USD": 1}


def test_precision_counts_each_prepared_answer_once(khala: Khala, clock: ManualClock) -> None:
    anticipator = build(khala, clock, Wanted({"SOL-USD": 30.0}))
    anticipator.prepare()
    for _ in range(5):
        anticipator.ask("how is solana doing?")
    score = anticipator.score(timedelta(hours=1)).by_kind
    prepared = sum(kind.prepared for name, kind in score.items() if name != "scenario")
    assert prepared == 12
    assert sum(kind.used for kind in score.values()) == 1
    assert score["state"].hits == 5
    assert score["state"].precision == pytest.approx(1 / score["state"].prepared)


def test_the_score_looks_no_further_back_than_its_window(khala: Khala, clock: ManualClock) -> None:
    anticipator = build(khala, clock)
    anticipator.ask("is BTC oversold")
    clock.advance(timedelta(hours=30))
    assert anticipator.score(timedelta(hours=24)).total.asked == 0
    assert anticipator.score(timedelta(days=7)).total.asked == 1
    assert anticipator.score(timedelta(hours=24)).total.recall is None


def test_what_is_asked_outweighs_what_is_believed(khala: Khala, clock: ManualClock) -> None:
    anticipator = build(khala, clock, cap=4)
    anticipator.prepare()
    assert "state.bands/LINK-USD" not in keys(khala)
    for _ in range(40):
        anticipator.ask("bollinger bands of LINK")
    anticipator.prepare()
    assert "state.bands/LINK-USD" in keys(khala)


def test_a_comparison_is_prepared_once_it_is_asked(khala: Khala, clock: ManualClock) -> None:
    anticipator = build(khala, clock, cap=6)
    for _ in range(40):
        anticipator.ask("compare DOGE and LINK")
    anticipator.prepare()
    assert "comparison/DOGE-USD,LINK-USD" in keys(khala)
    found = anticipator.ask("put LINK and DOGE side by side")
    assert isinstance(found, Answer)
    assert found.source == "prepared"


def test_what_follows_a_question_just_asked_is_prepared_next(khala: Khala, clock: ManualClock) -> None:
    quiet = Wanted(dict.fromkeys(SYMBOLS, 0.001))
    just = Ask(at=clock.now(), symbol="XRP-USD", kind="state", hit=True)
    lively = Wanted(dict.fromkeys(SYMBOLS, 0.001), asks=[just], follows=[Follow("safety", True, 0.9)])
    build(khala, clock, quiet, cap=1).prepare()
    assert keys(khala) != {"safety/XRP-USD"}
    build(khala, clock, lively, cap=1).prepare()
    assert "safety/XRP-USD" in keys(khala)


def test_a_real_demand_log_can_be_asked(khala: Khala, clock: ManualClock) -> None:
    with DemandLog(khala.journal, clock=clock, background=False) as demand:
        for _ in range(50):
            demand.record("DOGE-USD", "exit", hit=True, session="s")
        demand.flush()
        build(khala, clock, demand, cap=1).prepare()
    assert keys(khala) == {"exit/DOGE-USD"}


def test_templates_that_are_never_asked_fade(khala: Khala, clock: ManualClock) -> None:
    anticipator = build(khala, clock, Wanted({"SOL-USD": 30.0}))
    anticipator.prepare()
    before = anticipator.log.weights().get("safety", Weight())
    for day in range(1, 4):
        clock.advance(timedelta(hours=20))
        later = make_analysis(
            "SOL-USD", price=100.0 + day, bar_close=NOW + timedelta(days=day), computed_at=clock.now()
        )
        anticipator.log.forget_prepared(list(keys(khala)))
        publish(khala, later)
        anticipator.prepare()
    after = anticipator.log.weights()["state"]
    assert after.expected > before.expected
    assert fading(after) < fading(Weight())
    assert fading(Weight(used=5.0, expected=5.0)) == pytest.approx(1.0)
    assert fading(Weight(used=0.0, expected=300.0)) < 0.02


def test_an_answer_that_lived_for_a_moment_was_not_expected_to_be_used(khala: Khala, clock: ManualClock) -> None:
    anticipator = build(khala, clock, Wanted({"SOL-USD": 30.0}))
    anticipator.prepare()
    anticipator.log.forget_prepared(list(keys(khala)))
    assert anticipator.log.weights().get("state", Weight()).expected == pytest.approx(0.0, abs=1e-9)


def test_exploring_tries_a_few_against_the_odds_from_the_source_given(khala: Khala, clock: ManualClock) -> None:
    shelves = []
    for seed in (1, 1, 2):
        khala.drop_documents("anticipated", list(keys(khala)))
        anticipator = build(khala, clock, Wanted({"SOL-USD": 30.0}), explore=0.25, rng=random.Random(seed))
        anticipator.log.forget_prepared(list(anticipator.log.prepared()))
        report = anticipator.prepare()
        assert report.explored == 3
        shelves.append(keys(khala))
    assert shelves[0] == shelves[1] != shelves[2]


def test_hours_seen_are_the_journals_and_not_a_processs(khala: Khala, clock: ManualClock) -> None:
    log = AskedLog(khala.journal, clock=clock, half_life_hours=72.0, background=False)
    assert log.hours_seen() == 0.0
    log.note_prepared([Prepared("state/BTC-USD", "anticipated", "state", "basis")])
    began = clock.now().replace(minute=0, second=0, microsecond=0)
    clock.set(began + timedelta(hours=72))
    tau = 72.0 / math.log(2)
    later = AskedLog(khala.journal, clock=clock, half_life_hours=72.0, background=False)  # another process
    assert later.hours_seen() == pytest.approx(tau / 2)  # after one half-life, half of all the weight there can be
    clock.set(began + timedelta(days=50))
    assert later.hours_seen() == pytest.approx(tau, rel=1e-4)
    clock.set(began - timedelta(hours=3))
    assert later.hours_seen() == 0.0


def test_a_restart_does_not_make_a_question_more_frequent(khala: Khala, clock: ManualClock) -> None:
    anticipator = build(khala, clock, cap=200)
    for _ in range(10):
        anticipator.ask("Is BTC oversold?")
    clock.advance(timedelta(hours=30))
    bar = NOW.replace(hour=0, minute=0) + timedelta(days=1)
    publish(khala, *(make_analysis(symbol, bar_close=bar, computed_at=clock.now()) for symbol in SYMBOLS))
    khala.observe([make_quote(symbol, as_of=clock.now()) for symbol in SYMBOLS])
    uses = []
    for one in (anticipator, build(khala, clock, cap=200)):
        one.log.forget_prepared(list(one.log.prepared()))
        one.prepare()
        uses.append(one.log.prepared()["state.oversold/BTC-USD"].uses)
    assert uses[0] == pytest.approx(uses[1])


def test_an_answer_on_hourly_bars_is_expected_to_live_an_hour(khala: Khala, clock: ManualClock) -> None:
    at = NOW.replace(minute=0)
    publish(khala, make_analysis("BTC-USD", interval="1h", bar_close=at, computed_at=NOW))
    anticipator = build(khala, clock, cap=200)
    for _ in range(40):
        anticipator.ask("hourly RSI of BTC")
        anticipator.ask("RSI of BTC")
    anticipator.prepare()
    prepared = anticipator.log.prepared()
    hourly, daily = prepared["state.rsi/BTC-USD@1h"], prepared["state.rsi/BTC-USD"]
    assert hourly.life_hours <= 1.2 < 20 < daily.life_hours
    assert hourly.uses < daily.uses / 10


def test_hourly_answers_are_prepared_once_they_are_asked(khala: Khala, clock: ManualClock) -> None:
    at = NOW.replace(minute=0)
    publish(khala, make_analysis("BTC-USD", interval="1h", bar_close=at, computed_at=NOW))
    anticipator = build(khala, clock, cap=4)
    for _ in range(40):
        anticipator.ask("hourly RSI of BTC")
    anticipator.prepare()
    ((document, freshness, _),) = khala.documents("anticipated", key="state.rsi/BTC-USD@1h")
    assert freshness is Freshness.FRESH
    assert document.text.startswith("BTC-USD: RSI(14) 45.0, neutral (between 30 and 70), on the hourly bar")


def test_slow_answers_are_made_a_few_at_a_time(
    khala: Khala, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeptrader.toolkits.sleep_mode.anticipation.anticipator.SLOW_PER_PASS", 2)
    asked: list[str] = []
    real = khala.similar

    def similar(token: Token, **more: object):
        asked.append(token.symbol)
        return real(token, **more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(khala, "similar", similar)
    build(khala, clock, Wanted(dict.fromkeys(SYMBOLS, 5.0)), cap=1_000).prepare()
    assert len(asked) == 2


def test_questions_survive_another_process_and_old_ones_are_let_go(khala: Khala, clock: ManualClock) -> None:
    log = AskedLog(khala.journal, clock=clock, background=False)
    log.record(understand("is BTC oversold", khala), "composed", key="state.oversold/BTC-USD")
    log.flush()
    other = AskedLog(khala.journal, clock=clock, background=False)
    assert other.recent()[0]["text"] == "is BTC oversold"
    assert other.weights()["state.oversold/BTC-USD"].asked == pytest.approx(1.0)
    clock.advance(timedelta(hours=72))
    assert other.weights()["state.oversold/BTC-USD"].asked == pytest.approx(0.5)


def test_what_a_team_asks_sleep_mode_is_noted_with_how_it_ended(khala: Khala, clock: ManualClock) -> None:
    anticipator = build(khala, clock, Wanted({"SOL-USD": 30.0}))
    anticipator.prepare()
    toolkit = SleepModeToolkit(khala, listeners=[asked_listener(anticipator.log)])
    toolkit.sleep_mode(tokens=["SOL-USD"], question="how is solana doing?")
    toolkit.sleep_mode(tokens=["BTC-USD"], question="is it oversold?")
    toolkit.sleep_mode(tokens=["BTC-USD"])
    rows = anticipator.log.recent()
    assert [(row["key"], row["outcome"]) for row in rows] == [
        ("state.oversold/BTC-USD", "composed"),
        ("state/SOL-USD", "prepared"),
    ]
    assert anticipator.log.hits() == {"state/SOL-USD": 1}


async def test_the_async_twins_do_the_same(khala: Khala, clock: ManualClock) -> None:
    anticipator = build(khala, clock, Wanted({"SOL-USD": 30.0}))
    assert (await anticipator.aprepare()).anticipated == 12
    found = await anticipator.aask("how is solana doing?")
    assert isinstance(found, Answer)
    assert found.source == "prepared"


def outlook(**more: object) -> Outlook:
    body = {"rates": {"BTC-USD": 1.0}, "shares": {}, "weights": {}, "boosts": {}, "hours_seen": 1.0} | more
    return Outlook(**body)  # pyright: ignore[reportArgumentType]


def test_rates_lean_on_beliefs_first_and_on_what_was_asked_later() -> None:
    entry = templates()["entry"]
    believed = outlook().rate(entry, ("BTC-USD",))
    asked = outlook(shares={"BTC-USD": {"entry": 1.0}}, weights={"entry": Weight(asked=500.0)}).rate(
        entry, ("BTC-USD",)
    )
    assert believed == pytest.approx(1.0 * 0.2 * 0.5)
    assert asked > 0.9


def test_the_best_set_is_the_best_ones_and_what_stands_costs_nothing() -> None:
    state, risk = templates()["state"], templates()["risk"]
    rich, poor = Candidate(state, ("BTC-USD",), uses=1.0), Candidate(risk, ("BTC-USD",), uses=0.001)
    dear = Economics(saving=1.0, cost=0.01)
    chosen, rest = choose([poor, rich], dear, cap=5)
    assert ([c.key for c in chosen], [c.key for c in rest]) == (["state/BTC-USD"], ["risk/BTC-USD"])
    chosen, _ = choose([poor, rich], dear, cap=5, standing={"risk/BTC-USD"})
    assert len(chosen) == 2


@pytest.mark.parametrize(
    "key", ["", "state", "nothing/BTC-USD", "comparison/BTC-USD", "state.rsi/BTC-USD@4h", "state/A,B"]
)
def test_keys_that_name_no_answer_are_passed_over(key: str) -> None:
    assert parse_key(key, templates()) is None


def test_a_key_is_read_back_as_it_was_written() -> None:
    parsed = parse_key("state.rsi/BTC-USD@1h", templates())
    assert parsed is not None
    assert Candidate(*parsed).key == "state.rsi/BTC-USD@1h"


def test_at_a_given_moment_documents_carry_that_moment(khala: Khala, clock: ManualClock) -> None:
    moment: datetime = NOW + timedelta(seconds=30)
    clock.advance(30)
    build(khala, clock).prepare(moment)
    assert {document.created_at for document, _, _ in khala.documents("anticipated")} == {moment}
