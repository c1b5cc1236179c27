"""Which values a condition in a Java method holds against a list, a pattern, a constant or a folder."""

import re
from collections.abc import Iterator

from tree_sitter import Node

from tidemill.analysis.java_calls import Scope, arguments_of
from tidemill.analysis.java_declarations import JavaMethod
from tidemill.analysis.java_fields import Carried
from tidemill.analysis.java_rules import JavaRules
from tidemill.analysis.syntax import text_of

Passed = frozenset[tuple[str, bool]]
"""The code of values that passed, each with whether they are harmless as a path alone."""
NONE: Passed = frozenset()
NOBODY: frozenset[str] = frozenset()
_DEEPEST = 2
"""Methods that check, called by such ones."""
_MOST_STATEMENTS = 10
"""Statements of a method that checks."""
_THROWS = frozenset({"throw_statement"})
_ITEM = r"(?:[a-z]-[a-z]|[A-Z]-[A-Z]|[0-9]-[0-9]|\w|\\\\[wd])"
_PLAIN = re.compile(
    rf'"(?:\^|\$|[\w-]|\\\\[wd]|\\\\\.(?=[a-zA-Z(])|\[-?{_ITEM}+-?\]|[+*?]|\{{\d*,?\d*\}}|\(\?:|\(|\)|\|)+"', re.ASCII
)
"""A pattern of letters, digits, `_` and `-`, and of a dot before a fixed text."""
_CONSTANT = re.compile(r"(?:\w+\.)*[A-Z][A-Z0-9_]*")
_KNOWN = re.compile(
    r"(?:get)?(?:[aA]llow|[pP]ermit|[vV]alid|[kK]nown|[sS]upport|[sS]afe|[wW]hite)\w*(?:\(\))?|[A-Z][A-Z0-9_]*"
)
_VALUE = re.compile(r"(?:this\.)?\w+(?:\.\w+(?:\(\s*(?:\"[\w.-]*\")?\s*\))?)*")
"""A variable, a field, or what a getter gives."""
_CLEAN = ("normalize", "toRealPath", "getCanonicalPath", "getCanonicalFile")
_NORMAL = re.compile(rf"\.(?:{'|'.join(_CLEAN)})\([^()]*\)(?:\.\w+\(\))*$")
_SAME = frozenset({"toLowerCase", "toUpperCase", "trim", "strip", "toString"})
OUT = frozenset({"return_statement", "throw_statement", "continue_statement"})
"""What leaves a `switch` and what follows it."""
_LEAVING = OUT | {"break_statement"}


def leaves(node: Node | None, *, only: frozenset[str] = _LEAVING) -> bool:
    """Whether what is done ends with leaving the method, the turn of a loop or the block."""
    if node is not None and node.type in ("block", "switch_block_statement_group", "switch_rule"):
        inner = [one for one in node.named_children if "comment" not in one.type]
        node = inner[-1] if inner else None
        if node is not None and node.type == "block":
            return leaves(node, only=only)
    return node is not None and node.type in only


def code_of(node: Node | None) -> str:
    """The code by which a value is known to have passed; empty of one that is none."""
    while node is not None:
        if node.type == "parenthesized_expression" and node.named_children:
            node = node.named_children[0]
        elif node.type == "method_invocation" and text_of(node.child_by_field_name("name")) in _SAME:
            node = node.child_by_field_name("object")
        else:
            break
    if node is None or node.type not in ("identifier", "field_access", "method_invocation"):
        return ""
    code = text_of(node) if node.end_byte - node.start_byte < 100 else ""
    return code if _VALUE.fullmatch(code) else ""


def is_constant(node: Node) -> bool:
    """Whether an expression is a text, or named as constants are."""
    return node.type.endswith("_literal") or _CONSTANT.fullmatch(text_of(node)[:100]) is not None


def is_normal(node: Node | None) -> bool:
    """Whether an expression is a path without `..`."""
    return node is not None and node.type == "method_invocation" and text_of(node.child_by_field_name("name")) in _CLEAN


def is_normal_code(calls: str) -> bool:
    """Whether calls, as they are written one behind the other, make a path without `..`."""
    return any(f".{one}(" in calls for one in _CLEAN)


class Checks:
    """What the conditions of one method say of values."""

    def __init__(self, scope: Scope, carried: Carried, rules: JavaRules, sent: frozenset[str]) -> None:
        """`sent`: the parameters that a client fills."""
        self._scope = scope
        self.sent = sent
        self._carried = carried
        self._rules = rules
        self._depth = 0
        self._passed: dict[tuple[int, bool], Passed] = {}
        self.normal: set[str] = set()

    def sieves(self, node: Node) -> bool:
        """Whether a function lets only values through that pass."""
        if node.type == "method_reference":
            object_, *_, name = node.children
            callee = self._scope.on(object_, text_of(name), [])
            known = any(self._rules.lists.fullmatch(one) for one in callee.names)
            return known or (
                callee.kind is None
                and text_of(name) == "contains"
                and _KNOWN.fullmatch(text_of(object_)[:100]) is not None
            )
        holder, body = node.child_by_field_name("parameters"), node.child_by_field_name("body")
        return holder is not None and (text_of(holder).strip("()"), False) in self.passed(body, held=True)

    def passed(self, node: Node | None, *, held: bool) -> Passed:
        """The values that have passed where a condition holds, or where it does not."""
        if node is None:
            return NONE
        if (node.id, held) not in self._passed:
            self._passed[node.id, held] = self._condition(node, held=held)
        return self._passed[node.id, held]

    def _condition(self, node: Node, *, held: bool) -> Passed:
        if node.type in ("parenthesized_expression", "condition") and node.named_children:
            return self.passed(node.named_children[0], held=held)
        if node.type == "unary_expression":
            negated = node.children[0].type == "!"
            return self.passed(node.child_by_field_name("operand"), held=not held) if negated else NONE
        if node.type == "binary_expression":
            return self._both(node, held=held)
        return frozenset(self._called(node)) if node.type == "method_invocation" and held else NONE

    def _both(self, node: Node, *, held: bool) -> Passed:
        operator = text_of(node.child_by_field_name("operator"))
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if operator in ("&&", "||"):
            one, other = self.passed(left, held=held), self.passed(right, held=held)
            return one | other if held == (operator == "&&") else one & other
        if operator in ("==", "!=") and right is not None:
            same = held == (operator == "==")
            if right.type in ("true", "false"):
                return self.passed(left, held=same == (right.type == "true"))
            if same and right.type == "null_literal" and code_of(left):
                return frozenset({(code_of(left), False)})
        return NONE

    def _called(self, node: Node) -> Iterator[tuple[str, bool]]:
        """The values that pass a call that says so."""
        callee, given = self._scope.callee(node), arguments_of(node)
        target = node.child_by_field_name("object")
        if callee.method is not None and self._depth < _DEEPEST:
            yield from self._given(node, callee.method)
        elif callee.name in ("contains", "containsKey") and len(given) == 1 and target is not None:
            if self._is_list(node, target) and (text_of(target), text_of(given[0])) not in self._carried.filled(
                self._scope.owner
            ):
                yield code_of(given[0]), False
        elif any(self._rules.passes.fullmatch(one) for one in callee.names) and given:
            yield code_of(given[-1]), False
        elif callee.name in ("equals", "equalsIgnoreCase") and target is not None:
            sides = given if len(given) == 2 else [target, *given]
            if any(map(is_constant, sides)):
                yield from ((code_of(one), False) for one in sides if not is_constant(one))
        elif callee.name in ("isEmpty", "isBlank") and target is not None and not given:
            yield code_of(target), False
        elif callee.name in ("matches", "find"):
            yield code_of(self._matched(node, callee.name, target)), False
        elif callee.name == "anyMatch" and given and given[0].type == "method_reference":
            object_, *_, name = given[0].children
            if text_of(name) in ("equals", "equalsIgnoreCase"):
                yield code_of(object_), False
        elif callee.name == "startsWith" and target is not None and given and given[0].type != "string_literal":
            whole = text_of(target)[:300]
            inner = _NORMAL.sub("", whole)
            if inner != whole or whole in self.normal:
                yield inner, True

    def _is_list(self, node: Node, target: Node) -> bool:
        names = self._scope.callee(node).names
        root = text_of(target).partition(".")[0].partition("(")[0]
        if root in self.sent:
            return False
        if any(self._rules.lists.fullmatch(one) for one in names):
            return True
        last = text_of(target)[:200].rpartition(".")[2]
        return all(one.startswith("?.") for one in names) and _KNOWN.fullmatch(last) is not None

    def _matched(self, node: Node, name: str, target: Node | None) -> Node | None:
        """The value that a pattern of plain characters alone is held against."""
        given = arguments_of(node)
        if name == "matches" and len(given) == 2:  # `Pattern.matches`
            return given[1] if self._is_plain(given[0]) else None
        if name == "matches" and given:
            return target if self._is_plain(given[0]) else None
        if given or target is None or text_of(target.child_by_field_name("name")) != "matcher":
            return None
        pattern, inner = target.child_by_field_name("object"), arguments_of(target)
        return inner[0] if inner and pattern is not None and self._is_plain(pattern, whole=name == "find") else None

    def _is_plain(self, node: Node | None, *, whole: bool = False) -> bool:
        """Whether a pattern has plain characters alone; `whole`: it says itself that it is for the whole text."""
        for _ in range(3):
            if node is None:
                return False
            if node.type == "string_literal":
                text = text_of(node)[:300]
                own = text.startswith('"^') and text.endswith('$"') and "|" not in text
                return _PLAIN.fullmatch(text) is not None and (own or not whole)
            given = arguments_of(node)
            if node.type == "method_invocation" and text_of(node.child_by_field_name("name")) == "compile" and given:
                if whole and len(given) > 1 and "MULTILINE" in text_of(given[1]):
                    return False
                node = given[0]
            else:
                node = self._scope.value_of(node)
        return False

    def _given(self, node: Node, method: JavaMethod) -> Iterator[tuple[str, bool]]:
        """The arguments of a method that is read and says whether they pass."""
        if id(method) not in self._carried.told:
            body = method.node.child_by_field_name("body")
            inner = [one for one in body.named_children if "comment" not in one.type] if body is not None else []
            alone = len(inner) == 1 and inner[0].type == "return_statement" and inner[0].named_children
            passed = self._of(method).passed(inner[0].named_children[0], held=True) if alone else NONE
            self._carried.told[id(method)] = passed
        yield from self._arguments(node, method, self._carried.told[id(method)])

    def done(self, node: Node) -> Passed:
        """The values that have passed when a call has come back: others make it throw."""
        callee, given = self._scope.callee(node), arguments_of(node)
        if callee.method is None:
            stands = any(self._rules.demands.fullmatch(one) for one in callee.names)
            return self.passed(given[0], held=True) if stands and given else NONE
        if id(callee.method) not in self._carried.demanded:
            self._carried.demanded[id(callee.method)] = self._demanded(callee.method)
        return frozenset(self._arguments(node, callee.method, self._carried.demanded[id(callee.method)]))

    def _demanded(self, method: JavaMethod) -> Passed:
        body = method.node.child_by_field_name("body")
        checks, passed = self._of(method), NONE
        for one in body.named_children[:_MOST_STATEMENTS] if body is not None else ():
            if one.type == "if_statement" and leaves(one.child_by_field_name("consequence"), only=_THROWS):
                passed |= checks.passed(one.child_by_field_name("condition"), held=False)
        return passed

    def _of(self, method: JavaMethod) -> "Checks":
        """Those of a method that is called here."""
        scope = Scope(self._scope.program, method.owner, self._rules.returns)
        for one in method.parameters:
            scope.declare(one.name, one.node, one.array)
        checks = Checks(scope, self._carried, self._rules, NOBODY)
        checks._depth = self._depth + 1
        return checks

    def _arguments(self, node: Node, method: JavaMethod, passed: Passed) -> Iterator[tuple[str, bool]]:
        given = zip(method.parameters, arguments_of(node), strict=False)
        yield from (
            (code_of(one), path)
            for parameter, one in given
            for path in (False, True)
            if (parameter.name, path) in passed
        )
