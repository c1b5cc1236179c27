"""Which document says the same as another, or nearly, within the caller's transaction.

A document that another one names is its original, and names none itself.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from tidemill.analysis.near_duplicates import NEAR, bands, similarity
from tidemill.store.database import Connection

CANDIDATES = 100
"""Documents that share a band with another and are compared with it."""
EXACT = """
SELECT id FROM documents WHERE text_digest = %(text)s AND id <> %(id)s AND duplicate_of IS NULL
ORDER BY created_at, id LIMIT 1
"""
SHARED_BAND = """
SELECT documents.id, signature FROM (
    SELECT document_id, count(*) AS shared FROM document_bands WHERE band = ANY(%(bands)s) AND document_id <> %(id)s
    GROUP BY document_id ORDER BY shared DESC LIMIT %(limit)s
) AS near JOIN documents ON documents.id = near.document_id AND duplicate_of IS NULL AND signature IS NOT NULL
"""
NAMING = """
SELECT id, duplicate_of, text_digest, signature FROM documents
WHERE duplicate_of = ANY(%s) AND id <> ALL(%s) AND source_id IS DISTINCT FROM %s
ORDER BY duplicate_of, created_at, id FOR NO KEY UPDATE
"""
NAME = """
UPDATE documents SET duplicate_of = named.original, similarity = named.similarity
FROM unnest(%s::uuid[], %s::uuid[], %s::real[]) AS named(id, original, similarity) WHERE documents.id = named.id
"""


class Likeness(NamedTuple):
    """Which document another one repeats, and to what degree: 1 is the very same text. Empty where there is none."""

    original: UUID | None = None
    similarity: float | None = None


async def original_of(connection: Connection, document_id: UUID, text_digest: str, signature: bytes | None) -> Likeness:
    """The first document that says the same, or else the one that says most nearly the same."""
    values = {"text": text_digest, "id": document_id}
    row = await (await connection.execute(EXACT, values)).fetchone()
    if row is not None:
        return Likeness(UUID(str(row["id"])), 1.0)
    if signature is None:
        return Likeness()
    near = {"bands": bands(signature), "id": document_id, "limit": CANDIDATES}
    rows = await (await connection.execute(SHARED_BAND, near)).fetchall()
    alike = [
        Likeness(UUID(str(row["id"])), similarity(signature, bytes(row["signature"])))  # type: ignore[call-overload]
        for row in rows
    ]
    best = max(alike, default=Likeness(), key=lambda one: one.similarity or 0.0)
    return best if (best.similarity or 0.0) >= NEAR else Likeness()


async def sign(connection: Connection, document_id: UUID, signature: bytes | None) -> None:
    """Writes what finds the near duplicates of a document, in the place of what did."""
    await connection.execute("DELETE FROM document_bands WHERE document_id = %s", (document_id,))
    if signature is not None:
        await connection.execute(
            "INSERT INTO document_bands (band, document_id) SELECT DISTINCT band, %s::uuid FROM unnest(%s::bigint[]) "
            "AS bands(band)",
            (document_id, bands(signature)),
        )


async def name_anew(connection: Connection, originals: Sequence[UUID], *, leaving: UUID | None = None) -> None:
    """Gives the documents that name one of these another original: the first of those that named the same one.

    Call it before an original is deleted, and when its text changes.

    Args:
        connection: the caller's.
        originals: documents that say what they said no more.
        leaving: a source whose documents are all deleted, and so need none.
    """
    ids = list(originals)
    rows = await (await connection.execute(NAMING, (ids, ids, leaving))).fetchall()
    firsts: dict[object, dict[str, object]] = {}
    named: list[tuple[object, Likeness]] = []
    for row in rows:
        first = firsts.setdefault(row["duplicate_of"], row)
        named.append((row["id"], Likeness() if first is row else _likeness(row, first)))
    if named:
        likenesses = [one for _, one in named]
        await connection.execute(
            NAME,
            ([one for one, _ in named], [one.original for one in likenesses], [one.similarity for one in likenesses]),
        )


def _likeness(row: dict[str, object], first: dict[str, object]) -> Likeness:
    original = UUID(str(first["id"]))
    if row["text_digest"] == first["text_digest"]:
        return Likeness(original, 1.0)
    if row["signature"] is None or first["signature"] is None:
        return Likeness()
    alike = similarity(bytes(row["signature"]), bytes(first["signature"]))  # type: ignore[call-overload]
    return Likeness(original, alike) if alike >= NEAR else Likeness()
