"""What a journal holds, whichever database it is in."""

from __future__ import annotations

import sqlite3

from deeptrader.toolkits.khala.journal import Journal


def everything(journal: Journal) -> list[str]:
    """Every row of every table, as text."""
    with journal.read() as connection:
        assert isinstance(connection, sqlite3.Connection)
        return list(connection.iterdump())
