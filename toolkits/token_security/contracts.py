"""Which contract is this token, and is this contract the token it is taken for? Nothing is guessed.

`data/contracts.json` maps CoinGecko ids to contracts by chain (the first chain is the one a symbol is checked on),
`data/native.json` names the coins that have none. A token in neither is looked up in CoinGecko's list of coins and
their contracts (`GET /api/v3/coins/list?include_platform=true`). That is about 3 MB for some 17 000 coins, so it is
read rarely: a copy younger than a week answers everything, and an older one still answers when CoinGecko does not.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.coins import Coin, coin_for_id, coin_for_symbol, look_like_wrapped_or_stable, name_key, reviewed_coins
from ...core.errors import AmbiguousToken, InvalidInput, MalformedResponse, SourceError
from ...core.files import write_whole
from ...core.http import HttpSource
from ...core.security import CheckState
from ...core.settings import Settings, load_settings
from ...core.text import clean_label, confusable_with, has_control_characters, quote_untrusted
from ...core.token import Contract
from .evidence import Answer, Labels, Sheet, Subject, text

REVIEWED = "reviewed list"

_EVM_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SOLANA_ADDRESS = re.compile(rf"[{_BASE58}]{{32,44}}")


class Chain(NamedTuple):
    """A row of `data/chains.csv`: `id` is GoPlus's, `platform` CoinGecko's; `aliases` is what people write."""

    id: str
    name: str
    family: Any  # "evm" or "solana"
    platform: str
    aliases: str


_DATA = files(__package__).joinpath("data")
CHAINS = [Chain(*line.split(",")) for line in _DATA.joinpath("chains.csv").read_text(encoding="utf-8").splitlines()[1:]]
_BY_NAME = {name.casefold(): chain for chain in CHAINS for name in (*chain[:2], chain.platform, *chain.aliases.split())}


def find_chain(name: str) -> Chain:
    """The chain behind an id or a name ("1", "eth", "Ethereum", "bsc", "solana"); an unknown one is `InvalidInput`."""
    chain = _BY_NAME.get(name.strip().casefold())
    if chain is None:
        hint = f"Known: {', '.join(chain.aliases.split()[0] if chain.aliases else chain.platform for chain in CHAINS)}."
        raise InvalidInput(f"No chain is known as {quote_untrusted(name, limit=32)}.", hint=hint)
    return chain


def checked_contract(chain: str, address: str) -> Contract:
    """A contract with GoPlus's chain id and the address in one spelling (EVM lower case, Solana as given).

    Raises:
        InvalidInput: unknown chain, or an address that cannot exist on it (wrong form, wrong chain, failed checksum).
    """
    found, given = find_chain(chain), address.strip()
    evm, mint = _EVM_ADDRESS.fullmatch(given), _SOLANA_ADDRESS.fullmatch(given)
    if found.family == "solana":
        wrong = "it has the form of an EVM address" if evm else "a mint is 32 bytes in base58"
        problem = None if mint and _base58_length(given) == 32 else wrong
    elif not evm:
        problem = "it has the form of a Solana mint" if mint else "an address is 0x and 40 hexadecimal digits"
    else:
        mixed = given[2:] not in (given[2:].lower(), given[2:].upper())
        problem = "its checksum is wrong (a digit is mistyped)" if mixed and eip55(given) != given else None
    if problem:
        message = f"{quote_untrusted(given, limit=80)} is no address on {found.name}: {problem}."
        raise InvalidInput(message, hint="Copy the address again and check which chain it belongs to.")
    return Contract(chain=found.id, address=given.lower() if evm else given)


def eip55(address: str) -> str:
    """The mixed-case spelling of an EVM address that carries its own checksum (EIP-55)."""
    from Crypto.Hash import keccak  # heavy: it loads a parser of C

    digest = keccak.new(data=address[2:].lower().encode(), digest_bits=256).hexdigest()
    spelled = (c.upper() if int(d, 16) >= 8 else c for c, d in zip(address[2:].lower(), digest, strict=False))
    return "0x" + "".join(spelled)


def _base58_length(text: str) -> int:
    value, zeros = 0, len(text) - len(text.lstrip("1"))  # each leading 1 stands for a zero byte
    for character in text:
        value = value * 58 + _BASE58.index(character)
    return zeros + (value.bit_length() + 7) // 8


def lists_of() -> dict[str, str]:
    """When the reviewed contracts and the coins with chains of their own were last looked at, by list."""
    files_ = {"contracts": "contracts.json", "native coins": "native.json"}
    return {name: json.loads(_DATA.joinpath(file).read_bytes())["reviewed"] for name, file in files_.items()}


class ContractBook:
    """The reviewed map, in both directions.

    Args:
        contracts: CoinGecko id -> chain -> address; the first chain is the main one.
        natives: CoinGecko id -> year its chain began.
    """

    def __init__(self, contracts: Mapping[str, Mapping[str, str]], natives: Mapping[str, int]) -> None:
        self._contracts = {
            coin_id: [checked_contract(*place) for place in places.items()] for coin_id, places in contracts.items()
        }
        self._natives = natives
        self._coin_at = {(c.chain, c.address): coin_id for coin_id, found in self._contracts.items() for c in found}

    @staticmethod
    @cache
    def shipped() -> ContractBook:
        """The map that comes with the package."""
        contracts = json.loads(_DATA.joinpath("contracts.json").read_bytes())["contracts"]
        return ContractBook(contracts, json.loads(_DATA.joinpath("native.json").read_bytes())["natives"])

    def contract_of(self, coin_id: str | None, chain: str | None = None) -> Contract | None:
        """The reviewed contract of a coin on a chain, or on its main chain; None when the map has none."""
        known = self._contracts.get(coin_id or "", ())
        return next((contract for contract in known if chain in (None, contract.chain)), None)

    def coin_at(self, contract: Contract) -> Coin | None:
        """The reviewed coin that lives at this contract."""
        return coin_for_id(self._coin_at.get((contract.chain, contract.address), ""))

    def native(self, coin_id: str | None) -> int | None:
        """The year in which a native coin's chain began; None when it has a contract or nobody reviewed it."""
        return self._natives.get(coin_id or "")


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
        shared = f"{len(found)} coins share the ticker {clean_label(ticker or '', limit=24)}."
        if len(named) > 1 or len(found) > 1:
            spread = f"{clean_label(found[0].name)} has contracts on {len(named)} chains."
            raise AmbiguousToken(shared if len(found) > 1 else spread, candidates=named)
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
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            saved = json.loads(path.read_text(encoding="utf-8"))
            self._coins, self._read_at = _coins(saved["coins"]), ensure_utc(datetime.fromisoformat(saved["read_at"]))


def _inspect(answer: Any) -> None:
    if not isinstance(answer, list):
        raise MalformedResponse("CoinGecko answered with something else than its list of coins.")


def _coins(listed: list[Any]) -> list[ListedCoin]:
    coins: list[ListedCoin] = []
    for row in map(Answer, listed):
        places = {platform: at for platform, address in row.part("platforms").items() if (at := text(address))}
        contracts: list[Contract] = []
        for platform, address in places.items():
            with suppress(InvalidInput):  # a chain that cannot be checked, or no address there: it vouches for nothing
                contracts.append(checked_contract(platform, address.lower() if address[:2] == "0x" else address))
        coin_id, symbol, name = (row.text(key) for key in ("id", "symbol", "name"))
        if coin_id and symbol and name:
            coins.append(ListedCoin(coin_id, symbol, name, contracts, not places))
    return coins


_Finding = tuple[CheckState, str]


def identity(subject: Subject, contract: Contract, labels: Sequence[Labels], book: ContractBook, at: datetime) -> Sheet:
    """Is this contract the token it is taken for? By the reviewed list, whatever its own source claims.

    `look_alike` compares the names a contract gives itself (`labels`, one pair for each source), and the symbol it was
    asked for by, with every reviewed coin. It fails for the ticker of a coin whose contract on this chain is another
    one, for ticker and name of any other reviewed coin, for hidden characters and for homoglyphs; it is unknown when
    only ticker or name is shared, or no name is reported. `true_token` passes when the contract is the reviewed one or
    the one CoinGecko lists, and is otherwise left to the sources. `wrapped` fails for a claim on another asset.
    """
    sheet, coin, listed = Sheet(REVIEWED, at), book.coin_at(contract), subject.listed_as
    findings = [_asked_for(subject, contract, coin, book)]
    names = [(name, symbol) for symbol, name in labels if symbol is not None and name is not None]
    claims = [name for name, symbol in names if (look_like_wrapped_or_stable(name, symbol) or ("",))[0] == "wrapped"]
    if coin is not None:
        sheet.put("true_token", "pass", f"the reviewed contract of {coin.name}", True)
        sheet.unless("wrapped", coin.category == "wrapped", f"{coin.name} is a claim on another asset")
    else:
        if listed is not None:
            sheet.put("true_token", "pass", f"CoinGecko lists this contract as {quote_untrusted(listed)}", True)
        detail = f"{quote_untrusted(claims[0])} looks like a claim on another asset" if claims else ""
        sheet.unless("wrapped", bool(claims) if names else None, detail)
        findings += [_named(pair, contract, listed, book) for pair in labels] or [("unknown", "no name is reported")]
    state, detail = max(findings, key=lambda finding: ("pass", "unknown", "fail").index(finding[0]))
    sheet.put("look_alike", state, detail, {"fail": True, "pass": False}.get(state))
    return sheet


def _asked_for(subject: Subject, contract: Contract, coin: Coin | None, book: ContractBook) -> _Finding:
    """Does the contract belong to the symbol it was asked for by?"""
    wanted = coin_for_id(subject.coin_id) if subject.coin_id else None
    wanted = wanted or (coin_for_symbol(subject.symbol) if subject.symbol else None)
    if wanted is None or (coin is not None and coin.id == wanted.id) or subject.listed_as == wanted.id:
        return "pass", ""
    asked, reviewed = f"asked for as {wanted.ticker}, but", book.contract_of(wanted.id, contract.chain)
    if coin is not None:
        return "fail", f"{asked} this is the contract of {coin.name} ({coin.ticker})"
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


@cache
def _known_as() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tickers and names of every reviewed coin."""
    coins = reviewed_coins()
    names = (name for coin in coins for name in (coin.name, *coin.also_named))
    return tuple(dict.fromkeys(coin.ticker for coin in coins)), tuple(dict.fromkeys(names))
