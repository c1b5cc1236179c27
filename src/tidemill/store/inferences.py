"""The rows of inferences, and the texts that are kept beside them for a shorter time."""

import asyncio
from datetime import datetime

import psycopg

from tidemill.core.errors import TidemillError, Unavailable
from tidemill.core.inference import Inference, InferenceText
from tidemill.store.database import Pool

MOST_TOKENS = 2**31 - 1
"""That a column holds; a sum of what a server said may be more, and must not cost the row."""
ROW = """
INSERT INTO inferences (
    id, task, variant, model, model_version, adapter, prompt_version, config_hash, request_hash, key_id, owner_id,
    subject, trace_id, status, finish_reason, error_code, streamed, prompt_tokens, completion_tokens, cached_tokens,
    cost_usd, latency_ms, first_token_ms, cache_tier, created_at, user_id, request_id, route, provider, attempts,
    recovery, fallback
) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
    %s, %s, %s, %s, %s)
"""
ROW_WITH_TEXT = (
    f"WITH row AS ({ROW}) "  # noqa: S608 - the statement above, no input
    "INSERT INTO inference_texts (inference_id, request, response, level, expires_at) VALUES (%s, %s, %s, %s, %s)"
)
"""Both in one statement, since a statement's way there and back is most of what a row costs."""

Entry = tuple[Inference, InferenceText | None, datetime | None]


class InferenceRepository:
    """Writes inferences in groups: whatever arrives while one group is being committed makes up the next.

    Under load one commit serves many requests, and each still returns only after its own row is committed.

    Args:
        pool: a pool whose commits need not wait for the disk (see `make_pool`).
        group: the most rows in one commit.
    """

    def __init__(self, pool: Pool, *, group: int = 200) -> None:
        self._pool = pool
        self._group = group
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, inference: Inference, text: InferenceText | None, expires_at: datetime | None) -> None:
        """Commits one row, and its text where there is one. Returns when it is committed.

        Raises:
            Unavailable: the database does not answer.
            TidemillError: the row is one that it can't hold.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(((inference, text, expires_at), done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await done

    async def find_answer(
        self, *, config_hash: str, request_hash: str, now: datetime, subject: str | None = None
    ) -> str | None:
        """The newest committed answer, its time not over, to the same request of the same deployment, as JSON text.

        With `subject`, only one that was committed for it.

        Raises:
            Unavailable: the database does not answer.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT t.response::text AS response FROM inferences i "
                "JOIN inference_texts t ON t.inference_id = i.id "
                "WHERE i.request_hash = %s AND i.config_hash = %s AND i.status = 'ok' AND t.expires_at > %s "
                "AND (%s::text IS NULL OR i.subject = %s) ORDER BY i.created_at DESC LIMIT 1",
                (request_hash, config_hash, now, subject, subject),
            )
            row = await cursor.fetchone()
        return str(row["response"]) if row else None

    async def forget_texts(self, now: datetime) -> int:
        """Deletes the texts whose time is over and returns how many there were."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("DELETE FROM inference_texts WHERE expires_at <= %s", (now,))
            return cursor.rowcount

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._group], self._waiting[self._group :]
            try:
                await self._commit([entry for entry, _ in batch])
            except Unavailable as error:
                for _, done in batch:
                    _refuse(done, error)
            except (psycopg.Error, UnicodeError) as error:
                await self._settle_singly(batch, error)
            else:
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)

    async def _settle_singly(self, batch: list[tuple[Entry, asyncio.Future[None]]], error: Exception) -> None:
        """After a failed group, so that one bad row does not take its neighbours with it."""
        for entry, done in batch:
            failure: Exception | None = error
            if len(batch) > 1:
                try:
                    await self._commit([entry])
                    failure = None
                except (TidemillError, psycopg.Error, UnicodeError) as own:
                    failure = own
            if failure is not None:
                _refuse(done, failure if isinstance(failure, TidemillError) else _unwritable(failure))
            elif not done.done():
                done.set_result(None)

    async def _commit(self, entries: list[Entry]) -> None:
        alone = [_row(inference) for inference, text, _ in entries if text is None]
        with_text = [
            (*_row(inference), inference.context.inference_id, text.request, text.response, text.level, expires_at)
            for inference, text, expires_at in entries
            if text is not None
        ]
        async with self._pool.connection() as connection:
            if len(entries) == 1:
                await connection.execute(ROW_WITH_TEXT if with_text else ROW, (with_text or alone)[0])
                return
            async with connection.pipeline(), connection.transaction():
                cursor = connection.cursor()
                for statement, rows in ((ROW, alone), (ROW_WITH_TEXT, with_text)):
                    if rows:
                        await cursor.executemany(statement, rows)


def _refuse(done: asyncio.Future[None], error: TidemillError) -> None:
    if not done.done():
        done.set_exception(error)


def _unwritable(cause: Exception) -> TidemillError:
    error = TidemillError("The database can't hold the record of this answer, so the answer is not given.")
    error.__cause__ = cause
    return error


def _row(inference: Inference) -> tuple[object, ...]:
    context, usage = inference.context, inference.usage
    deployment = context.deployment
    served = inference.served
    return (
        context.inference_id,
        deployment.task,
        deployment.variant,
        served.model if served else deployment.model,
        served.version if served else deployment.model_version,
        deployment.adapter,
        deployment.prompt_version,
        deployment.config_hash,
        inference.request_hash,
        context.key_id,
        context.owner_id,
        context.subject,
        context.trace_id,
        inference.status,
        inference.finish_reason,
        inference.error_code,
        inference.streamed,
        *(min(count, MOST_TOKENS) for count in (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)),
        inference.cost_usd,
        inference.latency_ms,
        inference.first_token_ms,
        inference.cache_tier,
        inference.created_at,
        context.user_id,
        context.request_id,
        deployment.route.name if deployment.route else None,
        served.provider if served else None,
        served.attempts if served else 1,
        list(served.recovery) if served else [],
        served.fallback if served else None,
    )
