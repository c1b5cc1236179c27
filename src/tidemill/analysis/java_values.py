"""The values of a Java method's expressions, in the words of `flow`: see `java_flow`."""

import re
from collections.abc import Iterator, Sequence

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
    harms_of,
)
from tidemill.analysis.java_calls import Callee, Scope, accessed, arguments_of
from tidemill.analysis.java_fields import Carried
from tidemill.analysis.java_rules import JavaEscape, JavaRules
from tidemill.analysis.java_types import JavaClass, JavaMethod, JavaProgram, JavaType, text_of

_OPEN = re.compile(r"(?:redirect:|forward:)?(?:(?:https?:)?/?/?)?|\s*")
"""A text after which an address can still begin."""
_FILLED = re.compile(r"\w*(?:AllArgsConstructor|RequiredArgsConstructor|Data|Value|Builder)")
"""Annotations of Lombok's by which a class has a constructor that is not written."""
_HOLE = re.compile(r"%(?:\d+\$)?-?s|\{0?\}")
_LAMBDAS = frozenset({"lambda_expression", "method_reference"})


class Values:
    """Tells the values of one method's expressions; the steps that they take on the way are added to the function."""

    def __init__(
        self, method: JavaMethod, function: Function, program: JavaProgram, carried: Carried, rules: JavaRules
    ) -> None:
        self.method = method
        self.function = function
        self.steps: list[Step] = function.steps
        self.scope = Scope(program, method.owner, rules.returns)
        self._program = program
        self._carried = carried
        self.rules = rules
        self._paths: dict[int, str] = {}
        self._empty: set[str] = set()
        self._results: list[str] = []
        self._yields: list[str] = []
        self._no_page = carried.answers_else(method.owner)

    def statements(self, body: Node) -> None:
        """Adds the steps of a block; see `java_flow`."""
        raise NotImplementedError

    def place(self, node: Node) -> Place:
        """The line on which a node begins."""
        return Place(self.function.path, node.start_point.row + 1)

    def result(self, node: Node) -> str | None:
        """The name that keeps what a `return` or `yield` gives; empty where nothing does, `None` for the method's."""
        kept = self._yields if node.type == "yield_statement" else self._results
        return kept[-1] if kept else None

    def harm(self, value: Value, place: Place, kind: str) -> None:
        """Adds that a value does harm."""
        if not (self._no_page and kind in self.rules.pages):
            self.steps.append(Evaluate(Call(place, ((None, value),), harms=((kind, 0),))))

    def evaluate(self, value: Value) -> None:
        """Adds a step that computes a value; none where that does nothing."""
        if not isinstance(value, Name) and not (isinstance(value, Parts) and not value.of):
            self.steps.append(Evaluate(value))

    def kept(self, value: Value, node: Node) -> Value:
        """A value that is used more than once, under a name of its own."""
        if isinstance(value, Name) or (isinstance(value, Parts) and not value.of):
            return value
        name = self._fresh(node)
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
                return self._field(node)
            case "method_invocation" | "explicit_constructor_invocation":
                return self._call(node)
            case "object_creation_expression":
                return self._made(node)
            case "assignment_expression":
                return self._assigned(node)
            case "binary_expression":
                return self._binary(node)
            case "lambda_expression":
                return self._lambda(node, Parts(), None)
            case "method_reference":
                return Parts()
            case "cast_expression" | "array_access":
                value = self.value(node.child_by_field_name("value" if node.type == "cast_expression" else "array"))
                self._aside(node.child_by_field_name("index"))
                return Parts() if self._carried.plain(self.scope.type_of(node)) else value
            case "ternary_expression":
                self._aside(node.child_by_field_name("condition"))
                given = (node.child_by_field_name("consequence"), node.child_by_field_name("alternative"))
                return Parts(tuple(self.value(one) for one in given))
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

    def _aside(self, node: Node | None) -> None:
        """Tells of what an expression does whose value is not followed."""
        if node is not None:
            self.evaluate(self.value(node))

    def _identifier(self, name: str) -> Value:
        if name in self.scope.local:
            return Parts() if self._carried.plain(self.scope.local[name]) else Name(name)
        return self._of_object("this", name, self.method.owner) or Name(name)

    def _field(self, node: Node) -> Value:
        object_, name = node.child_by_field_name("object"), text_of(node.child_by_field_name("field"))
        if object_ is None or name in ("this", "class") or self.scope.holder(object_) is not None:
            return Parts()
        if self._carried.plain(self.scope.type_of(node)):
            return Parts()
        kind, path = self.scope.type_of(object_), self.path(object_)
        if kind is not None and kind.declared is not None and path:
            return self._of_object(path, name, kind.declared) or self.value(object_)
        return self.value(object_)

    def _of_object(self, path: str, name: str, owner: JavaClass) -> Value | None:
        """A field of an object that has a name here."""
        found = self._program.field(owner, name)
        if found is None:
            return None
        field, holder = found
        kind = self._program.type_at(field.node, holder) if field.node is not None else None
        if field.static or (self._carried.plain(kind) and not field.array):
            return Parts()
        if path == "this" and any(self.rules.filled.fullmatch(one) for one in field.annotations):
            return Outside(Place(holder.file.path, field.line))
        return Parts((Name(path), Name(f"{path}.{name}")))

    def path(self, node: Node | None) -> str:
        """The name by which the fields of an expression's object are known here; empty where they are not."""
        if node is None:
            return ""
        if node.id in self._paths:
            return self._paths[node.id]
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
                kind = self._program.type_at(returned, callee.method.owner)
                if kind.declared is callee.method.owner:  # a builder, as it seems
                    return self.path(callee.receiver)
        return ""

    def assign(self, name: str, node: Node | None, place: Place | None, *, extend: bool = False) -> None:
        """Adds that a name is given the value of an expression, with the fields of its object."""
        value = self.value(node)
        if extend:
            value = Harmless(value, self.rules.addresses)
        self.steps.append(Assign((name,), value, place, extend))
        self._empty.discard(name)
        if node is not None and node.type == "object_creation_expression" and not arguments_of(node):
            self._empty.add(name)
        path, kind = self.path(node), self.scope.type_of(node)
        if path and path != name and kind is not None and kind.declared is not None:
            for field in self._carried.fields(kind.declared):
                self.steps.append(Assign((f"{name}.{field}",), Name(f"{path}.{field}")))

    def _assigned(self, node: Node) -> Value:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        extend = text_of(node.child_by_field_name("operator")) != "="
        name = self._target(left)
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

    def _target(self, node: Node | None) -> str:
        """The name that an assignment to an expression gives a value; empty where it is not followed."""
        if node is None:
            return ""
        if node.type == "array_access":
            return self._target(node.child_by_field_name("array"))
        if node.type == "identifier":
            name = text_of(node)
            own = name not in self.scope.local and self._program.field(self.method.owner, name) is not None
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
        name = self._fresh(node)
        self.steps.append(Assign((name,), Parts()))
        self._aside(node.child_by_field_name("condition"))
        body = node.child_by_field_name("body")
        self._yields.append(name)
        for rule in body.named_children if body is not None else ():
            last = rule.named_children[-1] if rule.named_children else None
            if rule.type == "switch_rule" and last is not None and last.type == "expression_statement":
                self.steps.append(Assign((name,), self.value(last.named_children[0]), extend=True))
            else:
                self.statements(rule)
        self._yields.pop()
        return Name(name)

    def _fresh(self, node: Node) -> str:
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
            for side in (node.child_by_field_name("left"), node.child_by_field_name("right")):
                self._aside(side)
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
                begins = begins and (text.startswith('"://') or _OPEN.fullmatch(before) is not None)
                continue
            value = self.value(node)
            yield value if begins else Harmless(value, self.rules.addresses)
            begins = False

    def _lambda(self, node: Node, given: Value, kind: JavaType | None) -> Value:
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
        result = self._fresh(node)
        self._results.append(result)
        self.steps.append(Assign((result,), Parts()))
        self.statements(body)
        self._results.pop()
        return Name(result)

    def _reference(self, node: Node, given: Value) -> Value:
        """What a method that is handed on returns; its argument is what is given."""
        parts = node.children
        if len(parts) < 3:
            return Parts()
        name, object_ = text_of(parts[-1]), parts[0]
        if name == "new":
            return given
        callee = self.scope.on(object_, name, [node])
        if callee.method is None and callee.fixed:
            callee = self.scope.on(object_, name, []) if callee.kind and callee.kind.declared else callee
        if callee.method is not None and not callee.method.parameters:
            return self._result_of(callee, node, [], [], given)
        return self._result_of(callee, node, [object_], [given], Parts())

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

    def _made(self, node: Node) -> Value:
        value = self._call(node)
        for child in node.named_children:
            if child.type == "class_body":
                self.statements(child)
        return value

    def _call(self, node: Node) -> Value:
        callee = self.scope.callee(node)
        receiver: Value = Parts()
        if callee.receiver is not None:
            receiver = self.value(callee.receiver)
        elif callee.own:
            receiver = Name("this")
        given = arguments_of(node)
        if any(one.type in _LAMBDAS for one in given):
            receiver = self.kept(receiver, node)
        values: list[Value] = []
        for one in given:
            if one.type == "lambda_expression":
                values.append(self._lambda(one, receiver, callee.kind))
            elif one.type == "method_reference":
                values.append(self._reference(one, receiver))
            else:
                values.append(self.value(one))
            values[-1] = self.kept(values[-1], one)
        return self._result_of(callee, node, given, values, receiver)

    def _result_of(
        self, callee: Callee, node: Node, given: Sequence[Node], values: Sequence[Value], receiver: Value
    ) -> Value:
        """What a call returns; what it does is added to the steps."""
        rules, place = self.rules, self.place(node)
        if callee.method is not None and callee.method.function is not None:
            return self._through(callee, callee.method, callee.method.function, node, given, values, receiver)
        meaning = self._carried.meanings.of(callee.names)
        if meaning.source is not None:
            return Harmless(Outside(place), meaning.source.kinds)
        harms = self._harms(callee, node)
        if callee.kind is not None and callee.kind.declared is not None:
            found = self._unwritten(callee, node, given, values)
            if found is not None:
                return found
        if harms:
            self.steps.append(Evaluate(Call(place, tuple((None, one) for one in values), harms=harms)))
        if rules.facts.fullmatch(callee.name) or self._carried.plain(self.scope.type_of(node)):
            return Parts()
        self._grown(callee, values)
        if rules.maps.fullmatch(callee.name) and any(one.type in _LAMBDAS for one in given):
            return Parts(tuple(values))
        inside = self._kept(callee, node, given, values)
        escape = self._escape(callee, node)
        whole = Parts((receiver, *inside))
        if escape is None:
            return whole
        return Harmless(whole, escape.kinds) if escape.kinds else Parts()

    def _escape(self, callee: Callee, node: Node) -> JavaEscape | None:
        """What the result of a call does no longer."""
        for one in self._carried.meanings.of(callee.names).escapes:
            if one.arguments is None or one.arguments.match(_code(node)):
                return one
        return None

    def _kept(self, callee: Callee, node: Node, given: Sequence[Node], values: Sequence[Value]) -> Sequence[Value]:
        """The arguments that are in what an unread method returns."""
        rules, meaning = self.rules, self._carried.meanings.of(callee.names)
        if callee.fixed:
            if meaning.drops:
                return ()
            if meaning.wraps:
                return values[:1]
        elif not meaning.keeps:
            return ()
        if callee.name in ("format", "formatted") and given and given[0].type == "string_literal":
            template = text_of(given[0])[1:-1]
            hole = _HOLE.search(template)
            first = hole is not None and _OPEN.fullmatch(template[: hole.start()]) is not None
            return [
                one if first and number == 1 else Harmless(one, rules.addresses) for number, one in enumerate(values)
            ]
        if callee.name in ("append", "concat", "queryParam", "path", "resolveTemplate"):
            receiver = callee.receiver
            bare = receiver is None or (receiver.type == "object_creation_expression" and not arguments_of(receiver))
            if callee.name != "append" or not (bare or (receiver is not None and text_of(receiver) in self._empty)):
                return [Harmless(one, rules.addresses) for one in values]
        return values

    def _grown(self, callee: Callee, values: Sequence[Value]) -> None:
        """What a method puts into its object is in it from then on."""
        if not values or not self._carried.meanings.of(callee.names).grows:
            return
        name = self._root(callee.receiver)
        if not name:
            return
        added: Value = Parts(tuple(values[-1:] if callee.name.startswith("put") else values))
        if callee.name in ("append", "insert") and name not in self._empty:
            added = Harmless(added, self.rules.addresses)
        self._empty.discard(name)
        self.steps.append(Assign((name,), added, extend=True))

    def _root(self, node: Node | None) -> str:
        """The name of the object that a chain of calls fills."""
        while node is not None and node.type == "method_invocation":
            callee = self.scope.callee(node)
            if not self._carried.meanings.of(callee.names).grows:
                return ""
            node = callee.receiver
        return self._target(node)

    def _harms(self, callee: Callee, node: Node) -> tuple[tuple[str, int | None], ...]:
        sinks = self._carried.meanings.of(callee.names).sinks
        if not sinks:
            return ()
        around = node.parent
        if around is not None and around.type == "method_invocation" and callee.name == "new":
            if text_of(around.child_by_field_name("name")) == "getName":
                return ()  # of a file that is only asked for its name
        harms = harms_of(sinks, callee.names, _code(node))
        return tuple(one for one in harms if not (self._no_page and one[0] in self.rules.pages))

    def _through(
        self,
        callee: Callee,
        method: JavaMethod,
        function: Function,
        node: Node,
        given: Sequence[Node],
        values: Sequence[Value],
        receiver: Value,
    ) -> Value:
        """A call of a method that is read."""
        made = callee.name == "new"
        path = self._new(node) if made else "this" if callee.own else self.path(callee.receiver)
        if node.type == "explicit_constructor_invocation":
            path = "this"
        arguments: list[tuple[str | None, Value]] = []
        paths: dict[str, str] = {}
        for number, parameter in enumerate(method.parameters):
            if method.variable and number == len(method.parameters) - 1:
                arguments.append((None, Parts(tuple(values[number:]))))
            elif number < len(values):
                arguments.append((None, values[number]))
                paths[parameter.name] = self.path(given[number])
        if not method.static and not made:
            arguments.append(("this", receiver))
            paths["this"] = path
        for name in function.parameters[len(method.parameters) :]:
            holder, _, field = name.partition(".")
            if field and paths.get(holder):
                arguments.append((name, Name(f"{paths[holder]}.{field}")))
        call = Call(self.place(node), tuple(arguments), targets=(function,))
        escape = self._escape(callee, node) or self._carried.escaper(method)
        plain = made or self._carried.plain(self.scope.type_of(node)) or (escape is not None and not escape.kinds)
        if plain:
            self.steps.append(Evaluate(call))
        if path:
            for field, number in self._carried.sets(method):
                if number < len(values):
                    self.steps.append(Assign((f"{path}.{field}",), values[number]))
        if made:
            return Name(path)
        if plain:
            return Parts()
        return Harmless(call, escape.kinds) if escape is not None else call

    def _new(self, node: Node) -> str:
        """The name of an object that is made here."""
        if node.type == "explicit_constructor_invocation":
            return "this"
        path = self._paths[node.id] = self._fresh(node)
        kind = self.scope.type_of(node)
        fields = self._carried.fields(kind.declared) if kind is not None and kind.declared is not None else ()
        self.steps.append(Assign((path, *(f"{path}.{field}" for field in fields)), Parts()))
        return path

    def _unwritten(self, callee: Callee, node: Node, given: Sequence[Node], values: Sequence[Value]) -> Value | None:
        """A constructor, getter or setter that a record or Lombok gives a class that is read."""
        owner = callee.kind.declared if callee.kind is not None else None
        if owner is None:
            return None
        if callee.name == "new" and node.type == "object_creation_expression":
            path = self._new(node)
            names = [field.name for field, holder in self._program.fields(owner) if holder is owner]
            record = owner.node.type == "record_declaration" or any(map(_FILLED.fullmatch, owner.annotations))
            if record and len(names) == len(values) and "new" not in owner.methods:
                self.steps += [Assign((f"{path}.{one}",), value) for one, value in zip(names, values, strict=True)]
                return Name(path)
            return None
        path = "this" if callee.own else self.path(callee.receiver)
        if not path or callee.name in owner.methods:
            return None
        got = callee.name if owner.node.type == "record_declaration" else accessed(callee.name, getter=True)
        if got and not given:
            return self._of_object(path, got, owner)
        put = accessed(callee.name, getter=False)
        if put and len(values) == 1 and self._program.field(owner, put) is not None:
            self.steps.append(Assign((f"{path}.{put}",), values[0]))
            return Name(path)
        return None


def _code(node: Node) -> str:
    """The code of a call's arguments, in brackets."""
    return text_of(node.child_by_field_name("arguments"))
