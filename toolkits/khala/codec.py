"""Records to JSON and back: the versions that bodies were written in, and the packing of old ones.

An analysis is serialised once, without what the catalogue says of its figures. The body of a version that is no longer
published is packed: most of a body is the same in every one, so zlib packs it against an older body of the same
interval, a dictionary, to about a sixth. A packed body is a BLOB: the number of its dictionary, then zlib's stream.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from ...core.errors import SchemaMismatch, StoreCorrupt
from ...core.token import Record
from ..market_data.figures import SPECS
from .journal import Journal
from .records import BANDS, RSI, SCHEMA_VERSION, MarketAnalysis
from .schema import Connection

LEVEL = 6
WINDOW = 32_768
"""Bytes that zlib looks back: a longer dictionary would be of no use."""
BATCH = 200

_logger = logging.getLogger("deeptrader.khala")
_CURRENT = f'{{"schema_version":{SCHEMA_VERSION},'
_COLUMNS = "seq, id, symbol, bar_close, computed_at, verified_at"


def encode(record: Record) -> str:
    """The record as compact JSON."""
    return encode_analysis(record)[1] if isinstance(record, MarketAnalysis) else record.model_dump_json()


def encode_analysis(analysis: MarketAnalysis) -> tuple[str, str]:
    """An analysis's id and its body, from one serialisation of what was found."""
    findings = analysis.findings_json()
    moments = analysis.model_dump_json(
        include={"schema_version", "fetched_at", "computed_at", "quote", "security"}, exclude_none=True
    )
    return analysis.id_of(findings), f"{moments[:-1]},{findings[1:]}"


def decode[R: Record](kind: type[R], body: str) -> R:
    """The record in a stored body; bodies of older versions are migrated on the way, what is stored stays as it is.

    Raises:
        SchemaMismatch: written by a newer version, or by one that nothing here can read.
        StoreCorrupt: it does not parse.
    """
    try:
        if "schema_version" not in kind.model_fields or kind.model_fields["schema_version"].default != SCHEMA_VERSION:
            return kind.model_validate_json(body)
        loaded = from_json(body)
        version = loaded.get("schema_version", 0) if isinstance(loaded, dict) else "none"
        if version != SCHEMA_VERSION:
            loaded = _migrated(kind, loaded, version)
        if kind is MarketAnalysis:
            _define_figures(loaded)
        return kind.model_validate(loaded)
    except (ValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = str(error).splitlines()[0]
        raise StoreCorrupt(
            f"A stored {kind.__name__} does not parse ({problem}).", hint="Run `deeptrader doctor`."
        ) from error


def decode_all[R: Record](kind: type[R], bodies: Iterable[Any], *, plain: Callable[[Any], str] = str) -> list[R]:
    """The records in many stored bodies; one that cannot be read is logged and left out, so that it hides no other.

    `plain` makes JSON of a body that may be packed.
    """
    records: list[R] = []
    for body in bodies:
        try:
            records.append(decode(kind, plain(body)))
        except (StoreCorrupt, SchemaMismatch) as error:
            _logger.error("Left out: %s", error.message)
    return records


def _define_figures(body: dict[str, Any]) -> None:
    named = [(RSI, body["rsi"]), *((name, body["bollinger"][field]) for field, name in BANDS.items())]
    for name, figure in [*named, *body.get("figures", {}).items()]:
        spec = SPECS.get(name)
        if spec is not None:
            figure.setdefault("unit", spec.unit)
            figure.setdefault("definition", spec.definition)


def _migrated(kind: type[Record], body: Any, version: Any) -> dict[str, Any]:
    if not isinstance(version, int) or not isinstance(body, dict):
        raise ValueError("it has no version that is a number")
    if version > SCHEMA_VERSION:
        raise SchemaMismatch(
            f"A stored {kind.__name__} has schema version {version}; this code knows {SCHEMA_VERSION}.",
            hint="Update DeepTrader.",
        )
    if kind is MarketAnalysis:
        body = _analysis_from_1(body)
    return body | {"schema_version": SCHEMA_VERSION}


def _analysis_from_1(body: dict[str, Any]) -> dict[str, Any]:
    """Version 1 kept every figure in one mapping, and no rules. A figure that was never computed is absent."""
    figures = dict(body["figures"])

    def take(name: str) -> dict[str, Any]:
        spec = SPECS[name]
        blank = {"value": None, "absent": "no_data", "unit": spec.unit, "definition": spec.definition}
        return figures.pop(name, blank)

    bands = {field: take(name) for field, name in BANDS.items()}
    return body | {"rsi": take(RSI), "bollinger": bands, "figures": figures}


def plain(connection: Connection, body: str | bytes) -> str:
    """The JSON of a stored body, packed or not."""
    if isinstance(body, str):
        return body
    try:
        row = connection.execute("SELECT body FROM pack_dictionaries WHERE number = ?", (body[0],)).fetchone()
        if row is None:
            raise ValueError(f"dictionary {body[0]} is missing")
        unpacker = zlib.decompressobj(zdict=row[0])
        text = unpacker.decompress(body[1:]) + unpacker.flush()
        if not unpacker.eof:
            raise ValueError("it ends too soon")
        return text.decode()
    except (zlib.error, ValueError, IndexError) as error:
        raise StoreCorrupt(f"A packed body does not unpack ({error}).", hint="Run `deeptrader doctor`.") from error


def pack_superseded(journal: Journal) -> int:
    """Pack every version that is not published and not packed yet, in small transactions; returns how many."""
    total = 0
    while journal.packs:
        with journal.write(durable=False) as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS}, interval, body FROM analyses WHERE typeof(body) = 'text' "
                "AND id NOT IN (SELECT id FROM published) LIMIT ?",
                (BATCH,),
            ).fetchall()
            packed = [(*row[:-1], _packed(connection, *row[-2:])) for row in rows]
            # Taken out and put in again: a row that only shrinks leaves its page as good as empty.
            connection.executemany("DELETE FROM analyses WHERE seq = ?", [row[:1] for row in rows])
            connection.executemany(
                f"INSERT INTO analyses ({_COLUMNS}, interval, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", packed
            )
        total += len(rows)
        if len(rows) < BATCH:
            break
    return total


def _packed(connection: Connection, interval: str, body: str) -> bytes:
    """A body packed against the dictionary of its interval and schema; the first such body is the dictionary."""
    name = f"{interval}:{SCHEMA_VERSION}" if body.startswith(_CURRENT) else interval
    connection.execute(
        "INSERT INTO pack_dictionaries (name, body) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (name, body.encode()[-WINDOW:]),
    )
    row = connection.execute("SELECT number, body FROM pack_dictionaries WHERE name = ?", (name,)).fetchone()
    packer = zlib.compressobj(LEVEL, zdict=row[1])
    return bytes([row[0]]) + packer.compress(body.encode()) + packer.flush()
