"""Statements about rules: what they say of a token, how often such calls were right before, and the team's own record.

Importing this adds them to the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal

from ...core.formats import percent_text
from ...core.settings import Settings
from ..khala.records import Recall
from ..market_data.evidence import HORIZONS, Outcome, RuleEvidence, TokenEvidence, share_text
from .calls import TEAM, CallLog, Tally
from .catalogue import Leaning, Said, Statement, View, statement
from .screens import MOST, SHOWN, Screen, ScreenResult, run_screen

Side = Literal["buy", "sell"]
SIDES: tuple[Side, Side] = ("buy", "sell")
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


def _fired(symbol: str, rule: RuleEvidence, action: Side, year: int) -> Said:
    told, best = rule.outcome(action), rule.telling(action)
    strength = best.strength if best is not None else "too few to tell"
    text, facts = f"{rule.label.capitalize()} calls {symbol} a {action} at this bar", {}
    if told is None or not told.calls:
        text += f", its first one on it since {year}"
    else:
        text, facts = f"{text}; {_came(told, action, f'its {{}} on it since {year}')}", _counts(rule, told, action)
    if best is not None and best is not told:
        text += f", too few to tell; {_came(best, action, '{} on all tokens in memory')}"
        facts |= {f"{rule.rule}_{action}s_market": float(best.calls)}
    return Said(f"{text}: {strength}.", (), _LEANING[action], _WEIGHT[strength], facts)


def _counts(rule: RuleEvidence, told: Outcome, action: Side) -> dict[str, float]:
    return {f"{rule.rule}_{action}s": float(told.calls), f"{rule.rule}_{action}s_right": float(told.right)}


def _came(told: Outcome, action: str, whose: str, verb: str = "of") -> str:
    """`of its 14 buys on it since 2000, 9 rose after 7 bars (64 %, base rate 55 %, interval 39 to 84)`."""
    low, high = (f"{100 * side:.0f}" for side in told.interval)
    median = f"; median {percent_text(told.median, signed=True)} after costs" if told.median is not None else ""
    share, base = (percent_text(one or 0.0, whole=True) for one in (told.share, told.base))
    shares = f"{share}, base rate {base}, interval {low} to {high}{median}"
    calls = whose.format(count_text(told.calls, action))
    return f"{verb} {calls}, {told.right} {CAME[action]} after {told.bars} bars ({shares})"


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


@statement("past_calls")
def _past_calls(v: View) -> Sequence[Said]:
    """One for each rule that called before: how its calls turned out, the one that stands now first."""
    found, made = v.evidence, []
    for rule in found.rules if found is not None else ():
        told: list[str] = []
        facts: dict[str, float] = {}
        for side in sorted(SIDES, key=lambda side: side != rule.stance):
            past, fired = rule.outcome(side), found is not None and rule.since == found.bar_close
            if past is not None and past.calls and not (fired and side == rule.stance):  # that one is told as it fires
                told.append(f"{_came(past, side, '{}', 'gave')}: {past.strength}")
                facts |= _counts(rule, past, side)
        if told and found is not None:
            text = f"{rule.label.capitalize()} on {v.symbol} since {found.first_bar.year} {'; it '.join(told)}."
            made.append(Said(text, (), "neutral", 0.25 if rule.stance in SIDES else 0.2, facts))
    return made


@statement("record")
def _record(v: View) -> Said | None:
    """How the team's own last calls did."""
    text = record_text(v.record)
    facts = {f"team_{t.action}s_right": float(t.right) for t in v.record if t.scored}
    return Said(text, (), "neutral", 0.45, facts) if text else None


def record_text(record: Iterable[Tally]) -> str:
    """`Of the team's last 20 buys 11 rose after 7 bars; the market rose in 12.`; empty where nothing was scored."""
    return " ".join(_told(tally) for tally in record if tally.scored)


def _told(tally: Tally) -> str:
    came = CAME[tally.action]
    last = f"last {count_text(tally.scored, tally.action)}" if tally.scored > 1 else f"last {tally.action}"
    return (
        f"Of the team's {last} {tally.right} {came} after {tally.bars} bars; the market {came} in {tally.market_right}."
    )


EVIDENCE_HEADS = ("Rule", "Call", *(f"After {bars}" for bars in HORIZONS), "Share", "Base rate", "Result")


def evidence_rows(evidence: TokenEvidence) -> list[tuple[str, ...]]:
    """What followed the calls of each rule on a token, under `EVIDENCE_HEADS`, for people: how many were right after so
    many bars of how many; then, after `TOLD_AFTER` of them, the share with its interval, the base rate, and the median
    and middle half of the results."""
    rows = []
    for rule in evidence.rules:
        for action in SIDES:
            told = rule.outcome(action)
            if told is None or not told.calls:
                continue
            right = [f"{one.right} of {one.calls}" if one.calls else "–" for one in rule.outcomes[action]]
            base = percent_text(told.base, whole=True) if told.base is not None else "–"
            median, low, high = (percent_text(part or 0.0, signed=True) for part in (told.median, told.low, told.high))
            share = share_text(told.right, told.calls).replace(" to ", "–")
            rows.append((rule.label, action, *right, share, base, f"{median} ({low} to {high})"))
    return rows


# -- all tokens together ------------------------------------------------------------------------------------------


def rules_call(
    log: CallLog, recalls: Sequence[Recall], action: Side, settings: Settings, now: datetime
) -> tuple[ScreenResult, Statement]:
    """The fresh tokens of which a rule makes this call at the bar of their analysis, the best evidence first, and the
    sentence that names them. Tokens to be bought have to pass the security settings.

    Raises:
        StoreError: memory cannot be read.
    """
    bars = {recall.symbol: recall.analysis.bar_close for recall in recalls if recall.analysis is not None}
    best: dict[str, RuleEvidence] = {}
    for one in log.calls(action=action, since=min(bars.values())) if bars else ():
        call = one.call
        found = log.evidence(call.symbol) if call.by != TEAM and bars.get(call.symbol) == call.at else None
        for rule in found.rules if found is not None else ():
            before = best.get(call.symbol)
            if rule.rule == call.by and (before is None or rule.edge(action) > before.edge(action)):
                best[call.symbol] = rule
    order, verdict = ("lowest", "passes") if action == "buy" else ("highest", None)
    screen = Screen("rsi_14", order, verdict=verdict, limit=MOST)
    result = run_screen(screen, [recall for recall in recalls if recall.symbol in best], settings, now)
    ranked = sorted(result.rows, key=lambda a: -best[a.token.symbol].edge(action))
    passes = " that passes the security check" * (verdict is not None)
    text = f"No rule began to call a {action} at the last bar of a fresh token{passes}."
    if ranked:
        named = []
        for symbol in (a.token.symbol for a in ranked[:SHOWN]):
            told = best[symbol].telling(action)
            named.append(f"{symbol} ({best[symbol].label}: {told.strength if told else 'too few to tell'})")
        named += [f"{len(ranked) - SHOWN} more"] if len(ranked) > SHOWN else []
        text = f"Rules call a {action} at the last bar, the best evidence first: {', '.join(named)}."
    return replace(result, rows=tuple(ranked)), Statement("called", "", text, {}, _LEANING[action], 1.0, now)
