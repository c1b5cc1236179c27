"""What a Java file declares: types with their fields and methods, and what it imports. By tree-sitter."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tree_sitter import Node

from tidemill.analysis.flow import Function
from tidemill.analysis.syntax import text_of

CONSTRUCTOR = "new"
"""The name of a constructor among the methods of its class."""
_TYPES = frozenset(
    {
        *("class_declaration", "interface_declaration", "enum_declaration", "record_declaration"),
        "annotation_type_declaration",
    }
)
_METHODS = frozenset({"method_declaration", "constructor_declaration", "compact_constructor_declaration"})
WORD = re.compile(r"[\w$]+")
"""A part of a name; what stands between is dots, spaces and comments."""
_DEEPEST = 20
"""Types within types that are read."""
_MOST_PACKAGES = 32
"""Packages that a file imports whole, of which more are not looked at."""


@dataclass(frozen=True, slots=True)
class JavaType:
    """The type of a value.

    Attributes:
        names: the qualified names that it may have: several where a package is imported whole.
        arguments: between `<` and `>`.
        array: of how many dimensions.
        declared: its declaration, where that is read.
    """

    names: tuple[str, ...]
    arguments: "tuple[JavaType, ...]" = ()
    array: int = 0
    declared: "JavaClass | None" = None

    @property
    def simple(self) -> str:
        """Its name without the package."""
        return self.names[0].rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class JavaField:
    """A field, or a parameter of a method.

    Attributes:
        name: as it is written.
        node: of its type; `None` where none is written.
        annotations: the simple names of those that stand on it.
        line: from 1.
        static: of the class, not of an object.
        array: it has further dimensions, as those after its name.
    """

    name: str
    node: Node | None
    annotations: frozenset[str]
    line: int
    static: bool = False
    array: int = 0


@dataclass(slots=True, eq=False)
class JavaMethod:
    """A method or a constructor.

    Attributes:
        name: `CONSTRUCTOR` for a constructor.
        owner: the type that declares it.
        node: of its declaration.
        parameters: in order.
        variable: the last parameter stands for any number of arguments.
        static: it has no `this`.
        annotations: the simple names of those that stand on it.
        function: what it does; `None` where it has no body.
    """

    name: str
    owner: "JavaClass"
    node: Node
    parameters: tuple[JavaField, ...]
    variable: bool
    static: bool
    annotations: frozenset[str]
    function: Function | None = None

    def takes(self, count: int) -> bool:
        """Whether it can be called with so many arguments."""
        most = len(self.parameters)
        return count >= most - 1 if self.variable else count == most


@dataclass(slots=True, eq=False)
class JavaFile:
    """A file: its package and what it imports.

    Attributes:
        imports: the qualified name of each simple one.
        packages: those that are imported whole.
        members: the qualified name of each static member that is imported.
        holders: the types whose static members are all imported.
    """

    path: str
    package: str = ""
    imports: dict[str, str] = field(default_factory=dict)
    packages: list[str] = field(default_factory=list)
    members: dict[str, str] = field(default_factory=dict)
    holders: list[str] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class JavaClass:
    """A class, interface, enum or record that is read.

    Attributes:
        name: qualified.
        file: where it stands.
        node: of its declaration.
        outer: the type that it stands in.
        annotations: the simple names of those that stand on it.
        above: the nodes of the types that it extends and implements.
    """

    name: str
    file: JavaFile
    node: Node
    outer: "JavaClass | None"
    annotations: frozenset[str]
    above: tuple[Node, ...]
    fields: dict[str, JavaField] = field(default_factory=dict)
    methods: dict[str, list[JavaMethod]] = field(default_factory=dict)


def arrayed(kind: JavaType, dimensions: int) -> JavaType:
    """An array of a type; fewer dimensions where the number is negative."""
    return JavaType(kind.names, kind.arguments, max(0, kind.array + dimensions), kind.declared)


def annotations_of(node: Node) -> frozenset[str]:
    """The simple names of a declaration's annotations."""
    return frozenset(
        text_of(one.child_by_field_name("name")).rpartition(".")[2]
        for one in _modifiers(node)
        if one.type in ("annotation", "marker_annotation")
    )


def _modifiers(node: Node) -> Iterable[Node]:
    return next((child.children for child in node.children if child.type == "modifiers"), ())


def classes_of(root: Node, path: str) -> Iterator[JavaClass]:
    """The types of a file, an outer one before those in it; not those within methods."""
    file = JavaFile(path)
    waiting: list[tuple[Node, JavaClass | None, int]] = []
    for node in root.children:
        if node.type == "package_declaration":
            file.package = ".".join(WORD.findall(text_of(node.named_children[-1])))
        elif node.type == "import_declaration":
            _import(node, file)
        elif node.type in _TYPES:
            waiting.append((node, None, 0))
    while waiting:
        node, outer, depth = waiting.pop(0)
        one = _class(node, file, outer)
        if one is None:
            continue
        yield one
        for member in _members(node):
            if member.type in _TYPES and depth < _DEEPEST:
                waiting.append((member, one, depth + 1))


def _import(node: Node, file: JavaFile) -> None:
    name = next((text_of(one) for one in node.named_children if one.type in ("scoped_identifier", "identifier")), "")
    name = ".".join(WORD.findall(name))
    static = any(child.type == "static" for child in node.children)
    if any(child.type == "asterisk" for child in node.children):
        whole = file.holders if static else file.packages
        if len(whole) < _MOST_PACKAGES:
            whole.append(name)
    else:
        (file.members if static else file.imports)[name.rpartition(".")[2]] = name


def _members(node: Node) -> Iterator[Node]:
    body = node.child_by_field_name("body")
    for child in body.named_children if body is not None else ():
        if child.type == "enum_body_declarations":
            yield from child.named_children
        else:
            yield child


def _class(node: Node, file: JavaFile, outer: JavaClass | None) -> JavaClass | None:
    simple = text_of(node.child_by_field_name("name"))
    if not simple:
        return None
    around = outer.name if outer is not None else file.package
    above = tuple(
        one
        for holder in node.children
        if holder.type in ("superclass", "super_interfaces", "extends_interfaces")
        for child in holder.named_children
        for one in (child.named_children if child.type == "type_list" else [child])
    )
    owner = JavaClass(f"{around}.{simple}" if around else simple, file, node, outer, annotations_of(node), above)
    if node.type == "record_declaration":
        parameters, _ = _parameters(node)
        owner.fields.update((one.name, one) for one in parameters)
    for member in _members(node):
        if member.type == "field_declaration":
            owner.fields.update((one.name, one) for one in _fields(member))
        elif member.type in _METHODS:
            method = _method(member, owner)
            owner.methods.setdefault(method.name, []).append(method)
    return owner


def _fields(node: Node) -> Iterator[JavaField]:
    static = any(one.type == "static" for one in _modifiers(node))
    for child in node.children_by_field_name("declarator"):
        array = text_of(child.child_by_field_name("dimensions")).count("[")
        name, line = text_of(child.child_by_field_name("name")), child.start_point.row + 1
        yield JavaField(name, node.child_by_field_name("type"), annotations_of(node), line, static, array)


def _method(node: Node, owner: JavaClass) -> JavaMethod:
    constructor = node.type != "method_declaration"
    holder = owner.node if node.type == "compact_constructor_declaration" else node
    parameters, variable = _parameters(holder)
    static = any(one.type == "static" for one in _modifiers(node))
    name = CONSTRUCTOR if constructor else text_of(node.child_by_field_name("name"))
    method = JavaMethod(name, owner, node, parameters, variable, static, annotations_of(node))
    if node.child_by_field_name("body") is not None:
        first = node.child_by_field_name("name") or node
        method.function = Function(owner.file.path, first.start_point.row + 1, node.end_point.row + 1, ())
    return method


def _parameters(node: Node) -> tuple[tuple[JavaField, ...], bool]:
    """The parameters of a method, and whether the last stands for any number of arguments."""
    holder = node.child_by_field_name("parameters")
    found, variable = [], False
    for child in holder.named_children if holder is not None else ():
        line = child.start_point.row + 1
        if child.type == "formal_parameter":
            array = text_of(child.child_by_field_name("dimensions")).count("[")
            name, kind = text_of(child.child_by_field_name("name")), child.child_by_field_name("type")
            found.append(JavaField(name, kind, annotations_of(child), line, array=array))
        elif child.type == "spread_parameter":
            variable = True
            kind = next((one for one in child.named_children if one.type.endswith("type") or "type" in one.type), None)
            name = next((text_of(one) for one in child.named_children if one.type == "variable_declarator"), "")
            found.append(JavaField(name, kind, annotations_of(child), line, array=1))
    return tuple(found), variable
