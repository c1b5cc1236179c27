"""One question on its way to an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from tidemill.core.accounts import Caller
from tidemill.core.chat import ChatChunk, Usage
from tidemill.core.classification import Level
from tidemill.core.context import Asker, InferenceContext
from tidemill.core.conversation import Conversation, Message
from tidemill.core.deployment import Deployment, Task
from tidemill.core.ids import new_id
from tidemill.core.json import Json, JsonObject
from tidemill.core.served import Served
from tidemill.llm.prompts.template import PromptTemplate


@dataclass(frozen=True, slots=True)
class Turn:
    """What is asked, in which conversation, of which deployment, and for whom.

    Attributes:
        path: the messages from the first one to the question, which is the last.
        leaf_id: with which message the current path of the conversation ended when the question was asked.
        options: what the model is given beside the messages, such as `max_tokens`.
        asker: who asks, and under which conditions.
        sides: what serves the tasks beside the answer, where that is another deployment.
    """

    conversation: Conversation
    path: Sequence[Message]
    leaf_id: UUID | None
    deployment: Deployment
    options: Mapping[str, Json]
    caller: Caller
    asker: Asker
    sides: Mapping[Task, Deployment] = field(default_factory=dict)

    @property
    def question(self) -> Message:
        """The message that is to be answered."""
        return self.path[-1]

    @property
    def max_tokens(self) -> int | None:
        """The longest answer that was asked for."""
        given = self.options.get("max_tokens")
        return given if isinstance(given, int) else None

    def context(self, inference_id: UUID) -> InferenceContext:
        """Of the answer itself."""
        return self.asker.context(inference_id, self.deployment, str(self.conversation.id))

    def side_context(self, task: Task, sampling: Mapping[str, Json], prompt: PromptTemplate) -> InferenceContext:
        """Of what is asked beside the answer: a title or a summary, of the same model where no other is chosen."""
        chosen = self.sides.get(task, self.deployment)
        deployment = replace(chosen, task=task, prompt_version=prompt.version, sampling=sampling)
        return replace(self.context(new_id()), deployment=deployment)


@dataclass(frozen=True, slots=True)
class Noted:
    """A question as it is stored.

    Attributes:
        path: the messages from the first one to the question, which is the last.
        leaf_id: with which message the current path of the conversation ended then.
    """

    conversation: Conversation
    path: Sequence[Message]
    leaf_id: UUID | None

    @property
    def question(self) -> Message:
        """The message that is to be answered."""
        return self.path[-1]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was not written by the conversation's own model, such as one from documents.

    Attributes:
        level: of what it was made from; its own text may have a higher one.
        citations: JSON objects; see docs/conversations.md.
    """

    content: str
    level: Level
    model: str | None = None
    inference_id: UUID | None = None
    citations: Sequence[JsonObject] = ()
    usage: Usage = field(default_factory=Usage)


@dataclass(slots=True)
class Draft:
    """An answer as it comes; it outlives the stream that brings it, so that what has come can be kept."""

    inference_id: UUID | None = None
    prompt_bytes: int = 0
    finish_reason: str | None = None
    usage: Usage | None = None
    served: Served | None = None
    parts: list[str] = field(default_factory=list)

    def add(self, chunk: ChatChunk) -> str:
        """Takes a piece, and returns the text in it."""
        self.usage = chunk.usage or self.usage
        self.served = chunk.served or self.served
        text = ""
        for choice in chunk.choices:
            reason, delta = choice.get("finish_reason"), choice.get("delta")
            content = delta.get("content") if isinstance(delta, Mapping) else None
            text += content if isinstance(content, str) else ""
            self.finish_reason = reason if isinstance(reason, str) else self.finish_reason
        if text:
            self.parts.append(text)
        return text

    @property
    def text(self) -> str:
        """What has come so far. Halves of one character that came in two pieces are put together."""
        joined = "".join(self.parts)
        return joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
