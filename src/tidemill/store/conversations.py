"""The rows of conversations: messages in a tree, summaries, and the search over both titles and messages."""
# ruff: noqa: S608 - statements are put together from constants of this module alone, and mypy holds them to it

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.conversation import Conversation, History, Message, Speaker, Summary, TitledBy
from tidemill.store.database import Pool

COLUMNS: LiteralString = "id, owner_id, title, titled_by, model, history, system, leaf_id, created_at, updated_at"
MESSAGE_COLUMNS: LiteralString = (
    "id, conversation_id, parent_id, role, content, level, model, inference_id, citations, finish_reason, "
    "prompt_bytes, prompt_tokens, completion_tokens, created_at"
)
MESSAGE_VALUES: LiteralString = (
    "%(id)s::uuid, %(conversation_id)s::uuid, %(parent_id)s::uuid, %(role)s::text, %(content)s::text, %(level)s::text, "
    "%(model)s::text, %(inference_id)s::uuid, %(citations)s::json, %(finish_reason)s::text, %(prompt_bytes)s::integer, "
    "%(prompt_tokens)s::integer, %(completion_tokens)s::integer, %(created_at)s::timestamptz"
)
"""With types, since a `SELECT` takes an absent one for a text."""
INSERT_MESSAGE: LiteralString = f"INSERT INTO messages ({MESSAGE_COLUMNS}) VALUES ({MESSAGE_VALUES})"


@dataclass(frozen=True, slots=True)
class Found:
    """A conversation that a search found.

    `content` is what is searched of the newest message that matches, `None` for a title alone.
    """

    conversation: Conversation
    content: str | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a conversation holds, all branches together."""

    messages: int
    bytes: int


class ConversationRepository:
    """Conversations and their messages. What is asked for by an owner is never another's."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, conversation: Conversation, messages: Sequence[Message]) -> None:
        """Writes a new conversation with its first messages, parents before children."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(
                f"INSERT INTO conversations ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    conversation.id,
                    conversation.owner_id,
                    conversation.title,
                    conversation.titled_by,
                    conversation.model,
                    conversation.history,
                    conversation.system,
                    conversation.leaf_id,
                    conversation.created_at,
                    conversation.updated_at,
                ),
            )
            if messages:
                await connection.cursor().executemany(INSERT_MESSAGE, [_values(message) for message in messages])

    async def get(self, conversation_id: UUID, owner_id: UUID) -> Conversation | None:
        """One conversation of an owner, or `None`."""
        row = await self._one(
            f"SELECT {COLUMNS} FROM conversations WHERE id = %s AND owner_id = %s", (conversation_id, owner_id)
        )
        return _conversation(row) if row else None

    async def latest(self, owner_id: UUID, *, limit: int, after: UUID | None) -> list[Conversation]:
        """An owner's conversations, newest first, from the one after `after` on."""
        rows = await self._all(
            f"SELECT {COLUMNS} FROM conversations WHERE owner_id = %(owner)s AND (%(after)s::uuid IS NULL OR "
            "(updated_at, id) < (SELECT updated_at, id FROM conversations WHERE id = %(after)s)) "
            "ORDER BY updated_at DESC, id DESC LIMIT %(limit)s",
            {"owner": owner_id, "after": after, "limit": limit},
        )
        return [_conversation(row) for row in rows]

    async def search(self, owner_id: UUID, query: str, *, limit: int, after: UUID | None) -> list[Found]:
        """An owner's conversations whose title, or one of whose messages, holds the query's words; newest first.

        The query is as `websearch_to_tsquery` reads it: words, `"a phrase"`, `or`, `-without`.
        """
        rows = await self._all(
            f"SELECT {COLUMNS}, (SELECT left(m.content, 60000) FROM messages m "
            "WHERE m.conversation_id = c.id AND m.words @@ q ORDER BY m.created_at DESC, m.id DESC LIMIT 1) AS found "
            "FROM conversations c, websearch_to_tsquery('simple', search_text(%(query)s::text)) q "
            "WHERE owner_id = %(owner)s AND (c.words @@ q OR EXISTS "
            "(SELECT 1 FROM messages m WHERE m.conversation_id = c.id AND m.words @@ q)) "
            "AND (%(after)s::uuid IS NULL OR "
            "(updated_at, id) < (SELECT updated_at, id FROM conversations WHERE id = %(after)s)) "
            "ORDER BY updated_at DESC, id DESC LIMIT %(limit)s",
            {"owner": owner_id, "query": query, "after": after, "limit": limit},
        )
        return [Found(_conversation(row), row["found"]) for row in rows]

    async def change(
        self,
        conversation_id: UUID,
        owner_id: UUID,
        at: datetime,
        *,
        title: str | None,
        leaf_id: UUID | None,
        history: History | None,
        model: str | None,
    ) -> Conversation | None:
        """Writes what is not `None`; a title is then a person's. The conversation as it is now, or `None`."""
        row = await self._one(
            "UPDATE conversations SET title = coalesce(%(title)s::text, title), titled_by = CASE WHEN "
            "%(title)s::text IS NULL THEN titled_by ELSE 'person' END, leaf_id = coalesce(%(leaf)s::uuid, leaf_id), "
            "history = coalesce(%(history)s::text, history), model = coalesce(%(model)s::text, model), "
            f"updated_at = %(at)s WHERE id = %(id)s AND owner_id = %(owner)s RETURNING {COLUMNS}",
            {
                "title": title,
                "leaf": leaf_id,
                "history": history,
                "model": model,
                "at": at,
                "id": conversation_id,
                "owner": owner_id,
            },
        )
        return _conversation(row) if row else None

    async def retitle(self, conversation_id: UUID, title: str, titled_by: TitledBy) -> None:
        """Gives a title, save where a person has given one."""
        await self._write(
            "UPDATE conversations SET title = %s, titled_by = %s WHERE id = %s AND titled_by <> 'person'",
            (title, titled_by, conversation_id),
        )

    async def delete(self, conversation_id: UUID, owner_id: UUID) -> bool:
        """Deletes a conversation with its messages; whether there was one."""
        return await self._write(
            "DELETE FROM conversations WHERE id = %s AND owner_id = %s", (conversation_id, owner_id)
        )

    async def extent(self, conversation_id: UUID) -> Extent:
        """How much the conversation holds."""
        row = await self._one(
            "SELECT count(*) AS messages, coalesce(sum(octet_length(content)), 0)::bigint AS bytes "
            "FROM messages WHERE conversation_id = %s",
            (conversation_id,),
        )
        assert row is not None  # noqa: S101 - an aggregate always has a row
        return Extent(row["messages"], row["bytes"])

    async def message(self, conversation_id: UUID, message_id: UUID) -> Message | None:
        """One message of a conversation, or `None`."""
        row = await self._one(
            f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE id = %s AND conversation_id = %s",
            (message_id, conversation_id),
        )
        return _message(row) if row else None

    async def messages(self, conversation_id: UUID, *, limit: int | None, after: UUID | None) -> list[Message]:
        """The messages of every branch, oldest first, from the one after `after` on; all of them without a limit."""
        rows = await self._all(
            f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE conversation_id = %(id)s AND (%(after)s::uuid IS NULL OR "
            "(created_at, id) > (SELECT created_at, id FROM messages WHERE id = %(after)s)) "
            "ORDER BY created_at, id LIMIT %(limit)s",
            {"id": conversation_id, "after": after, "limit": limit},
        )
        return [_message(row) for row in rows]

    async def path(self, message_id: UUID | None) -> list[Message]:
        """The messages from the first one to this one; empty for `None`."""
        rows = await self._all(
            "WITH RECURSIVE up AS (SELECT m.*, 0 AS height FROM messages m WHERE id = %s UNION ALL "
            "SELECT m.*, up.height + 1 FROM messages m JOIN up ON m.id = up.parent_id) "
            f"SELECT {MESSAGE_COLUMNS} FROM up ORDER BY height DESC",
            (message_id,),
        )
        return [_message(row) for row in rows]

    async def siblings(self, conversation_id: UUID) -> Mapping[UUID | None, Sequence[UUID]]:
        """For each parent the ids of what follows it, oldest first."""
        rows = await self._all(
            "SELECT parent_id, array_agg(id ORDER BY created_at, id) AS ids FROM messages "
            "WHERE conversation_id = %s GROUP BY parent_id",
            (conversation_id,),
        )
        return {row["parent_id"]: row["ids"] for row in rows}

    async def ask(self, question: Message) -> bool:
        """Adds a question, with which the current path then ends; whether the conversation is still there."""
        return await self._write(
            "WITH c AS (UPDATE conversations SET leaf_id = %(id)s, updated_at = %(created_at)s "
            "WHERE id = %(conversation_id)s RETURNING id) "
            f"INSERT INTO messages ({MESSAGE_COLUMNS}) SELECT {MESSAGE_VALUES} FROM c",
            _values(question),
        )

    async def answer(self, answer: Message, leaf_id: UUID | None) -> bool:
        """Adds an answer; whether the conversation is still there.

        The current path ends with it where it ended with `leaf_id` still: who has turned elsewhere meanwhile stays
        there.
        """
        return await self._write(
            "WITH c AS (UPDATE conversations SET updated_at = %(created_at)s, leaf_id = "
            "CASE WHEN leaf_id IS NOT DISTINCT FROM %(leaf)s::uuid THEN %(id)s::uuid ELSE leaf_id END "
            "WHERE id = %(conversation_id)s RETURNING id) "
            f"INSERT INTO messages ({MESSAGE_COLUMNS}) SELECT {MESSAGE_VALUES} FROM c",
            {**_values(answer), "leaf": leaf_id},
        )

    async def summaries(self, message_ids: Sequence[UUID]) -> list[Summary]:
        """The summaries that end with one of these messages."""
        rows = await self._all(
            "SELECT message_id, content, inference_id, created_at FROM conversation_summaries "
            "WHERE message_id = ANY(%s)",
            (list(message_ids),),
        )
        return [Summary(**row) for row in rows]

    async def add_summary(self, summary: Summary) -> None:
        """Adds a summary; where one ends with the same message already, or the message is gone, nothing happens."""
        await self._write(
            "INSERT INTO conversation_summaries (message_id, content, inference_id, created_at) "
            "SELECT %(message)s::uuid, %(content)s, %(inference)s::uuid, %(at)s::timestamptz "
            "FROM (SELECT 1 FROM messages WHERE id = %(message)s FOR KEY SHARE) m ON CONFLICT DO NOTHING",
            {
                "message": summary.message_id,
                "content": summary.content,
                "inference": summary.inference_id,
                "at": summary.created_at,
            },
        )

    async def forget(self, before: datetime) -> int:
        """Deletes the conversations to which nothing was added since; returns how many there were."""
        return await self._count("DELETE FROM conversations WHERE updated_at < %s", (before,))

    async def _one(
        self, query: LiteralString, parameters: tuple[object, ...] | Mapping[str, object]
    ) -> dict[str, Any] | None:
        async with self._pool.connection() as connection:
            return await (await connection.execute(query, parameters)).fetchone()

    async def _all(
        self, query: LiteralString, parameters: tuple[object, ...] | Mapping[str, object]
    ) -> list[dict[str, Any]]:
        async with self._pool.connection() as connection:
            return await (await connection.execute(query, parameters)).fetchall()

    async def _write(self, query: LiteralString, parameters: tuple[object, ...] | Mapping[str, object]) -> bool:
        return await self._count(query, parameters) > 0

    async def _count(self, query: LiteralString, parameters: tuple[object, ...] | Mapping[str, object]) -> int:
        async with self._pool.connection() as connection:
            return (await connection.execute(query, parameters)).rowcount


def _conversation(row: Mapping[str, Any]) -> Conversation:
    return Conversation(
        id=row["id"],
        owner_id=row["owner_id"],
        title=row["title"],
        titled_by=TitledBy(row["titled_by"]),
        model=row["model"],
        history=History(row["history"]),
        system=row["system"],
        leaf_id=row["leaf_id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _message(row: Mapping[str, Any]) -> Message:
    return Message(**{**row, "role": Speaker(row["role"]), "level": Level(row["level"])})


def _values(message: Message) -> dict[str, object]:
    return {
        "id": message.id,
        "conversation_id": message.conversation_id,
        "parent_id": message.parent_id,
        "role": message.role,
        "content": message.content,
        "level": message.level,
        "model": message.model,
        "inference_id": message.inference_id,
        "citations": json.dumps(message.citations),
        "finish_reason": message.finish_reason,
        "prompt_bytes": message.prompt_bytes,
        "prompt_tokens": message.prompt_tokens,
        "completion_tokens": message.completion_tokens,
        "created_at": message.created_at,
    }
