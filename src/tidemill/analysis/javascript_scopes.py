"""Names of JavaScript and TypeScript and what declares them: scopes, classes, modules."""

from dataclasses import dataclass, field

from tree_sitter import Node

MOST_FIELDS = 24
"""Of one name in one function; where there are more, its fields are not told apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """What a name stands for.

    Attributes:
        node: the function, class or value; `None` where it is not known.
        keys: those of the value that it is, where an object is taken apart.
        source: the module that it is imported from, and `keys` what of it; empty otherwise.
        kind: the type that is written with it.
        parameter: it is given to a function.
    """

    node: Node | None = None
    keys: tuple[str, ...] = ()
    source: str = ""
    kind: Node | None = None
    parameter: bool = False


NO_VALUE = Declared()
"""Of a name that is given a value later."""


@dataclass(slots=True, eq=False)
class Scope:
    """The names of a module, a class or a function.

    Attributes:
        path: of the file.
        outer: the scope around it.
        owner: what `this` is in it.
        names: what they stand for.
        function: the id of the node of the function that it is in; 0 at a module's top.
        fields: by name, which of its fields the code names.
        answers: it is a function that answers a request.
        prototypes: by the name of the function that makes them, what its objects can do.
    """

    path: str
    outer: "Scope | None" = None
    owner: "Class | Expression | None" = None
    function: int = 0
    names: dict[str, Declared] = field(default_factory=dict)
    fields: dict[str, set[str]] = field(default_factory=dict)
    answers: bool = False
    prototypes: "dict[str, Class]" = field(default_factory=dict)

    def declare(self, name: str, declared: Declared) -> None:
        """A name that is declared twice stands for nothing that is known."""
        known = self.names.get(name)
        if known is None or known is NO_VALUE:
            self.names[name] = declared
        elif declared is not NO_VALUE:
            self.names[name] = Declared(parameter=known.parameter or declared.parameter)

    def add_field(self, name: str, key: str) -> None:
        """The code names this field of what has this name."""
        fields = self.fields.setdefault(name, set())
        if len(fields) < MOST_FIELDS:
            fields.add(key)

    def find(self, name: str) -> "tuple[Declared, Scope] | None":
        """What a name stands for, and the scope that says so."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name], scope
            scope = scope.outer
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """Code, and the scope whose names it uses."""

    node: Node
    scope: Scope


@dataclass(slots=True, eq=False)
class Class:
    """A class: its methods and fields by name, and the class that it extends."""

    scope: Scope
    methods: dict[str, Node] = field(default_factory=dict)
    fields: dict[str, tuple[Declared, Scope]] = field(default_factory=dict)
    parent: Node | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """What a module exports under a name: a name of its own, code, or an export of another module."""

    name: str = ""
    code: Expression | None = None
    source: str = ""


@dataclass(slots=True, eq=False)
class Module:
    """A file: what it exports by name, as a whole (`module.exports = …`), and from which modules everything."""

    scope: Scope
    root: Node
    exports: dict[str, Exported] = field(default_factory=dict)
    whole: Expression | None = None
    stars: list[str] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Declarations:
    """What is declared in files that are read together.

    Attributes:
        modules: by path.
        functions: those with a scope of their own, by the id of their node.
        classes: by the id of their node.
        members: by the id of the node of an object or a function, what is assigned to its fields.
        passed: names that are given to functions: what is called, the place of the argument, and the name.
    """

    modules: dict[str, Module] = field(default_factory=dict)
    functions: dict[int, Expression] = field(default_factory=dict)
    classes: dict[int, Class] = field(default_factory=dict)
    members: dict[int, dict[str, Expression]] = field(default_factory=dict)
    passed: list[tuple[Expression, int, str]] = field(default_factory=list)
