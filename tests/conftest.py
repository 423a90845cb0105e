"""What holds for every test: untimed properties, a PostgreSQL server, and the journals that a test is run on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from doubles.postgres import PostgresServer, postgres_server
from hypothesis import settings
from pydantic import SecretStr

# On a machine shared with other work a slow example says nothing about the property.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer | None]:
    with postgres_server() as server:
        yield server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Whatever a memory must do it does on both journals, but for what is about a file."""
    about_a_file = metafunc.definition.get_closest_marker("file")
    if "journal_url" in metafunc.fixturenames and not about_a_file:
        metafunc.parametrize("journal_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def journal_url(request: pytest.FixtureRequest) -> SecretStr | None:
    """What `journal_url` in settings is to be: None for a file."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return None
    server = request.getfixturevalue("postgres")
    if server is None:
        pytest.skip("PostgreSQL is not installed")
    return SecretStr(server.url)
