"""What is due to be deleted, by kind, and what the last run of retention did."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from tidemill.store.database import Pool
from tidemill.store.search_index import UNUSED_TERMS

LOCK = 7304771241
"""Advisory: one process at a time deletes what is due."""

DUE: Mapping[str, LiteralString] = {
    "inference_texts": "SELECT count(*) AS due FROM inference_texts WHERE expires_at <= %(before)s",
    "review_changes": "SELECT count(*) AS due FROM (SELECT FROM reviews GROUP BY change_digest "
    "HAVING bool_and(finished_at IS NOT NULL AND finished_at < %(before)s) "
    "AND bool_or(change_forgotten_at IS NULL)) AS changes",
    "review_steps": "SELECT count(DISTINCT review_id) AS due FROM review_events JOIN reviews ON id = review_id "
    "WHERE finished_at < %(before)s",
    "conversations": "SELECT count(*) AS due FROM conversations WHERE updated_at < %(before)s",
    "answers": "SELECT count(*) AS due FROM answers WHERE expires_at <= %(before)s",
    "responses": "SELECT count(*) AS due FROM responses WHERE expires_at <= %(before)s",
    "jobs": "SELECT count(*) AS due FROM generation_jobs WHERE expires_at <= %(before)s",
    "batches": "SELECT count(*) AS due FROM batches WHERE ended_at < %(before)s",
    "files": "SELECT count(*) AS due FROM files WHERE expires_at <= %(before)s",
    "cached_answers": "SELECT count(*) AS due FROM answer_cache WHERE expires_at <= %(before)s",
    "text_fingerprints": "SELECT count(*) AS due FROM text_fingerprints WHERE expires_at <= %(before)s",
    "guardrail_events": "SELECT count(*) AS due FROM guardrail_events WHERE created_at < %(before)s",
    "delivery_payloads": "SELECT count(*) AS due FROM deliveries WHERE payload IS NOT NULL AND state <> 'received' "
    "AND received_at < %(before)s",
    "deliveries": "SELECT count(*) AS due FROM deliveries WHERE received_at < %(before)s",
    "pull_request_runs": "SELECT count(*) AS due FROM pull_request_runs AS r JOIN pull_requests AS p "
    "ON p.id = r.pull_request_id WHERE r.finished_at < %(before)s AND p.state <> 'open'",
    "feedback_code": "SELECT count(*) AS due FROM comment_feedback WHERE at < %(before)s "
    "AND (code_before IS NOT NULL OR code_after IS NOT NULL)",
    "forge_logins": "SELECT (SELECT count(*) FROM pull_requests WHERE author <> '' AND state <> 'open' "
    "AND updated_at < %(before)s) + (SELECT count(*) FROM pull_request_runs WHERE asked_by IS NOT NULL "
    "AND finished_at < %(before)s) + (SELECT count(*) FROM ignored_findings WHERE login IS NOT NULL "
    "AND at < %(before)s) + (SELECT count(*) FROM comment_feedback WHERE login IS NOT NULL AND at < %(before)s) AS due",
    "alerts": "SELECT count(*) AS due FROM alerts WHERE resolved_at < %(before)s",
    "document_versions": "SELECT count(*) AS due FROM document_versions WHERE ended_at < %(before)s",
    "syncs": "SELECT count(*) AS due FROM source_syncs AS old WHERE finished_at < %(before)s AND EXISTS (SELECT 1 "
    "FROM source_syncs AS newer WHERE newer.source_id = old.source_id AND newer.created_at > old.created_at)",
    "unused_words": f"SELECT count(*) AS due FROM ({UNUSED_TERMS}) AS unused",  # noqa: S608 - a constant
    "cached_embeddings": "SELECT count(*) AS due FROM embedding_cache WHERE created_at < %(before)s",
}


@dataclass(frozen=True, slots=True)
class Run:
    """When a kind was last looked after, what was deleted then, and in all."""

    kind: str
    at: datetime
    deleted: int
    total: int


class RetentionRepository:
    """What is due, and what was done."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def alone(self) -> AbstractAsyncContextManager[bool]:
        """Whether no other process is at it; none begins while the block runs."""
        return self._pool.alone(LOCK)

    async def due(self, kind: str, before: datetime) -> int:
        """How many of a kind in `DUE` are due."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(DUE[kind], {"before": before})).fetchone()
        return int(str(row["due"])) if row else 0

    async def forget_embeddings(self, before: datetime) -> int:
        """Deletes cached embeddings that are older."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("DELETE FROM embedding_cache WHERE created_at < %s", (before,))
            return cursor.rowcount

    async def ended_reviews(self, before: datetime) -> list[UUID]:
        """Reviews that ended earlier and whose steps are still there."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT DISTINCT review_id FROM review_events JOIN reviews ON id = review_id WHERE finished_at < %s "
                "LIMIT 1000",
                (before,),
            )
            return [UUID(str(row["review_id"])) for row in await cursor.fetchall()]

    async def record(self, kind: str, at: datetime, deleted: int) -> None:
        """Notes a run."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO retention_runs AS r (kind, at, deleted, total) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (kind) DO UPDATE SET at = excluded.at, deleted = excluded.deleted, "
                "total = r.total + excluded.deleted",
                (kind, at, deleted, deleted),
            )

    async def runs(self) -> dict[str, Run]:
        """The last run of each kind that had one."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT * FROM retention_runs")
            return {str(row["kind"]): Run(**row) for row in await cursor.fetchall()}  # type: ignore[arg-type]
