"""What strings of JavaScript are put together from, and what they begin with."""

import re
from collections.abc import Iterator, Sequence

from tree_sitter import Node

from tidemill.analysis.javascript_modules import Scope
from tidemill.analysis.javascript_nodes import FUNCTIONS, code_of, text_of

_OPEN = re.compile(r"/?|//[^/?#]*|[A-Za-z][\w+.-]*:(?://?[^/?#]*)?")
"""The beginning of an address after which the host can still be chosen."""
_JOINED = frozenset({"join", "concat", "replace", "replaceAll", "toString", "trim", "repeat", "String"})
"""Functions and methods whose result is a text."""
_LEAVING = frozenset({"return_statement", "throw_statement", "continue_statement", "break_statement"})
_WHOLE = re.compile(r"/\^.*\$/[a-z]*", re.DOTALL)
"""A pattern that a text matches whole."""
_MOST_CONDITIONS = 40
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


def returns_fixed_beginning(function: Node, scope: Scope) -> bool:
    """Whether all that a function gives are texts whose beginning none of its parameters chooses."""
    found = [_has_fixed_beginning(one, scope) for one in results_of(function)]
    return bool(found) and all(found)


def _has_fixed_beginning(node: Node, scope: Scope) -> bool:
    parts = parts_of(node)
    if node.type == "string":
        return True
    if parts is None:
        return False
    for index in begins(parts):
        part = parts[index]
        if part.type == "template_substitution" and part.named_children:
            part = part.named_children[0]
        first = code_of(part).partition(".")[0]
        if first != "this" and (not first.isidentifier() or first in scope.names):
            return False
    return True


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


def checked_in(condition: Node | None) -> set[str]:
    """The names and fields that a condition holds against a list, a folder or a whole pattern."""
    found: set[str] = set()
    waiting = [condition] if condition is not None else []
    while waiting and len(waiting) < _MOST_CONDITIONS:
        node = waiting.pop()
        if node.type == "call_expression":
            found |= _checked(node)
        elif node.type in ("binary_expression", "unary_expression", "parenthesized_expression", "await_expression"):
            waiting += node.named_children
    return found


def _checked(call: Node) -> set[str]:
    called, given = call.child_by_field_name("function"), call.child_by_field_name("arguments")
    if called is None or called.type != "member_expression" or given is None or not given.named_children:
        return set()
    method, target = text_of(called.child_by_field_name("property")), called.child_by_field_name("object")
    first = given.named_children[0]
    literal = first.type in ("string", "template_string")
    if method in ("includes", "has", "indexOf") and not literal:
        return {code_of(first)} - {""}
    above = literal and ".." in text_of(first)[:20]
    if (method in ("includes", "indexOf") and above) or (method == "startsWith" and (above or not literal)):
        return {code_of(target)} - {""}
    if method == "test" and target is not None and target.type == "regex" and _WHOLE.fullmatch(text_of(target)[:500]):
        return {code_of(first)} - {""}
    return set()
