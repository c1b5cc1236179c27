"""Reads the syntax trees of JavaScript and TypeScript: names, strings, patterns and parameters."""

from collections.abc import Iterator

from tree_sitter import Node

from tidemill.analysis.syntax import text_of

FUNCTIONS = frozenset(
    {
        *("function_declaration", "generator_function_declaration", "method_definition"),
        *("arrow_function", "function_expression", "generator_function"),
    }
)
REQUESTS = frozenset({"req", "request", "ctx", "context", "_req"})
"""Names of the parameters that stand for what a client sends."""
_LONGEST_CODE = 12
"""Names, calls and items of one expression."""


def code_of(node: Node | None) -> str:
    """The names of an expression, with `()` and `[]` for arguments and items: `res.status().send`.

    Empty where it is anything else, or longer than a person would write.
    """
    parts: list[str] = []
    while node is not None and len(parts) < _LONGEST_CODE:
        kind = node.type
        if kind in ("identifier", "this", "super", "import"):
            return "".join([text_of(node), *reversed(parts)])
        if kind == "member_expression":
            parts.append("." + text_of(node.child_by_field_name("property")))
            node = node.child_by_field_name("object")
        elif kind == "subscript_expression":
            parts.append("[]")
            node = node.child_by_field_name("object")
        elif kind == "call_expression":
            parts.append("()")
            node = node.child_by_field_name("function")
        elif kind == "new_expression":
            made = node.child_by_field_name("constructor")
            name = text_of(made) if made is not None and made.type in ("identifier", "member_expression") else ""
            return "".join([f"new {name[:100]}()", *reversed(parts)]) if name else ""
        elif kind in ("parenthesized_expression", "sequence_expression"):
            node = node.named_children[-1] if node.named_children else None
        elif kind in ("await_expression", "non_null_expression", "as_expression", "satisfies_expression"):
            node = node.named_children[0] if node.named_children else None
        else:
            return ""
    return ""


def string_of(node: Node | None) -> str | None:
    """What a string without escapes says."""
    if node is None or node.type != "string":
        return None
    return text_of(node)[1:-1]


def key_of(node: Node | None) -> str:
    """The name of a field as it is declared or put into an object; empty where it is computed."""
    if node is None or node.type == "computed_property_name":
        return ""
    return string_of(node) or text_of(node)


def parameters_of(function: Node) -> list[Node]:
    """The parameters of a function, without `this`."""
    single = function.child_by_field_name("parameter")
    if single is not None:
        return [single]
    holder = function.child_by_field_name("parameters")
    found = [one for one in holder.named_children if one.type != "comment"] if holder is not None else []
    return [one for one in found if text_of(one.child_by_field_name("pattern")) != "this"]


def pattern_of(parameter: Node) -> Node:
    """A parameter without its type and default."""
    found = parameter.child_by_field_name("pattern") or parameter.child_by_field_name("left") or parameter
    return found.named_children[0] if found.type == "rest_pattern" and found.named_children else found


def names_in(pattern: Node, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """The names that a pattern gives, each with the keys that lead to it; `None` where they are not plain keys."""
    waiting: list[tuple[Node, tuple[str, ...] | None]] = [(pattern, keys)]
    while waiting:
        node, keys_to = waiting.pop()
        if node.type in ("identifier", "shorthand_property_identifier_pattern"):
            plain = node.type == "identifier" or keys_to is None
            yield text_of(node), keys_to if plain else (*(keys_to or ()), text_of(node))
        elif node.type == "pair_pattern":
            key, value = key_of(node.child_by_field_name("key")), node.child_by_field_name("value")
            if value is not None:
                waiting.append((value, (*keys_to, key) if key and keys_to is not None else None))
        elif node.type in ("object_assignment_pattern", "assignment_pattern"):
            left = node.child_by_field_name("left")
            waiting += [(left, keys_to)] if left is not None else []
        elif node.type in ("object_pattern", "array_pattern", "rest_pattern"):
            inner = keys_to if node.type == "object_pattern" else None
            waiting += [(child, inner) for child in reversed(node.named_children)]


def required(node: Node | None) -> str:
    """The module that `require("x")` or `import("x")` names."""
    called = node.child_by_field_name("function") if node is not None and node.type == "call_expression" else None
    if node is None or called is None or called.type not in ("identifier", "import"):
        return ""
    if text_of(called) not in ("require", "import"):
        return ""
    given = node.child_by_field_name("arguments")
    return string_of(given.named_children[0]) or "" if given is not None and given.named_children else ""
