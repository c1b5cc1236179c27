"""Which files of Go make up a package, and which package an import means. By tree-sitter.

A package that is read is called by its folder, `./store`, one that is not by its path without a version, `net/http`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tree_sitter import Node

from tidemill.analysis.flow import LARGEST
from tidemill.analysis.syntax import Language, parsed, text_of

STANDARD = frozenset(
    [
        *("archive", "bufio", "builtin", "bytes", "cmp", "compress", "container", "context", "crypto"),
        *("database", "debug", "embed", "encoding", "errors", "expvar", "flag", "fmt", "go", "hash", "html"),
        *("image", "index", "io", "iter", "log", "maps", "math", "mime", "net", "os", "path", "plugin"),
        *("reflect", "regexp", "runtime", "slices", "sort", "strconv", "strings", "structs", "sync", "syscall"),
        *("testing", "text", "time", "unicode", "unique", "unsafe", "weak"),
    ]
)
"""The first parts of the paths of Go's own packages."""
_Path = tuple[str, ...]
_DEEPEST = 40
"""Parts of a path."""
_MOST_ROOTS = 20
"""Folders in which one module may lie."""
_VERSION = re.compile(r"/v\d+(?=/|$)|\.v\d+$")


@dataclass(frozen=True, slots=True, eq=False)
class GoFile:
    """A file that is read.

    Attributes:
        path: its name.
        package: its package's.
        root: of its syntax tree.
        imports: by the name that the file uses, the package.
    """

    path: str
    package: str
    root: Node
    imports: dict[str, str] = field(default_factory=dict)


def operator_of(node: Node) -> str:
    """The operator of an expression or an assignment."""
    operator = node.child_by_field_name("operator")
    return operator.type if operator is not None else ""


def go_files(files: Mapping[str, str], broken: set[str]) -> list[GoFile]:
    """The files that can be read, as far as they parse; those that do not parse whole are added to `broken`."""
    found: list[GoFile] = []
    names: dict[str, str] = {}
    for path, text in files.items():
        root = parsed(text, Language.GO) if len(text) <= LARGEST else None
        if root is None or root.has_error:
            broken.add(path)
        if root is not None:
            clause = next((child for child in root.children if child.type == "package_clause"), None)
            name = text_of(clause.named_children[-1]) if clause is not None and clause.named_children else ""
            folder = "./" + str(PurePosixPath(path).parent)
            found.append(GoFile(path, f"{folder}!test" if name.endswith("_test") else folder, root))
            names.setdefault(found[-1].package, name)
    imported = {file.path: tuple(_imports(file.root)) for file in found}
    read = _read({path for each in imported.values() for _, path in each}, names.keys())
    for file in found:
        for alias, path in imported[file.path]:
            package = read.get(path, _VERSION.sub("", path))
            file.imports[alias or names.get(package) or _last(package)] = package
    return found


def _imports(root: Node) -> Iterator[tuple[str, str]]:
    """The name that a file gives a package, where it gives one, and the package's path."""
    waiting = [child for child in root.children if child.type == "import_declaration"]
    while waiting:
        node = waiting.pop()
        if node.type == "import_spec":
            name = node.child_by_field_name("name")
            if name is None or name.type == "package_identifier":
                yield text_of(name), text_of(node.child_by_field_name("path")).strip('"`')
        else:
            waiting += node.named_children


def _last(path: str) -> str:
    """The name that a package most likely has."""
    name = path.rpartition("/")[2].removeprefix("go-").removesuffix("-go").removesuffix(".go")
    return name.replace("-", "")


def _read(paths: Iterable[str], packages: Iterable[str]) -> dict[str, str]:
    """By the path of an import, the package that is read.

    No `go.mod` says how the module is called. So the longest end of an import's path that is the end of one folder's
    name tells where the module may lie and how it may be called, and of several names for one place that counts by
    which most folders are imported.
    """
    folders: dict[_Path, str] = {
        () if name == "./." else tuple(name[2:].split("/")): name for name in packages if not name.endswith("!test")
    }
    ends: dict[_Path, _Path | None] = {}
    for folder in folders:
        for start in range(max(len(folder) - _DEEPEST, 0), len(folder)):
            end = folder[start:]
            ends[end] = None if end in ends else folder
    split = [tuple(path.split("/")) for path in paths]
    split = [path for path in split if path[0] not in STANDARD and len(path) <= _DEEPEST]
    longest: dict[_Path, tuple[int, set[_Path]]] = {}
    for path in split:
        size = next((size for size in range(len(path), 0, -1) if path[-size:] in ends), 0)
        folder_or_none = ends[path[-size:]] if size else None
        if folder_or_none is not None:
            most, named = longest.get(folder_or_none, (0, set()))
            if size >= most:
                longest[folder_or_none] = (size, {path[:-size], *(named if size == most else ())})
    votes = Counter((folder[:-size], module) for folder, (size, named) in longest.items() for module in named)
    most_of: dict[_Path, int] = {}
    for (root, _), count in votes.items():
        most_of[root] = max(count, most_of.get(root, 0))
    roots: dict[_Path, list[_Path]] = {}
    for (root, module), count in votes.items():
        if count == most_of[root] and len(roots.setdefault(module, [])) < _MOST_ROOTS:
            roots[module].append(root)
    found: dict[str, str] = {}
    for path in split:
        meant = {
            folders[root + path[size:]]
            for size in range(len(path) + 1)
            for root in roots.get(path[:size], ())
            if root + path[size:] in folders
        }
        if len(meant) == 1:
            found["/".join(path)] = meant.pop()
    return found
