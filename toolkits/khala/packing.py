"""Old versions take little room: the body of a version that is no longer published is packed.

Most of a body is the same in every one (definitions, names, the wording of the report), so zlib packs it against an
older body of the same kind, a dictionary, to about a twelfth. What a version says is not changed by it, and a body
reads the same packed or not.
"""

from __future__ import annotations

import sqlite3
import zlib

from ...core.errors import StoreCorrupt
from .journal import Journal

LEVEL = 6
WINDOW = 32_768
"""Bytes that zlib looks back: a longer dictionary would be of no use."""
BATCH = 200
_COLUMNS = "seq, id, symbol, bar_close, computed_at, verified_at"


def plain(connection: sqlite3.Connection, body: str | bytes) -> str:
    """The JSON of a stored body, packed or not.

    Raises:
        StoreCorrupt: it cannot be unpacked.
    """
    if isinstance(body, str):
        return body
    row = connection.execute("SELECT body FROM pack_dictionaries WHERE number = ?", (body[0],)).fetchone()
    try:
        if row is None:
            raise ValueError(f"dictionary {body[0]} is missing")
        unpacker = zlib.decompressobj(zdict=row[0])
        text = unpacker.decompress(body[1:]) + unpacker.flush()
        if not unpacker.eof:
            raise ValueError("it ends too soon")
        return text.decode()
    except (zlib.error, ValueError) as error:
        raise StoreCorrupt(f"A packed body does not unpack ({error}).", hint="Run `deeptrader doctor`.") from error


def packed(body: str, dictionary: bytes, number: int) -> bytes:
    """A body packed against a dictionary; its first byte is the dictionary's number."""
    packer = zlib.compressobj(LEVEL, zdict=dictionary)
    return bytes([number]) + packer.compress(body.encode()) + packer.flush()


def pack_superseded(journal: Journal) -> int:
    """Pack every version that is not published and not packed yet, in small transactions; returns how many."""
    total = 0
    while True:
        with journal.write(durable=False) as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS}, interval, body FROM analyses WHERE typeof(body) = 'text' "
                "AND id NOT IN (SELECT id FROM published) LIMIT ?",
                (BATCH,),
            ).fetchall()
            for interval in {row[-2] for row in rows}:
                its = [row for row in rows if row[-2] == interval]
                number, dictionary = _dictionary(connection, interval, max((row[-1] for row in its), key=len))
                # Taken out and put in again: a row that only shrinks leaves its page as good as empty.
                connection.executemany("DELETE FROM analyses WHERE seq = ?", [row[:1] for row in its])
                connection.executemany(
                    f"INSERT INTO analyses ({_COLUMNS}, interval, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [(*row[:-1], packed(row[-1], dictionary, number)) for row in its],
                )
        total += len(rows)
        if len(rows) < BATCH:
            return total


def _dictionary(connection: sqlite3.Connection, interval: str, sample: str) -> tuple[int, bytes]:
    """The dictionary for bodies of an interval; the sample becomes it when there is none. None is ever replaced."""
    row = connection.execute("SELECT number, body FROM pack_dictionaries WHERE name = ?", (interval,)).fetchone()
    if row is None:
        row = connection.execute(
            "INSERT INTO pack_dictionaries (name, body) VALUES (?, ?) RETURNING number, body",
            (interval, sample.encode()[-WINDOW:]),
        ).fetchone()
    return row
