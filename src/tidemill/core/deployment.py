"""Which exact versions serve a task."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tidemill.core.ids import digest
from tidemill.core.json import Json


class Task(StrEnum):
    """What a model is asked for."""

    CHAT = "chat"
    COMPLETE = "complete"
    EMBED = "embed"
    REVIEW_COMMENT = "review.comment"
    CONVERSATION_TITLE = "conversation.title"
    CONVERSATION_SUMMARY = "conversation.summary"


@dataclass(frozen=True, slots=True)
class Deployment:
    """An immutable choice of model, adapter, prompt and sampling for a task. A change makes a new deployment."""

    task: Task
    model: str
    model_version: str
    adapter: str | None = None
    prompt_version: str | None = None
    sampling: Mapping[str, Json] = field(default_factory=dict)
    variant: str = "default"

    @property
    def config_hash(self) -> str:
        """A digest of everything above: two inferences with the same one were made in the same way."""
        return digest(
            self.task,
            self.model,
            self.model_version,
            self.adapter or "",
            self.prompt_version or "",
            json.dumps(self.sampling, sort_keys=True),
            self.variant,
        )
