"""What the functions of Go files do with data, in the words of `flow`. By tree-sitter.

What is told: assignments, texts that are put together, fields and items of what is followed, calls of functions of the
same package and of packages that are read, methods by the type of their object (also through embedded types, and an
interface that one type implements), and functions within functions, which are taken for a part of the one around them.
What is not: values kept in globals, in fields of objects that came from elsewhere, or sent over channels; calls of
functions that a variable holds, unless it was made in the same function.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from tree_sitter import Node

from tidemill.analysis.flow import Assign, Function, Harmless, Name, Parts, Place, Return, Value
from tidemill.analysis.go_checks import Checks, Exits, Verdict, either, leaves
from tidemill.analysis.go_packages import go_files, operator_of
from tidemill.analysis.go_rules import GoRules
from tidemill.analysis.go_served import served_by
from tidemill.analysis.go_types import Declarations, Declared, item_of, parameters_of, results_of, type_of
from tidemill.analysis.go_values import Closure, Known, Tested, Variable
from tidemill.analysis.syntax import text_of

_TESTING = frozenset(
    {"call_expression", "index_expression", "unary_expression", "binary_expression", "parenthesized_expression"}
)
"""Expressions whose result may tell of a check."""
_MOST_ASKED = 3
"""Functions that check their arguments by another that does."""
_NOTHING = Verdict()


def go_functions(files: Mapping[str, str], rules: GoRules, unread: set[Place], broken: set[str]) -> list[Function]:
    """The functions of these files, for `flow.flows_of`; none where nothing in them comes from outside.

    Files that do not parse whole are read as far as they do. Where the functions begin that are nested too deeply to
    be followed is added to `unread`; files that do not parse whole, or are too large, are added to `broken`.
    """
    if not any(rules.needed.search(text) for text in files.values()):
        return []
    declared = Declarations(go_files(files, broken))
    every = [one for each in declared.functions.values() for one in each]
    served = served_by(every, rules)
    functions = []
    bodies = _Bodies(declared, rules, served)
    for one in every:
        try:
            bodies.tell(one)
        except RecursionError:  # see `flow.flows_of`
            unread.add(one.function.place)
            continue
        functions.append(one.function)
    return functions


class _Bodies:
    """Tells what each function does, once: one that checks its arguments before those that call it."""

    def __init__(self, declared: Declarations, rules: GoRules, served: set[int]) -> None:
        self._declared = declared
        self._rules = rules
        self._served = served
        self._verdicts: dict[int, Verdict] = {}
        self._told: set[int] = set()
        self._deep: set[int] = set()
        self._asking = 0

    def tell(self, one: Declared) -> None:
        """Adds its steps to a function, unless that is done."""
        key = id(one)
        if key in self._told:
            return
        self._told.add(key)
        try:
            body = _Body(one, self._declared, self._rules, self.verdict_of, served=one.node.id in self._served)
            body.tell()
        except RecursionError:
            self._told.discard(key)
            one.function.steps.clear()
            raise
        self._verdicts[key] = body.verdict

    def verdict_of(self, one: Declared) -> Verdict:
        """What a function says of its arguments; nothing where that hangs on too many others, or on itself."""
        key = id(one)
        if key not in self._told and key not in self._deep and self._asking < _MOST_ASKED:
            self._asking += 1
            try:
                self.tell(one)
            except RecursionError:  # it may be the caller that lies so deep: it is told by itself, later
                self._deep.add(key)
            finally:
                self._asking -= 1
        return self._verdicts.get(key, _NOTHING)


class _Body(Checks):
    """Tells what one function's body does."""

    def __init__(
        self,
        of: Declared,
        declared: Declarations,
        rules: GoRules,
        verdict_of: Callable[[Declared], Verdict],
        *,
        served: bool,
    ) -> None:
        super().__init__(of, declared, rules, verdict_of)
        self._named_results: Sequence[Variable] = ()
        self._served = served
        self._of = of

    def tell(self) -> None:
        """Adds its steps to the function."""
        self._enter(self._of.node)
        self._parameters = [self._variable(one) for one in self._function.parameters[: len(self._of.types)]]
        body = self._of.node.child_by_field_name("body")
        if body is not None:
            self._statement(body)

    def _enter(self, function: Node) -> tuple[str, ...]:
        """Declares the parameters and named results of a function; the names of its parameters."""
        parameters = list(parameters_of(function.child_by_field_name("parameters"), self._file))
        kinds = {kind for _, kind in parameters}
        served = self._served or self._rules.response in kinds
        variables = [self._declare(name, kind) for name, kind in parameters]
        for variable in variables:
            variable.served = variable.kind == self._rules.request and served
            variable.served |= self._rules.contexts.fullmatch(variable.kind) is not None
        for name, kind in parameters_of(function.child_by_field_name("receiver"), self._file):
            self._declare(name, kind)
        result = function.child_by_field_name("result")
        self._named_results = [
            self._declare(name, kind) for name, kind in parameters_of(result, self._file) if name != "_"
        ]
        return tuple(variable.name for variable in variables)

    def _closure(self, node: Node) -> Closure:
        closure = Closure((), f"~{node.start_byte}")
        before = self._results, self._named_results
        self._results = results_of(node, self._file)
        self._open()
        self._depth += 1
        since = len(self._changes)
        closure.parameters = self._enter(node)
        self._closures.append(closure)
        body = node.child_by_field_name("body")
        if body is not None:
            self._statement(body)
        self._closures.pop()
        self._undo(since)
        self._depth -= 1
        self._close()
        self._results, self._named_results = before
        return closure

    def _statement(self, node: Node) -> None:
        match node.type:
            case "block" | "statement_list" | "labeled_statement":
                self._scoped(node.named_children)
            case "short_var_declaration" | "receive_statement":
                self._give(node, declare=True)
            case "assignment_statement":
                self._give(node, declare=operator_of(node) == ":=")
            case "var_declaration" | "var_spec_list":
                for child in node.named_children:
                    self._statement(child)
            case "var_spec":
                self._declare_all(node)
            case "if_statement":
                self._branch(node)
            case "for_statement":
                self._function.repeats = True
                self._in_branch(node.named_children)
            case "for_clause":
                for child in node.named_children:
                    self._statement(child)
            case "range_clause":
                self._range(node)
            case "expression_switch_statement" | "type_switch_statement" | "select_statement":
                self._switch(node)
            case "return_statement":
                self._return(node)
            case "const_declaration" | "type_declaration" | "comment" | "label_name" | "empty_statement":
                pass
            case _:
                if node.type.endswith(("_statement", "_clause")) or node.type == "ERROR":
                    for child in node.named_children:
                        self._statement(child)
                else:
                    self._discard(node)

    def _scoped(self, nodes: Iterable[Node]) -> None:
        self._open()
        for node in nodes:
            self._statement(node)
        self._close()

    def _in_branch(self, nodes: Iterable[Node]) -> None:
        since = len(self._changes)
        self._depth += 1
        self._scoped(nodes)
        self._undo(since)
        self._depth -= 1

    def _way(self, nodes: Sequence[Node], known: Known, exits: Exits, *, leaving: bool) -> None:
        """A branch in which variables are known to do no harm."""
        since = len(self._changes)
        self._depth += 1
        self._spare(known)
        self._scoped(nodes)
        if not leaving:
            self._leave(exits)
        self._undo(since)
        self._depth -= 1

    def _branch(self, node: Node) -> None:
        """An `if` with all its `else if`, which may be many."""
        scopes, exits = 0, Exits(len(self._changes))
        branch: Node | None = node
        other: Node | None = None
        while branch is not None:
            self._open()
            scopes += 1
            for field in ("initializer", "condition"):
                if (child := branch.child_by_field_name(field)) is not None:
                    self._statement(child)
            tested = self._tested(branch.child_by_field_name("condition"))
            if (child := branch.child_by_field_name("consequence")) is not None:
                self._way([child], tested.holds, exits, leaving=leaves([child]))
            self._spare(tested.fails)
            other = branch.child_by_field_name("alternative")
            branch = other if other is not None and other.type == "if_statement" else None
        if other is not None:
            self._way([other], {}, exits, leaving=leaves([other]))
        else:
            self._leave(exits)
        self._end(exits)
        for _ in range(scopes):
            self._close()

    def _switch(self, node: Node) -> None:
        self._open()
        exits = Exits(len(self._changes))
        value = node.child_by_field_name("value")
        alias = node.child_by_field_name("alias")
        falls = b"fallthrough" in (node.text or b"")
        default = False
        for child in node.named_children:
            if child.type.endswith("_case"):
                tested = self._of_case(child, value) if not falls and child.type == "expression_case" else Tested()
                self._case(child, alias, value, tested.holds, exits)
                self._spare(tested.fails)
                default |= child.type == "default_case"
            elif child not in (alias, value):
                self._statement(child)
            elif child == value and alias is None:
                self._discard(child)
        if not default:
            self._leave(exits)
        if falls or node.type != "expression_switch_statement":
            exits.known = {}
        self._end(exits)
        self._close()

    def _of_case(self, node: Node, value: Node | None) -> Tested:
        """What is told where one of the case's values is the one that is asked for, or holds."""
        given = [one for child in node.children_by_field_name("value") for one in _listed(child)]
        if value is None:
            return either([self._tested(one) for one in given])
        return Tested(self._all_kinds(value)) if all(self._is_constant(one) for one in given) else Tested()

    def _case(self, node: Node, alias: Node | None, value: Node | None, known: Known, exits: Exits) -> None:
        self._open()
        self._depth += 1
        since = len(self._changes)
        self._spare(known)
        if alias is not None and alias.named_children:
            kinds = node.children_by_field_name("type")
            kind = type_of(kinds[0], self._file) if len(kinds) == 1 else ""
            variable = self._declare(text_of(alias.named_children[0]), kind)
            self._steps.append(Assign((variable.name,), self._value(value)))
        for child in node.named_children:
            if child.type != "expression_list" and not child.type.endswith(("_type", "_identifier")):
                self._statement(child)
        if b"break" in (node.text or b""):
            exits.known = {}
        elif not leaves(node.named_children, case=True):
            self._leave(exits)
        self._undo(since)
        self._depth -= 1
        self._close()

    def _range(self, node: Node) -> None:
        right = node.child_by_field_name("right")
        left = node.child_by_field_name("left")
        value = self._value(right)
        kind = self._declared.underlying(self._meanings.type(right))
        declares = b":=" in (node.text or b"")[: 400 + (left.end_byte - node.start_byte if left is not None else 0)]
        for number, name in enumerate(left.named_children if left is not None else ()):
            own = item_of(kind) if number else "int" if kind.startswith("[]") or kind == "string" else ""
            self._put(name, value if number or not own else Parts(), own, declare=declares, extend=True)

    def _declare_all(self, node: Node) -> None:
        """`var a, b T = x, y`."""
        names = node.children_by_field_name("name")
        values = node.child_by_field_name("value")
        kind = type_of(node.child_by_field_name("type"), self._file)
        if values is not None:
            self._pair(node, names, values.named_children, declare=True, kind=kind)
            return
        for name in names:
            variable = self._declare(text_of(name), kind)
            variable.own = True
            self._steps.append(Assign((variable.name,), Parts()))

    def _give(self, node: Node, *, declare: bool) -> None:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if right is None:
            return
        names = left.named_children if left is not None else []
        values = right.named_children if right.type == "expression_list" else [right]
        extend = operator_of(node) not in ("", "=", ":=")
        self._pair(node, names, values, declare=declare, extend=extend)

    def _pair(
        self,
        node: Node,
        names: Sequence[Node],
        values: Sequence[Node],
        *,
        declare: bool,
        extend: bool = False,
        kind: str = "",
    ) -> None:
        """Gives names the values that stand beside them; of one call several."""
        if len(names) == len(values):
            told = [self._told(one) for one in values]
            if extend:  # what is added to a text comes behind its beginning
                told = [(Harmless(value, self._rules.addresses), None, None) for value, _, _ in told]
            for name, one, (value, fields, closure) in zip(names, values, told, strict=True):
                own = kind or self._meanings.type(one)
                variable = self._put(name, value, own, declare=declare, extend=extend, place=node)
                if variable is not None and name.type == "identifier" and not extend:
                    variable.closure = closure
                    variable.served |= own == self._rules.request and self._is_served(one)
                    variable.own = fields is not None
                    self._keep(variable, one, 0, 0)
                    self._put_fields(variable, fields or (), node)
        elif len(values) == 1:
            value, types = self._value(values[0]), self._meanings.of(values[0]).types
            for number, name in enumerate(names):
                own = kind or (types[number] if number < len(types) else "")
                if text_of(name) in ("err", "ok", "_") or self._plain(own):
                    variable = self._put(name, Parts(), own or "error", declare=declare)
                else:
                    variable = self._put(name, value, own, declare=declare, place=node)
                    value = Name(variable.name) if variable is not None else value
                self._keep(variable, values[0], number, len(names) - 1)
            self._evaluate(value)

    def _keep(self, variable: Variable | None, value: Node, number: int, last: int) -> None:
        """Keeps with a variable what it tells that a check, or the cleaning of a path, has this result."""
        if variable is None:
            return
        if value.type == "index_expression" and number == 1:
            variable.tested = self._tested(value).kept()
        elif value.type in _TESTING:
            read = last and self._meanings.of(value.child_by_field_name("function")).functions
            if number == (last if read else 0):
                variable.tested = self._tested(value).kept()
            if number == 0 and value.type == "call_expression":
                variable.cleaned = self._rules.cleans.fullmatch(self._meanings.of(value).name) is not None

    def _told(self, node: Node) -> tuple[Value, Sequence[tuple[str, Value]] | None, Closure | None]:
        """A value that is given to a name, with its fields where it is made here, and the function that it is."""
        if node.type == "func_literal":
            return Parts(), None, self._closure(node)
        inner = node
        if node.type == "unary_expression":
            inner = node.child_by_field_name("operand") or node
        kind = self._meanings.type(inner)
        if inner.type == "composite_literal" and kind and not kind.startswith(("[]", "map[]")):
            fields = list(self._fields(inner))
            return Parts(tuple(value for name, value in fields if not name)), [one for one in fields if one[0]], None
        made = node.type == "call_expression" and text_of(node.child_by_field_name("function")) == "new"
        return self._value(node), () if made else None, None

    def _put(
        self,
        name: Node,
        value: Value,
        kind: str,
        *,
        declare: bool,
        extend: bool = False,
        place: Node | None = None,
    ) -> Variable | None:
        """Gives a value to a name, which may be a new one; its variable, if it is one."""
        said = text_of(name) if name.type == "identifier" else ""
        if said == "_":
            self._evaluate(value)
            return None
        if not said or not declare or said in self._scopes[-1]:
            self._store(name, value, extend=extend, place=place)
            return self._variable(said) if said else None
        variable = self._declare(said, kind)
        variable.served = self._rules.contexts.fullmatch(kind) is not None
        if self._plain(kind):
            self._evaluate(value)
        else:
            at = self._place(place) if place is not None else None
            self._steps.append(Assign((variable.name,), value, at, extend=extend))
        return variable

    def _put_fields(self, variable: Variable, fields: Sequence[tuple[str, Value]], node: Node) -> None:
        for name, value in fields:
            whole = f"{variable.name}.{name}"
            variable.fields.add(name)
            variable.fresh.add(name)
            self._steps.append(Assign((whole,), value, self._place(node), extend=self._depth > variable.depth))
            self._steps.append(Assign((variable.parts,), Name(whole), extend=True))

    def _return(self, node: Node) -> None:
        given = [one for child in node.named_children for one in _listed(child)]
        self._conclude(given)
        if not given:
            for variable in self._named_results:
                self._give_back(self._whole(variable), node)
        for number, one in enumerate(given):
            kind = self._results[number] if len(given) == len(self._results) else ""
            if self._plain(kind):
                self._discard(one)
            else:
                self._give_back(self._value(one), node)

    def _give_back(self, value: Value, node: Node) -> None:
        if self._closures:
            self._steps.append(Assign((self._closures[-1].result,), value, self._place(node), extend=True))
        else:
            self._steps.append(Return(value, self._place(node)))


def _listed(node: Node) -> Sequence[Node]:
    return node.named_children if node.type == "expression_list" else [node]
