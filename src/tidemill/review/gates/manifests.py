"""The dependencies that a manifest or lock file names, of Python, JavaScript, Go and Java.

Nothing is resolved and nothing is fetched: what has no exact version there has none here.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from xml.parsers import expat

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from tidemill.core.errors import InvalidInput
from tidemill.review.gates.versions import Ecosystem

MAX_BYTES = 30_000_000
_DEEPEST = 200


@dataclass(frozen=True, slots=True)
class Dependency:
    """One package in one file. `version` is `None` where the file names none exactly."""

    ecosystem: Ecosystem
    name: str
    version: str | None
    path: str


Named = Iterator[tuple[str, str | None]]
Reader = Callable[[str], Named]


def is_manifest(path: str) -> bool:
    """Whether a file's dependencies can be read."""
    return _reader(path) is not None


def read_manifest(path: str, text: str) -> frozenset[Dependency]:
    """The dependencies of a file.

    Raises:
        InvalidInput: it is not of the form that its name says.
    """
    found = _reader(path)
    if found is None:
        return frozenset()
    ecosystem, reader = found
    if len(text) > MAX_BYTES:
        raise InvalidInput(f"{path} has {len(text):,} characters; at most {MAX_BYTES:,} are read.")
    try:
        return frozenset(Dependency(ecosystem, name, version, path) for name, version in reader(text))
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError, expat.ExpatError) as error:
        raise InvalidInput(f"{path} is not of the form that its name says ({type(error).__name__}).") from None


def _reader(path: str) -> tuple[Ecosystem, Reader] | None:
    name = PurePosixPath(path).name.lower()
    if re.search(r"(?:^|/)(?:requirements|constraints)(?:[^/]*|/[^/]+)\.(?:txt|in)$", path, re.IGNORECASE):
        return Ecosystem.PYPI, _requirements
    return _BY_NAME.get(name)


def line_of(dependency: Dependency, text: str) -> int:
    """The first line that names it, with its version if one does; 0 where none does."""
    lines = text.splitlines()
    name = dependency.name.rpartition(":")[2].lower().replace("_", "-")
    named = [number for number, line in enumerate(lines, 1) if name in line.lower().replace("_", "-")]
    version = dependency.version or ""
    near = (number for number in named if any(version in line for line in lines[number - 1 : number + 4]))
    return next(near, named[0] if named else 0)


# ---------------------------------------------------------------------- Python


def _requirements(text: str) -> Named:
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        said = re.split(r"(?:^|\s)#|\s--?[a-z]", line, maxsplit=1)[0].strip()
        if not said or said.startswith("-"):
            continue
        try:
            requirement = Requirement(said)
        except InvalidRequirement:
            continue  # an address or a path: no package of the index
        exact = [one.version for one in requirement.specifier if one.operator in ("==", "===")]
        version = exact[0] if len(exact) == 1 and not exact[0].endswith(".*") else None
        if requirement.url is None:
            yield canonicalize_name(requirement.name), version


def _toml_lock(text: str) -> Named:
    for package in tomllib.loads(text).get("package", []):
        source = package.get("source") or {}
        if not {"editable", "virtual", "directory"} & source.keys():
            yield canonicalize_name(package["name"]), package.get("version")


def _pipfile_lock(text: str) -> Named:
    document = json.loads(text)
    for section in ("default", "develop"):
        for name, entry in document.get(section, {}).items():
            version = str(entry.get("version", ""))
            yield canonicalize_name(name), version.removeprefix("==") if version.startswith("==") else None


# ---------------------------------------------------------------------- JavaScript


def _package_lock(text: str) -> Named:
    document = json.loads(text)
    packages = document.get("packages")
    if packages is None:
        yield from _nested(document.get("dependencies", {}), 0)
        return
    for place, entry in packages.items():
        if "node_modules/" in place and not entry.get("link"):
            yield str(entry.get("name") or place.rpartition("node_modules/")[2]), entry.get("version")


def _nested(dependencies: Mapping[str, Any], depth: int) -> Named:
    """The first form of npm's lock: what a package needs for itself stands in its entry."""
    if depth > _DEEPEST:
        raise ValueError("too deep")
    for name, entry in dependencies.items():
        version = str(entry.get("version", ""))
        alias = re.fullmatch(r"npm:(.+)@([^@]+)", version)
        yield (alias[1], alias[2]) if alias else (name, version if version[:1].isdigit() else None)
        yield from _nested(entry.get("dependencies", {}), depth + 1)


_YARN_NAME = re.compile(r'"?((?:@[^/@"]+/)?[^@"]+)@(?:npm:)?((?:@[^/@"]+/)?[^@"\s,]+@)?')


def _yarn_lock(text: str) -> Named:
    """Both forms: `version "1.2.3"` of yarn 1, and `version: 1.2.3` with a `resolution` of the later ones."""
    name: str | None = None
    version: str | None = None
    for line in text.splitlines():
        if line[:1] not in (" ", "#", ""):
            match = _YARN_NAME.match(line)
            name = (match[2] or match[1]).rstrip("@") if match else None
            version = None
        elif name and version is None and (found := re.match(r'  version:? "?([^"\s]+)"?$', line)):
            version = found[1]
            if not version.startswith("0.0.0-use.local"):
                yield name, version


def _pnpm_lock(text: str) -> Named:
    """Keys of `packages`: `/a/1.0.0`, `/a@1.0.0(peer)` or `a@1.0.0`, by the form's age."""
    within = False
    for line in text.splitlines():
        if line[:1] not in (" ", ""):
            within = line.startswith("packages:")
        elif within and (key := re.fullmatch(r"  ['\"]?/?([^\s'\"]+?)['\"]?:(?: \{\})?", line)):
            plain = key[1].partition("(")[0]
            parts = re.fullmatch(r"(.+[^@/])@(\d[^@]*)", plain) or re.fullmatch(r"(.+)/(\d[^/_]*)(?:_.*)?", plain)
            if parts:
                yield parts[1], parts[2]


# ---------------------------------------------------------------------- Go and Java


def _go_mod(text: str) -> Named:
    required: dict[str, str] = {}
    replaced: dict[str, tuple[str, str] | None] = {}
    block = ""
    for line in text.splitlines():
        words = line.partition("//")[0].split()
        if not words:
            continue
        if words[0] == ")":
            block = ""
            continue
        if len(words) >= 2 and words[1] == "(":
            block = words[0]
            continue
        verb, rest = (block, words) if block else (words[0], words[1:])
        if verb == "require" and len(rest) == 2:
            required[rest[0].strip('"')] = rest[1]
        elif verb == "replace" and "=>" in rest:
            target = rest[rest.index("=>") + 1 :]
            replaced[rest[0]] = (target[0], target[1]) if len(target) == 2 else None
    for name, version in required.items():
        target_of = replaced.get(name, (name, version))
        if target_of is not None:  # else a folder stands in its place
            yield target_of


class _Pom:
    """Reads a pom's dependencies, those of `dependencyManagement` too; a property that it sets itself is filled in."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.EntityDeclHandler = self._entity
        self._open: list[str] = []
        self._said: list[str] = []
        self._current: dict[str, str] = {}
        self.properties: dict[str, str] = {}
        self.found: list[dict[str, str]] = []

    def read(self, text: str) -> None:
        self._parser.Parse(text, True)

    def _entity(self, *_: object) -> None:
        raise ValueError("declares entities")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._open.append(name.rpartition(":")[2])
        self._said = []
        if self._open[-1] == "dependency":
            self._current = {}

    def _text(self, text: str) -> None:
        self._said.append(text)

    def _end(self, name: str) -> None:
        element, text = self._open.pop(), "".join(self._said).strip()
        self._said = []
        above = self._open[-1] if self._open else ""
        if above == "dependency":
            self._current[element] = text
        elif element == "dependency":
            self.found.append(self._current)
        elif self._open == ["project", "properties"]:
            self.properties[element] = text
        elif self._open == ["project"] and element == "version":
            self.properties.setdefault("project.version", text)


def _pom(text: str) -> Named:
    pom = _Pom()
    pom.read(text)

    def filled(value: str | None) -> str | None:
        for _ in range(5):
            match = re.search(r"\$\{([^}]+)\}", value or "")
            if value is None or match is None:
                return value or None
            known = pom.properties.get(match[1])
            value = None if known is None else value.replace(match[0], known)[:1000]
        return None

    for entry in pom.found:
        group, artifact = filled(entry.get("groupId")), filled(entry.get("artifactId"))
        version = filled(entry.get("version"))
        if group and artifact:
            exact = version.strip("[]") if version and re.fullmatch(r"\[[^,\[\]]+\]", version) else version
            yield f"{group}:{artifact}", exact if exact and not re.search(r"[\[\](),]", exact) else None


_BY_NAME: Mapping[str, tuple[Ecosystem, Reader]] = {
    "poetry.lock": (Ecosystem.PYPI, _toml_lock),
    "uv.lock": (Ecosystem.PYPI, _toml_lock),
    "pdm.lock": (Ecosystem.PYPI, _toml_lock),
    "pipfile.lock": (Ecosystem.PYPI, _pipfile_lock),
    "package-lock.json": (Ecosystem.NPM, _package_lock),
    "npm-shrinkwrap.json": (Ecosystem.NPM, _package_lock),
    "yarn.lock": (Ecosystem.NPM, _yarn_lock),
    "pnpm-lock.yaml": (Ecosystem.NPM, _pnpm_lock),
    "go.mod": (Ecosystem.GO, _go_mod),
    "pom.xml": (Ecosystem.MAVEN, _pom),
}
