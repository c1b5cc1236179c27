"""Whole answers to requests that come without a connection: jobs, and the lines of batches.

Parsed, put to the model and written by the very functions of the routes.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from tidemill.api.chat import chat_request, completion_json
from tidemill.api.chat_schema import parse_chat
from tidemill.api.completions import CompletionForm, parse_completion, prompts_at_once, text_requests
from tidemill.api.embeddings import embedding_request, embeddings_json, parse_embedding
from tidemill.api.errors import error_body
from tidemill.api.request_body import parsed
from tidemill.core.context import Asker
from tidemill.core.errors import InvalidInput, TidemillError
from tidemill.llm.embeddings import Embedder
from tidemill.llm.port import ChatModel
from tidemill.llm.several_choices import all_of
from tidemill.registry.deployments import Deployments
from tidemill.registry.embeddings import EmbeddingDeployments
from tidemill.telemetry.spans import Traces

T = TypeVar("T")
STREAMED = "`stream` needs a connection on which the answer is sent. Leave it out: the whole answer is kept."

Write = Callable[[Asker], Awaitable[bytes]]
"""Asks the model, and gives the JSON of the answer."""


@dataclass(frozen=True, slots=True)
class WholeAnswers:
    """Answers a request's body as the route of its endpoint does, for whoever asks."""

    chat: ChatModel
    embedder: Embedder
    deployments: Deployments
    embedding_deployments: EmbeddingDeployments
    max_input_bytes: int
    traces: Traces

    async def check(self, endpoint: str, body: bytes) -> None:
        """Goes on with a body that can be used.

        Raises:
            InvalidInput: the endpoint is none that is answered so, or the body can't be used there.
            TooLarge: a text of it is over a limit.
        """
        await self._read(endpoint, body)

    async def answer(self, endpoint: str, body: bytes, asker: Asker) -> bytes:
        """The JSON of the answer. Raises what the route would answer."""
        with self.traces.begin(f"queued {endpoint}", trace_id=asker.trace_id) as here:
            here.set({"tidemill.request_id": asker.request_id or ""})
            return await (await self._read(endpoint, body))(asker)

    def refusal(self, error: TidemillError) -> bytes:
        """The JSON of an error, as the route would answer it."""
        return error_body(error.status, error.message, code=error.code, param=error.param)

    async def _read(self, endpoint: str, body: bytes) -> Write:
        match endpoint:
            case "/v1/chat/completions":
                return partial(self._chat, _unstreamed(await parsed(parse_chat, body)))
            case "/v1/completions":
                return partial(self._completion, _unstreamed(await parsed(parse_completion, body)))
            case "/v1/embeddings":
                read = partial(parse_embedding, max_bytes=self.max_input_bytes)
                return partial(self._embedding, *await parsed(read, body))
        raise InvalidInput(f"The endpoint {endpoint[:100]} is not answered in this way.", param="endpoint")

    async def _chat(self, asked: Any, asker: Asker) -> bytes:
        chat = await chat_request(self.deployments, asked, asker)
        return completion_json(chat, await self.chat.complete(chat), asked["model"])

    async def _completion(self, asked: Any, asker: Asker) -> bytes:
        texts = await text_requests(self.deployments, asked, asker)
        answers = await all_of([self.chat.complete(text) for text in texts], at_once=prompts_at_once(asked))
        return CompletionForm(asked, texts).whole(answers)

    async def _embedding(self, asked: Any, texts: list[str], asker: Asker) -> bytes:
        wanted = embedding_request(self.embedding_deployments, asked, texts, asker)
        return await embeddings_json(await self.embedder.embed(wanted), asked)


def _unstreamed(asked: T) -> T:
    if isinstance(asked, dict) and asked.get("stream"):
        raise InvalidInput(STREAMED, param="stream")
    return asked
