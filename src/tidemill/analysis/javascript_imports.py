"""Which files of JavaScript and TypeScript import which."""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

_ENDINGS = (".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs")
_WRITTEN_FOR = {".js": (".ts", ".tsx"), ".jsx": (".tsx",), ".mjs": (".mts",), ".cjs": (".cts",)}
"""By the ending that an import names, those of the files that it is compiled from."""
_HIGHEST = 12
"""Folders above a file that a name may start from."""
_NAMED = re.compile(r"""(?:\bfrom|\bimport|\brequire)\s*\(?\s*["']([^"'\n]{1,200})["']""")


class SourceFiles:
    """The files that there are, by the names that imports give them."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)
        self._found: dict[tuple[str, str], str | None] = {}

    def imported(self, source: str, path: str) -> str | None:
        """The file that an import in a file names; `None` where there is none, as for a package."""
        folder = PurePosixPath(path).parent.as_posix()
        if (folder, source) not in self._found:
            if source.startswith("."):
                self._found[folder, source] = self._file(folder, source)
            else:
                self._found[folder, source] = self._from_above(source, path)
        return self._found[folder, source]

    def connected(self, files: Mapping[str, str], paths: Iterable[str]) -> Collection[str]:
        """These files, those that they import or that import them, and so on."""
        beside: dict[str, set[str]] = {}
        for path, text in files.items():
            for source in _NAMED.findall(text):
                other = self.imported(source, path)
                if other is not None:
                    beside.setdefault(path, set()).add(other)
                    beside.setdefault(other, set()).add(path)
        found: set[str] = set()
        waiting = list(paths)
        while waiting:
            path = waiting.pop()
            if path not in found:
                found.add(path)
                waiting += beside.get(path, ())
        return found

    def _from_above(self, source: str, path: str) -> str | None:
        """A file that is named from a folder above the one that imports it, such as `@/lib/users` or `src/users`."""
        alias = source.startswith(("@/", "~/"))
        if "/" not in source:
            return None
        for folder in list(PurePosixPath(path).parents)[:_HIGHEST]:
            for inner in ("", "src") if alias else ("",):
                found = self._file((folder / inner).as_posix(), source[2:] if alias else source)
                if found is not None:
                    return found
        return None

    def _file(self, folder: str, source: str) -> str | None:
        parts = [one for one in folder.split("/") if one not in ("", ".")]
        for part in source.split("/"):
            if part == ".." and not parts:
                return None
            if part == "..":
                parts.pop()
            elif part not in ("", "."):
                parts.append(part)
        name = "/".join(parts)
        suffix = PurePosixPath(name).suffix
        bare = name.removesuffix(suffix)
        candidates = (
            name,
            *(bare + one for one in _WRITTEN_FOR.get(suffix, ())),
            *(name + one for one in _ENDINGS),
            *(f"{name}/index{one}" if name else f"index{one}" for one in _ENDINGS),
        )
        return next((one for one in candidates if one in self._paths), None)
