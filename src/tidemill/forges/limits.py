"""How much of a change's files a review reads, wherever they come from: in bytes, as UTF-8."""

from collections.abc import Mapping

from tidemill.core.errors import TooLarge
from tidemill.settings import ReviewSettings

MAX_TOTAL_BYTES = 16_000_000
"""Of all files of a change."""


def within_limits(sizes: Mapping[str, int], limits: ReviewSettings) -> list[str]:
    """The paths, in their order, whose files a review reads: none too large, none past the total.

    Args:
        sizes: bytes of each file, by path.
        limits: the largest file.
    """
    kept: list[str] = []
    total = 0
    for path, size in sizes.items():
        if size <= limits.max_file_bytes and total + size <= MAX_TOTAL_BYTES:
            kept.append(path)
            total += size
    return kept


def file_sizes(files: Mapping[str, str]) -> dict[str, int]:
    """Bytes of each text as UTF-8; half a character counts as the U+FFFD that will stand for it."""
    return {path: len(text.encode("utf-8", "surrogatepass")) for path, text in files.items()}


def check_files(files: Mapping[str, str], limits: ReviewSettings) -> None:
    """That a review would read all of these files.

    Raises:
        TooLarge: one of them is over `limits.max_file_bytes`, or they are over `MAX_TOTAL_BYTES` together.
    """
    sizes = file_sizes(files)
    path = max(sizes, key=sizes.__getitem__, default="")
    if path and sizes[path] > limits.max_file_bytes:
        raise TooLarge(
            f"The file {path[:200]!r} has {sizes[path]:,} bytes, and a review reads {limits.max_file_bytes:,} at most "
            "(the setting review.max_file_bytes). Leave it out: it is then judged from its diff alone.",
            param="files",
        )
    if len(within_limits(sizes, limits)) < len(sizes):
        raise TooLarge(
            f"The files have {sum(sizes.values()):,} bytes together, and a review reads {MAX_TOTAL_BYTES:,} at most. "
            "Leave some out: they are then judged from the diff alone.",
            param="files",
        )
