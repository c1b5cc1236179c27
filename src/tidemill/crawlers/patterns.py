"""Which paths a source takes: patterns with `*` (within a folder), `**` (across folders) and `?`."""

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

MOST_WILDCARDS = 6
LONGEST_PATTERN = 300
_TOKEN = re.compile(r"(?<![^/])\*\*/|\*\*|\*|\?|[^*?]+")  # `**/` stands where a folder's name may begin
_ACROSS = {"**/": "(?:.*?/)??", "**": ".*?"}

_NOT_TEXT = (
    ".png .jpg .jpeg .gif .webp .avif .bmp .ico .svg .tif .tiff .psd .mp3 .mp4 .m4a .m4v .avi .mov .mkv .webm .ogg "
    ".wav .flac .woff .woff2 .ttf .otf .eot .zip .gz .tgz .bz2 .xz .zst .7z .rar .tar .jar .war .whl .egg .deb .rpm "
    ".dmg .iso .img .exe .dll .so .dylib .a .o .obj .lib .class .pyc .pyo .pyd .wasm .bin .dat .db .sqlite .sqlite3 "
    ".parquet .npy .npz .pt .pth .onnx .gguf .safetensors .pkl .h5 .map .lock .sum"
)
NOT_TEXT = frozenset(_NOT_TEXT.split())
"""Suffixes of files that hold no text for people: they are no documents, and no failures."""


def checked_pattern(pattern: str) -> str:
    """A pattern that is not too long.

    Raises:
        ValueError: it is empty, long, or has more wildcards than that.
    """
    wildcards = sum(1 for token in _TOKEN.findall(pattern) if "*" in token)
    if not 0 < len(pattern) <= LONGEST_PATTERN or wildcards > MOST_WILDCARDS:
        raise ValueError(
            f"a pattern has 1 to {LONGEST_PATTERN} characters, and at most {MOST_WILDCARDS} of `*` and `**`"
        )
    return pattern


Pattern = Annotated[str, AfterValidator(checked_pattern)]


class Patterns:
    """The paths that one of `include` matches, or all where that is empty, and none of `exclude`."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = [_compiled(pattern) for pattern in include]
        self._exclude = [_compiled(pattern) for pattern in exclude]

    def take(self, path: str) -> bool:
        """Whether the source takes this path."""
        if self._include and not any(pattern.fullmatch(path) for pattern in self._include):
            return False
        return not any(pattern.fullmatch(path) for pattern in self._exclude)


def _compiled(pattern: str) -> re.Pattern[str]:
    """`docs/*.md` matches within the folder, `**/*.md` in every folder, `docs/` all below it.

    What follows a wildcard is looked for from there on, and where it is found first is as good as any later place, save
    after the last wildcard. So the groups are atomic: what does not match is told in a time that grows with the square
    of the path's length at most, and not with its power of the number of wildcards.
    """
    if pattern.endswith("/"):
        pattern += "**"
    parts: list[tuple[str, list[str]]] = [("", [])]
    for token in _TOKEN.findall(pattern):
        if token in _ACROSS:
            parts.append((_ACROSS[token], []))
        else:
            parts[-1][1].append(token)
    *first, (across, tokens) = parts
    begin = "".join(f"(?>{lead}{_within_a_folder(some, last=False)})" for lead, some in first)
    return re.compile(f"{begin}{across}{_within_a_folder(tokens, last=True)}", re.DOTALL)


def _within_a_folder(tokens: Sequence[str], *, last: bool) -> str:
    """What stands between two `**`: each `*` with what follows it up to the next, the very last one free."""
    groups = [""]
    for piece in tokens:
        if piece == "*":
            groups.append("")
        else:
            groups[-1] += "[^/]" if piece == "?" else re.escape(piece)
    kept, free = (groups[1:-1], groups[-1:]) if last and len(groups) > 1 else (groups[1:], [])
    return groups[0] + "".join(f"(?>[^/]*?{one})" for one in kept) + "".join(f"[^/]*{one}" for one in free)


def suffix_of(path: str) -> str:
    """The suffix of a path's last name, in lower case, with its dot; empty where it has none."""
    stem, dot, suffix = path.rsplit("/", 1)[-1].rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""
