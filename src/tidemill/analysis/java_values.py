"""The values of a Java method's expressions, in the words of `flow`: see `java_flow`."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

from tree_sitter import Node

from tidemill.analysis.flow import (
    Assign,
    Call,
    Evaluate,
    Function,
    Harmless,
    Name,
    Outside,
    Parts,
    Place,
    Step,
    Value,
)
from tidemill.analysis.java_calls import Scope, arguments_of
from tidemill.analysis.java_checks import NONE, OUT, Checks, Passed, code_of, is_constant, is_normal, leaves
from tidemill.analysis.java_declarations import JavaClass, JavaMethod, JavaType
from tidemill.analysis.java_fields import Carried
from tidemill.analysis.java_rules import JavaRules
from tidemill.analysis.java_types import JavaProgram
from tidemill.analysis.syntax import text_of

OPEN = re.compile(r"(?:redirect:|forward:)?(?:(?:https?:)?/?/?)?|\s*")
"""A text after which an address can still begin."""


_OUTSIDE = re.compile(
    r"\bif\s*\(\s*!\s*(\w+)((?:\.(?:toPath|normalize|toRealPath|toAbsolutePath|getCanonical\w+|toString)\(\))*)"
    r"\.startsWith\([^\"{};]{0,200}\)\s*\{?\s*(?:throw|return)\b"
)
"""An `if` that leaves where a path is not in a folder."""


class Values(ABC):
    """Tells the values of one method's expressions; the steps that they take on the way are added to the function."""

    def __init__(
        self, method: JavaMethod, function: Function, program: JavaProgram, carried: Carried, rules: JavaRules
    ) -> None:
        self.method = method
        self.function = function
        self.steps: list[Step] = function.steps
        self.scope = Scope(program, method.owner, rules.returns)
        self.program = program
        self.carried = carried
        self.rules = rules
        self.paths: dict[int, str] = {}
        self.empty: set[str] = set()
        self.positions: dict[str, str] = {}
        self._results: list[str] = []
        self._yields: list[str] = []
        self.no_page = carried.answers_else(method.owner)
        self.checks = Checks(self.scope, carried, rules, function.from_outside)
        self._folders: Mapping[str, str] | None = None
        self._blocks: list[dict[str, str]] = []
        self._allowed: list[set[str]] = [set()]

    @abstractmethod
    def statements(self, body: Node) -> None:
        """Adds the steps of a block; see `java_flow`."""

    @abstractmethod
    def call(self, node: Node) -> Value:
        """What a call, or the making of an object, returns; what it does is added to the steps."""

    def opened(self, passed: Passed = NONE) -> None:
        """Begins what is done under a condition: values that passed there are harmless until it ends."""
        self._blocks.append({})
        self._allowed.append(self._allowed[-1])
        self.checked(passed)

    def closed(self) -> None:
        """Ends what is done under a condition."""
        self._allowed.pop()
        for name, before in self._blocks.pop().items():
            self.steps.append(Assign((name,), Name(before), extend=True))

    def checked(self, passed: Passed) -> None:
        """Values that have passed are harmless until what is done under the same condition ends."""
        for code, path in sorted(passed):
            kind = self.scope.local.get(code)
            if code in self.scope.local and self._blocks:
                before = self._blocks[-1].setdefault(code, f"{code}@{len(self._blocks)}:{len(self.steps)}")
                self.steps.append(Assign((before,), Name(code), extend=True))
                self.steps.append(Assign((code,), Harmless(Name(code), self.rules.paths) if path else Parts()))
                fields = self.carried.fields(kind.declared) if kind is not None and kind.declared is not None else ()
                if fields and not path:
                    self.steps.append(Assign(tuple(f"{code}.{one}" for one in fields), Parts()))
            elif code and not path:
                self._allowed[-1] = self._allowed[-1] | {code}

    def held_in_folders(self) -> Mapping[str, str]:
        """The names of paths that an `if` of the method holds against a folder, with what it makes of them before."""
        if self._folders is None:
            code = text_of(self.method.node.child_by_field_name("body"))
            self._folders = dict(_OUTSIDE.findall(code))
        return self._folders

    def place(self, node: Node) -> Place:
        """The line on which a node begins."""
        return Place(self.function.path, node.start_point.row + 1)

    def result(self, node: Node) -> str | None:
        """The name that keeps what a `return` or `yield` gives; empty where nothing does, `None` for the method's."""
        kept = self._yields if node.type == "yield_statement" else self._results
        return kept[-1] if kept else None

    def harm(self, value: Value, place: Place, kind: str) -> None:
        """Adds that a value does harm."""
        if not (self.no_page and kind in self.rules.pages):
            self.steps.append(Evaluate(Call(place, ((None, value),), harms=((kind, 0),))))

    def evaluate(self, value: Value) -> None:
        """Adds a step that computes a value; none where that does nothing."""
        if not isinstance(value, Name) and not (isinstance(value, Parts) and not value.of):
            self.steps.append(Evaluate(value))

    def kept(self, value: Value, node: Node) -> Value:
        """A value that is used more than once, under a name of its own."""
        if isinstance(value, Name) or (isinstance(value, Parts) and not value.of):
            return value
        name = self.fresh(node)
        self.steps.append(Assign((name,), value))
        return Name(name)

    def value(self, node: Node | None) -> Value:
        """The value of an expression."""
        if node is None:
            return Parts()
        match node.type:
            case "identifier":
                return self._identifier(text_of(node))
            case "this":
                return Name("this")
            case "field_access":
                return Parts() if self._allowed[-1] and text_of(node) in self._allowed[-1] else self._field(node)
            case "method_invocation" | "explicit_constructor_invocation" | "object_creation_expression":
                if self._allowed[-1] and text_of(node) in self._allowed[-1]:
                    return Parts()
                return self.call(node)
            case "assignment_expression":
                return self._assigned(node)
            case "binary_expression":
                return self._binary(node)
            case "lambda_expression":
                return self.function_value(node, Parts(), None)
            case "method_reference":
                return Parts()
            case "cast_expression" | "array_access":
                value = self.value(node.child_by_field_name("value" if node.type == "cast_expression" else "array"))
                self._aside(node.child_by_field_name("index"))
                return Parts() if self.carried.plain(self.scope.type_of(node)) else value
            case "ternary_expression":
                condition = node.child_by_field_name("condition")
                self._aside(condition)
                given = (node.child_by_field_name("consequence"), node.child_by_field_name("alternative"))
                return Parts(tuple(self._under(one, condition, held=one == given[0]) for one in given))
            case "instanceof_expression":
                return self._matched(node)
            case "switch_expression":
                return self._switch(node)
            case "unary_expression" | "update_expression":
                for child in node.named_children:
                    self._aside(child)
                return Parts()
            case "parenthesized_expression" | "array_creation_expression" | "array_initializer":
                return Parts(tuple(self.value(child) for child in node.named_children))
        return Parts()

    def _under(self, node: Node | None, condition: Node | None, *, held: bool) -> Value:
        """The value of an expression where a condition holds, or where it does not."""
        passed = self.checks.passed(condition, held=held)
        if not passed or node is None:
            return self.value(node)
        self.opened(passed)
        value = self.kept_now(self.value(node), node)
        self.closed()
        return value

    def kept_now(self, value: Value, node: Node) -> Value:
        """A value as it is now, whatever its name is given later."""
        name = f"={self.fresh(node)}"
        self.steps.append(Assign((name,), value))
        return Name(name)

    def _aside(self, node: Node | None) -> None:
        """Tells of what an expression does whose value is not followed."""
        if node is not None:
            self.evaluate(self.value(node))

    def _identifier(self, name: str) -> Value:
        if name in self.scope.local:
            return Parts() if self.carried.plain(self.scope.local[name]) else Name(name)
        if name in self._allowed[-1]:
            return Parts()
        return self.of_object("this", name, self.method.owner) or Name(name)

    def _field(self, node: Node) -> Value:
        object_, name = node.child_by_field_name("object"), text_of(node.child_by_field_name("field"))
        if object_ is None or name in ("this", "class") or self.scope.holder(object_) is not None:
            return Parts()
        if self.carried.plain(self.scope.type_of(node)):
            return Parts()
        kind, path = self.scope.type_of(object_), self.path(object_)
        if kind is not None and kind.declared is not None and path:
            return self.of_object(path, name, kind.declared) or self.value(object_)
        return self.value(object_)

    def of_object(self, path: str, name: str, owner: JavaClass) -> Value | None:
        """A field of an object that has a name here."""
        found = self.program.field(owner, name)
        if found is None:
            return None
        field, holder = found
        kind = self.program.type_at(field.node, holder) if field.node is not None else None
        if field.static or (self.carried.plain(kind) and not field.array):
            return Parts()
        if path == "this" and any(self.rules.filled.fullmatch(one) for one in field.annotations):
            return Outside(Place(holder.file.path, field.line))
        return Parts((Name(path), Name(f"{path}.{name}")))

    def path(self, node: Node | None) -> str:
        """The name by which the fields of an expression's object are known here; empty where they are not."""
        if node is None:
            return ""
        if node.id in self.paths:
            return self.paths[node.id]
        if node.type == "this":
            return "this"
        if node.type == "identifier":
            return text_of(node) if text_of(node) in self.scope.local else ""
        if node.type in ("parenthesized_expression", "cast_expression") and node.named_children:
            return self.path(node.named_children[-1])
        if node.type == "method_invocation":
            callee = self.scope.callee(node)
            returned = callee.method.node.child_by_field_name("type") if callee.method is not None else None
            if callee.method is not None and returned is not None and callee.receiver is not None:
                kind = self.program.type_at(returned, callee.method.owner)
                if kind.declared is callee.method.owner:  # a builder, as it seems
                    return self.path(callee.receiver)
        return ""

    def assign(self, name: str, node: Node | None, place: Place | None, *, extend: bool = False) -> None:
        """Adds that a name is given the value of an expression, with the fields of its object."""
        value = self.value(node)
        if extend:
            value = Harmless(value, self.rules.addresses)
        self.steps.append(Assign((name,), value, place, extend))
        self.empty.discard(name)
        self.positions.pop(name, None)
        self.checks.normal.discard(name)
        if is_normal(node):
            self.checks.normal.add(name)
        if node is not None and text_of(node.child_by_field_name("name")) == "lastIndexOf":
            self.positions[name] = text_of(node)
        if node is not None and node.type == "object_creation_expression" and not arguments_of(node):
            self.empty.add(name)
        path, kind = self.path(node), self.scope.type_of(node)
        if path and path != name and kind is not None and kind.declared is not None:
            for field in self.carried.fields(kind.declared):
                self.steps.append(Assign((f"{name}.{field}",), Name(f"{path}.{field}")))

    def _assigned(self, node: Node) -> Value:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        extend = text_of(node.child_by_field_name("operator")) != "="
        name = self.target(left)
        array = left is not None and left.type == "array_access"
        if not name:
            self._aside(right)
            return Parts()
        if array:
            self.steps.append(Assign((name,), self.value(right), self.place(node), extend=True))
        else:
            self.assign(name, right, self.place(node), extend=extend)
        if right is not None and right.type == "object_creation_expression" and name in self.scope.local and not array:
            kind = self.scope.type_of(right)
            if kind is not None and kind.declared is not None:
                self.scope.local[name] = kind
        return Name(name)

    def target(self, node: Node | None) -> str:
        """The name that an assignment to an expression gives a value; empty where it is not followed."""
        if node is None:
            return ""
        if node.type == "array_access":
            return self.target(node.child_by_field_name("array"))
        if node.type == "identifier":
            name = text_of(node)
            own = name not in self.scope.local and self.program.field(self.method.owner, name) is not None
            return f"this.{name}" if own else name
        if node.type == "field_access":
            path = self.path(node.child_by_field_name("object"))
            return f"{path}.{text_of(node.child_by_field_name('field'))}" if path else ""
        return ""

    def _matched(self, node: Node) -> Value:
        """`x instanceof T y`."""
        value, name = self.value(node.child_by_field_name("left")), node.child_by_field_name("name")
        if name is not None:
            self.scope.declare(text_of(name), node.child_by_field_name("right"))
            self.steps.append(Assign((text_of(name),), value))
        return Parts()

    def _switch(self, node: Node) -> Value:
        name = self.fresh(node)
        self.steps.append(Assign((name,), Parts()))
        self._aside(node.child_by_field_name("condition"))
        body = node.child_by_field_name("body")
        self._yields.append(name)
        subject, sure, ends = code_of(node.child_by_field_name("condition")), bool(body), False
        for rule in body.named_children if body is not None else ():
            labels = [one for one in rule.named_children if one.type == "switch_label"]
            default = any(not one.named_children for one in labels)
            listed = sure and not default and all(is_constant(one) for label in labels for one in label.named_children)
            sure = sure and (listed or leaves(rule, only=OUT))
            ends = ends or default
            self.opened(frozenset({(subject, False)}) if listed and subject else NONE)
            last = rule.named_children[-1] if rule.named_children else None
            if rule.type == "switch_rule" and last is not None and last.type == "expression_statement":
                self.steps.append(Assign((name,), self.value(last.named_children[0]), extend=True))
            else:
                self.statements(rule)
            self.closed()
        self._yields.pop()
        if sure and ends and subject:
            self.checked(frozenset({(subject, False)}))
        return Name(name)

    def fresh(self, node: Node) -> str:
        """A name for the value of an expression, that no variable has."""
        return f"{node.start_byte}:{node.end_byte}"

    def _binary(self, node: Node) -> Value:
        operands: list[Node] = []
        inner: Node | None = node
        while inner is not None and inner.type == "binary_expression":
            right, left = inner.child_by_field_name("right"), inner.child_by_field_name("left")
            if text_of(inner.child_by_field_name("operator")) != "+":
                break
            operands += [right] if right is not None else []
            inner = left
        if inner is node:
            left, operator = node.child_by_field_name("left"), text_of(node.child_by_field_name("operator"))
            self._aside(left)
            if operator in ("&&", "||"):
                self.evaluate(self._under(node.child_by_field_name("right"), left, held=operator == "&&"))
            else:
                self._aside(node.child_by_field_name("right"))
            return Parts()
        return Parts(tuple(self._joined([*([inner] if inner is not None else []), *reversed(operands)])))

    def _joined(self, operands: Sequence[Node]) -> Iterator[Value]:
        """The values of a text's parts; those do no harm as an address that do not stand at its beginning."""
        before, begins = "", True
        for node in operands:
            text = text_of(node)
            if node.type == "string_literal":
                begins = begins or text.startswith('"://')
                before = "" if text.startswith('"://') else before + text[1:-1]
                begins = begins and (text.startswith('"://') or OPEN.fullmatch(before) is not None)
                continue
            value = self.value(node)
            yield value if begins else Harmless(value, self.rules.addresses)
            begins = False

    def function_value(self, node: Node, given: Value, kind: JavaType | None) -> Value:
        """What a lambda returns; its parameters hold what is given."""
        holder, body = node.child_by_field_name("parameters"), node.child_by_field_name("body")
        known = kind.arguments if kind is not None else ()
        names: list[str] = []
        if holder is not None and holder.type == "identifier":
            names = [text_of(holder)]
        elif holder is not None and holder.type == "inferred_parameters":
            names = [text_of(child) for child in holder.named_children]
        for number, name in enumerate(names):
            self.scope.local[name] = known[-1 if len(names) == 1 else number] if len(known) >= len(names) else None
        if holder is not None and holder.type == "formal_parameters":
            for child in holder.named_children:
                names.append(text_of(child.child_by_field_name("name")))
                self.scope.declare(names[-1], child.child_by_field_name("type"))
        self.steps += [Assign((name,), given) for name in names]
        if body is None or body.type != "block":
            return self.value(body)
        result = self.fresh(node)
        self._results.append(result)
        self.steps.append(Assign((result,), Parts()))
        self.statements(body)
        self._results.pop()
        return Name(result)

    def inner_method(self, node: Node) -> None:
        """Adds the steps of a method that stands within the method, of an anonymous class."""
        holder, body = node.child_by_field_name("parameters"), node.child_by_field_name("body")
        for child in holder.named_children if holder is not None else ():
            name = text_of(child.child_by_field_name("name"))
            if name:
                self.scope.declare(name, child.child_by_field_name("type"))
                self.steps.append(Assign((name,), Parts()))
        if body is not None:
            self._results.append("")
            self.statements(body)
            self._results.pop()
