"""What follows from the log of asks: how often each token is asked about, in which topics, and what is asked next."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...core.token import Token
from .asks import MARKET, Ask, AskLog
from .topics import TOPICS

PRIOR_PER_HOUR = 0.05
"""Asks per hour of a token before anything at all was asked: once in twenty hours."""
PRIOR_HOURS = 6.0
"""Hours of pretended observation behind it; larger values trust a single ask less."""
HALF_LIFE_HOURS = 24.0
TAU = HALF_LIFE_HOURS / math.log(2)
"""Hours in which the weight of an ask falls to 1/e."""
SHARE_PRIOR = 4.0
"""Asks' worth of belief that a token is asked the same topics as all the others."""
REMEMBERED = timedelta(hours=7 * HALF_LIFE_HOURS)
"""Older asks weigh less than a hundredth."""


@dataclass(frozen=True)
class Follow:
    """Of all asks that came after one of another topic in the same session: the share of this one."""

    topic: str
    same_token: bool
    share: float


class Demand:
    """Reads demand off the log. An ask fades with age; the newest weigh most."""

    def __init__(self, asks: AskLog) -> None:
        self._asks = asks
        self._kept: tuple[object, list[Ask]] = (None, [])

    def rates(self, tokens: Sequence[Token]) -> dict[str, float]:
        """Asks per hour about each token, by symbol, and about the market as a whole, under `MARKET`.

        The mean of a Gamma distribution: fading asks over fading hours of observation, shrunk towards the mean of the
        tokens of the same kind. What nobody asked about yet has a small rate, never zero.
        """
        hours = PRIOR_HOURS + self._hours()
        own = dict.fromkeys((MARKET, *(token.symbol for token in tokens)), 0.0)
        for (symbol, _topic), weight in self._weights().items():
            if symbol in own:
                own[symbol] += weight
        rates: dict[str, float] = {}
        for kind in {token.kind for token in tokens} | {MARKET}:
            pool = [token.symbol for token in tokens if token.kind == kind] or [MARKET]
            mean = (PRIOR_PER_HOUR * PRIOR_HOURS + sum(own[symbol] for symbol in pool) / len(pool)) / hours
            rates |= {symbol: (mean * PRIOR_HOURS + own[symbol]) / hours for symbol in pool}
        return rates

    def shares(self, symbols: Iterable[str], prior: Mapping[str, float]) -> dict[str, dict[str, float]]:
        """How the asks about each token (`MARKET` too) divide over topics, leaning on all tokens where it was asked
        little, and those on `prior` while little was asked at all. Those of the market lean on themselves alone."""
        overall = {topic: SHARE_PRIOR * share for topic, share in prior.items()}
        own: dict[str, dict[str, float]] = {symbol: {} for symbol in symbols}
        for (symbol, topic), weight in self._weights().items():
            if symbol != MARKET:
                overall[topic] = overall.get(topic, 0.0) + weight
            if symbol in own:
                own[symbol][topic] = weight
        total = sum(overall.values()) or 1.0
        found = {}
        for symbol, mine in own.items():
            lean = {} if symbol == MARKET else {topic: SHARE_PRIOR * w / total for topic, w in overall.items()}
            asked = sum(mine.values()) + SHARE_PRIOR
            found[symbol] = {topic: (mine.get(topic, 0.0) + lean.get(topic, 0.0)) / asked for topic in lean | mine}
        return found

    def follows(self) -> dict[str, list[Follow]]:
        """For each topic what is asked after it in the same session, most frequent first."""
        counts: dict[str, dict[tuple[str, bool], float]] = {}
        last: dict[str, Ask] = {}
        now = self._asks.clock.now()
        for ask in self._window():
            before = last.get(ask.session) if ask.session else None
            last[ask.session] = ask
            if before is not None:
                place = (ask.topic, bool(set(before.tokens) & set(ask.tokens)))
                row = counts.setdefault(before.topic, {})
                row[place] = row.get(place, 0.0) + _weight(ask, now)
        return {
            topic: [
                Follow(*place, weight / sum(row.values()))
                for place, weight in sorted(row.items(), key=lambda pair: -pair[1])
            ]
            for topic, row in counts.items()
        }

    def _window(self) -> list[Ask]:
        """Asks that still weigh something, oldest first; read anew only when there are others."""
        version = self._asks.version()
        if self._kept[0] != version:
            asks = self._asks.since(self._asks.clock.now() - REMEMBERED)
            self._kept = (version, [ask for ask in asks if ask.topic in TOPICS])  # some were topics once
        return self._kept[1]

    def _weights(self) -> dict[tuple[str, str], float]:
        now = self._asks.clock.now()
        weights: dict[tuple[str, str], float] = {}
        for ask in self._window():
            for pair in ask.pairs:
                weights[pair] = weights.get(pair, 0.0) + _weight(ask, now)
        return weights

    def _hours(self) -> float:
        """Fading hours of observation: grows to tau and stays there."""
        window = self._window()
        elapsed = (self._asks.clock.now() - window[0].at).total_seconds() / 3_600 if window else 0.0
        return TAU * (1 - math.exp(-max(0.0, elapsed) / TAU))


def _weight(ask: Ask, now: datetime) -> float:
    return math.exp(-max(0.0, (now - ask.at).total_seconds()) / 3_600 / TAU)
