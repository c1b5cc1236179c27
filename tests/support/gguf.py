"""Writes small GGUF files (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): heads, and LoRA adapters."""

import struct
from pathlib import Path

import numpy

from tidemill.llm.gguf import read_shapes

UINT32, FLOAT32, BOOL, STRING = 4, 6, 7, 8
ALIGNMENT = 32


def write_gguf(path: Path, entries: dict[str, object], tensors: dict[str, numpy.ndarray] | None = None) -> Path:
    """A file of these metadata and these float32 tensors, whose shapes are written innermost dimension first."""
    tensors = tensors or {}
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(entries))]
    head += [_string(name) + _entry(value) for name, value in entries.items()]
    offset = 0
    for name, values in tensors.items():
        shape = values.shape[::-1]
        head.append(_string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape))
        head.append(struct.pack("<IQ", 0, offset))
        offset += _padded(values.nbytes)
    data = b"".join(head)
    body = b"".join(values.astype("<f4").tobytes().ljust(_padded(values.nbytes), b"\0") for values in tensors.values())
    path.write_bytes(data.ljust(_padded(len(data)), b"\0") + body)
    return path


def write_adapter(path: Path, base: Path, *, seed: int = 1, strength: float = 0.5, rank: int = 4) -> Path:
    """A LoRA adapter of random factors for every attention query and value of the base."""
    header, shapes = read_shapes(base)
    random = numpy.random.default_rng(seed)
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith(("attn_q.weight", "attn_v.weight")):
            tensors[f"{name}.lora_a"] = random.normal(0, 1, (rank, shape[0]))
            tensors[f"{name}.lora_b"] = random.normal(0, strength / shape[0] ** 0.5, (shape[1], rank))
    tensors = {name: values.astype(numpy.float32) for name, values in tensors.items()}
    entries: dict[str, object] = {
        "general.architecture": header.architecture,
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": float(rank),
    }
    return write_gguf(path, entries, tensors)


def _entry(value: object) -> bytes:
    match value:
        case bool():
            return struct.pack("<I?", BOOL, value)
        case int():
            return struct.pack("<II", UINT32, value)
        case float():
            return struct.pack("<If", FLOAT32, value)
        case str():
            return struct.pack("<I", STRING) + _string(value)
    raise TypeError(f"no GGUF value: {value!r}")


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
