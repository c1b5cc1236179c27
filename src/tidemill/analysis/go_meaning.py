"""What an expression of Go means: which functions it names, how a package that is not read calls it, of which type it
is. By tree-sitter."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tree_sitter import Node

from tidemill.analysis.go_packages import GoFile, operator_of
from tidemill.analysis.go_types import BASIC, Declarations, Declared, item_of, results_of, type_of
from tidemill.analysis.syntax import text_of

BUILTIN = frozenset(
    [
        *("append", "cap", "clear", "close", "complex", "copy", "delete", "imag", "len", "make", "max", "min"),
        *("new", "panic", "print", "real"),
    ]
)
"""Functions that need no declaration."""
COMPARING = frozenset(["&&", "||", "==", "!=", "<", "<=", ">", ">="])
"""Operators whose result is a bool."""
_SAME = frozenset({"unary_expression", "parenthesized_expression", "slice_expression", "variadic_argument"})
"""Expressions of the type of their only operand, as types are told here."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an expression means.

    Attributes:
        functions: that it names, of those that are read.
        name: with the package or type, where that is not read; also of what a call of it returns.
        types: of its value; several for a call that returns several; of a function those that it returns.
        conversion: it names a type.
    """

    functions: tuple[Declared, ...] = ()
    name: str = ""
    types: tuple[str, ...] = ()
    conversion: bool = False

    @property
    def type(self) -> str:
        """Of its value, or of the first of several."""
        return self.types[0] if self.types else ""


_NOTHING = Meaning()


class Meanings:
    """What the expressions of one function mean.

    Attributes:
        file: in which the function stands.
    """

    def __init__(
        self,
        declared: Declarations,
        file: GoFile,
        known: Callable[[str], str],
        local: Callable[[str], str | None],
    ) -> None:
        """With the type of what a name of a package that is not read gives, and that of a local variable."""
        self.file = file
        self._declared = declared
        self._known = known
        self._local = local
        self._found: dict[int, Meaning] = {}

    def of(self, node: Node | None) -> Meaning:
        """What an expression means where it stands."""
        if node is None:
            return _NOTHING
        found = self._found.get(node.id)
        if found is None:
            found = self._found[node.id] = self._meaning(node)
        return found

    def type(self, node: Node | None) -> str:
        """The type of an expression."""
        return self.of(node).type

    def _meaning(self, node: Node) -> Meaning:
        match node.type:
            case "identifier":
                return self._named(text_of(node))
            case "selector_expression":
                return self._selected(node)
            case "call_expression":
                return self._called(node)
            case "composite_literal":
                return Meaning(types=(type_of(node.child_by_field_name("type"), self.file),))
            case "type_assertion_expression":
                return Meaning(types=(type_of(node.child_by_field_name("type"), self.file), "bool"))
            case "type_conversion_expression":
                return self._converted(node)
            case "index_expression":
                operand = self.of(node.child_by_field_name("operand"))
                if operand.functions:
                    return operand
                return Meaning(name=operand.name, types=(item_of(self._declared.underlying(operand.type)), "bool"))
            case "func_literal":
                return Meaning(types=("func",))
            case "interpreted_string_literal" | "raw_string_literal":
                return Meaning(types=("string",))
            case "int_literal" | "float_literal" | "rune_literal":
                return Meaning(types=("int",))
            case "true" | "false":
                return Meaning(types=("bool",))
            case "binary_expression":
                return self._combined(node)
            case kind if kind in _SAME and node.named_children:
                return self.of(node.child_by_field_name("operand") or node.named_children[0])
        return _NOTHING

    def _named(self, name: str) -> Meaning:
        kind = self._local(name)
        return Meaning(types=(kind,)) if kind is not None else self._of_package(self.file.package, name)

    def _of_package(self, package: str, name: str) -> Meaning:
        """What a package has under a name."""
        whole = f"{package}.{name}"
        if not package.startswith("./"):
            return Meaning(name=whole, types=(self._known(whole),))
        if functions := self._declared.functions.get(whole):
            return Meaning(tuple(functions), types=functions[0].results)
        if self._declared.is_type(whole):
            return Meaning(types=(whole,), conversion=True)
        if whole in self._declared.variables:
            return Meaning(types=(self._of_variable(whole),))
        if package == self.file.package and name in BASIC:
            return Meaning(types=(name,), conversion=True)
        return Meaning(name=name) if package == self.file.package and name in BUILTIN else _NOTHING

    def _of_variable(self, whole: str) -> str:
        kind, value, file = self._declared.variables[whole]
        if kind or value is None:
            return kind
        self._declared.variables[whole] = ("", None, file)  # one whose value is told by itself ends here
        kind = Meanings(self._declared, file, self._known, lambda _: None).type(value)
        self._declared.variables[whole] = (kind, None, file)
        return kind

    def _selected(self, node: Node) -> Meaning:
        operand, name = node.child_by_field_name("operand"), text_of(node.child_by_field_name("field"))
        if operand is not None and operand.type == "identifier":
            first = text_of(operand)
            if first in self.file.imports and self._local(first) is None:
                return self._of_package(self.file.imports[first], name)
        of = self.of(operand)
        if of.type:
            member = self._declared.member(of.type, name)
            if member.functions:
                return Meaning(member.functions, types=member.results)
            if member.foreign:
                return Meaning(name=member.foreign, types=(self._known(member.foreign),))
            return Meaning(types=member.results or (member.kind,))
        return Meaning(name=f"{of.name}.{name}", types=(self._known(f"{of.name}.{name}"),)) if of.name else _NOTHING

    def _called(self, node: Node) -> Meaning:
        callee, given = node.child_by_field_name("function"), node.child_by_field_name("arguments")
        if callee is not None and callee.type == "func_literal":
            return Meaning(types=results_of(callee, self.file))
        found = self.of(callee)
        first = given.named_children[0] if given is not None and given.named_children else None
        if found.name in ("new", "make") and first is not None:
            return Meaning(types=(type_of(first, self.file),))
        if found.name in ("append", "min", "max"):
            return Meaning(types=(self.type(first),))
        if found.name in ("len", "cap", "copy"):
            return Meaning(types=("int",))
        return Meaning(name=found.name, types=found.types)

    def _converted(self, node: Node) -> Meaning:
        """A conversion, or the call of a function with type arguments, which the grammar takes for one."""
        functions = self.generic(node)
        if functions:
            return Meaning(types=functions[0].results)
        return Meaning(types=(type_of(node.child_by_field_name("type"), self.file),))

    def generic(self, node: Node) -> Sequence[Declared]:
        """The functions that `f[int](x)` calls."""
        kind = node.child_by_field_name("type")
        if kind is None or kind.type != "generic_type":
            return ()
        return self._declared.functions.get(type_of(kind, self.file), ())

    def _combined(self, node: Node) -> Meaning:
        """The type of operands that are put together: that of the last whose type is known."""
        left: Node | None = node
        while left is not None and left.type == "binary_expression":
            if operator_of(left) in COMPARING:
                return Meaning(types=("bool",))
            if kind := self.type(left.child_by_field_name("right")):
                return Meaning(types=(kind,))
            left = left.child_by_field_name("left")
        return Meaning(types=(self.type(left),))


def known_types(table: Mapping[str, str]) -> Callable[[str], str]:
    """The types of what packages give that are not read: by a table, and of `NewStore` by its name."""

    def known(name: str) -> str:
        if name in table:
            return table[name]
        package, _, last = name.rpartition(".")
        if last.startswith("New") and len(last) > 3 and package[:1].islower():
            return f"{package}.{last[3:]}"
        return table.get(f"{package}.*", "")

    return known
