"""Questions to the documents, by themselves or as turns of a conversation."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from uuid import UUID

from tidemill.conversations.service import Conversations, Post
from tidemill.conversations.turn import Noted, Reply
from tidemill.core.accounts import Caller, Right
from tidemill.core.answer import Answer, Citation
from tidemill.core.chat import Usage
from tidemill.core.context import Asker
from tidemill.core.errors import InvalidInput, ModelFailed, NotFound
from tidemill.core.json import Json, JsonObject
from tidemill.core.search import Reader
from tidemill.knowledge.answers import Answers, Event
from tidemill.knowledge.questions import Question, Turn


class Questions:
    """Answers questions. One that names a conversation is asked after what was said there, and kept there.

    Args:
        answers: answers from documents.
        conversations: keeps questions and answers.
    """

    def __init__(self, answers: Answers, conversations: Conversations) -> None:
        self._answers = answers
        self._conversations = conversations

    async def answer(self, caller: Caller, question: Question, asker: Asker, reader: Reader) -> Answer:
        """The whole answer, stored.

        Raises:
            NotFound: there is no such conversation of the caller's.
            TidemillError: as `Answers.answer` does. The question then stands in its conversation without an answer.
        """
        async with aclosing(self.stream(caller, question, asker, reader, live=False)) as events:
            async for event in events:
                if isinstance(event, Answer):
                    return event
        raise ModelFailed("The answer ended before it was there.")

    async def stream(
        self, caller: Caller, question: Question, asker: Asker, reader: Reader, *, live: bool = True
    ) -> AsyncGenerator[Event, None]:
        """The passages, the sentences as they are checked, and the answer, stored; raises as `answer` does."""
        noted = None
        if question.conversation_id is not None:
            noted = await self._note(caller, question, question.conversation_id, asker)
            said = [Turn(one.role.value, one.content, one.level) for one in noted.path[:-1]]
            question = replace(question, history=said)
        async with aclosing(self._answers.stream(question, asker, reader, live=live)) as events:
            async for event in events:
                if noted is not None and isinstance(event, Answer):
                    await self._conversations.conclude(noted, reply_of(event))
                yield event

    async def find(self, caller: Caller, answer_id: UUID) -> Answer:
        """A stored answer, as it was given.

        Raises:
            NotFound: there is none of the caller's, or it was made from what the caller may not see.
        """
        found = await self._answers.find(answer_id, caller.owner_id)
        if found is None or found.level.rank > caller.level.rank:
            raise NotFound(f"There is no answer {answer_id}: it was never given to you, or its time is over.")
        return found

    async def _note(self, caller: Caller, question: Question, conversation_id: UUID, asker: Asker) -> Noted:
        caller.require(Right.CONVERSATIONS)
        if question.history:
            raise InvalidInput(
                "What was said before is taken from the conversation. Leave out `conversation_history`, or "
                "`conversation_id`.",
                param="conversation_history",
            )
        self._answers.check(question)
        return await self._conversations.note(caller, conversation_id, Post(question.text, asker))


def reply_of(answer: Answer) -> Reply:
    """An answer as a message of a conversation, its citations with the texts as they were."""
    tokens = [answer.metadata.get(name) for name in ("prompt_tokens", "completion_tokens")]
    prompt, completion = (one if isinstance(one, int) else 0 for one in tokens)
    model = answer.metadata.get("model_used")
    return Reply(
        content=answer.text,
        level=answer.level,
        model=model if isinstance(model, str) else None,
        inference_id=answer.inference_id,
        citations=[one for citation in answer.citations for one in _cited(answer, citation)],
        usage=Usage(prompt, completion),
    )


def _cited(answer: Answer, citation: Citation) -> list[JsonObject]:
    """One object for each sentence that cites this number: see docs/conversations.md."""
    whence: dict[str, Json] = {
        "number": citation.number,
        "reference": citation.reference,
        "source": citation.url or citation.title,
        "chunk_id": citation.chunk_id,
        "document_id": citation.document_id,
        "path": citation.path,
        "page": citation.page,
        "text": citation.text,
        "answer_id": str(answer.id),
    }
    return [
        {
            **whence,
            "quote": span.of(citation.text),
            "quote_start": span.start,
            "quote_end": span.end,
            "start": sentence.start,
            "end": sentence.end,
        }
        for span, sentence in zip(citation.spans, citation.sentences, strict=True)
    ]
