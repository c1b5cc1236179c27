"""Embedding models behind a URL: any server with OpenAI's `/embeddings`, which answers with numbers or base64."""

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import httpx

from tidemill.core.embedding import FLOAT_BYTES, EmbeddingRequest, Embeddings, TextKind, floats_of, unit_vector
from tidemill.core.errors import ModelFailed, TidemillError
from tidemill.llm.openai_http import Serve, transport_error, whole_body
from tidemill.llm.openai_wire import MOST_TOKENS, decode_error

BATCH_TEXTS = 128
"""Texts in one request, so that a long list neither meets a server's limit nor waits for one answer."""
OK = 200


class HTTPEmbedder:
    """Asks the server that `serve` names.

    Args:
        client: opened and closed by the composition.
        serve: the server of a model's name.
        prefixes: for each model's name, what it wants before a text of each kind.
    """

    def __init__(self, client: httpx.AsyncClient, serve: Serve, prefixes: Mapping[str, Mapping[TextKind, str]]) -> None:
        self._client = client
        self._serve = serve
        self._prefixes = prefixes

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says. A server counts the tokens of a whole request; they are shared out by length."""
        prefix = self._prefixes.get(request.model, {}).get(request.kind, "")
        vectors: list[bytes] = []
        tokens: list[int] = []
        for start in range(0, len(request.texts), BATCH_TEXTS):
            texts = [prefix + text for text in request.texts[start : start + BATCH_TEXTS]]
            found, count = await self._ask(request.model, texts)
            vectors += found
            tokens += shares(count, [len(text.encode("utf-8", "replace")) for text in texts])
        if len({len(vector) for vector in vectors}) != 1:
            raise ModelFailed(f"The server of the model {request.model} gave vectors of different sizes.")
        return Embeddings(vectors, tokens)

    async def _ask(self, model: str, texts: Sequence[str]) -> tuple[list[bytes], int]:
        try:
            async with self._serve(model) as target:
                headers = {} if target.api_key is None else {"authorization": f"Bearer {target.api_key}"}
                url = f"{target.base_url.rstrip('/')}/embeddings"
                asked = {"model": target.model, "input": texts, "encoding_format": "base64"}
                async with self._client.stream("POST", url, json=asked, headers=headers) as answer:
                    body = await whole_body(answer, model)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise transport_error(error, model) from error
        if answer.status_code != OK:
            raise decode_error(body, answer.status_code, model, answer.headers)
        return decode_embeddings(body, len(texts), model)


def decode_embeddings(body: bytes, count: int, model: str) -> tuple[list[bytes], int]:
    """The vectors of an answer in the order of the texts, brought to unit length, and the prompt's tokens.

    Raises:
        ModelFailed: it is not an answer to that many texts.
    """
    try:
        answer = json.loads(body)
        items = sorted(answer["data"], key=lambda item: item["index"])
        tokens = int(answer.get("usage", {}).get("prompt_tokens", 0))
        if [item["index"] for item in items] != list(range(count)) or not 0 <= tokens <= MOST_TOKENS:
            raise _unusable(model)
        return [unit_vector(_numbers(item["embedding"]), model) for item in items], tokens
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, OverflowError, RecursionError) as error:
        raise _unusable(model) from error


def shares(total: int, sizes: Sequence[int]) -> list[int]:
    """A total in parts as large as their sizes are, whole numbers that add up to it."""
    whole = sum(sizes)
    ends = [0, *(math.floor(total * size / whole) for size in accumulate(sizes))]
    return [after - before for before, after in pairwise(ends)]


def _numbers(embedding: Any) -> Sequence[float]:
    if isinstance(embedding, str):
        data = base64.b64decode(embedding, validate=True)
        if not data or len(data) % FLOAT_BYTES:
            message = "not a vector"
            raise ValueError(message)
        return floats_of(data)
    return [float(number) for number in embedding]


def _unusable(model: str) -> TidemillError:
    return ModelFailed(f"The server of the model {model} answered with something that is no list of embeddings.")
