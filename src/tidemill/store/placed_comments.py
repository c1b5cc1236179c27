"""The rows of comments that Tidemill has written on pull requests, and of what became of them."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.feedback import CommentFeedback, Feedback, Outcome
from tidemill.core.finding import Category, Finding, Severity, Suggestion, TraceStep
from tidemill.core.placed_comment import PlacedComment, PlacedState
from tidemill.store.database import Pool

PAGE = 200
_FEEDBACK: LiteralString = (
    "SELECT f.*, r.forge, r.project, r.number, p.head, p.review_id, p.inference_id, p.fingerprint, p.finding, "
    "p.comment FROM comment_feedback AS f JOIN placed_comments AS p ON p.id = f.placed_id "
    "JOIN pull_requests AS r ON r.id = p.pull_request_id"
)


class PlacedCommentRepository:
    """Placed comments and their outcomes. Every write can be repeated without effect."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, placed: PlacedComment) -> None:
        """Writes a comment that stands on its forge; the one of its fingerprint stays where there is one."""
        await self._execute(
            "INSERT INTO placed_comments (id, pull_request_id, review_id, head, fingerprint, finding, inference_id, "
            "comment, thread, state, placed_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (pull_request_id, fingerprint) DO NOTHING",
            (
                placed.id,
                placed.pull_request_id,
                placed.review_id,
                placed.head,
                placed.finding.fingerprint,
                json.dumps(asdict(placed.finding)),
                placed.inference_id,
                placed.comment,
                placed.thread,
                placed.state,
                placed.placed_at,
            ),
        )

    async def of(self, pull_request_id: UUID) -> list[PlacedComment]:
        """The comments of a pull request, oldest first."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT * FROM placed_comments WHERE pull_request_id = %s ORDER BY placed_at, id", (pull_request_id,)
            )
            return [_placed(row) for row in await cursor.fetchall()]

    async def turn(self, placed_id: UUID, state: PlacedState) -> None:
        """Notes how a comment stands now."""
        await self._execute("UPDATE placed_comments SET state = %s WHERE id = %s", (state, placed_id))

    async def move(self, placed_id: UUID, finding: Finding, head: str) -> None:
        """Notes in which file, under a new name, a comment's lines stand from a commit on."""
        await self._execute(
            "UPDATE placed_comments SET finding = %s, head = %s WHERE id = %s",
            (json.dumps(asdict(finding)), head, placed_id),
        )

    async def add_feedback(self, rows: Iterable[Feedback]) -> int:
        """Writes outcomes; one that is there from the same source stays. Returns how many were new."""
        new = 0
        async with self._pool.connection() as connection, connection.transaction():
            for row in rows:
                cursor = await connection.execute(
                    "INSERT INTO comment_feedback (id, placed_id, outcome, source, login, code_before, code_after, "
                    "level, detail, at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    (
                        row.id,
                        row.placed_id,
                        row.outcome,
                        row.source,
                        row.login,
                        row.code_before,
                        row.code_after,
                        row.level,
                        json.dumps(row.detail),
                        row.at,
                    ),
                )
                new += cursor.rowcount
        return new

    async def counted(self, placed_id: UUID, outcome: Outcome) -> int:
        """How many of an outcome are known of a comment: those that events told of, or the highest count polled."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT greatest(count(*) FILTER (WHERE detail->>'count' IS NULL), "
                "max((detail->>'count')::integer)) AS known FROM comment_feedback "
                "WHERE placed_id = %s AND outcome = %s",
                (placed_id, outcome),
            )
            row = await cursor.fetchone()
        return int(str(row["known"])) if row and row["known"] is not None else 0

    async def feedback_of_review(self, review_id: UUID) -> list[CommentFeedback]:
        """The outcomes of a review's comments, oldest first."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_FEEDBACK + " WHERE p.review_id = %s ORDER BY f.at, f.id", (review_id,))
            return [_feedback(row) for row in await cursor.fetchall()]

    async def all_feedback(self, *, since: datetime | None) -> AsyncIterator[CommentFeedback]:
        """All outcomes since a time, oldest first."""
        async with (
            self._pool.connection() as connection,
            connection.transaction(),
            connection.cursor(name="feedback") as cursor,
        ):
            await cursor.execute(
                _FEEDBACK + " WHERE %(since)s::timestamptz IS NULL OR f.at >= %(since)s ORDER BY f.at, f.id",
                {"since": since},
            )
            while page := await cursor.fetchmany(PAGE):
                for row in page:
                    yield _feedback(row)

    async def forget_code(self, before: datetime) -> int:
        """Takes the code out of outcomes that are older; returns how many had some."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE comment_feedback SET code_before = NULL, code_after = NULL "
                "WHERE at < %s AND (code_before IS NOT NULL OR code_after IS NOT NULL)",
                (before,),
            )
            return cursor.rowcount

    async def _execute(self, query: LiteralString, parameters: tuple[object, ...]) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(query, parameters)


def _placed(row: Mapping[str, Any]) -> PlacedComment:
    rest = {name: value for name, value in row.items() if name != "fingerprint"}
    finding = _finding(row["finding"])
    return PlacedComment(**{**rest, "finding": finding, "state": PlacedState(row["state"])})


def _feedback(row: Mapping[str, Any]) -> CommentFeedback:
    finding = _finding(row["finding"])
    about = ("forge", "project", "number", "head", "review_id", "inference_id", "fingerprint", "comment")
    own = ("id", "placed_id", "source", "at", "login", "code_before", "code_after", "detail")
    return CommentFeedback(
        feedback=Feedback(
            **{name: row[name] for name in own}, outcome=Outcome(row["outcome"]), level=Level(row["level"])
        ),
        **{name: row[name] for name in about},
        engine=finding.engine,
        rule=finding.rule,
        path=finding.path,
        line=finding.line,
        severity=finding.severity,
        message=finding.message,
    )


def _finding(document: Mapping[str, Any]) -> Finding:
    """What `asdict` made of one, read back from JSON."""
    suggestion = document["suggestion"]
    return Finding(
        **{
            **document,
            "severity": Severity(document["severity"]),
            "category": Category(document["category"]),
            "trace": tuple(TraceStep(**step) for step in document["trace"]),
            "suggestion": suggestion and Suggestion(**{**suggestion, "verified": tuple(suggestion["verified"])}),
        }
    )
