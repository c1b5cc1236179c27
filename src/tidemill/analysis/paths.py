"""What a path says about its file."""

import re
from enum import StrEnum
from pathlib import PurePosixPath


class PathKind(StrEnum):
    """Whose hand a file is from, and for whom it is."""

    SOURCE = "source"
    TEST = "test"
    DOCUMENT = "document"
    LOCK = "lock"
    GENERATED = "generated"
    VENDORED = "vendored"


_LOCKS = frozenset(
    [
        "package-lock.json",
        "npm-shrinkwrap.json",
        "yarn.lock",
        "pnpm-lock.yaml",
        "bun.lock",
        "bun.lockb",
        "poetry.lock",
        "pdm.lock",
        "uv.lock",
        "pipfile.lock",
        "cargo.lock",
        "go.sum",
        "gemfile.lock",
        "composer.lock",
        "mix.lock",
        "flake.lock",
        "packages.lock.json",
        "podfile.lock",
        "pubspec.lock",
        "gradle.lockfile",
        "deno.lock",
        "pixi.lock",
        "conda-lock.yml",
        ".terraform.lock.hcl",
    ]
)
_VENDORED = frozenset(
    [
        "vendor",
        "vendored",
        "_vendor",
        "node_modules",
        "third_party",
        "third-party",
        "thirdparty",
        "bower_components",
        "site-packages",
        ".venv",
    ]
)
_GENERATED = re.compile(
    r"\.min\.(?:js|css|mjs)$|\.(?:js|css)\.map$|_pb2(?:_grpc)?\.pyi?$|\.pb\.(?:go|cc|h)$|_grpc\.pb\.go$|\.g\.dart$"
    r"|\.designer\.cs$|(?:^|/)(?:dist|__snapshots__|__generated__)/|\.snap$|\.generated\.\w+$",
    re.IGNORECASE,
)
_TEST = re.compile(
    r"(?:^|/)(?:tests?|testing|__tests__|specs?|e2e|fixtures?|testdata)/|(?:^|/)(?:test_[^/]*|conftest)\.py$"
    r"|_test\.(?:py|go|rb|cc|cpp)$|\.(?:test|spec)\.[cm]?[jt]sx?$|Tests?\.(?:java|kt|cs|swift)$|_spec\.rb$"
)
_DOCUMENTS = frozenset([".md", ".markdown", ".rst", ".txt", ".adoc", ".asciidoc", ".org", ".tex", ".pdf"])
_NO_DOCUMENT = re.compile(r"(?:^|/)(?:requirements|constraints)(?:[^/]*|/[^/]+)\.txt$|(?:^|/)CMakeLists\.txt$")


def kind_of(path: str) -> PathKind:
    """The kind of a file, from its path alone; the one that matters least where several fit."""
    pure = PurePosixPath(path)
    if any(part.lower() in _VENDORED for part in pure.parts[:-1]):
        return PathKind.VENDORED
    if pure.name.lower() in _LOCKS:
        return PathKind.LOCK
    if _GENERATED.search(path):
        return PathKind.GENERATED
    if pure.suffix.lower() in _DOCUMENTS and not _NO_DOCUMENT.search(path):
        return PathKind.DOCUMENT
    if _TEST.search(path):
        return PathKind.TEST
    return PathKind.SOURCE
