"""The rows of how providers and their models are doing, which all processes share."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tidemill.core.provider import ProviderState
from tidemill.store.database import Pool

COLUMNS = (
    "provider, model, failures, rests_until, disabled_at, disabled_reason, last_failure, last_failed_at, latency_ms"
)
FAILED = f"""
INSERT INTO provider_states AS s (
    provider, model, failures, rests_until, disabled_at, disabled_reason, last_failure, last_failed_at, updated_at
) VALUES (
    %(provider)s, %(model)s, 1,
    greatest(%(rests_until)s::timestamptz, CASE WHEN 1 >= %(opens_after)s THEN %(opens_until)s::timestamptz END),
    CASE WHEN %(disabled_reason)s::text IS NULL THEN NULL ELSE %(at)s::timestamptz END, %(disabled_reason)s,
    %(failure)s, %(at)s, %(at)s
)
ON CONFLICT (provider, model) DO UPDATE SET
    failures = s.failures + 1,
    rests_until = greatest(
        s.rests_until, %(rests_until)s::timestamptz,
        CASE WHEN s.failures + 1 >= %(opens_after)s THEN %(opens_until)s::timestamptz END
    ),
    disabled_at = coalesce(s.disabled_at, excluded.disabled_at),
    disabled_reason = coalesce(s.disabled_reason, excluded.disabled_reason),
    last_failure = excluded.last_failure,
    last_failed_at = excluded.last_failed_at,
    updated_at = excluded.updated_at
RETURNING {COLUMNS}
"""  # noqa: S608 - names of columns, no input


@dataclass(frozen=True, slots=True)
class Failed:
    """One failure, as it is written.

    Attributes:
        model: empty where it is the whole provider's.
        rests_until: nothing is sent before then, if anything is said of that.
        opens_after: the number of failures in a row from which on it rests until `opens_until`, too.
        disabled_reason: why it goes out of the pool, if it does.
    """

    provider: str
    model: str
    failure: str
    at: datetime
    rests_until: datetime | None
    opens_after: int
    opens_until: datetime
    disabled_reason: str | None = None


class ProviderStateRepository:
    """One row for each provider or model of one that has ever failed, was disabled, or was measured."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self) -> list[ProviderState]:
        """Every row."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(f"SELECT {COLUMNS} FROM provider_states ORDER BY provider, model")  # noqa: S608
            return [_state(row) async for row in cursor]

    async def add_failure(self, failed: Failed) -> ProviderState:
        """Counts a failure, and returns the row after it. A rest never becomes shorter by it."""
        values = {name: getattr(failed, name) for name in Failed.__dataclass_fields__}
        async with self._pool.connection() as connection:
            row = await (await connection.execute(FAILED, values)).fetchone()
        assert row is not None  # noqa: S101 - the statement returns the row that it wrote
        return _state(row)

    async def reset(self, provider: str, model: str, at: datetime) -> None:
        """Notes that it answered: no failures, no rest. What is disabled stays so."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE provider_states SET failures = 0, rests_until = NULL, updated_at = %s "
                "WHERE provider = %s AND model = %s",
                (at, provider, model),
            )

    async def claim(self, provider: str, model: str, *, now: datetime, until: datetime) -> bool:
        """Takes the one try that a rest which is over allows, by letting all others rest on until then."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE provider_states SET rests_until = %s, updated_at = %s "
                "WHERE provider = %s AND model = %s AND rests_until <= %s AND disabled_at IS NULL",
                (until, now, provider, model, now),
            )
            return cursor.rowcount == 1

    async def release(self, provider: str, model: str, *, held_until: datetime, rests_until: datetime) -> None:
        """Gives a try back that `claim` took until then, unless another rest has begun: it was over at this moment."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE provider_states SET rests_until = %s WHERE provider = %s AND model = %s AND rests_until = %s",
                (rests_until, provider, model, held_until),
            )

    async def disable(self, provider: str, reason: str, at: datetime) -> None:
        """Takes a provider out of the pool."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO provider_states (provider, model, disabled_at, disabled_reason, updated_at) "
                "VALUES (%s, '', %s, %s, %s) ON CONFLICT (provider, model) DO UPDATE SET "
                "disabled_at = excluded.disabled_at, disabled_reason = excluded.disabled_reason, "
                "updated_at = excluded.updated_at",
                (provider, at, reason, at),
            )

    async def enable(self, provider: str, at: datetime) -> bool:
        """Puts a provider and all its models back, rested and without failures. Whether there was anything of it."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE provider_states SET failures = 0, rests_until = NULL, disabled_at = NULL, "
                "disabled_reason = NULL, updated_at = %s WHERE provider = %s",
                (at, provider),
            )
            return cursor.rowcount > 0

    async def forget(self, provider: str) -> None:
        """Deletes the rows of a provider that is no more."""
        async with self._pool.connection() as connection:
            await connection.execute("DELETE FROM provider_states WHERE provider = %s", (provider,))

    async def forget_untouched(self, before: datetime) -> int:
        """Deletes the rows of models of which nothing was noted since then; says how many. What rests then stays."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "DELETE FROM provider_states WHERE model <> '' AND disabled_at IS NULL AND updated_at < %(before)s "
                "AND (rests_until IS NULL OR rests_until < %(before)s)",
                {"before": before},
            )
            return cursor.rowcount

    async def write_latencies(self, latencies: Sequence[tuple[str, str, float]], at: datetime) -> None:
        """Writes how long models take: provider, model, milliseconds."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.cursor().executemany(
                "INSERT INTO provider_states (provider, model, latency_ms, updated_at) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (provider, model) DO UPDATE "
                "SET latency_ms = excluded.latency_ms, updated_at = excluded.updated_at",
                [(provider, model, latency, at) for provider, model, latency in latencies],
            )


def _state(row: dict[str, Any]) -> ProviderState:
    return ProviderState(**row)
