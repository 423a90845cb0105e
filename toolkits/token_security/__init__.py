"""Token security: is this token safe, and how do we know.

Providers, the verdict's written rule, the reviewed contracts, the cache and the policy. Names are imported on first
use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache import CachedSecurity, KhalaReports, MemoryReports, ReportStore
    from .chains import checked_contract, find_chain
    from .checks import CHECK_IDS, RULES, TITLES
    from .coingecko import PlatformList
    from .contracts import ContractBook
    from .equity import EquitySecurity
    from .factory import build_security
    from .goplus import GoPlus
    from .honeypot_is import HoneypotIs
    from .http import HttpSource
    from .merged import CompositeSecurity
    from .native import NativeSecurity
    from .policy import Decision, may_recommend
    from .protocol import SecurityProvider
    from .recorded import RecordedSecurity
    from .rugcheck import RugCheck
    from .simulated import SimulatedSecurity
    from .summary import summarise
    from .toolkit import TokenSecurityToolkit
    from .verdict import judge

_HOME = {
    "CHECK_IDS": "checks",
    "CachedSecurity": "cache",
    "CompositeSecurity": "merged",
    "ContractBook": "contracts",
    "Decision": "policy",
    "EquitySecurity": "equity",
    "GoPlus": "goplus",
    "HoneypotIs": "honeypot_is",
    "HttpSource": "http",
    "KhalaReports": "cache",
    "MemoryReports": "cache",
    "NativeSecurity": "native",
    "PlatformList": "coingecko",
    "RULES": "checks",
    "RecordedSecurity": "recorded",
    "ReportStore": "cache",
    "RugCheck": "rugcheck",
    "SecurityProvider": "protocol",
    "SimulatedSecurity": "simulated",
    "TITLES": "checks",
    "TokenSecurityToolkit": "toolkit",
    "build_security": "factory",
    "checked_contract": "chains",
    "find_chain": "chains",
    "judge": "verdict",
    "may_recommend": "policy",
    "summarise": "summary",
}

__all__ = [
    "CHECK_IDS",
    "RULES",
    "TITLES",
    "CachedSecurity",
    "CompositeSecurity",
    "ContractBook",
    "Decision",
    "EquitySecurity",
    "GoPlus",
    "HoneypotIs",
    "HttpSource",
    "KhalaReports",
    "MemoryReports",
    "NativeSecurity",
    "PlatformList",
    "RecordedSecurity",
    "ReportStore",
    "RugCheck",
    "SecurityProvider",
    "SimulatedSecurity",
    "TokenSecurityToolkit",
    "build_security",
    "checked_contract",
    "find_chain",
    "judge",
    "may_recommend",
    "summarise",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return __all__
