"""Conversations: messages in a tree, of which one path is the current one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.json import JsonObject


class History(StrEnum):
    """What becomes of the messages that the model's context does not hold."""

    WINDOW = "window"
    SUMMARY = "summary"


class TitledBy(StrEnum):
    """Where a title comes from. A person's is never overwritten."""

    FIRST_MESSAGE = "first_message"
    MODEL = "model"
    PERSON = "person"


class Speaker(StrEnum):
    """Who says a message."""

    USER = "user"
    ASSISTANT = "assistant"


CANCELLED = "cancelled"
"""The finish reason of an answer whose client went away; what had come by then is kept."""
BROKEN_OFF = "error"
"""The finish reason of an answer in whose middle the model failed."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation, without its messages.

    Attributes:
        model: the name under which the model is asked; `default` follows the hub's default.
        system: what the model is told before every message; `None` for nothing.
        leaf_id: the message with which the current path ends; `None` while there is none.
        updated_at: when it was last added to or changed.
    """

    id: UUID
    owner_id: UUID
    title: str
    titled_by: TitledBy
    model: str
    history: History
    system: str | None
    leaf_id: UUID | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Message:
    """One message. An answer's parent is the question; a question's parent is the answer before it, or none.

    Attributes:
        model: which model said it, by its own name; `None` for a user's.
        inference_id: the inference that made it.
        citations: JSON objects; see docs/conversations.md.
        finish_reason: of an answer: the model's own (`stop`, `length`), `cancelled` or `error`.
        prompt_bytes: of an answer: bytes of what the model was given, as `tidemill.conversations.fitting` counts them.
        prompt_tokens: how many tokens the model counted in them.
        completion_tokens: how many tokens the answer has.
    """

    id: UUID
    conversation_id: UUID
    parent_id: UUID | None
    role: Speaker
    content: str
    created_at: datetime
    level: Level = Level.INTERNAL
    model: str | None = None
    inference_id: UUID | None = None
    citations: Sequence[JsonObject] = ()
    finish_reason: str | None = None
    prompt_bytes: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def told(self) -> str:
        """What a model is told of it: where it was made from documents above internal, with their level, which the
        rules for what may leave the network read."""
        if self.citations and self.level.rank > Level.INTERNAL.rank:
            return f"classification: {self.level.value}\n{self.content}"
        return self.content


@dataclass(frozen=True, slots=True)
class Summary:
    """What stands in for the messages of a path up to and with `message_id`."""

    message_id: UUID
    content: str
    inference_id: UUID
    created_at: datetime
