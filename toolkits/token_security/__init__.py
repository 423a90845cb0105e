"""Token security: is this token safe, and how do we know.

Providers, the cache and the policy. Names are imported on first
use, so that importing the package costs nothing.
"""

from __future__ import annotations

from ...core.lazy import on_first_use

__getattr__, __dir__ = on_first_use(
    __name__,
    {
        "cache": "CachedSecurity build_security",
        "goplus": "GoPlus",
        "policy": "Decision may_recommend verdict_line",
        "protocol": "CompositeSecurity SecurityProvider",
        "second_opinions": "HoneypotIs RugCheck",
        "simulated": "SimulatedSecurity",
        "toolkit": "TokenSecurityToolkit",
    },
)
__all__ = __dir__()  # pyright: ignore[reportUnsupportedDunderAll]
