"""`POST /v1/embeddings`, as OpenAI's API has it."""

import asyncio
import base64
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal, Required

from fastapi import APIRouter, Request
from pydantic import Field, TypeAdapter, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from tidemill.api.answering import asker_of, headers_of, json_bytes
from tidemill.api.chat_schema import FORBID, ModelName
from tidemill.api.request_body import json_body, parse_body, parsed
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.api.streaming import ClientGone, while_connected
from tidemill.core.accounts import Right
from tidemill.core.context import Asker
from tidemill.core.embedding import EmbeddingRequest, Embeddings, TextKind, floats_of
from tidemill.core.errors import InvalidInput, TooLarge
from tidemill.core.ids import new_id
from tidemill.core.text import storable
from tidemill.registry.embeddings import EmbeddingDeployments

MAX_TEXTS = 2048
"""OpenAI's own limit."""
FEW_TEXTS = 100
"""The vectors of more are written beside the event loop: 2,048 take a tenth of a second."""
TOKENS_REFUSED = (
    "`input` is a text or a list of texts. Tokens are not taken, since each model has its own. "
    "With LangChain's OpenAIEmbeddings, set `check_embedding_ctx_length=False`."
)


@with_config(FORBID)
class CreateEmbeddingRequest(TypedDict, total=False):
    """Texts to be embedded. The model `default` is the hub's default one. `input_type` is an addition of ours."""

    model: Required[ModelName]
    input: Required[str | Annotated[list[str], Field(max_length=MAX_TEXTS)]]
    encoding_format: Literal["float", "base64"] | None
    dimensions: Annotated[int, Field(ge=1, le=100_000)] | None
    input_type: Literal["query", "passage", "document"] | None
    user: str | None


REQUEST = TypeAdapter(CreateEmbeddingRequest)
SCHEMA = REQUEST.json_schema(ref_template="#/components/schemas/{model}")
router = APIRouter(tags=["embeddings"])


@router.post(
    "/embeddings",
    summary="Embed texts",
    dependencies=[needs(Right.MODELS_USE)],
    response_description="A `list` of `embedding`s, in the order of the texts.",
    openapi_extra=json_body(SCHEMA),
)
async def create_embeddings(request: Request) -> Response:
    """Turns each text into a vector of unit length. Each request leaves one inference row."""
    services = services_of(request)
    read = partial(parse_embedding, max_bytes=services.settings.embeddings.max_input_bytes)
    asked, texts = await parsed(read, await request.body())
    wanted = embedding_request(services.embedding_deployments, asked, texts, asker_of(request))
    try:
        embeddings = await while_connected(request, services.embedder.embed(wanted))
    except ClientGone:
        return Response(status_code=499)
    return Response(
        await embeddings_json(embeddings, asked), 200, headers_of([wanted], embeddings.served), "application/json"
    )


def embedding_request(
    deployments: EmbeddingDeployments, asked: CreateEmbeddingRequest, texts: Sequence[str], asker: Asker
) -> EmbeddingRequest:
    """What is put to the model for a request.

    Raises:
        ModelNotFound: there is no model of the name.
    """
    deployment = deployments.find(asked["model"])
    return EmbeddingRequest(
        model=deployment.model,
        texts=texts,
        kind=TextKind.QUERY if asked.get("input_type") == "query" else TextKind.PASSAGE,
        dimensions=asked.get("dimensions"),
        context=asker.context(new_id(), deployment),
    )


async def embeddings_json(embeddings: Embeddings, asked: CreateEmbeddingRequest) -> bytes:
    """The JSON of the answer to a request; of many vectors it is written beside the event loop."""
    encoded = asked.get("encoding_format") == "base64"
    answer = partial(_answer, embeddings, asked["model"], encoded=encoded)
    return answer() if len(embeddings.vectors) <= FEW_TEXTS else await asyncio.to_thread(answer)


def parse_embedding(body: bytes, max_bytes: int) -> tuple[CreateEmbeddingRequest, list[str]]:
    """The request, and its texts.

    Raises:
        InvalidInput: it is something else.
        TooLarge: a text has more than `max_bytes`.
    """
    asked = _parse(body)
    return asked, _texts(asked, max_bytes)


def _parse(body: bytes) -> CreateEmbeddingRequest:
    try:
        return parse_body(REQUEST, body)
    except InvalidInput as error:
        if error.param is not None and error.param.split(".")[0] == "input":
            raise InvalidInput(f"{error.message} {TOKENS_REFUSED}", param="input") from error
        raise


def _texts(asked: CreateEmbeddingRequest, max_bytes: int) -> list[str]:
    given = asked["input"]
    texts = [given] if isinstance(given, str) else given
    if not texts:
        raise InvalidInput("`input` is an empty list. Give at least one text.", param="input")
    for place, text in enumerate(texts):
        if not text.strip():
            raise InvalidInput(f"Text {place} of `input` is empty. Leave it out.", param="input")
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > max_bytes:
            raise TooLarge(
                f"Text {place} of `input` has {size:,} bytes, and the hub takes {max_bytes:,} at most (setting "
                "`embeddings.max_input_bytes`). Split it.",
                param="input",
            )
    return [storable(text) for text in texts]


def _answer(embeddings: Embeddings, model: str, *, encoded: bool) -> bytes:
    tokens = sum(embeddings.tokens)
    return json_bytes(
        {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": base64.b64encode(vector).decode() if encoded else floats_of(vector).tolist(),
                }
                for index, vector in enumerate(embeddings.vectors)
            ],
            "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )
