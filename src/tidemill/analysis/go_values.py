"""Where the values of Go's expressions come from, in the words of `flow`: see `go_flow`. By tree-sitter."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tree_sitter import Node

from tidemill.analysis.flow import (
    Call,
    Evaluate,
    Harmless,
    Name,
    Outside,
    Parts,
    Place,
    Value,
    harms_of,
)
from tidemill.analysis.go_meaning import Meaning, Meanings, known_types
from tidemill.analysis.go_packages import operator_of
from tidemill.analysis.go_rules import GoRules
from tidemill.analysis.go_types import Declarations, Declared
from tidemill.analysis.syntax import text_of

_FIXED = re.compile(r"(?:[\w+.-]+:)?//[^/?#]+[/?#]|/[^/\\]|[^/:?#]+[/?#]|\0")
"""The beginning of an address whose host, or of a path whose page, nothing after it changes. NUL stands for a value."""
_VERB = re.compile(r"%[-+# 0]{0,4}[\d*]{0,4}(?:\.[\d*]{0,4})?(?:\[\d{1,3}\])?([a-zA-Z%])")
_LONGEST_HEAD = 200
"""Characters of a text in which its fixed beginning must lie."""
_NO_TEXT = frozenset("btdoxXUeEfFgGcpT")
"""Verbs whose result holds no text of the value."""
STRINGS = frozenset({"interpreted_string_literal", "raw_string_literal"})
"""Nodes of texts in the code."""
LITERALS = frozenset({*STRINGS, "int_literal", "float_literal", "imaginary_literal", "rune_literal"})
"""Nodes of what the code says itself."""
_CONSTANT = frozenset({*LITERALS, "nil", "true", "false", "iota", "comment"})


@dataclass(slots=True, eq=False)
class Closure:
    """A function within a function: the names that its parameters and its result have there."""

    parameters: tuple[str, ...]
    result: str


@dataclass(slots=True, eq=False)
class Variable:
    """A variable of a function.

    Attributes:
        name: unlike that of any other variable of the function.
        kind: its type.
        depth: how many branches are around its declaration.
        served: it is a request that a server got.
        own: what it holds was made here, so that a field of it is a part of it.
        fields: of its fields, those that were given values here.
        fresh: of these, those that were given values since it was given one itself.
        closure: the function that it is.
        given: how many times it was given a value, or a part of it was.
        spent: the kinds of which it does no harm here, since it was checked or is a constant.
        tested: what is told where it is true, or no error.
        cleaned: it is a path without `..`.
    """

    name: str
    kind: str
    depth: int
    served: bool = False
    own: bool = False
    fields: set[str] = field(default_factory=set)
    fresh: set[str] = field(default_factory=set)
    closure: Closure | None = None
    given: int = 0
    spent: frozenset[str] = frozenset()
    tested: "Tested | None" = None
    cleaned: bool = False

    @property
    def parts(self) -> str:
        """The name under which its fields are kept together."""
        return f"{self.name}~"


Known = dict[Variable, frozenset[str]]
"""Variables with the kinds of which they do no harm."""


@dataclass(frozen=True, slots=True)
class Tested:
    """What a condition tells where it holds, and where it does not.

    Attributes:
        given: how many times the variables had been given values when it was tested, where that was before.
    """

    holds: Known = field(default_factory=dict)
    fails: Known = field(default_factory=dict)
    given: Mapping[Variable, int] = field(default_factory=dict)

    def turned(self) -> "Tested":
        """What its contrary tells."""
        return Tested(self.fails, self.holds, self.given)

    def kept(self) -> "Tested":
        """As it is kept in a variable."""
        return Tested(self.holds, self.fails, {one: one.given for one in (*self.holds, *self.fails)})

    def now(self) -> "Tested":
        """What it tells where it was kept before: nothing of variables that were given other values since."""
        changed = {one for one, given in self.given.items() if one.given != given}
        return Tested(
            {one: kinds for one, kinds in self.holds.items() if one not in changed},
            {one: kinds for one, kinds in self.fails.items() if one not in changed},
        )


class Values(ABC):
    """Tells where the values of one function's expressions come from, and keeps its variables."""

    def __init__(self, of: Declared, declared: Declarations, rules: GoRules) -> None:
        self._function = of.function
        self._declared = declared
        self._rules = rules
        self._steps = of.function.steps
        self._scopes: list[set[str]] = [set()]
        self._variables: dict[str, list[Variable]] = {}
        """By name, those of all scopes around, the innermost last."""
        self._names: dict[str, int] = {}
        self._depth = 0
        self._code = of.node
        self._page: bool | None = None
        self._no_page = False
        self._meanings = Meanings(declared, of.file, known_types(rules.types), self._kind_of)

    @abstractmethod
    def _closure(self, node: Node) -> Closure:
        """Tells what a function literal does."""

    @abstractmethod
    def _called(self, node: Node) -> Value:
        """What a call returns."""

    @abstractmethod
    def _passed(self, node: Node, meaning: Meaning, given: Sequence[Node], callee: Node | None) -> Value:
        """What the call of a function returns whose meaning is known."""

    def _kind_of(self, name: str) -> str | None:
        variable = self._variable(name)
        return variable.kind if variable is not None else None

    def _variable(self, name: str) -> Variable | None:
        found = self._variables.get(name)
        return found[-1] if found else None

    def _open(self) -> None:
        """Begins a scope."""
        self._scopes.append(set())

    def _close(self) -> None:
        """Ends the innermost scope."""
        for name in self._scopes.pop():
            self._variables[name].pop()

    def _declare(self, name: str, kind: str) -> Variable:
        """A new variable of the innermost scope."""
        number = self._names[name] = self._names.get(name, 0) + 1
        variable = Variable(name if number == 1 else f"{name}~{number}", kind, self._depth)
        found = self._variables.setdefault(name, [])
        if name in self._scopes[-1]:
            found.pop()
        found.append(variable)
        self._scopes[-1].add(name)
        return variable

    def _place(self, node: Node) -> Place:
        return Place(self._function.path, node.start_point.row + 1)

    def _plain(self, kind: str) -> bool:
        return bool(kind) and self._rules.plain.fullmatch(self._declared.underlying(kind)) is not None

    def _discard(self, node: Node | None) -> None:
        """Computes a value that nothing is done with."""
        self._evaluate(self._value(node))

    def _evaluate(self, value: Value) -> None:
        waiting: list[Value] = [value]
        while waiting:
            one = waiting.pop()
            if isinstance(one, Call):
                self._steps.append(Evaluate(one))
            elif isinstance(one, Parts):
                waiting += one.of
            elif isinstance(one, Harmless):
                waiting.append(one.value)

    def _value(self, node: Node | None) -> Value:
        """Where the value of an expression comes from."""
        if node is None or node.type in _CONSTANT:
            return Parts()
        match node.type:
            case "identifier":
                variable = self._variable(text_of(node))
                return self._whole(variable) if variable is not None else Parts()
            case "selector_expression":
                return self._selected(node)
            case "call_expression":
                return self._called(node)
            case "type_conversion_expression":
                if functions := self._meanings.generic(node):
                    meaning = Meaning(tuple(functions), types=functions[0].results)
                    return self._passed(node, meaning, node.children_by_field_name("operand"), None)
                return self._converted(self._meanings.type(node), [node.child_by_field_name("operand")])
            case "type_assertion_expression":
                return self._converted(self._meanings.type(node), [node.child_by_field_name("operand")])
            case "composite_literal":
                return Parts(tuple(value for _, value in self._fields(node)))
            case "func_literal":
                self._closure(node)
                return Parts()
            case "binary_expression":
                return self._combined(node)
            case "unary_expression":
                inner = self._value(node.child_by_field_name("operand"))
                if operator_of(node) in ("&", "*"):
                    return inner
                self._evaluate(inner)
                return Parts()
            case "index_expression" | "slice_expression":
                for index in node.named_children[1:]:
                    self._discard(index)
                return self._converted(self._meanings.type(node), [node.child_by_field_name("operand")])
        if node.type.endswith("_type") or node.type in ("type_identifier", "type_arguments"):
            return Parts()
        return Parts(tuple(self._value(child) for child in node.named_children))

    def _whole(self, variable: Variable) -> Value:
        if self._plain(variable.kind):
            return Parts()
        if variable.own and variable.fields:
            return Parts((Name(variable.name), Name(variable.parts)))
        return Name(variable.name)

    def _selected(self, node: Node) -> Value:
        """A field of a value, or what a package has."""
        meaning = self._meanings.of(node)
        if (outside := self._outside(node, meaning)) is not None:
            return outside
        if self._plain(meaning.type):
            return Parts()
        operand, name = node.child_by_field_name("operand"), text_of(node.child_by_field_name("field"))
        if operand is not None and operand.type == "identifier":
            variable = self._variable(text_of(operand))
            if variable is None:
                return Parts()
            if name in variable.fields:
                return Parts((Name(variable.name), Name(f"{variable.name}.{name}")))
            return Name(variable.name)
        return self._value(operand)

    def _outside(self, node: Node, meaning: Meaning) -> Value | None:
        """A value that a client sends; `None` for another."""
        if not meaning.name or meaning.functions:
            return None
        of = self._rules.of_name(meaning.name)
        if not of.sources and not (of.served and self._is_served(node)):
            return None
        outside = Outside(self._place(node))
        return Harmless(outside, of.kinds) if of.kinds else outside

    def _is_served(self, node: Node | None) -> bool:
        """Whether an expression begins with a request that a server got."""
        while node is not None:
            if node.type == "identifier":
                variable = self._variable(text_of(node))
                return variable is not None and variable.served
            meaning = self._meanings.of(node)
            if meaning.name and self._rules.contexts.match(meaning.name):
                return True
            node = node.child_by_field_name("operand") or node.child_by_field_name("function")
        return False

    def _converted(self, kind: str, operands: Sequence[Node | None]) -> Value:
        """Values that become one of a type."""
        values = tuple(self._value(operand) for operand in operands)
        if not self._plain(kind):
            return values[0] if len(values) == 1 else Parts(values)
        for value in values:
            self._evaluate(value)
        return Parts()

    def _fields(self, literal: Node) -> Iterator[tuple[str, Value]]:
        """The values in a composite literal, with the names of the fields, where they are named."""
        kind = self._meanings.type(literal)
        body = literal.child_by_field_name("body")
        for element in body.named_children if body is not None else ():
            if element.type == "keyed_element":
                name, inner = text_of(element.child_by_field_name("key")), element.child_by_field_name("value")
            else:
                name, inner = "", element
            if inner is not None and inner.type == "literal_element" and inner.named_children:
                inner = inner.named_children[0]
            plain = bool(kind and name) and self._plain(self._declared.member(kind, name).kind)
            if inner is None or plain or self._rules.streams.fullmatch(self._meanings.type(inner)):
                self._discard(inner)
                continue
            value = self._value(inner)
            if name and kind and not kind.startswith("./"):
                harms = harms_of(self._rules.of_name(f"{kind}.{name}").sinks, (f"{kind}.{name}",), "")
                if harms:
                    self._steps.append(Evaluate(Call(self._place(element), ((None, value),), harms=harms)))
            yield name, value

    def _combined(self, node: Node) -> Value:
        operands: list[Node] = []
        left: Node | None = node
        while left is not None and left.type == "binary_expression":
            if operator_of(left) != "+":
                break
            operands.append(left.child_by_field_name("right") or left)
            left = left.child_by_field_name("left")
        if left is None or not operands or self._plain(self._meanings.type(node)):
            for side in ("left", "right"):
                self._discard(node.child_by_field_name(side))
            return Parts()
        return self._text([left, *reversed(operands)])

    def _text(self, parts: Sequence[Node | str]) -> Value:
        """A text that is put together: what stands behind a fixed beginning decides no address."""
        said, fixed = "", False
        first = parts[0] if parts else ""
        head = first if isinstance(first, str) else text_of(first)[1:] if first.type in STRINGS else ""
        spent = self._rules.markup if head.startswith(("{", "[")) else frozenset()
        values: list[Value] = []
        for part in parts:
            if isinstance(part, str) or part.type in STRINGS:
                said += (part if isinstance(part, str) else text_of(part)[1:-1])[:_LONGEST_HEAD]
                continue
            value = self._value(part)
            fixed = fixed or _FIXED.match(said[:_LONGEST_HEAD]) is not None
            kinds = spent | self._rules.addresses if fixed else spent
            values.append(Harmless(value, kinds) if kinds else value)
            said = f"{said}\0"[:_LONGEST_HEAD]
        return Parts(tuple(values))

    def _formatted(self, given: Sequence[Node]) -> Value | None:
        """A text by a format; `None` where the format is not written there."""
        if not given or given[0].type not in STRINGS:
            return None
        form, at = text_of(given[0])[1:-1], 0
        parts: list[Node | str] = []
        waiting = list(given[1:])
        for verb in _VERB.finditer(form):
            parts.append(form[at : verb.start()])
            at = verb.end()
            if verb[1] == "%":
                parts.append("%")
            elif waiting:
                argument = waiting.pop(0)
                if verb[1] in _NO_TEXT:
                    self._discard(argument)
                    parts.append("0")
                else:
                    parts.append(argument)
        parts.append(form[at:])
        return self._text([*parts, *waiting])
