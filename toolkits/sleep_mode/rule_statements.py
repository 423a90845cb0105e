"""Statements about rules: what they say of a token, how often such calls were right before, and the team's own record.

Importing this adds them to the catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ...core.formats import percent_text
from ..market_data.evidence import Outcome, RuleEvidence
from .calls import Tally
from .catalogue import Leaning, Said, View, statement

_LEANING: dict[str, Leaning] = {"buy": "bullish", "sell": "bearish", "hold": "neutral"}
CAME = {"buy": "rose", "sell": "fell"}
"""How the price goes when a call is right."""
_WEIGHT: dict[str, float] = {
    "evidence for it": 0.85,
    "weak evidence": 0.65,
    "too few to tell": 0.5,
    "evidence against it": 0.65,
}


@statement("evidence")
def _evidence(v: View) -> Sequence[Said]:
    """One for each rule that made its call at this bar."""
    found = v.evidence
    if found is None:
        return ()
    return [
        _fired(v.symbol, rule, rule.stance, found.first_bar.year)
        for rule in found.rules
        if rule.since == found.bar_close and (rule.stance == "buy" or rule.stance == "sell")
    ]


def _fired(symbol: str, rule: RuleEvidence, action: Literal["buy", "sell"], year: int) -> Said:
    told, market = rule.outcome(action), rule.market.get(action)
    calls = f"{rule.label.capitalize()} calls {symbol} a {action} at this bar"
    if told is None or not told.calls:
        text, strength = f"{calls}, its first one on it since {year}", "too few to tell"
    else:
        strength = told.strength
        text = f"{calls}; {_came(told, action, f'its {{}} on it since {year}')}"
    facts = (
        {f"{rule.rule}_{action}s": float(told.calls), f"{rule.rule}_{action}s_right": float(told.right)} if told else {}
    )
    if strength == "too few to tell" and market is not None and market.strength != strength:
        strength = market.strength
        text += f", too few to tell; {_came(market, action, '{} on all tokens in memory')}"
        facts |= {f"{rule.rule}_{action}s_market": float(market.calls)}
    return Said(f"{text}: {strength}.", (), _LEANING[action], _WEIGHT[strength], facts)


def _came(told: Outcome, action: str, whose: str) -> str:
    """`of its 14 buys on it since 2000, 9 rose after 7 bars (64 %, base rate 55 %, interval 39 to 84)`."""
    low, high = (f"{100 * side:.0f}" for side in told.interval)
    median = f"; median {percent_text(told.median, signed=True)} after costs" if told.median is not None else ""
    share, base = (percent_text(one or 0.0, whole=True) for one in (told.share, told.base))
    shares = f"{share}, base rate {base}, interval {low} to {high}{median}"
    calls = whose.format(count_text(told.calls, action))
    return f"of {calls}, {told.right} {CAME[action]} after {told.bars} bars ({shares})"


def count_text(number: int, action: str) -> str:
    """`14 buys`, `1 buy`."""
    return f"{number} {action}{'' if number == 1 else 's'}"


@statement("stances")
def _stances(v: View) -> Said | None:
    """What every rule says, and whether they agree."""
    if v.evidence is None:
        return None
    said = {
        action: [rule.label for rule in v.evidence.rules if rule.stance == action] for action in ("buy", "sell", "hold")
    }
    parts = [
        f"{', '.join(rules)} {'say' if len(rules) > 1 else 'says'} {action}" for action, rules in said.items() if rules
    ]
    if not parts:
        return None
    buys, sells = len(said["buy"]), len(said["sell"])
    disagree = "; they disagree" if buys and sells else ""
    leaning: Leaning = "neutral" if buys == sells else "bullish" if buys > sells else "bearish"
    facts = {"rules_buy": float(buys), "rules_sell": float(sells)}
    return Said(f"Rules on {v.symbol}: {'; '.join(parts)}{disagree}.", (), leaning, 0.35, facts)


@statement("record")
def _record(v: View) -> Said | None:
    """How the team's own last calls did."""
    told = [_told(tally) for tally in v.record if tally.scored]
    facts = {f"team_{t.action}s_right": float(t.right) for t in v.record if t.scored}
    return Said(" ".join(told), (), "neutral", 0.45, facts) if told else None


def _told(tally: Tally) -> str:
    came = CAME[tally.action]
    last = f"last {count_text(tally.scored, tally.action)}" if tally.scored > 1 else f"last {tally.action}"
    return (
        f"Of the team's {last} {tally.right} {came} after {tally.bars} bars; the market {came} in {tally.market_right}."
    )
