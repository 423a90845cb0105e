"""Records to JSON and back, through the migrations that old versions need."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError

from ...core.errors import SchemaMismatch, StoreCorrupt
from ...core.token import Record
from .records import SCHEMA_VERSION, MarketAnalysis

_logger = logging.getLogger("deeptrader.khala")


def _analysis_from_0(body: dict[str, Any]) -> dict[str, Any]:
    """Version 0 had no version field, and no `next_bar_due`: the end of the bar after, by the interval alone.

    Too early for a market with closed sessions, which only makes an old record stale sooner.
    """
    if "next_bar_due" not in body:
        from datetime import datetime, timedelta

        step = timedelta(hours=1) if body.get("interval") == "1h" else timedelta(days=1)
        body["next_bar_due"] = (datetime.fromisoformat(body["bar_close"]) + step).isoformat()
    return body


MIGRATIONS: dict[type[Record], dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    MarketAnalysis: {0: _analysis_from_0},
}
"""By record and version: the function that turns a body of that version into the next one's."""


def encode(record: Record) -> str:
    """The record as compact JSON."""
    return record.model_dump_json()


def decode[R: Record](kind: type[R], body: str) -> R:
    """The record in a stored body; bodies of older versions are migrated on the way, what is stored stays as it is.

    Raises:
        SchemaMismatch: written by a newer version, or by one that no migration is known for.
        StoreCorrupt: it does not parse.
    """
    try:
        version = _version(body) if "schema_version" in kind.model_fields else SCHEMA_VERSION
        if version == SCHEMA_VERSION:
            return kind.model_validate_json(body)
        return kind.model_validate(_migrated(kind, json.loads(body), version))
    except (ValidationError, ValueError, KeyError) as error:
        problem = str(error).splitlines()[0]
        raise StoreCorrupt(
            f"A stored {kind.__name__} does not parse ({problem}).", hint="Run `deeptrader doctor`."
        ) from error


def decode_all[R: Record](kind: type[R], bodies: Iterable[Any], *, plain: Callable[[Any], str] = str) -> list[R]:
    """The records in many stored bodies; one that cannot be read is logged and left out, so that it hides no other.

    `plain` makes JSON of a body that may be packed (`packing`).
    """
    records: list[R] = []
    for body in bodies:
        try:
            records.append(decode(kind, plain(body)))
        except (StoreCorrupt, SchemaMismatch) as error:
            _logger.error("Left out: %s", error.message)
    return records


def _version(body: str) -> int:
    # Nearly every body starts with its version: no need to parse it twice.
    if body.startswith(_CURRENT):
        return SCHEMA_VERSION
    loaded = json.loads(body)
    if not isinstance(loaded, dict):
        raise ValueError("not an object")
    return int(loaded.get("schema_version", 0))


_CURRENT = f'{{"schema_version":{SCHEMA_VERSION},'


def _migrated(kind: type[Record], body: dict[str, Any], version: int) -> dict[str, Any]:
    if version > SCHEMA_VERSION:
        raise SchemaMismatch(
            f"A stored {kind.__name__} has schema version {version}; this code knows {SCHEMA_VERSION}.",
            hint="Update DeepTrader.",
        )
    steps = MIGRATIONS.get(kind, {})
    while version < SCHEMA_VERSION:
        if version not in steps:
            raise SchemaMismatch(
                f"A stored {kind.__name__} has schema version {version}, which nothing here can read.",
                hint="Update DeepTrader, or run `deeptrader repair`.",
            )
        body = steps[version](body)
        version += 1
        body["schema_version"] = version
    return body
