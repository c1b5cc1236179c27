"""What the functions of Python files do with data, in the words of `flow`. By tree-sitter.

What is told: assignments (also of tuples and `+=`), strings put together, attributes and items of what is followed,
calls of functions that are defined at a module's top or as methods, by the names that `import` gives them, `self.x` of
the own class, methods of an object that the same function made, and names that an `if` held against what is allowed.
What is not: values kept in attributes, containers or globals, calls through variables, decorators and inheritance.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tree_sitter import Node

from tidemill.analysis.flow import (
    LARGEST,
    Assign,
    Call,
    Evaluate,
    Function,
    Name,
    Outside,
    Parts,
    Place,
    Return,
    Sink,
    Value,
    harms_of,
)
from tidemill.analysis.python_checks import allowed_by, is_table, leaves
from tidemill.analysis.syntax import Language, parsed, text_of


@dataclass(frozen=True, slots=True)
class PythonRules:
    """What is a source, what makes harmless, and what is a sink.

    Attributes:
        sources: matches the code of an expression that comes from outside.
        requests: occurs in the type of a parameter that stands for what a client sends, where it has a type.
        routes: matches the decorator of a function whose parameters come from outside.
        trusted: matches the code of a parameter, with its type and default, that comes from elsewhere even so.
        harmless: matches the name of a function whose result can do no harm.
        sinks: the calls that do harm.
    """

    sources: re.Pattern[str]
    requests: re.Pattern[str]
    routes: re.Pattern[str]
    trusted: re.Pattern[str]
    harmless: re.Pattern[str]
    sinks: Sequence[Sink]


_MADE = re.compile(r"^([\w.]+)\([^()]*\)")
"""`Store()` or `Store(db)` before a method."""


@dataclass(frozen=True, slots=True)
class _Definition:
    """A function or method, and the class that it is a method of, with a dot."""

    function: Function
    node: Node
    name: str
    owner: str


@dataclass(frozen=True, slots=True)
class _Module:
    path: str
    names: Mapping[str, str]
    definitions: Sequence[_Definition]


def python_functions(
    files: Mapping[str, str], rules: PythonRules, unread: set[Place], broken: set[str]
) -> list[Function]:
    """The functions of these files, for `flow.flows_of`; none where nothing in them comes from outside.

    Files that do not parse whole are read as far as they do. Where the functions begin that are nested too deeply to
    be followed is added to `unread`; files that do not parse whole, or are too large, are added to `broken`.
    """
    if not any(rules.sources.search(text) or rules.routes.search(text) for text in files.values()):
        return []
    modules = [_module(path, text, rules, broken) for path, text in files.items()]
    whole = {
        f"{_dotted(one.function.path)}.{one.owner}{one.name}": one.function
        for module in modules
        for one in module.definitions
    }
    known: dict[str, list[Function]] = {}
    for name, function in whole.items():
        parts = name.split(".")
        for start in range(len(parts)):
            known.setdefault(".".join(parts[start:]), []).append(function)
    functions = []
    for module in modules:
        for definition in module.definitions:
            try:
                _Body(definition, module, known, rules).tell()
            except RecursionError:  # see `flow.flows_of`
                unread.add(definition.function.place)
                continue
            functions.append(definition.function)
    return functions


def _dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _module(path: str, text: str, rules: PythonRules, broken: set[str]) -> _Module:
    root = parsed(text, Language.PYTHON) if len(text) <= LARGEST else None
    if root is None or root.has_error:
        broken.add(path)
    names: dict[str, str] = {}
    definitions: list[_Definition] = []
    for node in root.children if root is not None else ():
        names.update(_imported(node, _dotted(path)))
        definitions += _definitions(node, path, "", rules)
    return _Module(path, names, definitions)


def _definitions(node: Node, path: str, owner: str, rules: PythonRules) -> Iterator[_Definition]:
    if node.type == "decorated_definition":
        node = node.child_by_field_name("definition") or node
    name = node.child_by_field_name("name")
    if node.type == "function_definition" and name is not None:
        first, last = node.start_point.row + 1, node.end_point.row + 1
        parameters = tuple(_parameters(node, method=bool(owner)))
        function = Function(path, first, last, parameters, frozenset(_from_route(node, rules)))
        yield _Definition(function, node, text_of(name), owner)
    elif node.type == "class_definition" and name is not None and not owner:
        body = node.child_by_field_name("body")
        for child in body.children if body else ():
            yield from _definitions(child, path, f"{text_of(name)}.", rules)


def _parameters(function: Node, *, method: bool) -> Iterator[str]:
    holder = function.child_by_field_name("parameters")
    names = [_parameter(child) for child in holder.named_children] if holder else []
    yield from names[1:] if method and names[:1] in (["self"], ["cls"]) else names


def _parameter(node: Node) -> str:
    """The name of a parameter that may have a type and a default."""
    if node.type == "identifier":
        return text_of(node)
    return text_of(node.child_by_field_name("name") or (node.named_children[0] if node.named_children else node))


def _from_route(function: Node, rules: PythonRules) -> Iterator[str]:
    """The parameters that a route fills with what a client sends."""
    around = function.parent
    if around is None or around.type != "decorated_definition":
        return
    if not any(child.type == "decorator" and rules.routes.match(text_of(child)) for child in around.named_children):
        return
    holder = function.child_by_field_name("parameters")
    for child in holder.named_children if holder else ():
        if not rules.trusted.match(text_of(child)):
            yield _parameter(child)


def _of_other_types(function: Node, rules: PythonRules) -> Iterator[str]:
    """The parameters whose type is none of the frameworks' requests."""
    holder = function.child_by_field_name("parameters")
    for child in holder.named_children if holder else ():
        kind = child.child_by_field_name("type")
        if kind is not None and not rules.requests.search(text_of(kind)):
            yield _parameter(child)


def _imported(node: Node, module: str) -> Iterator[tuple[str, str]]:
    """The names that an import gives, each with what it stands for."""
    if node.type not in ("import_statement", "import_from_statement"):
        return
    source = node.child_by_field_name("module_name")
    prefix = ""
    if source is not None:
        said = text_of(source)
        dots = len(said) - len(said.lstrip("."))
        base = module.split(".")[:-dots] if dots else []
        prefix = ".".join([*base, *([said.lstrip(".")] if said.lstrip(".") else [])]) + "."
    for child in node.children_by_field_name("name"):
        if child.type == "aliased_import":
            name, alias = child.child_by_field_name("name"), child.child_by_field_name("alias")
            if name is not None and alias is not None:
                yield text_of(alias), prefix + text_of(name)
        elif source is not None:
            yield text_of(child), prefix + text_of(child)


class _Body:
    """Tells what one function's body does."""

    def __init__(
        self,
        definition: _Definition,
        module: _Module,
        known: Mapping[str, Sequence[Function]],
        rules: PythonRules,
    ) -> None:
        self._function = definition.function
        self._node = definition.node
        self._owner = definition.owner
        self._module = module
        self._known = known
        self._rules = rules
        self._steps = definition.function.steps
        self._made: dict[str, str] = {}
        self._tables: set[str] = set()
        self._asked: set[int] = set()
        self._others = set(_of_other_types(definition.node, rules))

    def tell(self) -> None:
        """Adds its steps to the function."""
        body = self._node.child_by_field_name("body")
        waiting: list[Node | Assign] = [] if body is None else [body]
        while waiting:
            node = waiting.pop()
            if isinstance(node, Assign):
                self._steps.append(node)
            elif node.type in ("if_statement", "elif_clause"):
                waiting += reversed([*self._branches(node)])
            elif node.type not in ("function_definition", "class_definition", "lambda"):
                self._take(node)
                waiting += reversed(node.named_children)

    def _branches(self, node: Node) -> Iterator[Node | Assign]:
        """What an `if` does; names that it checks are harmless where that says so."""
        condition, then = node.child_by_field_name("condition"), node.child_by_field_name("consequence")
        inside = sorted(allowed_by(condition, self._tables, holds=True))
        for name in inside:
            yield Assign((f"{name} before",), Name(name))
        for child in node.named_children:
            if child == then:
                yield from (Assign((name,), Parts()) for name in inside)
            yield child
            if child == then:
                yield from (Assign((name,), Name(f"{name} before"), extend=True) for name in inside)
        if node.type == "if_statement" and leaves(node):
            yield from (Assign((name,), Parts()) for name in sorted(allowed_by(condition, self._tables, holds=False)))

    def _place(self, node: Node) -> Place:
        return Place(self._function.path, node.start_point.row + 1)

    def _take(self, node: Node) -> None:
        if node.type == "as_pattern" and node.named_children[0].type == "call":
            self._made[text_of(node.named_children[-1])] = _head(node.named_children[0])
        elif node.type in ("assignment", "augmented_assignment", "named_expression"):
            self._assign(node)
        elif node.type == "while_statement":
            self._function.repeats = True
        elif node.type == "for_statement":
            self._function.repeats = True
            names = tuple(_names(node.child_by_field_name("left")))
            self._steps.append(Assign(names, self._value(node.child_by_field_name("right")), extend=True))
        elif node.type == "return_statement":
            for child in node.named_children:
                self._steps.append(Return(self._value(child), self._place(node)))
        elif node.type == "call" and node.id not in self._asked:
            self._steps.append(Evaluate(self._value(node)))

    def _assign(self, node: Node) -> None:
        left = node.child_by_field_name("left") or node.child_by_field_name("name")
        right = node.child_by_field_name("right") or node.child_by_field_name("value")
        value = self._value(right)
        if left is not None and right is not None and right.type == "call" and left.type == "identifier":
            made = _head(right)
            if made.rpartition(".")[2][:1].isupper() and made != text_of(left):
                self._made[text_of(left)] = made
        if left is not None and right is not None and is_table(right):
            self._tables.add(text_of(left))
        extend = node.type == "augmented_assignment"
        self._steps.append(Assign(tuple(_names(left)), value, self._place(node), extend=extend))

    def _value(self, node: Node | None) -> Value:
        """The value of an expression."""
        waiting = [] if node is None else [node]
        parts: list[Value] = []
        while waiting:  # and no call within a call: thousands of texts are put together with `+`
            part = waiting.pop()
            if part.type in ("string_content", "lambda", "comparison_operator", "not_operator"):
                continue
            if part.type == "identifier":
                parts.append(Name(text_of(part)))
            elif part.type in ("attribute", "subscript", "call") and self._is_source(_head(part)):
                parts.append(Outside(self._place(part)))
            elif part.type == "call":
                parts.append(self._call(part))
            elif part.type == "conditional_expression":
                waiting += reversed([*self._chosen(part)])
            elif part.type in ("attribute", "subscript"):
                inner = part.child_by_field_name("object" if part.type == "attribute" else "value")
                waiting += [] if inner is None else [inner]
            else:
                waiting += reversed(part.named_children)
        return parts[0] if len(parts) == 1 else Parts(tuple(parts))

    def _chosen(self, node: Node) -> Iterator[Node]:
        """The sides of `a if c else b`, but for a name that gets to its side only where it is allowed."""
        sides = [child for child in node.named_children if child.type != "comment"]
        if len(sides) == 3:
            for side, holds in ((sides[0], True), (sides[2], False)):
                if side.type != "identifier" or text_of(side) not in allowed_by(sides[1], self._tables, holds=holds):
                    yield side

    def _is_source(self, code: str) -> bool:
        """Not where it names a parameter whose type says that it is another kind of `request`."""
        return self._rules.sources.fullmatch(code) is not None and code.partition(".")[0] not in self._others

    def _call(self, node: Node) -> Call:
        self._asked.add(node.id)
        callee, given = node.child_by_field_name("function"), node.child_by_field_name("arguments")
        name = text_of(callee) if callee is not None else ""
        return Call(
            self._place(node),
            tuple((key, self._value(argument)) for key, argument in _arguments(given)),
            self._value(callee.child_by_field_name("object")) if callee and callee.type == "attribute" else None,
            tuple(self._targets(name)),
            harms_of(self._rules.sinks, {name, self._known_as(name)}, text_of(given) if given is not None else ""),
            self._rules.harmless.fullmatch(name) is not None,
        )

    def _known_as(self, name: str) -> str:
        """A name as `import` gives it: of a class's own method where the object was made here."""
        first, _, rest = name.partition(".")
        if first in self._made and rest:
            return self._known_as(f"{self._made[first]}.{rest}")
        return self._module.names.get(first, first) + (f".{rest}" if rest else "")

    def _targets(self, name: str) -> Sequence[Function]:
        """The functions that a call may mean; one of several of the same name only where the module tells which."""
        name = _MADE.sub(r"\1", name)
        first, _, rest = name.partition(".")
        if first in self._made and rest:
            return self._targets(f"{self._made[first]}.{rest}")
        if first in ("self", "cls") and rest:
            name = f"{_dotted(self._module.path)}.{self._owner}{rest}"
        elif first in self._module.names:
            name = self._module.names[first] + (f".{rest}" if rest else "")
        else:
            name = f"{_dotted(self._module.path)}.{name}"
        found = self._known.get(name, ())
        return found if len(found) == 1 else ()


def _names(target: Node | None) -> Iterator[str]:
    """The names to which an assignment gives its value."""
    if target is None:
        return
    if target.type == "identifier":
        yield text_of(target)
    elif target.type in ("pattern_list", "tuple_pattern", "list_pattern"):
        for child in target.named_children:
            yield from _names(child)


def _arguments(holder: Node | None) -> Iterator[tuple[str | None, Node]]:
    for child in holder.named_children if holder else ():
        name = child.child_by_field_name("name") if child.type == "keyword_argument" else None
        value = child.child_by_field_name("value") if name is not None else child
        if value is not None and child.type != "comment":
            yield (text_of(name) if name is not None else None), value


def _head(node: Node) -> str:
    """The code of an expression without the arguments and items at its end."""
    while node.type in ("call", "subscript"):
        inner = node.child_by_field_name("function") or node.child_by_field_name("value")
        if inner is None:
            break
        node = inner
    return text_of(node)
