"""How wrong may a share that was measured on few questions really be?"""

from __future__ import annotations

import math


def clopper_pearson_upper(events: int, trials: int, *, confidence: float = 0.95) -> float:
    """Upper end of the exact one-sided interval for a share: 0 of 60 gives 0.049. 1.0 without trials."""
    if trials == 0 or events >= trials:
        return 1.0
    ways = [math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in range(events + 1)]
    low, high = events / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        yes, no = math.log(middle), math.log1p(-middle) if middle < 1 else -math.inf
        at_most = math.fsum(math.exp(way + k * yes + (trials - k) * no) for k, way in enumerate(ways))
        low, high = (middle, high) if at_most > 1 - confidence else (low, middle)
    return high
