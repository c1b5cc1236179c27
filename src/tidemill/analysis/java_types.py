"""What the names of types, fields and methods mean in Java files that are read together."""

from collections.abc import Iterator, Mapping, Sequence

from tree_sitter import Node

from tidemill.analysis.flow import LARGEST
from tidemill.analysis.java_declarations import (
    CONSTRUCTOR,
    WORD,
    JavaClass,
    JavaField,
    JavaFile,
    JavaMethod,
    JavaType,
    arrayed,
    classes_of,
)
from tidemill.analysis.syntax import Language, parsed, text_of

_DEEPEST = 20
"""Types above types that are looked at, and type arguments within each other."""
_MOST_ABOVE = 24
"""Types above one type."""
_UNKNOWN = JavaType(("?",))
_MOST_BELOW = 500
"""Of a type with more types below it, none is taken for the one that has a method."""


class JavaProgram:
    """The declarations of files that are read together, and what names mean in them."""

    def __init__(self, files: Mapping[str, str], broken: set[str]) -> None:
        """Reads the files; those that do not parse whole, or are too large, are added to `broken`."""
        self.classes: list[JavaClass] = []
        for path, text in files.items():
            root = parsed(text, Language.JAVA) if len(text) <= LARGEST else None
            if root is None or root.has_error:
                broken.add(path)
            try:
                self.classes += list(classes_of(root, path)) if root is not None else ()
            except RecursionError:
                broken.add(path)
        self._named: dict[str, JavaClass | None] = {}
        for one in self.classes:
            self._named[one.name] = None if one.name in self._named else one
        self._types: dict[tuple[int, str], JavaType] = {}
        self._elsewhere: dict[tuple[int, str], JavaType] = {}
        self._read = False
        self._depth = 0
        self._lineages: dict[int, list[JavaType]] = {}
        self._above: dict[int, tuple[JavaType, ...]] = {}
        self._methods: dict[tuple[int, str, int], list[JavaMethod]] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._below: dict[int, list[JavaClass]] = {}
        for one in self.classes:
            try:
                known = self.above(one)
            except RecursionError:
                broken.add(one.file.path)
                continue
            for above in known:
                if above.declared is not None:
                    self._below.setdefault(id(above.declared), []).append(one)
        self._read = True

    def above(self, owner: JavaClass) -> tuple[JavaType, ...]:
        """The types that a class extends and implements itself."""
        if id(owner) not in self._above:
            if self._depth > _DEEPEST:
                return ()
            self._above[id(owner)] = ()  # a class may name itself
            self._depth += 1
            self._above[id(owner)] = tuple(self.type_at(node, owner) for node in owner.above)
            self._depth -= 1
        return self._above[id(owner)]

    def lineage(self, owner: JavaClass) -> Sequence[JavaType]:
        """The types above a class, near ones first, each once."""
        known = self._lineages.get(id(owner))
        if known is None:
            known, waiting, seen = [], [(self.above(owner), 0)], {owner.name}
            while waiting:
                types, depth = waiting.pop(0)
                for one in types:
                    if one.names[0] not in seen and len(known) < _MOST_ABOVE:
                        seen.add(one.names[0])
                        known.append(one)
                        if one.declared is not None and depth < _DEEPEST:
                            waiting.append((self.above(one.declared), depth + 1))
            if self._read:
                self._lineages[id(owner)] = known
        return known

    def with_lineage(self, owner: JavaClass) -> Iterator[JavaClass]:
        """A class and those above it."""
        yield owner
        yield from (one.declared for one in self.lineage(owner) if one.declared is not None)

    def names(self, kind: JavaType) -> tuple[str, ...]:
        """The qualified names of a type and of those above it."""
        if kind.declared is None:
            return kind.names
        found = self._names.get(kind.declared.name)
        if found is None:
            above = (name for one in self.lineage(kind.declared) for name in one.names)
            found = self._names[kind.declared.name] = (*kind.names, *above)
        return found

    def type_at(self, node: Node, within: JavaClass, depth: int = 0) -> JavaType:
        """What a node of a type means in a class; `depth`: the types that it stands in."""
        if depth > _DEEPEST:
            return _UNKNOWN
        key = (id(within), text_of(node))
        found = self._types.get(key)
        if found is None:
            found = self._types[key] = self._type(node, within, depth + 1)
        return found

    def _type(self, node: Node, within: JavaClass, depth: int) -> JavaType:
        if node.type == "generic_type":
            arguments = tuple(
                self.type_at(child, within, depth)
                for holder in node.named_children
                if holder.type == "type_arguments"
                for child in holder.named_children
            )
            base = self.type_at(node.named_children[0], within, depth)
            return JavaType(base.names, arguments, 0, base.declared)
        if node.type == "array_type":
            element, dimensions = node.child_by_field_name("element"), node.child_by_field_name("dimensions")
            if element is not None:
                base = self.type_at(element, within, depth)
                return arrayed(base, text_of(dimensions).count("["))
        if node.type in ("integral_type", "floating_point_type", "boolean_type", "void_type"):
            return JavaType((text_of(node),))
        if node.type in ("wildcard", "annotated_type") and node.named_children:
            return self.type_at(node.named_children[-1], within, depth)
        return self.named(".".join(WORD.findall(text_of(node)[:500])), within)

    def named(self, name: str, within: JavaClass) -> JavaType:
        """What the name of a type means in a class."""
        found = self.declared(name, within)
        if found is not None:
            return JavaType((found.name,), declared=found)
        key = (id(within.file), name)
        if key not in self._elsewhere:
            self._elsewhere[key] = self._imported(name, within.file)
        return self._elsewhere[key]

    def _imported(self, name: str, file: JavaFile) -> JavaType:
        """A type that is not read, as a file knows it."""
        first, _, rest = name.partition(".")
        if first in file.imports:
            return JavaType((file.imports[first] + (f".{rest}" if rest else ""),))
        if rest and first[:1].islower():
            return JavaType((name,))
        packages = [*file.packages, "java.lang", *([file.package] if file.package else [])]
        return JavaType(tuple(f"{package}.{name}" for package in packages))

    def declared(self, name: str, within: JavaClass) -> JavaClass | None:
        """The type of this name that is read, as the class knows it."""
        file, (first, _, rest) = within.file, name.partition(".")
        around: JavaClass | None = within
        found = None
        while around is not None and found is None:
            own = around.name.rpartition(".")[2] == first
            found = around if own else self._named.get(f"{around.name}.{first}")
            if found is None and around.above:
                found = self._inherited(first, around)
            around = around.outer
        if found is None and first in file.imports:
            found = self._named.get(file.imports[first])
        elif found is None:
            ways = (f"{file.package}.{first}" if file.package else first, *(f"{one}.{first}" for one in file.packages))
            found = next((one for one in map(self._named.get, ways) if one is not None), None)
            if found is None and rest:
                return self._named.get(name)
        return self._named.get(f"{found.name}.{rest}") if found is not None and rest else found

    def _inherited(self, name: str, owner: JavaClass) -> JavaClass | None:
        """A type within one of those above."""
        if id(owner) not in self._above:
            return None  # is being found out
        ways = (f"{one.declared.name}.{name}" for one in self.lineage(owner) if one.declared is not None)
        return next((one for one in map(self._named.get, ways) if one is not None), None)

    def field(self, owner: JavaClass, name: str) -> tuple[JavaField, JavaClass] | None:
        """A field of a class or of those above it, and the class that declares it."""
        for one in self.with_lineage(owner):
            if name in one.fields:
                return one.fields[name], one
        return None

    def methods(self, owner: JavaClass, name: str, count: int) -> list[JavaMethod]:
        """The methods that a call with so many arguments may mean; several where they take as many.

        Where a method has no body, it is that of the one class below that has it, if there is but one.
        """
        key = (id(owner), name, count)
        if key not in self._methods:
            self._methods[key] = self._meant(owner, name, count)
        return self._methods[key]

    def _meant(self, owner: JavaClass, name: str, count: int) -> list[JavaMethod]:
        above = [owner] if name == CONSTRUCTOR else self.with_lineage(owner)
        own: list[JavaMethod] = []
        for one in above:
            found = [method for method in one.methods.get(name, ()) if method.takes(count)]
            if any(method.function is not None for method in found):
                return found
            own = own or found
        if name == CONSTRUCTOR:
            return own
        below: list[JavaMethod] = []
        waiting, seen = [owner], {id(owner)}
        while waiting:
            if len(seen) > _MOST_BELOW:
                return own
            for one in self._below.get(id(waiting.pop()), ()):
                if id(one) not in seen:
                    seen.add(id(one))
                    waiting.append(one)
                    below += [
                        method
                        for method in one.methods.get(name, ())
                        if method.takes(count) and method.function is not None
                    ]
        return below if len({id(method.owner) for method in below}) == 1 else own
