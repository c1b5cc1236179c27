"""Which lines of Python code are documentation: texts that stand as statements of their own."""

from functools import cache

import tree_sitter_python
from tree_sitter import Language, Parser

LARGEST = 500_000
"""Characters; in a larger file none is told."""


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_python.language()))


def docstring_lines(text: str) -> frozenset[int]:
    """The numbers, from 1, of the lines of a Python file's docstrings."""
    if len(text) > LARGEST or ('"""' not in text and "'''" not in text):
        return frozenset()
    lines: set[int] = set()
    waiting = [_parser().parse(text.encode("utf-8", "replace")).root_node]
    while waiting:
        node = waiting.pop()
        if node.type == "expression_statement":
            if len(node.named_children) == 1 and node.named_children[0].type == "string":
                lines.update(range(node.start_point[0] + 1, node.end_point[0] + 2))
        else:
            waiting += node.named_children
    return frozenset(lines)
