"""The reviewed list: which coin lives under which Yahoo symbol, what it is called, and whether it is one of its own.

Yahoo's short symbols often belong to another coin than the one people mean (`UNI-USD` is not Uniswap, `UNI7083-USD`
is), so symbols are looked up here and never built from a ticker. `core/data/coins.json` holds the coins, keyed by
CoinGecko id; `core/data/equities.json` the large US equities with the names people say, and the shares that were
renamed or left the market, each with the day.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from .errors import InvalidInput
from .token import Token, normalize_symbol

OLD_AFTER_DAYS = 180
"""Half a year: about as long as it takes for a dozen of the largest hundred coins to change."""

CoinCategory = Literal["coin", "stablecoin", "wrapped"]

_NUMERIC_SUFFIX = re.compile(r"(?<=[A-Z])[1-9]\d{2,}$")  # Yahoo's marker for the coin meant: UNI7083, never 1INCH
_QUOTED_IN_USD = re.compile(r"\s*\(?\bUSD\b\)?\s*$", re.IGNORECASE)
_REMARK = re.compile(r"\s*[(\[][^)\]]*[)\]]")
_SHARE_CLASS = re.compile(r"([A-Z]{1,5})[./]([ABC])")  # BRK.B, which is BRK-B at Yahoo; VOD.L is another exchange's
_NOT_ALNUM = re.compile(r"[\W_]+")
_STABLE_WORDS = re.compile(
    r"stable\s?coin|\bdollar\b|\busd[a-z0-9]{0,3}\b|\b[a-z]*usd\b|\b[a-z]{0,2}eur[a-z]?\b|\beuro\b|\bgbp\b|\bjpy\b"
    r"|\bpeso\b|\brupiah\b|\b(?:bi)?lira\b|\byen\b|\byuan\b|\bfranc\b|\bfrankencoin\b|\binternet money\b",
    re.IGNORECASE,
)
_WRAPPED_WORDS = re.compile(
    r"\bwrapped\b|\bbridged\b|\bstaked\b|\brestaked\b|\bliquid staking\b|\bpegged\b|\bbep-?2\b|\(wormhole\)"
    r"|\bw?(?:st|re|ez|rs|cb)eth\b|\btokeni[sz]ed\b|\bgold\b|\bsilver\b|\bxstocks?\b|\bliquidity provider\b|\blps?\b"
    r"|\bheloc\b|\btreasur(?:y|ies)\b|\bt-?bills?\b|\bvault\b|\baave (?:ethereum|v\d)\b|\bderivative\b|\bmirrored\b"
    r"|\bvouchers?\b|\bvote.escrowed\b|\bhyperliquidity\b|\bfunds?\b|\bgovernment\b|\bsecurities\b|\bclo\b|\bdinari\b"
    r"|\bleveraged?\b|\b\d+x (?:long|short)\b|\b(?:pulse|metaverse) index\b|\binterest token\b|\bmidas m\w+",
    re.IGNORECASE,
)
_AFFIXED = re.compile(r"(?<!\w)[a-z]{1,8}([A-Z][A-Z0-9]{1,9})(?!\w)")
_STABLE_TICKER = re.compile(
    r"^(?:[A-Z]{0,6}USD[A-Z0-9]{0,2}|EUR[A-Z]|[A-Z]{1,2}DAI|[A-Z]{0,2}(?:CHF|CNH|SGD|BRL|MXN|IDR)T?|TRYB|GYEN|BRZ"
    r"|MIM|DOLA|BOLD|(?:WST)?USR)$"
)
_WRAPPED_TICKER = re.compile(
    r"^(?:[A-Z0-9]{1,6}(?:BTC|O?ETHB?)|W(?:SOL|BNB|TRX|AVAX|POL|MATIC|DOGE|XRP|HBAR|EOS)|(?:JITO|M|BN|B|BB|J|JUP|S|ST)SOL"
    r"|A(?:ETH|POL|ARB|OPT|BAS|AVA)[A-Z]{3,}|V(?:BNB|USDT|USDC|CAKE)|(?:BTC|ETH|BNB|SOL|XRP|ADA|DOT|LTC)(?:UP|DOWN|BULL"
    r"|BEAR|[2-5][LS])|[PY]T-.+|.+-(?:LP|V[23])|XAU[A-Z0-9]*|[CG]OHM|ETHX|INF|HLP|BUIDL|OUSG|USYC|YLDS|USTB|BENJI|BCAP)$"
)


@dataclass(frozen=True, slots=True)
class Coin:
    """One reviewed coin: CoinGecko `id`, Yahoo `symbol`, `name`, lower-case `aliases`, and what kind of coin it is.

    `also_named` are further names Yahoo has used for it. `wrapped` covers everything whose price is another asset's:
    wrapped, bridged, staked and restaked coins, and gold-backed tokens.
    """

    id: str
    symbol: str
    name: str
    category: CoinCategory = "coin"
    aliases: tuple[str, ...] = ()
    also_named: tuple[str, ...] = ()

    @property
    def ticker(self) -> str:
        """What people write: `UNI` for `UNI7083-USD`."""
        return base_ticker(self.symbol)

    def answers_to(self, name: str) -> bool:
        """True when `name` (as a source spells it, with or without a trailing USD) is this coin's name."""
        spellings = (name, plain_name(name), _REMARK.sub("", plain_name(name)))  # "Sonic (prev. FTM) USD" is Sonic
        given = {name_key(spelling) for spelling in spellings} - {""}
        return any(name_key(own) in given for own in (self.name, *self.also_named))

    def token(self) -> Token:
        """The coin as the rooms pass it around. Its contract is not in this list."""
        return Token(symbol=self.symbol, name=self.name, kind="crypto", coin_id=self.id)


@dataclass(frozen=True, slots=True)
class Equity:
    """One large US equity. `top` marks the fifty that stand in when no screener answers."""

    symbol: str
    name: str
    aliases: tuple[str, ...] = ()
    top: bool = True

    def token(self) -> Token:
        return Token(symbol=self.symbol, name=self.name, kind="equity")


@cache
def reviewed_coins() -> tuple[Coin, ...]:
    """Every reviewed coin, roughly largest first within its category."""
    return tuple(
        Coin(**row | {"aliases": _aliases(row, row["name"].lower()), "also_named": tuple(row.get("also_named", ()))})
        for row in _file("coins")["coins"]
    )


@cache
def known_equities() -> tuple[Equity, ...]:
    """Large US equities with the names people say, largest first as of the list's review."""
    return tuple(Equity(**row | {"aliases": _aliases(row)}) for row in _file("equities")["equities"])


@cache
def reviewed_on() -> datetime:
    """When the list was last reviewed (UTC): its order by size is of that day."""
    return datetime.fromisoformat(_file("coins")["reviewed"]).replace(tzinfo=UTC)


def equities_reviewed_on() -> datetime:
    """When the list of equities was last reviewed (UTC)."""
    return datetime.fromisoformat(_file("equities")["reviewed"]).replace(tzinfo=UTC)


def age_warning(now: datetime) -> str | None:
    """One sentence for each list that is too old, or dated ahead of `now`; None while neither is.

    What is not on the list of coins is admitted by evidence only (name, link, price) or held back with its reason; the
    list of equities has their names and former symbols.
    """
    lists = (
        ("coins", reviewed_on(), "large newcomers may be held back"),
        ("equities", equities_reviewed_on(), "newer names and symbols may be missing"),
    )
    told = []
    for what, day, lacks in lists:
        age = (now - day).days
        if age < 0 or age > OLD_AFTER_DAYS:
            how = f"{age} days old: {lacks}" if age > 0 else "in the future"
            told.append(f"The list of {what} is of {day:%Y-%m-%d}, {how}.")
    return " ".join(told) or None


def coin_for_symbol(symbol: str) -> Coin | None:
    """The reviewed coin under this exact Yahoo symbol, or None. A bare ticker finds nothing: use `coins_for_ticker`."""
    return _by_symbol().get(symbol.strip().upper())


def coin_for_id(coin_id: str) -> Coin | None:
    """The reviewed coin with this CoinGecko id, or None."""
    return _by_id().get(coin_id.strip().lower())


def coins_for_ticker(ticker: str) -> tuple[Coin, ...]:
    """Reviewed coins people mean by a bare ticker: `UNI` -> Uniswap under `UNI7083-USD`."""
    wanted = ticker.strip().upper()
    return tuple(coin for coin in reviewed_coins() if coin.ticker == wanted)


def equity_for_symbol(symbol: str) -> Equity | None:
    """The known equity that trades, or once traded, under this symbol, or None."""
    wanted = current_symbol(symbol)
    return next((equity for equity in known_equities() if equity.symbol == wanted), None)


def current_symbol(symbol: str) -> str:
    """The symbol under which a share trades today, as Yahoo writes it: META for FB, BRK-B for BRK.B."""
    wanted = symbol.strip().upper()
    if renamed := _moved("renamed").get(wanted):
        return renamed[0]
    return "-".join(match.groups()) if (match := _SHARE_CLASS.fullmatch(wanted)) else wanted


def is_former_symbol(symbol: str) -> bool:
    """Whether a share once traded under this symbol and now has another."""
    return symbol.strip().upper() in _moved("renamed")


def left_market(symbol: str) -> str | None:
    """Why and when a well-known share left the market ("bought by Microsoft on 2023-10-13"); None when it did not."""
    gone = _moved("gone").get(symbol.strip().upper())
    return " on ".join(gone) if gone else None


def aliases_for(symbol: str) -> tuple[str, ...]:
    """Lower-case names and tickers people use for a symbol: reviewed coins and large equities; otherwise its ticker.

    The ticker with Yahoo's numeric suffix is one of them: `pepe24478` is `PEPE24478-USD`.
    """
    known = coin_for_symbol(symbol) or equity_for_symbol(symbol)
    aliases = known.aliases if known else (base_ticker(symbol).lower(),)
    today = current_symbol(symbol)
    former = (old.lower() for old, (new, _) in _moved("renamed").items() if new == today)
    dotted = (today.replace("-", ".").lower(),) if _SHARE_CLASS.fullmatch(today.replace("-", ".")) else ()
    whole = symbol.strip().lower().removesuffix("-usd")
    return tuple(dict.fromkeys((*aliases, today.lower().removesuffix("-usd"), *former, *dotted, whole)))


def is_common_word(alias: str) -> bool:
    """True when an alias is also an everyday word ("near", "link", "apple"): in prose it needs capitals or context."""
    word = alias.strip().lower()
    return word in _common_words() or word in everyday_words()


@cache
def everyday_words() -> frozenset[str]:
    """Short English words that are tickers too ("all", "it", "has"), lower-case."""
    return frozenset(files(__package__).joinpath("data", "everyday_words.txt").read_text(encoding="utf-8").split())


def look_like_wrapped_or_stable(name: str, symbol: str) -> tuple[Literal["stablecoin", "wrapped"], str] | None:
    """Guess from name and ticker whether an unreviewed coin is a stablecoin or wrapped: (category, reason), or None.

    A guess errs towards leaving out: a coin wrongly called wrapped is missing from the universe and listed with this
    reason, a wrapped coin wrongly let in doubles another token's figures.
    """
    ticker = base_ticker(symbol)
    plain = plain_name(name)
    if match := _WRAPPED_WORDS.search(plain):
        return "wrapped", f"looks wrapped: {match.group(0)!r} in its name"
    if _WRAPPED_TICKER.match(ticker):
        return "wrapped", f"looks wrapped: ticker {ticker}"
    if (match := _AFFIXED.search(plain)) and coins_for_ticker(match[1]):
        return "wrapped", f"looks wrapped: {match.group(0)!r} is a form of {match[1]}"
    if of := _form_of(plain, ticker):
        return "wrapped", f"looks wrapped: a form of {of}"
    if match := _STABLE_WORDS.search(plain):
        return "stablecoin", f"looks like a stablecoin: {match.group(0)!r} in its name"
    if _STABLE_TICKER.match(ticker):
        return "stablecoin", f"looks like a stablecoin: ticker {ticker}"
    return None


def _form_of(name: str, ticker: str) -> str | None:
    """The reviewed ticker that another begins or ends with, where the name speaks of that coin: VDOT, "Voucher DOT"."""
    for coin in reviewed_coins():
        longer = len(coin.ticker) > 2 and len(ticker) > len(coin.ticker)
        if longer and (ticker.startswith(coin.ticker) or ticker.endswith(coin.ticker)):
            spoken = rf"(?<!\w)(?:{re.escape(coin.ticker)}x?|{re.escape(coin.name)}x?)(?!\w)"
            if re.search(spoken, name):
                return coin.ticker
    return None


def base_ticker(symbol: str) -> str:
    """The ticker people write for a Yahoo symbol: no `-USD`, no numeric suffix. `AAPL` stays `AAPL`."""
    symbol = symbol.strip().upper()
    return _NUMERIC_SUFFIX.sub("", symbol.removesuffix("-USD")) if symbol.endswith("-USD") else symbol


def plain_name(name: str) -> str:
    """A coin's name without the quote currency Yahoo appends: `Bitcoin USD` -> `Bitcoin`."""
    return _QUOTED_IN_USD.sub("", name, count=1).strip()


def name_key(name: str) -> str:
    """A name reduced to what two spellings of it share: case, blanks and punctuation do not count."""
    return _NOT_ALNUM.sub("", name).casefold()


@cache
def _by_symbol() -> Mapping[str, Coin]:
    return {coin.symbol: coin for coin in reviewed_coins()}


@cache
def _by_id() -> Mapping[str, Coin]:
    return {coin.id: coin for coin in reviewed_coins()}


@cache
def _moved(table: str) -> Mapping[str, tuple[str, str]]:
    """Of shares by their former symbol: today's ("renamed") or what became of it ("gone"), and the day."""
    return {symbol: tuple(row) for symbol, row in _file("equities")[table].items()}


@cache
def _common_words() -> frozenset[str]:
    return frozenset(_file("coins")["common_words"])


def _aliases(row: Mapping[str, Any], *further: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys([base_ticker(row["symbol"]).lower(), *further, *row.get("aliases", ())]))


def _file(table: str) -> dict[str, Any]:
    shipped = json.loads(files(__package__).joinpath("data", f"{table}.json").read_text(encoding="utf-8"))
    own = _own if table == "coins" else (_own or {}).get("equities")
    return own if own and own["reviewed"] >= shipped["reviewed"] else shipped


OWN_LIST = "coins.json"
"""Its name in the folder of one's data."""
_own: dict[str, Any] | None = None
"""The list of coins that `deeptrader universe --renew` wrote, with that of equities in it; of each the newer of it and
the shipped one counts."""


def use_own_list(path: Path) -> bool:
    """Take the list of coins in a file, if there is one and it is no older than the shipped one; whether it is taken.

    Raises:
        InvalidInput: it is no list of coins.
    """
    global _own
    before = _own
    try:
        _own = _checked(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidInput(
            f"{path} is no list of coins ({type(error).__name__}).", hint="Delete it, or run `universe --renew`."
        ) from error
    if _own != before:
        for known in (reviewed_coins, reviewed_on, known_equities, _by_symbol, _by_id, _common_words, _moved):
            known.cache_clear()
    return own_list()


def list_with(rows: Sequence[Mapping[str, str]], equities: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The list of coins in use with further rows (id, symbol, name, category) and a list of equities, both dated `now`
    (UTC)."""
    table, dated = _file("coins"), {"reviewed": f"{now:%Y-%m-%d}"}
    return table | dated | {"coins": [*table["coins"], *rows], "equities": {**equities, **dated}}


def equity_table() -> dict[str, Any]:
    """The list of equities in use as it is written: `equities` in the order of size, `renamed` and `gone`."""
    return _file("equities")


def own_list() -> bool:
    """Whether the list of coins in use is one of one's own."""
    return _own is not None and _file("coins") is _own


def _checked(table: Any) -> dict[str, Any]:
    datetime.fromisoformat(table["reviewed"])
    for row in table["coins"]:
        named = isinstance(row["id"], str) and isinstance(row["name"], str)
        if not named or row["category"] not in get_args(CoinCategory):
            raise ValueError(row)
        normalize_symbol(row["symbol"])
    if shares := table.get("equities"):
        datetime.fromisoformat(shares["reviewed"])
        for row in shares["equities"]:
            normalize_symbol(Equity(**row).symbol)
        for moved in ("renamed", "gone"):
            dict(shares[moved])
    return table | {"common_words": list(table["common_words"])}
