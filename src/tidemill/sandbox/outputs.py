"""The files that a run gives back, out of the archive that the sandbox made of them. Nothing in it is trusted."""

import tarfile
from collections.abc import Iterable, Mapping
from io import BytesIO


def files_of(archive: bytes, wanted: Iterable[str]) -> Mapping[str, bytes]:
    """The wanted regular files that are there, whole. What was cut off or is something else is left out."""
    names, files = set(wanted), dict[str, bytes]()
    try:
        with tarfile.open(fileobj=BytesIO(archive), mode="r:") as tar:
            for member in tar:
                if member.name in names and member.isreg():
                    content = tar.extractfile(member)
                    assert content is not None  # noqa: S101 - a regular file has content
                    files[member.name] = content.read()
    except tarfile.TarError:
        return files
    return files
