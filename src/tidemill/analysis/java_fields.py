"""Which fields of Java's objects are followed, and which of a method's parameters go into them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from tree_sitter import Node

from tidemill.analysis.java_declarations import (
    CONSTRUCTOR,
    JavaClass,
    JavaField,
    JavaFile,
    JavaMethod,
    JavaType,
    arrayed,
)
from tidemill.analysis.java_rules import JavaEscape, JavaRules, Meanings
from tidemill.analysis.java_types import JavaProgram
from tidemill.analysis.syntax import text_of

_MOST_FIELDS = 16
"""Fields of a class that are followed."""
_PUT = re.compile(r"\b(\w+)\s*\.\s*(?:add|put\w*|compute\w*)\(\s*(\w+)\b")
_MOST_NAMES = 64
"""Fields of a method's objects that are followed into it."""


class Carried:
    """Which fields of objects are followed, and which parameters a method puts into them."""

    def __init__(self, program: JavaProgram, rules: JavaRules) -> None:
        self._program = program
        self._rules = rules
        self._fields: dict[int, tuple[str, ...]] = {}
        self._own: dict[int, tuple[str, ...]] = {}
        self._of_objects: dict[int, tuple[str, ...]] = {}
        self._web: dict[int, bool] = {}
        self._filled: dict[int, frozenset[tuple[str, str]]] = {}
        self.told: dict[int, frozenset[tuple[str, bool]]] = {}
        self.demanded: dict[int, frozenset[tuple[str, bool]]] = {}
        self.meanings = Meanings(rules)
        self._sets: dict[int, Sequence[tuple[str, int]]] = {}
        self._else: dict[int, bool] = {}
        self._escapers: dict[int, JavaEscape | None] = {}

    def answers_else(self, owner: JavaClass) -> bool:
        """Whether a class, with those around it, answers with something else than pages."""
        while owner.outer is not None:
            owner = owner.outer
        if id(owner) not in self._else:
            code, rules = text_of(owner.node), self._rules
            self._else[id(owner)] = rules.no_page.search(code) is not None and rules.page.search(code) is None
        return self._else[id(owner)]

    def escaper(self, method: JavaMethod) -> JavaEscape | None:
        """What the result of a method does no longer, where its code says so."""
        if id(method) not in self._escapers:
            code = text_of(method.node)
            found = (escape for pattern, escape in self._rules.written if pattern.search(code))
            self._escapers[id(method)] = next(found, None)
        return self._escapers[id(method)]

    def plain(self, kind: JavaType | None) -> bool:
        """Whether values of a type hold no text of a client's."""
        if kind is None:
            return False
        if kind.declared is not None:
            return kind.declared.node.type == "enum_declaration"
        if kind.array:
            return kind.simple not in ("byte", "char") and self._rules.plain.fullmatch(kind.simple) is not None
        if kind.arguments and kind.simple in ("List", "Set", "Collection", "Optional", "Iterable"):
            return all(self.plain(one) for one in kind.arguments)
        return self._rules.plain.fullmatch(kind.simple) is not None

    def fields(self, owner: JavaClass) -> tuple[str, ...]:
        """The fields of a class's objects that are followed."""
        if id(owner) not in self._fields:
            found = (name for one in self._program.with_lineage(owner) for name in self._carried(one))
            self._fields[id(owner)] = tuple(dict.fromkeys(islice(found, _MOST_FIELDS)))
        return self._fields[id(owner)]

    def _carried(self, owner: JavaClass) -> tuple[str, ...]:
        """The fields that are followed of those that a class declares itself."""
        if id(owner) not in self._own:
            found = (one.name for one in owner.fields.values() if not one.static and self._carries(one, owner))
            self._own[id(owner)] = tuple(islice(found, _MOST_FIELDS))
        return self._own[id(owner)]

    def of_objects(self, owner: JavaClass) -> Sequence[str]:
        """The fields that a class declares itself for its objects, in order."""
        if id(owner) not in self._of_objects:
            self._of_objects[id(owner)] = tuple(one.name for one in owner.fields.values() if not one.static)
        return self._of_objects[id(owner)]

    def filled(self, owner: JavaClass) -> frozenset[tuple[str, str]]:
        """The names that a class, with those around it, puts something into, each with the name of that."""
        while owner.outer is not None:
            owner = owner.outer
        if id(owner) not in self._filled:
            self._filled[id(owner)] = frozenset(_PUT.findall(text_of(owner.node)))
        return self._filled[id(owner)]

    def of_web(self, file: JavaFile) -> bool:
        """Whether a file imports something of the web's."""
        if id(file) not in self._web:
            known = (*file.imports.values(), *file.packages)
            self._web[id(file)] = any(self._rules.web.match(one) for one in known)
        return self._web[id(file)]

    def _carries(self, one: JavaField, owner: JavaClass) -> bool:
        if one.node is None:
            return False
        kind = arrayed(self._program.type_at(one.node, owner), one.array)
        return not self.plain(kind) and self._rules.carriers.fullmatch(kind.simple) is not None

    def prepare(self, method: JavaMethod) -> None:
        """Gives the method's function its parameters: its own, `this`, and the fields of both."""
        function = method.function
        if function is None:
            return
        kinds = {
            one.name: arrayed(self._program.type_at(one.node, method.owner), one.array)
            for one in method.parameters
            if one.node is not None
        }
        names: list[str] = []
        if not method.static:
            names += ["this", *(f"this.{name}" for name in self.fields(method.owner))]
        for name, kind in kinds.items():
            if kind.declared is not None and not kind.array:
                names += [f"{name}.{field}" for field in self.fields(kind.declared)]
        function.parameters = (*(one.name for one in method.parameters), *names[:_MOST_NAMES])
        function.from_outside = frozenset(
            one.name
            for one in method.parameters
            if any(self._rules.filled.fullmatch(name) for name in one.annotations)
            and not self.plain(kinds.get(one.name))
        )

    def sets(self, method: JavaMethod) -> Sequence[tuple[str, int]]:
        """The fields that a method gives the value of a parameter, with the parameter's position."""
        if id(method) not in self._sets:
            self._sets[id(method)] = tuple(islice(self._set(method, 0), _MOST_NAMES))
        return self._sets[id(method)]

    def _set(self, method: JavaMethod, depth: int) -> Iterator[tuple[str, int]]:
        if method.name == CONSTRUCTOR and method.node.type == "compact_constructor_declaration":
            yield from ((one.name, number) for number, one in enumerate(method.parameters))
            return
        positions = {one.name: number for number, one in enumerate(method.parameters)}
        body = method.node.child_by_field_name("body")
        for statement in body.named_children if body is not None else ():
            if statement.type == "explicit_constructor_invocation" and depth < 5:
                yield from self._delegated(statement, method, positions, depth)
            node = statement.named_children[0] if statement.type == "expression_statement" else None
            if node is None or node.type != "assignment_expression":
                continue
            left = node.child_by_field_name("left")
            name = text_of(left.child_by_field_name("field") if left and left.type == "field_access" else left)
            own = left is not None and (left.type == "identifier" or text_of(left) == f"this.{name}")
            source = _copied(node.child_by_field_name("right"))
            if own and source in positions and not (left and left.type == "identifier" and name in positions):
                yield name, positions[source]

    def _delegated(
        self, node: Node, method: JavaMethod, positions: Mapping[str, int], depth: int
    ) -> Iterator[tuple[str, int]]:
        holder = node.child_by_field_name("arguments")
        given = [text_of(one) for one in holder.named_children] if holder is not None else []
        own = any(child.type == "this" for child in node.children)
        above = self._program.above(method.owner)[:1]
        owner = method.owner if own else above[0].declared if above else None
        found = self._program.methods(owner, CONSTRUCTOR, len(given)) if owner is not None else []
        if len(found) == 1 and found[0] is not method:
            for name, number in self._set(found[0], depth + 1):
                if number < len(given) and given[number] in positions:
                    yield name, positions[given[number]]


def _copied(node: Node | None) -> str:
    """The name whose value an expression is: itself, checked or copied."""
    if node is not None and node.type == "method_invocation":
        object_, holder = node.child_by_field_name("object"), node.child_by_field_name("arguments")
        given = holder.named_children if holder is not None else []
        checked = re.fullmatch(
            r"requireNonNull\w*|checkNotNull|notNull|copyOf|asList|unmodifiable\w+|of",
            text_of(node.child_by_field_name("name")),
        )
        if checked and given:
            node = given[0]
        elif object_ is not None and text_of(node.child_by_field_name("name")) in ("trim", "strip", "clone"):
            node = object_
    return text_of(node) if node is not None and node.type == "identifier" else ""
