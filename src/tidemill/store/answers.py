"""Answers from documents, with their citations as they were given."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from tidemill.core.answer import Answer, AnswerStatus, Citation, Issue, Outcome
from tidemill.core.classification import Level
from tidemill.core.document import Span
from tidemill.core.errors import NotFound
from tidemill.store.database import Pool


class AnswerRepository:
    """Answers, each seen by its owner alone."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, answer: Answer, owner_id: UUID, *, days: float) -> None:
        """Writes an answer, to be kept for this many days.

        Raises:
            NotFound: the conversation that it belongs to is not there any more.
        """
        metadata = {**answer.metadata, "outcome": answer.outcome, "issues": list(answer.issues)}
        try:
            async with self._pool.connection() as connection:
                await connection.execute(
                    "INSERT INTO answers (id, owner_id, conversation_id, inference_id, question, answer, status, "
                    "language, confidence, citations, metadata, level, created_at, expires_at) "
                    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                    (
                        answer.id,
                        owner_id,
                        answer.conversation_id,
                        answer.inference_id,
                        answer.question,
                        answer.text,
                        answer.status,
                        answer.language,
                        answer.confidence,
                        json.dumps([asdict(one) for one in answer.citations]),
                        json.dumps(metadata),
                        answer.level,
                        answer.created_at,
                        answer.created_at + timedelta(days=days),
                    ),
                )
        except psycopg.errors.ForeignKeyViolation as error:
            raise NotFound(
                f"The conversation {answer.conversation_id} was deleted while its answer was being written."
            ) from error

    async def get(self, answer_id: UUID, owner_id: UUID) -> Answer | None:
        """One answer of this owner, or `None`."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT * FROM answers WHERE id = %s AND owner_id = %s", (answer_id, owner_id)
            )
            row = await cursor.fetchone()
        return _answer(row) if row is not None else None

    async def forget(self, now: datetime) -> int:
        """Deletes the answers whose time is over; returns how many there were."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("DELETE FROM answers WHERE expires_at <= %s", (now,))
            return cursor.rowcount


def _answer(row: Mapping[str, Any]) -> Answer:
    metadata = dict(row["metadata"])
    outcome, issues = Outcome(metadata.pop("outcome")), [Issue(one) for one in metadata.pop("issues")]
    return Answer(
        id=row["id"],
        question=row["question"],
        text=row["answer"],
        status=AnswerStatus(row["status"]),
        language=row["language"],
        confidence=row["confidence"],
        citations=[_citation(one) for one in row["citations"]],
        created_at=row["created_at"],
        outcome=outcome,
        issues=issues,
        metadata=metadata,
        inference_id=row["inference_id"],
        conversation_id=row["conversation_id"],
        level=Level(row["level"]),
    )


def _citation(stored: Mapping[str, Any]) -> Citation:
    spans, sentences = (tuple(Span(**one) for one in stored[name]) for name in ("spans", "sentences"))
    return Citation(**{**stored, "span": Span(**stored["span"]), "spans": spans, "sentences": sentences})
