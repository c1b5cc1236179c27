"""The pool of connections."""

import select
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from tidemill.core.errors import Configuration, Unavailable

TRUSTED_SECONDS = 5.0
"""A connection that was used so recently is asked for no sign of life, unless its server sent something since."""


class Connection(psycopg.AsyncConnection[dict[str, object]]):
    """A connection that knows when it was last used."""

    used_at = 0.0
    """By `time.monotonic()`."""


class Pool(AsyncConnectionPool[Connection]):
    """A pool in which a server that is away, and no other failure, is said to be `Unavailable`."""

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection]:  # noqa: ASYNC109 - the base's
        """A connection for the block.

        Raises:
            Unavailable: the server did not answer in time, or went away during the block.
        """
        try:
            async with super().connection(timeout) as connection:
                try:
                    yield connection
                finally:
                    connection.used_at = time.monotonic()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise Unavailable("The database does not answer. Try again in a moment.") from error

    @asynccontextmanager
    async def locking(self) -> AsyncIterator[Connection]:
        """A connection for advisory locks of a transaction, which end with the block: one that is cancelled, even as it
        asks for a lock, leaves none in the pool. However long the block takes, the server does not end it as idle."""
        async with self.connection() as connection, connection.transaction():
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield connection

    @asynccontextmanager
    async def alone(self, lock: int) -> AsyncIterator[bool]:
        """Whether no other process holds this advisory lock; where it is so, none gets it while the block runs."""
        async with self.locking() as connection:
            row = await (await connection.execute("SELECT pg_try_advisory_xact_lock(%s) AS got", (lock,))).fetchone()
            yield bool(row and row["got"])


@asynccontextmanager
async def one_view(connection: Connection) -> AsyncIterator[None]:
    """A read-only transaction that sees the database as it was when the block began."""
    await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
    await connection.set_read_only(True)
    try:
        async with connection.transaction():
            yield
    finally:
        if not connection.closed:
            await connection.set_isolation_level(None)
            await connection.set_read_only(None)


def make_pool(url: str, *, size: int, synchronous_commit: bool = True) -> Pool:
    """A closed pool of autocommitting connections whose rows are dicts; open it inside the event loop.

    Args:
        url: a `postgresql://` URL.
        size: the most connections that it opens.
        synchronous_commit: whether a commit waits for the disk. Off only for what may be lost when the whole
            machine dies: a fraction of a second of inference rows, of settled budgets, of counted requests.
    """
    return Pool(
        url,
        connection_class=Connection,
        min_size=1,
        max_size=size,
        open=False,
        timeout=10,
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "options": f"-c synchronous_commit={'on' if synchronous_commit else 'off'}",
        },
        check=_is_there,
    )


async def _is_there(connection: Connection) -> None:
    """Goes on where the connection can be used. A server that goes away says so, or ends it: both can be read.

    Raises:
        psycopg.OperationalError: the server ended it, or does not answer.
    """
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    if time.monotonic() - connection.used_at > TRUSTED_SECONDS or waiting.poll(0):
        await Pool.check_connection(connection)


def sqlalchemy_url(url: str) -> str:
    """The same URL for SQLAlchemy (migrations and durable workflows use it) with the psycopg driver."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgresql", "postgres"}:
        raise Configuration("The database URL must begin with postgresql://.")
    return f"postgresql+psycopg://{rest}"


def check_key(url: str, mark: str) -> None:
    """Remembers a mark of the secret key at the first start, and compares it at each later one.

    Raises:
        Configuration: the database belongs to another key, under which its API keys would not be known.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO installation (key_mark) VALUES (%s) ON CONFLICT DO NOTHING", (mark,))
        row = connection.execute("SELECT key_mark FROM installation").fetchone()
    if row is None or row[0] != mark:
        raise Configuration(
            "This database was made with another secret key, so its API keys would not be known here. Put that hub's "
            "`secret.key` into the data folder, or set TIDEMILL_SECRET_KEY to what it holds."
        )
