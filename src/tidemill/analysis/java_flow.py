"""What the methods of Java files do with data, in the words of `flow`. By tree-sitter.

What is told: assignments, strings put together (also by builders and formats), collections, methods of classes by the
declared types of objects, static methods, constructors and the fields that they set, an interface's method where one
class alone has it, methods of superclasses, lambdas and anonymous classes as part of the method that they stand in.
Values that a condition holds against a list and the like are harmless where it holds: see `java_checks`.
What is not: fields of an object within another object, static fields, calls by reflection, and a framework's wiring.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tree_sitter import Node

from tidemill.analysis.flow import Assign, Function, Parts, Place, Return
from tidemill.analysis.java_checks import NONE, Passed, leaves
from tidemill.analysis.java_declarations import JavaMethod, JavaType, arrayed
from tidemill.analysis.java_fields import Carried
from tidemill.analysis.java_invocations import Invocations
from tidemill.analysis.java_rules import JavaRules
from tidemill.analysis.java_types import JavaProgram
from tidemill.analysis.syntax import text_of

_EXPRESSIONS = frozenset(
    {
        *("method_invocation", "object_creation_expression", "assignment_expression", "binary_expression"),
        *("lambda_expression", "ternary_expression", "cast_expression", "instanceof_expression", "method_reference"),
        *("parenthesized_expression", "unary_expression", "update_expression", "explicit_constructor_invocation"),
        *("array_creation_expression", "array_initializer", "array_access", "field_access", "identifier"),
    }
)
_LOOPS = frozenset({"while_statement", "for_statement", "do_statement", "enhanced_for_statement"})


def java_functions(files: Mapping[str, str], rules: JavaRules, unread: set[Place], broken: set[str]) -> list[Function]:
    """The methods of these files, for `flow.flows_of`; none where nothing in them comes from outside.

    Files that do not parse whole are read as far as they do. Where the methods begin that are nested too deeply to be
    followed is added to `unread`; files that do not parse whole, are too large, or whose declarations are nested too
    deeply, are added to `broken`.
    """
    if not any(rules.begins.search(text) for text in files.values()):
        return []
    program = JavaProgram(files, broken)
    carried = Carried(program, rules)
    methods = [one for owner in program.classes for named in owner.methods.values() for one in named]
    functions = []
    for method in methods:
        try:
            carried.prepare(method)
        except RecursionError:
            broken.add(method.owner.file.path)
            method.function = None
    for method in methods:
        if method.function is None:
            continue
        try:
            _Body(method, method.function, program, carried, rules).tell()
        except RecursionError:  # see `flow.flows_of`
            unread.add(method.function.place)
            continue
        functions.append(method.function)
    return functions


@dataclass(frozen=True, slots=True)
class _Under:
    """Between statements: what is done under a condition ends or begins, and values have passed."""

    passed: Passed = NONE
    opens: bool = False
    closes: bool = False


_CLOSE = _Under(closes=True)


class _Body(Invocations):
    """Tells what one method's body does."""

    def __init__(
        self, method: JavaMethod, function: Function, program: JavaProgram, carried: Carried, rules: JavaRules
    ) -> None:
        super().__init__(method, function, program, carried, rules)
        for one in method.parameters:
            self.scope.declare(one.name, one.node, one.array)
            self._stand_in(one.name)
        self._annotations = method.annotations | method.owner.annotations
        head = text_of(next((child for child in method.node.children if child.type == "modifiers"), None))
        returned = text_of(method.node.child_by_field_name("type"))
        self._answers = [
            one
            for one in rules.answers
            if any(one.annotations.fullmatch(name) for name in self._annotations)
            and one.returned.fullmatch(returned)
            and not one.unless.search(head)
        ]
        kind = method.node.child_by_field_name("type")
        self._plain = kind is not None and carried.plain(program.type_at(kind, method.owner))

    def _stand_in(self, name: str) -> None:
        """Takes a parameter's type for the one that it stands for in a file of the web's."""
        kind = self.scope.local[name]
        meant = self.rules.stands_for.get(kind.names[0]) if kind is not None else None
        if meant and self.carried.of_web(self.method.owner.file):
            self.scope.local[name] = JavaType((meant,))

    def tell(self) -> None:
        """Adds its steps to the function."""
        body = self.method.node.child_by_field_name("body")
        if body is not None:
            self.statements(body)

    def statements(self, body: Node) -> None:
        """Adds the steps of a block."""
        self.opened()
        waiting: list[Node | _Under] = [body]
        while waiting:
            node = waiting.pop()
            if not isinstance(node, Node):
                self._turn(node)
                continue
            if node.type in _LOOPS:
                self.function.repeats = True
                waiting.append(_CLOSE)
                self.opened()
            waiting += reversed(self._take(node))
        self.closed()

    def _turn(self, under: "_Under") -> None:
        """Ends and begins what is done under a condition."""
        if under.closes:
            self.closed()
        if under.opens:
            self.opened(under.passed)
        else:
            self.checked(under.passed)

    def _if(self, node: Node) -> "Sequence[Node | _Under]":
        """Its branches, each with what passed there, and what passed behind it where one leaves."""
        condition, then = node.child_by_field_name("condition"), node.child_by_field_name("consequence")
        other = node.child_by_field_name("alternative")
        self.evaluate(self.value(condition))
        held, not_held = self.checks.passed(condition, held=True), self.checks.passed(condition, held=False)
        after = not_held if leaves(then) else held if leaves(other) else NONE
        return [
            _Under(held, opens=True),
            *([then] if then is not None else []),
            _Under(not_held, opens=True, closes=True),
            *([other] if other is not None else []),
            _Under(after, closes=True),
        ]

    def _try(self, node: Node) -> "Sequence[Node | _Under]":
        """What passed in it has passed behind it where each `catch` leaves."""
        inner = node.named_children
        caught = [one.child_by_field_name("body") for one in inner if one.type == "catch_clause"]
        if all(map(leaves, caught)):
            return inner
        body = node.child_by_field_name("body")
        parts: list[Node | _Under] = []
        for one in inner:
            parts += [_Under(opens=True), one, _CLOSE] if one == body else [one]
        return parts

    def _take(self, node: Node) -> "Sequence[Node | _Under]":
        """Tells of one statement; what is left to be told of."""
        if node.type in _EXPRESSIONS:
            self.evaluate(self.value(node))
            if node.type == "method_invocation":
                self.checked(self.checks.done(node))
        elif node.type == "if_statement":
            return self._if(node)
        elif node.type in ("try_statement", "try_with_resources_statement"):
            return self._try(node)
        elif node.type == "switch_expression":
            self.evaluate(self.value(node))
        elif node.type == "local_variable_declaration":
            for one in node.children_by_field_name("declarator"):
                self._declared(one, node.child_by_field_name("type"))
        elif node.type == "resource" and node.child_by_field_name("name") is not None:
            self._declared(node, node.child_by_field_name("type"))
        elif node.type == "enhanced_for_statement":
            self._each(node)
            return [one for one in (node.child_by_field_name("body"),) if one is not None]
        elif node.type == "catch_formal_parameter":
            name = text_of(node.child_by_field_name("name"))
            self.scope.local[name] = None
            self.steps.append(Assign((name,), Parts()))
        elif node.type in ("return_statement", "yield_statement"):
            self._returned(node)
        elif node.type in ("method_declaration", "constructor_declaration"):  # of a class within the method
            self.inner_method(node)
        else:
            return node.named_children
        return ()

    def _declared(self, node: Node, kind: Node | None) -> None:
        name, value = text_of(node.child_by_field_name("name")), node.child_by_field_name("value")
        dimensions = text_of(node.child_by_field_name("dimensions")).count("[")
        self.scope.declare(name, kind, dimensions, value)
        self.assign(name, value, self.place(node))

    def _each(self, node: Node) -> None:
        name, value = text_of(node.child_by_field_name("name")), node.child_by_field_name("value")
        kind = node.child_by_field_name("type")
        holder = self.scope.type_of(value)
        self.scope.declare(name, kind)
        if text_of(kind) == "var" and holder is not None:
            element = arrayed(holder, -1) if holder.array else (holder.arguments or (None,))[-1]
            self.scope.local[name] = element
        self.steps.append(Assign((name,), self.value(value), extend=True))

    def _returned(self, node: Node) -> None:
        given = node.named_children[0] if node.named_children else None
        value = self.value(given)
        result = self.result(node)
        if result is not None:
            if result:
                self.steps.append(Assign((result,), value, extend=True))
            else:
                self.evaluate(value)
            return
        place = self.place(node)
        for one in self._answers:
            if given is not None and one.value.match(text_of(given)):
                value = self.kept(value, node)
                self.harm(value, place, one.kind)
        if self._plain:
            self.evaluate(value)
        else:
            self.steps.append(Return(value, place))
