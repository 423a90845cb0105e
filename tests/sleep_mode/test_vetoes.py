"""A word or two that make it another question, however sure both readers are."""

from __future__ import annotations

import pytest
from doubles.asking import KnownNames, everything_prepared

from deeptrader.toolkits.sleep_mode.questions.understanding import understand
from deeptrader.toolkits.sleep_mode.questions.vetoes import (
    ALERT,
    BACKWARDS,
    COMMON_WORD,
    DISTANCE,
    ENDED,
    EXPLAINED,
    NEGATED,
    OTHER_SENSE,
    OTHER_WAY,
    OWN,
    PLACE,
    SETTING,
    SEVERAL,
    TIME,
    TOO_LATE,
    UNSAFE,
    veto,
)

KHALA = KnownNames()


@pytest.mark.parametrize(
    ("text", "template", "why"),
    [
        ("what did NOT change with ETH since yesterday", "change.day", NEGATED),
        ("which should I never let go of, eth or sol", "comparison.sell", NEGATED),
        ("list names that aren't breaking out", "scenario.breakout", NEGATED),
        ("is no coin oversold", "scenario.oversold", NEGATED),
        ("oversold but not safe", "scenario.oversold_safe", UNSAFE),
        ("overbought scams, list", "scenario.overbought_safe", UNSAFE),
        ("overbought ones that did not pass the check", "scenario.overbought_safe", UNSAFE),
        ("oversold coins that flunk security", "scenario.oversold_safe", UNSAFE),
        ("doge macd 5,35,5", "state.macd", SETTING),
        ("eth bollinger 50, 3", "state.bands", SETTING),
        ("the seven day RSI for ethereum", "state.rsi", SETTING),
        ("aapl overbought by tmrw?", "state.overbought", TIME),
        ("btc price on jan 1st", "state.price", TIME),
        ("is sol a buy by friday", "entry", TIME),
        ("how much did Microsoft move in the past two hours", "change.day", TIME),
        ("gainers since 2021", "scenario.gainers", TIME),
        ("ping me when link breaks out", "state.breakout", ALERT),
        ("let me know as soon as doge is oversold", "state.oversold", ALERT),
        ("what MACD stands for", "state.macd", EXPLAINED),
        ("how is the ranking of link determined", "ranking", EXPLAINED),
        ("my avg entry in apple", "entry", OWN),
        ("what's my biggest loser", "scenario.losers", OWN),
        ("whats the 2nd best buy rn", "scenario.best_buy", PLACE),
        ("What is Chainlink?", "state.price", EXPLAINED),
        ("what's a bitcoin", "state", EXPLAINED),
        ("is doge far from overbought", "state.overbought", DISTANCE),
        ("how far off a breakout is sol", "state.breakout", DISTANCE),
        ("Should we enter ETH and SOL?", "comparison.buy", SEVERAL),
        ("link to the documentation please", "state", COMMON_WORD),
        ("has IBM fallen too far too fast", "state.overbought", OTHER_WAY),
        ("has bitcoin sunk too far", "state.overbought", OTHER_WAY),
        ("did ether run up too quickly", "state.oversold", OTHER_WAY),
        ("is it too late to sell apple", "exit", TOO_LATE),
        ("have i missed the sell on apple", "exit", TOO_LATE),
        ("too early to get into sol?", "entry", TOO_LATE),
        ("is now a bad time to buy btc", "entry", BACKWARDS),
        ("would it be stupid to sell apple now", "exit", BACKWARDS),
        ("is it unwise to hold doge", "exit.hold", BACKWARDS),
        ("can i afford to buy bitcoin", "entry", BACKWARDS),
        ("is the downtrend in eth over", "state.downtrend", ENDED),
        ("has apple's uptrend run its course", "state.uptrend", ENDED),
        ("is xrp a security", "safety", OTHER_SENSE),
        ("is chainlink audited", "safety", OTHER_SENSE),
    ],
)
def test_what_no_prepared_answer_says_is_told(text: str, template: str, why: str) -> None:
    assert veto(text, template) == why


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("I'm not sure, is btc oversold", "state.oversold"),
        ("xrp oversold or not", "state.oversold"),
        ("bitcoin has become overbought, hasn't it?", "state.overbought"),
        ("is doge oversold, yes/no", "state.oversold"),
        ("I can't tell DOGE and XRP apart, compare them", "comparison"),
        ("make sure Dogecoin isn't a scam", "safety"),
        ("which coins hardly swing, nothing wild", "scenario.least_volatile"),
        ("oversold but no scams please", "scenario.oversold_safe"),
        ("oversold coins that aren't honeypots", "scenario.oversold_safe"),
        ("overbought and past the honeypot test, so safe", "scenario.overbought_safe"),
        ("RSI(14) of btc", "state.rsi"),
        ("MACD 12, 26, 9 of apple", "state.macd"),
        ("bollinger(20, 2.0) for eth", "state.bands"),
        ("where is sol against its 200 EMA", "state.ema"),
        ("what has doge done over the last 24 hours", "change.day"),
        ("how far is eth from its 52-week high", "state.high_52w"),
        ("did it look like this in march, and what followed", "history"),
        ("my boss asks whether link is a buy", "entry"),
        ("what's oversold", "scenario.oversold"),
        ("what is bitcoin at", "state.price"),
        ("how far is the lower band of eth", "state.bands"),
        ("sol or link for a buy?", "comparison.buy"),
        ("link: to buy or not to buy", "entry"),
    ],
)
def test_a_courtesy_is_none_of_that(text: str, template: str) -> None:
    assert veto(text, template) is None


@pytest.mark.parametrize(
    "text",
    [
        "Which coins are oversold but not safe?",
        "tell me the moment link breaks out",
        "is solana a good buy by friday",
        "what did not change with eth since yesterday",
    ],
)
def test_a_veto_keeps_a_near_answer_from_being_served(text: str) -> None:
    question = understand(text, KHALA)
    assert question.key not in everything_prepared()
    assert question.obstacles
