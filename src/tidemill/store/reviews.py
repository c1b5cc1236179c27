"""The rows of reviews: their state, findings and events."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from tidemill.core.finding import Category, Finding, Severity, Suggestion, TraceStep
from tidemill.core.json import Json
from tidemill.core.review import ReviewState
from tidemill.store.blobs import BlobStore
from tidemill.store.database import Pool
from tidemill.store.shared_blobs import delete_unreferred, lock_blob


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """One review as it is stored. `result` is there once it is done; `change_digest` names its blob.

    `request_id` is that of the request which asked for it.
    """

    id: UUID
    key_id: UUID | None
    owner_id: UUID | None
    state: ReviewState
    title: str
    base: str | None
    head: str | None
    change_digest: str
    with_model: bool
    created_at: datetime
    error: str | None = None
    result: Mapping[str, Json] | None = None
    finished_at: datetime | None = None
    change_forgotten_at: datetime | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReviewEvent:
    """One step of a review's progress. `seq` grows; `step` is unique in its review."""

    seq: int
    step: str
    kind: str
    data: Mapping[str, Json]
    at: datetime


class ReviewRepository:
    """Reviews. Every write can be repeated without effect, so that a step that runs twice leaves one trace."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, review: ReviewRow, blobs: BlobStore, change: bytes) -> None:
        """Writes a new review, and the change that it reads, whose digest it has."""
        async with self._pool.connection() as connection, connection.transaction():
            await lock_blob(connection, review.change_digest)
            await connection.execute(
                "INSERT INTO reviews (id, key_id, owner_id, state, title, base, head, change_digest, with_model, "
                "created_at, request_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (id) DO NOTHING",
                (
                    review.id,
                    review.key_id,
                    review.owner_id,
                    review.state,
                    review.title,
                    review.base,
                    review.head,
                    review.change_digest,
                    review.with_model,
                    review.created_at,
                    review.request_id,
                ),
            )
            await blobs.put(change)

    async def get(self, review_id: UUID) -> ReviewRow | None:
        """One review, or `None`."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT * FROM reviews WHERE id = %s", (review_id,))
            row = await cursor.fetchone()
        return _review(row) if row else None

    async def latest(self, *, owners: Sequence[UUID] | None, limit: int) -> list[ReviewRow]:
        """The newest reviews; of some owners alone where they are given."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT * FROM reviews WHERE %(owners)s::uuid[] IS NULL OR owner_id = ANY(%(owners)s) "
                "ORDER BY created_at DESC, id DESC LIMIT %(limit)s",
                {"owners": None if owners is None else list(owners), "limit": limit},
            )
            return [_review(row) for row in await cursor.fetchall()]

    async def begin(self, review_id: UUID) -> None:
        """Marks a queued review as running."""
        await self._execute("UPDATE reviews SET state = 'running' WHERE id = %s AND state = 'queued'", (review_id,))

    async def finish(self, review_id: UUID, result: Mapping[str, Json], at: datetime) -> None:
        """Marks a review as done, with its result."""
        await self._execute(
            "UPDATE reviews SET state = 'done', result = %s, finished_at = %s WHERE id = %s AND finished_at IS NULL",
            (json.dumps(result), at, review_id),
        )

    async def fail(self, review_id: UUID, error: str, at: datetime) -> None:
        """Marks a review as failed, with the sentence that a person reads."""
        await self._execute(
            "UPDATE reviews SET state = 'failed', error = %s, finished_at = %s WHERE id = %s AND finished_at IS NULL",
            (error, at, review_id),
        )

    async def reopen(self, review_id: UUID) -> None:
        """Takes a failure back, so that the review can be made again under its id."""
        await self._execute(
            "UPDATE reviews SET state = 'queued', error = NULL, finished_at = NULL WHERE id = %s AND state = 'failed'",
            (review_id,),
        )

    async def unfinished(self) -> list[ReviewRow]:
        """Reviews that are queued or running, oldest first; those of pull requests are their runs' own affair."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT * FROM reviews WHERE state IN ('queued', 'running') "
                "AND NOT EXISTS (SELECT FROM pull_request_runs AS run WHERE run.id = reviews.id) "
                "ORDER BY created_at, id"
            )
            return [_review(row) for row in await cursor.fetchall()]

    async def forget_changes(self, blobs: BlobStore, before: datetime, at: datetime) -> int:
        """Deletes the changes all of whose reviews ended before a time; returns how many. A file's content stays."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT change_digest AS digest FROM reviews GROUP BY change_digest "
                "HAVING bool_and(finished_at IS NOT NULL AND finished_at < %s) "
                "AND bool_or(change_forgotten_at IS NULL) LIMIT 1000",
                (before,),
            )
            digests = [str(row["digest"]) for row in await cursor.fetchall()]
        forgotten = 0
        for digest in digests:
            async with self._pool.connection() as connection, connection.transaction():
                await lock_blob(connection, digest)
                cursor = await connection.execute(
                    "UPDATE reviews SET change_forgotten_at = %(at)s WHERE change_digest = %(digest)s AND NOT EXISTS "
                    "(SELECT 1 FROM reviews WHERE change_digest = %(digest)s "
                    "AND (finished_at IS NULL OR finished_at >= %(before)s))",
                    {"at": at, "digest": digest, "before": before},
                )
                if cursor.rowcount:
                    await delete_unreferred(connection, blobs, digest)
                    forgotten += 1
        return forgotten

    async def add_findings(self, review_id: UUID, findings: Iterable[Finding]) -> None:
        """Adds findings; one whose fingerprint is there already is left as it is."""
        rows = [
            (
                review_id,
                f.fingerprint,
                f.engine,
                f.rule,
                f.path,
                f.line,
                f.severity,
                f.title,
                f.message,
                f.quote,
                json.dumps(f.details),
                f.category,
                f.confidence,
                json.dumps([asdict(step) for step in f.trace]),
                _suggested(f),
            )
            for f in findings
        ]
        if not rows:
            return
        async with self._pool.connection() as connection, connection.transaction():
            await connection.cursor().executemany(
                "INSERT INTO review_findings (review_id, fingerprint, engine, rule, path, line, severity, title, "
                "message, quote, details, category, confidence, trace, suggestion) VALUES (%s, %s, %s, %s, %s, %s, %s, "
                "%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                rows,
            )

    async def refine(self, review_id: UUID, finding: Finding) -> None:
        """Adds to a finding what mends it: its suggestion, and what its details say of that."""
        await self._execute(
            "UPDATE review_findings SET suggestion = %s, details = %s WHERE review_id = %s AND fingerprint = %s",
            (_suggested(finding), json.dumps(finding.details), review_id, finding.fingerprint),
        )

    async def findings(self, review_id: UUID) -> list[Finding]:
        """All findings of a review, in no particular order."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT engine, rule, path, line, severity, title, message, quote, fingerprint, details, category, "
                "confidence, trace, suggestion FROM review_findings WHERE review_id = %s",
                (review_id,),
            )
            rows = await cursor.fetchall()
        return [_finding(row) for row in rows]

    async def add_event(self, review_id: UUID, step: str, kind: str, data: Mapping[str, Json], at: datetime) -> None:
        """Adds an event; a second one of the same step is not written."""
        await self._execute(
            "INSERT INTO review_events (review_id, step, kind, data, at) VALUES (%s, %s, %s, %s, %s) "
            "ON CONFLICT (review_id, step) DO NOTHING",
            (review_id, step, kind, json.dumps(data), at),
        )

    async def events(self, review_id: UUID, *, after: int = 0) -> list[ReviewEvent]:
        """The events of a review after a sequence number, in order."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT seq, step, kind, data, at FROM review_events WHERE review_id = %s AND seq > %s ORDER BY seq",
                (review_id, after),
            )
            return [ReviewEvent(**row) for row in await cursor.fetchall()]  # type: ignore[arg-type]

    async def _execute(self, query: LiteralString, parameters: tuple[object, ...]) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(query, parameters)


def _review(row: dict[str, object]) -> ReviewRow:
    return ReviewRow(**{**row, "state": ReviewState(str(row["state"]))})  # type: ignore[arg-type]


def _finding(row: dict[str, Any]) -> Finding:
    suggestion = row["suggestion"]
    return Finding(
        **{
            **row,
            "severity": Severity(row["severity"]),
            "category": Category(row["category"]),
            "trace": tuple(TraceStep(**step) for step in row["trace"]),
            "suggestion": suggestion and Suggestion(**{**suggestion, "verified": tuple(suggestion["verified"])}),
        }
    )


def _suggested(finding: Finding) -> str | None:
    return None if finding.suggestion is None else json.dumps(asdict(finding.suggestion))
