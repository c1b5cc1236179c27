"""What a condition of Python says of the names in it: that they hold only what was allowed."""

import re
from collections.abc import Collection, Iterator

from tree_sitter import Node

from tidemill.analysis.syntax import text_of

_MOST_CONDITIONS = 100
_ALLOWED = re.compile(r"(?:\w+\.)*[A-Z][A-Z0-9_]*(?:\.keys\(\))?")
"""A table in capitals."""
_WORD = re.compile(r"(?:\w+\.)*is(?:alnum|digit|decimal|numeric|identifier)")
_WHOLE = re.compile(r"""r?(["'])\^?(?:\\[dwAZ]|\[(?:[\w-]|\\[wd])+\]|[*+?{},\d\w_$-])*\1""")
"""A pattern of letters, digits, `_` and `-` alone."""
_LEAVING = frozenset({"return_statement", "raise_statement", "continue_statement", "break_statement"})
_ENDS = re.compile(r"(?:\w+\.)*(?:abort|exit|_exit)")
_CONTAINERS = frozenset({"list", "tuple", "set", "dictionary"})
_CONSTANTS = frozenset({"string", "integer", "float", "none", "true", "false", "comment"})


def allowed_by(condition: Node | None, tables: Collection[str], *, holds: bool) -> set[str]:
    """The names that hold only what was allowed, where a condition holds, or where it does not.

    Held against a list, they can be one of it; against a pattern or `isalnum`, letters and digits.

    Args:
        condition: an expression.
        tables: the names of lists that the function has itself, beside those in capitals.
        holds: whether it is true.
    """
    found: set[str] = set()
    waiting = [(condition, holds)] if condition is not None else []
    for _ in range(_MOST_CONDITIONS):
        if not waiting:
            break
        node, true = waiting.pop()
        if node.type == "not_operator":
            waiting += [(child, not true) for child in node.named_children]
        elif node.type == "parenthesized_expression":
            waiting += [(child, true) for child in node.named_children]
        elif node.type == "boolean_operator":
            both = node.child_by_field_name("operator")
            if both is not None and (both.type == "and") == true:
                waiting += [(child, true) for child in node.named_children]
        elif node.type == "comparison_operator":
            found.update(_compared(node, tables, true=true))
        elif node.type == "call" and true:
            found.update(_called(node))
    return found


def leaves(node: Node) -> bool:
    """Whether what an `if` does ends there: it returns, raises, aborts or goes on with the next."""
    then = node.child_by_field_name("consequence")
    steps = [child for child in then.named_children if child.type != "comment"] if then is not None else []
    if not steps or node.child_by_field_name("alternative") is not None:
        return False
    last = steps[-1]
    call = last.named_children[0] if last.type == "expression_statement" and last.named_children else None
    callee = call.child_by_field_name("function") if call is not None and call.type == "call" else None
    return last.type in _LEAVING or (callee is not None and _ENDS.fullmatch(text_of(callee)) is not None)


def is_table(node: Node) -> bool:
    """Whether an expression is a list of constants, or a table of them."""
    if node.type not in _CONTAINERS:
        return False
    keys = (one.child_by_field_name("key") if one.type == "pair" else one for one in node.named_children)
    return all(key is not None and _is_constant(key) for key in keys)


def _is_constant(node: Node) -> bool:
    return node.type in _CONSTANTS and not any(child.type == "interpolation" for child in node.named_children)


def _compared(node: Node, tables: Collection[str], *, true: bool) -> Iterator[str]:
    if len(node.named_children) != 2 or node.named_children[0].type != "identifier":
        return
    name, other = node.named_children
    how = " ".join(child.type for child in node.children_by_field_name("operators"))
    if how in ("in", "not in"):
        code = text_of(other)
        if (how == "in") == true and (is_table(other) or code in tables or _ALLOWED.fullmatch(code)):
            yield text_of(name)
    elif how in ("==", "!=") and (how == "==") == true and _is_constant(other):
        yield text_of(name)


def _called(node: Node) -> Iterator[str]:
    callee, given = node.child_by_field_name("function"), node.child_by_field_name("arguments")
    if callee is None or given is None:
        return
    code, arguments = text_of(callee), given.named_children
    if _WORD.fullmatch(code) and not arguments:
        yield code.rpartition(".")[0]
    elif code == "re.fullmatch" and len(arguments) >= 2 and _WHOLE.fullmatch(text_of(arguments[0])):
        yield text_of(arguments[1])
