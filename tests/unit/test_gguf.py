"""The head of a GGUF file: what is read from it, and that no file, however made, does more than be refused."""

import struct

import pytest

from tidemill.core.errors import Configuration
from tidemill.llm.gguf import read_header

UINT32, STRING, ARRAY = 4, 8, 9


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def array(kind, count, body=b""):
    return struct.pack("<IQ", kind, count) + body


def gguf(folder, **entries):
    """A file whose head has these entries: a number, a text, or an array's bytes."""
    parts = []
    for name, value in entries.items():
        if isinstance(value, int):
            kind, data = UINT32, struct.pack("<I", value)
        elif isinstance(value, str):
            kind, data = STRING, string(value)
        else:
            kind, data = ARRAY, value
        parts.append(string(name.replace("__", ".")) + struct.pack("<I", kind) + data)
    path = folder / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(parts)) + b"".join(parts))
    return path


def test_numbers_are_found_behind_arrays_of_every_kind(tmp_path):
    words = array(STRING, 3, string("a") + string("") + string("bc"))
    nested = array(ARRAY, 2, array(UINT32, 1, bytes(4)) + array(STRING, 0))
    scores = array(UINT32, 1000, bytes(4000))
    names = {"general__architecture": "llama", "words": words, "nested": nested, "scores": scores}
    head = read_header(gguf(tmp_path, **names, llama__context_length=2048))
    assert head.context_tokens == 2048
    assert head.values["words"] is None


DAMAGED = {
    "5000 arrays in each other": array(ARRAY, 1) * 5000 + array(UINT32, 0),
    "an array longer than any": array(STRING, 2**60),
    "arrays longer than any": array(ARRAY, 2**63),
    "numbers longer than any": array(UINT32, 2**64 - 1),
    "a text longer than any": array(STRING, 1, struct.pack("<Q", 2**64 - 1)),
    "an array that ends early": array(STRING, 9, string("one")),
    "an unknown kind": array(99, 1, bytes(8)),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_array_is_told_as_a_damaged_file(tmp_path, data):
    path = gguf(tmp_path, bad=data, after=1)
    with pytest.raises(Configuration, match="is damaged") as caught:
        read_header(path)
    assert str(path) in caught.value.message
