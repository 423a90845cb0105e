"""What one source found about one token, before anybody judges it: reading foreign JSON without believing it.

Every reader gives a value it understood, or None, which is "unknown". Nothing here guesses: a tax of "3 percent", a
share of 1.7, an empty string or a list where a number belongs are all None, as is a key that is not there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, reduce
from importlib.resources import files
from typing import Any

from ...core.coins import base_ticker, coin_for_id, coin_for_symbol
from ...core.formats import percent_text
from ...core.security import CheckState, SecurityCheck
from ...core.text import quote_untrusted
from ...core.token import Contract, Token

TAX_LIMIT = LARGE_HOLDING = 0.05
CONCENTRATED = 0.5
"""The ten largest holders together (locked, burnt and pool holdings left out) may hold this much."""
LIQUIDITY_FLOOR_USD, LOCKED_FLOOR, AGE_FLOOR_DAYS, TOP = 100_000.0, 0.8, 30.0, 10
DEAD_POOLS_USD = 1_000.0
"""Nothing worth a fee can be sold into pools that hold less."""
BURN_ADDRESSES = frozenset(
    ("0x" + "0" * 40, "0x000000000000000000000000000000000000dead", "1nc1nerator11111111111111111111111111111111")
)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_FLAGS = {"1": True, "true": True, 1: True, "0": False, "false": False, 0: False}
_FIRST_BLOCK = datetime(2009, 1, 3, tzinfo=UTC).timestamp()  # no pool is older than the first chain


def flag(value: object) -> bool | None:
    """`"1"`, `"true"`, 1 or true; `"0"`, `"false"`, 0 or false; anything else is None."""
    return (
        _FLAGS.get(value.lower() if isinstance(value, str) else value) if isinstance(value, str | int | float) else None
    )


def number(value: object) -> float | None:
    """A finite number of zero or more, written as a number or a plain decimal string."""
    plain = isinstance(value, str) and _NUMBER.fullmatch(value)
    if isinstance(value, bool) or not (isinstance(value, int | float) or plain):
        return None
    try:
        read = float(value)  # type: ignore[arg-type]
    except OverflowError:  # an integer beyond every float
        return None
    return read if math.isfinite(read) and read >= 0 else None


def text(value: object) -> str | None:
    """A string with something in it."""
    return value if isinstance(value, str) and value.strip() else None


def either(*answers: bool | None) -> bool | None:
    """Three-valued or: True when any is, False only when all are, otherwise None."""
    return True if any(answers) else None if None in answers else False


def clipped(detail: str, limit: int = 240) -> str:
    """A detail short enough to be kept; quoted foreign text grows when it is escaped."""
    return detail if len(detail) <= limit else detail[:limit] + " ..."


class Answer:
    """One JSON object of a foreign answer, read by key; of anything else every key is missing (`given` is False)."""

    def __init__(self, raw: object) -> None:
        self.given = isinstance(raw, Mapping)
        self.raw: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
        self.get, self.items = self.raw.get, self.raw.items

    def __contains__(self, key: str) -> bool:
        return key in self.raw

    def flag(self, key: str) -> bool | None:
        """Each of these reads one key: see the functions of the same names."""
        return flag(self.get(key))

    def number(self, key: str) -> float | None:
        return number(self.get(key))

    def text(self, key: str) -> str | None:
        return text(self.get(key))

    def fraction(self, key: str, whole: float = 1.0) -> float | None:
        """A share between 0 and 1 (1 is 100 %), written as a part of `whole`."""
        share = self.number(key)
        return share / whole if share is not None and share <= whole else None

    def percent(self, key: str) -> float | None:
        """A share written in percent (0 to 100), as a fraction."""
        return self.fraction(key, 100.0)

    def part(self, key: str) -> Answer:
        return Answer(self.get(key))

    def rows(self, key: str) -> list[Answer] | None:
        """The objects of a list; None when it is no list or holds anything else."""
        listed = self.get(key)
        if not isinstance(listed, list) or not all(isinstance(row, Mapping) for row in listed):
            return None
        return [Answer(row) for row in listed]

    def every(self, key: str) -> Iterator[Any]:
        """The values of this key at every depth."""
        waiting: list[Any] = [self.raw]
        while waiting:
            value = waiting.pop()
            if isinstance(value, Mapping):
                yield from [value[key]] if key in value else []
                waiting.extend(value.values())
            elif isinstance(value, list):
                waiting.extend(value)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be checked: a token, a contract, or both. `listed_as`: CoinGecko lists the contract under this id."""

    symbol: str | None = None
    name: str = ""
    coin_id: str | None = None
    contract: Contract | None = None
    listed_as: str | None = None
    token: Token | None = None

    @classmethod
    def of(cls, token: Token) -> Subject:
        """The subject of a token, with what the reviewed list says about it."""
        coin = coin_for_id(token.coin_id) if token.coin_id else coin_for_symbol(token.symbol)
        coin_id = token.coin_id or (coin.id if coin else None)
        return cls(token.symbol, token.name or (coin.name if coin else ""), coin_id, token.contract, token=token)

    @property
    def ticker(self) -> str | None:
        """What people write for it: `UNI` for `UNI7083-USD`."""
        return base_ticker(self.symbol) if self.symbol else None


Labels = tuple[str | None, str | None]
"""Ticker and name as the contract itself gives them: foreign text, never to be trusted or shown as it is."""


@cache
def fields(source: str) -> dict[str, Any]:
    """What `data/fields.json` says about a source's answers on a family of chains ("goplus evm")."""
    tables = json.loads(files(__package__).joinpath("data", "fields.json").read_bytes())
    data = tables.get(source, {"reads": [], "covers": [], "known": {"": []}})
    for _, _, path, _ in data["reads"]:
        data["known"][""].append(path.partition(".")[0])
        if "." in path:
            data["known"].setdefault(f"{path.rpartition('.')[0]}.", []).append(path.rpartition(".")[2])
    data["covers"] += [check_id for check_id, kind, _, _ in data["reads"] if not kind.endswith("?")]
    return data


Statement = tuple[object, int | None]
"""What a source says in words of its own, and how loud: 0 quiet, 1 a warning, 2 a verdict, None is not known here."""


class Sheet:
    """The evidence of one source at one moment (UTC): its checks by id. Shares and taxes are fractions, depths USD.

    `again`: it failed, and trying soon again is worth it. `withdrawn`: it does not know the token and has no opinion,
    which is not the same as failing.
    """

    def __init__(self, source: str, at: datetime) -> None:
        self.source, self.at = source, at
        self.checks: dict[str, SecurityCheck] = {}
        self.labels: Labels | None = None
        self.again = self.withdrawn = False

    def put(self, check_id: str, state: CheckState, detail: str = "", value: str | float | bool | None = None) -> None:
        """Write one answer down."""
        self.checks[check_id] = SecurityCheck(
            id=check_id, state=state, value=value, detail=clipped(detail), source=self.source, checked_at=self.at
        )

    def unknown(self, *check_ids: str, why: str = "not reported") -> None:
        """Leave questions open, with the reason."""
        for check_id in check_ids:
            self.put(check_id, "unknown", why)

    def unless(self, check_id: str, bad: bool | None, detail: str) -> None:
        """Fails when `bad` is True, passes when it is False, unknown when nobody said."""
        if bad is None:
            self.unknown(check_id)
        else:
            self.put(check_id, "fail" if bad else "pass", detail if bad else "", bad)

    def at_most(self, check_id: str, value: float | None, limit: float, what: str) -> None:
        """A share that must not exceed `limit` (both fractions); None is unknown."""
        self.at_least(check_id, value, -limit, f"{what} {percent_text(value or 0.0)}", sign=-1)

    def at_least(self, check_id: str, value: float | None, floor: float, shown: str, *, sign: int = 1) -> None:
        """A quantity that must reach `floor`; None is unknown."""
        if value is None:
            self.unknown(check_id)
        else:
            self.put(check_id, "pass" if sign * value >= floor else "fail", shown, value)

    def read(self, said: Answer, known: Mapping[str, Any]) -> None:
        """Answer what the source's table answers field by field; of several fields for one check the worst stands."""
        bad: dict[str, list[bool | None]] = {}
        for check_id, kind, path, meaning in known["reads"]:
            *parts, key = path.split(".")
            part, (kind, *silent) = reduce(Answer.part, parts, said), kind.split("?")
            if silent and key not in part:
                continue
            if kind in ("fraction", "percent"):
                self.at_most(check_id, part.fraction(key, 100.0 if kind == "percent" else 1.0), TAX_LIMIT, meaning)
                continue
            answer = part.flag(key) if kind != "count" else None if (n := part.number(key)) is None else n > 0
            bad.setdefault(check_id, []).append(answer if kind != "unset" or answer is None else not answer)
            self.unless(check_id, either(*bad[check_id]), meaning)

    def liquidity(self, depths: Sequence[float | None] | None) -> None:
        """Liquidity of all pools; an unreadable pool leaves the sum unknown unless the rest suffices already."""
        total = sum(depth or 0.0 for depth in depths or ())
        unsure = depths is None or (None in depths and total < LIQUIDITY_FLOOR_USD)
        self.at_least("liquidity_depth", None if unsure else total, LIQUIDITY_FLOOR_USD, f"{total:,.0f} USD in pools")

    def traded(self, pools: bool | None) -> None:
        """Whether it is traded: there are pools (None: nobody said), and `liquidity` found money in them."""
        depth = self.checks["liquidity_depth"].value
        dead = depth < DEAD_POOLS_USD if isinstance(depth, float) else None
        none = None if pools is None else not pools
        self.unless("listed", either(dead, none), "no pool with money in it was found")

    def age(self, opened: Iterable[float | None]) -> None:
        """Age from the moments (epoch seconds) at which its pools opened: the oldest readable one, none from later."""
        now = self.at.timestamp()
        past = [moment for moment in opened if moment is not None and _FIRST_BLOCK <= moment <= now]
        days, since = (now - min(past, default=now)) / 86_400, datetime.fromtimestamp(min(past, default=now), UTC)
        shown = f"traded since {since:%Y-%m-%d} ({days:,.0f} days)"
        self.at_least("age", days if past else None, AGE_FLOOR_DAYS, shown)

    def concentration(self, shares: Sequence[float | None], count: float | None) -> None:
        """Shares of the ten largest of `count` holders, and of the largest alone; what is missing leaves it unknown or
        worse. Of a single holder's share nobody need be told."""
        known = min(sum(share or 0.0 for share in shares[:TOP]), 1.0)
        whole = None not in shares[:TOP] and len(shares) >= min(TOP, TOP if count is None else count)
        sure = bool(shares) and (whole or known > CONCENTRATED)
        self.at_most("holder_concentration", known if sure else None, CONCENTRATED, "the largest ten hold")
        largest = 1.0 if count is not None and count <= 1 else max((share or 0.0 for share in shares), default=0.0)
        sure = largest > CONCENTRATED or (bool(shares) and None not in shares[:TOP])
        self.at_most("largest_holder", largest if sure else None, CONCENTRATED, "the largest holder has")

    def remarks(self, known: Mapping[str, Any], said: Answer, statements: Sequence[Statement] = ()) -> None:
        """Write down what a source says beyond its table: in words of its own, and in fields that are not known here.

        Such a field, in the answer or in an object of it that the table reads, is named and lowers certainty; one that
        says more than "0" weighs more.
        """
        told: dict[int | None, list[str]] = {1: [], 2: [], 0: [], None: []}
        for words, loud in statements:
            told[loud].append(quote_untrusted(str(words), limit=60))
        self.unless("source_warnings", bool(told[1]), f"{self.source} says {', '.join(told[1])}")
        if "source_verdict" in known["covers"]:
            self.unless("source_verdict", bool(told[2]), f"{self.source} says {', '.join(told[2])}")
        if told[None] and not told[2]:
            self.unknown("source_verdict", why=f"{self.source} says {told[None][0]} in a way that is not known here")
        strange = {
            quote_untrusted(f"{path}{key}", limit=40): flag(value) is False or number(value) == 0
            for path, names in known["known"].items()
            for key, value in (said.part(path[:-1]) if path else said).items()
            if key not in names and value not in (None, "", [], {})
        }
        names = sorted(strange, key=strange.__getitem__)  # what says more than "0" first
        shown = ", ".join(names[:5]) + f" and {len(names) - 5} more" * (len(names) > 5)
        unread = f"{self.source} sends what is not known here: {shown}" if names else ""
        if not all(strange.values()) and not told[1]:
            self.unknown("source_warnings", why=unread)
        self.put("unread_fields", "unknown" if unread else "pass", unread)
