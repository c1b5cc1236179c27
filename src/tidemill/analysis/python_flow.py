"""Where data goes between the functions of Python files: which of a function's arguments reach a sink or its result,
and which results come from outside. By tree-sitter, with a summary for each function, until no summary grows.

What is followed: assignments (also of tuples and `+=`), strings put together, attributes and items of what is followed,
calls of functions that are defined at a module's top or as methods, by the names that `import` gives them, `self.x` of
the own class, and methods of an object that the same function made. What is not: values kept in attributes, containers
or globals, calls through variables, decorators, inheritance, and which way a condition goes: a value that was checked
is still followed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import tree_sitter_python
from tree_sitter import Language, Node, Parser

LARGEST = 500_000
"""Characters; a larger file is not read."""
_ROUNDS = 6
"""A value that passes through more calls than this is lost."""
_LONGEST = 10
"""Steps of one way."""


@dataclass(frozen=True, slots=True)
class Sink:
    """A call that does harm with one of its arguments.

    Attributes:
        kind: what is found.
        name: matches the whole name of the function, as it is written or as `import` gives it.
        position: of the argument, from 0.
        arguments: matches the beginning of the code of all arguments, where not every such call does harm.
    """

    kind: str
    name: re.Pattern[str]
    position: int = 0
    arguments: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class FlowRules:
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


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file."""

    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Flow:
    """Data from outside that reaches a sink in another function: the places that it passes, source first, sink last."""

    kind: str
    way: tuple[Place, ...]


_MADE = re.compile(r"^([\w.]+)\([^()]*\)")
"""`Store()` or `Store(db)` before a method."""
_Origin = int | None
"""The parameter that a value comes from; `None` for one from outside."""
_Values = dict[_Origin, tuple[Place, ...]]
"""By origin, the way that a value took to where it is."""


@dataclass(slots=True)
class _Function:
    path: str
    name: str
    owner: str
    node: Node
    parameters: list[str]
    returns: _Values = field(default_factory=dict)
    reaches: dict[tuple[int, str], tuple[Place, ...]] = field(default_factory=dict)
    calls: set[int] = field(default_factory=set)

    @property
    def size(self) -> int:
        """How much is known of it; it only grows."""
        return len(self.returns) + len(self.reaches)


@dataclass(slots=True)
class _Module:
    path: str
    names: dict[str, str]
    functions: list[_Function]
    parses: bool


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_python.language()))


def flows_between(
    files: Mapping[str, str], rules: FlowRules, unread: set[Place] | None = None, broken: set[str] | None = None
) -> list[Flow]:
    """The ways of data from a source in one function to a sink in another, in these files together.

    Ways within one function are not among them. Files that do not parse whole are read as far as they do. Where the
    functions begin that are nested too deeply to be followed is added to `unread`; files that do not parse whole, or
    are larger than `LARGEST`, are added to `broken`.
    """
    unread = set() if unread is None else unread
    broken = set() if broken is None else broken
    if not any(rules.sources.search(text) or rules.routes.search(text) for text in files.values()):
        return []
    modules = [_module(path, text) for path, text in files.items() if len(text) <= LARGEST]
    broken |= {module.path for module in modules if not module.parses} | files.keys() - {one.path for one in modules}
    known = {f"{_dotted(one.path)}.{one.owner}{one.name}": one for module in modules for one in module.functions}
    by_suffix: dict[str, list[_Function]] = {}
    for name, function in known.items():
        parts = name.split(".")
        for start in range(len(parts)):
            by_suffix.setdefault(".".join(parts[start:]), []).append(function)
    found: dict[tuple[str, Place, Place], Flow] = {}
    grown: set[int] | None = None
    for _ in range(_ROUNDS):
        before = {id(one): one.size for one in known.values()}
        for module in modules:
            for function in module.functions:
                if grown is not None and grown.isdisjoint(function.calls):
                    continue
                try:
                    flows = _Body(function, module, by_suffix, rules).read()
                except RecursionError:  # calls within calls, hundreds of them: whoever writes the change could wish so
                    unread.add(Place(function.path, function.node.start_point[0] + 1))
                    continue
                for flow in flows:
                    found.setdefault((flow.kind, flow.way[0], flow.way[-1]), flow)
        grown = {id(one) for one in known.values() if one.size != before[id(one)]}
        if not grown:
            break
    return sorted(found.values(), key=lambda flow: (flow.way[-1].path, flow.way[-1].line, flow.kind))


def _dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _module(path: str, text: str) -> _Module:
    root = _parser().parse(text.encode("utf-8", "replace")).root_node
    names: dict[str, str] = {}
    functions: list[_Function] = []
    for node in root.children:
        names.update(_imported(node, _dotted(path)))
        functions += _functions(node, path, "")
    return _Module(path, names, functions, not root.has_error)


def _functions(node: Node, path: str, owner: str) -> Iterator[_Function]:
    if node.type == "decorated_definition":
        node = node.child_by_field_name("definition") or node
    name = node.child_by_field_name("name")
    if node.type == "function_definition" and name is not None:
        yield _Function(path, _text(name), owner, node, list(_parameters(node, method=bool(owner))))
    elif node.type == "class_definition" and name is not None and not owner:
        body = node.child_by_field_name("body")
        for child in body.children if body else ():
            yield from _functions(child, path, f"{_text(name)}.")


def _parameters(function: Node, *, method: bool) -> Iterator[str]:
    holder = function.child_by_field_name("parameters")
    names = []
    for child in holder.named_children if holder else ():
        name = child.child_by_field_name("name") or (child.named_children[0] if child.named_children else child)
        names.append(_text(child if child.type == "identifier" else name))
    yield from names[1:] if method and names[:1] in (["self"], ["cls"]) else names


def _from_route(function: Node, rules: FlowRules) -> Iterator[str]:
    """The parameters that a route fills with what a client sends."""
    around = function.parent
    if around is None or around.type != "decorated_definition":
        return
    if not any(child.type == "decorator" and rules.routes.match(_text(child)) for child in around.named_children):
        return
    holder = function.child_by_field_name("parameters")
    for child in holder.named_children if holder else ():
        if not rules.trusted.match(_text(child)):
            name = child.child_by_field_name("name") or (child.named_children[0] if child.named_children else child)
            yield _text(child if child.type == "identifier" else name)


def _of_other_types(function: Node, rules: FlowRules) -> Iterator[str]:
    """The parameters whose type is none of the frameworks' requests."""
    holder = function.child_by_field_name("parameters")
    for child in holder.named_children if holder else ():
        kind = child.child_by_field_name("type")
        if kind is not None and not rules.requests.search(_text(kind)):
            yield _text(child.child_by_field_name("name") or child.named_children[0])


def _imported(node: Node, module: str) -> Iterator[tuple[str, str]]:
    """The names that an import gives, each with what it stands for."""
    if node.type not in ("import_statement", "import_from_statement"):
        return
    source = node.child_by_field_name("module_name")
    prefix = ""
    if source is not None:
        said = _text(source)
        dots = len(said) - len(said.lstrip("."))
        base = module.split(".")[:-dots] if dots else []
        prefix = ".".join([*base, *([said.lstrip(".")] if said.lstrip(".") else [])]) + "."
    for child in node.children_by_field_name("name"):
        if child.type == "aliased_import":
            name, alias = child.child_by_field_name("name"), child.child_by_field_name("alias")
            if name is not None and alias is not None:
                yield _text(alias), prefix + _text(name)
        elif source is not None:
            yield _text(child), prefix + _text(child)


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


class _Body:
    """Reads one function's body with what is known of the others so far."""

    def __init__(
        self, function: _Function, module: _Module, known: Mapping[str, Sequence[_Function]], rules: FlowRules
    ) -> None:
        self._function = function
        self._module = module
        self._known = known
        self._rules = rules
        self._flows: list[Flow] = []
        self._made: dict[str, str] = {}
        self._asked: set[int] = set()
        self._loops = False
        at = self._place(function.node)
        self._values: dict[str, _Values] = {
            name: {index: (at,)} for index, name in enumerate(function.parameters) if name
        }
        self._others = set(_of_other_types(function.node, rules))
        for name in _from_route(function.node, rules):
            if name in self._values:
                self._values[name][None] = (at,)

    def read(self) -> list[Flow]:
        """Adds to the function's summary; returns the flows that end in another function or come from one."""
        body = self._function.node.child_by_field_name("body")
        self._visit(body)
        if self._loops:
            self._asked.clear()
            self._visit(body)
        return self._flows

    def _place(self, node: Node) -> Place:
        return Place(self._function.path, node.start_point[0] + 1)

    def _visit(self, body: Node | None) -> None:
        waiting = [] if body is None else [body]
        while waiting:
            node = waiting.pop()
            if node.type not in ("function_definition", "class_definition", "lambda"):
                self._take(node)
                waiting += reversed(node.named_children)

    def _take(self, node: Node) -> None:
        if node.type == "as_pattern" and node.named_children[0].type == "call":
            self._made[_text(node.named_children[-1])] = _head(node.named_children[0])
        elif node.type in ("assignment", "augmented_assignment", "named_expression"):
            self._assign(node)
        elif node.type == "while_statement":
            self._loops = True
        elif node.type == "for_statement":
            self._loops = True
            self._bind(node.child_by_field_name("left"), self._value(node.child_by_field_name("right")), extend=True)
        elif node.type == "return_statement":
            for child in node.named_children:
                for origin, way in self._value(child).items():
                    self._function.returns.setdefault(origin, _joined(way, self._place(node)))
        elif node.type == "call" and node.id not in self._asked:
            self._value(node)

    def _assign(self, node: Node) -> None:
        left = node.child_by_field_name("left") or node.child_by_field_name("name")
        values = self._value(node.child_by_field_name("right") or node.child_by_field_name("value"))
        right = node.child_by_field_name("right")
        if left is not None and right is not None and right.type == "call" and left.type == "identifier":
            made = _head(right)
            if made.rpartition(".")[2][:1].isupper() and made != _text(left):
                self._made[_text(left)] = made
        here = {origin: _joined(way, self._place(node)) for origin, way in values.items()}
        self._bind(left, here, extend=node.type == "augmented_assignment")

    def _bind(self, target: Node | None, values: _Values, *, extend: bool) -> None:
        if target is None:
            return
        if target.type == "identifier":
            kept = self._values.get(_text(target), {}) if extend else {}
            self._values[_text(target)] = {**values, **kept}
        elif target.type in ("pattern_list", "tuple_pattern", "list_pattern"):
            for child in target.named_children:
                self._bind(child, values, extend=extend)

    def _value(self, expression: Node | None) -> _Values:
        """Where the value of an expression comes from."""
        waiting = [] if expression is None else [expression]
        found: _Values = {}
        while waiting:
            node = waiting.pop()
            if node.type in ("string_content", "lambda", "comparison_operator", "not_operator"):
                continue
            if node.type == "identifier":
                found = {**self._values.get(_text(node), {}), **found}
            elif node.type in ("attribute", "subscript", "call") and self._is_source(_head(node)):
                found.setdefault(None, (self._place(node),))
            elif node.type == "call":
                found = {**self._call(node), **found}
            elif node.type in ("attribute", "subscript"):
                inner = node.child_by_field_name("object" if node.type == "attribute" else "value")
                waiting += [] if inner is None else [inner]
            else:
                waiting += reversed(node.named_children)
        return found

    def _is_source(self, code: str) -> bool:
        """Not where it names a parameter whose type says that it is another kind of `request`."""
        return self._rules.sources.fullmatch(code) is not None and code.partition(".")[0] not in self._others

    def _call(self, node: Node) -> _Values:
        self._asked.add(node.id)
        callee = node.child_by_field_name("function")
        name = _text(callee) if callee is not None else ""
        arguments = list(_arguments(node))
        values = [(key, self._value(argument)) for key, argument in arguments]
        if self._rules.harmless.fullmatch(name):
            return {}
        at = self._place(node)
        names, given = {name, self._known_as(name)}, node.child_by_field_name("arguments")
        for sink in self._rules.sinks:
            if (
                sink.position < len(values)
                and any(sink.name.fullmatch(one) for one in names)
                and (sink.arguments is None or (given is not None and sink.arguments.match(_text(given))))
            ):
                self._sink(sink.kind, values[sink.position][1], (at,))
        targets = self._targets(name)
        if not targets:
            inner = self._value(callee.child_by_field_name("object")) if callee and callee.type == "attribute" else {}
            for _, value in values:
                inner = {**value, **inner}
            return inner
        found: _Values = {}
        for target in targets:
            self._function.calls.add(id(target))
            found = {**self._through(target, values, at), **found}
        return found

    def _through(self, target: _Function, values: Sequence[tuple[str | None, _Values]], at: Place) -> _Values:
        """What comes back from a known function, and what its arguments reach in it."""
        found: _Values = {}
        for origin, way in target.returns.items():
            if origin is None:
                found[None] = _joined(way, at)
        for number, (key, value) in enumerate(values):
            index = target.parameters.index(key) if key in target.parameters else number if key is None else -1
            # a copy: a function that calls itself learns of its own ways here
            for (parameter, kind), rest in tuple(target.reaches.items()):
                if parameter == index:
                    self._sink(kind, value, (at, *rest))
            if index in target.returns:
                inside = target.returns[index]
                for origin, way in value.items():
                    found.setdefault(origin, _joined((*way, at), *inside))
        return found

    def _sink(self, kind: str, values: _Values, rest: tuple[Place, ...]) -> None:
        for origin, way in values.items():
            whole = _joined(way, *rest)
            if origin is not None:
                self._function.reaches.setdefault((origin, kind), whole)
            elif len({self._owner(place) for place in whole}) > 1:
                self._flows.append(Flow(kind, whole))

    def _owner(self, place: Place) -> tuple[str, int]:
        """The function in which a place lies."""
        node = self._function.node
        inside = place.path == self._function.path and node.start_point[0] < place.line <= node.end_point[0] + 1
        return (place.path, node.start_point[0]) if inside else (place.path, -1)

    def _known_as(self, name: str) -> str:
        """A name as `import` gives it: of a class's own method where the object was made here."""
        first, _, rest = name.partition(".")
        if first in self._made and rest:
            return self._known_as(f"{self._made[first]}.{rest}")
        return self._module.names.get(first, first) + (f".{rest}" if rest else "")

    def _targets(self, name: str) -> Sequence[_Function]:
        """The functions that a call may mean; one of several of the same name only where the module tells which."""
        name = _MADE.sub(r"\1", name)
        first, _, rest = name.partition(".")
        if first in self._made and rest:
            return self._targets(f"{self._made[first]}.{rest}")
        if first in ("self", "cls") and rest:
            name = f"{_dotted(self._module.path)}.{self._function.owner}{rest}"
        elif first in self._module.names:
            name = self._module.names[first] + (f".{rest}" if rest else "")
        else:
            name = f"{_dotted(self._module.path)}.{name}"
        found = self._known.get(name, ())
        return found if len(found) == 1 else ()


def _arguments(call: Node) -> Iterator[tuple[str | None, Node]]:
    holder = call.child_by_field_name("arguments")
    for child in holder.named_children if holder else ():
        name = child.child_by_field_name("name") if child.type == "keyword_argument" else None
        value = child.child_by_field_name("value") if name is not None else child
        if value is not None and child.type != "comment":
            yield (_text(name) if name is not None else None), value


def _head(node: Node) -> str:
    """The code of an expression without the arguments and items at its end."""
    while node.type in ("call", "subscript"):
        inner = node.child_by_field_name("function") or node.child_by_field_name("value")
        if inner is None:
            break
        node = inner
    return _text(node)


def _joined(way: Sequence[Place], *more: Place) -> tuple[Place, ...]:
    """A way with further places: none twice in a row, and not too many."""
    places: list[Place] = []
    for place in (*way, *more):
        if place not in places:
            places.append(place)
    return tuple(places if len(places) <= _LONGEST else [*places[: _LONGEST // 2], *places[-_LONGEST // 2 :]])
