"""Calls of rules and of the team: kept as they were made, scored as-of, once, and told in the brief."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles.analyses import BAR_CLOSE, make_analysis, make_settings
from doubles.embedders import HashEmbedder
from doubles.scripted_model import ScriptedModel
from doubles.scripted_model import call as tool_call

from deeptrader.agents import TradeRecommendation, deep_trader_manager, market_analyst
from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import InvalidInput
from deeptrader.core.formats import percent_text
from deeptrader.core.token import Token
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.market_data import RecordedMarket
from deeptrader.toolkits.market_data.evidence import Outcome, RuleEvidence, TokenEvidence
from deeptrader.toolkits.market_data.rules import RULES, Past, Rule
from deeptrader.toolkits.sleep_mode import SleepCycle, weighing
from deeptrader.toolkits.sleep_mode.bar_store import BarStore
from deeptrader.toolkits.sleep_mode.calls import TEAM, Call, CallLog, Score, ScoredCall, tallies
from deeptrader.toolkits.sleep_mode.reader import Reader
from deeptrader.toolkits.sleep_mode.rule_statements import evidence_rows
from deeptrader.toolkits.sleep_mode.scenarios import write_scenarios
from deeptrader.toolkits.sleep_mode.statements import statements_of
from deeptrader.toolkits.sleep_mode.weighing import weigh_rules

SESSIONS = [
    moment.to_pydatetime() + timedelta(minutes=30)
    for moment in RecordedMarket().bars(Token(symbol="AAPL", kind="equity"), limit=5_000).frame.index
    if datetime(2012, 9, 14, tzinfo=UTC) < moment
]
"""Half an hour after the close of each session that is replayed, from 14 September 2012 on."""


class World:
    """The recorded market with a memory, a clock and a cycle that weighs rules."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = ManualClock(SESSIONS[0])
        self.market = RecordedMarket(clock=self.clock)
        self.settings = make_settings(market="recorded", intervals=("1d",), security_allowed_verdicts=(), **settings)
        self.khala = Khala.open(folder, embedder=HashEmbedder(), clock=self.clock, settings=self.settings)
        self.log = CallLog(self.khala.journal)

    def cycle(self, session: int) -> dict[str, int]:
        self.clock.set(SESSIONS[session])
        after = [weigh_rules, write_scenarios]
        parts = {"market": self.market, "khala": self.khala, "settings": self.settings, "clock": self.clock}
        report = SleepCycle(after=after, **parts).run()  # type: ignore[arg-type]
        assert report.problems == ()
        return report.made

    def closes(self, symbol: str) -> dict[datetime, float]:
        frame = RecordedMarket().bars(Token(symbol=symbol, kind="equity"), limit=5_000).frame
        return dict(zip(frame.index.to_pydatetime(), frame["close"], strict=True))  # type: ignore[attr-defined]

    def text(self, question: str) -> str:
        reader = Reader(self.khala)
        return reader.brief(reader.read(question), 1_000).text


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.khala:
        yield made


def test_evidence_is_worked_out_once_for_the_same_bars(world: World) -> None:
    assert world.cycle(0)["weighed"] == 5
    assert "weighed" not in world.cycle(0)
    assert world.cycle(1)["weighed"] == 5


def test_other_settings_make_other_evidence(tmp_path: Path) -> None:
    first = World(tmp_path)
    with first.khala:
        first.cycle(0)
    dearer = World(tmp_path, cost_percent=1.0)
    with dearer.khala:
        cheap = dearer.log.evidence("IBM")
        assert dearer.cycle(0)["weighed"] == 5
        dear = dearer.log.evidence("IBM")
    assert cheap is not None
    assert dear is not None
    told = [found.rules[1].outcome("buy") for found in (cheap, dear)]
    assert told[0].median - told[1].median == pytest.approx(0.018)  # type: ignore[union-attr]


def test_a_call_at_this_bar_is_kept_and_told_with_what_earlier_ones_were_worth(world: World) -> None:
    texts: list[str] = []
    for session in range(5):
        world.cycle(session)
        bar_close = SESSIONS[session] - timedelta(minutes=30)
        kept = {(one.call.by, one.call.symbol) for one in world.log.calls(since=bar_close)}
        for token in world.khala.symbols():
            text = world.text(f"What do the rules say about {token.symbol}?")
            heads = {r.name: f"{r.name.replace('_', ' ').capitalize()} calls {token.symbol} a" for r in RULES}
            assert {name for name, head in heads.items() if head in text} == {by for by, s in kept if s == token.symbol}
            texts.append(text)
    assert any("its" in text and "base rate" in text and "weak evidence" in text for text in texts)
    assert any("they disagree" in text for text in texts)
    assert len(world.log.calls()) > 3
    for one in world.log.calls():
        assert one.call.price == one.call.close
        assert "rsi_14" in one.call.facts
        assert world.khala.analysis(one.call.analysis_id).bar_close == one.call.at  # type: ignore[union-attr]


def test_what_calls_of_each_rule_came_to_is_told_whatever_it_says_now(world: World) -> None:
    world.cycle(0)
    text, evidence = world.text("What do the rules say about IBM?"), world.log.evidence("IBM")
    assert evidence is not None
    rows = {(row[0], row[1]): row[2:] for row in evidence_rows(evidence)}
    for rule in evidence.rules:
        for action in ("buy", "sell"):
            told = rule.outcome(action)
            if told is None or not told.calls:
                assert (rule.label, action) not in rows
                continue
            came = "rose" if action == "buy" else "fell"
            assert f"{told.right} {came} after 7 bars ({100 * told.right / told.calls:.0f} %, base rate" in text
            one, seven, thirty = (rule.outcome(action, bars) for bars in (1, 7, 30))
            assert one is not None
            assert thirty is not None
            assert rows[rule.label, action][:3] == tuple(f"{o.right} of {o.calls}" for o in (one, seven, thirty) if o)
            assert rows[rule.label, action][-1].startswith(percent_text(told.median or 0.0, signed=True))
    assert len(rows) > 5


def test_the_market_is_told_what_rules_call_and_how_the_teams_calls_did(world: World) -> None:
    for session in range(5):
        world.cycle(session)
        bar_close = SESSIONS[session] - timedelta(minutes=30)
        sells = {one.call.symbol for one in world.log.calls(action="sell", since=bar_close)}
        told = world.text("What should I sell?")
        line = next(line for line in told.splitlines() if "call" in line and "at the last bar" in line)
        assert {token.symbol for token in world.khala.symbols() if f"{token.symbol} (" in line} == sells
        assert "No call of the team has been scored yet." in told
    assert world.text("Is there a buying opportunity among large caps?") == world.text("Which large caps are a buy?")
    call = Call.on(make_analysis("IBM"), call_id="a", by=TEAM, action="buy", at=BAR_CLOSE, price=1.0)
    world.log.keep([call])
    world.log.score([(call, Score(bars=7, at=BAR_CLOSE, move=0.1, market=-0.1, scored_at=BAR_CLOSE))])
    world.clock.set(datetime(2026, 3, 9, tzinfo=UTC))
    assert "Of the team's last buy 1 rose after 7 bars; the market rose in 0." in world.text("your track record?")


def test_a_report_ranks_what_rules_call_by_their_evidence(world: World) -> None:
    for session in range(5):
        world.cycle(session)
        bar_close = SESSIONS[session] - timedelta(minutes=30)
        kept = {document.key: document for document, _, _ in world.khala.documents("scenario")}
        for action in ("buy", "sell"):
            calls = [one.call for one in world.log.calls(action=action, since=bar_close)]
            edges = {}
            for call in calls:
                rules = world.log.evidence(call.symbol).rules  # type: ignore[union-attr]
                edge = next(rule.edge(action) for rule in rules if rule.rule == call.by)
                edges[call.symbol] = max(edge, edges.get(call.symbol, -1.0))
            ranked = sorted(edges, key=lambda symbol: -edges[symbol])
            if action == "sell":  # buys of equities without a verdict do not pass here
                assert list(kept["best_sell"].symbols) == ranked
            if kept[f"best_{action}"].symbols:
                assert "Rules on" in kept[f"best_{action}"].text


def test_the_edge_is_the_markets_where_a_token_alone_says_too_little() -> None:
    few, many = outcome(3, 3), outcome(400, 260)
    assert RuleEvidence(rule="r", outcomes={"buy": (many,)}).edge("buy") == pytest.approx(0.602 - 0.55, abs=1e-3)
    assert RuleEvidence(rule="r", outcomes={"buy": (few,)}, market={"buy": many}).edge("buy") > 0
    assert RuleEvidence(rule="r", outcomes={"buy": (few,)}).edge("buy") == -1


def test_evidence_of_another_bar_is_not_told(world: World) -> None:
    world.cycle(4)
    assert "Rules on IBM" in world.text("What do the rules say about IBM?")
    world.clock.set(SESSIONS[5])
    SleepCycle(market=world.market, khala=world.khala, settings=world.settings, clock=world.clock).run()
    assert "Rules on IBM" not in world.text("What do the rules say about IBM?")


def test_bars_that_cannot_be_read_cost_their_token_alone(world: World) -> None:
    world.cycle(0)
    world.clock.set(SESSIONS[1])
    parts = {"market": world.market, "khala": world.khala, "settings": world.settings, "clock": world.clock}

    def damage(_context: object) -> None:
        with world.khala.journal.write() as connection:
            connection.execute("UPDATE bars SET body = ? WHERE symbol = 'IBM'", (b"damaged",))

    report = SleepCycle(after=[damage, weigh_rules], **parts).run()  # type: ignore[arg-type,list-item]
    assert report.made["weighed"] == 4
    assert any("rules on IBM" in problem for problem in report.problems)


def test_a_rule_of_ones_own_that_fails_costs_what_it_would_have_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pairs(past: Past) -> Any:
        return np.broadcast_to(np.sign(past.change(past.close[:, :2], 1)), past.close.shape)

    monkeypatch.setattr(weighing, "all_rules", lambda: (Rule("pairs", "up", "", pairs), *RULES))
    world.clock.set(SESSIONS[0])
    parts = {"market": world.market, "khala": world.khala, "settings": world.settings, "clock": world.clock}
    report = SleepCycle(after=[weigh_rules], **parts).run()  # type: ignore[arg-type,list-item]
    evidence = world.log.evidence("IBM")
    assert report.made["weighed"] == 5
    assert any("rule pairs" in problem for problem in report.problems)
    assert evidence is not None
    assert [told.rule for told in evidence.rules] == [each.name for each in RULES]


def outcome(calls: int, right: int, **more: Any) -> Outcome:
    return Outcome(bars=7, calls=calls, right=right, base_right=550, base_bars=1_000, **more)


@pytest.mark.parametrize(
    ("own", "market", "expected"),
    [
        (
            outcome(14, 9, median=0.012, low=-0.01, high=0.05),
            outcome(400, 240),
            "Mean reversion calls BTC-USD a buy at this bar; of its 14 buys on it since 2000, 9 rose after 7 bars (64 "
            "%, base rate 55 %, interval 39 to 84; median +1.2 % after costs): weak evidence.",
        ),
        (
            outcome(1, 1, median=0.05, low=0.05, high=0.05),
            outcome(400, 260),
            "Mean reversion calls BTC-USD a buy at this bar; of its 1 buy on it since 2000, 1 rose after 7 bars (100 "
            "%, base rate 55 %, interval 21 to 100; median +5.0 % after costs), too few to tell; of 400 buys on all "
            "tokens in memory, 260 rose after 7 bars (65 %, base rate 55 %, interval 60 to 70): evidence for it.",
        ),
        (
            outcome(0, 0),
            outcome(3, 1),
            "Mean reversion calls BTC-USD a buy at this bar, its first one on it since 2000: too few to tell.",
        ),
    ],
)
def test_what_a_call_is_worth_is_said_with_counts(own: Outcome, market: Outcome, expected: str) -> None:
    rule = RuleEvidence(
        rule="mean_reversion", stance="buy", since=BAR_CLOSE, outcomes={"buy": (own,)}, market={"buy": market}
    )
    first = datetime(2000, 1, 3, tzinfo=UTC)
    found = TokenEvidence(symbol="BTC-USD", bar_close=BAR_CLOSE, first_bar=first, rules=(rule,))
    [said] = statements_of(make_analysis(), make_settings(), evidence=found, only=["evidence"])
    assert said.text == expected
    assert said.leaning == "bullish"
    stood = found.model_copy(update={"rules": (rule.model_copy(update={"since": first}),)})
    assert statements_of(make_analysis(), make_settings(), evidence=stood, only=["evidence"]) == ()


# -- scores -------------------------------------------------------------------------------------------------------


def recommend(world: World, *, loss_today: Any = None, **fields: Any) -> Any:
    proposed = {"action": "buy", "entry": 1.0, "stop": 0.9, "target": 1.2, "position_percent": 1, "confidence": 0.6}
    model = ScriptedModel([json.dumps(proposed | fields)])
    parts = {"khala": world.khala, "market": world.market, "settings": world.settings}
    team = deep_trader_manager(model, output_schema=TradeRecommendation, loss_today=loss_today, **parts)
    return team.run("What now?").content


def test_the_team_recommends_and_later_cycles_score_it(world: World) -> None:
    world.cycle(0)
    made = {"AAPL": "buy", "IBM": "buy", "MSFT": "sell"}
    for symbol, action in made.items():
        assert recommend(world, token=symbol, action=action).status == "held"
    assert {one.call.symbol: one.call.action for one in world.log.calls(by=TEAM)} == made
    assert all(one.scores == {} for one in world.log.calls(by=TEAM))
    assert "Of the team's" not in world.text("Should I buy IBM?")

    for session in (1, 7, 30):
        world.cycle(session)
    scored = world.log.calls(by=TEAM)
    every = {symbol: world.closes(symbol) for symbol in ("AAPL", "FB", "GOOG", "IBM", "MSFT")}
    for one in scored:
        assert sorted(one.scores) == [1, 7, 30]
        for bars, score in one.scores.items():
            start, end = (SESSIONS[n] - timedelta(minutes=30) for n in (0, bars))
            assert score.at == end
            assert score.move == pytest.approx(
                every[one.call.symbol][end] / every[one.call.symbol][start] - 1, abs=2e-3
            )
            market = 1.0
            for n in range(1, bars + 1):
                day, before = (SESSIONS[m] - timedelta(minutes=30) for m in (n, n - 1))
                market *= sum(c[day] / c[before] for c in every.values()) / len(every)
            assert score.market == pytest.approx(market - 1, abs=2e-3)
    rose = sum(one.scores[7].move > 0 for one in scored if one.call.action == "buy")
    market_rose = sum(one.scores[7].market > 0 for one in scored if one.call.action == "buy")  # type: ignore[operator]
    fell = sum(one.scores[7].move < 0 for one in scored if one.call.action == "sell")
    text = world.text("Should I buy IBM?")
    assert f"Of the team's last 2 buys {rose} rose after 7 bars; the market rose in {market_rose}." in text
    assert f"Of the team's last sell {fell} fell after 7 bars" in text


def test_a_recommendation_that_is_blocked_is_not_the_teams(world: World) -> None:
    world.cycle(0)
    assert recommend(world, token="IBM", loss_today=lambda: 50.0).status == "blocked"
    assert world.log.calls(by=TEAM) == []


def test_advice_in_prose_is_kept_where_it_ends_with_its_call(world: World) -> None:
    world.cycle(0)
    parts: Any = {"khala": world.khala, "market": world.market, "settings": world.settings}
    said = "It is cheap.\n\n**Call: IBM buy**\n- Call: AAPL SELL.\nCall: IBM buy\nCall: NOSUCH buy\nNo call: MSFT buy."
    answer = deep_trader_manager(ScriptedModel([said]), **parts).run("What now?").content
    assert "**Call: IBM buy**" in str(answer)
    kept = {(one.call.symbol, one.call.action, one.call.status) for one in world.log.calls(by=TEAM)}
    assert kept == {("IBM", "buy", "held"), ("AAPL", "sell", "held")}
    assert all("confidence" not in one.call.facts for one in world.log.calls(by=TEAM))
    deep_trader_manager(ScriptedModel(["Buy MSFT now."]), **parts).run("What now?")
    assert len(world.log.calls(by=TEAM)) == 2, "other prose is not read"


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ("Call: AAPL — hold", "hold"),
        ("Call: buy Apple.", "buy"),
        ("> **Call:** $AAPL: SELL", "sell"),
        ("| Call: AAPL | buy |", "buy"),
        ("Call: AAPL (Apple Inc.) sell", "sell"),
        ("Call: do not buy AAPL", ""),
        ("Call: AAPL buy or hold", ""),
        ("Call: nobody", ""),
    ],
)
def test_a_line_with_a_call_is_read_as_models_write_it(world: World, line: str, action: str) -> None:
    world.cycle(0)
    parts: Any = {"khala": world.khala, "market": world.market, "settings": world.settings}
    deep_trader_manager(ScriptedModel([f"It is cheap.\n{line}"]), **parts).run("What now?")
    assert [(one.call.symbol, one.call.action) for one in world.log.calls(by=TEAM)] == [("AAPL", action)] * bool(action)


def test_what_a_member_recommends_to_its_team_is_not_the_teams(world: World) -> None:
    world.cycle(0)
    proposed = {"action": "buy", "entry": 1.0, "stop": 0.9, "target": 1.2, "position_percent": 1, "confidence": 0.6}
    member = ScriptedModel([json.dumps(proposed | {"token": "IBM"})])
    parts: Any = {"khala": world.khala, "market": world.market, "settings": world.settings}
    analyst = market_analyst(member, output_schema=TradeRecommendation, **parts)
    leader = ScriptedModel([tool_call("delegate_task_to_member", member_id="market-analyst", task="Is IBM?"), "Wait."])
    deep_trader_manager(leader, members=[analyst], gate="inject", **parts).run("What now?")
    assert member.calls == 1
    assert world.log.calls(by=TEAM) == []


def a_call(world: World, **fields: Any) -> Call:
    at = SESSIONS[0] - timedelta(minutes=30)
    body = {"call_id": "a", "by": TEAM, "symbol": "IBM", "action": "buy", "at": at, "price": 100.0, "bar_close": at}
    return Call.model_validate(body | {"close": 100.0} | fields)


def test_a_score_is_written_once(world: World) -> None:
    call = a_call(world)
    score = Score(bars=1, at=SESSIONS[1], move=0.1, market=0.0, scored_at=SESSIONS[1])
    world.log.keep([call])
    world.log.score([(call, score)])
    world.log.score([(call, score.model_copy(update={"move": -0.5}))])
    world.log.keep([call.model_copy(update={"price": 1.0})])
    [kept] = world.log.calls()
    assert kept == ScoredCall(call, {1: score})


def test_prices_before_a_split_are_put_on_the_scale_after_it(world: World) -> None:
    world.cycle(0)
    token = next(t for t in world.khala.symbols() if t.symbol == "IBM")
    store = BarStore(world.khala.journal)
    close = float(store.get(token, "1d").frame["close"].iloc[-1])  # type: ignore[union-attr]
    world.log.keep([a_call(world, price=10.1 * close, close=10 * close)])  # seen before a split of ten for one
    world.cycle(1)
    [one] = world.log.calls(by=TEAM)
    later = float(store.get(token, "1d").frame["close"].iloc[-1])  # type: ignore[union-attr]
    assert one.scores[1].move == pytest.approx(later / (1.01 * close) - 1, abs=2e-3)


def test_a_tally_counts_sells_the_other_way_and_takes_off_costs() -> None:
    def scored(number: int, action: str, move: float, market: float | None) -> ScoredCall:
        at = SESSIONS[0]
        call = Call.model_validate(
            {"call_id": str(number), "by": "breakout", "symbol": "IBM", "action": action, "at": at, "price": 1.0,
             "bar_close": at, "close": 1.0}
        )  # fmt: skip
        return ScoredCall(call, {7: Score(bars=7, at=at, move=move, market=market, scored_at=at)})

    calls = [scored(1, "buy", 0.1, 0.02), scored(2, "buy", -0.3, 0.02), scored(3, "sell", -0.2, None)]
    buys, sells = tallies([*calls, scored(4, "hold", 0.5, 0.1)], cost=0.01)
    assert (buys.scored, buys.right, buys.market_right, buys.market) == (2, 1, 2, pytest.approx(0.02))
    assert (buys.result, buys.holding) == (pytest.approx(-0.11), pytest.approx(-0.1))
    assert (sells.right, sells.result, sells.holding) == (1, pytest.approx(0.19), pytest.approx(-0.2))
    assert sells.market is None
    assert [t.name for t in tallies(calls, by="symbol")] == ["IBM", "IBM"]
    with pytest.raises(InvalidInput, match="not scored after 5 bars"):
        tallies(calls, bars=5)
