"""What Go's calls return and fill, in the words of `flow`: see `go_flow`. By tree-sitter."""

from abc import abstractmethod
from collections.abc import Sequence

from tree_sitter import Node

from tidemill.analysis.flow import Assign, Call, Evaluate, Harmless, Name, Outside, Parts, Value, harms_of
from tidemill.analysis.go_meaning import BUILTIN, Meaning
from tidemill.analysis.go_packages import operator_of
from tidemill.analysis.go_rules import OfName
from tidemill.analysis.go_values import STRINGS, Closure, Values, Variable
from tidemill.analysis.syntax import text_of

_TEXTS = frozenset({"", "any", "string", "byte", "[]string", "[]byte", "[]any"})
"""Types whose values a sink may take for text."""
_LONGEST = 400
"""Characters of a call's arguments that are looked at."""
_DEEPEST = 6
"""Names of `a.b.c` by which an object is called whose type is not known."""


class Calls(Values):
    """Tells what the calls of one function return and fill."""

    def _called(self, node: Node) -> Value:
        callee = node.child_by_field_name("function")
        given = _given(node)
        if callee is None:
            return Parts()
        if callee.type == "func_literal":
            return self._entered(self._closure(callee), given)
        if callee.type == "identifier" and (variable := self._variable(text_of(callee))) is not None:
            if variable.closure is not None:
                return self._entered(variable.closure, given)
            for one in given:
                self._discard(one)
            return Parts()
        meaning = self._meanings.of(callee)
        if meaning.conversion or callee.type.endswith("_type"):
            return self._converted(meaning.type, given)
        if (outside := self._outside(callee, meaning)) is not None:
            for one in given:
                self._discard(one)
            return outside
        return self._passed(node, meaning, given, callee)

    def _entered(self, closure: Closure, given: Sequence[Node]) -> Value:
        """A call of a function within the function: it was told before, so what it does is told again with this."""
        for name, one in zip(closure.parameters, given, strict=False):
            self._steps.append(Assign((name,), self._value(one), extend=True))
        self._function.repeats = True
        return Name(closure.result)

    def _passed(self, node: Node, meaning: Meaning, given: Sequence[Node], callee: Node | None) -> Value:
        """A call by what it means."""
        if meaning.name in BUILTIN:
            return self._built_in(meaning.name, given)
        operand = self._object(callee)
        name = meaning.name or (f"?{_written(callee)}" if callee is not None and not meaning.functions else "")
        of = self._rules.of_name(name)
        if of.harmless:
            for one in (*given, *([operand] if operand is not None else [])):
                self._discard(one)
            return Parts()
        receiver = self._value(operand) if operand is not None else Parts()
        values = self._arguments(of, given)
        self._fill(node, of, callee, given, [*values, receiver])
        if of.appends and given and self._rules.of_name(f"{self._meanings.type(given[0])}.Write").writes:
            self._store(given[0], Parts(tuple(values[1:])), extend=True)
        if of.writes and operand is not None:
            self._store(operand, Parts(tuple(values)), extend=True)
        if meaning.functions:
            return self._of_read(node, meaning, values, receiver)
        call = Call(
            self._place(node), tuple((None, value) for value in values), receiver, (), self._harms(node, name, given)
        )
        if call.harms or not of.holds or self._plain(meaning.type):
            for value in [call] if call.harms else values:
                self._evaluate(value)
            return Parts() if self._plain(meaning.type) or call.harms else self._spent(of, receiver)
        return self._spent(of, values[0] if of.formats and len(values) == 1 else call, node, name)

    def _spent(self, of: OfName, value: Value, node: Node | None = None, name: str = "") -> Value:
        """A value without the kinds of harm that the table says it does not do."""
        kinds = of.kinds
        code = text_of(node.child_by_field_name("arguments"))[:_LONGEST] if node is not None else ""
        if self._rules.rooted.match(name + code):
            kinds |= self._rules.paths
        return Harmless(value, kinds) if kinds else value

    def _object(self, callee: Node | None) -> Node | None:
        """The object whose method is called; `None` for a package's function."""
        operand = callee.child_by_field_name("operand") if callee is not None else None
        if callee is None or operand is None or callee.type != "selector_expression":
            return None
        if operand.type == "identifier" and self._variable(text_of(operand)) is None:
            return None
        return operand

    def _arguments(self, of: OfName, given: Sequence[Node]) -> list[Value]:
        """The values of the arguments; those of a format and its own are one."""
        if of.formats:
            before = 1 if of.appends else 0
            if (text := self._formatted(given[before:])) is not None:
                return [*(self._value(one) for one in given[:before]), text]
        return [self._value(one) for one in given]

    def _built_in(self, name: str, given: Sequence[Node]) -> Value:
        values = [self._value(one) for one in given]
        if name == "copy" and len(values) == 2:
            self._store(given[0], values[1], extend=True)
        if name in ("append", "min", "max"):
            return Parts(tuple(values))
        for value in values:
            self._evaluate(value)
        return Parts()

    def _of_read(self, node: Node, meaning: Meaning, values: Sequence[Value], receiver: Value) -> Value:
        """The call of functions that are read."""
        at = min((len(one.types) - 1 for one in meaning.functions if one.variadic), default=None)
        if at is not None and len(values) > at + 1:
            values = [*values[:at], Parts(tuple(values[at:]))]
        objects = dict.fromkeys(one.receiver for one in meaning.functions if one.receiver)
        call = Call(
            self._place(node),
            (*((None, value) for value in values), *((name, receiver) for name in objects)),
            None,
            tuple(one.function for one in meaning.functions),
        )
        if all(self._plain(kind) for kind in meaning.types):
            self._steps.append(Evaluate(call))
            return Parts()
        return call

    def _harms(self, node: Node, name: str, given: Sequence[Node]) -> tuple[tuple[str, int | None], ...]:
        """What the call of a function that is not read does with each of its arguments."""
        typed = f"{name}@{self._meanings.type(given[0])}" if given else name
        sinks = (*self._rules.of_name(name).sinks, *(self._rules.of_name(typed).sinks if typed != name else ()))
        if not sinks:
            return ()
        code = text_of(node.child_by_field_name("arguments"))[:_LONGEST]
        response = self._rules.response
        writes = name.startswith(f"{response}.") or typed.endswith(f"@{response}")
        found = []
        for kind, position in harms_of(sinks, (name, typed), code):
            if writes and not self._writes_page(given[-1] if len(given) == 1 else given[1]):
                continue
            for number in range(len(given)) if position is None else (position,):
                if number < len(given) and self._is_text(given[number]):
                    found.append((kind, number))
        return tuple(found)

    def _is_text(self, node: Node) -> bool:
        return self._declared.underlying(self._meanings.type(node)) in _TEXTS

    def _writes_page(self, node: Node) -> bool:
        """Whether what is written may be taken for a page: it begins like one, or the function writes more of one."""
        if self._page is None:
            code = text_of(self._code)
            self._page = self._rules.page.search(code) is not None
            self._no_page = self._rules.no_page.search(code) is not None
        while node.type in ("type_conversion_expression", "binary_expression", "call_expression"):
            inner = node.child_by_field_name("operand") or node.child_by_field_name("left")
            if inner is None:
                inner = next(iter(_given(node)), None)
            if inner is None:
                break
            node = inner
        head = text_of(node)[1:-1].lstrip() if node.type in STRINGS else ""
        return not self._no_page and (self._page or head[:1] in ("", "<", "%"))

    def _fill(
        self, node: Node, of: OfName, callee: Node | None, given: Sequence[Node], values: Sequence[Value]
    ) -> None:
        """Gives values to what a call fills."""
        if of.binds:
            value: Value = Outside(self._place(node))
        elif of.fills:
            value = Parts(tuple(values))
        elif self._decodes(callee, given):
            value = Outside(self._place(node))
        else:
            return
        for one in given:
            pointed = one.type == "unary_expression" and operator_of(one) == "&"
            if pointed or (one.type == "identifier" and self._is_filled(self._variable(text_of(one)))):
                self._store(one, value, extend=True)

    def _is_filled(self, variable: Variable | None) -> bool:
        """Whether a variable may be a pointer to something that a call fills."""
        if variable is None or variable.served or variable.kind == self._rules.response:
            return False
        return variable.own or variable.kind in ("any", "[]byte")

    def _decodes(self, callee: Node | None, given: Sequence[Node]) -> bool:
        if callee is None or not self._rules.decodes.fullmatch(text_of(callee)[-_LONGEST:].rpartition(".")[2]):
            return False
        names = (self._variable(text_of(one)) for one in given if one.type == "identifier")
        return any(one is not None and one.served for one in names)

    @abstractmethod
    def _renew(self, variable: Variable, value: Value | None) -> None:
        """Forgets what was known of a variable that is given a value."""

    def _store(self, target: Node | None, value: Value, *, extend: bool, place: Node | None = None) -> None:
        """Gives a value to a variable, or to a field or an item of it."""
        name = ""
        while target is not None and target.type != "identifier":
            if target.type == "selector_expression":
                name = text_of(target.child_by_field_name("field"))
                inner = target.child_by_field_name("operand")
                extend = extend or inner is None or inner.type != "identifier"
            elif target.type == "index_expression":
                extend = True
            elif target.type not in ("unary_expression", "parenthesized_expression", "slice_expression"):
                break
            target = target.child_by_field_name("operand") or next(iter(target.named_children), None)
        variable = self._variable(text_of(target)) if target is not None and target.type == "identifier" else None
        if variable is not None:
            self._renew(variable, None if extend or name else value)
        if variable is None or (not name and self._plain(variable.kind)):
            self._evaluate(value)
            return
        at = self._place(place) if place is not None else None
        extend = extend or self._depth > variable.depth
        if not name:
            self._steps.append(Assign((variable.name,), value, at, extend=extend))
            if not extend and variable.fresh:
                self._forget(variable)
            return
        whole = f"{variable.name}.{name}"
        known = name in variable.fields
        variable.fields.add(name)
        variable.fresh.add(name)
        self._steps.append(Assign((whole,), value, at, extend=extend and known))
        self._steps.append(Assign((variable.parts,), Name(whole), extend=True))

    def _forget(self, variable: Variable) -> None:
        """The fields of a variable are those of another value."""
        names = tuple(f"{variable.name}.{one}" for one in sorted(variable.fresh))
        variable.fresh.clear()
        self._steps.append(Assign((variable.parts, *names), Parts()))


def _given(call: Node) -> list[Node]:
    """The arguments of a call."""
    holder = call.child_by_field_name("arguments")
    return [one for one in holder.named_children if one.type != "comment"] if holder is not None else []


def _written(callee: Node) -> str:
    """How an object and its method are called, without arguments and indices."""
    names: list[str] = []
    node: Node | None = callee
    while node is not None and len(names) < _DEEPEST:
        if node.type == "selector_expression":
            names.append(text_of(node.child_by_field_name("field")))
            node = node.child_by_field_name("operand")
        elif node.type == "call_expression":
            node = node.child_by_field_name("function")
        elif node.type in ("index_expression", "parenthesized_expression"):
            node = node.child_by_field_name("operand") or next(iter(node.named_children), None)
        else:
            names += [text_of(node)] if node.type == "identifier" else []
            break
    return ".".join(reversed(names))
