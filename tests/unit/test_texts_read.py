"""Texts of every kind are read whatever bytes they hold, and in a time that grows with their length alone."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.analysis.chunking import chunk
from tidemill.analysis.derived import derived
from tidemill.analysis.languages import language_of
from tidemill.analysis.near_duplicates import signature
from tidemill.core.document import ChunkStrategy, RawDocument
from tidemill.readers.decoding import decoded
from tidemill.readers.draft import clean
from tidemill.readers.formats import Format, format_of
from tidemill.readers.markup import read_code, read_markdown, read_plain, read_restructured
from tidemill.readers.port import Unreadable
from tidemill.readers.records import read_notebook, read_table

READERS = {
    "a.md": read_markdown,
    "a.rst": read_restructured,
    "a.txt": read_plain,
    "a.py": read_code,
    "a.csv": lambda text: read_table(text, "a.csv", 1000),
    "a.ipynb": lambda text: read_notebook(text, "a.ipynb"),
}
MARKS = st.sampled_from(
    [
        "---\n",
        "# a\n",
        "Title\n===\n",
        "```\n",
        "| a |\n",
        ":Author: b\n",
        '"',
        ",",
        "\r",
        "\x00",
        "\u0301",
        "\ufeff",
        "{",
    ]
)
TEXTS = st.lists(st.one_of(MARKS, st.text(st.characters(codec=None, exclude_categories=()), max_size=9))).map("".join)


def read(path, data):
    format_ = format_of(RawDocument(path, data))
    return format_, READERS[path](decoded(data, path))


@settings(max_examples=100, deadline=None)
@given(data=st.one_of(st.binary(max_size=300), TEXTS.map(lambda t: t.encode("utf-8", "surrogatepass"))),
       path=st.sampled_from(sorted(READERS)))  # fmt: skip
def test_any_bytes_are_read_as_clean_text_or_refused_with_a_reason(data, path):
    try:
        format_, found = read(path, data)
    except Unreadable as refused:
        assert refused.reason_code  # noqa: PT017 - either outcome is right
        return
    if format_ not in (Format.PDF, Format.OFFICE, Format.HTML):
        assert unicodedata.is_normalized("NFC", found.text)
        assert not set(found.text) & set("\r\0\ufeff")
        found.text.encode("utf-8")
        assert all(heading.span.of(found.text).strip() for heading in found.headings)


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_a_clean_text_stays_as_it_is(text):
    assert clean(clean(text)) == clean(text)


@pytest.mark.timeout(120)  # far more than it takes; far less than a time that grows with the square
@pytest.mark.parametrize(
    "piece",
    ["# ", " ", "#", "[", "*", "|  ", "| - ", ":", "a@", "=\n", "`", "~~~", "1.", "- ", "…", "A. ", "\u0323\u0301",
     "\U0001f1fb", "<!-- -->", "\U0001f468\u200d", "\u1112\u1161\u11ab", "\"", "x,", "..", "(", "-\n", "\\", "a "],
    ids=ascii,
)  # fmt: skip
def test_what_is_repeated_without_end_takes_no_more_time_than_its_length(piece):
    text = piece * (10_000 // len(piece)) + "x"
    for path, reader in READERS.items():
        if path != "a.ipynb":
            try:
                found = reader(text)
            except Unreadable:
                continue
            chunk(found, path, ChunkStrategy.AUTO, size=200, overlap=20, count_tokens=lambda part: len(part) // 4 + 1)
            derived(found, language_of(found.text))
            signature(found.text)
