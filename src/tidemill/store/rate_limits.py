"""The rows of rate limits, and the token buckets by which they are kept."""

# ruff: noqa: S608 - the statements are put together from parts of this module alone

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from tidemill.core.limits import LimitScope, RateLimit
from tidemill.store.database import Connection, Pool

COLUMNS: LiteralString = "r.id, r.scope, r.subject, r.requests_per_minute, r.tokens_per_minute, r.burst, r.created_at"
FIRST_KEY: LiteralString = (
    "coalesce((SELECT coalesce(origin_id, id) FROM api_keys WHERE id = %(key)s::uuid), %(key)s::uuid)"
)
APPLICABLE: LiteralString = (
    f"SELECT asker.key_id, {COLUMNS} FROM (SELECT {FIRST_KEY} AS key_id) AS asker LEFT JOIN rate_limits AS r "
    "ON r.scope = 'all' OR r.scope = 'user' AND r.subject = %(user)s::uuid::text "
    "OR r.scope = 'key' AND r.subject = asker.key_id::text ORDER BY r.scope, r.subject"
)
# What a bucket has come to hold since it was last touched: no more than its capacity. A process whose clock is
# behind adds nothing.
FILLED: LiteralString = (
    "least(excluded.capacity, b.level + excluded.rate * "
    "greatest(0, extract(epoch FROM excluded.updated_at - b.updated_at)))"
)
SHARED_FROM = 64
"""Whoever takes from a bucket of such a capacity takes a share of what is left as well."""
SHARES = 16
"""How many shares make up what is left."""
# What stays of what is left: the row that would be inserted has that of its capacity, so it says the amount, too.
STAYS: LiteralString = f"(CASE WHEN excluded.capacity >= {SHARED_FROM} THEN 1 - 1.0 / {SHARES} ELSE 1 END)::float8"
TAKEN: LiteralString = f"(excluded.capacity - excluded.level / {STAYS})"
AMOUNT: LiteralString = "(excluded.capacity - excluded.level)"
TAKE: LiteralString = (
    "INSERT INTO rate_buckets AS b (subject, kind, level, capacity, rate, updated_at) "
    f"SELECT subject, kind, (capacity - amount) * {STAYS.replace('excluded.', '')}, capacity, rate, "
    "%(now)s::timestamptz "
    "FROM unnest(%(subjects)s::text[], %(kinds)s::text[], %(capacities)s::float8[], %(rates)s::float8[], "
    "%(amounts)s::float8[]) AS w (subject, kind, capacity, rate, amount) ORDER BY subject, kind "
    f"ON CONFLICT (subject, kind) DO UPDATE SET level = ({FILLED} - {TAKEN}) * {STAYS}, "
    "capacity = excluded.capacity, rate = excluded.rate, updated_at = greatest(b.updated_at, excluded.updated_at) "
    f"WHERE {FILLED} + 1e-6 >= {TAKEN} RETURNING b.subject, b.kind, b.level"
)
CORRECT: LiteralString = (
    "INSERT INTO rate_buckets AS b (subject, kind, level, capacity, rate, updated_at) "
    "SELECT subject, kind, capacity - amount, capacity, rate, %(now)s::timestamptz "
    "FROM unnest(%(subjects)s::text[], %(kinds)s::text[], %(capacities)s::float8[], %(rates)s::float8[], "
    "%(amounts)s::float8[]) AS w (subject, kind, capacity, rate, amount) ORDER BY subject, kind "
    f"ON CONFLICT (subject, kind) DO UPDATE SET level = least(excluded.capacity, {FILLED} - {AMOUNT}), "
    "capacity = excluded.capacity, rate = excluded.rate, updated_at = greatest(b.updated_at, excluded.updated_at) "
    "RETURNING b.subject, b.kind, b.level"
)


@dataclass(frozen=True, slots=True)
class Draw:
    """What is taken from one bucket; put back where `amount` is negative.

    Attributes:
        subject: whose bucket it is.
        kind: what is in it: `requests` or `tokens`.
        capacity: how much it holds.
        rate: how much comes back in a second.
    """

    subject: str
    kind: str
    capacity: float
    rate: float
    amount: float

    @property
    def bucket(self) -> tuple[str, str]:
        """Which bucket."""
        return self.subject, self.kind


class RateLimitRepository:
    """Rate limits, and their buckets, in the order of whose names they are locked.

    Args:
        pool: for the limits.
        fast: for the buckets. Commits there need not wait for the disk, and nothing of them survives a crash.
    """

    def __init__(self, pool: Pool, fast: Pool) -> None:
        self._pool = pool
        self._fast = fast

    async def applicable(self, *, key_id: UUID | None, user_id: UUID | None) -> tuple[UUID | None, list[RateLimit]]:
        """The first of the keys of whose rotation this one came, and the limits that the asker has to keep."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(APPLICABLE, {"key": key_id, "user": user_id})
            rows = await cursor.fetchall()
        first = rows[0]["key_id"]
        return first if isinstance(first, UUID) else None, [_limit(row) for row in rows if row["id"] is not None]

    async def take(self, draws: Sequence[Draw], now: datetime) -> dict[tuple[str, str], float]:
        """Takes from each bucket that holds enough; one that does not is left as it is, and out of the answer.

        From one whose capacity is `SHARED_FROM` or more a share is taken besides: of what is left then, one of
        `SHARES`. Returns what is left in each that was taken from; the share is one of `SHARES - 1` of that.
        """
        return await self._change(TAKE, draws, now)

    async def correct(self, draws: Sequence[Draw], now: datetime) -> dict[tuple[str, str], float]:
        """Takes from each bucket whatever it holds, below nothing where need be; returns what is left."""
        return await self._change(CORRECT, draws, now)

    async def forget_buckets(self, before: datetime) -> int:
        """Deletes the buckets that nobody has touched since, which are full again."""
        async with self._fast.connection() as connection:
            return (await connection.execute("DELETE FROM rate_buckets WHERE updated_at < %s", (before,))).rowcount

    async def list(self) -> list[RateLimit]:
        """Every limit that was set."""
        query: LiteralString = f"SELECT {COLUMNS} FROM rate_limits AS r ORDER BY r.scope, r.subject"
        async with self._pool.connection() as connection:
            return [_limit(row) for row in await (await connection.execute(query)).fetchall()]

    async def put(self, connection: Connection, limit: RateLimit) -> RateLimit:
        """Writes a limit, in the place of one of the same scope and subject, whose id it keeps."""
        query: LiteralString = (
            "INSERT INTO rate_limits AS r (id, scope, subject, requests_per_minute, tokens_per_minute, burst, "
            "created_at) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (scope, subject) DO UPDATE SET "
            "requests_per_minute = excluded.requests_per_minute, tokens_per_minute = excluded.tokens_per_minute, "
            f"burst = excluded.burst RETURNING {COLUMNS}"
        )
        given = (
            limit.id,
            limit.scope,
            limit.subject,
            limit.requests_per_minute,
            limit.tokens_per_minute,
            limit.burst,
            limit.created_at,
        )
        row = await (await connection.execute(query, given)).fetchone()
        assert row is not None  # noqa: S101 - an upsert always returns its row
        return _limit(row)

    async def remove(self, connection: Connection, limit_id: UUID) -> RateLimit | None:
        """Deletes a limit; `None` where there is none."""
        query: LiteralString = f"DELETE FROM rate_limits AS r WHERE id = %s RETURNING {COLUMNS}"
        row = await (await connection.execute(query, (limit_id,))).fetchone()
        return _limit(row) if row else None

    async def _change(
        self, statement: LiteralString, draws: Sequence[Draw], now: datetime
    ) -> dict[tuple[str, str], float]:
        parameters = {
            "now": now,
            "subjects": [one.subject for one in draws],
            "kinds": [one.kind for one in draws],
            "capacities": [one.capacity for one in draws],
            "rates": [one.rate for one in draws],
            "amounts": [one.amount for one in draws],
        }
        async with self._fast.connection() as connection:
            rows: list[Any] = await (await connection.execute(statement, parameters)).fetchall()
        return {(row["subject"], row["kind"]): row["level"] for row in rows}


def _limit(row: Mapping[str, Any]) -> RateLimit:
    return RateLimit(
        id=row["id"],
        scope=LimitScope(row["scope"]),
        subject=row["subject"],
        requests_per_minute=row["requests_per_minute"],
        tokens_per_minute=row["tokens_per_minute"],
        burst=row["burst"],
        created_at=row["created_at"],
    )
