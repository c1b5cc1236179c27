"""Reads the head of a GGUF file: what it says of its model, and the shapes of its tensors.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tidemill.core.errors import Configuration

MAGIC = b"GGUF"
MAX_ENTRIES = 65_536
MAX_STRING = 16 * 2**20
MAX_DEPTH = 4
"""Arrays within arrays. No known model nests them at all."""
MAX_HEAD = 64 * 2**20
"""Bytes before the last array. The largest vocabularies (262,144 tokens with their merges) take a fifth of it."""
MAX_DIMENSIONS = 8
TENSOR_REST = 12
"""Bytes that follow a tensor's dimensions: its type and its offset."""
STRING, ARRAY = 8, 9
NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
LENGTH = struct.Struct("<Q")
HALF = 2
"""Bytes of one number in the cache of keys and values, which llama.cpp keeps as 16-bit floats."""

Value = int | float | bool | str | None


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says of its model; arrays are left out."""

    values: dict[str, Value]

    @property
    def architecture(self) -> str:
        """The model's architecture, such as `qwen2`; empty where the file does not say."""
        value = self.values.get("general.architecture")
        return value if isinstance(value, str) else ""

    @property
    def context_bytes_per_token(self) -> int:
        """Bytes that one token takes in the cache of keys and values; 0 where the file does not say.

        Layers x key/value heads x (key length + value length) x 2 bytes.
        """
        layers, heads = self._number("block_count"), self._number("attention.head_count")
        width = self._number("embedding_length")
        groups = self._number("attention.head_count_kv") or heads
        head = width // heads if heads else 0
        key = self._number("attention.key_length") or head
        value = self._number("attention.value_length") or head
        return layers * groups * (key + value) * HALF

    @property
    def layers(self) -> int:
        """The model's blocks; 0 where the file does not say."""
        return self._number("block_count")

    @property
    def context_tokens(self) -> int:
        """The context for which the model was trained, in tokens; 0 where the file does not say."""
        return self._number("context_length")

    def _number(self, name: str) -> int:
        value = self.values.get(f"{self.values.get('general.architecture')}.{name}")
        return value if isinstance(value, int) else 0


def read_header(path: Path) -> GgufHeader:
    """The metadata of a GGUF file.

    Raises:
        Configuration: the file can't be read, or is no GGUF file.
    """
    with _opened(path) as file:
        _tensors, count = _begin(file, path)
        return GgufHeader(_values(file, count))


def read_shapes(path: Path) -> tuple[GgufHeader, dict[str, tuple[int, ...]]]:
    """The metadata of a GGUF file, and its tensors' shapes, the innermost dimension first.

    Raises:
        Configuration: the file can't be read, or is no GGUF file.
    """
    with _opened(path) as file:
        tensors, count = _begin(file, path)
        header = GgufHeader(_values(file, count))
        shapes: dict[str, tuple[int, ...]] = {}
        for _ in range(tensors):
            name, dimensions = _string(file), _number(file, "<I")
            if dimensions > MAX_DIMENSIONS:
                raise ValueError("a tensor has too many dimensions")
            shapes[name] = tuple(_number(file, "<Q") for _ in range(dimensions))
            _read(file, TENSOR_REST)
        return header, shapes


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file; what goes wrong while it is read is told with its name."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise Configuration(f"The model file {path} can't be read: {error.strerror}.") from error
    except (ValueError, KeyError, struct.error) as error:
        raise Configuration(f"The model file {path} is damaged: its head can't be read.") from error


def _begin(file: BinaryIO, path: Path) -> tuple[int, int]:
    """How many tensors and how many entries of metadata follow."""
    if file.read(4) != MAGIC:
        raise Configuration(f"{path} is not a GGUF file. Local models are GGUF files that llama.cpp can load.")
    _version, tensors, count = struct.unpack("<IQQ", _read(file, 20))
    if max(tensors, count) > MAX_ENTRIES:
        raise ValueError("too many entries")
    return tensors, count


def _values(file: BinaryIO, count: int) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for _ in range(count):
        name = _string(file)
        values[name] = _value(file, _number(file, "<I"))
    return values


def _value(file: BinaryIO, kind: int) -> Value:
    if kind == STRING:
        return _string(file)
    if kind == ARRAY:
        _skip_array(file)
        return None
    value: int | float | bool = struct.unpack(NUMBERS[kind], _read(file, struct.calcsize(NUMBERS[kind])))[0]
    return value


def _skip_array(file: BinaryIO, depth: int = 1) -> None:
    kind, count = _number(file, "<I"), _number(file, "<Q")
    if depth > MAX_DEPTH:
        raise ValueError("arrays are nested too deep")
    if file.tell() + count * _least_bytes(kind) > MAX_HEAD:
        raise ValueError("an array is too long")
    if kind == STRING:
        _skip_strings(file, count)
    elif kind == ARRAY:
        for _ in range(count):
            _skip_array(file, depth + 1)
    else:
        file.seek(_least_bytes(kind) * count, 1)


def _skip_strings(file: BinaryIO, count: int) -> None:
    """A vocabulary has hundreds of thousands: 0.23 s with calls for each, 0.06 s without."""
    read, length = file.read, LENGTH.unpack
    for _ in range(count):
        (size,) = length(read(8))
        if size > MAX_STRING:
            raise ValueError("a string is too long")
        read(size)


def _least_bytes(kind: int) -> int:
    """Bytes that one element takes at least: an empty string's or array's head, or the number itself."""
    return {STRING: 8, ARRAY: 12}.get(kind) or struct.calcsize(NUMBERS[kind])


def _string(file: BinaryIO) -> str:
    return _read(file, _length(file)).decode("utf-8", "replace")


def _length(file: BinaryIO) -> int:
    length = _number(file, "<Q")
    if length > MAX_STRING:
        raise ValueError("a string is too long")
    return length


def _number(file: BinaryIO, form: str) -> int:
    return int(struct.unpack(form, _read(file, struct.calcsize(form)))[0])


def _read(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise ValueError("the file ends too early")
    return data
