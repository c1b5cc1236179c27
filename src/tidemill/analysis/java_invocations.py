"""What the calls in a Java method do and return, in the words of `flow`: see `java_flow`."""

import re
from collections.abc import Sequence

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
    Value,
    harms_of,
)
from tidemill.analysis.java_calls import Callee, accessed, arguments_of
from tidemill.analysis.java_checks import is_normal, is_normal_code
from tidemill.analysis.java_declarations import CONSTRUCTOR, JavaMethod
from tidemill.analysis.java_rules import JavaEscape
from tidemill.analysis.java_values import OPEN, Values
from tidemill.analysis.syntax import text_of

_FILLED = re.compile(r"\w*(?:AllArgsConstructor|RequiredArgsConstructor|Data|Value|Builder)")
"""Annotations of Lombok's by which a class has a constructor that is not written."""
_FIRST = re.compile(r"\(\s*(\w+)\b")
_HOLE = re.compile(r"%(?:\d+\$)?-?s|\{0?\}")
_LATER = frozenset(
    {
        *("concat", "path", "pathSegment", "segment", "replacePath", "query", "queryParam", "queryParams"),
        *("replaceQuery", "matrixParam", "fragment", "build", "buildAndExpand", "expand", "resolveTemplate"),
    }
)
"""Methods whose arguments stand behind what the object holds."""
_LAMBDAS = frozenset({"lambda_expression", "method_reference"})


class Invocations(Values):
    """Tells the values of one method's calls."""

    def _reference(self, node: Node, given: Value) -> Value:
        """What a method that is handed on returns; its argument is what is given."""
        parts = node.children
        if len(parts) < 3:
            return Parts()
        name, object_ = text_of(parts[-1]), parts[0]
        if name == CONSTRUCTOR:
            return given
        callee = self.scope.on(object_, name, [node])
        if callee.method is None and callee.fixed:
            callee = self.scope.on(object_, name, []) if callee.kind and callee.kind.declared else callee
        if callee.method is not None and not callee.method.parameters:
            return self._result_of(callee, node, [], [], given)
        return self._result_of(callee, node, [object_], [given], Parts())

    def call(self, node: Node) -> Value:
        """What a call, or the making of an object, returns; what it does is added to the steps."""
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
                values.append(self.function_value(one, receiver, callee.kind))
            elif one.type == "method_reference":
                values.append(self._reference(one, receiver))
            else:
                values.append(self.value(one))
            values[-1] = self.kept(values[-1], one)
        result = self._result_of(callee, node, given, values, receiver)
        if callee.name == "filter" and callee.method is None and len(given) == 1 and self.checks.sieves(given[0]):
            result = Parts()
        for child in node.named_children:
            if child.type == "class_body":
                self.statements(child)
        return result

    def _result_of(
        self, callee: Callee, node: Node, given: Sequence[Node], values: Sequence[Value], receiver: Value
    ) -> Value:
        """What a call returns; what it does is added to the steps."""
        rules, place = self.rules, self.place(node)
        if callee.method is not None and callee.method.function is not None:
            return self._through(callee, callee.method, callee.method.function, node, given, values, receiver)
        meaning = self.carried.meanings.of(callee.names)
        if meaning.source is not None:
            return Harmless(Outside(place), meaning.source.kinds)
        harms = self._harms(callee, node)
        if callee.kind is not None and callee.kind.declared is not None:
            found = self._unwritten(callee, node, given, values)
            if found is not None:
                return found
        if harms:
            self.steps.append(Evaluate(Call(place, tuple((None, one) for one in values), harms=harms)))
        if rules.facts.fullmatch(callee.name) or self.carried.plain(self.scope.type_of(node)):
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
        escapes = self.carried.meanings.of(callee.names).escapes
        code = _code(node) if escapes else ""
        first = _FIRST.match(code)
        if first is not None and first[1] in self.positions:
            code = f"({self.positions[first[1]]}{code[first.end() :]}"
        return next((one for one in escapes if one.arguments is None or one.arguments.match(code)), None)

    def _kept(self, callee: Callee, node: Node, given: Sequence[Node], values: Sequence[Value]) -> Sequence[Value]:
        """The arguments that are in what an unread method returns."""
        rules, meaning = self.rules, self.carried.meanings.of(callee.names)
        if callee.fixed:
            if meaning.drops:
                return ()
            if meaning.wraps:
                return values[:1]
        elif not meaning.keeps:
            return ()
        if callee.name in ("format", "formatted"):
            return self._formatted(callee, given, values)
        if callee.name == "append":
            receiver = callee.receiver
            made = receiver is None or (receiver.type == "object_creation_expression" and not arguments_of(receiver))
            begins = made or (receiver is not None and text_of(receiver) in self.empty)
        else:
            begins = callee.name not in _LATER
        return values if begins else [Harmless(one, rules.addresses) for one in values]

    def _formatted(self, callee: Callee, given: Sequence[Node], values: Sequence[Value]) -> Sequence[Value]:
        """The arguments of a template, of which one at most stands at the beginning."""
        literals = (number for number, one in enumerate(given[:2]) if one.type == "string_literal")
        at = -1 if callee.name == "formatted" else next(literals, None)
        template = callee.receiver if at == -1 else given[at] if at is not None else None
        if at is None or template is None or template.type != "string_literal":
            return values
        text = text_of(template)[1:-1]
        hole = _HOLE.search(text)
        begins = hole is not None and OPEN.fullmatch(text[: hole.start()]) is not None
        return [
            one if begins and number == at + 1 else Harmless(one, self.rules.addresses)
            for number, one in enumerate(values)
        ]

    def _grown(self, callee: Callee, values: Sequence[Value]) -> None:
        """What a method puts into its object is in it from then on."""
        if not values or not self.carried.meanings.of(callee.names).grows:
            return
        name = self._root(callee.receiver)
        if not name:
            return
        added: Value = Parts(tuple(values[-1:] if callee.name.startswith("put") else values))
        if callee.name in ("append", "insert") and name not in self.empty:
            added = Harmless(added, self.rules.addresses)
        self.empty.discard(name)
        self.steps.append(Assign((name,), added, extend=True))

    def _root(self, node: Node | None) -> str:
        """The name of the object that a chain of calls fills."""
        while node is not None and node.type == "method_invocation":
            callee = self.scope.callee(node)
            if not self.carried.meanings.of(callee.names).grows:
                return ""
            node = callee.receiver
        return self.target(node)

    def _harms(self, callee: Callee, node: Node) -> tuple[tuple[str, int | None], ...]:
        """What is found where an argument of the call comes from outside."""
        sinks = self.carried.meanings.of(callee.names).sinks
        if not sinks:
            return ()
        around = node.parent if callee.name == CONSTRUCTOR else None
        if around is not None and text_of(around.child_by_field_name("name")) == "getName":
            return ()  # of a file that is only asked for its name
        harms = harms_of(sinks, callee.names, _code(node))
        if any(kind in self.rules.paths for kind, _ in harms) and self._in_folder(node):
            harms = tuple(one for one in harms if one[0] not in self.rules.paths)
        return tuple(one for one in harms if not (self.no_page and one[0] in self.rules.pages))

    def _in_folder(self, node: Node) -> bool:
        """Whether a path is made that is held against a folder later."""
        around = node.parent
        while around is not None and around.type in ("method_invocation", "parenthesized_expression", "argument_list"):
            around = around.parent
        if around is None or around.type not in ("variable_declarator", "assignment_expression"):
            return False
        name = text_of(around.child_by_field_name("name") or around.child_by_field_name("left"))
        value = around.child_by_field_name("value") or around.child_by_field_name("right")
        made = self.held_in_folders().get(name)
        return made is not None and (is_normal(value) or is_normal_code(made))

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
        made = callee.name == CONSTRUCTOR
        path = self._new(node) if made else "this" if callee.own else self.path(callee.receiver)
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
        escape = self._escape(callee, node) or self.carried.escaper(method)
        plain = made or self.carried.plain(self.scope.type_of(node)) or (escape is not None and not escape.kinds)
        if plain:
            self.steps.append(Evaluate(call))
        if path:
            for field, number in self.carried.sets(method):
                if number < len(values):
                    self.steps.append(Assign((f"{path}.{field}",), values[number]))
        if made:
            return Name(path)
        if plain:
            return Parts()
        return Harmless(call, escape.kinds) if escape is not None else call

    def _new(self, node: Node) -> str:
        """The name of an object that is made here, without anything in its fields yet."""
        if node.type == "explicit_constructor_invocation":
            return "this"
        path = self.paths[node.id] = self.fresh(node)
        kind = self.scope.type_of(node)
        fields = self.carried.fields(kind.declared) if kind is not None and kind.declared is not None else ()
        self.steps.append(Assign((path, *(f"{path}.{field}" for field in fields)), Parts()))
        return path

    def _unwritten(self, callee: Callee, node: Node, given: Sequence[Node], values: Sequence[Value]) -> Value | None:
        """A constructor, getter or setter that a record or Lombok gives a class that is read."""
        owner = callee.kind.declared if callee.kind is not None else None
        if owner is None:
            return None
        if callee.name == CONSTRUCTOR and node.type == "object_creation_expression":
            path = self._new(node)
            names = self.carried.of_objects(owner)
            record = owner.node.type == "record_declaration" or any(map(_FILLED.fullmatch, owner.annotations))
            if record and len(names) == len(values) and CONSTRUCTOR not in owner.methods:
                self.steps += [Assign((f"{path}.{one}",), value) for one, value in zip(names, values, strict=True)]
            return Name(path)
        path = "this" if callee.own else self.path(callee.receiver)
        if not path or callee.name in owner.methods:
            return None
        got = callee.name if owner.node.type == "record_declaration" else accessed(callee.name, getter=True)
        if got and not given:
            return self.of_object(path, got, owner)
        put = accessed(callee.name, getter=False)
        if put and len(values) == 1 and self.program.field(owner, put) is not None:
            self.steps.append(Assign((f"{path}.{put}",), values[0]))
            return Name(path)
        return None


def _code(node: Node) -> str:
    """The code of a call's arguments, in brackets."""
    return text_of(node.child_by_field_name("arguments"))
