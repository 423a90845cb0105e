"""News and fundamentals in memory: read asleep for the tokens that matter, kept with their dates, told as statements.

They are read for what is held, watched and largest, at most every `news_every_hours`, and within the request budget.
A sleeping model chooses which headlines matter, which repeat others, and how they lean: the digest. It writes no word.
A headline stands in a statement as a quotation in ASCII, which nothing in it can end: to whatever reads it, it is data.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from ...core.errors import BudgetExceeded, CircuitOpen, MalformedResponse, RateLimited, StoreError, TokenNotFound
from ...core.formats import percent_text, price_text, time_text, value_text
from ...core.market import UtcDatetime
from ...core.text import quote_untrusted, skeleton
from ...core.token import Record, Token
from ...prompts import load_prompt
from ..khala.codec import decode_all, encode
from ..khala.records import Freshness
from ..khala.schema import epoch, upsert
from ..market_data.news import TITLE_LIMIT, Fundamentals, NewsItem, NewsSource
from .statements import Leaning, Said, View, statement

if TYPE_CHECKING:
    from ..khala.journal import Journal
    from .context import CycleContext
    from .judgements import Judges

LARGEST = 5
"""So many of the largest tokens are read about besides what is held or watched."""
AGAIN_AFTER = timedelta(hours=1)
"""A source that failed is asked again after so long, when that is sooner than usual."""
REQUESTS = 2
SHOWN, NEW = 3, timedelta(days=7)
"""Headlines told of one token, none older than this."""
MOST_READ = 12
"""Headlines that a model chooses among, the newest; numbered from 1."""
KEPT = timedelta(days=30)
EARNINGS_NEAR, EARNINGS_AHEAD = timedelta(days=7), timedelta(days=30)
"""An earnings date so near is among the most telling there is; one so far ahead is told."""

_ABOUT_ITSELF = re.compile(r"^(update|corrected|refile|exclusive)\s*\d*\s*[-:]\s*|\s+[-|–—]\s+[\w.' ]{2,30}$", re.I)
"""What a headline says of itself: that it was corrected, and who published it."""

_IN_LINKS = ":/?#@!$&'()*+,;=%~"
"""Signs that stay as they are in a link; what could end it does not."""

_MIGRATIONS = (
    """
    CREATE TABLE news (
        symbol TEXT NOT NULL, digest TEXT NOT NULL, published_at REAL NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (symbol, digest)
    );
    CREATE TABLE fundamentals (symbol TEXT PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE news_asked (symbol TEXT PRIMARY KEY, asked_at REAL NOT NULL, problem TEXT NOT NULL);
    """,
    "CREATE TABLE news_digests (symbol TEXT PRIMARY KEY, body TEXT NOT NULL);",
)


class Sorted(BaseModel):
    """What a model returns: numbers of the headlines shown to it."""

    model_config = ConfigDict(extra="forbid")

    matter: list[int] = Field(max_length=MOST_READ)
    repeats: list[int] = Field(default_factory=list, max_length=MOST_READ)
    leaning: Leaning


class Digest(Record):
    """The headlines of a token that a model chose of those it was shown, newest first, and how it reads them."""

    model: str
    leaning: Leaning
    shown: int
    made_at: UtcDatetime
    chosen: tuple[NewsItem, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """What memory holds about a token from outside the market, newest first, when it is read (`now`). With a digest
    the items are those that it chose."""

    now: datetime
    items: Sequence[NewsItem] = ()
    fundamentals: Fundamentals | None = None
    digest: Digest | None = None


class NewsShelf:
    """News and fundamentals of one memory. Raises StoreError when the journal cannot be read or written."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._there = journal.ensured("news", _MIGRATIONS)

    def about(self, symbol: str, now: datetime) -> Told:
        """What is known about a token as of `now`."""
        if not self._there:
            return Told(now)

        def body[T: Record](table: str, record: type[T]) -> T | None:
            rows = self._journal.rows(f"SELECT body FROM {table} WHERE symbol = ?", symbol)
            return next(iter(decode_all(record, (text for (text,) in rows))), None)

        digest, items = body("news_digests", Digest), self.recent(symbol, now)[:SHOWN]
        if digest is not None and digest.made_at <= now:
            items = [item for item in digest.chosen if item.published_at > now - NEW][:SHOWN]
        else:
            digest = None
        found = body("fundamentals", Fundamentals)
        return Told(now, items, found if found and found.fetched_at <= now else None, digest if items else None)

    def recent(self, symbol: str, now: datetime) -> list[NewsItem]:
        """The headlines of the last days about a token, newest first; what was published later is not known yet."""
        recent = "symbol = ? AND published_at > ? AND published_at <= ? ORDER BY published_at DESC LIMIT ?"
        asked = symbol, epoch(now - NEW), epoch(now), MOST_READ
        return decode_all(
            NewsItem, (body for (body,) in self._journal.rows(f"SELECT body FROM news WHERE {recent}", *asked))
        )

    def put_digest(self, symbol: str, digest: Digest) -> None:
        """Keep what a model chose, until there are new headlines."""
        with self._journal.write() as connection:
            connection.execute(upsert("news_digests", "symbol", "body"), (symbol, encode(digest)))

    def due(self, symbol: str, now: datetime, every: timedelta) -> bool:
        """Whether a source is to be asked about a token again."""
        for at, problem in self._journal.rows("SELECT asked_at, problem FROM news_asked WHERE symbol = ?", symbol):
            return epoch(now) - at >= (min(every, AGAIN_AFTER) if problem else every).total_seconds()
        return True

    def put(
        self,
        symbol: str,
        at: datetime,
        *,
        items: Sequence[NewsItem] = (),
        fundamentals: Fundamentals | None = None,
        problem: str = "",
    ) -> int:
        """Keep what was read, and that it was asked for; returns how many headlines are new.

        One whose title looks like that of another, whoever published it and wherever it says so, is the same: the first
        stays.
        """
        new = 0
        with self._journal.write() as connection:
            for item in items:
                told = _ABOUT_ITSELF.sub("", item.title) or item.title
                letters = "".join(filter(str.isalnum, told)) or told
                digest = hashlib.sha256(skeleton(letters).encode()).hexdigest()[:16]
                new += connection.execute(
                    "INSERT INTO news (symbol, digest, published_at, body) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (symbol, digest) DO NOTHING",
                    (symbol, digest, epoch(item.published_at), encode(item)),
                ).rowcount
            connection.execute("DELETE FROM news WHERE published_at < ?", (epoch(at - KEPT),))
            if new:
                connection.execute("DELETE FROM news_digests WHERE symbol = ?", (symbol,))
            if fundamentals is not None:
                connection.execute(upsert("fundamentals", "symbol", "body"), (symbol, encode(fundamentals)))
            connection.execute(upsert("news_asked", "symbol", "asked_at, problem"), (symbol, epoch(at), problem))
        return new


class NewsReader:
    """Reads a source asleep; `read_news` is a step of the cycle.

    Args:
        judges: what asks the sleeping model for digests; without it headlines are told as they come.
    """

    def __init__(self, source: NewsSource, shelf: NewsShelf, judges: Judges | None = None) -> None:
        self._source = source
        self._shelf = shelf
        self._judges = judges
        self._sorted: dict[str, Sequence[NewsItem]] = {}

    def read_news(self, context: CycleContext) -> int:
        """Read about each token whose turn it is, until time or budget end it; returns how many headlines are new."""
        khala, every = context.khala, timedelta(hours=context.settings.news_every_hours)
        known = {token.symbol: token for token in khala.symbols()}
        new = 0
        symbols = dict.fromkeys([*context.holdings.followed(context.settings), *khala.universe()[:LARGEST]])
        for symbol in symbols:
            if symbol not in known or not self._shelf.due(symbol, context.now, every):
                continue
            if context.budget.left("requests") < REQUESTS or not context.may_ask():
                break
            try:
                new += self._read(context, known[symbol])
            except BudgetExceeded:
                break
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 - typed and logged: it costs this token alone
                problem = context.typed(error, f"news of {symbol}")
                context.problems.append(f"news: {problem}")
                self._shelf.put(symbol, context.now, problem=problem.code)
                if isinstance(problem, RateLimited | CircuitOpen):
                    break
        if new:
            context.made["news"] = new
        for symbol in symbols:
            if not context.guarded(f"digest of {symbol}", partial(self._digest, context, symbol)):
                break
        return new

    def _digest(self, context: CycleContext, symbol: str) -> bool:
        """Have headlines sorted that no digest is of; those of a reply that fitted no form are not shown again. False
        when the model is not to be asked now."""
        judges, items = self._judges, self._shelf.recent(symbol, context.now)
        if len(items) < 2 or self._sorted.get(symbol) == items or self._shelf.about(symbol, context.now).digest:
            return True
        if judges is None or not context.may_ask():
            return False
        self._sorted[symbol] = items
        lines = "\n".join(f"{number}. {_quoted(item)}" for number, item in enumerate(items, 1))
        reply = judges.choose(context, load_prompt("digest", symbol=symbol, headlines=lines), Sorted)
        if not {*reply.matter, *reply.repeats} <= set(range(1, len(items) + 1)):
            raise MalformedResponse(f"The model chose a headline that was not shown ({reply.matter}, {reply.repeats}).")
        chosen = tuple(item for n, item in enumerate(items, 1) if n in reply.matter and n not in reply.repeats)
        if chosen:
            told = {"leaning": reply.leaning, "shown": len(items), "chosen": chosen}
            self._shelf.put_digest(symbol, Digest(model=judges.name, made_at=context.now, **told))
            context.made["digests"] += 1
        return True

    def _read(self, context: CycleContext, token: Token) -> int:
        def ask[T](what: Callable[[Token], T]) -> T:
            return context.ask_source(partial(what, token), what=f"The news source about {token}")

        with context.budget.metering("requests", REQUESTS):
            new = self._shelf.put(token.symbol, context.now, items=ask(self._source.news))
            if new:  # judgements that were made before they were read are not shown any more
                made = [d for d, state, _ in context.khala.documents("judgement") if state is Freshness.FRESH]
                ended = [d.model_copy(update={"dies_at": context.now}) for d in made if token.symbol in d.symbols]
                context.khala.put_documents(ended)
            with suppress(TokenNotFound):  # most coins have none
                self._shelf.put(token.symbol, context.now, fundamentals=ask(self._source.fundamentals))
        return new


# -- statements ---------------------------------------------------------------------------------------------------


@statement("news")
def _news(v: View) -> Said | None:
    if v.told is None or not v.told.items:
        return None
    quoted = "; ".join(map(_quoted, v.told.items))
    text = f"Headlines about {v.symbol}, quoted, not checked{_read_by(v.told)}: {quoted}."
    return Said(text, weight=0.3, as_of=v.told.items[0].fetched_at)


def digest_lines(symbol: str, told: Told) -> list[str]:
    """What is told of a token's news as markdown: each headline as a quotation, with its link."""
    links = {item: f" <{quote(item.link, safe=_IN_LINKS)}>" if item.link else "" for item in told.items}
    return [f"- {symbol}, quoted, not checked{_read_by(told)}:"] * bool(links) + [
        f"    - {_quoted(item)}{link}" for item, link in links.items()
    ]


def _read_by(told: Told) -> str:
    """How a model reads the headlines, where it chose them."""
    if (digest := told.digest) is None:
        return ""
    chose = f"chose {len(digest.chosen)} of {digest.shown}, and reads them as {digest.leaning}"
    return f" ({quote_untrusted(digest.model)} {chose})"


def _quoted(item: NewsItem) -> str:
    title, publisher = quote_untrusted(item.title, limit=TITLE_LIMIT), quote_untrusted(item.publisher)
    return f"{title} ({publisher}, {time_text(item.published_at)})"


@statement("earnings")
def _earnings(v: View) -> Said | None:
    found = v.told.fundamentals if v.told else None
    if v.told is None or found is None or found.earnings_at is None:
        return None
    ahead = found.earnings_at - v.told.now
    if not timedelta(0) <= ahead <= EARNINGS_AHEAD:
        return None
    days = (found.earnings_at.date() - v.told.now.date()).days
    when = "today" if days == 0 else f"in {days} day{'s' * (days != 1)}"
    estimated = ", an estimate" if found.earnings_estimated else ""
    text = (
        f"{v.symbol} reports earnings on {found.earnings_at:%Y-%m-%d}, {when}{estimated} ({found.source}, read "
        f"{time_text(found.fetched_at)})."
    )
    return Said(text, weight=0.85 if ahead <= EARNINGS_NEAR else 0.4, as_of=found.fetched_at)


@statement("fundamentals")
def _fundamentals(v: View) -> Said | None:
    found = v.told.fundamentals if v.told else None
    if found is None:
        return None
    texts = {
        "market_cap": ("market cap", lambda value: f"{value_text(value, 'count')} USD"),
        "pe_trailing": ("P/E", partial(value_text, form="ratio")),
        "pe_forward": ("forward P/E", partial(value_text, form="ratio")),
        "dividend_yield": ("dividend yield", percent_text),
        "dividend": ("dividend a share and year", lambda value: f"{price_text(value)} USD"),
    }
    values = {name: value for name in texts if (value := getattr(found, name)) is not None}
    parts = [f"{texts[name][0]} {texts[name][1](value)}" for name, value in values.items()]
    if found.ex_dividend_at is not None:
        parts.append(f"ex dividend {found.ex_dividend_at:%Y-%m-%d}")
    absent = [label for name, (label, _) in texts.items() if name not in values]
    if absent:
        parts.append(f"not given: {', '.join(absent)}")
    text = f"Fundamentals of {v.symbol} ({found.source}, read {time_text(found.fetched_at)}): {'; '.join(parts)}."
    return Said(text, weight=0.2, more=values, as_of=found.fetched_at)
