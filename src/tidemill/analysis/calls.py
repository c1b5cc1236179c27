"""Which names a source file calls, and on which lines, by tree-sitter: the languages of `tidemill.analysis.syntax`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tree_sitter import Node, Query, QueryCursor

from tidemill.analysis.syntax import Language, grammar_of, language_of, parsed

_PYTHON = "(call function: (_) @called)"
_SCRIPT = "(call_expression function: (_) @called) (new_expression constructor: (_) @called)"
_QUERIES = {
    Language.PYTHON: _PYTHON,
    Language.JAVASCRIPT: _SCRIPT,
    Language.TYPESCRIPT: _SCRIPT,
    Language.TSX: _SCRIPT,
    Language.JAVA: "(method_invocation) @called (object_creation_expression type: (_) @called)",
    Language.GO: "(call_expression function: (_) @called)",
}
_LAST = ("attribute", "property", "field", "name")
"""Under which field a grammar keeps the last name of `a.b.c`."""
_FIRST = ("object", "operand", "value")
_LONGEST = 100
"""Characters of a name that is looked for."""
_MOST = 50_000
"""Calls of one file that are kept."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        name: the last name: `c` of `a.b.c()`.
        receiver: what stands before it, such as `self` or `a.b`; empty for a bare name.
        line: from 1.
    """

    name: str
    receiver: str
    line: int


def calls(source: str, path: str) -> Sequence[Call]:
    """Every call in the file, by line; none of a file that is too large or not in a language of ours."""
    language = language_of(path)
    return _calls(source, language) if language is not None else ()


@lru_cache(maxsize=64)
def _calls(source: str, language: Language) -> tuple[Call, ...]:
    root = parsed(source, language)
    if root is None:
        return ()
    cursor = QueryCursor(_query(language), match_limit=_MOST)
    nodes = cursor.captures(root).get("called", ())
    found = [call for node in nodes[:_MOST] if (call := _call(node)) is not None]
    return tuple(sorted(found, key=lambda call: call.line))


@lru_cache(maxsize=len(Language))
def _query(language: Language) -> Query:
    return Query(grammar_of(language), _QUERIES[language])


def _call(node: Node) -> Call | None:
    """`None` where what is called has no name, such as the result of another call."""
    if not node.named_child_count or "identifier" in node.type:
        name, receiver = _text(node), ""
    else:
        last = next((found for field in _LAST if (found := node.child_by_field_name(field)) is not None), None)
        if last is None:
            return None
        first = next((found for field in _FIRST if (found := node.child_by_field_name(field)) is not None), None)
        name, receiver = _text(last), _text(first) if first is not None else ""
    if not name.isidentifier() or len(name) > _LONGEST:
        return None
    return Call(name, receiver[:_LONGEST], node.end_point.row + 1 if receiver else node.start_point.row + 1)


def _text(node: Node) -> str:
    return (node.text or b"")[: 4 * _LONGEST].decode("utf-8", "replace")
