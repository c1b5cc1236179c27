"""What the functions of Go files do with data, in the words of `flow`. By tree-sitter.

What is told: assignments, texts that are put together, fields and items of what is followed, calls of functions of the
same package and of packages that are read, methods by the type of their object (also through embedded types, and an
interface that one type implements), and functions within functions, which are taken for a part of the one around them.
What is not: values kept in globals, in fields of objects that came from elsewhere, or sent over channels; calls of
functions that a variable holds, unless it was made in the same function.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tree_sitter import Node

from tidemill.analysis.flow import Assign, Function, Harmless, Name, Parts, Place, Return, Value
from tidemill.analysis.go_calls import Calls
from tidemill.analysis.go_packages import go_files, operator_of, text_of
from tidemill.analysis.go_rules import GoRules
from tidemill.analysis.go_types import Declarations, Declared, item_of, parameters_of, results_of, type_of
from tidemill.analysis.go_values import Closure, Variable


def go_functions(files: Mapping[str, str], rules: GoRules, unread: set[Place], broken: set[str]) -> list[Function]:
    """The functions of these files, for `flow.flows_of`; none where nothing in them comes from outside.

    Files that do not parse whole are read as far as they do. Where the functions begin that are nested too deeply to
    be followed is added to `unread`; files that do not parse whole, or are too large, are added to `broken`.
    """
    if not any(rules.needed.search(text) for text in files.values()):
        return []
    declared = Declarations(go_files(files, broken))
    every = [one for each in declared.functions.values() for one in each]
    served = _served(every, rules)
    functions = []
    for one in every:
        try:
            _Body(one, declared, rules, served=one.node.id in served).tell()
        except RecursionError:  # see `flow.flows_of`
            unread.add(one.function.place)
            continue
        functions.append(one.function)
    return functions


def _served(every: Iterable[Declared], rules: GoRules) -> set[int]:
    """The functions whose request is one that a server got: those that answer it, and those that such a function, or
    one of these, calls with it. By the node of the declaration.

    A client's requests are of the same type, and what is in them is no client's word.
    """
    asked: dict[str, list[Declared]] = {}
    waiting: list[Node] = []
    found: set[int] = set()
    for one in every:
        if rules.request in one.types and rules.response not in one.types:
            asked.setdefault(text_of(one.node.child_by_field_name("name")), []).append(one)
        elif rules.request in one.types or _mentions(one.node, rules):
            found.add(one.node.id)
            waiting.append(one.node)
    while waiting:
        for name in _called_with_request(waiting.pop()):
            for one in asked.pop(name, ()):
                found.add(one.node.id)
                waiting.append(one.node)
    return found


def _mentions(node: Node, rules: GoRules) -> bool:
    """Whether a function may hold one that answers requests, or one of a framework."""
    return any(one.encode() in (node.text or b"") for one in (rules.response.rpartition("/")[2], "Context", "Ctx"))


def _called_with_request(function: Node) -> Iterator[str]:
    """The bare names of what a function calls with something called as requests are."""
    waiting = [function]
    while waiting:
        node = waiting.pop()
        waiting += node.named_children
        given = node.child_by_field_name("arguments") if node.type == "call_expression" else None
        if given is not None and any(_is_request(one) for one in given.named_children):
            callee = node.child_by_field_name("function")
            if callee is not None:
                yield text_of(callee.child_by_field_name("field") or callee)


def _is_request(node: Node) -> bool:
    if node.type == "call_expression":
        node = node.child_by_field_name("function") or node
    if node.type == "selector_expression":
        node = node.child_by_field_name("field") or node
    return text_of(node) in ("r", "req", "request", "Request", "WithContext", "httpReq", "rq")


class _Body(Calls):
    """Tells what one function's body does."""

    def __init__(self, of: Declared, declared: Declarations, rules: GoRules, *, served: bool) -> None:
        super().__init__(of, declared, rules)
        self._file = of.file
        self._results: tuple[str, ...] = of.results
        self._named_results: Sequence[Variable] = ()
        self._closures: list[Closure] = []
        self._served = served
        self._allowed_by: dict[str, str] = {}
        """By the name of an `ok`, the variable that a map was asked for."""
        self._of = of

    def tell(self) -> None:
        """Adds its steps to the function."""
        self._enter(self._of.node)
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
        self._scopes.append({})
        self._depth += 1
        closure.parameters = self._enter(node)
        self._closures.append(closure)
        body = node.child_by_field_name("body")
        if body is not None:
            self._statement(body)
        self._closures.pop()
        self._depth -= 1
        self._scopes.pop()
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
        self._scopes.append({})
        for node in nodes:
            self._statement(node)
        self._scopes.pop()

    def _in_branch(self, nodes: Iterable[Node]) -> None:
        self._depth += 1
        self._scoped(nodes)
        self._depth -= 1

    def _branch(self, node: Node) -> None:
        """An `if` with all its `else if`, which may be many."""
        scopes = 0
        branch: Node | None = node
        checked: tuple[str, ...] = ()
        while branch is not None:
            self._scopes.append({})
            scopes += 1
            for field in ("initializer", "condition"):
                if (child := branch.child_by_field_name(field)) is not None:
                    self._statement(child)
            checked = checked if branch is not node else tuple(self._checked(node))
            if (child := branch.child_by_field_name("consequence")) is not None:
                self._in_branch([child])
            other = branch.child_by_field_name("alternative")
            branch = other if other is not None and other.type == "if_statement" else None
            if branch is None and other is not None:
                self._in_branch([other])
        if checked:
            self._steps.append(Assign(checked, Parts()))
        del self._scopes[-scopes:]

    def _checked(self, node: Node) -> Iterator[str]:
        """The values that an `if !check(x)` sends away where they are none of those that are allowed."""
        condition, body = node.child_by_field_name("condition"), node.child_by_field_name("consequence")
        inner = condition.child_by_field_name("operand") if condition is not None else None
        if body is None or inner is None or operator_of(condition or node) != "!" or not _leaves(body):
            return
        if inner.type == "call_expression" and self._rules.checks.fullmatch(self._meanings.of(inner).name):
            given = inner.child_by_field_name("arguments")
            names = [text_of(one) for one in given.named_children if one.type == "identifier"] if given else []
        else:
            names = [self._allowed_by.get(text_of(inner), "")]
        yield from (one.name for one in map(self._variable, names) if one is not None)

    def _switch(self, node: Node) -> None:
        self._scopes.append({})
        value = node.child_by_field_name("value")
        alias = node.child_by_field_name("alias")
        for child in node.named_children:
            if child.type.endswith("_case"):
                self._case(child, alias, value)
            elif child not in (alias, value):
                self._statement(child)
            elif child == value and alias is None:
                self._discard(child)
        self._scopes.pop()

    def _case(self, node: Node, alias: Node | None, value: Node | None) -> None:
        self._scopes.append({})
        self._depth += 1
        if alias is not None and alias.named_children:
            kinds = node.children_by_field_name("type")
            kind = type_of(kinds[0], self._file) if len(kinds) == 1 else ""
            variable = self._declare(text_of(alias.named_children[0]), kind)
            self._steps.append(Assign((variable.name,), self._value(value)))
        for child in node.named_children:
            if child.type != "expression_list" and not child.type.endswith(("_type", "_identifier")):
                self._statement(child)
        self._depth -= 1
        self._scopes.pop()

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
                    self._put_fields(variable, fields or (), node)
        elif len(values) == 1:
            if len(names) == 2 and values[0].type == "index_expression":
                self._allowed_by[text_of(names[1])] = text_of(values[0].child_by_field_name("index"))
            value, types = self._value(values[0]), self._meanings.of(values[0]).types
            for number, name in enumerate(names):
                own = kind or (types[number] if number < len(types) else "")
                if text_of(name) in ("err", "ok", "_") or self._plain(own):
                    self._put(name, Parts(), own or "error", declare=declare)
                    continue
                variable = self._put(name, value, own, declare=declare, place=node)
                value = Name(variable.name) if variable is not None else value
            self._evaluate(value)

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
            self._steps.append(Assign((whole,), value, self._place(node), extend=self._depth > variable.depth))
            self._steps.append(Assign((variable.parts,), Name(whole), extend=True))

    def _return(self, node: Node) -> None:
        given = [one for child in node.named_children for one in _listed(child)]
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


def _leaves(block: Node) -> bool:
    """Whether a block ends by leaving the function or the turn of a loop."""
    inner = block.named_children[0].named_children if block.named_children else []
    last = next((one for one in reversed(inner) if one.type != "comment"), None)
    return last is not None and last.type in ("return_statement", "continue_statement", "break_statement")


def _listed(node: Node) -> Sequence[Node]:
    return node.named_children if node.type == "expression_list" else [node]
