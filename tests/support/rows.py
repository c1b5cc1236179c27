"""A look into a hub's own database, from outside."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.support.hubs import Hub
from tidemill.settings import Settings
from tidemill.store.embedded import EmbeddedPostgres
from tidemill.store.secret_key import load_secret_key


def query(hub: Hub, text: str, *parameters: object) -> list[dict[str, Any]]:
    """Rows of the hub's database, which is started if need be."""
    settings = Settings(data_dir=hub.data_dir)
    with (
        EmbeddedPostgres.acquire(settings, load_secret_key(settings)) as server,
        psycopg.connect(server.url, row_factory=dict_row, autocommit=True) as connection,
    ):
        return connection.execute(text, parameters).fetchall()  # type: ignore[arg-type]
