"""Which repositories a request may name: those that lie, with all that git reads of them, under an operator's roots.

A repository names other places: the folder of its data, the folder shared by its work trees, and other object
stores (gitrepository-layout(5)). All of them are followed as git follows them, and so is every symbolic link among
the objects, since each could lead to what was never meant to be read.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tidemill.core.errors import InvalidInput, NotPermitted

_LARGEST_POINTER = 1 << 16
"""Bytes of a file that names a place. A larger one is not read."""
_OBJECT_FOLDER = re.compile(r"[0-9a-f]{2}|pack|info")


def resolve_repository(path: str | Path, roots: Sequence[Path], *, setting: str = "review.roots") -> Path:
    """The repository that holds `path`, where an operator allows it: its folder, symbolic links resolved.

    The folder, the folders where git keeps its data, and every place from which git takes objects must lie under
    `roots`, which `setting` names.

    Raises:
        NotPermitted: it lies elsewhere or can't be looked at, or there are no roots; said alike whether it exists
            or not.
        InvalidInput: allowed, but no repository.
    """
    refused = NotPermitted(
        f"The repository {str(path)[:300]!r} is not under a folder that Tidemill may read. "
        f"The operator names these folders in the setting {setting}.",
        param="repository",
    )
    try:
        return _resolve(Path(path), [root.resolve() for root in roots], refused)
    except (OSError, ValueError, RuntimeError):  # a name too long, a NUL, a loop of links, a folder that is not ours
        raise refused from None


def find_repository(folder: Path) -> Path | None:
    """The nearest of this folder and its parents that has git's data, as git finds it; links resolved."""
    folder = folder.resolve()
    return next((place for place in (folder, *folder.parents) if _is_repository(place)), None)


def _resolve(path: Path, roots: Sequence[Path], refused: NotPermitted) -> Path:
    if not roots or not path.is_absolute():
        raise refused
    folder = path.resolve()
    if not _under(folder, roots):
        raise refused
    repository = find_repository(folder)
    if repository is None or not _under(repository, roots):
        raise InvalidInput(f"There is no git repository in {str(path)!r}.", param="repository")
    homes = _git_folders(repository)
    if not all(_under(place, roots) for place in homes):
        raise refused
    for home in homes:
        if not _objects_under(home / "objects", roots):
            raise refused
    return repository


def _under(path: Path, roots: Sequence[Path]) -> bool:
    return any(path == root or root in path.parents for root in roots)


def _is_repository(folder: Path) -> bool:
    if (folder / ".git").exists():
        return True
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()


def _git_folders(folder: Path) -> list[Path]:
    """Where git's data of this repository lies: of a linked work tree or a submodule, somewhere else.

    Raises:
        OSError, ValueError: a file that says where says it in no way that git reads.
    """
    place = folder / ".git"
    if place.is_file():
        place = folder / _pointer(place, b"gitdir: ")
    elif not place.exists():
        place = folder
    places = [place.resolve()]
    common = places[0] / "commondir"
    if common.exists():
        places.append((places[0] / _pointer(common)).resolve())
    return places


def _pointer(file: Path, prefix: bytes = b"") -> str:
    """The path that a file of git's names: all after the prefix but the last line's end, spaces too."""
    if not file.is_file() or file.stat().st_size > _LARGEST_POINTER:
        raise ValueError(f"{file} names no folder")
    content = file.read_bytes().rstrip(b"\r\n")
    if not content.startswith(prefix) or len(content) == len(prefix) or b"\0" in content:
        raise ValueError(f"{file} names no folder")
    return os.fsdecode(content[len(prefix) :])


def _objects_under(store: Path, roots: Sequence[Path]) -> bool:
    """Every object that git finds from this store on lies under the roots."""
    waiting, seen = [store], set[Path]()
    while waiting:
        store = waiting.pop().resolve()
        if not _under(store, roots):
            return False
        if store in seen or not store.is_dir():
            continue
        seen.add(store)
        if not all(_under(target, roots) for target in _linked(store)):
            return False
        for named in _alternates(store):
            if not _under(named.resolve(), roots):
                return False
            waiting.append(Path(os.path.normpath(named)))
    return True


def _linked(store: Path) -> Iterator[Path]:
    """Where the symbolic links among the objects lead."""
    with os.scandir(store) as entries:
        folders = [entry for entry in entries if _OBJECT_FOLDER.fullmatch(entry.name)]
    for folder in folders:
        if folder.is_symlink():
            yield Path(folder.path).resolve()
        if folder.is_dir():
            with os.scandir(folder.path) as entries:
                yield from (Path(entry.path).resolve() for entry in entries if entry.is_symlink())


def _alternates(store: Path) -> list[Path]:
    """The other stores that this one names, relative to it. git takes `..` out of a name before it follows links."""
    file = store / "info" / "alternates"
    if not file.exists():
        return []
    if not file.is_file() or file.stat().st_size > _LARGEST_POINTER:
        raise ValueError(f"{file} can't be read")
    names = [name for name in file.read_bytes().split(b"\n") if name and not name.startswith(b"#")]
    if any(name.startswith(b'"') for name in names):
        raise ValueError(f"{file} quotes a name")
    return [store / os.fsdecode(name) for name in names]
