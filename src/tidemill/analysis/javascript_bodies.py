"""What one function of JavaScript or TypeScript does, step by step."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tree_sitter import Node

from tidemill.analysis.flow import Assign, Call, Evaluate, Function, Harmless, Name, Outside, Parts, Return, Value
from tidemill.analysis.javascript_harms import INNER, Harms
from tidemill.analysis.javascript_modules import ANSWERS
from tidemill.analysis.javascript_names import Foreign, Meaning
from tidemill.analysis.javascript_nodes import (
    FUNCTIONS,
    REQUESTS,
    code_of,
    key_of,
    names_in,
    parameters_of,
    pattern_of,
    string_of,
)
from tidemill.analysis.javascript_scopes import Expression
from tidemill.analysis.javascript_strings import (
    SAME_BEGINNING,
    beginnings_of,
    begins,
    checked_in,
    in_folder,
    leaves,
    left_by,
    parts_of,
    returns_object,
)
from tidemill.analysis.javascript_values import CONSTANT, NOTHING, REST, Told, all_names, spent, together
from tidemill.analysis.syntax import text_of

_MOST_TYPE = 200
"""Characters of a call that says of what type an answer is."""
_DEEPEST = 140
"""Expressions and blocks, one within the other."""
_ELEMENTS = frozenset({"map", "forEach", "filter", "find", "some", "every", "flatMap", "findIndex", "sort", "findLast"})
"""Methods that give the elements of their object to a function."""
_REPLACED = frozenset({"then", "map", "flatMap", "reduce"})
"""Methods whose result is what the function gives that they are given."""
_PAIRS = frozenset({"reduce", "sort"})
"""Those that give their function two at once."""
_GIVING = _ELEMENTS | _REPLACED | {"finally", "tap"}
_GROWS = frozenset({"push", "unshift", "add", "set", "append"})
"""Methods that put their arguments into their object."""
_GROWN = re.compile(r"(\w+(?:\.\w+)?)(?:\.(?:add|set|append)\(\))*\.(?:push|unshift|add|set|append)")
"""The code of a call of these, or of a chain of them, with what they fill."""
_STATEMENTS = frozenset(
    {
        *("program", "statement_block", "if_statement", "else_clause", "try_statement", "finally_clause"),
        *("switch_statement", "switch_body", "labeled_statement", "catch_clause"),
        *("lexical_declaration", "variable_declaration", "export_statement", "expression_statement", "for_statement"),
        *("while_statement", "do_statement", "throw_statement", "ERROR", "class_static_block", "with_statement"),
    }
)
_SKIPPED = frozenset(
    {
        *("class_declaration", "abstract_class_declaration", "class", "import_statement", "comment", "decorator"),
        *("interface_declaration", "type_alias_declaration", "enum_declaration", "ambient_declaration"),
        *("string", "number", "regex", "true", "false", "null", "undefined", "this", "super", "type_arguments"),
        *("update_expression", "jsx_text", "empty_statement", "statement_identifier", "type_annotation", "module"),
        *("property_identifier", "private_property_identifier", "hash_bang_line", "export_clause", "predefined_type"),
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class _Passed:
    """What is known after a branch: names that were checked, paths in a folder, and answers that are no page."""

    names: set[str]
    paths: set[str]
    no_pages: frozenset[str]


class Body(Harms):
    """Tells what one function's body does."""

    def tell(self) -> None:
        """Adds its steps to the function."""
        for index, parameter in enumerate(parameters_of(self._node) if self._node.type in FUNCTIONS else ()):
            pattern = pattern_of(parameter)
            if pattern.type != "identifier":
                self._bind(pattern, self._variable(f"@{index}"), pattern)
        self._run_function(self._node)

    def _run_function(self, node: Node) -> None:
        body = node.child_by_field_name("body") if node.type in FUNCTIONS else node
        if body is not None and body.type in ("statement_block", "program"):
            self._run(body)
        elif body is not None:
            self._return(self._value(body), body)

    def _go_deeper(self) -> None:
        """Ends long before Python's stack does: tree-sitter's code does not bear that its reading of a text fails."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise RecursionError

    def _run(self, body: Node) -> None:
        """Tells of statements, one after the other."""
        self._go_deeper()
        self._statements(body)
        self._depth -= 1

    def _statements(self, body: Node) -> None:
        waiting: list[Node | _Passed] = [body]
        while waiting:
            node = waiting.pop()
            if isinstance(node, _Passed):
                self._checked(node.names)
                for name in node.paths:
                    self._kept_in_folder(self._named(name), name)
                self._no_pages = node.no_pages
                continue
            kind = node.type
            if kind == "variable_declarator":
                pattern, value = node.child_by_field_name("name"), node.child_by_field_name("value")
                if pattern is not None and value is not None:
                    self._bind(pattern, self._value(value), node)
            elif kind == "return_statement":
                for child in node.named_children[:1]:
                    self._return(self._value(child), node)
            elif kind == "for_in_statement":
                self._function.repeats = True
                pattern, of = node.child_by_field_name("left"), node.child_by_field_name("right")
                if pattern is not None and of is not None:
                    self._bind(pattern, self._value(of), node)
                waiting += [child for child in (node.child_by_field_name("body"),) if child is not None]
            elif kind == "if_statement" and leaves(node):
                condition = node.child_by_field_name("condition")
                names, paths = checked_in(condition, self._scope), in_folder(condition, self._scope)
                waiting += [_Passed(names, paths, self._no_pages), *reversed(node.named_children)]
            elif kind == "if_statement":
                self._branch(node)
                alternatives = node.children_by_field_name("alternative")
                waiting += [_Passed(set(), set(), self._no_pages), *alternatives] if alternatives else []
            elif kind in ("switch_case", "switch_default"):
                waiting += [_Passed(set(), set(), self._no_pages), *reversed(node.named_children)]
            elif kind in _STATEMENTS:
                self._function.repeats |= kind in ("while_statement", "do_statement", "for_statement")
                waiting += reversed(node.named_children)
            else:
                self._value(node)

    def _return(self, told: Told, node: Node) -> None:
        if self._results:
            self._steps.append(Assign((self._results[-1],), told.whole, extend=True))
        elif told is not CONSTANT:
            fields = told.fields if told.fields is not None else {REST: told}
            for key, one in fields.items():
                self._steps.append(Assign((f"return.{key}",), one.whole, self._place(node), extend=True))
            self._steps.append(Return(told.whole, self._place(node)))

    def _branch(self, node: Node) -> None:
        """What is done where a condition holds; names that it holds against a list hold nothing harmful there."""
        condition, then = node.child_by_field_name("condition"), node.child_by_field_name("consequence")
        if condition is None or then is None:
            return
        self._value(condition)
        before, no_pages = self._renamed, self._no_pages
        self._number += 1
        held, paths = checked_in(condition, self._scope, held=True), in_folder(condition, self._scope, held=True)
        self._renamed = {**before, **{name: f"{name}#{self._number}" for name in held | paths if name.isidentifier()}}
        for name in paths - held:
            self._kept_in_folder(before.get(name, name), name)
        self._run(then)
        self._renamed, self._no_pages = before, no_pages

    def _kept_in_folder(self, was: str, name: str) -> None:
        """A path that lies in a folder from here on."""
        kept = Harmless(Name(was), self._rules.paths)
        self._steps.append(Assign(all_names(self._named(name), self._scope, name), kept))

    def _checked(self, names: set[str]) -> None:
        """Names and fields that hold only what was allowed from here on."""
        for code in sorted(names):
            name, _, key = code.partition(".")
            own = self._named(name)
            if not key:
                self._steps.append(Assign(all_names(own, self._scope, name), NOTHING))
            elif key in self._scope.fields.get(name, ()):
                self._steps.append(Assign((f"{own}.{key}", f"{own}.{key}^"), NOTHING))
            if key:
                self._allowed.add(code)

    def _value(self, node: Node) -> Told:
        """The value of an expression; tells of what it does."""
        self._go_deeper()
        told = self._expression(node)
        self._depth -= 1
        return told

    def _expression(self, node: Node) -> Told:
        kind = node.type
        if kind in ("identifier", "shorthand_property_identifier"):
            return self._variable(text_of(node))
        if kind in _SKIPPED:
            return CONSTANT
        if kind in INNER:
            told = CONSTANT
            for child in node.named_children[:1]:
                told = self._value(child)
            return told
        if kind in ("member_expression", "subscript_expression"):
            return self._access(node)
        if kind in ("call_expression", "new_expression"):
            return self._call(node)
        if kind in ("template_string", "binary_expression"):
            return self._put_together(node)
        if kind in ("assignment_expression", "augmented_assignment_expression"):
            return self._assign(node)
        if kind in ("object", "array"):
            return self._literal(node)
        if kind in FUNCTIONS:
            return CONSTANT if node.id in self._functions else self._inlined(node, CONSTANT)
        values = [self._value(child) for child in node.named_children]
        if kind == "ternary_expression":
            checked = checked_in(node.child_by_field_name("condition"), self._scope, held=True)
            branches = zip(node.named_children[1:], values[1:], strict=True)
            return together([told for child, told in branches if not checked or code_of(child) not in checked])
        if kind == "sequence_expression":
            return values[-1] if values else CONSTANT
        if kind in ("unary_expression", "jsx_element", "jsx_self_closing_element"):
            return CONSTANT
        return together(values)

    def _access(self, node: Node) -> Told:
        target = node.child_by_field_name("object")
        index = node.child_by_field_name("index")
        key = text_of(node.child_by_field_name("property")) if index is None else string_of(index) or ""
        if key in self._rules.named and self._is_source(code := code_of(node)):
            return self._outside(code, node)
        if self._allowed and code_of(node) in self._allowed and index is None:
            return CONSTANT
        told = self._value(target) if target is not None else CONSTANT
        if index is not None:
            self._value(index)
        if key in ("length", "size"):
            return CONSTANT
        if isinstance(told.whole, Outside) and self._rules.trusted.fullmatch(f"{code_of(target)}.{key.lower()}"):
            return spent(told, self._rules.trusted_for)
        return self._field(told, key, node)

    def _put_together(self, node: Node) -> Told:
        parts = parts_of(node)
        if parts is not None:
            values = [self._value(part) for part in parts]
            return Told(
                Parts(tuple(one.whole for one in values)), Parts(tuple(values[one].start for one in begins(parts)))
            )
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        values = [self._value(one) for one in (left, right) if one is not None]
        operator = text_of(node.child_by_field_name("operator"))
        if operator in ("||", "??"):
            return together(values)
        return values[-1] if operator == "&&" and values else CONSTANT

    def _literal(self, node: Node) -> Told:
        fields: dict[str, Told] = {}
        values = []
        for child in node.named_children:
            if child.type == "method_definition":
                continue
            value = child.child_by_field_name("value") if child.type == "pair" else child
            told = self._value(value) if value is not None else CONSTANT
            key = key_of(child.child_by_field_name("key")) if child.type == "pair" else text_of(child)
            fields[REST if child.type == "spread_element" or not key else key] = told
            values.append(told)
            if child.type == "pair":
                self._harm((f"{{{key}}}",), child, [(child, told)])
        whole = Parts(tuple(one.whole for one in values))
        if node.type == "array":
            return Told(whole, values[0].start if values else NOTHING)
        return Told(whole, whole, fields)

    def _assign(self, node: Node) -> Told:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left is None or right is None:
            return CONSTANT
        told = self._value(right)
        operator = text_of(node.child_by_field_name("operator"))
        if operator not in ("", "=", "+=", "||=", "??=", "&&="):
            return CONSTANT
        extend = node.type == "augmented_assignment_expression"
        if extend and operator == "+=":
            told = Told(told.whole, NOTHING)
        self._bind(left, told, node, extend=extend)
        code = code_of(left)
        if code:
            self._harm((f"{code}=",), node, [(right, told)])
        return told

    def _inlined(self, node: Node, given: Told, most: int = 1) -> Told:
        """A function that is a part of this one; its first parameters are given this, and what it gives comes back."""
        before, no_pages = self._renamed, self._no_pages
        self._number += 1
        result = f"#{self._number}"
        self._renamed = dict(before)
        for index, parameter in enumerate(parameters_of(node)):
            for name, _ in names_in(pattern_of(parameter)):
                self._renamed[name] = f"{name}{result}"
            self._bind(pattern_of(parameter), given if index < most else CONSTANT, parameter)
        self._results.append(result)
        self._run_function(node)
        self._results.pop()
        self._renamed, self._no_pages = before, no_pages
        return Told(Name(result), Name(result))

    def _call(self, node: Node) -> Told:
        called = node.child_by_field_name("function") or node.child_by_field_name("constructor")
        given = node.child_by_field_name("arguments")
        while called is not None and called.type in (
            "parenthesized_expression",
            "sequence_expression",
            "non_null_expression",
        ):
            called = called.named_children[-1] if called.named_children else None
        if called is None or called.type == "import" or (given is not None and given.type == "template_string"):
            if given is not None:
                self._value(given)  # the parts of a tagged template are parameters of its tag
            return CONSTANT
        new = "new " if node.type == "new_expression" else ""
        written = code_of(called)
        code = new + written if written else ""
        method = text_of(called.child_by_field_name("property")) if called.type == "member_expression" else ""
        receiver = CONSTANT
        if called.type == "member_expression" and (target := called.child_by_field_name("object")) is not None:
            receiver = self._value(target)
        elif called.type in FUNCTIONS and called.id not in self._functions:
            receiver = self._inlined(called, CONSTANT)
        elif called.type != "identifier":
            receiver = self._value(called)
        nodes = [one for one in given.named_children if one.type != "comment"] if given is not None else []
        callbacks = [one for one in nodes if one.type in FUNCTIONS and one.id not in self._functions]
        arguments = [(one, CONSTANT if one in callbacks else self._value(one)) for one in nodes]
        if method in self._rules.named and self._is_source(f"{code}()"):
            first = string_of(nodes[0]) if nodes else None
            trusted = self._rules.trusted.fullmatch(f"{code}.{(first or '').lower()}")
            told = self._outside(f"{code}()", node)
            return spent(told, self._rules.trusted_for) if trusted else told
        meaning = self._names.called(called, self._scope) if code.split(".")[0] not in self._renamed else None
        known = self._known_as(code, meaning, new)
        target_of = self._names.function(meaning)
        function = self._functions.get(target_of.node.id) if target_of is not None else None
        if function is None and any(self._rules.harmless.fullmatch(one) for one in known):
            return CONSTANT
        element = Told(receiver.whole, receiver.start) if method in _GIVING else CONSTANT
        results = [self._inlined(one, element, 2 if method in _PAIRS else 1) for one in callbacks]
        if target_of is not None and function is not None:
            told = self._through(node, target_of, function, arguments, new=bool(new))
            return spent(told, self._known.spent_by((code,)))
        if self._harm(known, node, arguments):
            return CONSTANT
        if self._rules.says.fullmatch(code):
            self._says_type(code.partition(".")[0], text_of(given)[:_MOST_TYPE])
        left = left_by(method, given)
        if left == "words":
            return CONSTANT
        if method in _GROWS and called.type == "member_expression":
            return self._grown(called, code, receiver, [told for _, told in arguments])
        if method == "filter" and receiver is not CONSTANT and any(self._allows(one) for one in callbacks):
            return CONSTANT
        if method in _GIVING:
            results += [self._passed(node, one, element) for one, _ in arguments if one not in callbacks]
        if method in _REPLACED and results:
            return together([*results, *(one for _, one in arguments[1:])])
        if "Object.keys" in known and arguments and self._is_written(arguments[0][1]):
            return CONSTANT
        kinds = self._known.spent_by(known) | (self._rules.pages if left else frozenset())
        keeps = kinds or any(self._rules.keeping.fullmatch(one) for one in known)
        kept = [one for _, one in arguments] if keeps else []
        whole = Parts((receiver.whole, *(one.whole for one in kept)))
        start = Parts((receiver.start, *(one.start for one in kept[: 2 if new else 1])))
        return spent(Told(whole, start if kept or method in SAME_BEGINNING else whole), kinds)

    def _says_type(self, answer: str, arguments: str) -> None:
        """An answer is told of what type it is, as far as that is written there."""
        if self._rules.no_page.match(arguments):
            self._no_pages |= {answer}
        elif "html" in arguments.lower():
            self._no_pages -= {answer}

    def _grown(self, called: Node, code: str, receiver: Told, values: Sequence[Told]) -> Told:
        """What is put into an object is in it from then on; a list gives its length, any other object itself."""
        method = text_of(called.child_by_field_name("property"))
        filled = _GROWN.fullmatch(code)
        target = called.child_by_field_name("object")
        while filled is not None and target is not None and target.type == "call_expression":
            called = target.child_by_field_name("function") or target
            target = called.child_by_field_name("object")
        added = together(values[-1:] if method == "set" else values)
        name = filled[1].split(".")[0] if filled is not None else ""
        own = name in self._scope.names and name not in REQUESTS | ANSWERS
        if own and target is not None and values:
            start = added.start if method == "unshift" else NOTHING
            self._bind(target, Told(added.whole, start), called, extend=True)
        if method in ("push", "unshift"):
            return CONSTANT
        whole = Parts((receiver.whole, added.whole)) if own or code.startswith("new ") else receiver.whole
        return Told(whole, receiver.start)

    def _allows(self, callback: Node) -> bool:
        """Whether a function that is given to `filter` holds each element against a list or a whole pattern."""
        body, parameters = callback.child_by_field_name("body"), parameters_of(callback)
        held = checked_in(body, self._scope, held=True) if parameters else set()
        return bool(held) and text_of(pattern_of(parameters[0])) in held

    def _is_written(self, told: Told) -> bool:
        """Whether all fields of an object are named where it is written out, and there are any."""
        if told.fields is not None:
            return bool(told.fields) and REST not in told.fields
        declared = self._scope.names.get(told.name) if told.name not in self._renamed else None
        filled = declared is not None and declared.node is not None and bool(declared.node.named_children)
        return filled and self._lacks(told.name, "")

    def _known_as(self, code: str, meaning: Meaning | None, new: str) -> tuple[str, ...]:
        """The names of a function: as it is written, where nothing else has that name, and as a package gives it."""
        if isinstance(meaning, Foreign):
            return (new + meaning.name, code) if "." in code else (new + meaning.name,)
        return (code,) if "." in code else ()

    def _passed(self, node: Node, argument: Node, given: Told) -> Told:
        """A function that is read is given to a method such as `then`."""
        target = self._names.function(self._names.meaning(argument, self._scope))
        function = self._functions.get(target.node.id) if target is not None else None
        if target is None or function is None:
            return CONSTANT
        return self._through(node, target, function, [(argument, given)])

    def _through(
        self,
        node: Node,
        of: Expression,
        function: Function,
        arguments: Sequence[tuple[Node, Told]],
        *,
        new: bool = False,
    ) -> Told:
        """A call of a function that is read."""
        parameters = parameters_of(of.node)
        given: list[tuple[str | None, Value]] = []
        spread = [told for one, told in arguments if one.type == "spread_element"]
        for index, parameter in enumerate(parameters):
            name = function.parameters[index]
            rest = pattern_of(parameter).parent is not None and text_of(parameter).startswith("...")
            mine = (
                [told for _, told in arguments[index:]] if rest else [told for _, told in arguments[index : index + 1]]
            )
            if not rest and not mine:
                mine = spread
            told = mine[0] if len(mine) == 1 else together(mine)
            given.append((None, told.whole))
            if not name:
                continue
            given.append((f"{name}^", told.start))
            for key in sorted(of.scope.fields.get(name, ())):
                if key in self._rules.named and self._rules.sources.fullmatch(f"{name}.{key}"):
                    continue
                one = self._field(told, key, node)
                given += [(f"{name}.{key}", one.whole), (f"{name}.{key}^", one.start)]
        self._number += 1
        result = f"#{self._number}"
        call = Call(self._place(node), tuple(_ordered(given)), targets=(function,))
        if new:
            self._steps.append(Evaluate(call))
            return CONSTANT
        self._steps.append(Assign((result,), call))
        if of.node.id not in self._known.beginnings:
            self._known.beginnings[of.node.id] = beginnings_of(of.node, of.scope)
        if of.node.id not in self._known.objects:
            self._known.objects[of.node.id] = returns_object(of.node)
        if self._known.objects[of.node.id]:
            return Told(Name(result), Name(result), result=(of.node.id, call))
        chosen = self._known.beginnings[of.node.id]
        if chosen is None:
            return Told(Name(result), Name(result))
        return Told(
            Name(result), Parts(tuple(told.start for index, (_, told) in enumerate(arguments) if index in chosen))
        )


def _ordered(arguments: Sequence[tuple[str | None, Value]]) -> Iterator[tuple[str | None, Value]]:
    """Arguments that are given by their place come first: `flow` counts them."""
    yield from (one for one in arguments if one[0] is None)
    yield from (one for one in arguments if one[0] is not None)
