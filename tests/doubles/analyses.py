"""Builders of valid records for everybody's tests: complete, consistent, and changed in one place at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from deeptrader.core.market import Action, Figure, Quote, Signal
from deeptrader.core.security import SecurityCheck, SecurityReport, Verdict
from deeptrader.core.settings import Settings
from deeptrader.core.token import Interval, Token, TokenKind
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.khala.freshness import rules_of
from deeptrader.toolkits.khala.records import Document, MarketAnalysis, Provenance, Trigger, core_figures
from deeptrader.toolkits.khala.situations import vector_of
from deeptrader.toolkits.market_data.calendar import next_bar_close
from deeptrader.toolkits.market_data.figures import SPECS

BAR_CLOSE = datetime(2026, 3, 2, tzinfo=UTC)
"""Close of the daily bar that built analyses rest on, unless told otherwise: a Monday's midnight."""
NOW = BAR_CLOSE + timedelta(minutes=6)
"""A moment at which a built analysis is FRESH: one minute after it was computed."""

_UNKNOWN = {"unit": "price", "definition": "a figure that the catalogue does not have"}


def make_token(symbol: str = "BTC-USD", *, name: str = "", kind: TokenKind | None = None) -> Token:
    """A token; its kind follows from the symbol as Yahoo writes it."""
    return Token(symbol=symbol, name=name, kind=kind or ("crypto" if symbol.endswith("-USD") else "equity"))


def make_figures(
    price: float = 100.0,
    *,
    rsi: float | None = 45.0,
    percent_b: float = 0.4,
    changes: Mapping[str, float | str | None] | None = None,
) -> dict[str, Figure]:
    """Every fixed figure, consistent around a price. `changes`: a number replaces a value, text is the reason why it
    is absent, None leaves the figure out altogether. `rsi=None` means not enough history for it."""
    band = 0.05 * price
    lower = price - 2 * band * percent_b
    values: dict[str, float | str | None] = {
        "rsi_14": rsi if rsi is not None else "insufficient_history",
        "rsi_14_change": 1.5 if rsi is not None else "insufficient_history",
        "bb_lower_20_2": lower,
        "bb_middle_20_2": lower + band,
        "bb_upper_20_2": lower + 2 * band,
        "bb_percent_b_20_2": percent_b,
        "bb_bandwidth_20_2": 2 * band / (lower + band),
        "macd_12_26_9": 0.4 * price / 100,
        "macd_signal_12_26_9": 0.3 * price / 100,
        "macd_histogram_12_26_9": 0.1 * price / 100,
        "atr_14": 0.02 * price,
        "adx_14": 22.0,
        "ema_20": price * 0.99,
        "ema_50": price * 0.97,
        "ema_200": price * 0.9,
        "distance_ema_200": 1 / 0.9 - 1,
        "volatility_30": 0.55,
        "return_1": 0.01,
        "return_7": 0.03,
        "return_30": -0.04,
        "return_week": 0.03,
        "return_month": -0.04,
        "return_year": 0.25,
        "distance_high_52w": -0.2,
        "distance_low_52w": 0.4,
        "volume_ratio_20": 1.1,
    }
    values.update(changes or {})
    figures = {}
    for name, value in values.items():
        spec = SPECS.get(name)
        about: dict[str, Any] = {"unit": spec.unit, "definition": spec.definition} if spec else _UNKNOWN
        if isinstance(value, str):
            figures[name] = Figure(value=None, absent=value, **about)
        elif value is not None:
            figures[name] = Figure(value=float(value), **about)
    return figures


def make_security(
    verdict: Verdict = "safe",
    *,
    symbol: str = "BTC-USD",
    checked_at: datetime = BAR_CLOSE,
    ttl: timedelta = timedelta(hours=24),
    **checks: Any,
) -> SecurityReport:
    """A report with one check a verdict needs; `checks` are further ids with their states."""
    state = {"safe": "pass", "caution": "pass", "danger": "fail", "unknown": "unknown"}.get(verdict, "not_applicable")
    states = {"honeypot": state, **checks}
    return SecurityReport(
        symbol=symbol,
        verdict=verdict,
        score=90.0 if verdict == "safe" else None,
        checks=tuple(
            SecurityCheck(id=name, state=value, source="test", checked_at=checked_at) for name, value in states.items()
        ),
        reasons=(f"verdict is {verdict}",),
        sources=("test",),
        checked_at=checked_at,
        expires_at=checked_at + ttl,
    )


def make_quote(symbol: str = "BTC-USD", price: float = 100.0, *, as_of: datetime = NOW, **more: Any) -> Quote:
    """A price seen at `as_of` and read at the same moment."""
    return Quote(symbol=symbol, price=price, as_of=as_of, fetched_at=as_of, source="test", **more)


def make_analysis(
    symbol: str = "BTC-USD",
    *,
    name: str = "",
    kind: TokenKind | None = None,
    interval: Interval = "1d",
    price: float = 100.0,
    rsi: float | None = 45.0,
    percent_b: float = 0.4,
    bar_close: datetime = BAR_CLOSE,
    computed_at: datetime | None = None,
    quote: Quote | float | None = None,
    action: Action | None = None,
    security: SecurityReport | Verdict | None = "safe",
    triggers: tuple[Trigger, ...] = (),
    figures: Mapping[str, float | str | None] | None = None,
    security_absent: str = "",
    report: str | None = None,
    simulated: bool = False,
    settings: Settings | None = None,
) -> MarketAnalysis:
    """A complete analysis, FRESH one minute after it was computed (`NOW` for the default bar).

    It is computed five minutes after its bar closed, with a quote seen at that moment: `price`, or `quote` as a number.
    `action` follows from `rsi` and `percent_b` by the usual rule. `figures` as `changes` in `make_figures`.
    """
    token = make_token(symbol, name=name, kind=kind)
    computed_at = computed_at or bar_close + timedelta(minutes=5)
    if not isinstance(quote, Quote):
        quote = make_quote(token.symbol, quote or price, as_of=computed_at)
    if isinstance(security, str):
        security = make_security(security, symbol=token.symbol, checked_at=computed_at)
    built = make_figures(price, rsi=rsi, percent_b=percent_b, changes=figures)
    if action is None and rsi is not None:
        action = "buy" if rsi < 30 and percent_b <= 0 else "sell" if rsi > 70 and percent_b >= 1 else "hold"
    own, bands, further = core_figures(built)
    inputs = f"{token.symbol}{interval}{bar_close}{price}{rsi}{percent_b}{figures}"
    return MarketAnalysis(
        token=token,
        interval=interval,
        bar_close=bar_close,
        fetched_at=computed_at,
        computed_at=computed_at,
        next_bar_due=next_bar_close(token.kind, interval, bar_close),
        price=price,
        quote=quote,
        rsi=own,
        bollinger=bands,
        figures=further,
        signal=Signal(action=action, rule="RSI and band", reason=f"RSI {rsi}"),
        triggers=triggers,
        security=security,
        security_absent=security_absent,
        rules=rules_of(settings or make_settings()),
        report=report if report is not None else f"{token.symbol} closed at {price:g}. RSI(14) is {rsi}.",
        provenance=Provenance(
            provider="test",
            source="test",
            simulated=simulated,
            inputs_hash=hashlib.sha256(inputs.encode()).hexdigest()[:16],
            code_version="test",
            bars=400,
            first_bar=bar_close - timedelta(days=400),
        ),
    )


def make_document(
    key: str = "oversold",
    *,
    kind: Any = "scenario",
    text: str = "Oversold with clean security: none.",
    rests_on: tuple[str, ...] = (),
    created_at: datetime = NOW,
    **more: Any,
) -> Document:
    """A prepared text."""
    return Document(kind=kind, key=key, title=key, text=text, rests_on=rests_on, created_at=created_at, **more)


def make_settings(**changes: Any) -> Settings:
    """Default settings that no environment variable or file on this machine can change."""
    return Settings.model_construct(**{**_defaults(), **changes})


def _defaults() -> dict[str, Any]:
    return {name: field.get_default(call_default_factory=True) for name, field in Settings.model_fields.items()}


def add_situations(
    khala: Khala, symbol: str, interval: Interval, rows: Iterable[tuple[datetime, float, Mapping[str, float | None]]]
) -> int:
    """Keep the past of one token: (bar_close, close, figures by name) of closed bars; returns how many changed."""
    if not (rows := list(rows)):
        return 0
    at, price, figures = zip(*((at.timestamp(), price, vector_of(figures)) for at, price, figures in rows), strict=True)
    return khala.add_situations([(symbol, interval, at, price, np.stack(figures))])
