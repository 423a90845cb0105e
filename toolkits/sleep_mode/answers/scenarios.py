"""Questions about the market as a whole, answered each cycle: the best buy, what is oversold, what changed.

Each scenario is a condition and an order over all tokens that are fresh now. One that nothing meets says so and names
what is nearest. A scenario rests on the tokens it names, and lives no longer than a price sighting does: a token that
it does not name may come to belong to it as soon as prices move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ....core.settings import Settings
from ...khala.records import MarketAnalysis
from .cite import LABELS, Absent, Composer, when
from .material import Market, Material
from .templates import Draft, Template, allowed_by_security
from .verdicts import breaks_out

SHOWN = 5
Test = Callable[[MarketAnalysis, Settings], bool]


@dataclass(frozen=True)
class Scenario:
    """Which tokens belong to it, in what order, and how it is said.

    `order` is the figure they are ordered by, highest first unless `ascending`; `test` decides who belongs (None:
    everybody that has the figure). `nearest` is how the nearest outsiders are ordered when nobody belongs. Of a
    `buy` none is named, not even as the nearest, that the security rule forbids.
    """

    name: str
    wording: str
    found: str
    nothing: str
    order: str
    ascending: bool = False
    test: Test | None = None
    secure: bool = False
    buy: bool = False
    shown: tuple[str, ...] = ("rsi_14", "bb_percent_b_20_2", "return_7")
    standing: bool = True


def _buy(a: MarketAnalysis, s: Settings) -> bool:
    return a.signal.action == "buy" and allowed_by_security(a, s)[0]


def _sell(a: MarketAnalysis, s: Settings) -> bool:
    return a.signal.action == "sell"


def _oversold(a: MarketAnalysis, s: Settings) -> bool:
    rsi = a.value("rsi_14")
    return rsi is not None and rsi < s.rsi_oversold


def _overbought(a: MarketAnalysis, s: Settings) -> bool:
    rsi = a.value("rsi_14")
    return rsi is not None and rsi > s.rsi_overbought


def _clean(a: MarketAnalysis, s: Settings) -> bool:
    """Clean security: the check passed, or there is nothing to check (a coin of its own chain, an equity)."""
    if a.security is None:
        return a.token.kind == "equity"
    return a.security.verdict in ("safe", "not_applicable")


def _breaking(a: MarketAnalysis, s: Settings) -> bool:
    return breaks_out(a)


_MOVES = ("return_7", "return_30", "rsi_14")

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "best_buy",
        "What is the best buy among the large caps?",
        "The best buy by the rule",
        "No large cap meets the buy rule",
        "rsi_14",
        ascending=True,
        test=_buy,
        buy=True,
        shown=("rsi_14", "bb_percent_b_20_2", "atr_14", "return_7"),
    ),
    Scenario(
        "best_sell",
        "Which large caps should be sold?",
        "A sell by the rule",
        "No large cap meets the sell rule",
        "rsi_14",
        test=_sell,
    ),
    Scenario(
        "oversold",
        "Which tokens are oversold?",
        "Oversold",
        "No large cap is oversold",
        "rsi_14",
        ascending=True,
        test=_oversold,
    ),
    Scenario(
        "oversold_safe",
        "Which oversold tokens have clean security?",
        "Oversold with clean security",
        "No large cap is oversold with clean security",
        "rsi_14",
        ascending=True,
        test=_oversold,
        secure=True,
    ),
    Scenario(
        "overbought",
        "Which tokens are overbought?",
        "Overbought",
        "No large cap is overbought",
        "rsi_14",
        test=_overbought,
    ),
    Scenario(
        "breakout",
        "Which tokens are breaking out?",
        "Breaking out (a close above the upper band on volume above its mean)",
        "No large cap is breaking out",
        "bb_percent_b_20_2",
        test=_breaking,
        shown=("bb_percent_b_20_2", "volume_ratio_20", "rsi_14"),
    ),
    Scenario(
        "most_volatile",
        "Which token is most volatile?",
        "Most volatile",
        "No volatility is known",
        "volatility_30",
        shown=("volatility_30", "return_7"),
    ),
    Scenario(
        "least_volatile",
        "Which token is least volatile?",
        "Least volatile",
        "No volatility is known",
        "volatility_30",
        ascending=True,
        shown=("volatility_30", "return_7"),
        standing=False,
    ),
    Scenario(
        "gainers",
        "Which tokens gained most?",
        "Best over 7 bars",
        "No return is known",
        "return_7",
        shown=_MOVES,
        standing=False,
    ),
    Scenario(
        "losers",
        "Which tokens lost most?",
        "Worst over 7 bars",
        "No return is known",
        "return_7",
        ascending=True,
        shown=_MOVES,
        standing=False,
    ),
    Scenario("rsi", "Which token has the highest RSI?", "Highest RSI(14)", "No RSI is known", "rsi_14", standing=False),
    Scenario(
        "rsi.least",
        "Which token has the lowest RSI?",
        "Lowest RSI(14)",
        "No RSI is known",
        "rsi_14",
        ascending=True,
        standing=False,
    ),
    Scenario(
        "volume",
        "Which token has the most unusual volume?",
        "Highest volume against its mean",
        "No volume ratio is known",
        "volume_ratio_20",
        shown=("volume_ratio_20", "return_1"),
        standing=False,
    ),
    Scenario(
        "overbought_safe",
        "Which overbought tokens have clean security?",
        "Overbought with clean security",
        "No large cap is overbought with clean security",
        "rsi_14",
        test=_overbought,
        secure=True,
        standing=False,
    ),
)


def _answer(scenario: Scenario) -> Callable[[Material, Composer], Draft]:
    def answer(material: Material, c: Composer) -> Draft:
        return draft(scenario, material.market(), c)

    return answer


def draft(scenario: Scenario, market: Market, c: Composer, *, also: Test | None = None, label: str = "") -> Draft:
    """The scenario's answer over this market. `also` is a further condition (an RSI below 25), `label` names it."""
    known = [a for a in market.analyses() if a.value(scenario.order) is not None]
    sign = 1 if scenario.ascending else -1
    known.sort(key=lambda a: (sign * (a.value(scenario.order) or 0.0), a.token.symbol))
    tests = [t for t in (scenario.test, _clean if scenario.secure else None, also) if t is not None]
    members = [a for a in known if all(test(a, c.settings) for test in tests)]
    outside = [a for a in known if not scenario.buy or allowed_by_security(a, c.settings)[0]]
    named = members[:SHOWN] if members else outside[:1]
    of = c.count("considered", len(known), market.as_of, "fresh tokens that have the figure")
    at = f"as of {when(market.as_of)}, {of} tokens considered"
    extra = f" ({label})" if label else ""
    if members:
        more = len(members) - len(named)
        tail = f", and {c.count('more', more, market.as_of, 'further tokens that belong')} more" if more else ""
        direct = f"{scenario.found}{extra}: {', '.join(a.token.symbol for a in named)}{tail}; {at}."
    elif named:
        nearest = named[0]
        value = f"{LABELS[scenario.order]} {c.figure(nearest, scenario.order)}"
        direct = f"{scenario.nothing}{extra}; nearest is {nearest.token.symbol} with {value}; {at}."
    elif known:
        direct = f"{scenario.nothing}{extra}; none of them passes the security rule; {at}."
    else:
        direct = f"{scenario.nothing}{extra}; no token is fresh; {at}."
    lines = [_line(c, scenario, a) for a in named]
    if market.left_out:
        count = c.count("left_out", len(market.left_out), market.as_of, "tokens that are not fresh")
        lines.append(f"Left out because they are not fresh: {count}.")
    if scenario.order == "rsi_14":
        c.threshold("oversold", c.settings.rsi_oversold)
        c.threshold("overbought", c.settings.rsi_overbought)
    return Draft(direct, "\n".join(lines), rests_on=tuple(named))


def _line(c: Composer, scenario: Scenario, a: MarketAnalysis) -> str:
    names = dict.fromkeys((scenario.order, *scenario.shown))
    verdict = (
        a.security.verdict.replace("_", " ")
        if a.security
        else "no contract"
        if a.token.kind == "equity"
        else "not checked"
    )
    parts = [f"close {c.close(a)}", *(c.labelled(a, name) for name in names), f"signal {a.signal.action or 'none'}"]
    return f"{a.token.symbol}, bar closed {when(a.bar_close)}: {', '.join(parts)}, security {verdict}."


def lives_until(market: Market, named: tuple[MarketAnalysis, ...], settings: Settings) -> datetime:
    """When a scenario dies at the latest: with the price sightings it was chosen by, or the first bar that is due."""
    sightings = market.as_of + timedelta(minutes=settings.observation_max_age_minutes)
    grace = timedelta(minutes=settings.bar_grace_minutes)
    return min([sightings, *(a.next_bar_due + grace for a in named)])


def _changed(material: Material, c: Composer) -> Draft:
    raise Absent(
        "the market", "changes", "no cycle has compared it yet"
    )  # changes.py prepares it, with the cycle before


CHANGED = "scenario.changed"
TEMPLATES: tuple[Template, ...] = (
    *(Template(f"scenario.{s.name}", "scenario", s.wording, _answer(s), 0, standing=s.standing) for s in SCENARIOS),
    Template(CHANGED, "scenario", "What changed since the last cycle?", _changed, 0, standing=False),
)
BY_NAME: dict[str, Scenario] = {f"scenario.{s.name}": s for s in SCENARIOS}
