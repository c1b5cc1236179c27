"""What Go's files declare, and what a name means among it: functions, methods, types with their fields, variables.

A type is told by its name with its package, `./store.Store` where the package is read and `net/http.Request` where it
is not, without `*`; `[]` and `map[]` stand before the type of the items. What cannot be told is the empty text.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tree_sitter import Node

from tidemill.analysis.flow import Function
from tidemill.analysis.go_packages import GoFile
from tidemill.analysis.paths import PathKind, kind_of
from tidemill.analysis.syntax import text_of

BASIC = frozenset(
    [
        *("bool", "byte", "complex64", "complex128", "error", "float32", "float64", "int", "int8", "int16"),
        *("int32", "int64", "rune", "string", "uint", "uint8", "uint16", "uint32", "uint64", "uintptr", "any"),
    ]
)
"""Types that need no declaration."""
_STAND_IN = re.compile(r"(?i)^(?:mock|fake|stub|dummy|noop)|(?:mock|fake|stub)$")
"""Types that stand for another one in tests: not counted among those that implement an interface."""
_DEEPEST = 20
"""Types that lie in one another."""
_MOST_EMBEDDED = 40
"""Types that one embeds."""
_MOST_TARGETS = 4
"""Functions of one name: one for each system that the program is built for."""


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """A function or method.

    Attributes:
        function: what it is for `flow`.
        node: of its declaration.
        file: in which it stands.
        receiver: the name of the object of a method, which is its last parameter; empty for none.
        types: of its other parameters, in order.
        results: their types, in order.
        variadic: its last parameter takes all further arguments.
    """

    function: Function
    node: Node
    file: GoFile
    receiver: str
    types: tuple[str, ...]
    results: tuple[str, ...]
    variadic: bool


@dataclass(frozen=True, slots=True)
class Member:
    """What `x.name` is, of an `x` whose type is known: methods that are read, or the name of what is not."""

    functions: tuple[Declared, ...] = ()
    results: tuple[str, ...] = ()
    kind: str = ""
    foreign: str = ""


@dataclass(slots=True, eq=False)
class _Type:
    fields: dict[str, str] = field(default_factory=dict)
    embedded: list[str] = field(default_factory=list)
    methods: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    """Of an interface: how many parameters each has, and the types of its results."""
    underlying: str = ""
    interface: bool = False
    stand_in: bool = False


class Declarations:
    """All that is declared at the top of some files."""

    def __init__(self, files: Sequence[GoFile]) -> None:
        self.functions: dict[str, list[Declared]] = {}
        """By name with its package and, of a method, its type."""
        self.variables: dict[str, tuple[str, Node | None, GoFile]] = {}
        """By name with its package: its type, or the expression that it is given."""
        self._types: dict[str, _Type] = {}
        self._methods: dict[str, dict[str, int]] = {}
        self._implementing: dict[frozenset[tuple[str, int]], str] = {}
        """By methods, the one type that has them all."""
        self._wanted: dict[str, frozenset[tuple[str, int]]] = {}
        """By interface, its methods."""
        self._asked: set[str] = set()
        """Interfaces whose implementing type is being looked at."""
        self._having: dict[tuple[str, int], set[str]] | None = None
        for file in files:
            for node in _declarations(file.root):
                self._declare(node, file)

    def _declare(self, node: Node, file: GoFile) -> None:
        match node.type:
            case "function_declaration" | "method_declaration":
                self._declare_function(node, file)
            case "type_spec" | "type_alias":
                self._declare_type(node, file)
            case "var_spec":
                kind = type_of(node.child_by_field_name("type"), file)
                values = node.child_by_field_name("value")
                names = node.children_by_field_name("name")
                given = values.named_children if values is not None else []
                for number, name in enumerate(names):
                    value = given[number] if len(given) == len(names) else given[0] if given and not number else None
                    self.variables[f"{file.package}.{text_of(name)}"] = (kind, value, file)

    def _declare_function(self, node: Node, file: GoFile) -> None:
        name = text_of(node.child_by_field_name("name"))
        parameters = tuple(parameters_of(node.child_by_field_name("parameters"), file))
        receiver, owner = next(parameters_of(node.child_by_field_name("receiver"), file), ("", ""))
        receiver = receiver.strip("_")
        last = (node.child_by_field_name("parameters") or node).named_children[-1:]
        function = Function(
            file.path,
            node.start_point.row + 1,
            node.end_point.row + 1,
            (*("" if one == "_" else one for one, _ in parameters), *([receiver] if receiver else [])),
        )
        declared = Declared(
            function,
            node,
            file,
            receiver,
            tuple(kind for _, kind in parameters),
            results_of(node, file),
            bool(last) and last[0].type == "variadic_parameter_declaration",
        )
        if node.type == "method_declaration":
            self._methods.setdefault(owner, {})[name] = len(parameters)
            self.functions.setdefault(f"{owner}.{name}", []).append(declared)
        else:
            self.functions.setdefault(f"{file.package}.{name}", []).append(declared)

    def _declare_type(self, node: Node, file: GoFile) -> None:
        name, body = text_of(node.child_by_field_name("name")), node.child_by_field_name("type")
        found = self._types[f"{file.package}.{name}"] = _Type()
        found.stand_in = _STAND_IN.search(name) is not None or kind_of(file.path) is PathKind.TEST
        if body is None:
            return
        if body.type == "interface_type":
            found.interface = True
            for child in body.named_children:
                if child.type == "method_elem":
                    count = sum(1 for _ in parameters_of(child.child_by_field_name("parameters"), file))
                    method = text_of(child.child_by_field_name("name"))
                    found.methods[method] = (count, results_of(child, file))
                elif child.type == "type_elem" and len(found.embedded) < _MOST_EMBEDDED:
                    found.embedded.append(type_of(child.named_children[0], file))
        elif body.type == "struct_type":
            for child in (part for holder in body.named_children for part in holder.named_children):
                kind = type_of(child.child_by_field_name("type"), file)
                names = child.children_by_field_name("name")
                found.fields.update((text_of(one), kind) for one in names)
                if not names and child.type == "field_declaration" and len(found.embedded) < _MOST_EMBEDDED:
                    found.embedded.append(kind)
                    found.fields[kind.rpartition(".")[2]] = kind
        else:
            found.underlying = type_of(body, file)
            if node.type == "type_alias":
                found.embedded.append(found.underlying)

    def is_type(self, name: str) -> bool:
        """Whether a name with its package is that of a type."""
        return name in self._types

    def underlying(self, kind: str) -> str:
        """The type that a declared one is made of; itself where it is a struct, an interface or not declared here."""
        for _ in range(_DEEPEST):
            declared = self._types.get(kind)
            if declared is None or not declared.underlying:
                break
            kind = declared.underlying
        return kind

    def member(self, kind: str, name: str) -> Member:
        """What a field or method of a type is; one that lies less deep in embedded types goes first."""
        level, seen = [kind], {kind}
        foreign: list[str] = []
        for _ in range(_DEEPEST):
            below: list[str] = []
            for one in level:
                found = self._own(one, name)
                if found is not None:
                    return found
                declared = self._types.get(one)
                if declared is not None:
                    below += [each for each in declared.embedded if each not in seen]
                    seen.update(declared.embedded)
                elif one and not one.startswith(("./", "[]", "map[]")) and one not in BASIC:
                    foreign.append(one)
            level = below
            if not level:
                break
        return Member(foreign=f"{foreign[0]}.{name}" if len(foreign) == 1 else "")

    def _own(self, kind: str, name: str) -> Member | None:
        """A field or method that a type itself has."""
        if functions := self.functions.get(f"{kind}.{name}"):
            return Member(tuple(functions[:_MOST_TARGETS]), functions[0].results)
        declared = self._types.get(kind)
        if declared is None:
            return None
        if name in declared.fields:
            return Member(kind=declared.fields[name])
        if name in declared.methods:
            implementing = self._implemented_by(kind)
            found = Member()
            if implementing and kind not in self._asked:
                self._asked.add(kind)
                found = self.member(implementing, name)
                self._asked.discard(kind)
            return found if found.functions else Member(results=declared.methods[name][1])
        return None

    def _implemented_by(self, interface: str) -> str:
        """The one type that has all methods of an interface; empty where there are several, or none."""
        if interface not in self._wanted:
            self._wanted[interface] = frozenset(self._all_methods(interface).items())
        wanted = self._wanted[interface]
        if wanted not in self._implementing:
            having = self._types_by_method()
            sets = sorted((having.get(method, set()) for method in wanted), key=len)
            common = set.intersection(*sets) if sets else set()
            self._implementing[wanted] = next(iter(common)) if len(common) == 1 else ""
        return self._implementing[wanted]

    def _types_by_method(self) -> Mapping[tuple[str, int], set[str]]:
        if self._having is None:
            self._having = {}
            for kind, declared in self._types.items():
                if not declared.interface and not declared.stand_in:
                    for method in self._all_methods(kind, of_interfaces=False).items():
                        self._having.setdefault(method, set()).add(kind)
        return self._having

    def _all_methods(self, kind: str, *, of_interfaces: bool = True) -> dict[str, int]:
        """The methods of a type with how many parameters each has, also those of the types that it embeds."""
        found: dict[str, int] = {}
        level, seen = [kind], {kind}
        for _ in range(_DEEPEST):
            below: list[str] = []
            for one in level:
                declared = self._types.get(one)
                own = dict(self._methods.get(one, {}))
                if declared is not None and (of_interfaces or not declared.interface):
                    own |= {name: count for name, (count, _) in declared.methods.items()}
                    below += [each for each in declared.embedded if each not in seen]
                    seen.update(declared.embedded)
                found = own | found
            level = below
        return found


def _declarations(root: Node) -> Iterator[Node]:
    """What a file declares at its top."""
    waiting = list(reversed(root.named_children))
    while waiting:
        node = waiting.pop()
        if node.type in ("type_declaration", "var_declaration", "var_spec_list"):
            waiting += reversed(node.named_children)
        elif node.type != "import_declaration":
            yield node


def parameters_of(holder: Node | None, file: GoFile) -> Iterator[tuple[str, str]]:
    """The names and types of parameters; `_` for one without a name."""
    for child in holder.named_children if holder is not None else ():
        if child.type in ("parameter_declaration", "variadic_parameter_declaration"):
            kind = type_of(child.child_by_field_name("type"), file)
            if child.type == "variadic_parameter_declaration":
                kind = f"[]{kind}"
            names = child.children_by_field_name("name")
            for name in names:
                yield text_of(name), kind
            if not names:
                yield "_", kind


def results_of(function: Node, file: GoFile) -> tuple[str, ...]:
    """The types of what a function returns."""
    result = function.child_by_field_name("result")
    if result is None:
        return ()
    if result.type == "parameter_list":
        return tuple(kind for _, kind in parameters_of(result, file))
    return (type_of(result, file),)


def type_of(node: Node | None, file: GoFile) -> str:
    """The type that code names; see the module."""
    before = ""
    for _ in range(_DEEPEST):
        if node is None:
            break
        match node.type:
            case "type_identifier" | "identifier":
                name = text_of(node)
                return before + (name if name in BASIC else f"{file.package}.{name}")
            case "qualified_type":
                package = file.imports.get(text_of(node.child_by_field_name("package")))
                return f"{before}{package}.{text_of(node.child_by_field_name('name'))}" if package else ""
            case "pointer_type" | "parenthesized_type":
                node = _first(node.named_children)
            case "generic_type":
                node = node.child_by_field_name("type")
            case "slice_type" | "array_type" | "implicit_length_array_type":
                before += "[]"
                node = node.child_by_field_name("element")
            case "map_type":
                before += "map[]"
                node = node.child_by_field_name("value")
            case "function_type":
                return f"{before}func"
            case _:
                break
    return ""


def item_of(kind: str) -> str:
    """The type of the items of a slice or map."""
    return kind.partition("[]")[2] if kind.startswith(("[]", "map[]")) else ""


def _first(nodes: Iterable[Node]) -> Node | None:
    return next(iter(nodes), None)
