"""What strings of JavaScript are put together from, and what they begin with."""

import re
from collections.abc import Iterator, Sequence

from tree_sitter import Node

from tidemill.analysis.javascript_nodes import FUNCTIONS, code_of, parameters_of, pattern_of
from tidemill.analysis.javascript_scopes import Scope
from tidemill.analysis.syntax import text_of

_OPEN = re.compile(r"/?|//[^/?#]*|[A-Za-z][\w+.-]*:(?://?[^/?#]*)?")
"""The beginning of an address after which the host can still be chosen."""
_JOINED = frozenset({"join", "concat", "replace", "replaceAll", "toString", "trim", "repeat", "String"})
"""Functions and methods whose result is a text."""
SAME_BEGINNING = frozenset(
    {
        *("trim", "trimEnd", "toString", "toLowerCase", "toUpperCase", "normalize", "replace", "replaceAll", "concat"),
        *("join", "padEnd", "valueOf", "pathname", "href"),
    }
)
"""Methods and fields that begin as their object does."""
_WRAPPERS = frozenset({"parenthesized_expression", "await_expression", "template_substitution", "as_expression"})
_LEAVING = frozenset({"return_statement", "throw_statement", "continue_statement", "break_statement"})
_WHOLE = re.compile(r"/\^.*\$/[a-z]*", re.DOTALL)
"""A pattern that a text matches whole."""
_RESOLVED = frozenset({"resolve", "join", "normalize", "realpath", "realpathSync"})
"""Functions whose result is a path without `..` in it, where it is not above all."""
_BARE = re.compile(r"/(?:<|\[(?!\^)[^\]]*<[^\]]*\])/\w*g\w*|[\"'`]<[\"'`]")
"""What is replaced where no `<` is left."""
_WORDS = re.compile(r"/\[\^(?:[\w-]|\\[wd.-])+\][+*]?/\w*g\w*")
"""What is replaced where words alone are left."""
_MOST_CONDITIONS = 40
_MOST_TEXT = 5_000
_MOST_PATTERN = 100
_MOST_CHECK = 400
"""Bytes of a function that only checks."""
_MOST = 400
"""Expressions of one function's results that are looked at."""


def parts_of(node: Node) -> list[Node] | None:
    """What a template or a sum is put together from, in order; `None` where it is neither."""
    if node.type == "template_string":
        return node.named_children
    if not _is_sum(node):
        return None
    found: list[Node] = []
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if _is_sum(one):
            right, left = one.child_by_field_name("right"), one.child_by_field_name("left")
            waiting += [child for child in (right, left) if child is not None]
        else:
            found.append(one)
    return found


def _is_sum(node: Node) -> bool:
    operator = node.child_by_field_name("operator") if node.type == "binary_expression" else None
    return operator is not None and operator.type == "+"


def literal_of(node: Node) -> str:
    """The text that a template or a sum has of its own; empty where it is neither."""
    own = [one for one in parts_of(node) or () if one.type in ("string", "string_fragment", "template_string")]
    return " ".join(text_of(one) for one in own)[:_MOST_TEXT]


def begins(parts: Sequence[Node]) -> list[int]:
    """Which of these parts can choose the host, where the text that they make is an address."""
    prefix = ""
    found: list[int] = []
    for index, part in enumerate(parts):
        if part.type in ("string", "string_fragment", "escape_sequence", "number"):
            text = text_of(part)
            prefix += text[1:-1] if part.type == "string" else text
        elif not _OPEN.fullmatch(prefix[:300]):
            break
        else:
            found.append(index)
            if not prefix:
                break
        if not _OPEN.fullmatch(prefix[:300]):
            break
    return found


def results_of(function: Node) -> Iterator[Node]:
    """The expressions that a function gives, without those of functions within it."""
    body = function.child_by_field_name("body")
    if body is not None and body.type != "statement_block":
        yield body
        return
    waiting = [body] if body is not None else []
    left = _MOST * 10
    while waiting and left > 0:
        left -= 1
        node = waiting.pop()
        if node.type == "return_statement":
            yield from node.named_children[:1]
        elif node.type not in FUNCTIONS:
            waiting += node.named_children


def beginnings_of(function: Node, scope: Scope) -> frozenset[int] | None:
    """Which parameters of a function choose what its result begins with; `None` where that is not known."""
    places = {text_of(pattern_of(one)): index for index, one in enumerate(parameters_of(function))}
    found: set[int] = set()
    waiting = list(results_of(function))
    if not waiting:
        return None
    while waiting:
        node = waiting.pop()
        parts = parts_of(node)
        if node.type == "ternary_expression":
            waiting += node.named_children[1:]
        elif node.type in _WRAPPERS and node.named_children:
            waiting.append(node.named_children[0])
        elif parts is not None:
            waiting += [parts[one] for one in begins(parts)]
        elif node.type == "call_expression" and code_of(node).rpartition(".")[2].removesuffix("()") in SAME_BEGINNING:
            called = node.child_by_field_name("function")
            target = called.child_by_field_name("object") if called is not None else None
            waiting += [target] if target is not None else [node.named_children[0]]
        elif node.type != "string":
            first = code_of(node).partition(".")[0]
            if first in places and node.type == "identifier":
                found.add(places[first])
            elif first != "this" and (not first.isidentifier() or first in scope.names):
                return None
    return frozenset(found)


def returns_object(function: Node) -> bool:
    """Whether some of what a function gives is an object that is written out."""
    for one in results_of(function):
        inner = one.named_children[0] if one.type == "parenthesized_expression" and one.named_children else one
        if inner.type == "object":
            return True
    return False


def returns_text(function: Node, scope: Scope) -> bool:
    """Whether some of what a function gives is a text that is put together in it."""
    return any(is_text(one, scope) for one in results_of(function))


def is_text(node: Node, scope: Scope, left: int = 4) -> bool:
    """Whether an expression is a text that is put together: a template, a sum, a list that is joined."""
    if node.type in ("await_expression", "parenthesized_expression", "as_expression") and node.named_children:
        return is_text(node.named_children[0], scope, left)
    if node.type == "identifier" and left:
        declared = scope.names.get(text_of(node))
        value = declared.node if declared is not None and not declared.keys else None
        if declared is not None and declared.kind is not None:
            return "string" in text_of(declared.kind)[:40]
        return value is not None and is_text(value, scope, left - 1)
    if node.type == "call_expression":
        return code_of(node.child_by_field_name("function")).rpartition(".")[2] in _JOINED
    parts = parts_of(node)
    if parts is None:
        return False
    return node.type == "template_string" or any(part.type in ("string", "template_string") for part in parts)


def leaves(node: Node) -> bool:
    """Whether what an `if` does ends there: it returns, throws or goes on with the next."""
    if node.child_by_field_name("alternative") is not None:
        return False
    then = node.child_by_field_name("consequence")
    if then is not None and then.type == "statement_block":
        then = then.named_children[-1] if then.named_children else None
    return then is not None and then.type in _LEAVING


def checked_in(condition: Node | None, scope: Scope, *, held: bool = False, left: int = 2) -> set[str]:
    """The names and fields that a condition holds against a list, a folder or a whole pattern.

    With `held` only those that pass where the condition holds. Functions of the file that only check are looked into,
    `left` of them one within the other.
    """
    found: set[str] = set()
    waiting = [condition] if condition is not None else []
    while waiting and len(waiting) < _MOST_CONDITIONS:
        node = waiting.pop()
        if node.type == "call_expression":
            found |= _checked(node, scope, held=held, left=left)
        elif node.type == "identifier":
            declared = scope.names.get(text_of(node))
            value = declared.node if declared is not None and not declared.keys else None
            waiting += [value] if value is not None and value.type in ("binary_expression", "call_expression") else []
        elif node.type == "unary_expression":
            waiting += [] if held else node.named_children
        elif node.type == "binary_expression":
            either = held and text_of(node.child_by_field_name("operator")) != "&&"
            waiting += [] if either else node.named_children
        elif node.type in ("parenthesized_expression", "await_expression"):
            waiting += node.named_children
    return found


def in_folder(condition: Node | None, scope: Scope, *, held: bool = False) -> set[str]:
    """The names of paths that a condition holds against the beginning of a folder's; see `checked_in`."""
    node = condition
    while node is not None and node.type in ("parenthesized_expression", *(() if held else ("unary_expression",))):
        node = node.named_children[0] if node.named_children else None
    called = node.child_by_field_name("function") if node is not None else None
    given = node.child_by_field_name("arguments") if node is not None else None
    target = called.child_by_field_name("object") if called is not None else None
    if target is None or given is None or target.type != "identifier" or not given.named_children:
        return set()
    first, declared = given.named_children[0], scope.names.get(text_of(target))
    made = declared.node if declared is not None and not declared.keys else None
    if made is not None and made.type == "await_expression" and made.named_children:
        made = made.named_children[0]
    name = code_of(made.child_by_field_name("function")).rpartition(".")[2] if made is not None else ""
    starts = code_of(called).endswith(".startsWith") and first.type in (
        "string",
        "template_string",
        "binary_expression",
    )
    return {text_of(target)} if starts and name in _RESOLVED else set()


def left_by(method: str, given: Node | None) -> str:
    """What a replacement leaves of any text: `words`, `no page` where no `<` is left, or nothing that is known."""
    if method not in ("replace", "replaceAll") or given is None or len(given.named_children) != 2:
        return ""
    first, second = given.named_children
    if first.end_byte - first.start_byte > _MOST_PATTERN or (first.type == "string" and method == "replace"):
        return ""
    if _WORDS.fullmatch(text_of(first)) and second.type == "string":
        return "words"
    return "no page" if _BARE.fullmatch(text_of(first)) else ""


def _checked_by(name: str, given: Sequence[Node], scope: Scope, left: int) -> set[str]:
    """Those of the arguments of a function that it holds against something, where it gives but the result of that."""
    declared = scope.find(name)
    function = declared[0].node if declared is not None and not declared[0].keys else None
    short = function is not None and function.end_byte - function.start_byte < _MOST_CHECK
    results = list(results_of(function)) if function is not None and short and function.type in FUNCTIONS else []
    if declared is None or function is None or len(results) != 1:
        return set()
    passed = checked_in(results[0], declared[1], held=True, left=left)
    places = {text_of(pattern_of(one)): index for index, one in enumerate(parameters_of(function))}
    return {code_of(given[places[one]]) for one in passed if places.get(one, len(given)) < len(given)} - {""}


def _checked(call: Node, scope: Scope, *, held: bool, left: int) -> set[str]:
    called, given = call.child_by_field_name("function"), call.child_by_field_name("arguments")
    if called is not None and called.type == "identifier" and given is not None and left > 0:
        return _checked_by(text_of(called), given.named_children, scope, left - 1)
    if called is None or called.type != "member_expression" or given is None or not given.named_children:
        return set()
    method, target = text_of(called.child_by_field_name("property")), called.child_by_field_name("object")
    first = given.named_children[0]
    literal = first.type in ("string", "template_string")
    if method in ("includes", "has", "indexOf") and not literal:
        return {code_of(first)} - {""}
    above = literal and not held and ".." in text_of(first)[:20]
    if (method in ("includes", "indexOf") and above) or (method == "startsWith" and (above or not literal)):
        return {code_of(target)} - {""}
    if target is not None and target.type == "identifier" and method == "test":
        declared = scope.find(text_of(target))
        target = declared[0].node if declared is not None else None
    if method == "test" and target is not None and target.type == "regex" and _WHOLE.fullmatch(text_of(target)[:500]):
        return {code_of(first)} - {""}
    return set()
