"""Options that commands share, and the one way in which a command gets its parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from ..core.errors import InvalidInput, StoreUnavailable
from ..core.logs import set_up_logs
from ..core.settings import MarketId, Settings, load_settings
from ..core.token import Interval
from ..toolkits.khala.khala import JOURNAL_FILE
from ..toolkits.runtime import Runtime

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the memory.", rich_help_panel="Where and when")
]
Market = Annotated[
    MarketId | None,
    typer.Option(
        "--market",
        help="yahoo, recorded or simulated. Default: the setting, else the market last slept on here.",
        rich_help_panel="Where and when",
    ),
]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of", help="Work as of this moment (ISO 8601, UTC if no zone is given).", rich_help_panel="Where and when"
    ),
]
IntervalOption = Annotated[Interval, typer.Option("--interval", help="1d or 1h.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

_LAST_MARKET = "last-market"


def parse_moment(text: str | None) -> datetime | None:
    """A moment from ISO 8601 text; without a zone it is UTC, a bare date means its end of day has not come yet (00:00).

    Raises:
        InvalidInput: not a date or time.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f"{text!r} is not a date or time.", hint="Write it like 2013-02-01 or 2013-02-01T21:00Z."
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def settings_for(data_dir: Path | None, market: str | None, **changes: Any) -> Settings:
    """Settings with this command's options on top.

    Raises:
        SettingsError: an option is out of range.
    """
    settings = load_settings(data_dir=data_dir, market=market, **changes)
    if market is None and "market" not in settings.model_fields_set:
        remembered = last_market(settings.data_dir)
        if remembered is not None:
            return load_settings(data_dir=data_dir, market=remembered, **changes)
    return settings


def last_market(data_dir: Path) -> MarketId | None:
    """The market that was last slept on in this data directory, if any."""
    try:
        name = (data_dir / _LAST_MARKET).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return name if name in get_args(MarketId) else None  # type: ignore[return-value]


def remember_market(settings: Settings) -> None:
    """Make this market the default of later commands on the same data directory.

    Raises:
        StoreUnavailable: the directory cannot be written.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        (settings.data_dir / _LAST_MARKET).write_text(settings.market + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreUnavailable(
            f"{settings.data_dir} cannot be written: {error.strerror}.", hint="Choose another --data-dir."
        ) from error


@contextmanager
def runtime_for(
    data_dir: Path | None, market: str | None, as_of: str | None = None, *, reading: bool = False, **changes: Any
) -> Iterator[Runtime]:
    """A runtime for the length of one command.

    Raises:
        StoreUnavailable: `reading`, and there is no memory to read: looking at one must not make one.
    """
    settings = settings_for(data_dir, market, **changes)
    if reading:
        require_memory(settings)
    set_up_logs(settings.log_format)
    with Runtime(settings, as_of=parse_moment(as_of)) as runtime:
        yield runtime


def has_memory(settings: Settings) -> bool:
    """Whether there is a memory of the market in the data directory, or a database where it is looked for."""
    return settings.journal_url is not None or (settings.store_dir / JOURNAL_FILE).is_file()


def require_memory(settings: Settings) -> None:
    """Raises StoreUnavailable, which says where a memory was looked for, where there is one, and how to make one."""
    if has_memory(settings):
        return
    others = [name for name in get_args(MarketId) if (settings.data_dir / name / JOURNAL_FILE).is_file()]
    elsewhere = f" There is one of: {', '.join(others)} (--market)." if others else ""
    raise StoreUnavailable(
        f"There is no memory of the {settings.market} market in {settings.store_dir}.{elsewhere}",
        hint="Run `deeptrader sleep --once` to make one, or `deeptrader demo` to see it work offline.",
    )
