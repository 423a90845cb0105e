"""Journals of both kinds, for tests that hold for both."""

from __future__ import annotations

from deeptrader.toolkits.khala.journal import Journal


def everything(journal: Journal) -> list[str]:
    """Every row of every table, as text."""
    with journal.read() as connection:
        if not journal.shared:
            return list(connection.iterdump())
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() ORDER BY 1"
        ).fetchall()
        return [f"{name}: {row}" for (name,) in tables for row in connection.execute(f"SELECT * FROM {name}")]
