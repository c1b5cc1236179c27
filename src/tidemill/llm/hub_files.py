"""Model files of the Hugging Face Hub that are asked for by name, as `owner/repository:file.gguf`.

What was pulled is in `<models>/hub/<owner>/<repository>/`, each file with a record beside it: the commit and the
SHA-256 that the Hub gave. The Hub's headers are described at
https://huggingface.co/docs/huggingface_hub/package_reference/file_download#huggingface_hub.HfFileMetadata.
"""

import json
import re
from pathlib import Path

import httpx

from tidemill.core.errors import Configuration, InvalidInput, ModelNotFound, Unavailable
from tidemill.llm.artifacts import Artifact, HubFile, installed_path
from tidemill.llm.resumable import host_of, reason
from tidemill.settings import HUB_FILE, Settings

FOLDER = "hub"
SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
SHA256 = re.compile(r"[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_file(name: str) -> HubFile | None:
    """The file that a name means; `None` where it is no name of a file on the Hub."""
    found = HUB_FILE.fullmatch(name)
    return HubFile(found["repository"], found["file"]) if found else None


def hub_path(settings: Settings, file: HubFile) -> Path:
    """Where the file is once it is pulled."""
    return settings.models_dir / _place(file)


def pulled(settings: Settings) -> list[Artifact]:
    """The files of the Hub that were pulled, by name.

    Raises:
        Configuration: the record of one can't be read.
    """
    records = sorted((settings.models_dir / FOLDER).glob("*/*/**/*.gguf.json"))
    return [_read(settings, record) for record in records]


def find_pulled(settings: Settings, file: HubFile) -> Artifact | None:
    """The record of one file; `None` where it was never pulled.

    Raises:
        Configuration: the record can't be read.
    """
    record = _record(hub_path(settings, file))
    return _read(settings, record) if record.is_file() else None


async def pin(client: httpx.AsyncClient, settings: Settings, file: HubFile) -> Artifact:
    """What the Hub has under this name now: its size, its SHA-256, and the commit, at which it is then fetched.

    Raises:
        InvalidInput: it is one part of a model that is split over several files.
        ModelNotFound: the Hub has no such repository or file, or shows it only to those whom it knows.
        Unavailable: the Hub can't be reached, or does not say which bytes it has.
    """
    if SPLIT.search(file.file):
        raise InvalidInput(f"{file.name} is a part of a model in several files. Only models in one are fetched.")
    url = f"{settings.models.hugging_face_url.rstrip('/')}/{file.repository}/resolve/{file.revision}/{file.file}"
    try:
        answer = await client.head(url, headers={"accept-encoding": "identity"}, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"{host_of(url)}: {reason(error)}. Try again later.") from error
    if answer.status_code in {401, 403, 404}:
        raise ModelNotFound(
            f"{host_of(url)} has no file {file.name} that everyone may fetch ({answer.status_code}).", param="model"
        )
    if answer.status_code >= 400:
        raise Unavailable(f"{host_of(url)}: answered {answer.status_code} for {file.name}. Try again later.")
    sha256 = answer.headers.get("x-linked-etag", "").removeprefix("W/").strip('"')
    size = answer.headers.get("x-linked-size", "")
    commit = answer.headers.get("x-repo-commit", "")
    if not SHA256.fullmatch(sha256) or not size.isdigit() or not COMMIT.fullmatch(commit):
        raise Unavailable(
            f"{host_of(url)} does not say the digest, size and commit of {file.name}, so that what comes could not be "
            "checked. Fetch the file yourself, and name it under `models.files`."
        )
    pinned = HubFile(file.repository, file.file, commit)
    return Artifact(file.name, _place(file), "unknown", int(size), sha256, pinned, ())


def remember(settings: Settings, artifact: Artifact) -> None:
    """Writes the record of a file that has come whole, so that it is listed from now on."""
    if artifact.hub is None:
        return
    record = _record(installed_path(settings, artifact))
    row = {"revision": artifact.hub.revision, "sha256": artifact.sha256, "size": artifact.size}
    fresh = record.with_suffix(".new")
    fresh.write_text(json.dumps(row), "ascii")
    fresh.replace(record)


def _place(file: HubFile) -> str:
    return f"{FOLDER}/{file.repository}/{file.file}"


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read(settings: Settings, record: Path) -> Artifact:
    place = record.with_name(record.name.removesuffix(".json")).relative_to(settings.models_dir)
    _, owner, repository, *rest = place.parts
    try:
        row = json.loads(record.read_text("ascii"))
        file = HubFile(f"{owner}/{repository}", "/".join(rest), str(row["revision"]))
        return Artifact(file.name, place.as_posix(), "unknown", int(row["size"]), str(row["sha256"]), file, ())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Configuration(f"{record} can't be read. Remove it, and pull the model again.") from error
