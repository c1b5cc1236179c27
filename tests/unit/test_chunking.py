"""Chunks: exact spans of their text, whole where it can be, with the heading or definition that they stand under."""

import hashlib
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.analysis.chunking import chunk
from tidemill.analysis.graphemes import is_boundary
from tidemill.core.document import (
    ChunkStrategy,
    CleanDocument,
    DocumentKind,
    Heading,
    Page,
    Span,
    embedded_text,
)
from tidemill.core.errors import InvalidInput

DOCUMENTS = Path(__file__).resolve().parents[1] / "data" / "knowledge" / "documents"
ANY_CHARACTER = st.characters(codec=None, exclude_categories=())
MARKS = st.sampled_from(
    ["# A\n", "\n\n", "\n", "- ", "1. ", "| a | b |\n| --- | --- |\n", "```\n", "~~~\n", ". ", "! ", "def f():\n",
     "    return 1\n", "class A:\n", "{", "}", "e\u0301", "\U0001f469\u200d\U0001f4bb", "\U0001f1fb\U0001f1f3", "한",
     "\u1112\u1161\u11ab", "Đơn hàng số 5 do ông A. duyệt. ", "x" * 30, "  ", "\t", "\ud83d",
     "\udc69", "\u200d", "\r\n", "\u2028"]
)  # fmt: skip
TEXTS = st.lists(st.one_of(MARKS, st.text(ANY_CHARACTER, max_size=12)), max_size=30).map("".join)


def words(text):
    return len(re.findall(r"\w+|[^\w\s]", text))


def model_tokens(text):
    """As a model counts: pieces of at most four characters, and two tokens around the whole."""
    return 2 + sum(-(-len(word) // 4) for word in re.findall(r"\s+|\S+", text))


def axis(texts):
    """A vector that hangs on a text's first character."""
    return [[1.0, 0.0] if ord(text[0]) % 2 else [0.0, 1.0] for text in texts]


def document(text, markup="markdown"):
    headings = [
        Heading(len(found[1]), found[2], Span(found.start(2), found.end(2)))
        for found in re.finditer(r"^(#{1,6}) (.*)$", text, re.MULTILINE)
        if markup == "markdown"
    ]
    return CleanDocument(text, DocumentKind.DOCUMENT, markup, headings)


def cut(text, strategy=ChunkStrategy.AUTO, *, size=40, overlap=0, markup="markdown", path="a.md", count=words):
    return chunk(document(text, markup), path, strategy, size=size, overlap=overlap, count_tokens=count, vectors=axis)


@settings(max_examples=60, deadline=None)
@given(
    text=TEXTS,
    strategy=st.sampled_from(list(ChunkStrategy)),
    markup=st.sampled_from(["markdown", "plain", "code"]),
    path=st.sampled_from(["a.py", "a.ts", "a.java", "a.go", "a.txt"]),
    size=st.integers(1, 60),
    overlap=st.integers(0, 20),
    count=st.sampled_from([len, words, model_tokens]),
)
def test_chunks_of_any_text_are_spans_that_cover_it_in_order_and_within_size(
    text, strategy, markup, path, size, overlap, count
):
    overlap = min(overlap, size - 1)
    chunks = cut(text, strategy, size=size, overlap=overlap, markup=markup, path=path, count=count)
    covered = set()
    for before, after in pairwise(chunks):
        assert before.span.start < after.span.start
        assert before.span.end < after.span.end
    for number, found in enumerate(chunks):
        assert found.ordinal == number
        assert found.span.of(text) == found.text
        assert found.text.strip()
        assert found.tokens == count(found.text)
        room = max(size - count(""), 1)
        assert count(found.text) - count("") <= room or len(characters(found.text.strip())) == 1
        covered.update(range(found.span.start, found.span.end))
    assert all(character.isspace() for at, character in enumerate(text) if at not in covered)


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, strategy=st.sampled_from(list(ChunkStrategy)), size=st.integers(12, 60))
def test_no_chunk_begins_or_ends_within_what_a_reader_takes_for_one_character(text, strategy, size):
    longest = max((len(one) for one in characters(text)), default=0)
    for found in cut(text, strategy, size=size, count=len):
        if longest <= size:
            assert is_boundary(text, found.span.start)
            assert is_boundary(text, found.span.end)


def characters(text):
    places = [at for at in range(len(text) + 1) if is_boundary(text, at)]
    return [text[start:end] for start, end in pairwise(places)]


@settings(max_examples=25, deadline=None)
@given(text=TEXTS, strategy=st.sampled_from(list(ChunkStrategy)), size=st.integers(4, 40))
def test_the_same_text_gives_the_same_hashes(text, strategy, size):
    chunks = cut(text, strategy, size=size)
    again = cut(text, strategy, size=size)
    assert [one.hash for one in chunks] == [one.hash for one in again]
    for one in chunks:
        data = embedded_text(one.heading, one.text).encode("utf-8", "surrogatepass")
        assert one.hash == hashlib.sha256(data).hexdigest()


def test_a_procedure_is_cut_at_its_headings_and_keeps_its_tables_whole():
    text = (DOCUMENTS / "quy-trinh-mua-hang.md").read_text("utf-8")
    chunks = cut(text, size=120, overlap=20)
    (limits,) = [one for one in chunks if "| Hội đồng quản trị |" in one.text]
    assert limits.heading == "Quy trình mua hàng > 4. Hạn mức phê duyệt"
    assert limits.text.startswith("## 4. Hạn mức phê duyệt\n\n| Giá trị đơn hàng | Người phê duyệt |")


def test_an_edit_leaves_the_hashes_of_the_other_sections():
    text = (DOCUMENTS / "quy-trinh-mua-hang.md").read_text("utf-8")
    before = {one.hash for one in cut(text, size=120, overlap=20)}
    after = {one.hash for one in cut(text.replace("30% giá trị", "20% giá trị"), size=120, overlap=20)}
    assert len(before - after) == len(after - before) == 1


def test_a_fence_that_fits_is_whole_whatever_stands_in_it():
    fence = "```python\n# not a heading\n\nprint('a. B')\n```"
    text = f"# Setup\n\n{'Read this first. ' * 8}\n\n{fence}\n\n{'And this after. ' * 8}"
    chunks = chunk(
        CleanDocument(text, DocumentKind.DOCUMENT, "markdown", [Heading(1, "Setup", Span(2, 7))]),
        "a.md", ChunkStrategy.MARKDOWN, size=40, overlap=0, count_tokens=words,
    )  # fmt: skip
    assert any(fence in one.text for one in chunks)


def test_a_table_that_is_too_large_is_cut_between_its_rows():
    rows = "".join(f"| part {number} | {number * 10} |\n" for number in range(40))
    chunks = cut(f"| name | price |\n| --- | --- |\n{rows}", ChunkStrategy.MARKDOWN, size=50)
    assert len(chunks) > 3
    assert all(line.startswith("|") and line.endswith("|") for one in chunks for line in one.text.splitlines())


def test_a_heading_is_never_left_without_what_it_is_about():
    text = f"# Guide\n\n## First\n\n{'One two three. ' * 12}\n\n## Second\n\n{'Four five six. ' * 12}"
    assert all(one.text.strip("# ") not in ("Guide", "First", "Second") for one in cut(text, size=30))


def test_overlap_repeats_whole_sentences():
    text = " ".join(f"Sentence number {number} is here." for number in range(30))
    chunks = cut(text, ChunkStrategy.SENTENCES, size=30, overlap=12)
    for before, after in pairwise(chunks):
        shared = text[after.span.start : before.span.end]
        assert shared.startswith("Sentence number ")
        assert words(shared) <= 12


def test_tokens_fill_each_window_and_repeat_what_was_asked():
    text = " ".join(f"word{number}" for number in range(200))
    chunks = cut(text, ChunkStrategy.TOKENS, size=50, overlap=10)
    assert all(one.tokens >= 40 for one in chunks[:-1])
    assert all(words(text[after.span.start : before.span.end]) == 10 for before, after in pairwise(chunks))


def test_meaning_ends_a_chunk_where_the_subject_changes():
    first = [f"Apples ripen in week {number}." for number in range(8)]
    second = [f"Budgets close in week {number}." for number in range(8)]
    text = " ".join(first + second)
    chunks = cut(text, ChunkStrategy.SEMANTIC, size=90)
    assert [one.text for one in chunks] == [" ".join(first), " ".join(second)]


def test_meaning_without_vectors_says_what_is_missing():
    with pytest.raises(InvalidInput, match="embedding model"):
        chunk(document("a"), "a.md", ChunkStrategy.SEMANTIC, size=9, overlap=0, count_tokens=words)


def test_an_overlap_as_large_as_the_chunk_is_refused():
    with pytest.raises(InvalidInput, match="smaller overlap"):
        cut("a", size=5, overlap=5)


PYTHON = """\
import os

LIMIT = 5


class Order:
    '''An order that waits.'''

    def total(self):
        return 1

    # says who
    def approver(self):
        return 'head'
"""
TYPESCRIPT = """\
import x from 'y'

export class Order {
  total(): number {
    return 1
  }

  approver(): string {
    return 'head'
  }
}

export const sum = (a: number) => {
  return a
}
"""
JAVA = """\
package shop;

public class Order {
  @Override
  public int total() {
    return 1;
  }

  public String approver() {
    return "head";
  }
}
"""
GO = """\
package shop

// Order waits.
type Order struct {
\tTotal int
}

func (o *Order) Approver() string {
\tif o.Total > 5 {
\t\treturn "head"
\t}
\treturn ""
}
"""


@pytest.mark.parametrize(
    ("path", "source", "names"),
    [
        ("a.py", PYTHON, {"": "import os", "Order.total": "def total", "Order.approver": "# says who"}),
        ("a.ts", TYPESCRIPT, {"Order.total": "total()", "Order.approver": "approver()", "sum": "export const sum"}),
        ("O.java", JAVA, {"Order.total": "@Override", "Order.approver": "public String approver()"}),
        ("order.go", GO, {"Order": "// Order waits.", "Order.Approver": "func (o *Order) Approver()"}),
    ],
)
def test_code_is_cut_at_its_definitions_and_named_by_them(path, source, names):
    chunks = cut(source, size=22, markup="code", path=path)
    for name, start in names.items():
        assert any(start in one.text for one in chunks if one.heading == name)


def test_a_long_function_is_cut_where_a_statement_begins():
    steps = "".join(f"    if part_{n} > {n}:\n        send(\n            part_{n},\n        )\n" for n in range(12))
    chunks = cut(f"def run(parts):\n{steps}", size=60, markup="code", path="a.py")
    assert len(chunks) > 2
    assert {one.heading for one in chunks} == {"run"}
    assert all(one.text.startswith("    if part_") for one in chunks[1:])


def test_no_chunk_of_code_is_a_bracket_alone():
    methods = "".join(f"  step{n}(): number {{\n    return {n} + {n} + {n}\n  }}\n" for n in range(9))
    chunks = cut(f"class A {{\n{methods}}}\n", size=20, markup="code", path="a.ts")
    assert all(re.search(r"\w", one.text) for one in chunks)


def test_a_chunk_knows_its_page():
    text = "First page. It has text.\n\nSecond page. It has more."
    pages = [Page(1, Span(0, 24)), Page(2, Span(26, len(text)))]
    clean = CleanDocument(text, DocumentKind.DOCUMENT, pages=pages)
    chunks = chunk(clean, "a.pdf", ChunkStrategy.SENTENCES, size=7, overlap=0, count_tokens=words)
    assert [one.page for one in chunks] == [1, 2]


def test_a_long_text_of_one_word_is_cut_quickly():
    counted = []

    def count(text):
        counted.append(len(text))
        return len(text)

    text = "a" * 200_000
    chunks = cut(text, size=500, count=count, markup="plain", path="a.txt")
    assert sum(len(one.text) for one in chunks) == len(text)
    assert sum(counted) < 40 * len(text)


def test_definitions_nested_without_end_are_cut():
    source = "".join("    " * depth + f"class A{depth}:\n" for depth in range(150))
    chunks = cut(source, size=30, count=len, markup="code", path="a.py")
    assert chunks[-1].span.end == len(source.rstrip())
