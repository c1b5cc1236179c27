"""What names and fields mean across files of JavaScript and TypeScript: functions, classes and their objects, modules.

A name means something only where it is clear: it is declared once, and imports lead to a file that is read.
"""

from dataclasses import dataclass

from tree_sitter import Node

from tidemill.analysis.javascript_imports import SourceFiles
from tidemill.analysis.javascript_nodes import FUNCTIONS, key_of, required
from tidemill.analysis.javascript_scopes import Class, Declarations, Declared, Exported, Expression, Module, Scope
from tidemill.analysis.syntax import text_of

_LONGEST = 24
"""Steps from a name to what it means."""
_MOST_SPREADS = 4
_WHOLE = ""
_SAME = frozenset(
    {
        *("__importDefault", "__importStar", "_interopRequireDefault", "_interopRequireWildcard", "__toESM"),
        *("Object.freeze", "promisify", "util.promisify", "forwardRef"),
    }
)
"""Functions whose result can do what their first argument can."""
_INNER = frozenset(
    {
        *("await_expression", "parenthesized_expression", "as_expression", "satisfies_expression"),
        *("non_null_expression",),
    }
)


@dataclass(frozen=True, slots=True)
class Foreign:
    """A name of the language's own or of a package: `fs.promises.readFile`; with `()` an object of a package's type."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """An object of a class."""

    of: Class


Meaning = Expression | Class | Instance | Module | Foreign
"""An `Expression` is a function, or an object that is written out."""


class Names:
    """Says what expressions mean."""

    def __init__(self, declared: Declarations, files: SourceFiles) -> None:
        self._declared = declared
        self._files = files
        self._called: dict[int, Meaning | None] = {}
        self._spread: dict[str, dict[str, list[Module]]] = {}

    def called(self, node: Node, scope: Scope) -> Meaning | None:
        """What the function of a call means; it is looked for once."""
        if node.id not in self._called:
            self._called[node.id] = self.meaning(node, scope)
        return self._called[node.id]

    def meaning(self, node: Node | None, scope: Scope, left: int = _LONGEST) -> Meaning | None:
        """What an expression means; `None` where that is not clear."""
        while node is not None and left > 0:
            left -= 1
            kind = node.type
            if kind in ("identifier", "type_identifier"):
                return self._named(text_of(node), scope, left)
            if kind == "this":
                owner = scope.owner
                if isinstance(owner, Class):
                    return Instance(owner)
                return self.meaning(owner.node, owner.scope, left) if owner is not None else None
            if kind == "super":
                owner = scope.owner
                parent = self.meaning(owner.parent, owner.scope, left) if isinstance(owner, Class) else None
                return Instance(parent) if isinstance(parent, Class) else None
            if kind == "member_expression":
                base = self.meaning(node.child_by_field_name("object"), scope, left)
                return self._member(base, text_of(node.child_by_field_name("property")), left)
            if kind == "new_expression":
                return self._made(node.child_by_field_name("constructor"), scope, left)
            if kind in ("call_expression", "sequence_expression") or kind in _INNER:
                source = required(node)
                if source:
                    return self._module(source, scope.path)
                node = self._inner(node)
            elif node.id in self._declared.functions:
                return self._declared.functions[node.id]
            elif node.id in self._declared.classes:
                return self._declared.classes[node.id]
            elif kind == "assignment_expression":
                node = node.child_by_field_name("right")
            elif kind == "object" or node.id in self._declared.members:
                return Expression(node, scope)
            else:
                return None
        return None

    def _inner(self, node: Node) -> Node | None:
        """The part of an expression that means the same."""
        if node.type != "call_expression":
            children = node.named_children
            return children[-1 if node.type == "sequence_expression" else 0] if children else None
        called, given = node.child_by_field_name("function"), node.child_by_field_name("arguments")
        if called is None or given is None:
            return None
        if called.type == "member_expression" and text_of(called.child_by_field_name("property")) == "bind":
            return called.child_by_field_name("object")
        short = called.type in ("identifier", "member_expression") and called.end_byte - called.start_byte < 80
        name = text_of(called) if short else ""
        same = name in _SAME or name.rpartition(".")[2] in _SAME
        return given.named_children[0] if same and given.named_children else None

    def _made(self, constructor: Node | None, scope: Scope, left: int) -> Meaning | None:
        """An object that `new` makes."""
        made = self.meaning(constructor, scope, left)
        if isinstance(made, Class):
            return Instance(made)
        if isinstance(made, Expression) and made.node.type == "function_declaration":
            name = text_of(made.node.child_by_field_name("name"))
            found = made.scope.outer.prototypes.get(name) if made.scope.outer is not None else None
            return Instance(found) if found is not None else None
        return None

    def _named(self, name: str, scope: Scope, left: int) -> Meaning | None:
        found = scope.find(name)
        return self._of(*found, left) if found is not None else Foreign(name)

    def _of(self, declared: Declared, scope: Scope, left: int) -> Meaning | None:
        """What a declared name means."""
        if declared.source:
            meaning: Meaning | None = self._module(declared.source, scope.path)
        elif declared.node is not None:
            meaning = self.meaning(declared.node, scope, left)
        else:
            meaning = None
        for key in declared.keys:
            meaning = self._member(meaning, key, left - 1)
        if meaning is None and declared.kind is not None:
            made = self.meaning(_type_name(declared.kind), scope, left)
            if isinstance(made, Foreign) and "." in made.name:
                return Foreign(f"{made.name}()")
            return Instance(made) if isinstance(made, Class) else None
        return meaning

    def _member(self, base: Meaning | None, key: str, left: int) -> Meaning | None:
        """What a field of something means."""
        if base is None or left <= 0:
            return None
        if isinstance(base, Foreign):
            return base if key == "default" else Foreign(f"{base.name}.{key}") if len(base.name) < 200 else None
        if isinstance(base, Module):
            return self._exported(base, key, left)
        if isinstance(base, Instance | Class):
            return self._of_class(base.of if isinstance(base, Instance) else base, key, left)
        assigned = self._declared.members.get(base.node.id, {}).get(key)
        if assigned is not None:
            return self.meaning(assigned.node, assigned.scope, left - 1)
        return self._of_object(base, key, left) if base.node.type == "object" else None

    def _of_object(self, base: Expression, key: str, left: int) -> Meaning | None:
        """What a field of an object means that is written out."""
        for child in base.node.named_children:
            if child.type == "method_definition" and key_of(child.child_by_field_name("name")) == key:
                return self._declared.functions.get(child.id)
            if child.type == "pair" and key_of(child.child_by_field_name("key")) == key:
                return self.meaning(child.child_by_field_name("value"), base.scope, left - 1)
            if child.type == "shorthand_property_identifier" and text_of(child) == key:
                return self._named(key, base.scope, left - 1)
        spreads = [one for one in base.node.named_children if one.type == "spread_element" and one.named_children]
        for child in spreads[:_MOST_SPREADS]:
            spread = self.meaning(child.named_children[0], base.scope, left - 2)
            found = self._member(spread, key, left // 2)
            if found is not None and not isinstance(found, Foreign):
                return found
        return None

    def _of_class(self, of: Class, key: str, left: int) -> Meaning | None:
        if key in of.methods:
            return self._declared.functions.get(of.methods[key].id)
        if key in of.fields:
            declared, scope = of.fields[key]
            return self._of(declared, scope, left - 1)
        parent = self.meaning(of.parent, of.scope, left - 1)
        return self._of_class(parent, key, left - 1) if isinstance(parent, Class) and left > 1 else None

    def _exported(self, module: Module, key: str, left: int) -> Meaning | None:
        """What a module exports under a name."""
        exported = module.exports.get(key)
        if exported is not None:
            return self._export(module, exported, left)
        if module.whole is not None:
            whole = self.meaning(module.whole.node, module.whole.scope, left - 1)
            found = self._member(whole, key, left - 1)
            return whole if found is None and key == "default" else found
        if key == "default":
            return module if module.exports or module.stars else None
        spread = self._exporting(module) if module.stars and left > 0 else {}
        for other in (*spread.get(key, ()), *spread.get(_WHOLE, ())):
            found = self._exported(other, key, left - 1)
            if found is not None:
                return found
        return None

    def _exporting(self, module: Module) -> dict[str, list[Module]]:
        """By name, the modules that export it of those that a module exports again; it is looked for once.

        Those that are exported as a whole are under a name that no export has.
        """
        path = module.scope.path
        if path not in self._spread:
            found: dict[str, list[Module]] = {}
            seen = {path}
            waiting = [(module, 0)]
            while waiting:
                one, depth = waiting.pop()
                for name in (*one.exports, *((_WHOLE,) if one.whole is not None else ())) if depth else ():
                    found.setdefault(name, []).append(one)
                for source in reversed(one.stars) if depth < _LONGEST else ():
                    other = self._module(source, one.scope.path)
                    if isinstance(other, Module) and other.scope.path not in seen:
                        seen.add(other.scope.path)
                        waiting.append((other, depth + 1))
            self._spread[path] = found
        return self._spread[path]

    def _export(self, module: Module, exported: Exported, left: int) -> Meaning | None:
        if exported.source:
            other = self._module(exported.source, module.scope.path)
            return self._member(other, exported.name, left - 1) if exported.name else other
        if exported.code is not None:
            return self.meaning(exported.code.node, exported.code.scope, left - 1)
        return self._named(exported.name, module.scope, left - 1) if exported.name in module.scope.names else None

    def function(self, meaning: Meaning | None) -> Expression | None:
        """The function that is called where this is called; of a class its constructor."""
        if isinstance(meaning, Module):
            whole = meaning.whole
            meaning = self.meaning(whole.node, whole.scope) if whole is not None else None
        if isinstance(meaning, Class):
            made = meaning.methods.get("constructor")
            return self._declared.functions.get(made.id) if made is not None else None
        if isinstance(meaning, Expression) and meaning.node.type in FUNCTIONS:
            return self._declared.functions.get(meaning.node.id)
        return None

    def _module(self, source: str, path: str) -> Meaning | None:
        """The module that an import in this file names; a package's by its name, `None` where a file is not read."""
        found = self._files.imported(source, path)
        if found is not None:
            return self._declared.modules.get(found)
        if source.startswith((".", "@/", "~/", "#", "/")):
            return None
        return Foreign(source.removeprefix("node:").removesuffix("/index").replace("/", "."))


def _type_name(kind: Node) -> Node | None:
    """The name of a type, without its arguments, and without `null` beside it."""
    for _ in range(6):
        if kind.type == "type_identifier":
            return kind
        children = [one for one in kind.named_children if text_of(one)[:9] not in ("null", "undefined")]
        if kind.type not in ("type_annotation", "generic_type", "union_type", "readonly_type") or not children:
            return None
        if kind.type == "union_type" and len(children) > 1:
            return None
        kind = children[0]
    return None
