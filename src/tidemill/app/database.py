"""The database that a process works on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tidemill.settings import Settings
from tidemill.store.database import Pool, check_key
from tidemill.store.embedded import EmbeddedPostgres
from tidemill.store.schema import migrate
from tidemill.store.secret_key import SecretKey, load_secret_key


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL that accepts connections: the embedded one, or an operator's own."""

    url: str
    key: SecretKey
    embedded: EmbeddedPostgres | None


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """Starts or joins the database, brings its schema up to date, and leaves it at the end."""
    key = load_secret_key(settings)
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        migrate(url)
        check_key(url, key.derive("mark"))
        yield Database(url, key, None)
        return
    with EmbeddedPostgres.acquire(settings, key) as embedded:
        migrate(embedded.url)
        check_key(embedded.url, key.derive("mark"))
        yield Database(embedded.url, key, embedded)


async def ready(pool: Pool) -> None:
    """Raises `Unavailable` where the database does not answer within two seconds."""
    async with pool.connection(timeout=2) as connection:
        await connection.execute("SELECT 1")
