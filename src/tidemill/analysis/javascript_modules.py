"""What files of JavaScript and TypeScript declare: functions, classes, names and what a module exports. By tree-sitter.

A function that is kept under a name, a method, a handler of requests and whatever stands at a module's top has a scope
of its own; any other function, such as one given to `map` or `then`, belongs to the function around it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tree_sitter import Node

from tidemill.analysis.flow import LARGEST
from tidemill.analysis.javascript_nodes import (
    FUNCTIONS,
    REQUESTS,
    code_of,
    key_of,
    names_in,
    parameters_of,
    pattern_of,
    required,
    string_of,
)
from tidemill.analysis.javascript_scopes import (
    NO_VALUE,
    Class,
    Declarations,
    Declared,
    Exported,
    Expression,
    Module,
    Scope,
)
from tidemill.analysis.syntax import language_of, parsed, text_of

ANSWERS = frozenset({"res", "response", "reply", "rep", "next", "_next", "_res", "h", "done"})
"""Names of the parameters that stand beside them in a handler."""
_PARTS = frozenset({"query", "body", "params", "request", "req"})
"""Of a request or what is given beside it, where a handler takes its parameter apart."""
_ROUTE = re.compile(r"[\w.()]*\b(?:get|post|put|patch|delete|del|head|options|all|use|route|addHook|on)")
_MOST_PASSED = 12


def declarations(files: Mapping[str, str], broken: set[str]) -> Declarations:
    """What these files declare; those that do not parse whole, or are too large, are added to `broken`."""
    found = Declarations()
    for path, text in files.items():
        language = language_of(path)
        root = parsed(text, language) if language is not None and len(text) <= LARGEST else None
        if root is None or root.has_error:
            broken.add(path)
        if root is not None:
            found.modules[path] = Module(Scope(path), root)
            _Reading(found, found.modules[path]).read()
    return found


def is_handler(function: Node, call: Node | None = None) -> bool:
    """Whether a function answers requests: by its parameters, or by the call that it is given to."""
    patterns = [pattern_of(one) for one in parameters_of(function)[:4]]
    names = [text_of(one) for one in patterns if one.type == "identifier"]
    if patterns and patterns[0].type == "object_pattern":
        names += [keys[0] for _, keys in names_in(patterns[0]) if keys and keys[0] in _PARTS]
    if REQUESTS.isdisjoint(names) and _PARTS.isdisjoint(names):
        return False
    return not ANSWERS.isdisjoint(names) or (call is not None and _ROUTE.fullmatch(code_of(call)) is not None)


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where a node stands: whether it is kept under a name, the call that it is given to, and what it is a field of."""

    kept: bool = False
    call: Node | None = None
    holder: "Class | Expression | None" = None


_NOWHERE = _Place()
_THROUGH = frozenset({"parenthesized_expression", "as_expression", "satisfies_expression", "ternary_expression"})
_CLASSES = frozenset({"class_declaration", "abstract_class_declaration", "class"})
_PLACES = _THROUGH | {
    *("object", "pair", "arguments", "call_expression", "new_expression", "field_definition", "class_body"),
    *("public_field_definition", "assignment_expression", "variable_declarator", "export_statement"),
}


class _Reading:
    """Reads what one file declares."""

    def __init__(self, found: Declarations, module: Module) -> None:
        self._found = found
        self._module = module
        self._assigned: list[tuple[str, str, Expression]] = []
        self._declaring: Mapping[str, Callable[[Node, Scope], None]] = {
            "variable_declarator": self._variable,
            "assignment_expression": self._field,
            "member_expression": self._field,
            "import_statement": self._crossing,
            "export_statement": self._crossing,
            "catch_clause": self._caught,
            "for_in_statement": self._caught,
            "call_expression": self._called,
        }

    def read(self) -> None:
        """Adds it to what was found."""
        waiting: list[tuple[Node, Scope, _Place]] = [(self._module.root, self._module.scope, _NOWHERE)]
        while waiting:
            node, scope, place = waiting.pop()
            waiting += reversed(self._children(node, scope, place))
        for name, key, code in self._assigned:
            declared = code.scope.find(name)
            if declared is not None and declared[0].node is not None and not declared[0].keys:
                self._found.members.setdefault(declared[0].node.id, {})[key] = code

    def _children(self, node: Node, scope: Scope, place: _Place) -> list[tuple[Node, Scope, _Place]]:
        """What stands in a node, each with its scope; declares what the node declares."""
        kind = node.type
        inside = _NOWHERE
        if kind in FUNCTIONS:
            scope = self._function(node, scope, place)
        elif kind in _CLASSES:
            scope = self._class(node, scope)
        elif (declare := self._declaring.get(kind)) is not None:
            declare(node, scope)
        if kind in _PLACES:
            inside = self._place_in(node, scope, place)
        return [(child, scope, inside) for child in node.named_children if child.named_child_count]

    def _caught(self, node: Node, scope: Scope) -> None:
        pattern = node.child_by_field_name("parameter") or node.child_by_field_name("left")
        for name, _ in names_in(pattern) if pattern is not None else ():
            scope.declare(name, Declared())

    def _place_in(self, node: Node, scope: Scope, place: _Place) -> _Place:
        kind = node.type
        if kind in ("object", *_THROUGH):
            return _Place(place.kept, place.call, Expression(node, scope) if kind == "object" else place.holder)
        if kind in ("pair", "arguments"):
            return place
        if kind in ("call_expression", "new_expression"):
            return _Place(call=node.child_by_field_name("function") or node)
        if kind in ("field_definition", "public_field_definition", "class_body"):
            return _Place(kept=True, holder=scope.owner)
        if kind == "assignment_expression":
            return _Place(kept=True, holder=self._holder(node, scope))
        return _Place(kept=kind in ("variable_declarator", "export_statement"))

    def _function(self, node: Node, scope: Scope, place: _Place) -> Scope:
        """The scope of what stands in a function."""
        name = node.child_by_field_name("name")
        declaration = node.type in ("function_declaration", "generator_function_declaration")
        if declaration and name is not None:
            scope.declare(text_of(name), Declared(node))
        answers = is_handler(node, place.call)
        method = node.type == "method_definition" and place.call is None
        own = declaration or method or place.kept or answers or scope is self._module.scope
        inner = scope
        if own:
            owner = scope.owner if node.type == "arrow_function" or place.holder is None else place.holder
            inner = Scope(scope.path, scope, owner, node.id, answers=answers)
            self._found.functions[node.id] = Expression(node, inner)
            if method and isinstance(owner, Class):
                owner.methods.setdefault(key_of(name), node)
        for parameter in parameters_of(node):
            pattern, typed = pattern_of(parameter), parameter.child_by_field_name("type")
            plain = pattern.type == "identifier"
            for one, _ in names_in(pattern):
                inner.declare(one, Declared(kind=typed if plain and own else None, parameter=own))
            modified = any(child.type in ("accessibility_modifier", "readonly") for child in parameter.children)
            if isinstance(inner.owner, Class) and own and plain and modified:
                inner.owner.fields.setdefault(text_of(pattern), (Declared(kind=typed), inner))
        return inner

    def _class(self, node: Node, scope: Scope) -> Scope:
        name = node.child_by_field_name("name")
        if name is not None and node.type != "class":
            scope.declare(text_of(name), Declared(node))
        inner = Scope(scope.path, scope, function=scope.function)
        found = self._found.classes[node.id] = Class(inner)
        inner.owner = found
        for child in node.named_children:
            if child.type == "class_heritage":
                clause = child.named_children[0]
                found.parent = clause.child_by_field_name("value") if clause.type == "extends_clause" else clause
        body = node.child_by_field_name("body")
        for child in body.named_children if body is not None else ():
            if child.type in ("field_definition", "public_field_definition"):
                key = child.child_by_field_name("name") or child.child_by_field_name("property")
                value, typed = child.child_by_field_name("value"), child.child_by_field_name("type")
                found.fields[key_of(key)] = Declared(value, kind=typed), inner
        return inner

    def _variable(self, node: Node, scope: Scope) -> None:
        pattern, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        typed = node.child_by_field_name("type")
        for name, keys in names_in(pattern) if pattern is not None else ():
            known = value if keys is not None else None
            new = Declared(known, keys or (), kind=typed if not keys else None)
            scope.declare(name, NO_VALUE if value is None and typed is None else new)
            if keys and value is not None and value.type == "identifier":
                scope.add_field(text_of(value), keys[0])
            for child in value.named_children if not keys and value is not None and value.type == "object" else ():
                scope.add_field(name, key_of(child.child_by_field_name("key")) or text_of(child))

    def _field(self, node: Node, scope: Scope) -> None:
        """Fields that are named, and those that are given values: of exports, of prototypes, of `this`, of objects."""
        if node.type == "member_expression":
            target = node.child_by_field_name("object")
            if target is not None and target.type == "identifier":
                scope.add_field(text_of(target), text_of(node.child_by_field_name("property")))
            return
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left is None or right is None or left.type not in ("member_expression", "identifier"):
            return
        code = Expression(right, scope)
        if left.type == "identifier":
            declared = scope.find(text_of(left))
            if declared is not None:
                declared[1].declare(text_of(left), Declared(right))
            return
        holder, _, key = code_of(left).rpartition(".")
        exports = "module.exports" if holder.startswith("module.") or key == "exports" else "exports"
        if f"{holder}.{key}" == "module.exports":
            self._module.whole = code
        elif holder == exports and scope is self._module.scope:
            if right.type != "unary_expression":
                self._module.exports[key] = Exported(code=code)
        elif holder == "this" and isinstance(scope.owner, Class):
            scope.owner.fields.setdefault(key, (Declared(right), scope))
        elif holder.isidentifier():
            self._assigned.append((holder, key, code))
        elif holder.endswith(".prototype") and right.type in FUNCTIONS:
            name = holder.removesuffix(".prototype")
            scope.prototypes.setdefault(name, Class(scope)).methods[key] = right

    def _holder(self, node: Node, scope: Scope) -> "Class | Expression | None":
        """What a function belongs to that is assigned to a field."""
        left = node.child_by_field_name("left")
        target = left.child_by_field_name("object") if left is not None else None
        if target is None:
            return None
        return scope.prototypes.get(code_of(target).removesuffix(".prototype")) or Expression(target, scope)

    def _crossing(self, node: Node, scope: Scope) -> None:
        """An import or an export."""
        source = string_of(node.child_by_field_name("source")) or ""
        if node.type == "import_statement":
            for name, keys, written in _imported(node):
                scope.declare(name, Declared(source=written or source, keys=keys))
            return
        exports = self._module.exports
        declared = node.child_by_field_name("declaration")
        default = any(child.type == "default" for child in node.children)
        value = node.child_by_field_name("value")
        if default and (value or declared) is not None:
            exports["default"] = Exported(code=Expression(value or declared or node, scope))
        elif declared is not None:
            for name in _declared(declared):
                exports[name] = Exported(name)
        elif node.named_children and any(child.type == "=" for child in node.children):
            self._module.whole = Expression(node.named_children[0], scope)
        else:
            for child in node.named_children:
                if child.type == "namespace_export" and child.named_children:
                    exports[key_of(child.named_children[0])] = Exported(source=source)
                for one in child.named_children if child.type == "export_clause" else ():
                    name = key_of(one.child_by_field_name("name"))
                    exports[key_of(one.child_by_field_name("alias")) or name] = Exported(name, source=source)
            if source and all(child.type == "string" for child in node.named_children):
                self._module.stars.append(source)

    def _called(self, node: Node, scope: Scope) -> None:
        called, given = node.child_by_field_name("function"), node.child_by_field_name("arguments")
        if called is not None and given is not None and scope is not self._module.scope:
            for index, argument in enumerate(given.named_children[:_MOST_PASSED]):
                if argument.type == "identifier":
                    self._found.passed.append((Expression(called, scope), index, text_of(argument)))
        self._star(node)

    def _star(self, node: Node) -> None:
        """`__exportStar(require("./x"), exports)` and `Object.defineProperty(exports, "x", …)`, as compilers write."""
        called, given = node.child_by_field_name("function"), node.child_by_field_name("arguments")
        if given is None or called is None:
            return
        last = called.child_by_field_name("property") if called.type == "member_expression" else called
        if last is None or last.type not in ("identifier", "property_identifier"):
            return
        if text_of(last) not in ("__exportStar", "defineProperty"):
            return
        name = code_of(called)
        if name.endswith("__exportStar") and given.named_children:
            self._module.stars.append(required(given.named_children[0]))
        elif name == "Object.defineProperty" and len(given.named_children) == 3:
            holder, key, how = given.named_children
            code = _returned(how)
            if text_of(holder) == "exports" and code is not None and string_of(key):
                self._module.exports[string_of(key) or ""] = Exported(code=Expression(code, self._module.scope))


def _returned(node: Node) -> Node | None:
    """What the first `return` in a short piece of code gives."""
    waiting = [node]
    while waiting:
        one = waiting.pop(0)
        if one.type == "return_statement":
            return one.named_children[0] if one.named_children else None
        if len(waiting) < 20:
            waiting += one.named_children
    return None


def _imported(node: Node) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """The names that an import gives, each with what of the module it is, and the module if written there."""
    for clause in node.named_children:
        if clause.type == "import_require_clause" and clause.named_children:
            yield text_of(clause.named_children[0]), (), string_of(clause.child_by_field_name("source")) or ""
        for child in clause.named_children if clause.type == "import_clause" else ():
            if child.type == "identifier":
                yield text_of(child), ("default",), ""
            elif child.type == "namespace_import" and child.named_children:
                yield text_of(child.named_children[0]), (), ""
            for one in child.named_children if child.type == "named_imports" else ():
                name, alias = one.child_by_field_name("name"), one.child_by_field_name("alias")
                if name is not None:
                    yield text_of(alias or name), (key_of(name),), ""


def _declared(node: Node) -> Iterator[str]:
    """The names that an exported declaration gives."""
    name = node.child_by_field_name("name")
    if name is not None:
        yield text_of(name)
    for child in node.named_children if name is None else ():
        pattern = child.child_by_field_name("name") if child.type == "variable_declarator" else None
        for one, _ in names_in(pattern) if pattern is not None else ():
            yield one
