"""Writes an ONNX model, so that nothing but ONNX Runtime is needed to run weights that come in another form.

The format is protobuf; the numbers of its fields are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

IR_VERSION = 9
MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
VARINT, FIXED32, BYTES = 0, 5, 2

Attribute = int | float


class Element(IntEnum):
    """The type of a tensor's elements: `TensorProto.DataType`."""

    FLOAT = 1
    INT8 = 3
    INT64 = 7


@dataclass(slots=True)
class OnnxGraph:
    """A graph in the making. Operators may be added in any order that defines a name before it is used."""

    opsets: Mapping[str, int]
    _nodes: list[bytes] = field(default_factory=list)
    _constants: list[bytes] = field(default_factory=list)
    _inputs: list[bytes] = field(default_factory=list)
    _outputs: list[bytes] = field(default_factory=list)

    def constant(self, name: str, element: Element, shape: Sequence[int], data: bytes) -> str:
        """A tensor that is part of the model: its elements in row order, little-endian. Returns its name."""
        dims = b"".join(_number(1, size) for size in shape)
        self._constants.append(dims + _number(2, element) + _text(8, name) + _message(9, data))
        return name

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        domain: str = "",
        **attributes: Attribute,
    ) -> None:
        """An operator. An empty input stands for one that is left out."""
        node = b"".join(_text(1, name) for name in inputs) + b"".join(_text(2, name) for name in outputs)
        node += _text(3, outputs[0]) + _text(4, operator)
        node += b"".join(_message(5, _attribute(name, value)) for name, value in attributes.items())
        self._nodes.append(node + _text(7, domain))

    def input(self, name: str, element: Element, shape: Sequence[int | str]) -> str:
        """What the model is given. A size that is a text may differ from run to run. Returns its name."""
        self._inputs.append(_value(name, element, shape))
        return name

    def output(self, name: str, element: Element, shape: Sequence[int | str]) -> None:
        """What the model gives."""
        self._outputs.append(_value(name, element, shape))

    def serialized(self) -> bytes:
        """The model's bytes."""
        graph = b"".join(
            [
                *_messages(1, self._nodes),
                _text(2, "tidemill"),
                *_messages(5, self._constants),
                *_messages(11, self._inputs),
                *_messages(12, self._outputs),
            ]
        )
        opsets = (_text(1, domain) + _number(2, version) for domain, version in self.opsets.items())
        return _number(1, IR_VERSION) + _message(7, graph) + b"".join(_messages(8, opsets))


def _value(name: str, element: Element, shape: Sequence[int | str]) -> bytes:
    dims = (_number(1, size) if isinstance(size, int) else _text(2, size) for size in shape)
    tensor = _number(1, element) + _message(2, b"".join(_messages(1, dims)))
    return _text(1, name) + _message(2, _message(1, tensor))


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        return _text(1, name) + _tag(2, FIXED32) + struct.pack("<f", value) + _number(20, 1)
    return _text(1, name) + _number(3, value) + _number(20, 2)


def _messages(number: int, parts: Iterable[bytes]) -> Iterable[bytes]:
    return (_message(number, part) for part in parts)


def _message(number: int, data: bytes) -> bytes:
    return _tag(number, BYTES) + _varint(len(data)) + data


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode())


def _number(number: int, value: int) -> bytes:
    return _tag(number, VARINT) + _varint(value)


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    """Base 128, lowest group first, for numbers that are not negative."""
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
