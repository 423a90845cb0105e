"""What a fresh answer about a token is worth, from what its kinds of question take without sleep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ....core.token import Token
from ..ledger.ledger import Ledger
from .demand import DemandLog


def measured_worth(demand: DemandLog, ledger: Ledger) -> Callable[[Sequence[Token]], Mapping[str, float]]:
    """Worth of each token by symbol, 1 being the average: model tokens that its usual questions take from scratch.

    Kinds of question that were not measured count as average, so before any measurement every token is worth 1.
    """

    def worth(tokens: Sequence[Token]) -> Mapping[str, float]:
        rates = demand.kind_rates()
        taken = {kind: found.tokens for kind in rates if (found := ledger.scratch(kind)) is not None}
        asked = sum(rates[kind] for kind in taken)
        mean = sum(rates[kind] * tokens_taken for kind, tokens_taken in taken.items()) / asked if asked else 0.0
        if not mean:
            return dict.fromkeys((token.symbol for token in tokens), 1.0)
        shares = demand.kind_shares([token.symbol for token in tokens])
        return {
            symbol: sum(share * taken.get(kind, mean) / mean for kind, share in kinds.items()) or 1.0
            for symbol, kinds in shares.items()
        }

    return worth
