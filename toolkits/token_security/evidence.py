"""What one source found about one token, before anybody judges it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ...core.coins import base_ticker, coin_for_id, coin_for_symbol
from ...core.errors import SourceError
from ...core.security import CheckState, SecurityCheck
from ...core.token import Contract, Token
from .checks import TITLES

BURN_ADDRESSES = frozenset(
    {
        "0x0000000000000000000000000000000000000000",
        "0x000000000000000000000000000000000000dead",
        "1nc1nerator11111111111111111111111111111111",
    }
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be checked: a token by its symbol, a contract, or both.

    `listed_as` is the CoinGecko id under which CoinGecko's own list has this very contract, if somebody looked.
    """

    symbol: str | None = None
    name: str = ""
    coin_id: str | None = None
    contract: Contract | None = None
    listed_as: str | None = None

    @classmethod
    def of(cls, token: Token, contract: Contract | None = None) -> Subject:
        """The subject of a token; `contract` is the one it resolves to."""
        coin = coin_for_id(token.coin_id) if token.coin_id else coin_for_symbol(token.symbol)
        coin_id = token.coin_id or (coin.id if coin else None)
        return cls(token.symbol, token.name or (coin.name if coin else ""), coin_id, contract or token.contract)

    @property
    def ticker(self) -> str | None:
        """What people write for it: `UNI` for `UNI7083-USD`."""
        return base_ticker(self.symbol) if self.symbol else None


@dataclass(frozen=True, slots=True)
class Labels:
    """Name and ticker as the contract itself gives them: foreign text, never to be trusted or shown as it is."""

    symbol: str | None
    name: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One source's answer. `problem` says why there is none; then every check it covers is unknown.

    `withdrawn` marks a source that does not know the token: it has no opinion, which is not the same as failing.
    """

    source: str
    checks: tuple[SecurityCheck, ...] = ()
    labels: Labels | None = None
    problem: SourceError | None = None
    withdrawn: bool = False


class Sheet:
    """Collects the checks of one source at one moment."""

    def __init__(self, source: str, at: datetime) -> None:
        self.source, self.at = source, at
        self._checks: dict[str, SecurityCheck] = {}

    @property
    def checks(self) -> tuple[SecurityCheck, ...]:
        return tuple(self._checks.values())

    def put(self, check_id: str, state: CheckState, detail: str = "", value: str | float | bool | None = None) -> None:
        """Write one answer down.

        Raises:
            KeyError: the id is not one of `checks.TITLES`.
        """
        if check_id not in TITLES:
            raise KeyError(check_id)
        self._checks[check_id] = SecurityCheck(
            id=check_id, state=state, value=value, detail=detail, source=self.source, checked_at=self.at
        )

    def unless(self, check_id: str, bad: bool | None, detail: str) -> None:
        """Fails when `bad` is True, passes when it is False, unknown when nobody said."""
        if bad is None:
            self.put(check_id, "unknown", "not reported")
        else:
            self.put(check_id, "fail" if bad else "pass", detail if bad else "", bad)

    def at_most(self, check_id: str, value: float | None, limit: float, what: str) -> None:
        """A share that must not exceed `limit` (both fractions); None is unknown."""
        if value is None:
            self.put(check_id, "unknown", "not reported")
        else:
            fails = value > limit
            self.put(check_id, "fail" if fails else "pass", f"{what} {value:.1%}", value)

    def at_least(self, check_id: str, value: float | None, floor: float, shown: str) -> None:
        """A quantity that must reach `floor`; None is unknown."""
        if value is None:
            self.put(check_id, "unknown", "not reported")
        else:
            self.put(check_id, "pass" if value >= floor else "fail", shown, value)


def unanswered(source: str, covers: Iterable[str], at: datetime, problem: SourceError) -> Evidence:
    """The evidence of a source that failed: everything it covers is unknown, with the reason."""
    sheet = Sheet(source, at)
    for check_id in covers:
        sheet.put(check_id, "unknown", f"{source}: {problem.message}")
    return Evidence(source, sheet.checks, problem=problem)
