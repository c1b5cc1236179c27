"""Which definition a line stands in."""

import sys

import pytest

from tidemill.analysis.syntax import (
    Language,
    definitions,
    enclosing_definition,
    language_of,
    parsed,
    statement_depths,
)

PYTHON = """\
import os

@decorated(1)
class Outer:
    field = 1

    @property
    def method(self):
        def inner():
            return 1
        return inner

async def top(): return 2
"""
TYPESCRIPT = """\
export default class Shop<T> {
  sell = async () => { return 1 }
  @logged()
  buy(): void {
    const helper = function() { return 2 }
  }
}
export const total = (a: number) => {
  return a
}
interface Price { amount: string }
"""


def spans(source: str, path: str) -> list[tuple[str, str, int, int]]:
    return [(one.kind, one.name, one.start, one.end) for one in definitions(source, path)]


def test_python_definitions_have_their_decorators_and_qualified_names() -> None:
    assert spans(PYTHON, "a/b.py") == [
        ("class", "Outer", 3, 11),
        ("method", "Outer.method", 7, 11),
        ("function", "Outer.method.inner", 9, 10),
        ("function", "top", 13, 13),
    ]


@pytest.mark.parametrize("path", ["x.ts", "x.tsx"])
def test_typescript_definitions(path: str) -> None:
    assert spans(TYPESCRIPT, path) == [
        ("class", "Shop", 1, 7),
        ("variable", "Shop.sell", 2, 2),
        ("method", "Shop.buy", 3, 6),
        ("variable", "Shop.buy.helper", 5, 5),
        ("variable", "total", 8, 10),
        ("interface", "Price", 11, 11),
    ]


def test_javascript_definitions() -> None:
    source = "function a() {\n  return <b/>\n}\nclass C { m() {} }\nmodule.exports = { k: () => 1 }\n"
    assert [name for _, name, _, _ in spans(source, "x.jsx")] == ["a", "C", "C.m", "k"]


@pytest.mark.parametrize(
    ("line", "name"),
    [(1, None), (3, "Outer"), (5, "Outer"), (8, "Outer.method"), (10, "Outer.method.inner"), (99, None)],
)
def test_a_line_stands_in_the_innermost_definition(line: int, name: str | None) -> None:
    found = enclosing_definition(PYTHON, "x.py", line)
    assert (found.name if found else None) == name


def test_a_long_definition_is_cut_to_its_head_and_the_lines_around() -> None:
    source = "def f(\n    a,\n):\n" + "".join(f"    x{number} = {number}\n" for number in range(4, 401))
    found = enclosing_definition(source, "x.py", 200, max_lines=20)
    assert found is not None
    lines = found.text.split("\n")
    assert len(lines) <= 20
    assert (found.start, found.end, lines[0]) == (1, 400, "def f(")
    assert "    x200 = 200" in lines
    assert lines.count("…") == 2


def test_line_numbers_hold_with_carriage_returns_and_text_outside_ascii() -> None:
    source = PYTHON.replace("field = 1", "field = 'đường 🙂'").replace("\n", "\r\n")
    assert spans(source, "x.py") == spans(PYTHON, "x.py")


def test_a_file_with_errors_still_has_its_other_definitions() -> None:
    assert "ok" in [name for _, name, _, _ in spans("def broken(:\n  pass\n\ndef ok():\n    return 1\n", "x.py")]


def test_hostile_sources_are_read_or_left_alone_but_never_fail() -> None:
    assert definitions("x" * 3_000_000, "x.py") == []
    assert definitions("(" * 20_000, "x.py") == []
    assert definitions("\ud800\x00def", "x.py") == []
    assert definitions("def f(): pass", "x.rs") == []
    nested = "".join(f"{' ' * depth}def f{depth}():\n" for depth in range(300)) + " " * 300 + "pass\n"
    assert len(definitions(nested, "x.py")) > 0


def test_a_language_is_known_by_its_suffix() -> None:
    assert language_of("a/B.PY") is Language.PYTHON
    assert language_of("a.mts") is Language.TYPESCRIPT
    assert language_of("Makefile") is None


def test_java_and_go_definitions_are_found_with_what_they_belong_to():
    java = (
        "@Service\npublic class Shop {\n  Shop() {}\n  @Override\n  int total() { return 1; }\n  enum Kind { A }\n}\n"
    )
    assert [(one.kind, one.name, one.start) for one in definitions(java, "Shop.java")] == [
        ("class", "Shop", 1),
        ("method", "Shop.Shop", 3),
        ("method", "Shop.total", 4),
        ("enum", "Shop.Kind", 6),
    ]
    go = (
        "package a\n\ntype (\n\tA struct{}\n\tB interface{}\n)\n\n"
        "func (a *A[T]) Sum() int {\n\treturn 1\n}\n\nfunc F() {}\n"
    )
    assert [(one.kind, one.name, one.start) for one in definitions(go, "a.go")] == [
        ("type", "A", 4),
        ("type", "B", 5),
        ("method", "A.Sum", 8),
        ("function", "F", 12),
    ]


def test_the_depth_of_a_statement_is_how_many_are_around_it():
    source = "import os\n\ndef f(a):\n    if a:\n        return (\n            1\n        )\n    return 2\n"
    assert statement_depths(source, "a.py") == {1: 0, 3: 0, 4: 1, 5: 2, 8: 1}
    assert statement_depths(source, "a.txt") == {}


def test_a_text_made_to_be_parsed_without_end_has_no_definitions():
    assert definitions("def f():\n    return 1\n\n" + "| - " * 20_000, "a.py") == []
    assert statement_depths("| - " * 20_000, "a.py") == {}


def test_the_text_of_a_node_can_be_read_where_the_stack_is_nearly_at_its_end() -> None:
    root = parsed("import os\n", Language.PYTHON)
    assert root is not None

    def read(depth: int) -> bytes | None:
        return root.text if depth == 0 else read(depth - 1)

    ended = 0
    for depth in range(sys.getrecursionlimit()):
        try:
            assert read(depth) == b"import os\n"
        except RecursionError:
            ended += 1
    assert ended
