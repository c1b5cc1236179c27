"""What the database holds of one person, across all tables: to be exported, and to be erased.

This is the one place that knows every table in which something of a person stands. A new one is added here.
"""

# ruff: noqa: S608 - the statements are put together from parts of this module alone

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from tidemill.store.blobs import BlobStore
from tidemill.store.database import Connection, Pool
from tidemill.store.shared_blobs import delete_unreferred, lock_blob

PAGE = 10
"""Rows that an export holds in memory at once: a conversation may have `conversations.max_bytes`."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person, and all ids under which what they made is stored: their own, and their keys'."""

    user_id: UUID
    key_ids: tuple[UUID, ...]

    @property
    def parameters(self) -> dict[str, object]:
        """For the statements below."""
        return {
            "user": self.user_id,
            "user_text": str(self.user_id),
            "keys": list(self.key_ids),
            "owners": [self.user_id, *self.key_ids],
        }


REVIEWS: LiteralString = "SELECT id FROM reviews WHERE owner_id = ANY(%(owners)s) OR key_id = ANY(%(keys)s)"
INFERENCES: LiteralString = (
    "SELECT id FROM inferences WHERE owner_id = ANY(%(owners)s) OR key_id = ANY(%(keys)s) "
    f"OR subject IN (SELECT 'review:' || id FROM ({REVIEWS}) AS own) "
    "OR subject IN (SELECT id::text FROM conversations WHERE owner_id = ANY(%(owners)s))"
)

LIMITED: LiteralString = (
    "(scope = 'user' AND subject = %(user_text)s OR scope = 'key' AND subject = ANY(%(keys)s::text[]))"
)

NAMED_IN_DELIVERY: LiteralString = (
    "payload IS NOT NULL AND EXISTS (SELECT 1 FROM (SELECT convert_to(email, 'UTF8') AS email FROM users "
    "WHERE id = %(user)s) AS their WHERE position(their.email IN payload) > 0 AND encode(payload, 'escape') ~ "
    r"(E'(^|[^a-zA-Z0-9._%%+-]|\\\\\\\\[bfnrt])' || regexp_replace(encode(their.email, 'escape'), '([^a-zA-Z0-9])', "
    r"E'\\\\\\1', 'g') || E'($|[^a-zA-Z0-9.-]|\\.($|[^a-zA-Z0-9]))'))"
)
"""A forge's people are not Tidemill's: an address that stands in a delivery is all that connects the two. It has to
stand there whole: `lan@acme.example` holds `n@acme.example`, and is somebody else's."""

EXPORTS: Mapping[str, LiteralString] = {
    "profile": "SELECT id, email, name, role, access_level, department_id, oidc_issuer, oidc_subject, created_at, "
    "disabled_at FROM users WHERE id = %(user)s",
    "teams": "SELECT teams.id, teams.name FROM teams JOIN team_members ON team_id = teams.id "
    "WHERE user_id = %(user)s ORDER BY teams.id",
    "keys": "SELECT id, name, role, prefix, scopes, created_at, last_used_at, expires_at, revoked_at FROM api_keys "
    "WHERE owner_id = %(user)s ORDER BY id",
    "sessions": "SELECT id, created_at, seen_at, ended_at FROM sessions WHERE user_id = %(user)s ORDER BY id",
    "inferences": "SELECT inferences.*, request, response, level FROM inferences "
    f"LEFT JOIN inference_texts ON inference_id = inferences.id WHERE inferences.id IN ({INFERENCES}) "
    "ORDER BY inferences.id",
    "conversations": "SELECT c.id, c.title, c.model, c.history, c.system, c.leaf_id, c.created_at, c.updated_at, "
    "(SELECT json_agg(m ORDER BY m.created_at, m.id) FROM (SELECT id, parent_id, role, content, level, model, "
    "inference_id, citations, finish_reason, created_at FROM messages WHERE conversation_id = c.id) AS m) AS messages, "
    "(SELECT json_agg(s ORDER BY s.created_at) FROM conversation_summaries AS s JOIN messages AS m "
    "ON m.id = s.message_id WHERE m.conversation_id = c.id) AS summaries "
    "FROM conversations AS c WHERE c.owner_id = ANY(%(owners)s) ORDER BY c.id",
    "reviews": "SELECT r.*, (SELECT json_agg(f) FROM review_findings AS f WHERE f.review_id = r.id) AS findings "
    f"FROM reviews AS r WHERE r.id IN ({REVIEWS}) ORDER BY r.id",
    "files": "SELECT * FROM files WHERE owner_id = ANY(%(owners)s) ORDER BY id",
    "sources": "SELECT * FROM sources WHERE owner_id = ANY(%(owners)s) ORDER BY id",
    "uploads": "SELECT * FROM source_uploads WHERE owner_id = ANY(%(owners)s) ORDER BY source_id, path",
    "syncs": "SELECT * FROM source_syncs WHERE requested_by = ANY(%(owners)s) ORDER BY id",
    "responses": "SELECT * FROM responses WHERE owner_id = ANY(%(owners)s) ORDER BY id",
    "answers": "SELECT * FROM answers WHERE owner_id = ANY(%(owners)s) ORDER BY id",
    "jobs": "SELECT * FROM generation_jobs WHERE owner_id = ANY(%(owners)s) ORDER BY id",
    "batches": "SELECT b.*, (SELECT json_agg(l ORDER BY l.place) FROM batch_lines AS l WHERE l.batch_id = b.id) "
    "AS lines FROM batches AS b WHERE b.owner_id = ANY(%(owners)s) ORDER BY b.id",
    "prompts": "SELECT * FROM prompts WHERE actor_id = ANY(%(owners)s) ORDER BY name, language, version",
    "guardrail_events": "SELECT * FROM guardrail_events WHERE owner_id = ANY(%(owners)s) ORDER BY id",
    "deliveries": f"SELECT id, event, received_at FROM deliveries WHERE {NAMED_IN_DELIVERY} ORDER BY id",
    "budgets": f"SELECT b.*, (SELECT json_agg(s ORDER BY s.period_start) FROM budget_spending AS s "
    f"WHERE s.budget_id = b.id) AS spending FROM budgets AS b WHERE {LIMITED} ORDER BY b.id",
    "rate_limits": f"SELECT * FROM rate_limits WHERE {LIMITED} ORDER BY id",
    "audit": "SELECT * FROM audit_log WHERE actor_id = ANY(%(owners)s) OR target_id = %(user_text)s ORDER BY seq",
}
"""What is handed to a person, by kind. No hash of a password, a key or a session's token."""

Erase = tuple[str, LiteralString]
"""What is counted, and a statement whose rows are."""

CLOSE: Sequence[Erase] = (
    ("sessions", "DELETE FROM sessions WHERE user_id = %(user)s"),
    ("team_memberships", "DELETE FROM team_members WHERE user_id = %(user)s"),
    (
        "keys",
        (
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, %(now)s), name = 'erased', prefix = '', "
            "hash = sha256(id::text::bytea) WHERE owner_id = %(user)s AND prefix <> ''"
        ),
    ),
    ("disabled", "UPDATE users SET disabled_at = coalesce(disabled_at, %(now)s) WHERE id = %(user)s"),
)
"""First of all, so that nothing more is made while the rest goes."""
# A row keeps its owner while it has a text: one that came between the two statements is found the next time.
TEXTS: Sequence[Erase] = (
    (
        "guardrail_events",
        f"DELETE FROM guardrail_events WHERE owner_id = ANY(%(owners)s) OR inference_id IN ({INFERENCES})",
    ),
    (
        "delivery_payloads",
        f"UPDATE deliveries SET payload = NULL, actor = '' WHERE state <> 'received' AND {NAMED_IN_DELIVERY}",
    ),
    ("inference_texts", f"DELETE FROM inference_texts WHERE inference_id IN ({INFERENCES})"),
    (  # after the texts, of which none can get any from then on
        "text_fingerprints",
        f"DELETE FROM text_fingerprints WHERE owner_id = ANY(%(owners)s) OR inference_id IN ({INFERENCES})",
    ),
    (
        "inferences_made_anonymous",
        (
            "UPDATE inferences SET owner_id = NULL, key_id = NULL, user_id = NULL, request_id = NULL, subject = NULL, "
            f"trace_id = repeat('0', 32), request_hash = '' WHERE id IN ({INFERENCES}) "
            "AND NOT EXISTS (SELECT 1 FROM inference_texts WHERE inference_id = inferences.id)"
        ),
    ),
    ("conversations", "DELETE FROM conversations WHERE owner_id = ANY(%(owners)s)"),
    ("answers", "DELETE FROM answers WHERE owner_id = ANY(%(owners)s)"),
    ("responses", "DELETE FROM responses WHERE owner_id = ANY(%(owners)s)"),
    ("jobs", "DELETE FROM generation_jobs WHERE owner_id = ANY(%(owners)s)"),
    ("batches", "DELETE FROM batches WHERE owner_id = ANY(%(owners)s)"),
    ("budgets", f"DELETE FROM budgets WHERE {LIMITED}"),
    ("rate_limits", f"DELETE FROM rate_limits WHERE {LIMITED}"),
    ("rate_buckets", "DELETE FROM rate_buckets WHERE split_part(subject, ':', 2) = ANY(%(owners)s::text[])"),
    ("sources_made_anonymous", "UPDATE sources SET owner_id = NULL WHERE owner_id = ANY(%(owners)s)"),
    ("uploads_made_anonymous", "UPDATE source_uploads SET owner_id = NULL WHERE owner_id = ANY(%(owners)s)"),
    ("syncs_made_anonymous", "UPDATE source_syncs SET requested_by = NULL WHERE requested_by = ANY(%(owners)s)"),
    ("prompts_made_anonymous", "UPDATE prompts SET actor_id = NULL WHERE actor_id = ANY(%(owners)s)"),
    ("cached_embeddings", "DELETE FROM embedding_cache WHERE owner_id = ANY(%(owners)s)"),
)
TOMBSTONE: Sequence[Erase] = (
    (
        "profile",
        (
            "UPDATE users SET email = NULL, name = NULL, password_hash = NULL, oidc_issuer = NULL, "
            "oidc_subject = NULL, department_id = NULL, role = 'viewer', access_level = 'public', erased_at = %(now)s "
            "WHERE id = %(user)s AND erased_at IS NULL"
        ),
    ),
)
"""Last, so that who has to be erased is known until all is done. The id stays, and names nobody."""

CLEANED = ("inference_texts", "inferences", "messages", "conversation_summaries", "conversations", "responses",
           "answers", "embedding_cache", "answer_cache", "reviews", "review_findings", "review_events", "files",
           "users", "api_keys", "sessions", "team_members", "generation_jobs", "batches", "batch_lines", "budgets",
           "budget_spending", "budget_reservations", "rate_limits", "rate_buckets", "guardrail_events",
           "text_fingerprints", "prompts", "sources", "source_uploads", "source_syncs", "deliveries",
           "pull_requests", "pull_request_runs", "ignored_findings", "comment_feedback")  # fmt: skip


class PersonalData:
    """What the database holds of a person."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def person(self, user_id: UUID) -> Person:
        """A person's ids."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT id FROM api_keys WHERE owner_id = %s ORDER BY id", (user_id,))
            return Person(user_id, tuple(UUID(str(row["id"])) for row in await cursor.fetchall()))

    async def rows(self, person: Person, kind: str) -> AsyncIterator[list[dict[str, object]]]:
        """Everything of one kind in `EXPORTS`, some rows at a time."""
        async with (
            self._pool.connection() as connection,
            connection.transaction(),
            connection.cursor(name="export") as cursor,
        ):
            await cursor.execute(EXPORTS[kind], person.parameters)
            while page := await cursor.fetchmany(PAGE):
                yield page

    async def erase(self, connection: Connection, person: Person, what: Sequence[Erase], now: object) -> dict[str, int]:
        """Does these statements in the transaction of the connection; returns how many rows each one met."""
        counts = {}
        for name, statement in what:
            cursor = await connection.execute(statement, {**person.parameters, "now": now})
            counts[name] = cursor.rowcount
        return counts

    async def review_ids(self, person: Person) -> list[str]:
        """Of the person's reviews."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(REVIEWS, person.parameters)
            return [str(row["id"]) for row in await cursor.fetchall()]

    async def delete_reviews(self, person: Person, blobs: BlobStore) -> int:
        """Deletes the person's reviews, and the changes that they read where nothing else refers to them."""
        reviews = await self.review_ids(person)
        for review_id in reviews:
            async with self._pool.connection() as connection, connection.transaction():
                cursor = await connection.execute("SELECT change_digest FROM reviews WHERE id = %s", (review_id,))
                row = await cursor.fetchone()
                if row is None:
                    continue
                digest = str(row["change_digest"])
                await lock_blob(connection, digest)
                await connection.execute("DELETE FROM reviews WHERE id = %s", (review_id,))
                await delete_unreferred(connection, blobs, digest)
        return len(reviews)

    async def clean(self) -> None:
        """Lets the database overwrite what was deleted."""
        async with self._pool.connection() as connection:
            await connection.execute(f"VACUUM {', '.join(CLEANED)}")
