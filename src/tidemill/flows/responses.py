"""Responses: one exchange with a model, kept so that the next can go on from it."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from tidemill.analysis.classification import classify_all, texts_in
from tidemill.core.accounts import Caller
from tidemill.core.chat import ChatChunk, ChatRequest
from tidemill.core.clock import Clock
from tidemill.core.context import Asker
from tidemill.core.errors import NotFound, TidemillError, TooLarge
from tidemill.core.ids import new_id
from tidemill.core.json import JsonObject
from tidemill.core.served import Served
from tidemill.flows.response_items import chat_options, to_messages, whole_items
from tidemill.flows.response_writer import ResponseWriter
from tidemill.llm.outside import Classify, classified
from tidemill.llm.port import ChatModel
from tidemill.registry.deployments import Deployments
from tidemill.store.responses import ResponseRepository, StoredResponse

SHOWN = ("instructions", "max_output_tokens", "max_tool_calls", "metadata", "previous_response_id", "temperature",
         "top_p", "user", "safety_identifier", "prompt_cache_key", "service_tier")  # fmt: skip
"""Fields of the request that the response repeats as they came."""
TOLD = ("output", "instructions", "metadata", "tools", "text", "user", "safety_identifier")
"""Fields of the response with texts of the caller's or the model's."""
BEFORE_BYTES = 40_000_000
"""Of stored responses, read at once to go on from them: as much as a request may bring by itself."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request for a response, ready to be put to its model."""

    id: UUID
    chat: ChatRequest
    response: JsonObject
    input: Sequence[JsonObject]
    previous_id: UUID | None
    keep: bool


class Responses:
    """Puts requests to the model port as chats, and stores what came of them for their owner.

    Args:
        chat: the model port, with its recording wrapper.
        deployments: finds the model that is named.
        responses: where they are stored.
        days: for how long after the last one of a chain.
        clock: gives the time.
        classify: gives the level of what is stored.
    """

    def __init__(
        self,
        chat: ChatModel,
        deployments: Deployments,
        responses: ResponseRepository,
        *,
        days: float,
        clock: Clock,
        classify: Classify = classify_all,
    ) -> None:
        self._chat = chat
        self._deployments = deployments
        self._responses = responses
        self._days = days
        self._clock = clock
        self._classify = classify

    async def prepare(self, fields: Mapping[str, Any], caller: Caller, asker: Asker) -> Exchange:
        """The exchange that OpenAI's fields ask for, after all that it goes on from.

        Raises:
            ModelNotFound: there is no such model.
            NotFound: `previous_response_id` names no response of the caller's.
            TooLarge: there is too much before it.
            InvalidInput: the items don't fit each other.
        """
        deployment = await self._deployments.for_chat(fields["model"])
        previous_id, before = await self._before(fields.get("previous_response_id"), caller)
        own = whole_items(fields["input"])
        messages = to_messages([*before, *own])
        if instructions := fields.get("instructions"):
            messages.insert(0, {"role": "system", "content": instructions})
        response_id = new_id()
        context = asker.context(new_id(), deployment, shown_id(response_id))
        return Exchange(
            id=response_id,
            chat=ChatRequest(deployment.model, messages, chat_options(fields), context),
            response=self._response(response_id, fields),
            input=own,
            previous_id=previous_id,
            keep=fields.get("store") is not False,
        )

    async def answer(self, exchange: Exchange) -> tuple[JsonObject, Served | None]:
        """The whole response, and who gave it. Raises as `ChatModel.complete` does."""
        answer = await self._chat.complete(exchange.chat)
        response = ResponseWriter(exchange.response).whole(answer, self._seconds())
        await self._store(exchange, response)
        return response, answer.served

    def stream(self, exchange: Exchange) -> AsyncGenerator[ChatChunk, None]:
        """The pieces of the model's answer, of which `events` makes the response's."""
        return self._chat.stream(exchange.chat)

    async def events(
        self, exchange: Exchange, pieces: AsyncGenerator[ChatChunk | bytes, None]
    ) -> AsyncGenerator[JsonObject | bytes, None]:
        """The events of the response, which is stored before the last of them. What are bytes pass as they are."""
        writer = ResponseWriter(exchange.response)
        started = False
        try:
            async for piece in pieces:
                if isinstance(piece, bytes):
                    yield piece
                    continue
                if not started:
                    started = True
                    for event in writer.start():
                        yield event
                for event in writer.add(piece):
                    yield event
            for event in writer.finish(self._seconds()):
                yield event
            await self._store(exchange, writer.response)
        except TidemillError as error:
            if not started:
                for event in writer.start():
                    yield event
            yield writer.fail(error)
        else:
            yield writer.last()
        finally:
            await pieces.aclose()

    async def get(self, response_id: str, caller: Caller) -> StoredResponse:
        """A stored response of the caller's.

        Raises:
            NotFound: there is none.
        """
        known = parse_id(response_id)
        found = await self._responses.get(known, caller.owner_id) if known else None
        if found is None:
            raise _not_found(response_id, "response_id")
        return found

    async def delete(self, response_id: str, caller: Caller) -> None:
        """Deletes a stored response of the caller's. Those that go on from it can't be gone on from any more.

        Raises:
            NotFound: there is none.
        """
        known = parse_id(response_id)
        if known is None or not await self._responses.delete(known, caller.owner_id):
            raise _not_found(response_id, "response_id")

    async def _before(self, previous: str | None, caller: Caller) -> tuple[UUID | None, list[JsonObject]]:
        """The items of the response that is gone on from, and of all before it."""
        if previous is None:
            return None, []
        known = parse_id(previous)
        size = await self._responses.chain_bytes(known, caller.owner_id) if known else 0
        if size > BEFORE_BYTES:
            raise TooLarge(
                f"The responses up to {previous} have {size:,} bytes, and the hub goes on from {BEFORE_BYTES:,} at "
                "most. Begin anew, with the items that matter.",
                param="previous_response_id",
            )
        chain = await self._responses.chain(known, caller.owner_id) if known else []
        if not chain:
            raise _not_found(previous, "previous_response_id")
        if chain[0].previous_id is not None:
            raise NotFound(
                f"A response that {previous} goes on from has been deleted. Begin anew, with all of the items.",
                param="previous_response_id",
            )
        items: list[JsonObject] = []
        for row in chain:
            output = row.response["output"]
            items += [*row.input, *(output if isinstance(output, list) else ())]
        return known, items

    async def _store(self, exchange: Exchange, response: Mapping[str, Any]) -> None:
        if not exchange.keep:
            return
        context = exchange.chat.context
        assert context is not None  # noqa: S101 - prepare has set them
        assert context.owner_id is not None  # noqa: S101
        now = self._clock()
        told = [*texts_in(exchange.input), *(text for name in TOLD for text in texts_in(response[name]))]
        await self._responses.add(
            StoredResponse(
                id=exchange.id,
                owner_id=context.owner_id,
                previous_id=exchange.previous_id,
                inference_id=context.inference_id,
                input=exchange.input,
                response=response,
                level=(await classified(told, self._classify)).level,
                created_at=now,
                expires_at=now + timedelta(days=self._days),
            )
        )

    def _response(self, response_id: UUID, fields: Mapping[str, Any]) -> JsonObject:
        """The response object, without what only the answer can say."""
        reasoning, text = fields.get("reasoning") or {}, fields.get("text") or {}
        return {
            "id": shown_id(response_id),
            "object": "response",
            "created_at": self._seconds(),
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "model": fields["model"],
            "output": [],
            "parallel_tool_calls": fields.get("parallel_tool_calls") is not False,
            "reasoning": {"effort": reasoning.get("effort"), "summary": None},
            "store": fields.get("store") is not False,
            "text": {"format": text.get("format") or {"type": "text"}},
            "tool_choice": fields.get("tool_choice") or "auto",
            "tools": fields.get("tools") or [],
            "truncation": "disabled",
            "usage": None,
            **{name: fields.get(name) for name in SHOWN},
            "metadata": fields.get("metadata") or {},
        }

    def _seconds(self) -> int:
        return int(self._clock().timestamp())


def shown_id(response_id: UUID) -> str:
    """A response's id as clients see it."""
    return f"resp_{response_id.hex}"


def parse_id(text: str) -> UUID | None:
    """The id that clients see, read; `None` where it can't be one."""
    digits = text.removeprefix("resp_")
    if len(digits) != 32 or digits == text or not set(digits) <= set("0123456789abcdef"):
        return None
    return UUID(hex=digits)


def _not_found(response_id: str, param: str) -> NotFound:
    return NotFound(f"There is no stored response {response_id[:60]!r} of yours.", param=param)
