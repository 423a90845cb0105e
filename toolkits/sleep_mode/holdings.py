"""What the user holds and watches: kept in Khala, refreshed first, told in briefs. Nothing here places an order."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationError

from ...core.errors import InvalidInput, UserError
from ...core.formats import percent_text, price_text, quantity_text, threshold_text
from ...core.market import UtcDatetime
from ...core.settings import Settings
from ...core.text import clean_label
from ...core.token import Record, Symbol
from ..khala.codec import decode_all, encode
from ..khala.schema import upsert
from .statements import Said, Statement, View, statement

if TYPE_CHECKING:
    import pandas as pd

    from ..khala import Khala
    from ..khala.journal import Journal

DAYS_TOGETHER, FEWEST_TOGETHER = 90, 30
"""Days over which tokens are correlated, and how many there must be."""
MOST_TOGETHER = 10
"""The largest of what is held are correlated."""

_MIGRATIONS = (
    """
    CREATE TABLE holdings (symbol TEXT PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE watched (symbol TEXT PRIMARY KEY);
    """,
    "ALTER TABLE watched ADD COLUMN place DOUBLE PRECISION NOT NULL DEFAULT 0",
)


class Holding(Record):
    """How much is held of a token (units), its mean cost and the price at which it is sold at a loss (USD a unit)."""

    symbol: Symbol
    quantity: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    price: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    stop: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    since: UtcDatetime

    @classmethod
    def read(cls, **fields: Any) -> Self:
        """A holding from values as a person gave them.

        Args:
            fields: of a holding; numbers may be texts.

        Raises:
            InvalidInput: one of them is none, or a number not more than 0.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidInput(f"{first['loc'][0]}: {first['msg']}.") from error

    def plus(self, more: Self) -> Self:
        """Both together: quantities add up, the price is their weighted mean, a new stop replaces the old one.

        Raises:
            InvalidInput: together they are too large to be numbers.
        """
        quantity = self.quantity + more.quantity
        price = (self.quantity * self.price + more.quantity * more.price) / quantity
        changed = {"quantity": quantity, "price": price, "stop": more.stop or self.stop}
        return self.read(**(self.model_dump() | changed))


@dataclass(frozen=True, slots=True)
class Position:
    """A holding at the price seen last (USD a unit), beside all that is held.

    `total` is the worth of every holding whose price is known, `capital` what the settings say there is, both in USD.
    """

    holding: Holding
    price: float
    total: float = 0.0
    capital: float | None = None

    @property
    def worth(self) -> float:
        return self.holding.quantity * self.price

    @property
    def result(self) -> float:
        """Unrealised gain or loss, USD."""
        return self.holding.quantity * (self.price - self.holding.price)

    @property
    def change(self) -> float:
        """The price against what it cost, as a fraction."""
        return self.price / self.holding.price - 1

    @property
    def share(self) -> float:
        """Of all that is held, as a fraction."""
        return self.worth / self.total

    @property
    def below_stop(self) -> bool:
        return self.holding.stop is not None and self.price <= self.holding.stop

    @property
    def capital_percent(self) -> float | None:
        return 100 * self.worth / self.capital if self.capital else None


class Holdings:
    """Holdings and watch list of one memory. Raises StoreError when the journal cannot be read or written."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._there = journal.ensured("holdings", _MIGRATIONS)

    def all(self) -> dict[str, Holding]:
        """What is held, by symbol."""
        found = decode_all(Holding, self._column("SELECT body FROM holdings ORDER BY symbol"))
        return {holding.symbol: holding for holding in found}

    def put(self, holdings: Iterable[Holding]) -> None:
        """Keep these, each in place of what was held of its token; all or none of them."""
        with self._journal.write() as connection:
            rows = [(holding.symbol, encode(holding)) for holding in holdings]
            connection.executemany(upsert("holdings", "symbol", "body"), rows)

    def add(self, holding: Holding) -> None:
        """Add to what is held of the token."""
        with self._journal.write():
            before = self.all().get(holding.symbol)
            self.put([before.plus(holding) if before else holding])

    def remove(self, symbol: str, quantity: float | None = None) -> None:
        """Take away so many units, or all.

        Raises:
            InvalidInput: nothing is held of it, or less than that.
        """
        with self._journal.write() as connection:
            held = self.all().get(symbol)
            if held is None:
                raise InvalidInput(f"Nothing is held of {symbol}.", hint="See `deeptrader holdings`.")
            left = 0.0 if quantity is None else held.quantity - quantity
            if not 0 <= left < held.quantity:
                raise InvalidInput(f"{quantity_text(held.quantity)} {symbol} are held, not {quantity:g}.")
            if left:
                self.put([held.model_copy(update={"quantity": left})])
            else:
                connection.execute("DELETE FROM holdings WHERE symbol = ?", (symbol,))

    def watched(self) -> tuple[str, ...]:
        """The watch list kept here, in its own order; that of the settings comes on top (`followed`)."""
        return tuple(self._column("SELECT symbol FROM watched ORDER BY place, symbol"))

    def watch(self, symbols: Iterable[str], *, on: bool = True) -> None:
        """Put tokens at the end of the watch list, or take them off it."""
        last = "SELECT ?, coalesce(max(place), 0) + 1 FROM watched WHERE true"
        add = f"INSERT INTO watched (symbol, place) {last} ON CONFLICT (symbol) DO NOTHING"
        with self._journal.write() as connection:
            connection.executemany(add if on else "DELETE FROM watched WHERE symbol = ?", [(s,) for s in symbols])

    def watch_first(self, symbol: str) -> None:
        """Put a token at the head of the watch list."""
        first = "SELECT ?, coalesce(min(place), 0) - 1 FROM watched WHERE true"
        with self._journal.write() as connection:
            connection.execute(
                f"INSERT INTO watched (symbol, place) {first} "
                "ON CONFLICT (symbol) DO UPDATE SET place = excluded.place",
                (symbol,),
            )

    def followed(self, settings: Settings) -> tuple[str, ...]:
        """Symbols that are held, then those watched, in the settings or here."""
        return tuple(dict.fromkeys([*self.all(), *settings.watchlist, *self.watched()]))

    def _column(self, query: str) -> list[str]:
        return [row[0] for row in self._journal.rows(query)] if self._there else []


def positions(khala: Khala, held: Mapping[str, Holding]) -> dict[str, Position]:
    """Each holding at the price seen last, by symbol. One whose price memory does not know is left out."""
    prices = {symbol: recall.price for symbol, recall in khala.latest_many(held).items()}
    known = {symbol: price for symbol, price in prices.items() if price is not None}
    total = sum(held[symbol].quantity * price for symbol, price in known.items())
    return {symbol: Position(held[symbol], price, total, khala.settings.capital_usd) for symbol, price in known.items()}


def lost_today(khala: Khala) -> float | None:
    """What the positions that are held lost since their last close of an earlier day, in percent of capital; a gain is
    below 0. Days are those of the setting `timezone`; what was bought today counts from what it cost.

    None where nothing is held, `capital_usd` is not set, or a price of one of them is not known.
    """
    held, capital = Holdings(khala.journal).all(), khala.settings.capital_usd
    found = positions(khala, held)
    if not found or len(found) < len(held) or not capital:
        return None
    now = khala.clock.now().astimezone(ZoneInfo(khala.settings.timezone))
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    lost = 0.0
    for symbol, position in found.items():
        before, analysis = position.holding.price, khala.latest(symbol).analysis
        if position.holding.since < today and analysis is not None:
            change = analysis.value("return_1") if analysis.bar_close > today else 0.0
            if change is None:
                return None
            before = analysis.price / (1 + change)
        lost += position.holding.quantity * (before - position.price)
    return 100 * lost / capital


POSITION_HEADS = ("Quantity", "Bought at", "Price", "Worth", "Share", "Stop", "Result")


def position_texts(holding: Holding, position: Position | None) -> tuple[str, ...]:
    """A holding under `POSITION_HEADS`, for people; dashes where no price is known.

    Args:
        holding: what is held.
        position: the same at the price seen last.
    """
    stop = price_text(holding.stop) if holding.stop else "–"
    own = (quantity_text(holding.quantity), price_text(holding.price))
    if position is None:
        return (*own, "–", "–", "–", stop, "–")
    seen = (price_text(position.price), price_text(position.worth), percent_text(position.share))
    result = f"{price_text(position.result, signed=True)} ({percent_text(position.change, signed=True)})"
    return (*own, *seen, stop, result)


def read_csv(path: Path, now: datetime, find: Callable[[str], str] = str.upper) -> list[Holding]:
    """Holdings from a file as brokers export positions, with the columns of `COLUMNS`. Rows of one token add up.

    Lines above the line that names the columns, and rows with neither a quantity nor the price of a unit, hold no
    position and are passed over; so is one of which no unit is left. A comma is a decimal mark where the numbers of the
    file can be read in no other way.

    Args:
        path: of the file: UTF-8, UTF-16, or Windows's western characters; comma, semicolon, tab or bar between cells.
        now: since when it is held.
        find: the symbol of a token by what the file calls it.

    Raises:
        InvalidInput: the file cannot be read, or a line of it; nothing of it is taken then.
    """
    found: dict[str, Holding] = {}
    where = str(path)
    try:
        between, rows = _rows(_text(path.read_bytes()))
        decimal = _decimal_mark([row[name] for _, row in rows for name in _NUMBERS if name in row], between)
        for line, row in rows:
            where = f"{path}, line {line}"
            holding = _holding_in(row, decimal, now, find)
            if holding is None:
                continue
            before = found.get(holding.symbol)
            found[holding.symbol] = before.plus(holding) if before else holding
    except UserError as error:
        hint = error.hint or "Nothing of the file was taken; correct the line."
        raise InvalidInput(f"{where}: {error.message}", hint=hint) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path} cannot be read as CSV: {error}.") from error
    return list(found.values())


COLUMNS: Mapping[str, Sequence[str]] = {
    "symbol": ("symbol", "ticker", "instrument", "token", "asset", "coin"),
    "quantity": ("quantity", "qty", "shares", "units", "stück", "anzahl", "position", "balance"),
    "cost": (
        *("average cost", "avg cost", "average price", "avg price", "cost price", "unit cost", "cost per"),
        *("cost share", "purchase price", "price paid", "open price", "entry price", "einstandskurs", "kaufkurs"),
    ),
    "total": ("cost basis", "total cost"),
    "price": ("price",),
    "stop": ("stop",),
    "side": ("side", "action", "transaction", "type", "buy sell"),
    "currency": ("currency", "ccy", "währung"),
}
"""What the columns of a file are called: their heads hold these words, perhaps among others; the one named first is
meant, and the shortest. The cost of a unit is read from `cost`, else out of `total`, else from `price`:
beside a cost, and with other words, brokers call the price of today so."""
_ALONE = ("price", "type")
"""Words that name a column where no other stands beside them."""
_NUMBERS = ("quantity", "cost", "total", "price", "stop")
_EMPTY = frozenset(("", "-", "--", "–", "n/a", "na"))
_PLAIN = re.compile(r"[-+]?([1-9]\d{0,2}(,\d{3})+|\d+|(?=\.))(\.\d+)?(e[-+]?\d+)?", re.IGNORECASE)


def _text(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def _rows(text: str) -> tuple[str, list[tuple[int, dict[str, str]]]]:
    """What parts cells, and by line the filled cells of each row that holds a position, by the names of `COLUMNS`."""
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        for between in ",;\t|":
            places = _places([re.findall(r"\w+", head.lower()) for head in next(csv.reader([line], delimiter=between))])
            if not {"symbol", "quantity"} <= set(places) or not {"cost", "total", "price"} & set(places):
                continue
            rows = csv.reader(lines[number:], delimiter=between, skipinitialspace=True)
            found = []
            for cells in rows:
                filled = {n: cells[at].strip() for n, at in places.items() if at < len(cells)}
                filled = {n: cell for n, cell in filled.items() if cell.lower() not in _EMPTY}
                if any(name in filled for name in ("quantity", "cost", "price")):
                    found.append((number + rows.line_num, filled))
            return between, found
    raise InvalidInput("It lacks a column.", hint="Name its columns: symbol, quantity, the cost of a unit or in all.")


def _places(heads: Sequence[Sequence[str]]) -> dict[str, int]:
    """Which column is which of `COLUMNS`, by the words of the heads."""
    places: dict[str, int] = {}
    for name, many in COLUMNS.items():
        for called in many:
            words = set(called.split())
            fits = [at for at, head in enumerate(heads) if words <= set(head) and at not in places.values()]
            fits = [at for at in fits if called not in _ALONE or len(heads[at]) == 1]
            if fits:
                places[name] = min(fits, key=lambda at: len(heads[at]))
                break
    return places


def _bare(text: str) -> str:
    """A number without spaces, the apostrophes of thousands, and dollars; in brackets it is below 0."""
    bare = re.sub(r"[\s'’]|US\$|USD|\$", "", text, flags=re.IGNORECASE)
    return f"-{bare[1:-1]}" if bare.startswith("(") and bare.endswith(")") else bare


def _plain(bare: str, decimal: str) -> str | None:
    """A number as Python writes it, None where it is none with such a mark in front of decimals."""
    told = bare.translate(str.maketrans(",.", ".,")) if decimal == "," else bare
    return told.replace(",", "") if _PLAIN.fullmatch(told) else None


def _decimal_mark(numbers: Iterable[str], between: str) -> str:
    """The mark in front of decimals with which all numbers can be read; the point, where both do and commas part the
    cells."""
    reads = {bare: {mark for mark in ".," if _plain(bare, mark) is not None} for bare in map(_bare, numbers)}
    marks = set(".,").intersection(*filter(None, reads.values()))
    unsure = [bare for bare, fits in reads.items() if fits and set(bare) & set(".,")]
    if not marks or (len(marks) == 2 and unsure and between != ","):
        raise InvalidInput(
            f"Its numbers can be read in two ways ({', '.join(unsure[:3])}).",
            hint="Write them with a decimal point and without marks between thousands.",
        )
    return "." if "." in marks else ","


def _holding_in(row: Mapping[str, str], decimal: str, now: datetime, find: Callable[[str], str]) -> Holding | None:
    """What a row holds; None where nothing is left of it."""

    def number(name: str) -> float | None:
        if name not in row:
            return None
        plain = _plain(_bare(row[name]), decimal)
        if plain is None:
            raise InvalidInput(f"{name}: {clean_label(row[name])} is no number, or not in USD.")
        return float(plain)

    side, currency = row.get("side", ""), row.get("currency", "USD")
    if re.search(r"\b(sell|sold|short|verkauf)", side, re.IGNORECASE):
        raise InvalidInput("It is a sale: import what is held, not what was traded.")
    if currency.upper() not in ("USD", "US$", "$"):
        raise InvalidInput(f"Its price is in {clean_label(currency)}, not in USD.")
    quantity, price, total = number("quantity"), number("cost"), number("total")
    if quantity == 0:
        return None
    if price is None:
        price = total / quantity if total is not None and quantity else number("price")
    symbol = find(row.get("symbol", ""))
    return Holding.read(symbol=symbol, quantity=quantity, price=price, stop=number("stop"), since=now)


def portfolio_statements(held: Sequence[str], found: Mapping[str, Position], now: datetime) -> list[Statement]:
    """What can be said of all that is held together; empty when nothing is."""
    if not held:
        return []
    unknown = [symbol for symbol in held if symbol not in found]
    parts = [f"{len(held)} token{'s are' if len(held) > 1 else ' is'} held"]
    facts: dict[str, float] = {}
    if found:
        largest = max(found.values(), key=lambda p: p.worth)
        result = sum(p.result for p in found.values())
        facts = {"held:worth": largest.total, "held:result": result}
        parts.append(
            f"worth {price_text(largest.total)} USD, {price_text(result, signed=True)} USD of it unrealised; the "
            f"largest is {largest.holding.symbol} with {percent_text(largest.share)}"
        )
    text = ", ".join(parts) + (f"; no price is known of {', '.join(unknown)}" if unknown else "")
    return [Statement("portfolio", "", f"{text}.", facts, "neutral", 1.0, now)]


def correlation_statements(held: Mapping[str, pd.DataFrame], now: datetime) -> list[Statement]:
    """How closely tokens that are held moved together: the correlation (Pearson's) of the changes of their closes over
    the last 90 days on which each of them has one. Empty for fewer than two tokens, or fewer than 30 such days.

    Args:
        held: daily bars by symbol.
        now: bars that close later are not looked at.
    """
    import pandas as pd  # heavy, like what follows, and few questions are about what is held

    from ..market_data.panel import rows_until

    closes = {}
    for symbol, frame in held.items():
        bars = rows_until(frame, now)
        # A bar that closes at midnight is of the day before.
        days = [(moment - timedelta(seconds=1)).date() for moment in bars.index]
        closes[symbol] = dict(zip(days, bars["close"].tolist(), strict=True))
    moves = pd.DataFrame(closes).sort_index().dropna().tail(DAYS_TOGETHER + 1).pct_change().iloc[1:]
    moves = moves.loc[:, moves.std() > 0]
    if len(moves) < FEWEST_TOGETHER or len(moves.columns) < 2:
        return []
    table = moves.corr()
    pairs = {(a, b): float(table[a][b]) for a, b in combinations(moves.columns, 2)}
    one, other = max(pairs, key=lambda pair: pairs[pair])
    most, mean = pairs[one, other], fmean(pairs.values())
    text = f"Of what is held {one} and {other} move most alike: their daily changes correlate at {most:.2f}"
    if len(pairs) > 1:
        text += f"; the mean of {len(pairs)} pairs is {mean:.2f}"
    text += f", over {len(moves)} days"
    facts = {"held:correlation_most": most, "held:correlation_mean": mean}
    return [Statement("held_together", "", f"{text}.", facts, "neutral", 0.8, now)]


@statement("holding")
def _holding(v: View) -> Said | None:
    position = v.position
    if position is None:
        return None
    held = position.holding
    result = f"{price_text(position.result, signed=True)} USD ({percent_text(position.change, signed=True)})"
    text = (
        f"Held: {quantity_text(held.quantity)} {v.symbol} bought at {price_text(held.price)} USD, at "
        f"{price_text(position.price)} USD worth {price_text(position.worth)} USD: {result} unrealised, "
        f"{percent_text(position.share)} of all that is held"
    )
    limit, percent = v.settings.max_position_percent, position.capital_percent
    if percent is not None:
        side = "above" if percent > limit else "within"
        text += f"; {percent_text(percent / 100)} of capital, {side} the limit of {threshold_text(limit)} %"
    facts = {"held": held.quantity, "entry": held.price, "worth": position.worth, "result": position.result}
    return Said(f"{text}.", weight=0.9, more=facts)


@statement("held_stop")
def _held_stop(v: View) -> Said | None:
    position = v.position
    if position is None or position.holding.stop is None:
        return None
    stop = position.holding.stop
    facts = {"held_stop": stop, "price_seen": position.price}
    if position.below_stop:
        text = f"{v.symbol} has reached its stop: {price_text(position.price)} USD is not above {price_text(stop)} USD."
        return Said(text, leaning="bearish", weight=1.0, more=facts)
    away = percent_text(1 - stop / position.price)
    return Said(
        f"The stop of {v.symbol} that is held is at {price_text(stop)} USD, {away} away.", weight=0.5, more=facts
    )
