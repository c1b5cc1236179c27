"""A look into a hub's own database, from outside."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.support.hubs import Hub
from tidemill.settings import Settings
from tidemill.store.embedded import EmbeddedPostgres
from tidemill.store.secret_key import load_secret_key


@contextmanager
def connected(hub: Hub) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A connection to the hub's database, which is started if need be and stays whatever becomes of the hub."""
    settings = Settings(data_dir=hub.data_dir)
    with (
        EmbeddedPostgres.acquire(settings, load_secret_key(settings)) as server,
        psycopg.connect(server.url, row_factory=dict_row, autocommit=True) as connection,
    ):
        yield connection


def query(hub: Hub, text: str, *parameters: object) -> list[dict[str, Any]]:
    """Rows of the hub's database, which is started if need be."""
    with connected(hub) as connection:
        return connection.execute(text, parameters).fetchall()  # type: ignore[arg-type]
