"""The rows of jobs: requests whose answers are kept."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.context import CacheUse, Priority
from tidemill.core.generation import Callback, CallbackState, GenerationJob, JobState, Maker, OpenJob
from tidemill.store.database import Pool

HEAD: LiteralString = (
    "id, owner_id, key_id, user_id, level, priority, endpoint, state, error::text AS error, callback_url, "
    "callback_state, callback_attempts, callback_delivery_id, callback_error, request_id, trace_id, cache, language, "
    "max_cost_usd, created_at, started_at, ended_at, expires_at, tries, failing_since"
)
"""All but what may be large."""
SHOWN: LiteralString = f"{HEAD}, result::text AS result"
WHOLE: LiteralString = f"{SHOWN}, request::text AS request"
ENDED: LiteralString = (
    "ended_at = %(now)s, callback_due_at = CASE WHEN callback_url IS NOT NULL THEN %(now)s END, "
    "callback_state = CASE WHEN callback_url IS NOT NULL THEN 'waiting' END"
)
UNFINISHED: LiteralString = "state IN ('queued', 'running')"


class GenerationJobRepository:
    """Jobs, each seen by its owner alone. Requests and answers are JSON texts, kept as they came."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, job: GenerationJob) -> None:
        """Writes a new job."""
        maker, callback = job.maker, job.callback
        async with self._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO generation_jobs (id, owner_id, key_id, user_id, level, priority, endpoint, state, "
                "request, callback_url, callback_delivery_id, request_id, trace_id, cache, language, max_cost_usd, "
                "created_at, expires_at) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::json, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    job.id, maker.owner_id, maker.key_id, maker.user_id, maker.level, int(job.priority), job.endpoint,
                    job.state, job.request, callback.url if callback else None,
                    callback.delivery_id if callback else None, maker.request_id, maker.trace_id, maker.cache,
                    maker.language, maker.max_cost_usd, job.created_at, job.expires_at,
                ),
            )  # fmt: skip

    async def find(self, job_id: UUID) -> GenerationJob | None:
        """A job, whoever's it is."""
        found = await self._all(f"SELECT {WHOLE} FROM generation_jobs WHERE id = %(id)s", {"id": job_id})  # noqa: S608
        return found[0] if found else None

    async def page(self, owner_id: UUID, *, limit: int, after: UUID | None) -> list[GenerationJob]:
        """An owner's jobs without requests and answers, newest first, from the one after `after` on."""
        return await self._all(
            f"SELECT {HEAD} FROM generation_jobs WHERE owner_id = %(owner)s "  # noqa: S608 - constants
            "AND (%(after)s::uuid IS NULL OR id < %(after)s) ORDER BY id DESC LIMIT %(limit)s",
            {"owner": owner_id, "after": after, "limit": limit},
        )

    async def open(self, now: datetime, before: datetime) -> list[OpenJob]:
        """Jobs that are running, are due for another try, or are queued since before this time."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT id, priority, tries FROM generation_jobs WHERE state = 'running' "
                "OR state = 'queued' AND (due_at <= %(now)s OR due_at IS NULL AND created_at < %(before)s)",
                {"now": now, "before": before},
            )
            rows: list[dict[str, Any]] = await cursor.fetchall()
        return [OpenJob(row["id"], Priority(row["priority"]), row["tries"]) for row in rows]

    async def unfinished(self, owner_id: UUID) -> tuple[int, int]:
        """How many jobs of an owner are queued or running, and the bytes of their requests."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT count(*) AS jobs, coalesce(sum(octet_length(request::text)), 0) AS bytes "  # noqa: S608
                f"FROM generation_jobs WHERE owner_id = %(owner)s AND {UNFINISHED}",
                {"owner": owner_id},
            )
            row: dict[str, Any] | None = await cursor.fetchone()
        assert row is not None  # noqa: S101 - an aggregate has a row
        return int(row["jobs"]), int(row["bytes"])

    async def state(self, job_id: UUID) -> JobState | None:
        """How far a job is; `None` where it is gone."""
        async with self._pool.connection() as connection:
            row = await (
                await connection.execute("SELECT state FROM generation_jobs WHERE id = %s", (job_id,))
            ).fetchone()
        return JobState(str(row["state"])) if row else None

    async def begin(self, job_id: UUID, tries: int, now: datetime) -> bool:
        """Notes that a job is worked on; whether it is there, has not ended, and this is its try."""
        changed = await self._change(
            "UPDATE generation_jobs SET state = 'running', started_at = coalesce(started_at, %(now)s) "  # noqa: S608
            f"WHERE id = %(id)s AND tries = %(tries)s AND {UNFINISHED}",
            {"id": job_id, "tries": tries, "now": now},
        )
        return changed > 0

    async def postpone(self, job_id: UUID, tries: int, due_at: datetime, now: datetime) -> None:
        """Puts a job that is running off: it is queued again, for another try from then on."""
        await self._change(
            "UPDATE generation_jobs SET state = 'queued', tries = tries + 1, due_at = %(due)s, "
            "failing_since = coalesce(failing_since, %(now)s) "
            "WHERE id = %(id)s AND tries = %(tries)s AND state = 'running'",
            {"id": job_id, "tries": tries, "due": due_at, "now": now},
        )

    async def finish(self, job_id: UUID, result: str, now: datetime) -> None:
        """Keeps the answer; nothing happens where the job ended in another way meanwhile."""
        await self._change(
            f"UPDATE generation_jobs SET state = 'done', result = %(result)s::json, {ENDED} "  # noqa: S608
            f"WHERE id = %(id)s AND {UNFINISHED}",
            {"id": job_id, "result": result, "now": now},
        )

    async def fail(self, job_id: UUID, error: str, now: datetime) -> None:
        """Keeps why there is no answer; likewise."""
        await self._change(
            f"UPDATE generation_jobs SET state = 'failed', error = %(error)s::json, {ENDED} "  # noqa: S608 - constants
            f"WHERE id = %(id)s AND {UNFINISHED}",
            {"id": job_id, "error": error, "now": now},
        )

    async def cancel(self, job_id: UUID, now: datetime) -> bool:
        """Ends a job that is queued or running; whether it was. Whoever works on it sees it, and stops."""
        changed = await self._change(
            f"UPDATE generation_jobs SET state = 'cancelled', {ENDED} WHERE id = %(id)s AND {UNFINISHED}",  # noqa: S608
            {"id": job_id, "now": now},
        )
        return changed > 0

    async def delete(self, job_ids: Sequence[UUID]) -> int:
        """Deletes jobs, whatever their state."""
        return await self._change("DELETE FROM generation_jobs WHERE id = ANY(%(ids)s)", {"ids": [*job_ids]})

    async def expired(self, before: datetime) -> list[UUID]:
        """Jobs whose time is over, a thousand at most."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT id FROM generation_jobs WHERE expires_at <= %s LIMIT 1000", (before,)
            )
            return [UUID(str(row["id"])) for row in await cursor.fetchall()]

    async def claim_callbacks(self, now: datetime, until: datetime, limit: int) -> list[GenerationJob]:
        """Jobs whose end is to be told now. Nobody else tries until then, unless whoever claims them is done before."""
        return await self._all(
            f"UPDATE generation_jobs SET callback_due_at = %(until)s WHERE id IN ("  # noqa: S608 - constants
            "SELECT id FROM generation_jobs WHERE callback_due_at <= %(now)s ORDER BY callback_due_at "
            f"LIMIT %(limit)s FOR UPDATE SKIP LOCKED) RETURNING {SHOWN}",
            {"now": now, "until": until, "limit": limit},
        )

    async def note_callback(
        self, job_id: UUID, state: CallbackState, attempts: int, error: str | None, due_at: datetime | None
    ) -> None:
        """Keeps what became of an attempt, and when the next one is due; `None` for no more."""
        await self._change(
            "UPDATE generation_jobs SET callback_state = %(state)s, callback_attempts = %(attempts)s, "
            "callback_error = %(error)s, callback_due_at = %(due)s WHERE id = %(id)s",
            {"id": job_id, "state": state, "attempts": attempts, "error": error, "due": due_at},
        )

    async def _change(self, query: LiteralString, parameters: Mapping[str, object]) -> int:
        async with self._pool.connection() as connection:
            return (await connection.execute(query, parameters)).rowcount

    async def _all(self, query: LiteralString, parameters: Mapping[str, object]) -> list[GenerationJob]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, parameters)
            return [_job(row) for row in await cursor.fetchall()]


def maker_of(row: Mapping[str, Any]) -> Maker:
    """Who asked, from a row that has these columns."""
    return Maker(
        owner_id=row["owner_id"],
        key_id=row["key_id"],
        user_id=row["user_id"],
        level=Level(row["level"]),
        request_id=row["request_id"],
        trace_id=row["trace_id"],
        cache=CacheUse(row["cache"]),
        language=row["language"],
        max_cost_usd=row["max_cost_usd"],
    )


def _job(row: Mapping[str, Any]) -> GenerationJob:
    callback = None
    if row["callback_url"] is not None:
        callback = Callback(
            url=row["callback_url"],
            delivery_id=row["callback_delivery_id"],
            state=CallbackState(row["callback_state"]) if row["callback_state"] else None,
            attempts=row["callback_attempts"],
            error=row["callback_error"],
        )
    return GenerationJob(
        id=row["id"],
        maker=maker_of(row),
        endpoint=row["endpoint"],
        priority=Priority(row["priority"]),
        state=JobState(row["state"]),
        request=row.get("request", ""),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        callback=callback,
        result=row.get("result"),
        error=row["error"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        tries=row["tries"],
        failing_since=row["failing_since"],
    )
