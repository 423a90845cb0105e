"""Token security: is this token safe, and how do we know.

Providers, the verdict's written rule, the reviewed contracts, the cache and the policy. Names are imported on first
use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "cache": ("CachedSecurity", "KhalaReports", "MemoryReports", "build_security"),
    "checks": ("CHECKS", "CHECK_IDS", "TITLES", "judge"),
    "contracts": ("ContractBook", "PlatformList", "checked_contract", "find_chain"),
    "goplus": ("GoPlus",),
    "http": ("HttpSource",),
    "policy": ("Decision", "checks_of", "may_recommend", "told", "verdict_line"),
    "protocol": ("CompositeSecurity", "SecurityProvider"),
    "second_opinions": ("HoneypotIs", "RugCheck"),
    "simulated": ("RecordedSecurity", "SimulatedSecurity"),
    "toolkit": ("TokenSecurityToolkit",),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOME.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return sorted(name for names in _HOME.values() for name in names)
