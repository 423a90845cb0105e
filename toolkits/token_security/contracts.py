"""Which contract is this token, and is this contract the token it is taken for? Nothing is guessed.

`data/contracts.json` maps CoinGecko ids to contracts by chain (the first chain is the one a symbol is checked on),
`data/native.json` names the coins that have none. A token in neither is looked up in CoinGecko's list of coins and
their contracts (`GET /api/v3/coins/list?include_platform=true`). That is about 3 MB for some 17 000 coins, so it is
read rarely: a copy younger than a week answers everything, and an older one still answers when CoinGecko does not.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from Crypto.Hash import keccak

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.coins import Coin, coin_for_id, coin_for_symbol, look_like_wrapped_or_stable, name_key, reviewed_coins
from ...core.errors import AmbiguousToken, InvalidInput, MalformedResponse, SourceError
from ...core.security import CheckState
from ...core.settings import Settings, load_settings
from ...core.text import clean_label, confusable_with, has_control_characters, quote_untrusted
from ...core.token import Contract
from .evidence import Answer, Labels, Sheet, Subject, text
from .http import HttpSource

REVIEWED = "reviewed list"

_EVM_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SOLANA_ADDRESS = re.compile(rf"[{_BASE58}]{{32,44}}")


class Chain(NamedTuple):
    """A row of `data/chains.csv`: `id` is GoPlus's, `platform` CoinGecko's; `aliases` is what people write."""

    id: str
    name: str
    family: str
    platform: str
    aliases: str


_DATA = files(__package__).joinpath("data")
CHAINS = [Chain(*line.split(",")) for line in _DATA.joinpath("chains.csv").read_text(encoding="utf-8").splitlines()[1:]]
CHAIN_OF_PLATFORM = {chain.platform: chain for chain in CHAINS}
_BY_NAME = {name.casefold(): chain for chain in CHAINS for name in (*chain[:2], chain.platform, *chain.aliases.split())}


def find_chain(name: str) -> Chain:
    """The chain behind an id or a name ("1", "eth", "Ethereum", "bsc", "solana").

    Raises:
        InvalidInput: no chain here goes by that name.
    """
    chain = _BY_NAME.get(name.strip().casefold())
    if chain is None:
        hint = f"Known: {', '.join(chain.aliases.split()[0] if chain.aliases else chain.platform for chain in CHAINS)}."
        raise InvalidInput(f"No chain is known as {quote_untrusted(name, limit=32)}.", hint=hint)
    return chain


def family_of(contract: Contract) -> str:
    """How a contract is checked: "evm", or "solana" for a mint. Raises as `find_chain` does."""
    return find_chain(contract.chain).family


def checked_contract(chain: str, address: str) -> Contract:
    """A contract with GoPlus's chain id and the address in one spelling (EVM lower case, Solana as given).

    Raises:
        InvalidInput: unknown chain, or an address that cannot exist on it (wrong form, wrong chain, failed checksum).
    """
    found, given = find_chain(chain), address.strip()
    problem = _solana_problem(given) if found.family == "solana" else _evm_problem(given)
    if problem:
        raise InvalidInput(
            f"{quote_untrusted(given, limit=80)} is no address on {found.name}: {problem}.",
            hint="Copy the address again and check which chain it belongs to.",
        )
    return Contract(chain=found.id, address=given.lower() if found.family == "evm" else given)


def eip55(address: str) -> str:
    """The mixed-case spelling of an EVM address that carries its own checksum (EIP-55)."""
    plain = address.lower().removeprefix("0x")
    digest = keccak.new(data=plain.encode(), digest_bits=256).hexdigest()
    return "0x" + "".join(c.upper() if int(d, 16) >= 8 else c for c, d in zip(plain, digest, strict=False))


def _solana_problem(address: str) -> str | None:
    if _EVM_ADDRESS.fullmatch(address):
        return "it has the form of an EVM address"
    value = 0
    for character in address if _SOLANA_ADDRESS.fullmatch(address) else "":
        value = value * 58 + _BASE58.index(character)
    zeros = len(address) - len(address.lstrip("1"))  # each leading 1 stands for a zero byte
    return None if zeros + (value.bit_length() + 7) // 8 == 32 else "a mint is 32 bytes in base58"


def _evm_problem(address: str) -> str | None:
    if not _EVM_ADDRESS.fullmatch(address):
        looks_solana = _SOLANA_ADDRESS.fullmatch(address) is not None
        return "it has the form of a Solana mint" if looks_solana else "an address is 0x and 40 hexadecimal digits"
    digits = address[2:]
    mixed = digits != digits.lower() and digits != digits.upper()
    return "its checksum is wrong (a digit is mistyped)" if mixed and eip55(address) != address else None


# -- the reviewed map -------------------------------------------------------------------------------------------------


class ContractBook:
    """The reviewed map, in both directions.

    Args:
        contracts: CoinGecko id -> chain -> address; the first chain is the main one.
        natives: CoinGecko id -> year its chain began.
    """

    def __init__(self, contracts: Mapping[str, Mapping[str, str]], natives: Mapping[str, int]) -> None:
        self._contracts = {
            coin_id: tuple(checked_contract(chain, address) for chain, address in by_chain.items())
            for coin_id, by_chain in contracts.items()
        }
        self._natives = dict(natives)
        self._coin_at = {
            (contract.chain, contract.address): coin_id
            for coin_id, contracts_of in self._contracts.items()
            for contract in contracts_of
        }

    @staticmethod
    @cache
    def shipped() -> ContractBook:
        """The map that comes with the package."""
        contracts, native = (
            json.loads(_DATA.joinpath(f"{name}.json").read_bytes()) for name in ("contracts", "native")
        )
        return ContractBook(contracts["contracts"], native["natives"])

    def contract_of(self, coin_id: str | None, chain: str | None = None) -> Contract | None:
        """The reviewed contract of a coin on a chain, or on its main chain; None when the map has none."""
        known = self._contracts.get(coin_id or "", ())
        return next((contract for contract in known if chain in (None, contract.chain)), None)

    def coin_at(self, contract: Contract) -> Coin | None:
        """The reviewed coin that lives at this contract."""
        coin_id = self._coin_at.get((contract.chain, contract.address))
        return coin_for_id(coin_id) if coin_id else None

    def native(self, coin_id: str | None) -> int | None:
        """The year in which a native coin's chain began; None when it has a contract or nobody reviewed it."""
        return self._natives.get(coin_id or "")


# -- CoinGecko's list ----------------------------------------------------------------------------------------------------

MAX_AGE = timedelta(days=7)


class ListedCoin(NamedTuple):
    """One coin of the list with its contracts on chains that can be checked; `native`: the list has none at all."""

    id: str
    symbol: str
    name: str
    contracts: list[Contract]
    native: bool


class PlatformList:
    """Symbol or CoinGecko id to contract, and back.

    Args:
        http: how to reach CoinGecko; made from the settings when not given.
        cache_dir: folder for the copy on disk; None keeps it in memory only.
    """

    def __init__(
        self,
        *,
        http: HttpSource | None = None,
        settings: Settings | None = None,
        cache_dir: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        url = (settings or load_settings()).coingecko_url
        self.http = http or HttpSource("CoinGecko", url, 10, self._clock, deadline=60.0, max_bytes=30_000_000)
        self._file = cache_dir / "coingecko-contracts.json" if cache_dir else None
        self._read_at: datetime | None = None
        self._coins: list[ListedCoin] = []

    async def find(self, *, coin_id: str | None = None, ticker: str | None = None) -> ListedCoin | None:
        """The coin with this id, or, when no id is given, the one coin with this ticker; None when the list has none.

        Raises:
            AmbiguousToken: several coins share the ticker, or it has contracts on several chains.
            SourceError: there is no copy, and CoinGecko does not deliver one.
        """
        symbol = (ticker or "").casefold()
        found = [c for c in await self._ready() if (c.id == coin_id if coin_id else c.symbol.casefold() == symbol)]
        named = [f"{clean_label(coin.name)} ({at.chain} {at.address})" for coin in found for at in coin.contracts]
        if len(found) > 1:
            shared = clean_label(ticker or "", limit=24)
            raise AmbiguousToken(f"{len(found)} coins share the ticker {shared}.", candidates=named)
        if len(named) > 1:
            raise AmbiguousToken(
                f"{clean_label(found[0].name)} has contracts on {len(named)} chains.", candidates=named
            )
        return found[0] if found else None

    async def coin_at(self, contract: Contract) -> ListedCoin | None:
        """The coin CoinGecko lists at this contract. Raises `SourceError` as `find` does."""
        return next((coin for coin in await self._ready() if contract in coin.contracts), None)

    async def _ready(self) -> list[ListedCoin]:
        now = self._clock.now()
        if self._read_at is None and self._file is not None:
            await asyncio.to_thread(self._load, self._file)
        if self._read_at is not None and timedelta() <= now - self._read_at < MAX_AGE:
            return self._coins
        try:
            listed = await self.http.fetch("/api/v3/coins/list", params={"include_platform": "true"}, inspect=_inspect)
        except SourceError:
            if self._read_at is None:
                raise
            return self._coins  # an old list still knows the contracts that were on it
        self._coins, self._read_at = _coins(listed), now
        if self._file is not None:
            copy = json.dumps({"read_at": now.isoformat(), "coins": listed})
            await asyncio.to_thread(write_whole, self._file, copy)
        return self._coins

    def _load(self, path: Path) -> None:
        """Take the copy on disk; a damaged one is none: it is asked for again and replaced."""
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            self._coins, self._read_at = _coins(saved["coins"]), ensure_utc(datetime.fromisoformat(saved["read_at"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            self._read_at = None


def _inspect(answer: Any) -> None:
    if not isinstance(answer, list):
        raise MalformedResponse("CoinGecko answered with something else than its list of coins.")


def _coins(listed: list[Any]) -> list[ListedCoin]:
    coins: list[ListedCoin] = []
    for row in map(Answer, listed):
        coin_id, symbol, name = (row.text(key) for key in ("id", "symbol", "name"))
        places = {platform: at for platform, address in row.part("platforms").items() if (at := text(address))}
        contracts = [found for platform, address in places.items() if (found := _contract(platform, address))]
        if coin_id and symbol and name:
            coins.append(ListedCoin(coin_id, symbol, name, contracts, native=not places))
    return coins


def _contract(platform: str, address: str) -> Contract | None:
    """None on a chain that cannot be checked, and for what is no address there: that entry vouches for nothing."""
    chain = CHAIN_OF_PLATFORM.get(platform)
    try:
        spelled = address.lower() if chain and chain.family == "evm" else address
        return checked_contract(chain.id, spelled) if chain else None
    except InvalidInput:
        return None


def write_whole(path: Path, content: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False, suffix=".tmp") as file:
        file.write(content)
    os.replace(file.name, path)


# -- identity ---------------------------------------------------------------------------------------------------------

_Finding = tuple[CheckState, str]
_WORSE = {"fail": 2, "unknown": 1, "pass": 0}


def identity(subject: Subject, contract: Contract, labels: Sequence[Labels], book: ContractBook, at: datetime) -> Sheet:
    """Is this contract the token it is taken for? By the reviewed list, whatever its own source claims.

    `look_alike` compares the names a contract gives itself, and the symbol it was asked for by, with every reviewed
    coin. It fails for the ticker of a coin whose contract on this chain is another one, for ticker and name of any
    other reviewed coin, for hidden characters and for homoglyphs; it is unknown when only ticker or name is shared, or
    no name is reported. `true_token` passes when the contract is the reviewed one or the one CoinGecko lists, and is
    otherwise left to the sources. `wrapped` fails for a claim on another asset.

    Args:
        labels: the names each source read from the contract.
        at: the time written on the checks (UTC).
    """
    sheet = Sheet(REVIEWED, at)
    coin, listed = book.coin_at(contract), subject.listed_as
    if coin is not None:
        sheet.put("true_token", "pass", f"the reviewed contract of {coin.name}", True)
    elif listed is not None:
        sheet.put("true_token", "pass", f"CoinGecko lists this contract as {quote_untrusted(listed)}", True)

    findings = [_asked_for(subject, contract, coin, book)]
    if coin is None:
        findings += [_named(label, contract, listed, book) for label in labels] or [("unknown", "no name is reported")]
    state, detail = max(findings, key=lambda finding: _WORSE[finding[0]])
    sheet.put("look_alike", state, detail, {"fail": True, "pass": False}.get(state))
    _put_wrapped(sheet, coin, labels)
    return sheet


def _asked_for(subject: Subject, contract: Contract, coin: Coin | None, book: ContractBook) -> _Finding:
    """Does the contract belong to the symbol it was asked for by?"""
    wanted = coin_for_id(subject.coin_id) if subject.coin_id else None
    wanted = wanted or (coin_for_symbol(subject.symbol) if subject.symbol else None)
    if wanted is None or (coin is not None and coin.id == wanted.id) or subject.listed_as == wanted.id:
        return "pass", ""
    asked = f"asked for as {wanted.ticker}, but"
    if coin is not None:
        return "fail", f"{asked} this is the contract of {coin.name} ({coin.ticker})"
    reviewed = book.contract_of(wanted.id, contract.chain)
    if reviewed is not None:
        return "fail", f"{asked} {wanted.ticker} on this chain is {reviewed.address}"
    if book.native(wanted.id):
        return "fail", f"{asked} {wanted.name} has a chain of its own and no contract"
    return "unknown", f"no reviewed contract of {wanted.name} on {find_chain(contract.chain).name} to compare with"


def _named(labels: Labels, contract: Contract, listed: str | None, book: ContractBook) -> _Finding:
    """Do the names the contract gives itself belong to somebody else?"""
    for given in labels:
        if given is not None and has_control_characters(given):
            return "fail", f"calls itself {quote_untrusted(given)}, with hidden characters"
    others = [coin for coin in reviewed_coins() if coin.id != listed]
    symbol, name = (labels[0] or "").strip(" $"), labels[1] or ""

    same_ticker = [coin for coin in others if coin.ticker.casefold() == symbol.casefold()]
    for coin in same_ticker if listed is None else ():
        if reviewed := book.contract_of(coin.id, contract.chain):
            return "fail", f"calls itself {coin.ticker}, but {coin.ticker} on this chain is {reviewed.address}"
        if coin.answers_to(name):
            return "fail", f"calls itself {coin.ticker} ({coin.name}), but is not its contract"
    for given, known in zip((symbol, name), _known_as(), strict=True):
        if imitated := given and confusable_with(given, known):
            return "fail", f"calls itself {quote_untrusted(given)}, which imitates {imitated}"
    for coin in same_ticker:
        return "unknown", f"shares the ticker {coin.ticker} with {coin.name}, and nothing tells whether it is"
    for coin in others:
        if name and name_key(coin.name) == name_key(name):
            return "unknown", f"shares its name with {coin.name} ({coin.ticker})"
    return ("unknown", "it does not report both a name and a ticker") if None in labels else ("pass", "")


def _put_wrapped(sheet: Sheet, coin: Coin | None, labels: Sequence[Labels]) -> None:
    if coin is not None:
        sheet.unless("wrapped", coin.category == "wrapped", f"{coin.name} is a claim on another asset")
        return
    names = [(name, symbol) for symbol, name in labels if symbol is not None and name is not None]
    claims = [name for name, symbol in names if (look_like_wrapped_or_stable(name, symbol) or ("",))[0] == "wrapped"]
    detail = f"{quote_untrusted(claims[0])} looks like a claim on another asset" if claims else ""
    sheet.unless("wrapped", bool(claims) if names else None, detail)


@cache
def _known_as() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tickers and names of every reviewed coin."""
    coins = reviewed_coins()
    names = (name for coin in coins for name in (coin.name, *coin.also_named))
    return tuple(dict.fromkeys(coin.ticker for coin in coins)), tuple(dict.fromkeys(names))
