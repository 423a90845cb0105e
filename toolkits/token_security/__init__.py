"""Token security: is this token safe, and how do we know.

Providers, the verdict's written rule, the reviewed contracts, the cache and the policy. Names are imported on first
use, so that importing the package costs nothing.
"""

from __future__ import annotations

from ...core.lazy import on_first_use

__getattr__, __dir__ = on_first_use(
    __name__,
    {
        "cache": "CachedSecurity KhalaReports MemoryReports build_security",
        "checks": "CHECKS CHECK_IDS TITLES judge",
        "contracts": "ContractBook PlatformList checked_contract find_chain",
        "goplus": "GoPlus",
        "policy": "Decision checks_of may_recommend told verdict_line",
        "protocol": "CompositeSecurity SecurityProvider",
        "second_opinions": "HoneypotIs RugCheck",
        "simulated": "RecordedSecurity SimulatedSecurity",
        "toolkit": "TokenSecurityToolkit",
    },
)
__all__ = __dir__()  # pyright: ignore[reportUnsupportedDunderAll]
