"""Conversations: kept, searched, changed, and asked."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from tidemill.analysis.classification import classify_all
from tidemill.conversations.answering import Answering
from tidemill.conversations.snippets import snippet
from tidemill.conversations.titles import title_by_model, title_of
from tidemill.conversations.turn import Draft, Noted, Reply, Turn
from tidemill.core.accounts import Caller
from tidemill.core.classification import Level
from tidemill.core.clock import Clock
from tidemill.core.context import Asker
from tidemill.core.conversation import BROKEN_OFF, CANCELLED, Conversation, History, Message, Speaker, TitledBy
from tidemill.core.deployment import Deployment, Task
from tidemill.core.errors import InvalidInput, NotFound, TidemillError, TooLarge
from tidemill.core.ids import new_id
from tidemill.core.json import Json
from tidemill.core.served import Served
from tidemill.core.text import storable
from tidemill.llm.outside import Classify, classified
from tidemill.llm.port import ChatModel
from tidemill.llm.prompts.conversation import TITLE
from tidemill.llm.prompts.shipped import Prompts
from tidemill.settings import ConversationSettings
from tidemill.store.conversations import ConversationRepository, Found

log = logging.getLogger(__name__)

LONGEST_TITLE = 200
SIDES = (Task.CONVERSATION_TITLE, Task.CONVERSATION_SUMMARY)
PATIENCE_SECONDS = 10.0
"""How long titles that are still being written may hold up the end of the hub."""


class Models(Protocol):
    """Says which deployment serves a chat with a model."""

    async def for_chat(self, name: str) -> Deployment:
        """The deployment, or `ModelNotFound`."""
        ...

    async def for_side(self, task: Task, beside: Deployment) -> Deployment:
        """The deployment of a task that is done beside a chat with another; often the same."""
        ...


@dataclass(frozen=True, slots=True)
class Opening:
    """What a new conversation begins with. `messages` are pairs of who speaks and what; they follow one another."""

    model: str = "default"
    title: str | None = None
    history: History | None = None
    system: str | None = None
    messages: Sequence[tuple[Speaker, str]] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What a person changes of a conversation; what is `None` stays."""

    title: str | None = None
    leaf_id: UUID | None = None
    history: History | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Post:
    """A question, or an answered one that is to be answered again.

    Attributes:
        content: the question; `None` asks the one that `parent_id` names once more.
        asker: who asks, and under which conditions.
        parent_id: the answer that the question follows; `None` for the beginning of the conversation.
        at_leaf: the question follows the last answer of the current path, and `parent_id` says nothing.
        model: another one than the conversation's, for this answer.
        options: see `Turn`.
    """

    content: str | None
    asker: Asker
    parent_id: UUID | None = None
    at_leaf: bool = True
    model: str | None = None
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listed:
    """A conversation in a list; `snippet` is where a search has found it."""

    conversation: Conversation
    snippet: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The end of an answer: the message as it is stored, and who gave it."""

    message: Message
    served: Served | None = None


class Conversations:
    """The service for conversations. Whatever a caller names that is another's does not exist for them.

    Args:
        repository: the rows.
        answering: asks the model.
        chat: the model port, for titles.
        models: finds deployments.
        prompts: has the one for titles.
        settings: limits, and whether a model writes titles.
        clock: gives the times.
        classify: gives the level of a message.
    """

    def __init__(
        self,
        repository: ConversationRepository,
        answering: Answering,
        chat: ChatModel,
        models: Models,
        prompts: Prompts,
        settings: ConversationSettings,
        clock: Clock,
        classify: Classify = classify_all,
    ) -> None:
        self._repository = repository
        self._answering = answering
        self._chat = chat
        self._models = models
        self._prompts = prompts
        self._settings = settings
        self._clock = clock
        self._classify = classify
        self._tasks: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Waits for what is still being written, for a while."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=PATIENCE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def create(self, caller: Caller, opening: Opening) -> Conversation:
        """A new conversation.

        Raises:
            ModelNotFound: there is no such model.
            InvalidInput: the title, the system message or the first messages can't be used.
            TooLarge: they are over a limit.
        """
        await self._models.for_chat(opening.model)
        now = self._clock()
        system = storable(opening.system) if opening.system and opening.system.strip() else None
        self._check_size(system or "", "system")
        conversation_id = new_id()
        messages: list[Message] = []
        for number, (speaker, content) in enumerate(opening.messages):
            if messages and messages[-1].role is speaker:
                raise InvalidInput("The first messages are the user's and the assistant's in turns.", param="messages")
            parent = messages[-1].id if messages else None
            text, at = self._checked(content, "messages"), now + timedelta(microseconds=number)
            messages.append(Message(new_id(), conversation_id, parent, speaker, text, at, await self._level(text)))
        self._check_extent(len(messages), sum(len(message.content.encode()) for message in messages))
        first = next((message.content for message in messages if message.role is Speaker.USER), "")
        conversation = Conversation(
            id=conversation_id,
            owner_id=caller.owner_id,
            title=title_of(first) if opening.title is None else _checked_title(opening.title),
            titled_by=TitledBy.FIRST_MESSAGE if opening.title is None else TitledBy.PERSON,
            model=opening.model,
            history=opening.history or History(self._settings.history),
            system=system,
            leaf_id=messages[-1].id if messages else None,
            created_at=now,
            updated_at=now,
        )
        await self._repository.add(conversation, messages)
        return conversation

    async def get(self, caller: Caller, conversation_id: UUID) -> Conversation:
        """One of the caller's conversations.

        Raises:
            NotFound: there is none, or it is another's.
        """
        found = await self._repository.get(conversation_id, caller.owner_id)
        if found is None:
            raise _unknown(conversation_id)
        return found

    async def latest(self, caller: Caller, *, limit: int, after: UUID | None, query: str | None) -> Sequence[Listed]:
        """The caller's conversations, newest first; with a query those that hold its words.

        Raises:
            NotFound: `after` is not a conversation of the caller's.
        """
        if after is not None:
            await self.get(caller, after)
        if query is None:
            return [Listed(one) for one in await self._repository.latest(caller.owner_id, limit=limit, after=after)]
        asked = storable(query)
        found = await self._repository.search(caller.owner_id, asked, limit=limit, after=after)
        return await asyncio.to_thread(_with_snippets, found, asked)

    async def change(self, caller: Caller, conversation_id: UUID, change: Change) -> Conversation:
        """Changes what a person may change.

        Raises:
            NotFound: no such conversation of the caller's, or no such message in it.
            ModelNotFound: there is no such model.
            InvalidInput: the title can't be used.
        """
        await self.get(caller, conversation_id)
        if change.leaf_id is not None:
            await self._message(conversation_id, change.leaf_id, "leaf_id")
        if change.model is not None:
            await self._models.for_chat(change.model)
        changed = await self._repository.change(
            conversation_id,
            caller.owner_id,
            self._clock(),
            title=None if change.title is None else _checked_title(change.title),
            leaf_id=change.leaf_id,
            history=change.history,
            model=change.model,
        )
        if changed is None:
            raise _unknown(conversation_id)
        return changed

    async def delete(self, caller: Caller, conversation_id: UUID) -> None:
        """Deletes a conversation with every message.

        Raises:
            NotFound: there is none, or it is another's.
        """
        if not await self._repository.delete(conversation_id, caller.owner_id):
            raise _unknown(conversation_id)

    async def path(self, conversation: Conversation) -> list[Message]:
        """The current path, from the first message to the leaf."""
        return await self._repository.path(conversation.leaf_id)

    async def messages(self, conversation: Conversation, *, limit: int | None, after: UUID | None) -> list[Message]:
        """The messages of every branch, oldest first.

        Raises:
            NotFound: `after` is not a message of the conversation.
        """
        if after is not None:
            await self._message(conversation.id, after, "after")
        return await self._repository.messages(conversation.id, limit=limit, after=after)

    async def siblings(self, conversation: Conversation) -> Mapping[UUID | None, Sequence[UUID]]:
        """For each parent what follows it, oldest first: the versions among which a person can turn."""
        return await self._repository.siblings(conversation.id)

    async def ask(self, caller: Caller, conversation_id: UUID, post: Post) -> Turn:
        """Stores the question, so that it is there whatever becomes of its answer, and says what is to be asked.

        Raises:
            NotFound: no such conversation of the caller's, no such message in it, or no such model.
            InvalidInput: the question can't be used, or does not follow an answer.
            TooLarge: it is over a limit.
        """
        conversation = await self.get(caller, conversation_id)
        deployment = await self._models.for_chat(post.model or conversation.model)
        noted = await self._noted(conversation, post)
        return Turn(
            conversation=noted.conversation,
            path=noted.path,
            leaf_id=noted.leaf_id,
            deployment=deployment,
            options=post.options,
            caller=caller,
            asker=post.asker,
            sides={task: await self._models.for_side(task, deployment) for task in SIDES},
        )

    async def note(self, caller: Caller, conversation_id: UUID, post: Post) -> Noted:
        """Stores a question that is answered by something else than a conversation's model; `conclude` follows.

        Raises as `ask` does, save that no model is looked for.
        """
        return await self._noted(await self.get(caller, conversation_id), post)

    async def conclude(self, noted: Noted, reply: Reply) -> Message:
        """Stores the answer to a question that was noted.

        Raises:
            NotFound: the conversation was deleted meanwhile.
        """
        content = storable(reply.content)
        message = Message(
            id=new_id(),
            conversation_id=noted.conversation.id,
            parent_id=noted.question.id,
            role=Speaker.ASSISTANT,
            content=content,
            created_at=self._clock(),
            level=max(reply.level, await self._level(content), key=lambda level: level.rank),
            model=reply.model,
            inference_id=reply.inference_id,
            citations=reply.citations,
            finish_reason="stop",
            prompt_tokens=reply.usage.prompt_tokens,
            completion_tokens=reply.usage.completion_tokens,
        )
        await self._add(message, noted.leaf_id)
        return message

    async def answer(self, turn: Turn) -> AsyncGenerator[str | Answered, None]:
        """The answer's text in pieces, and at last the message as it is stored.

        What has come is stored, too, where the stream is closed or cancelled, or the model fails in the middle; the
        message then says so. Where nothing has come, nothing is stored, and the question can be asked again.

        Raises:
            TidemillError: as `Answering.stream` does.
            NotFound: the conversation was deleted meanwhile.
        """
        draft = Draft()
        pieces = self._answering.stream(turn, draft)
        try:
            async for piece in pieces:
                yield piece
        except (asyncio.CancelledError, GeneratorExit):
            await pieces.aclose()
            await self._keep_what_came(turn, draft, CANCELLED)
            raise
        except TidemillError:
            await self._keep_what_came(turn, draft, BROKEN_OFF)
            raise
        message = await self._keep(turn, draft, draft.finish_reason)
        first = len(turn.path) == 1 and turn.conversation.titled_by is TitledBy.FIRST_MESSAGE
        if self._settings.model_titles and first:
            self._start(self._title(turn, message.content))
        yield Answered(message, draft.served)

    async def _noted(self, conversation: Conversation, post: Post) -> Noted:
        if post.content is None:
            question = await self._asked_before(conversation, post)
            await self._check_room(conversation.id, 1, 0)
        else:
            question = await self._new_question(conversation, post)
            conversation = replace(conversation, leaf_id=question.id)
        path = await self._repository.path(question.id)
        if not path:  # deleted since
            raise _unknown(conversation.id)
        return Noted(conversation, path, conversation.leaf_id)

    async def _new_question(self, conversation: Conversation, post: Post) -> Message:
        content = self._checked(post.content or "", "content")
        await self._check_room(conversation.id, 2, len(content.encode()))
        parent_id = post.parent_id
        if post.at_leaf:
            parent_id = await self._last_answer(conversation)
        elif parent_id is not None:
            parent = await self._message(conversation.id, parent_id, "parent_id")
            if parent.role is not Speaker.ASSISTANT:
                raise InvalidInput(
                    "A question follows an answer, and `parent_id` names a question. Leave out `content` to have that "
                    "one answered again, or name its own parent to ask in another way.",
                    param="parent_id",
                )
        level = await self._level(content)
        question = Message(new_id(), conversation.id, parent_id, Speaker.USER, content, self._clock(), level)
        if not await self._repository.ask(question):
            raise _unknown(conversation.id)
        if conversation.leaf_id is None and conversation.titled_by is TitledBy.FIRST_MESSAGE:
            await self._repository.retitle(conversation.id, title_of(content), TitledBy.FIRST_MESSAGE)
        return question

    async def _asked_before(self, conversation: Conversation, post: Post) -> Message:
        if post.at_leaf or post.parent_id is None:
            raise InvalidInput(
                "Give the `content` of a question, or the `parent_id` of one that is to be answered again.",
                param="content",
            )
        question = await self._message(conversation.id, post.parent_id, "parent_id")
        if question.role is not Speaker.USER:
            raise InvalidInput(
                "`parent_id` names an answer. Without `content` it names the question that is to be answered again.",
                param="parent_id",
            )
        return question

    async def _last_answer(self, conversation: Conversation) -> UUID | None:
        """The answer with which the current path ends, or the one before where its question has none yet."""
        if conversation.leaf_id is None:
            return None
        leaf = await self._message(conversation.id, conversation.leaf_id, "leaf_id")
        return leaf.id if leaf.role is Speaker.ASSISTANT else leaf.parent_id

    async def _message(self, conversation_id: UUID, message_id: UUID, param: str) -> Message:
        found = await self._repository.message(conversation_id, message_id)
        if found is None:
            raise NotFound(f"There is no message {message_id} in this conversation.", param=param)
        return found

    async def _keep(self, turn: Turn, draft: Draft, finish_reason: str | None) -> Message:
        usage, content = draft.usage, storable(draft.text)
        message = Message(
            id=new_id(),
            conversation_id=turn.conversation.id,
            parent_id=turn.question.id,
            role=Speaker.ASSISTANT,
            content=content,
            created_at=self._clock(),
            level=await self._level(content),
            model=turn.deployment.model,
            inference_id=draft.inference_id,
            finish_reason=finish_reason,
            prompt_bytes=draft.prompt_bytes if usage else None,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
        )
        await self._add(message, turn.leaf_id)
        return message

    async def _add(self, answer: Message, leaf_id: UUID | None) -> None:
        if not await self._repository.answer(answer, leaf_id):
            raise NotFound(f"The conversation {answer.conversation_id} was deleted while its answer was being written.")

    async def _keep_what_came(self, turn: Turn, draft: Draft, finish_reason: str) -> None:
        """Stores a part of an answer even while whoever asked is being cancelled."""
        if draft.text:
            await asyncio.shield(self._start(self._keep_part(turn, draft, finish_reason)))

    async def _keep_part(self, turn: Turn, draft: Draft, finish_reason: str) -> None:
        try:
            await self._keep(turn, draft, finish_reason)
        except TidemillError as error:
            log.warning("A part of an answer is lost: %s", error.message)

    async def _title(self, turn: Turn, answer: str) -> None:
        prompt = self._prompts.current(TITLE, turn.asker.language)
        try:
            await title_by_model(self._chat, self._repository, turn, answer, prompt)
        except TidemillError as error:
            log.warning("The conversation %s keeps its first title: %s", turn.conversation.id, error.message)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _checked(self, content: str, param: str) -> str:
        if not content.strip():
            raise InvalidInput("A message holds more than white space.", param=param)
        self._check_size(content, param)
        return storable(content)

    async def _level(self, text: str) -> Level:
        return (await classified([text], self._classify)).level

    def _check_size(self, content: str, param: str) -> None:
        size, limit = len(storable(content).encode()), self._settings.max_message_bytes
        if size > limit:
            raise TooLarge(
                f"The message has {size:,} bytes, and {limit:,} are the most (setting "
                "`conversations.max_message_bytes`). Shorten it.",
                param=param,
            )

    async def _check_room(self, conversation_id: UUID, messages: int, size: int) -> None:
        """Whether so many messages more fit; what is posted at the same moment may pass together."""
        extent = await self._repository.extent(conversation_id)
        self._check_extent(extent.messages + messages, extent.bytes + size)

    def _check_extent(self, messages: int, size: int) -> None:
        if messages > self._settings.max_messages:
            raise TooLarge(
                f"The conversation would have {messages:,} messages, and {self._settings.max_messages:,} are the most "
                "(setting `conversations.max_messages`). Begin a new one."
            )
        if size > self._settings.max_bytes:
            raise TooLarge(
                f"The conversation would have {size:,} bytes, and {self._settings.max_bytes:,} are the most (setting "
                "`conversations.max_bytes`). Begin a new one."
            )


def _with_snippets(found: Sequence[Found], asked: str) -> list[Listed]:
    return [Listed(one.conversation, None if one.content is None else snippet(one.content, asked)) for one in found]


def _checked_title(title: str) -> str:
    line = " ".join(storable(title).split())
    if not line or len(line) > LONGEST_TITLE or not line.isprintable():
        raise InvalidInput(f"A title has 1 to {LONGEST_TITLE} printable characters.", param="title")
    return line


def _unknown(conversation_id: UUID) -> NotFound:
    return NotFound(f"There is no conversation {conversation_id}.")
