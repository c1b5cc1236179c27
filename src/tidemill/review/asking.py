"""How a review asks a model: patiently, within its time, and never twice for the same."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tidemill.core.chat import ChatCompletion, ChatRequest
from tidemill.core.context import InferenceContext, Priority
from tidemill.core.deployment import Deployment
from tidemill.core.errors import InvalidInput, ModelFailed, TidemillError
from tidemill.core.ids import new_id
from tidemill.core.json import JsonObject
from tidemill.llm.port import ChatModel
from tidemill.telemetry.request import current_request_id

PAUSES = (1.0, 5.0, 20.0)
"""Seconds before asking a model again that was away, such as one whose process is being restarted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, or why it said nothing.

    Attributes:
        text: the answer; empty where there is none.
        failure: why there is none, for a person.
        inference_id: of the row that the answer left.
        tokens: `logprobs.content` of the answer, as OpenAI has it; empty where the model gives none.
    """

    text: str = ""
    failure: str | None = None
    inference_id: UUID | None = None
    tokens: Sequence[Any] = ()


class Asking:
    """Puts a review's questions to a model.

    Args:
        model: the model port, with its recording wrapper.
        sleep: waits so many seconds.
    """

    def __init__(self, model: ChatModel, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._model = model
        self._sleep = sleep

    async def ask(
        self,
        messages: Sequence[JsonObject],
        schema: JsonObject | None,
        *,
        deployment: Deployment,
        review_id: UUID,
        seconds: float,
        options: JsonObject | None = None,
    ) -> Answer:
        """One question, for so many seconds at most. The same one is answered from what was committed before.

        Args:
            messages: what is asked.
            schema: JSON schema of the answer; `None` where it is plain text.
            deployment: who is asked, and how.
            review_id: what it is for.
            seconds: until the model is waited for no longer.
            options: more for the request.

        Raises:
            TidemillError: something other than the model is wrong.
        """

        def request() -> ChatRequest:
            form = {} if schema is None else {"response_format": _format(schema)}
            return ChatRequest(
                model=deployment.model,
                messages=messages,
                options={**deployment.sampling, **(options or {}), **form},
                context=InferenceContext(
                    inference_id=new_id(),
                    deployment=deployment,
                    trace_id=review_id.hex,
                    subject=f"review:{review_id}",
                    reuse=True,
                    priority=Priority.REVIEW,
                    request_id=current_request_id(),
                ),
            )

        try:
            async with asyncio.timeout(seconds):
                asked, answer = await self._ask(request)
        except TimeoutError:
            return Answer(failure=f"the model did not answer in the {seconds:.0f} s that were left")
        except TidemillError as error:
            if not (error.transient or isinstance(error, InvalidInput | ModelFailed)):
                raise
            return Answer(failure=f"the model could not be asked: {error.message}")
        inference_id = asked.context.inference_id if asked.context is not None else None
        return Answer(answer.text, None, inference_id, _tokens(answer))

    async def _ask(self, request: Callable[[], ChatRequest]) -> tuple[ChatRequest, ChatCompletion]:
        """Every try is a request of its own, since every try leaves an inference row of its own."""
        for pause in PAUSES:
            asked = request()
            try:
                return asked, await self._model.complete(asked)
            except TidemillError as error:
                if not error.transient:
                    raise
                await self._sleep(pause)
        asked = request()
        return asked, await self._model.complete(asked)


def _format(schema: JsonObject) -> JsonObject:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def _tokens(answer: ChatCompletion) -> Sequence[Any]:
    logprobs = answer.choices[0].get("logprobs") if answer.choices else None
    tokens = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    return tokens if isinstance(tokens, list | tuple) else ()
