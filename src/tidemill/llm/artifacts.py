"""A model file that is pinned by its digest, and the places that have it."""

from dataclasses import dataclass
from pathlib import Path

from tidemill.settings import Settings


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a repository of the Hugging Face Hub. `revision` is a branch, or a commit that pins it."""

    repository: str
    file: str
    revision: str = "main"

    @property
    def name(self) -> str:
        """The name under which requests ask for it."""
        return f"{self.repository}:{self.file}"


@dataclass(frozen=True, slots=True)
class PackagePart:
    """One member of a wheel on a Python package index. The package is never installed or imported."""

    project: str
    version: str
    member: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """A pinned file. `packages`, where there are any, hold its bytes: joined in their order they are the file.

    Attributes:
        name: the model's name, in settings and requests.
        file: its path in the models folder.
        licence: SPDX identifier of the weights' licence.
        size: in bytes.
        sha256: in hexadecimal; what decides whether a file is this artifact.
        hub: where the publisher has it, asked first.
        packages: the mirror, asked second.
    """

    name: str
    file: str
    licence: str
    size: int
    sha256: str
    hub: HubFile | None
    packages: tuple[PackagePart, ...]


def installed_path(settings: Settings, artifact: Artifact) -> Path:
    """Where the artifact's file is, or will be."""
    return settings.models_dir / artifact.file


def is_installed(settings: Settings, artifact: Artifact) -> bool:
    """Whether its file is there in its full size. The digest was checked when the file was put there."""
    path = installed_path(settings, artifact)
    return path.is_file() and path.stat().st_size == artifact.size
