"""The definitions in a source file, by tree-sitter: Python, JavaScript, TypeScript, TSX, Java, Go.

Parsing never fails: of a file with errors, the definitions around them are still found.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import PurePosixPath

import tree_sitter_go
import tree_sitter_java
import tree_sitter_javascript
import tree_sitter_python
import tree_sitter_typescript
from tree_sitter import Language as Grammar
from tree_sitter import Node, Parser

LARGEST_SOURCE = 2_000_000
"""Characters; a larger file is not parsed and has no definitions."""
STEPS_AT_LEAST, BYTES_A_STEP = 5_000, 20
"""The steps of a hundred operations that parsing may take; a common source file takes one for some 120 bytes."""
_READ_AT_ONCE = 65_536
_ELLIPSIS = "…"


class Language(StrEnum):
    """A language whose definitions can be found."""

    PYTHON = "python"
    JAVASCRIPT = "javascript"
    TYPESCRIPT = "typescript"
    TSX = "tsx"
    JAVA = "java"
    GO = "go"


@dataclass(frozen=True, slots=True)
class Definition:
    """A function, method or class.

    Attributes:
        kind: `function`, `method`, `class`, `interface`, `enum`, `type` or `variable` (which holds a function).
        name: qualified by the definitions around it: `Outer.method.inner`.
        start: its first line, from 1, with its decorators or `export`.
        end: its last line.
        text: its lines, all of them in `definitions`; in `enclosing_definition` as many as were asked for.
    """

    kind: str
    name: str
    start: int
    end: int
    text: str


SUFFIXES: Mapping[str, Language] = {
    ".py": Language.PYTHON,
    ".pyi": Language.PYTHON,
    ".js": Language.JAVASCRIPT,
    ".jsx": Language.JAVASCRIPT,
    ".mjs": Language.JAVASCRIPT,
    ".cjs": Language.JAVASCRIPT,
    ".ts": Language.TYPESCRIPT,
    ".mts": Language.TYPESCRIPT,
    ".cts": Language.TYPESCRIPT,
    ".tsx": Language.TSX,
    ".java": Language.JAVA,
    ".go": Language.GO,
}
_KINDS = {
    "function_definition": "function",
    "class_definition": "class",
    "function_declaration": "function",
    "generator_function_declaration": "function",
    "method_definition": "method",
    "abstract_method_signature": "method",
    "class_declaration": "class",
    "abstract_class_declaration": "class",
    "interface_declaration": "interface",
    "enum_declaration": "enum",
    "type_alias_declaration": "type",
    "method_declaration": "method",
    "constructor_declaration": "method",
    "compact_constructor_declaration": "method",
    "record_declaration": "class",
    "annotation_type_declaration": "interface",
    "type_spec": "type",
    "type_alias": "type",
}
_FUNCTION_VALUES = frozenset({"arrow_function", "function_expression", "generator_function", "class"})
_HOLDERS = frozenset({"variable_declarator", "field_definition", "public_field_definition", "pair"})
_WRAPPERS = frozenset(
    {"decorated_definition", "export_statement", "lexical_declaration", "variable_declaration", "type_declaration"}
)
_BLOCKS = frozenset(
    {
        *("module", "program", "source_file", "block", "statement_block", "statement_list", "switch_body"),
        *("class_body", "interface_body", "enum_body", "enum_body_declarations", "constructor_body"),
        *("field_declaration_list", "declaration_list", "switch_block", "object", "array", "dictionary", "list"),
    }
)
"""What holds statements, declarations or entries, one after the other."""


def language_of(path: str) -> Language | None:
    """The language of a file, from its suffix; `None` where it is not one of ours."""
    return SUFFIXES.get(PurePosixPath(path).suffix.lower())


def definitions(source: str, path: str) -> list[Definition]:
    """Every definition in the file, an outer one before those in it; none of a language that is not ours."""
    lines = source.split("\n")
    return [
        Definition(kind, name, start, end, "\n".join(lines[start - 1 : end]))
        for kind, name, start, end in _spans(source, path)
    ]


def enclosing_definition(source: str, path: str, line: int, *, max_lines: int = 80) -> Definition | None:
    """The innermost definition around a line (from 1).

    Where it has more than `max_lines` lines, its text is its first lines (with the signature), `…`, and those around
    the line. `None` at the top of a file, or where the file is too large or not in a language of ours.
    """
    around = [span for span in _spans(source, path) if span[2] <= line <= span[3]]
    if not around:
        return None
    kind, name, start, end = min(around, key=lambda span: (span[3] - span[2], -span[2]))
    lines = source.split("\n")[start - 1 : end]
    return Definition(kind, name, start, end, "\n".join(_window(lines, line - start, max_lines)))


def error_count(source: str, path: str) -> int | None:
    """How many places of a file do not parse; `None` where it is too large or not in a language of ours."""
    language = language_of(path)
    root = None if language is None or len(source) > LARGEST_SOURCE else parsed(source, language)
    if root is None:
        return None
    count, stack = 0, [root]
    while stack:
        node = stack.pop()
        count += node.is_error or node.is_missing
        if node.has_error:
            stack.extend(node.children)
    return count


def statement_depths(source: str, path: str) -> Mapping[int, int]:
    """For each line (from 1) on which a statement, a declaration or an entry begins, how many others are around the
    outermost of them; empty where the file is too large or not in a language of ours."""
    language = language_of(path)
    if language is None or len(source) > LARGEST_SOURCE:
        return {}
    depths: dict[int, int] = {}
    root = parsed(source, language)
    stack = [(root, 0)] if root is not None else []
    while stack:
        node, depth = stack.pop()
        holds = node.type in _BLOCKS
        for child in node.named_children:
            if holds:
                line = _first_line(child)
                depths[line] = min(depth, depths.get(line, depth))
            stack.append((child, depth + holds))
    return depths


def _window(lines: list[str], at: int, most: int) -> list[str]:
    """At most `most` lines: the head, and those around index `at`."""
    if len(lines) <= most:
        return lines
    head = min(max(most // 4, 1), 12)
    room = max(most - head - 2, 1)
    first = max(head, min(at - room // 2, len(lines) - room))
    last = min(first + room, len(lines))
    gap = [_ELLIPSIS] if first > head else []
    return [*lines[:head], *gap, *lines[first:last], *([_ELLIPSIS] if last < len(lines) else [])]


def _spans(source: str, path: str) -> list[tuple[str, str, int, int]]:
    """Kind, qualified name, first and last line of each definition."""
    language = language_of(path)
    if language is None or len(source) > LARGEST_SOURCE:
        return []
    return list(_cached_spans(source, language))


@lru_cache(maxsize=16)
def _cached_spans(source: str, language: Language) -> tuple[tuple[str, str, int, int], ...]:
    """A file is asked about once for each of its hunks, and parsed once."""
    root = parsed(source, language)
    return tuple(_walk(root)) if root is not None else ()


def parsed(source: str, language: Language) -> Node | None:
    """The root of a file's syntax tree.

    `None` where the file is too large, and where parsing takes far more steps than any program's text does, as it can
    for one made to.
    """
    if len(source) > LARGEST_SOURCE:
        return None
    data = source.encode("utf-8", "replace")
    left = STEPS_AT_LEAST + len(data) // BYTES_A_STEP

    def tired(_offset: int, _has_error: bool) -> bool:
        nonlocal left
        left -= 1
        return left < 0

    parser = Parser(grammar_of(language))
    try:
        tree = parser.parse(lambda at, _: data[at : at + _READ_AT_ONCE], progress_callback=tired)
    except ValueError:
        return None
    # Over the bytes, which takes the whole tree over: a node would else call the function above for its text, and
    # where Python's stack is at its end then, tree-sitter ends the process.
    return parser.parse(data, tree).root_node


@lru_cache(maxsize=len(Language))
def grammar_of(language: Language) -> Grammar:
    """The grammar of a language, loaded once."""
    sources = {
        Language.PYTHON: tree_sitter_python.language,
        Language.JAVASCRIPT: tree_sitter_javascript.language,
        Language.TYPESCRIPT: tree_sitter_typescript.language_typescript,
        Language.TSX: tree_sitter_typescript.language_tsx,
        Language.JAVA: tree_sitter_java.language,
        Language.GO: tree_sitter_go.language,
    }
    return Grammar(sources[language]())


def _walk(root: Node) -> Iterator[tuple[str, str, int, int]]:
    """Without recursion: a hostile file nests deeper than Python's stack."""
    stack: list[tuple[Node, tuple[str, ...], bool, Node]] = [(root, (), False, root)]
    while stack:
        node, names, in_class, outer = stack.pop()
        kind, name = _definition(node)
        if kind and name:
            name = _received_by(node) + name
            names = (*names, name)
            kind = "method" if kind == "function" and in_class else kind
            yield kind, ".".join(names), _first_line(outer), _last_line(node)
            in_class = kind in ("class", "interface")
        wraps = node.type in _WRAPPERS and (node.type != "type_declaration" or node.named_child_count == 1)
        whole = outer if wraps and outer is not node else node
        for child in reversed(node.named_children):
            stack.append((child, names, in_class, whole if wraps else child))


def _definition(node: Node) -> tuple[str, str]:
    """The kind and the name of a node that defines something; empty otherwise."""
    if kind := _KINDS.get(node.type):
        return kind, text_of(node.child_by_field_name("name"))
    if node.type in _HOLDERS:
        value = node.child_by_field_name("value")
        if value is not None and value.type in _FUNCTION_VALUES:
            name = node.child_by_field_name("name") or node.child_by_field_name("property")
            return "variable", text_of(name or node.child_by_field_name("key"))
    return "", ""


def _received_by(node: Node) -> str:
    """The type of a Go method's receiver, with a dot."""
    receiver = node.child_by_field_name("receiver")
    waiting = [receiver] if receiver is not None else []
    while waiting:
        found = waiting.pop()
        if found.type == "type_identifier":
            return text_of(found) + "."
        waiting.extend(reversed(found.named_children))
    return ""


def text_of(node: Node | None) -> str:
    """The code of a node; empty for none."""
    return (node.text or b"").decode("utf-8", "replace") if node is not None else ""


def _first_line(node: Node) -> int:
    """With the decorators before it, which in a TypeScript class stand beside the method."""
    while (before := node.prev_named_sibling) is not None and before.type == "decorator":
        node = before
    return node.start_point.row + 1


def _last_line(node: Node) -> int:
    return node.end_point.row + (1 if node.end_point.column > 0 else 0)
