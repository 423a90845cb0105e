"""Alerts: what changed materially about what is held or watched, found in a cycle, kept once, told on every channel.

A look keeps what one cycle saw of a token; `changes` compares it with the look before and touches nothing else. An
alert has the same key however often it is found, so it is kept and told once for each bar. It is noted as tried before
it is sent: a process that is killed in between sends it again, and never loses it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field

from ...core.errors import DeepTraderError, SettingsError, SourceUnreachable
from ...core.formats import percent_text, price_text, stamp, time_text
from ...core.market import Trigger, UtcDatetime
from ...core.settings import Settings
from ...core.token import Record
from ..khala.codec import decode_all, encode
from ..khala.records import Recall
from ..khala.schema import epoch
from .calls import CallLog
from .news import EARNINGS_NEAR, Told, digest_lines
from .planner import bands_moved, is_shock
from .reader import Reader
from .statements import SHOWN_LEVELS, level_text, statements_of
from .topics import NOT_HELD

if TYPE_CHECKING:
    from ..khala import Khala
    from ..khala.journal import Journal
    from ..market_data.evidence import TokenEvidence
    from .context import CycleContext

log = logging.getLogger(__name__)

AlertKind = Literal["stop", "level", "move", "invalidated", "verdict", "signal", "news", "earnings", "brief"]
MOST_TRIES = 5
"""So often one channel is tried for one alert, once a cycle."""
TOLD_WITHIN = timedelta(hours=24)
"""Older alerts are told no more, whatever kept them: quiet hours, a dead channel, a channel that is new."""
KEPT = timedelta(days=90)
INVALIDATING = frozenset({"price_moved", "security_changed"})
WEBHOOK_SECONDS = 10.0
BRIEF_TOKENS = 300
"""Model tokens of the brief of a day for each token, and for the market."""

_MIGRATIONS = (
    """
    CREATE TABLE alerts (key TEXT PRIMARY KEY, found_at REAL NOT NULL, body TEXT NOT NULL);
    CREATE INDEX alerts_by_time ON alerts (found_at);
    CREATE TABLE alert_deliveries (
        key TEXT NOT NULL, channel TEXT NOT NULL, tries INTEGER NOT NULL, sent_at REAL, problem TEXT NOT NULL,
        PRIMARY KEY (key, channel)
    );
    CREATE TABLE looks (symbol TEXT PRIMARY KEY, body TEXT NOT NULL);
    """,
)


class Alert(Record):
    """One change worth telling: what and why in `text`; `since` (UTC) is when it was last seen to be otherwise.

    `body` is the markdown of a daily brief, empty for all others.
    """

    key: str
    kind: AlertKind
    symbol: str = ""
    text: str
    since: UtcDatetime | None = None
    found_at: UtcDatetime
    body: str = ""


class Stance(Record):
    """What a rule, the security check or a source says, the sentence that tells it, and of which moment it is."""

    kind: AlertKind
    says: str = ""
    text: str
    of: UtcDatetime


class Look(Record):
    """What one cycle saw of a token: its price (USD) and the stop of what is held; what rules and the security check
    say of it, by name; the levels that statements named, its newest headlines, its next earnings date, and why its
    analysis no longer holds, if it does not."""

    symbol: str
    at: UtcDatetime
    bar_close: UtcDatetime
    price: float
    stop: float | None = None
    stances: dict[str, Stance] = Field(default_factory=dict)
    levels: tuple[Trigger, ...] = ()
    moved: str = ""
    invalid: str = ""
    news: Stance | None = None
    earnings: Stance | None = None

    @property
    def below_stop(self) -> bool:
        return self.stop is not None and self.price <= self.stop


def look_at(
    recall: Recall,
    begun: Recall | None,
    settings: Settings,
    *,
    told: Told | None = None,
    evidence: TokenEvidence | None = None,
    stop: float | None = None,
) -> Look | None:
    """What there is to see of a token now; None where memory knows nothing of it.

    Args:
        recall: what memory knows after the cycle.
        begun: what it knew when the cycle began, judged by the price seen then: has that run away from it?
        told: its news and fundamentals.
        evidence: what rules say of it.
        stop: of what is held (USD a unit).
    """
    analysis, price = recall.analysis, recall.price
    if analysis is None or price is None:
        return None
    symbol, bar_close = recall.symbol, analysis.bar_close
    wanted = ("signal", "security", "news", "earnings", "evidence")
    made = statements_of(analysis, settings, told=told, evidence=evidence, only=wanted)
    texts = {statement.id: statement.text for statement in made}
    stances: dict[str, Stance] = {}
    if (action := analysis.signal.action) is not None:
        stances[""] = Stance(kind="signal", says=action, text=texts["signal"], of=bar_close)
    if (report := analysis.security) is not None:
        says = report.verdict.replace("_", " ")
        stances["verdict"] = Stance(kind="verdict", says=says, text=texts["security"], of=report.checked_at)
    for rule in evidence.rules if evidence is not None and evidence.bar_close == bar_close else ():
        if rule.stance is not None and rule.rule != "mean_reversion":  # that is the signal
            label = rule.label.capitalize()
            text = f"{label} says {rule.stance} for {symbol} at the last bar."
            text = next((s.text for s in made if s.id == "evidence" and s.text.startswith(label)), text)
            stances[f"{rule.label}:"] = Stance(kind="signal", says=rule.stance, text=text, of=bar_close)
    moved = ""
    if begun is not None and begun.analysis is not None and is_shock(begun, settings, recall.read_at):
        change = percent_text(price / begun.analysis.reference_price - 1, signed=True)
        bands = f"{bands_moved(begun, settings.price_band_atr):+.1f}"
        moved = f"{symbol} moved {change} since {time_text(begun.analysis.computed_at)}, {bands} price bands."
    reports_at = told.fundamentals.earnings_at if told and told.fundamentals and "earnings" in texts else None
    invalid = "; ".join(reason.detail for reason in recall.reasons if reason.code in INVALIDATING)
    return Look(
        symbol=symbol,
        at=recall.read_at,
        bar_close=bar_close,
        price=price,
        stop=stop,
        stances=stances,
        levels=analysis.triggers[:SHOWN_LEVELS],
        moved=moved,
        invalid=invalid,
        news=Stance(kind="news", text=texts["news"], of=told.items[0].published_at) if told and told.items else None,
        earnings=Stance(kind="earnings", text=texts["earnings"], of=reports_at) if reports_at else None,
    )


def changes(before: Look | None, now: Look) -> list[Alert]:
    """What changed materially between two looks at a token; of the first look only what needs none before it."""
    symbol, price = now.symbol, f"the price seen last is {price_text(now.price)} USD"

    def alert(kind: AlertKind, what: str, text: str, of: datetime = now.bar_close) -> Alert:
        key = f"{kind}:{symbol}:{what}@{stamp(of)}"
        since = before.at if before else None
        return Alert(key=key, kind=kind, symbol=symbol, text=text, since=since, found_at=now.at)

    found: list[Alert] = []
    if now.stop is not None and now.below_stop and not (before and before.below_stop and before.stop == now.stop):
        text = f"{symbol} reached its stop at {price_text(now.stop)} USD: {price}. Nothing was sold."
        found.append(alert("stop", f"{now.stop:g}", text))
    if now.earnings is not None and now.earnings.of - now.at <= EARNINGS_NEAR:
        near = alert("earnings", "", now.earnings.text)
        found.append(near.model_copy(update={"key": f"earnings:{symbol}:{now.earnings.of:%Y-%m-%d}", "since": None}))
    if before is None:
        return found
    newer = now.news is not None and (before.news is None or now.news.of > before.news.of)
    if now.news is not None and newer and now.at - now.news.of <= TOLD_WITHIN:
        found.append(alert("news", "", now.news.text, now.news.of))
    for level in before.levels:
        up = level.side == "above"
        if before.price <= level.level < now.price if up else before.price >= level.level > now.price:
            way = "rose above" if up else "fell below"
            text = f"{symbol} {way} {price_text(level.level)} USD ({level_text(level.meaning)}): {price}."
            found.append(alert("level", f"{level.meaning}:{level.side}", text))
    if now.moved:
        found.append(alert("move", "", now.moved))
    if now.invalid and not before.invalid:
        text = f"What memory holds about {symbol} is not to be used until it is renewed: {now.invalid}"
        found.append(alert("invalidated", "", text))
    for name, now_says in now.stances.items():
        was = before.stances.get(name)
        if was is not None and was.says != now_says.says:
            said = f"Before, {'the verdict was' if was.kind == 'verdict' else 'it said'} {was.says}."
            key = f"{name if was.kind == 'signal' else ''}{now_says.says}"
            found.append(alert(was.kind, key, f"{now_says.text} {said}", now_says.of))
    return found


class AlertLog:
    """Alerts, looks and deliveries of one memory. Raises StoreError when the journal cannot be read or written."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        journal.ensure("alerts", _MIGRATIONS)

    def looks(self) -> dict[str, Look]:
        """The last look at each token."""
        rows = self._journal.rows("SELECT body FROM looks")
        return {look.symbol: look for look in decode_all(Look, (body for (body,) in rows))}

    def add(self, alerts: Iterable[Alert], looks: Iterable[Look] = ()) -> int:
        """Keep what is new of these, and the looks they were found by in place of all earlier ones; returns how many
        were new."""
        alerts, new = list(alerts), 0
        with self._journal.write() as connection:
            connection.execute("DELETE FROM looks")
            rows = [(look.symbol, encode(look)) for look in looks]
            connection.executemany("INSERT INTO looks (symbol, body) VALUES (?, ?)", rows)
            keep = "INSERT INTO alerts (key, found_at, body) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING"
            for a in alerts:
                new += connection.execute(keep, (a.key, epoch(a.found_at), encode(a))).rowcount
            if new:
                old = (epoch(max(a.found_at for a in alerts) - KEPT),)
                of_old = "key IN (SELECT key FROM alerts WHERE found_at < ?)"
                connection.execute(f"DELETE FROM alert_deliveries WHERE {of_old}", old)
                connection.execute("DELETE FROM alerts WHERE found_at < ?", old)
        return new

    def newest(self, limit: int = 20, until: datetime | None = None) -> list[Alert]:
        """Alerts that were found until then, newest first."""
        end = epoch(until) if until else inf
        return self._alerts("WHERE found_at <= ? ORDER BY found_at DESC, key LIMIT ?", end, limit)

    def deliveries(self, keys: Sequence[str]) -> dict[str, list[dict[str, object]]]:
        """By alert, for each channel: how often it was tried, when it was sent (epoch seconds), what went wrong."""
        names = ("channel", "tries", "sent_at", "problem")
        query = f"SELECT {', '.join(names)} FROM alert_deliveries WHERE key = ? ORDER BY channel"
        return {key: [dict(zip(names, row, strict=True)) for row in self._journal.rows(query, key)] for key in keys}

    def waiting(self, channel: str, now: datetime) -> list[Alert]:
        """What a channel has still to tell, oldest first."""
        return self._alerts(
            "WHERE found_at >= ? AND key NOT IN (SELECT key FROM alert_deliveries WHERE channel = ? AND "
            "(sent_at IS NOT NULL OR tries >= ?)) ORDER BY found_at, key",
            epoch(now - TOLD_WITHIN),
            channel,
            MOST_TRIES,
        )

    def tried(self, alerts: Sequence[Alert], channel: str) -> None:
        """Note that these are about to be sent."""
        with self._journal.write() as connection:
            connection.executemany(
                "INSERT INTO alert_deliveries (key, channel, tries, sent_at, problem) VALUES (?, ?, 1, NULL, '') "
                "ON CONFLICT (key, channel) DO UPDATE SET tries = alert_deliveries.tries + 1",
                [(a.key, channel) for a in alerts],
            )

    def settled(self, alerts: Sequence[Alert], channel: str, at: datetime, problem: str = "") -> None:
        """Note that they were sent, or what kept them from being."""
        sent_at = None if problem else epoch(at)
        with self._journal.write() as connection:
            connection.executemany(
                "UPDATE alert_deliveries SET sent_at = ?, problem = ? WHERE key = ? AND channel = ?",
                [(sent_at, problem, a.key, channel) for a in alerts],
            )

    def has(self, key: str) -> bool:
        return bool(self._alerts("WHERE key = ?", key))

    def _alerts(self, rest: str, *values: object) -> list[Alert]:
        return decode_all(Alert, (body for (body,) in self._journal.rows(f"SELECT body FROM alerts {rest}", *values)))


def line_of(alert: Alert) -> str:
    """An alert as it is told: when it was found, what and why, since when; a brief in full."""
    since = f" Last seen otherwise at {time_text(alert.since)}." if alert.since else ""
    body = f"\n\n{alert.body}" if alert.body else ""
    return f"{time_text(alert.found_at)} {alert.kind}: {alert.text}{since}{body}"


class Notifier(Protocol):
    """A way of one's own to tell alerts. What `send` raises is a problem of the cycle, and it is tried again."""

    @property
    def name(self) -> str:
        """Tells it from other channels, for ever: deliveries are kept by it."""
        ...

    def send(self, alerts: Sequence[Alert]) -> None:
        """Tell these, found since the last time, in one message.

        Args:
            alerts: oldest first.
        """
        ...


class Channel:
    """One place where alerts are told: `log`, `file:PATH`, `https://...` for a webhook, or an Apprise URL such as
    `mailto://...` (https://github.com/caronc/apprise). URLs hold secrets: only `name` is shown or kept."""

    def __init__(self, url: str) -> None:
        self._url = url
        kind, _, rest = url.partition(":")
        self._kind = kind.lower()
        self._path = Path(rest).expanduser()
        if self._kind in ("log", "file"):
            self.name = url
        else:
            host = urlsplit(url).hostname if self._kind in ("http", "https") else None
            self.name = ":".join(filter(None, (self._kind, host, hashlib.sha256(url.encode()).hexdigest()[:8])))

    def send(self, alerts: Sequence[Alert]) -> None:
        """Tell these in one message.

        Raises:
            SourceUnreachable: whoever should take them did not.
            SettingsError: the file cannot be written, or Apprise is missing or does not know the URL.
        """
        match self._kind:
            case "log":
                for alert in alerts:
                    log.warning("%s", line_of(alert))
            case "file":
                self._append(alerts)
            case "http" | "https":
                self._post(alerts)
            case _:
                self._notify(alerts)

    def _append(self, alerts: Sequence[Alert]) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(f"{line_of(alert)}\n" for alert in alerts)
        except OSError as error:
            raise SettingsError(f"Alerts cannot be written to {self._path}: {error.strerror}.") from error

    def _post(self, alerts: Sequence[Alert]) -> None:
        import httpx  # heavy: loaded with the first request

        document = {"schema_version": 1, "alerts": [alert.model_dump(mode="json") for alert in alerts]}
        try:
            status = httpx.post(self._url, json=document, timeout=WEBHOOK_SECONDS).status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(type(error).__name__) from error
        if status >= 300:
            raise self._unreachable(f"HTTP {status}")

    def _notify(self, alerts: Sequence[Alert]) -> None:
        try:
            import apprise  # an extra
        except ImportError as error:
            raise SettingsError(
                f"The channel {self.name} needs Apprise.", hint='Install it: pip install "deeptrader[alerts]".'
            ) from error
        sender = apprise.Apprise()
        if not sender.add(self._url):
            raise SettingsError(f"Apprise does not know the URL of the channel {self.name}.", hint="Correct it.")
        if not sender.notify(title=f"DeepTrader: {alerts[0].text}"[:120], body="\n".join(map(line_of, alerts))):
            raise self._unreachable("not delivered")

    def _unreachable(self, why: str) -> SourceUnreachable:
        return SourceUnreachable(f"The channel {self.name} failed: {why}.", hint="It is tried again in the next cycle.")


class Teller:
    """Finds alerts after a publication and tells them; `alert` is a step of the cycle."""

    def __init__(self, khala: Khala, settings: Settings, notifier: Notifier | None = None) -> None:
        self.log = AlertLog(khala.journal)
        self._reader = Reader(khala)
        self._settings = settings
        self._channels: list[Notifier] = [Channel(url.get_secret_value()) for url in settings.alert_channels]
        self._channels += [notifier] if notifier is not None else []

    def alert(self, context: CycleContext) -> int:
        """Look at all that is held or watched, keep what changed, and tell what waits; returns how many are new."""
        settings, khala = self._settings, context.khala
        interval = "1d" if "1d" in settings.intervals else settings.intervals[0]
        held, before, calls = context.holdings.all(), self.log.looks(), CallLog(khala.journal)
        found: list[Alert] = []
        looks: list[Look] = []
        for symbol, recall in khala.latest_many(context.holdings.followed(settings), interval=interval).items():
            was, stop = before.get(symbol), held[symbol].stop if symbol in held else None
            told, evidence = self._reader.news.about(symbol, context.now), calls.evidence(symbol)
            begun = context.recalls.get((symbol, interval))
            look = look_at(recall, begun, settings, told=told, evidence=evidence, stop=stop)
            if look is not None:
                if was is not None:  # what is not known now is as it was seen last
                    look = look.model_copy(update={"stances": was.stances | look.stances})
                found += changes(was, look)
            looks += [seen] if (seen := look or was) else []
        new = self.log.add([*found, *self._brief(context, looks)], looks)
        if new:
            context.made["alerts"] = new
        self._tell(context, {look.symbol for look in looks})
        return new

    def _tell(self, context: CycleContext, followed: Container[str]) -> None:
        """Send what waits on each channel, but for tokens that were let go of meanwhile. A channel that fails is a
        problem of the cycle, and is tried in the next one."""
        settings = self._settings
        if settings.alert_quiet_hours and is_quiet(context.now, settings.alert_quiet_hours, settings.timezone):
            return
        for channel in self._channels:
            waiting = self.log.waiting(channel.name, context.now)
            waiting = [alert for alert in waiting if not alert.symbol or alert.symbol in followed]
            if not waiting or context.halted() is not None:
                continue
            self.log.tried(waiting, channel.name)
            sent = context.tried(f"alerts on {channel.name}", partial(channel.send, waiting))
            problem = str(sent) if isinstance(sent, DeepTraderError) else ""
            self.log.settled(waiting, channel.name, context.now, problem)

    def _brief(self, context: CycleContext, looks: Sequence[Look]) -> Iterator[Alert]:
        """The brief of the day, once its time has come."""
        at, local = self._settings.daily_brief_at, context.now.astimezone(ZoneInfo(self._settings.timezone))
        key = f"brief:{local:%Y-%m-%d}"
        if at and f"{local:%H:%M}" >= at and not self.log.has(key):
            body = self.brief(context.now, [look.symbol for look in looks])
            yield Alert(key=key, kind="brief", text=f"Brief of {local:%Y-%m-%d}", found_at=context.now, body=body)

    def brief(self, now: datetime, symbols: Sequence[str]) -> str:
        """The day in markdown: what is held, the market, calls, each token followed, its news, and the last alerts."""
        reader = self._reader
        about = {"What is held": "holdings", "The market": "market", "What rules and the team call": "rules"}
        readings = {title: reader.read(topic=topic) for title, topic in about.items()}
        if symbols:
            readings["Held or watched"] = reader.read(names=symbols, topic="state")
        lines = [f"# Brief as of {time_text(now)}"]
        for title, reading in readings.items():
            tokens = BRIEF_TOKENS * max(1, len(reading.recalls))
            text = reader.brief(reading, tokens).text.removesuffix(NOT_HELD).rstrip()
            lines += ["", f"## {title}", "", text] if text else []
        news = [line for symbol in symbols for line in digest_lines(symbol, reader.news.about(symbol, now))]
        lines += ["", "## News", "", *news] if news else []
        recent = [a for a in self.log.newest(100, now) if a.kind != "brief" and now - a.found_at <= TOLD_WITHIN]
        if recent:
            lines += ["", "## Alerts", "", *(f"- {time_text(a.found_at)}: {a.text}" for a in recent)]
        return "\n".join(lines) + "\n"


def is_quiet(now: datetime, hours: str, zone: str) -> bool:
    """Whether a moment lies within daily hours such as `22:00-07:00`, told in a time zone."""
    start, _, end = hours.partition("-")
    local = f"{now.astimezone(ZoneInfo(zone)):%H:%M}"
    return start <= local < end if start <= end else local >= start or local < end
