"""The rows of tries at signing in that failed, by the keyed hash of what they were tried on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tidemill.store.database import Connection, Pool

ATTEMPTS = 7304771233
"""The class of the advisory locks under which the tries on one subject are counted, one at a time."""


@dataclass(frozen=True, slots=True)
class Failures:
    """How often, and when last, it failed."""

    count: int
    last: datetime | None


class SignInFailureRepository:
    """Failed tries. A try is written before its password is checked, and taken back when it was right."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def lock(self, connection: Connection, subjects: Sequence[bytes]) -> None:
        """Keeps others from counting and adding for these subjects until the transaction ends."""
        for number in sorted(int.from_bytes(subject[:8], "big", signed=True) ^ ATTEMPTS for subject in subjects):
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (number,))

    async def count(self, connection: Connection, subject: bytes, since: datetime) -> Failures:
        """The tries on a subject after this moment."""
        cursor = await connection.execute(
            "SELECT count(*) AS count, max(at) AS last FROM sign_in_failures WHERE subject = %s AND at > %s",
            (subject, since),
        )
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - an aggregate always gives a row
        return Failures(row["count"], row["last"])  # type: ignore[arg-type]

    async def add(self, connection: Connection, attempt: UUID, subjects: Sequence[bytes], at: datetime) -> None:
        """Writes a try on each of these subjects."""
        for subject in subjects:
            await connection.execute(
                "INSERT INTO sign_in_failures (attempt, subject, at) VALUES (%s, %s, %s)", (attempt, subject, at)
            )

    async def take_back(self, connection: Connection, attempt: UUID) -> None:
        """Deletes a try that did not fail."""
        await connection.execute("DELETE FROM sign_in_failures WHERE attempt = %s", (attempt,))

    async def clear(self, connection: Connection, subject: bytes) -> None:
        """Deletes every try on a subject."""
        await connection.execute("DELETE FROM sign_in_failures WHERE subject = %s", (subject,))

    async def forget(self, before: datetime) -> int:
        """Deletes tries before this moment. How many there were."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("DELETE FROM sign_in_failures WHERE at < %s", (before,))
            return cursor.rowcount
