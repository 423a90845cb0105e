"""One look into memory for a question: what is pushed before a model speaks, and what code answers by itself.

The push, the gate, the tool, the command line and the page read through here, so all of them say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ...core.errors import InvalidInput
from ...core.formats import threshold_text
from ...core.text import clean_label, estimate_tokens
from ...core.token import Interval, Token
from ..khala.records import Document, Freshness, MarketAnalysis, Recall
from ..market_data.figures import SPECS, figure_label
from .asked import ZONES, asked_statement, needs_bars, own_named
from .bar_store import BarStore
from .briefs import Brief, fit_statements, heading, market_statements, order_for
from .calls import CallLog
from .holdings import MOST_TOGETHER, Holdings, correlation_statements, portfolio_statements, positions
from .lessons import KIND as LESSON
from .news import NewsShelf
from .reading import Question, nearest_names, read_question, unknown_token
from .rule_statements import SIDES, Side, record_text, rules_call
from .screens import Screen, comparison_statements, run_screen, screen_statement
from .statements import Statement, statements_of
from .topics import FROM_SOURCES, NOT_HELD, TOPICS, Topic

if TYPE_CHECKING:
    from ..khala import Khala

LEAST_COVERED = 0.5
"""Below this share of fresh tokens, what the rest of them say is not what the market says."""
ANSWER_STATEMENTS = 6
MOST_CHANGES = 8
RECORD_TOPICS = frozenset({"entry", "exit", "rules"})
"""Topics for which the team's own record, and its lessons, are read."""
DEFAULT_TOPIC = "state"


@dataclass(frozen=True)
class Reading:
    """What memory holds for one question.

    `recalls` are of the tokens named, `market` of every token where the question is about the market.
    """

    question: Question
    recalls: tuple[Recall, ...]
    market: tuple[Recall, ...]
    read_at: datetime

    @property
    def topic(self) -> Topic:
        """The topic; how the token stands where none was read."""
        return TOPICS[self.question.topic or DEFAULT_TOPIC]

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(recall.symbol for recall in self.recalls)

    @cached_property
    def covered(self) -> bool:
        """True when memory holds, fresh, all that the question is about: then nobody needs to be asked."""
        if self.question.unknown:
            return False
        if self.recalls:
            return all(recall.usable for recall in self.recalls)
        if self.question.about_market:
            good = sum(recall.servable for recall in self.market)
            return bool(self.market) and good >= LEAST_COVERED * len(self.market)
        return self.topic.name == "definition"

    @property
    def delegate(self) -> tuple[str, ...]:
        """Tokens that have to be looked at anew before anybody answers about them."""
        return tuple(recall.symbol for recall in self.recalls if not recall.usable)

    @property
    def knows_something(self) -> bool:
        """True when there is anything to say from memory."""
        return any(recall.servable for recall in (*self.recalls, *self.market)) or self.covered


@dataclass(frozen=True, slots=True)
class Source:
    """Where a statement of an answer comes from."""

    symbol: str
    interval: str
    bar_close: datetime
    provider: str
    fetched_at: datetime
    computed_at: datetime

    @classmethod
    def of(cls, analysis: MarketAnalysis) -> Source:
        """The source that one analysis is."""
        return cls(
            analysis.token.symbol,
            analysis.interval,
            analysis.bar_close,
            analysis.provenance.provider,
            analysis.fetched_at,
            analysis.computed_at,
        )


@dataclass(frozen=True, slots=True)
class MemoryAnswer:
    """An answer that code wrote from memory alone.

    `served` is "memory" when everything asked about was there and fresh, "partly" when some of it was, "none" when
    memory had nothing to say; then `text` says so in a sentence, and `suggestions` are questions it can answer.
    """

    text: str
    served: Literal["memory", "partly", "none"]
    statements: tuple[Statement, ...] = ()
    symbols: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    suggestions: tuple[str, ...] = ()


class Reader:
    """Reads Khala for questions. Keep one for each Khala and share it; every method is safe across threads."""

    def __init__(self, khala: Khala) -> None:
        self.khala = khala
        self.holdings = Holdings(khala.journal)
        self.news = NewsShelf(khala.journal)

    def __deepcopy__(self, memo: dict[int, Any]) -> Reader:
        return self

    def read(
        self,
        text: str = "",
        *,
        names: Sequence[str] = (),
        topic: str | None = None,
        screen: Screen | None = None,
        earlier: Iterable[str] = (),
    ) -> Reading:
        """Look up what a question is about.

        Args:
            text: the question; read by its words where names and topic are not given.
            names: symbols, tickers or names of tokens; they win over those in the text.
            topic: a name from `TOPICS`; it wins over the one that the text names.
            screen: a ranking or screen of the tokens named, or of the market where none is.
            earlier: symbols that the conversation was about.

        Raises:
            InvalidInput: nothing was given, or there is no such topic.
            UnknownToken: names were given and none of them is known.
            StoreError: memory cannot be read.
        """
        if not (names or text.strip() or topic or screen):
            raise InvalidInput("No token, topic or question was given.", hint="Name a token, or ask about the market.")
        if topic is not None and topic not in TOPICS:
            raise InvalidInput(f"There is no topic {clean_label(topic)!r}.", hint=f"Use one of {', '.join(TOPICS)}.")
        khala = self.khala
        before = tuple(t for symbol in earlier if (t := khala.find(symbol)) is not None)
        question = read_question(text, khala, khala.settings, earlier=before) if text.strip() else Question("")
        if topic is not None:
            question = replace(question, topic=topic)
        if names:
            found = {name: khala.find(name) for name in names}
            known = {token.symbol: token for token in found.values() if token is not None}
            strange = tuple(name for name, token in found.items() if token is None)
            if not known:
                raise unknown_token(strange, khala)
            question = replace(question, tokens=tuple(known.values()), unknown=strange)
        if screen is not None:
            screen = replace(screen, symbols=tuple(token.symbol for token in question.tokens))
            question = replace(question, screen=screen, about_market=True)
        if question.topic == "holdings" and not question.tokens:
            alike = question.not_held.startswith("correlat")  # of what is held together it is known
            not_held = "" if alike else question.not_held
            question = replace(question, about_market=True, screen=None, not_held=not_held)
        if question.topic == "rules" and not (question.tokens or question.unknown):
            question = replace(question, about_market=True, screen=None)
        if question.topic in FROM_SOURCES:
            there = any(self._told(token.symbol, question.topic) for token in question.tokens)
            question = replace(question, not_held="" if there else question.not_held or TOPICS[question.topic].label)
        if not question.tokens and topic is not None and TOPICS[topic].takes in ("market", "either"):
            question = replace(question, about_market=True)
        recalls = tuple(self._latest(token, question.interval) for token in question.tokens)
        made = [recall.analysis for recall in recalls if recall.analysis is not None]
        unread = tuple(word for word in question.unread if not any(own_named(word, analysis) for analysis in made))
        question = replace(question, unread=unread)
        market: tuple[Recall, ...] = ()
        if question.about_market and not (question.screen and question.screen.symbols):
            wanted = self.holdings.all() if question.topic == "holdings" else khala.symbols()
            found = khala.latest_many(wanted, interval=question.interval).values()
            market = tuple(recall for recall in found if _wanted(recall, question))
        return Reading(question, recalls, market, khala.clock.now())

    def _told(self, symbol: str, topic: str) -> bool:
        """Whether memory holds news, or fundamentals, of a token."""
        told = self.news.about(symbol, self.khala.clock.now())
        return bool(told.items) if topic == "news" else told.fundamentals is not None

    def _latest(self, token: Token, interval: Interval) -> Recall:
        """What is known on the interval asked about; daily bars where there are no hourly ones."""
        recall = self.khala.latest(token, interval=interval)
        return self.khala.latest(token) if interval == "1h" and recall.analysis is None else recall

    # -- what is pushed -------------------------------------------------------------------------------------------

    def brief(self, reading: Reading, budget: int | None = None) -> Brief:
        """Plain lines about a reading for a model to read, the topic's statements first.

        Args:
            budget: model tokens for the lines; None: 150 for one token, up to 400 for five and more, or for the market.
        """
        settings, count = self.khala.settings, len(reading.recalls)
        most = settings.brief_tokens_most
        several = min(settings.brief_tokens + (count - 1) * settings.brief_tokens_more, most)
        closing = self._closing(reading)
        room = (budget or (several if count else most)) - sum(map(estimate_tokens, closing))
        if count and reading.question.screen is not None:
            most_across = room // 2
        else:  # ranked by several figures: these lines say what the tokens' own would
            most_across = room - sum(estimate_tokens(heading(recall)) for recall in reading.recalls)
        taken = fit_statements(self._across(reading), most_across)
        lines = [f"- {statement.text}" for statement in taken]
        room -= sum(map(estimate_tokens, lines))
        for head, made in self._about_each(reading):
            own = fit_statements(made, room // count - estimate_tokens(head) - 2, at_least=int(count == 1))
            taken += own
            lines += [head, *(f"- {statement.text}" for statement in own)]
        text = "\n".join([*_simulated(reading), *lines, *closing])
        return Brief(text, tuple(taken), self._lead(reading, taken))

    def _about_each(self, reading: Reading) -> Iterator[tuple[str, list[Statement]]]:
        """The heading of each token named and, where it is fresh, all that can be said about it, in order."""
        for recall in reading.recalls:
            yield heading(recall), self._ordered(reading, recall) if recall.servable else []

    @staticmethod
    def _lead(reading: Reading, taken: Sequence[Statement]) -> str:
        """The line that answers the question: what is not held, the ranking or screen, the first of the topic."""
        question = reading.question
        if question.not_held:
            return _not_held(question)
        if not reading.covered or not taken:
            missing = ", ".join(recall.symbol for recall in reading.recalls if not recall.servable)
            return f"Memory does not hold what was asked ({missing})." if missing else ""
        if len(reading.recalls) > 1 and question.screen is None:
            return ""  # they are put in order by several figures, and which one was meant is the reader's to see
        answered = question.topic is not None or question.figure is not None or taken[0].id == "asked"
        return taken[0].text if answered else ""

    def _across(self, reading: Reading) -> list[Statement]:
        """Statements about several tokens: the comparison, the screen, the market."""
        settings, now, question = self.khala.settings, reading.read_at, reading.question
        made: list[Statement] = []
        if question.not_held and not reading.recalls:
            return made  # what memory does not hold is not answered with the market instead
        if reading.topic.name == "holdings":
            return made if reading.recalls else self._portfolio(reading)
        if question.screen is not None:
            pool = reading.recalls if question.screen.symbols else reading.market
            made.append(screen_statement(run_screen(question.screen, pool, settings, now), settings))
        if len(reading.recalls) > 1 and not made and reading.topic.name != "safety":  # each verdict is told by itself
            named = [recall for recall in reading.recalls if recall.symbol not in question.without]
            made += comparison_statements(named, settings, now)
        if question.about_market and reading.market and question.screen is None:
            if reading.topic.name == "change":
                made += self._changes(reading.market)
            if not made and not reading.recalls and reading.topic.name not in RECORD_TOPICS:
                made += market_statements(reading.market, settings, now)
        if question.about_market and not reading.recalls and reading.topic.name in RECORD_TOPICS:
            made += self._learned(reading)
        meant = [f"{SPECS[name].label} is: {SPECS[name].definition}." for name in question.defines]
        if meant and (zones := [zone for zone in ZONES if zone in question.text.lower()]):
            limit = settings.rsi_oversold if zones[0] == "oversold" else settings.rsi_overbought
            meant.insert(0, f"A token is {zones[0]} where RSI(14) is {ZONES[zones[0]]} {threshold_text(limit)}.")
        made += [Statement("definition", "", text, {}, "neutral", 1.0, now) for text in meant]
        return made

    def _portfolio(self, reading: Reading) -> list[Statement]:
        """All that is held together, then each holding, the largest first."""
        held = self.holdings.all()
        found = positions(self.khala, held)
        recalls = {recall.symbol: recall for recall in reading.market}
        made = portfolio_statements(tuple(held), found, reading.read_at)
        largest = sorted(found, key=lambda s: -found[s].worth)
        store = BarStore(self.khala.journal)
        bars = {
            symbol: kept.frame
            for symbol in largest[:MOST_TOGETHER]
            if symbol in recalls and (analysis := recalls[symbol].analysis) is not None
            if (kept := store.get(analysis.token, "1d")) is not None
        }
        made += correlation_statements(bars, reading.read_at) if len(bars) > 1 else []
        for symbol in largest:
            if symbol in recalls:
                made += self.statements(recalls[symbol], only=("holding", "held_stop"))
        return made

    def _learned(self, reading: Reading) -> list[Statement]:
        """What rules call on the tokens of the market, how the team's own calls did, and the lessons that stand."""
        now, name = reading.read_at, reading.topic.name
        sides: dict[str, tuple[Side, ...]] = {"entry": ("buy",), "exit": ("sell",)}
        wanted, settings = sides.get(name, SIDES), self.khala.settings
        made = [rules_call(self._calls, reading.market, side, settings, now)[1] for side in wanted]
        record = record_text(self._calls.team_record(now)) or "No call of the team has been scored yet."
        told = [("record", record), *(("lesson", lesson.text.split("\n", 1)[0]) for lesson in self._lessons())]
        return made + [Statement(identity, "", text, {}, "neutral", 0.5, now) for identity, text in told]

    def _changes(self, recalls: Sequence[Recall]) -> list[Statement]:
        """The tokens that changed most since the bar before, the most telling change first."""
        made = [
            statement
            for recall in recalls
            if recall.servable
            for statement in self.statements(recall, TOPICS["change"], only=("change",))
        ]
        made.sort(key=lambda statement: -statement.weight)
        return made[:MOST_CHANGES]

    def _closing(self, reading: Reading) -> list[str]:
        lines = []
        daily = [r.symbol for r in reading.recalls if reading.question.interval == "1h" and r.interval == "1d"]
        if daily:
            lines.append(f"Memory holds no hourly bars of {', '.join(daily)}; these are the daily ones.")
        if reading.question.unknown:
            lines.append(_unknown(reading.question))
        if reading.question.not_held:
            lines.append(_not_held(reading.question))
        if reading.question.without and reading.market:
            lines.append(f"Left out, as asked: {', '.join(reading.question.without)}.")
        if reading.question.unscreened:
            ignored = ", ".join(map(figure_label, reading.question.unscreened))
            lines.append(f"The tokens are not chosen by all that was asked: {ignored} is left out.")
        if reading.topic.cannot:
            lines.append(reading.topic.cannot)
        if reading.knows_something:
            lines.append(NOT_HELD)
        return lines

    def statements(
        self, recall: Recall, topic: Topic | None = None, *, only: Iterable[str] | None = None
    ) -> tuple[Statement, ...]:
        """Statements about one token. What is slow (an earlier bar, similar situations) is read only for its topic."""
        analysis = recall.analysis
        if analysis is None:
            return ()
        name = topic.name if topic else ""
        before = self._before(analysis) if name == "change" else None
        similar = None
        if name == "history":
            similar = self.khala.similar(analysis.token, interval=analysis.interval)
        beside = only is None or "holding" in only
        held = self.holdings.all() if beside else {}
        return statements_of(
            analysis,
            self.khala.settings,
            quote=recall.observed,
            before=before,
            similar=similar,
            position=positions(self.khala, held).get(recall.symbol) if recall.symbol in held else None,
            told=self.news.about(recall.symbol, recall.read_at) if beside else None,
            evidence=self._calls.evidence(recall.symbol) if only is None and analysis.interval == "1d" else None,
            record=self._calls.team_record(recall.read_at) if name in RECORD_TOPICS else (),
            lessons=self._lessons() if name in RECORD_TOPICS else (),
            only=only,
        )

    @cached_property
    def _calls(self) -> CallLog:
        return CallLog(self.khala.journal)

    def _lessons(self) -> list[Document]:
        return [lesson for lesson, state, _ in self.khala.documents(LESSON) if state is Freshness.FRESH]

    def _ordered(self, reading: Reading, recall: Recall) -> list[Statement]:
        """Everything to be said about one token, what answers the question first."""
        question, asked, made = reading.question, None, self.statements(recall, reading.topic)
        if len(reading.recalls) == 1 and recall.analysis is not None and reading.topic.name != "safety":
            bars = None
            if needs_bars(question):
                bars = BarStore(self.khala.journal).get(recall.analysis.token, recall.interval)
            asked = asked_statement(question, recall.analysis, self.khala.settings, bars, made)
        topic = reading.topic
        also = tuple(TOPICS[name].statements[0] for name in question.beside)  # another subject is not dropped for one
        topic = replace(topic, statements=(*topic.statements[:1], *also, *topic.statements[1:]))
        return order_for(topic, made, question.figure, asked)

    def _before(self, analysis: MarketAnalysis) -> MarketAnalysis | None:
        """The newest stored analysis of an earlier bar."""
        stored = self.khala.history(analysis.token, interval=analysis.interval, until=analysis.bar_close, limit=5)
        return next((a for a in stored if a.bar_close < analysis.bar_close), None)

    # -- what code answers ----------------------------------------------------------------------------------------

    def answer(self, reading: Reading) -> MemoryAnswer:
        """The answer that code writes: statements in the topic's order, each token's own, with their sources.

        Never raises for want of an answer: what memory does not hold is said in a sentence, with suggestions.
        """
        good = [recall for recall in reading.recalls if recall.servable]
        if not good and not (reading.question.about_market and reading.market) and reading.topic.name != "definition":
            return self._nothing(reading)
        across = self._across(reading)
        taken, lines = list(across), [*_simulated(reading), *(statement.text for statement in across)]
        most = ANSWER_STATEMENTS // 2 if len(reading.recalls) > 1 else ANSWER_STATEMENTS
        for head, made in self._about_each(reading):
            taken += made[:most]
            lines += [head, *(statement.text for statement in made[:most])]
        lines += [line for line in self._closing(reading) if line != NOT_HELD or reading.question.not_held]
        lines += _not_read(reading.question)
        used = good or [r for r in reading.market if r.servable]
        named = {s.symbol for s in taken} | {fact.split(":", 1)[0] for s in across for fact in s.facts}
        sources = tuple(Source.of(r.analysis) for r in used if r.analysis is not None and r.symbol in named)
        served = "memory" if reading.covered and not reading.question.not_held else "partly"
        read = reading.question.topic is not None or reading.question.screen is not None
        suggestions = () if read else self._suggestions(reading)
        return MemoryAnswer("\n".join(lines), served, tuple(taken), reading.symbols, sources, suggestions)

    def _nothing(self, reading: Reading) -> MemoryAnswer:
        question = reading.question
        if reading.recalls:
            told = " ".join(heading(recall) for recall in reading.recalls)
        elif question.unknown:
            told = f"{_unknown(question)} {nearest_names(question.unknown, self.khala)}"
        elif question.not_held:
            told = f"Memory does not hold that ({question.not_held}). {NOT_HELD}"
        elif question.topic == "holdings":
            told = "Nothing is held, as far as memory knows: `deeptrader holdings add TOKEN QUANTITY --at PRICE`."
        elif question.about_market and self.khala.symbols():
            told = f"Memory holds no {'stocks' if question.kind == 'equity' else 'coins'}."
        elif question.about_market:
            told = "Memory is empty: no sleep cycle has run yet."
        else:
            told = " ".join(["I could not tell which token in memory this is about.", *_not_read(question)])
        return MemoryAnswer(told, "none", symbols=reading.symbols, suggestions=self._suggestions(reading))

    def _suggestions(self, reading: Reading) -> tuple[str, ...]:
        """Three questions that memory can answer now, about the tokens named or the first ones it knows."""
        if any(recall.analysis is not None and not recall.servable for recall in reading.recalls):
            return ("Refresh it first: deeptrader sleep --once",)
        known = [recall.symbol for recall in reading.recalls if recall.servable]
        if not known:
            known = [token.symbol for token in self.khala.symbols()[:1]]
        if not known:
            return ("Run `deeptrader sleep --once` first.",)
        return (f"Is {known[0]} oversold?", f"What is the risk of {known[0]}?", "Which tokens are overbought?")


def _wanted(recall: Recall, question: Question) -> bool:
    """Whether a token belongs to the market that is asked about."""
    kind = recall.analysis.token.kind if recall.analysis is not None else question.kind
    return recall.symbol not in question.without and question.kind in (None, kind)


def _unknown(question: Question) -> str:
    return f"Memory knows no token called {', '.join(clean_label(name, limit=24) for name in question.unknown[:5])}."


def _not_held(question: Question) -> str:
    return f"Memory does not hold what was asked ({question.not_held})."


def _not_read(question: Question) -> list[str]:
    """What of a question was not read: its other words, and the other time that it asks about."""
    words = ", ".join(clean_label(word, limit=24) for word in question.unread[:5])
    lines = [f"Not read in the question: {words}."] if words else []
    if question.then and (question.tokens or question.about_market):
        lines.append(f"The figures are those of the last closed bar, not of another time ({question.then}).")
    return lines


def _simulated(reading: Reading) -> list[str]:
    """The line that stands in front of what is said of a made-up market; a token's heading says it itself."""
    made_up = any(recall.analysis and recall.analysis.provenance.simulated for recall in reading.market)
    return ["SIMULATED DATA."] if made_up else []
