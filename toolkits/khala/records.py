"""What Khala keeps. Every record is frozen, carries its schema version, and says when it was true."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ...core.formats import age_text as age_text
from ...core.market import Figure, Quote, Signal, Trigger, UtcDatetime
from ...core.security import SecurityReport
from ...core.token import Interval, Label, Record, Symbol, Token
from ..market_data.figures import SPECS

SCHEMA_VERSION = 2

RSI = "rsi_14"
BANDS = {
    "lower": "bb_lower_20_2",
    "middle": "bb_middle_20_2",
    "upper": "bb_upper_20_2",
    "percent_b": "bb_percent_b_20_2",
    "bandwidth": "bb_bandwidth_20_2",
}
"""The figures that have fields of their own in an analysis: by field, the name in the catalogue."""


class Provenance(Record):
    """Where an analysis comes from and what code made it."""

    provider: Label
    source: Label = ""
    simulated: bool = False
    inputs_hash: str
    code_version: str
    bars: Annotated[int, Field(ge=0)]
    first_bar: UtcDatetime | None = None
    gaps: Annotated[int, Field(ge=0)] = 0
    settled: bool = Field(default=True, description="False: the last bar was read soon after its close, and may change")
    revised: UtcDatetime | None = Field(default=None, description="newest bar that a later reading changed")
    adjusted: bool = Field(default=False, description="True: prices before the last bar are adjusted for dividends")


class Bollinger(Record):
    """The Bollinger bands (20, 2) of the last closed bar: bands as prices, %B as a ratio, bandwidth in percent."""

    lower: Figure
    middle: Figure
    upper: Figure
    percent_b: Figure
    bandwidth: Figure


def core_figures(figures: Mapping[str, Figure]) -> tuple[Figure, Bollinger, dict[str, Figure]]:
    """RSI, bands and all further figures out of one mapping by name; what is not in it is absent (no_data)."""

    def take(name: str) -> Figure:
        spec = SPECS[name]
        return figures.get(name) or Figure(value=None, unit=spec.unit, definition=spec.definition, absent="no_data")

    own = {RSI, *BANDS.values()}
    bands = Bollinger(**{field: take(name) for field, name in BANDS.items()})
    return take(RSI), bands, {name: figure for name, figure in figures.items() if name not in own}


class MarketAnalysis(Record):
    """One immutable analysis of one token on one interval at one moment. All prices in USD.

    `price` is the close of the last closed bar, `quote` the price seen when it was computed. `next_bar_due` is when
    the bar after `bar_close` closes: from then on this analysis can be out of date. `figures` are those beside RSI and
    bands. Without a `security` report `security_absent` says why: no_provider (none is configured: nothing is
    missing), not_checked, failed. `rules` are the thresholds, further indicators and policy it was made under
    (`freshness.rules_of`).
    """

    schema_version: int = SCHEMA_VERSION
    token: Token
    interval: Interval
    bar_close: UtcDatetime
    fetched_at: UtcDatetime
    computed_at: UtcDatetime
    next_bar_due: UtcDatetime
    price: Annotated[float, Field(gt=0)]
    quote: Quote | None = None
    rsi: Figure
    bollinger: Bollinger
    figures: dict[str, Figure] = Field(default_factory=dict)
    signal: Signal
    triggers: tuple[Trigger, ...] = ()
    security: SecurityReport | None = None
    security_absent: str = ""
    rules: str = ""
    report: str = ""
    report_author: str = "computed"
    provenance: Provenance

    @model_validator(mode="before")
    @classmethod
    def _reason_for_no_security(cls, given: Any) -> Any:
        if isinstance(given, dict):
            absent = "" if given.get("security") is not None else given.get("security_absent") or "not_checked"
            return given | {"security_absent": absent}
        return given

    @property
    def analysis_id(self) -> str:
        """Content address: the same findings from the same inputs have the same id, whenever they were computed."""
        return self.id_of(self.findings_json())

    def findings_json(self) -> str:
        """What was found, as JSON without the moments it was found at; definitions the catalogue has are left out."""
        known = {"definition", "unit"}
        return self.model_dump_json(
            exclude={
                **dict.fromkeys(("schema_version", "fetched_at", "computed_at", "quote", "security"), True),
                "rsi": known if in_catalogue(RSI, self.rsi) else set(),
                "bollinger": {
                    field: known for field, name in BANDS.items() if in_catalogue(name, getattr(self.bollinger, field))
                },
                "figures": {name: known for name, figure in self.figures.items() if in_catalogue(name, figure)},
            },
            exclude_defaults=True,
        )

    def id_of(self, findings: str) -> str:
        """`analysis_id`, for whoever has the findings as JSON already."""
        quote = self.quote.model_dump_json(exclude={"as_of", "fetched_at"}) if self.quote else ""
        body = findings + quote + (self.security.report_hash if self.security else "")
        digest = hashlib.sha256(body.encode()).hexdigest()[:12]
        return f"{self.token.symbol}:{self.interval}:{self.bar_close:%Y%m%dT%H%M}:{digest}"

    @property
    def reference_price(self) -> float:
        """The price this analysis was made at: the quote's if one was seen, else the bar's close."""
        return self.quote.price if self.quote else self.price

    @property
    def security_verdict(self) -> str:
        """The verdict of its security report, or why there is none."""
        return self.security.verdict if self.security else self.security_absent

    @property
    def all_figures(self) -> dict[str, Figure]:
        """Every figure by name: those of the catalogue in its order, then the others."""
        every = {RSI: self.rsi, **{name: getattr(self.bollinger, field) for field, name in BANDS.items()}}
        every |= self.figures
        return {name: every[name] for name in SPECS if name in every} | every

    def figure(self, name: str) -> Figure | None:
        """A figure by its name, wherever it is kept; None when it was not computed at all."""
        field = _FIELD_OF.get(name)
        if field is None:
            return self.figures.get(name)
        return self.rsi if field == RSI else getattr(self.bollinger, field)

    def value(self, name: str) -> float | None:
        """A figure's value, or None when it is absent or not computed at all."""
        figure = self.figure(name)
        return figure.value if figure else None


_FIELD_OF = {RSI: RSI, **{name: field for field, name in BANDS.items()}}


def in_catalogue(name: str, figure: Figure) -> bool:
    """True when the catalogue says of this figure what the figure says of itself."""
    spec = SPECS.get(name)
    return spec is not None and spec.definition == figure.definition and spec.unit == figure.unit


class Freshness(StrEnum):
    """Decided when an analysis is read, against what should exist by now."""

    FRESH = "fresh"
    STALE = "stale"
    PARTIAL = "partial"
    MISS = "miss"


StaleCode = Literal[
    "not_yet",
    "from_future",
    "newer_bar",
    "price_moved",
    "threshold_crossed",
    "price_unobserved",
    "security_expired",
    "security_changed",
    "rules_changed",
    "left_universe",
    "ttl",
]


class StaleReason(Record):
    """Why an analysis may not be served as it stands. `code` is for machines, `detail` for people."""

    code: StaleCode
    detail: str


class Recall(Record):
    """The answer to "what do we know about this token now?".

    FRESH: serve it. STALE: `reasons` say why not. PARTIAL: `missing` says which parts should be there and are not.
    MISS: nothing is stored. `absent` lists figures that cannot exist (too little history, flat prices): they do
    not make a recall partial, since no refresh would bring them.
    """

    symbol: Symbol
    interval: Interval
    freshness: Freshness
    reasons: tuple[StaleReason, ...] = ()
    missing: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    analysis: MarketAnalysis | None = None
    observed: Quote | None = None
    read_at: UtcDatetime

    @property
    def usable(self) -> bool:
        """True when every part of it may be served: FRESH."""
        return self.freshness is Freshness.FRESH

    @property
    def servable(self) -> bool:
        """True when what is there may be answered from: FRESH, or PARTIAL, where the missing part is named."""
        return self.analysis is not None and self.freshness in (Freshness.FRESH, Freshness.PARTIAL)

    @property
    def price(self) -> float | None:
        """The price seen last: the newest sighting, else what the analysis was made at. None on a miss."""
        if self.analysis is None or (self.observed is not None and self.observed.as_of >= self.analysis.bar_close):
            return self.observed.price if self.observed else None
        return self.analysis.reference_price

    @property
    def age_seconds(self) -> float | None:
        """Seconds since the analysis was computed; None on a miss."""
        return (self.read_at - self.analysis.computed_at).total_seconds() if self.analysis else None


DocumentKind = Literal["scenario", "judgement", "lesson"]


class Document(Record):
    """A prepared text beside the analyses: a cross-token scenario, a sleeping model's judgement, or a lesson.

    `key` is stable across cycles (a newer document of the same kind and key replaces the older one when recalled).
    `rests_on` are analysis ids; when one of their tokens is no longer fresh, the document is not either.
    `dies_at` is its own end, if it has one. `facts` are the figures it cites; `fields` are searchable scalars.
    """

    schema_version: int = SCHEMA_VERSION
    kind: DocumentKind
    key: str
    title: str
    text: str
    symbols: tuple[Symbol, ...] = ()
    rests_on: tuple[str, ...] = ()
    created_at: UtcDatetime
    dies_at: UtcDatetime | None = None
    facts: dict[str, Any] = Field(default_factory=dict)
    fields: dict[str, str | float | bool] = Field(default_factory=dict)
    author: str = "computed"


class Memory(Record):
    """A free-text note the team wanted to keep. Importance 0 to 1; `source` says who wrote it."""

    schema_version: int = SCHEMA_VERSION
    memory_id: str
    text: str
    tags: tuple[str, ...] = ()
    importance: Annotated[float, Field(ge=0, le=1)] = 0.5
    symbols: tuple[Symbol, ...] = ()
    source: str = ""
    created_at: UtcDatetime


HitKind = Literal["analysis", DocumentKind, "memory"]


class SearchFilter(Record):
    """Conditions a search hit must meet, all of them. States are filters, since embedders do not see opposites.

    Of several kinds, symbols or security verdicts one must fit; of several tags every one. `below` and `above` bound
    figures by their names in the catalogue, `rsi_below` and `rsi_above` are short for RSI(14). `since` and `until`
    include their moment and look at when it was true: the bar's close of an analysis, the creation of a text.
    """

    kinds: tuple[HitKind, ...] = ()
    symbols: tuple[Symbol, ...] = ()
    interval: Interval | None = None
    token_kind: Literal["crypto", "equity"] | None = None
    signal: Literal["buy", "sell", "hold"] | None = None
    security: tuple[str, ...] = ()
    rsi_below: float | None = None
    rsi_above: float | None = None
    below: dict[str, float] = Field(default_factory=dict)
    above: dict[str, float] = Field(default_factory=dict)
    since: UtcDatetime | None = None
    until: UtcDatetime | None = None
    tags: tuple[str, ...] = ()


class SearchHit(Record):
    """One found record. `similarity` is cosine, 1 is equal. Analyses and documents come with their freshness.

    `found_by` says how: "chroma" (by meaning), "words" (only by its words), "newest" (no text was given).
    """

    kind: HitKind
    key: str
    similarity: float
    text: str
    symbols: tuple[Symbol, ...] = ()
    freshness: Freshness | None = None
    as_of: UtcDatetime
    analysis: MarketAnalysis | None = None
    document: Document | None = None
    memory: Memory | None = None
    found_by: str = ""


class SimilarSituation(Record):
    """A past moment whose figures looked alike, with what followed. Returns as fractions over bars; None: not yet."""

    symbol: Symbol
    interval: Interval
    bar_close: UtcDatetime
    distance: float
    figures: dict[str, float]
    returns: dict[int, float | None]


class SimilarSituations(Record):
    """Neighbours of the present and what followed them, cut at `as_of`: nothing after it was looked at.

    `outcomes` maps a horizon in bars (1, 7, 30) to `count`, `mean`, `median`, `low` and `high` (quartiles) and `rises`
    (share that rose), over those neighbours for which it is known; a horizon that is known for none is left out.
    """

    symbol: Symbol
    interval: Interval
    as_of: UtcDatetime
    situations: tuple[SimilarSituation, ...] = ()
    outcomes: dict[int, dict[str, float]] = Field(default_factory=dict)
    note: str = ""


class UniverseEvent(Record):
    """A token entered or left the top of the market, as seen by a cycle."""

    symbol: Symbol
    event: Literal["entered", "left"]
    at: UtcDatetime
    rank: int | None = None


class PublishReport(Record):
    """What became visible: ids in the order given, and for each refused id the reason. Nothing else changed."""

    published: tuple[str, ...] = ()
    refused: dict[str, str] = Field(default_factory=dict)
    at: UtcDatetime


class IndexReport(Record):
    """What bringing the search index up to the journal did.

    `mended` says why the copy was built anew, if it was. With `owner` False another process was at it, and nothing was
    done. `remaining` counts entries still to be written (the budget ran out).
    """

    owner: bool
    embedded: int = 0
    written: int = 0
    removed: int = 0
    remaining: int = 0
    mended: tuple[str, ...] = ()


class RepairReport(Record):
    """What a repair did: entries derived anew, texts embedded, rows in the index by kind.

    `salvaged` counts the rows saved out of a damaged journal by table (empty: it was whole), `was` what was wrong.
    """

    entries: int
    changed: int
    embedded: int
    rows: dict[str, int]
    was: tuple[str, ...] = ()
    salvaged: dict[str, int] = Field(default_factory=dict)

    def __str__(self) -> str:
        before = f" Before: {'; '.join(self.was)}." if self.was else " Nothing was wrong before."
        saved = f" {sum(self.salvaged.values())} rows were saved out of the damaged journal." if self.salvaged else ""
        return (
            f"Built the search index anew from the journal: {sum(self.rows.values())} rows, "
            f"{self.embedded} texts embedded, {self.changed} entries put right.{saved}{before}"
        )


class StoreStatus(Record):
    """What memory holds, cheap to ask: counts by kind, sizes, and how searching is done at the moment."""

    counts: dict[str, int]
    size_bytes: int
    newest_publication: UtcDatetime | None = None
    search_by: str
    index_behind: int = 0
    index_problems: tuple[str, ...] = ()
    embedder: str


class HealthReport(StoreStatus):
    """How memory stands after all of it was looked at. Problems are sentences; without any, none was found."""

    journal_ok: bool
    index_ok: bool
    problems: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line for people."""
        if self.problems:
            return " ".join(self.problems)
        megabytes = self.size_bytes / 2**20
        return f"{self.counts['published']} published analyses, {megabytes:.1f} MB, journal and index whole"


class CompactReport(Record):
    """What retention let go of, how many old versions it packed, and the size before and after in bytes."""

    dropped: dict[str, int]
    packed: int = 0
    size_before: int
    size_after: int
