"""Tokens that test questions are about, something that finds them in a text, and the sets of paraphrases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

from deeptrader.core.token import Token
from deeptrader.toolkits.khala.names import Lexicon
from deeptrader.toolkits.sleep_mode.answers.catalogue import templates
from deeptrader.toolkits.sleep_mode.questions.understanding import answer_key

TOKENS: tuple[Token, ...] = (
    Token(symbol="BTC-USD", name="Bitcoin"),
    Token(symbol="ETH-USD", name="Ethereum"),
    Token(symbol="SOL-USD", name="Solana"),
    Token(symbol="XRP-USD", name="XRP"),
    Token(symbol="DOGE-USD", name="Dogecoin"),
    Token(symbol="LINK-USD", name="Chainlink"),
    Token(symbol="AAPL", name="Apple", kind="equity"),
    Token(symbol="MSFT", name="Microsoft", kind="equity"),
)
HELD_OUT = (
    "heldout",
    "heldout_2",
    "heldout_3",
    "heldout_4",
    "heldout_5",
    "heldout_6",
    "heldout_7",
    "heldout_8",
    "heldout_9",
)
UNSEEN = ("heldout_5", "heldout_6", "heldout_7", "heldout_8", "heldout_9")
"""Sets that were opened once, when everything that they measured stood. The last one was opened last."""
_FOLDER = Path(__file__).resolve().parents[1] / "sleep_mode" / "data"


class KnownNames:
    """Resolves names as Khala does, from a fixed set of tokens."""

    def __init__(self, tokens: tuple[Token, ...] = TOKENS) -> None:
        self._lexicon = Lexicon(tokens)

    def resolve(self, text: str) -> tuple[Token, ...]:
        return self._lexicon.find(text)


@cache
def paraphrases(name: str) -> dict[str, Any]:
    """One of the sets: `tuning`, or one of `HELD_OUT`."""
    return json.loads((_FOLDER / f"paraphrases_{name}.json").read_text(encoding="utf-8"))


def rows(name: str) -> Iterator[tuple[str, str, str | None]]:
    """Part, text and right key of every question of a set."""
    for part, listed in paraphrases(name).items():
        if part not in ("note", "at_first_sight", "now"):
            for row in listed:
                yield part, row["text"], row["key"]


@cache
def everything_prepared() -> frozenset[str]:
    """Keys of every standing answer about the test tokens, on daily bars: the largest shelf a question can meet."""
    keys = set()
    for template in templates().values():
        if not template.standing and template.kind != "scenario":
            continue
        for group in combinations((token.symbol for token in TOKENS), template.tokens):
            keys.add(answer_key(template.name, group))
    return frozenset(keys - {"scenario.least_volatile"})
