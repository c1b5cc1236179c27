"""What is read beside a hunk, and what it costs."""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import pytest

from tidemill.analysis.calls import Call, calls
from tidemill.analysis.diff import parse_diff
from tidemill.analysis.token_count import about_tokens
from tidemill.core.change import ChangeSet, Hunk, Line, LineKind
from tidemill.core.hunk_context import ExcerptRole, HunkContext
from tidemill.review import code_index
from tidemill.review.code_index import with_surroundings
from tidemill.review.context import TOKENS, changed_names, hunk_context, symbols_of


def added(path: str, text: str, start: int, end: int) -> Hunk:
    """A hunk that adds lines of a file."""
    lines = text.split("\n")[start - 1 : end]
    numbered = tuple(Line(LineKind.ADDED, line, None, start + at) for at, line in enumerate(lines))
    return Hunk(path, 0, start, 0, start, len(lines), "", numbered)


def beside(files: Mapping[str, str], path: str, line: int, **limits: int) -> HunkContext:
    change = ChangeSet("t", None, None, "", files={path: files[path]}, around=files)
    return hunk_context(symbols_of(change), added(path, files[path], line, line), **limits)


def shown(context: HunkContext) -> list[tuple[str, str, str]]:
    return sorted((one.role.value, one.path, one.name) for one in context.excerpts)


PYTHON = {
    "shop/orders.py": (
        "from shop.prices import total\n\n\nclass Orders:\n    def place(self, order):\n        self.check(order)\n"
        "        return total(order.lines)\n\n    def check(self, order):\n        raise ValueError\n"
    ),
    "shop/prices.py": "def total(lines):\n    return sum(lines)\n\n\ndef other():\n    pass\n",
    "shop/api.py": "from shop.orders import Orders\n\n\ndef post(body):\n    made = Orders()\n    made.place(body)\n",
    "shop/cart.py": "class Cart:\n    def total(self):\n        return 1\n",
    "tests/test_orders.py": "def total(x):\n    return 0\n",
}


def test_a_hunk_comes_with_its_definition_what_it_calls_and_who_calls_it() -> None:
    assert shown(beside(PYTHON, "shop/orders.py", 7)) == [
        ("called", "shop/prices.py", "total"),
        ("caller", "shop/api.py", "post"),
        ("enclosing", "shop/orders.py", "Orders.place"),
    ]
    assert ("called", "shop/orders.py", "Orders.check") in shown(beside(PYTHON, "shop/orders.py", 6))


@pytest.mark.parametrize(
    ("files", "path", "line", "expected"),
    [
        (
            {
                "web/cart.ts": "import { price } from './price'\nexport function sum(lines: Line[]) {\n"
                "  return lines.map(l => price(l))\n}\n",
                "web/price.ts": "export const price = (l: Line) => l.cents\nexport const map = () => 1\n",
                "web/page.tsx": "import { sum } from './cart'\n"
                "export function Page() {\n  return <p>{sum([])}</p>\n}\n",
            },
            "web/cart.ts",
            3,
            [
                ("called", "web/price.ts", "price"),
                ("caller", "web/page.tsx", "Page"),
                ("enclosing", "web/cart.ts", "sum"),
            ],
        ),
        (
            {
                "a/Cart.java": "class Cart {\n  int sum() {\n    return Prices.of(this) + tax();\n  }\n"
                "  int tax() { return 1; }\n}\n",
                "a/Prices.java": "class Prices {\n  static int of(Cart c) { return 1; }\n}\n",
                "a/Shop.java": "class Shop {\n  void buy(Cart cart) {\n    cart.sum();\n  }\n}\n",
            },
            "a/Cart.java",
            3,
            [
                ("called", "a/Cart.java", "Cart.tax"),
                ("called", "a/Prices.java", "Prices.of"),
                ("caller", "a/Shop.java", "Shop.buy"),
                ("enclosing", "a/Cart.java", "Cart.sum"),
            ],
        ),
        (
            {
                "cart/cart.go": "package cart\n\nfunc (c *Cart) Sum() int {\n\treturn price(c)\n}\n",
                "cart/price.go": "package cart\n\nfunc price(c *Cart) int {\n\treturn 1\n}\n",
                "main.go": 'package main\n\nimport "shop/cart"\n\nfunc main() {\n\tc.Sum()\n}\n',
            },
            "cart/cart.go",
            4,
            [
                ("called", "cart/price.go", "price"),
                ("caller", "main.go", "main"),
                ("enclosing", "cart/cart.go", "Cart.Sum"),
            ],
        ),
    ],
)
def test_other_languages_are_read_the_same_way(
    files: Mapping[str, str], path: str, line: int, expected: list[tuple[str, str, str]]
) -> None:
    assert shown(beside(files, path, line)) == expected


def test_no_more_tokens_are_read_than_the_budget_and_what_is_left_out_is_counted() -> None:
    whole = beside(PYTHON, "shop/orders.py", 7)
    for budget in (0, 10, 40, 80, TOKENS):
        found = beside(PYTHON, "shop/orders.py", 7, tokens=budget)
        assert found.tokens <= budget
        assert found.tokens >= sum(about_tokens(one.text) for one in found.excerpts)
        assert len(found.excerpts) + found.left_out == len(whole.excerpts) + whole.left_out


def test_a_name_that_many_files_define_is_not_guessed_at() -> None:
    many = {f"m{number}.py": "class A:\n    def handle(self):\n        pass\n" for number in range(5)}
    files = {
        **many,
        "use.py": "def run(x):\n    x.handle()\n    x.get()\n",
        "d.py": "class D:\n    def get(self): pass\n",
    }
    assert shown(beside(files, "use.py", 2)) == [("enclosing", "use.py", "run")]
    assert shown(beside(files, "use.py", 3)) == [("enclosing", "use.py", "run")]


def test_a_file_that_does_not_parse_or_is_of_another_language_has_no_context() -> None:
    assert beside({"a.rb": "def a\n  b()\nend\n"}, "a.rb", 2) == HunkContext()
    broken = beside({"a.py": "def f(:\n    g(\n"}, "a.py", 2)
    assert broken.left_out == 0


def test_calls_are_found_in_every_language() -> None:
    assert calls("self.a.b(c())\n", "a.py") == (Call("b", "self.a", 1), Call("c", "", 1))
    assert {call.name for call in calls("new A(b.c(), d``)", "a.ts")} == {"A", "c", "d"}
    assert {call.name for call in calls("class X { void f() { g(); a.b(); new C(); } }", "X.java")} == {"g", "b", "C"}
    assert {call.name for call in calls("package a\nfunc f() { g(); s.Run() }", "a.go")} == {"g", "Run"}
    assert calls("anything()", "a.txt") == ()


def test_in_a_real_package_what_is_imported_and_called_is_what_is_read() -> None:
    """Beside each call of a name that Python's parser sees imported from another file of httpx, its definition."""
    folder = Path(httpx.__file__).parent
    files = {path.name: path.read_text("utf-8") for path in folder.glob("*.py")}
    symbols = symbols_of(ChangeSet("t", None, None, "", files=files))
    found = right = wrong = 0
    for path, text in files.items():
        for call, name, module in _imported_calls(text):
            truth = f"{module}.py"
            defined = truth in files and any(one.path == truth for one in symbols.defined.get(name, ()))
            if not defined:
                continue
            context = hunk_context(symbols, added(path, text, call, call), tokens=100_000)
            read = {one.path for one in context.excerpts if one.role is ExcerptRole.CALLED and one.name == name}
            found, right, wrong = found + 1, right + (truth in read), wrong + bool(read - {truth})
    assert found > 100
    assert right / found > 0.95
    assert wrong / found < 0.02


def _imported_calls(text: str) -> list[tuple[int, str, str]]:
    """Line, name and module of each call of a bare name that is imported from a file beside this one."""
    tree = ast.parse(text)
    modules = {
        alias.name: node.module or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
        if alias.asname is None
    }
    return [
        (node.lineno, node.func.id, modules[node.func.id])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in modules
    ]


class Shelf:
    """A code index over files that are given."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files
        self.asked: list[list[str]] = []

    async def files_naming(self, names: Sequence[str], *, most: int) -> Mapping[str, str]:
        self.asked.append(sorted(names))
        return {path: text for path, text in self.files.items() if any(name in text for name in names)}


async def test_the_rest_of_the_repository_is_asked_once_for_what_the_change_does_not_have() -> None:
    path = "shop/orders.py"
    body = "".join(f"+{line}\n" for line in PYTHON[path].rstrip("\n").split("\n"))
    diff = f"diff --git a/{path} b/{path}\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1,10 @@\n{body}"
    shelf = Shelf({**PYTHON, "vendor/x.py": "def total(): pass", "notes.md": "total", "big.py": "total" * 100_000})
    change = await with_surroundings(ChangeSet("t", None, None, diff, files={path: PYTHON[path]}), shelf)
    assert shelf.asked == [["total"], ["Orders", "check", "place"]]
    assert set(change.around) == {"shop/prices.py", "shop/api.py", "shop/cart.py", "tests/test_orders.py"}
    assert changed_names(symbols_of(change), parse_diff(diff).hunks)[0] == set()


async def test_no_more_of_the_repository_is_kept_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_index, "MOST_CHARACTERS", 100)
    path = "shop/orders.py"
    head = f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n"
    diff = f"{head}@@ -7,0 +7,1 @@\n+        return total(order.lines)\n"
    change = await with_surroundings(ChangeSet("t", None, None, diff, files={path: PYTHON[path]}), Shelf(PYTHON))
    assert 0 < sum(len(text) for text in change.around.values()) <= 100
