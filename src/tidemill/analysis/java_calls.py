"""Which type an expression of a Java method has, and what its calls mean, by the types that are declared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tree_sitter import Node

from tidemill.analysis.java_declarations import CONSTRUCTOR, JavaClass, JavaMethod, JavaType, arrayed
from tidemill.analysis.java_types import JavaProgram
from tidemill.analysis.syntax import text_of

STRING = JavaType(("java.lang.String",))
_LITERALS: Mapping[str, JavaType] = {
    "string_literal": STRING,
    "true": JavaType(("boolean",)),
    "false": JavaType(("boolean",)),
    "decimal_integer_literal": JavaType(("int",)),
    "hex_integer_literal": JavaType(("int",)),
    "decimal_floating_point_literal": JavaType(("double",)),
    "character_literal": JavaType(("char",)),
    "instanceof_expression": JavaType(("boolean",)),
    "unary_expression": JavaType(("int",)),
    "update_expression": JavaType(("int",)),
}
_NUMBERS = frozenset({"int", "long", "short", "byte", "char", "float", "double", "Integer", "Long", "Double", "Number"})
"""Types of which a value of one is taken for another."""
_ELEMENT = frozenset(
    {
        *("get", "getFirst", "getLast", "next", "previous", "poll", "peek", "pop", "take", "remove", "first", "last"),
        *("orElse", "orElseGet", "orElseThrow", "getOrDefault", "join", "getValue", "getBody", "element"),
    }
)
"""Methods of a generic library type that return what it holds."""
_SAME = frozenset(
    {
        *("stream", "parallelStream", "filter", "sorted", "distinct", "limit", "skip", "peek", "iterator", "findFirst"),
        *("findAny", "subList", "listIterator", "toList", "values"),
    }
)
"""Methods of a generic library type that return another with the same type arguments."""


_MOST_OVERLOADS = 32
"""Of more methods that a call may mean, none is taken for the one that it means."""


@dataclass(frozen=True, slots=True)
class Callee:
    """What a call means.

    Attributes:
        name: as it is written; `CONSTRUCTOR` for a constructor.
        names: the qualified names that it may have, by the type of its object and those above; `?.name` where that
            type is not known.
        receiver: the expression of the object; `None` where there is none.
        kind: the type of the object, or the one that it is a static method of.
        fixed: it is called on a type, not on an object.
        method: the one that is read.
        own: it is called on the object that the calling method belongs to.
    """

    name: str
    names: tuple[str, ...]
    receiver: Node | None = None
    kind: JavaType | None = None
    fixed: bool = False
    method: JavaMethod | None = None
    own: bool = False


class Scope:
    """The names of one method, with their types."""

    def __init__(self, program: JavaProgram, owner: JavaClass, returns: Mapping[str, str]) -> None:
        """`returns`: the type of what a library's method returns, by the qualified name of the method."""
        self.program = program
        self.owner = owner
        self.local: dict[str, JavaType | None] = {}
        self._returns = returns
        self._types: dict[int, JavaType | None] = {}
        self._callees: dict[int, Callee] = {}

    def declare(self, name: str, node: Node | None, dimensions: int = 0, value: Node | None = None) -> None:
        """A local variable or parameter, by the node of its type; `var` and a library's type by its value."""
        known = self.type_of(value) if value is not None else None
        if node is None or text_of(node) == "var":
            self.local[name] = known
            return
        kind = arrayed(self.program.type_at(node, self.owner), dimensions)
        if known is not None and kind.array == known.array == 0 and not kind.arguments and value is not None:
            made = value.type == "object_creation_expression"
            library = kind.declared is None and known.declared is None and kind.simple not in ("String", "Object")
            if library or (made and known.declared is not None):
                kind = known
        self.local[name] = kind

    def type_of(self, node: Node | None) -> JavaType | None:
        """The type of an expression; `None` where it is not known."""
        if node is None:
            return None
        if node.id not in self._types:
            self._types[node.id] = None
            self._types[node.id] = self._type(node)
        return self._types[node.id]

    def _type(self, node: Node) -> JavaType | None:
        if node.type in _LITERALS:
            return _LITERALS[node.type]
        match node.type:
            case "identifier":
                return self._named(text_of(node))
            case "this":
                return JavaType((self.owner.name,), declared=self.owner)
            case "field_access":
                return self._field(node)
            case "parenthesized_expression":
                return self.type_of(node.named_children[0]) if node.named_children else None
            case "cast_expression" | "array_creation_expression" | "object_creation_expression":
                kind = node.child_by_field_name("type")
                if kind is None:
                    return None
                dimensions = sum(
                    text_of(one).count("[") or 1 for one in node.named_children if one.type.startswith("dimensions")
                )
                return arrayed(self.program.type_at(kind, self.owner), dimensions)
            case "ternary_expression":
                return self.type_of(node.child_by_field_name("consequence"))
            case "assignment_expression":
                return self.type_of(node.child_by_field_name("left"))
            case "array_access":
                holder = self.type_of(node.child_by_field_name("array"))
                return arrayed(holder, -1) if holder is not None and holder.array else None
            case "binary_expression":
                return self._binary(node)
            case "method_invocation":
                return self._returned(self.callee(node))
        return None

    def _binary(self, node: Node) -> JavaType | None:
        operator = text_of(node.child_by_field_name("operator"))
        if operator != "+":
            return JavaType(("boolean" if operator[0] in "=!<>&|" and operator not in ("<<", ">>", ">>>") else "int",))
        while node.type == "binary_expression":
            right, left = node.child_by_field_name("right"), node.child_by_field_name("left")
            kind = self.type_of(right)
            if left is None or (kind is not None and kind.simple == "String"):
                return kind
            node = left
        return self.type_of(node)

    def _named(self, name: str) -> JavaType | None:
        if name in self.local:
            return self.local[name]
        around: JavaClass | None = self.owner
        while around is not None:
            found = self.program.field(around, name)
            if found is not None and found[0].node is not None:
                return arrayed(self.program.type_at(found[0].node, found[1]), found[0].array)
            around = around.outer
        return None

    def _field(self, node: Node) -> JavaType | None:
        object_, name = node.child_by_field_name("object"), text_of(node.child_by_field_name("field"))
        if object_ is None:
            return None
        if name == "this":
            return self.program.named(text_of(object_), self.owner)
        kind = self.holder(object_) or self.type_of(object_)
        if kind is None or kind.declared is None:
            return JavaType(("int",)) if name == "length" and kind is not None and kind.array else None
        found = self.program.field(kind.declared, name)
        if found is None or found[0].node is None:
            return None
        return arrayed(self.program.type_at(found[0].node, found[1]), found[0].array)

    def value_of(self, node: Node) -> Node | None:
        """What a field is declared with, and a name of no variable is a field's."""
        name = text_of(node).removeprefix("this.") if node.type in ("identifier", "field_access") else ""
        around: JavaClass | None = self.owner
        if "." in name:
            kind = self.holder(node.child_by_field_name("object") or node)
            around, name = kind.declared if kind is not None else None, name.rpartition(".")[2]
        while around is not None and name and name not in self.local:
            found = self.program.field(around, name)
            whole = found[0].node.parent if found is not None and found[0].node is not None else None
            for one in whole.children_by_field_name("declarator") if whole is not None else ():
                if text_of(one.child_by_field_name("name")) == name:
                    return one.child_by_field_name("value")
            around = around.outer
        return None

    def holder(self, node: Node) -> JavaType | None:
        """The type that an expression names, as before a static method; `None` where it is a value."""
        if node.type not in ("identifier", "field_access"):
            return None
        text = text_of(node)
        last = text.rpartition(".")[2]
        if not last[:1].isupper() or len(text) > 300 or not all(part.isidentifier() for part in text.split(".")):
            return None
        if self._named(text.partition(".")[0]) is not None or text.partition(".")[0] in self.local:
            return None
        found = self.program.named(text, self.owner)
        if found.declared is None and "." in text and last.isupper():
            return None  # a constant
        return found

    def callee(self, node: Node) -> Callee:
        """What a call, or the making of an object, means."""
        if node.id not in self._callees:
            arguments = arguments_of(node)
            if node.type == "object_creation_expression":
                self._callees[node.id] = self._made(node, arguments)
            elif node.type == "explicit_constructor_invocation":
                self._callees[node.id] = self._delegated(node, arguments)
            else:
                self._callees[node.id] = self._called(node, arguments)
        return self._callees[node.id]

    def _made(self, node: Node, arguments: Sequence[Node]) -> Callee:
        kind = node.child_by_field_name("type")
        if kind is None:
            return Callee(CONSTRUCTOR, ())
        return self.constructor(self.program.type_at(kind, self.owner), arguments)

    def constructor(self, kind: JavaType, arguments: Sequence[Node]) -> Callee:
        """What the making of an object of this type means."""
        names = tuple(f"{one}.{CONSTRUCTOR}" for one in kind.names)
        method = self._one(kind.declared, CONSTRUCTOR, arguments)
        return Callee(CONSTRUCTOR, names, None, kind, fixed=True, method=method)

    def _delegated(self, node: Node, arguments: Sequence[Node]) -> Callee:
        if any(child.type == "this" for child in node.children):
            kinds: tuple[JavaType, ...] = (JavaType((self.owner.name,), declared=self.owner),)
        else:
            kinds = self.program.above(self.owner)[:1]
        return self.constructor(kinds[0], arguments) if kinds else Callee(CONSTRUCTOR, ())

    def _called(self, node: Node, arguments: Sequence[Node]) -> Callee:
        name, object_ = text_of(node.child_by_field_name("name")), node.child_by_field_name("object")
        if any(child.type == "super" for child in node.children):
            return self._of_above(name, arguments)
        if object_ is None:
            return self._unqualified(name, arguments)
        return self.on(object_, name, arguments)

    def on(self, object_: Node, name: str, arguments: Sequence[Node]) -> Callee:
        """What a call of a method on an expression, or on a type, means."""
        kind = self.holder(object_)
        fixed = kind is not None
        kind = kind or self.type_of(object_)
        if kind is None or kind.array:
            return Callee(name, (f"?.{name}",), object_, kind)
        method = self._one(kind.declared, name, arguments)
        names = tuple(f"{one}.{name}" for one in self.program.names(kind))
        return Callee(name, names, None if fixed else object_, kind, fixed, method, own=object_.type == "this")

    def _of_above(self, name: str, arguments: Sequence[Node]) -> Callee:
        above = self.program.above(self.owner)
        found = (self._one(one.declared, name, arguments) for one in above)
        method = next((one for one in found if one is not None), None)
        names = tuple(f"{one}.{name}" for kind in above for one in self.program.names(kind))
        return Callee(name, names, None, above[0] if above else None, method=method, own=True)

    def _unqualified(self, name: str, arguments: Sequence[Node]) -> Callee:
        around: JavaClass | None = self.owner
        while around is not None:
            method = self._one(around, name, arguments)
            if method is not None:
                kind = JavaType((around.name,), declared=around)
                names = tuple(f"{one}.{name}" for one in self.program.names(kind))
                return Callee(name, names, None, kind, method.static, method, own=around is self.owner)
            around = around.outer
        file = self.owner.file
        holders = [file.members[name].rpartition(".")[0]] if name in file.members else file.holders
        for holder in holders:
            kind = self.program.named(holder, self.owner)
            method = self._one(kind.declared, name, arguments)
            if method is not None or name in file.members:
                names = (*(f"{one}.{name}" for one in self.program.names(kind)), f"{holder}.{name}")
                return Callee(name, names, None, kind, True, method)
        own = JavaType((self.owner.name,), declared=self.owner)
        return Callee(name, tuple(f"{one}.{name}" for one in self.program.names(own)), None, own, own=True)

    def _one(self, owner: JavaClass | None, name: str, arguments: Sequence[Node]) -> JavaMethod | None:
        """The one method that a call means; `None` where several may be meant."""
        if owner is None:
            return None
        found = self.program.methods(owner, name, len(arguments))
        if 1 < len(found) <= _MOST_OVERLOADS:
            kinds = [self.type_of(one) for one in arguments]
            found = [one for one in found if self._fits(one, kinds, exact=False)]
            if len(found) > 1:
                found = [one for one in found if self._fits(one, kinds, exact=True)]
        return found[0] if len(found) == 1 else None

    def _fits(self, method: JavaMethod, kinds: Sequence[JavaType | None], *, exact: bool) -> bool:
        """Whether no argument is known to be of another type; `exact` where none may be of a type below it."""
        for parameter, kind in zip(method.parameters, kinds, strict=False):
            if kind is None or parameter.node is None:
                continue
            wanted = arrayed(self.program.type_at(parameter.node, method.owner), parameter.array)
            if method.variable and parameter is method.parameters[-1]:
                wanted = arrayed(wanted, -1)
            if not exact and {kind.simple, wanted.simple} <= _NUMBERS and kind.array == wanted.array:
                continue
            if wanted.simple in ("Object", "T", "E", "K", "V") and not exact:
                continue
            if kind.array != wanted.array or not set(wanted.names) & set(
                kind.names if exact else self.program.names(kind)
            ):
                return False
        return True

    def _returned(self, callee: Callee) -> JavaType | None:
        if callee.method is not None:
            kind = callee.method.node.child_by_field_name("type")
            return self.program.type_at(kind, callee.method.owner) if kind is not None else None
        for name in callee.names:
            if name in self._returns:
                return JavaType((self._returns[name],))
        if callee.name == "toString":
            return STRING
        if callee.kind is None:
            return None
        if callee.kind.declared is not None and callee.kind.declared.fields:
            return self._accessed(callee.kind.declared, callee.name)
        if callee.kind.arguments and not callee.fixed:
            if callee.name in _ELEMENT:
                return callee.kind.arguments[-1]
            if callee.name in _SAME:
                return callee.kind
        return None

    def _accessed(self, owner: JavaClass, method: str) -> JavaType | None:
        name = accessed(method, getter=True)
        found = self.program.field(owner, name) or self.program.field(owner, method)
        if found is None or found[0].node is None:
            return None
        return self.program.type_at(found[0].node, found[1])


def accessed(method: str, *, getter: bool) -> str:
    """The field that a method gets or sets by its name: `name` of `getName`; empty of other names."""
    for prefix in ("get", "is") if getter else ("set",):
        rest = method.removeprefix(prefix)
        if rest != method and rest[:1].isupper():
            return rest[:1].lower() + rest[1:]
    return ""


def arguments_of(node: Node) -> list[Node]:
    """The nodes of a call's arguments."""
    holder = node.child_by_field_name("arguments")
    return [one for one in holder.named_children if "comment" not in one.type] if holder is not None else []
