"""Which functions of Go get the requests that a server got: see `go_flow`. By tree-sitter."""

from collections.abc import Iterable, Iterator

from tree_sitter import Node

from tidemill.analysis.go_rules import GoRules
from tidemill.analysis.go_types import Declared
from tidemill.analysis.syntax import text_of


def served_by(every: Iterable[Declared], rules: GoRules) -> set[int]:
    """The functions whose request is one that a server got: those that answer it, and those that such a function, or
    one of these, calls with it. By the node of the declaration.

    A client's requests are of the same type, and what is in them is no client's word.
    """
    asked: dict[str, list[Declared]] = {}
    waiting: list[Node] = []
    found: set[int] = set()
    for one in every:
        if rules.request in one.types and rules.response not in one.types:
            asked.setdefault(text_of(one.node.child_by_field_name("name")), []).append(one)
        elif rules.request in one.types or _mentions(one.node, rules):
            found.add(one.node.id)
            waiting.append(one.node)
    while waiting:
        for name in _called_with_request(waiting.pop()):
            for one in asked.pop(name, ()):
                found.add(one.node.id)
                waiting.append(one.node)
    return found


def _mentions(node: Node, rules: GoRules) -> bool:
    """Whether a function may hold one that answers requests, or one of a framework."""
    return any(one.encode() in (node.text or b"") for one in (rules.response.rpartition("/")[2], "Context", "Ctx"))


def _called_with_request(function: Node) -> Iterator[str]:
    """The bare names of what a function calls with something called as requests are."""
    waiting = [function]
    while waiting:
        node = waiting.pop()
        waiting += node.named_children
        given = node.child_by_field_name("arguments") if node.type == "call_expression" else None
        if given is not None and any(_is_request(one) for one in given.named_children):
            callee = node.child_by_field_name("function")
            if callee is not None:
                yield text_of(callee.child_by_field_name("field") or callee)


def _is_request(node: Node) -> bool:
    if node.type == "call_expression":
        node = node.child_by_field_name("function") or node
    if node.type == "selector_expression":
        node = node.child_by_field_name("field") or node
    return text_of(node) in ("r", "req", "request", "Request", "WithContext", "httpReq", "rq")
