"""Blobs that rows share: those of files, of reviews and of documents. One goes with the last row that refers to it.

Whoever adds such a row, and whoever takes one away, first locks the digest in its transaction: so a blob is never
deleted under a row that was added meanwhile.
"""

from tidemill.store.blobs import BlobStore
from tidemill.store.database import Connection

REFERRED = """
SELECT EXISTS (SELECT 1 FROM files WHERE digest = %(digest)s)
OR EXISTS (SELECT 1 FROM documents WHERE raw_digest = %(digest)s)
OR EXISTS (SELECT 1 FROM document_versions WHERE raw_digest = %(digest)s)
OR EXISTS (SELECT 1 FROM source_uploads WHERE digest = %(digest)s) OR EXISTS
(SELECT 1 FROM reviews WHERE change_digest = %(digest)s AND change_forgotten_at IS NULL) AS referred
"""


async def lock_blob(connection: Connection, digest: str) -> None:
    """Keeps others away from the blob until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s::text, 0))", (digest,))


async def delete_unreferred(connection: Connection, blobs: BlobStore, digest: str) -> None:
    """Deletes a locked blob to which no row refers, before the rows that did are gone for good.

    Where the end of the transaction fails, a row is left without a blob, and can be deleted again; the other way
    round a blob could be left of which nobody knows.
    """
    row = await (await connection.execute(REFERRED, {"digest": digest})).fetchone()
    if row is not None and not row["referred"]:
        await blobs.delete(digest)
