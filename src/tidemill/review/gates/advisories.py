"""Advisories in OSV's form, from a file: which versions of a package are known to be unsafe.

The format: https://ossf.github.io/osv-schema/
"""

import json
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from packaging.utils import canonicalize_name

from tidemill.core.errors import InvalidInput, NotFound
from tidemill.review.gates.versions import Ecosystem, version_key

MAX_FILE_BYTES = 2_000_000_000
_MAX_ENTRY_BYTES = 8_000_000
_MAX_WHOLE_BYTES = 300_000_000
_MAX_ENTRIES = 2_000_000
_NAME = re.compile(rb'"name"\s*:\s*"([^"\\]*)"')

PackageKey = tuple[Ecosystem, str]


@dataclass(frozen=True, slots=True)
class AffectedRange:
    """Events in the order of versions: `introduced`, `fixed`, `last_affected` or `limit`, with the version."""

    events: tuple[tuple[str, str], ...]

    def holds(self, ecosystem: Ecosystem, version: str) -> bool:
        """Whether a version is in it; false where it can't be ordered."""
        key = version_key(ecosystem, version)
        if key is None:
            return False
        limits = [limit for kind, text in self.events if kind == "limit" and (limit := _bound(ecosystem, text))]
        if limits and not any(key < limit for limit in limits):
            return False
        known = [(kind, text, _bound(ecosystem, text)) for kind, text in self.events if kind != "limit"]
        affected = False
        first = [one for one in known if one[1] == "0"]
        ordered = sorted((one for one in known if one[1] != "0" and one[2] is not None), key=lambda one: one[2])
        for kind, text, bound in (*first, *ordered):
            if kind == "introduced" and (text == "0" or key >= bound):
                affected = True
            elif (kind == "fixed" and key >= bound) or (kind == "last_affected" and key > bound):
                affected = False
        return affected

    @property
    def fixes(self) -> tuple[str, ...]:
        """The versions in which it is mended."""
        return tuple(text for kind, text in self.events if kind == "fixed")


@dataclass(frozen=True, slots=True)
class Advisory:
    """What is known of one package.

    Attributes:
        id: the advisory's; `aliases` its other names.
        summary: in a line.
        package: which package.
        versions: single versions that are affected.
        ranges: of versions that are.
    """

    id: str
    aliases: tuple[str, ...]
    summary: str
    package: PackageKey
    versions: frozenset[str]
    ranges: tuple[AffectedRange, ...]

    def affects(self, version: str) -> bool:
        """Whether this version of the package is known to be unsafe."""
        ecosystem = self.package[0]
        plain = version.removeprefix("v") if ecosystem is Ecosystem.GO else version
        return plain in self.versions or any(one.holds(ecosystem, plain) for one in self.ranges)

    def fixed_in(self, version: str) -> str | None:
        """The lowest version above this one in which it is mended."""
        ecosystem = self.package[0]
        key = version_key(ecosystem, version)
        fixes = [
            (order, fix) for one in self.ranges for fix in one.fixes if (order := _bound(ecosystem, fix)) is not None
        ]
        above = [(order, fix) for order, fix in fixes if key is not None and order > key]
        return min(above)[1] if above else None


def _bound(ecosystem: Ecosystem, text: str) -> Any:
    return version_key(ecosystem, text)


def package_key(ecosystem: Ecosystem, name: str) -> PackageKey:
    """A package's name as it is compared."""
    return ecosystem, str(canonicalize_name(name)) if ecosystem is Ecosystem.PYPI else name


def read_advisories(source: Path | bytes, wanted: Collection[PackageKey]) -> tuple[Advisory, ...]:
    """The advisories of these packages, from JSON (one, a list, or `{"vulns": […]}`), a line each (JSONL), or a zip.

    Withdrawn ones are left out. Others than those of these packages are passed over without being read whole.

    Args:
        source: a file, or what it holds.
        wanted: the packages.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it has no such form, or is too large.
    """
    if isinstance(source, bytes):
        return _read(BytesIO(source), "the file of advisories", len(source), wanted)
    if not source.is_file():
        raise NotFound(f"There is no file of advisories {str(source)!r}.", param="advisories")
    with source.open("rb") as stream:
        return _read(stream, source.name, source.stat().st_size, wanted)


def _read(stream: BinaryIO, name: str, size: int, wanted: Collection[PackageKey]) -> tuple[Advisory, ...]:
    if size > MAX_FILE_BYTES:
        raise InvalidInput(f"{name} has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read.")
    names = {package.encode() for _, package in wanted}
    keys = set(wanted)
    found: list[Advisory] = []
    for number, document in enumerate(_documents(stream, name, size, names)):
        if number > _MAX_ENTRIES:
            raise InvalidInput(f"{name} has more than {_MAX_ENTRIES:,} entries.")
        found += [one for one in _advisories(document) if one.package in keys]
    return tuple(found)


def _documents(stream: BinaryIO, name: str, size: int, names: Collection[bytes]) -> Iterator[Mapping[str, Any]]:
    head = stream.read(4)
    stream.seek(0)
    if head.startswith(b"PK"):
        yield from _zipped(stream, name, names)
        return
    first = stream.readline(_MAX_ENTRY_BYTES)
    whole = _loaded(first, name) if _is_whole(first) else None
    stream.seek(0)
    if isinstance(whole, Mapping) and "affected" in whole:
        yield from _lines(stream, name, names)
    elif size > _MAX_WHOLE_BYTES:
        raise InvalidInput(f"{name} is one JSON document of more than {_MAX_WHOLE_BYTES:,} bytes. Write one a line.")
    else:
        yield from _listed(_loaded(stream.read(), name), name)


def _is_whole(line: bytes) -> bool:
    """A line that can be a document of its own."""
    plain = line.strip()
    return plain.startswith(b"{") and plain.endswith(b"}")


def _lines(stream: BinaryIO, file: str, names: Collection[bytes]) -> Iterator[Mapping[str, Any]]:
    while line := stream.readline(_MAX_ENTRY_BYTES + 1):
        if len(line) > _MAX_ENTRY_BYTES:
            raise InvalidInput(f"{file} has a line of more than {_MAX_ENTRY_BYTES:,} bytes.")
        if line.strip() and _may_concern(line, names):
            yield from _listed(_loaded(line, file), file)


def _zipped(source: BinaryIO, file: str, names: Collection[bytes]) -> Iterator[Mapping[str, Any]]:
    try:
        with zipfile.ZipFile(source) as archive:
            for entry in archive.infolist():
                if entry.is_dir() or not entry.filename.endswith(".json"):
                    continue
                with archive.open(entry) as stream:
                    data = stream.read(_MAX_ENTRY_BYTES + 1)
                if len(data) > _MAX_ENTRY_BYTES:
                    raise InvalidInput(f"{file} holds a file of more than {_MAX_ENTRY_BYTES:,} bytes.")
                if _may_concern(data, names):
                    yield from _listed(_loaded(data, file), file)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidInput(f"{file} can't be read as a zip file: {error}.") from None


def _may_concern(data: bytes, names: Collection[bytes]) -> bool:
    """Some package's name in it is wanted; PyPI's may be written with other signs and capitals."""
    found = _NAME.findall(data)
    return any(name in names or re.sub(rb"[-_.]+", b"-", name).lower() in names for name in found)


def _loaded(data: bytes, file: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidInput(f"{file} is neither JSON, nor JSON on each line, nor a zip of it.") from None


def _listed(document: Any, file: str) -> Sequence[Mapping[str, Any]]:
    if isinstance(document, Mapping):
        document = document.get("vulns", [document])
    if not isinstance(document, list) or not all(isinstance(one, Mapping) and "id" in one for one in document):
        raise InvalidInput(f"{file} does not hold advisories in OSV's form.")
    return document


def _advisories(document: Mapping[str, Any]) -> Iterator[Advisory]:
    """One for each package of ours that the document is about; a part that is not of OSV's form is passed over."""
    if document.get("withdrawn"):
        return
    affected = document.get("affected")
    for one in affected if isinstance(affected, list) else []:
        package = one.get("package") if isinstance(one, Mapping) else None
        if not isinstance(package, Mapping):
            continue
        ecosystem = str(package.get("ecosystem", "")).partition(":")[0]
        if ecosystem not in set(Ecosystem):
            continue
        yield Advisory(
            id=str(document["id"])[:100],
            aliases=tuple(str(alias) for alias in _list(document.get("aliases"))),
            summary=str(document.get("summary") or document.get("details") or "")[:200].partition("\n")[0],
            package=package_key(Ecosystem(ecosystem), str(package.get("name", ""))),
            versions=frozenset(str(version) for version in _list(one.get("versions"))),
            ranges=tuple(_ranges(one.get("ranges"))),
        )


def _ranges(ranges: Any) -> Iterator[AffectedRange]:
    for ranged in ranges if isinstance(ranges, list) else []:
        events = ranged.get("events") if isinstance(ranged, Mapping) and ranged.get("type") != "GIT" else None
        known = [event for event in events or () if isinstance(event, Mapping)]
        if known:
            yield AffectedRange(tuple((str(kind), str(text)) for event in known for kind, text in event.items()))


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
