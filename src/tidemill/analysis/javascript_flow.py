"""What the functions of JavaScript and TypeScript files do with data, in the words of `flow`. By tree-sitter.

What is told: assignments (also of objects that are taken apart), strings put together, fields of the function's own
names and of its parameters, calls that `javascript_names` can tell the function of, and functions that are given to
`then`, `map` and their like, as part of the function around them. What is not: values kept in fields of `this`, in
variables of a module or of a function around, and what a function that is not read makes of an argument, unless it is
known to keep it.

A value has a second name with `^` for what it begins with: of an address, only that chooses the host.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tree_sitter import Node

from tidemill.analysis.flow import (
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
from tidemill.analysis.javascript_imports import SourceFiles
from tidemill.analysis.javascript_modules import (
    FUNCTIONS,
    Declarations,
    Expression,
    Scope,
    code_of,
    declarations,
    key_of,
    names_in,
    parameters_of,
    pattern_of,
    string_of,
    text_of,
)
from tidemill.analysis.javascript_names import Foreign, Meaning, Names
from tidemill.analysis.javascript_strings import begins, is_text, parts_of, returns_fixed_beginning, returns_text


@dataclass(frozen=True, slots=True)
class JavaScriptRules:
    """What is a source, what makes harmless, and what is a sink. Code is as `javascript_modules.code_of` writes it.

    Attributes:
        text: occurs in each file that has a source.
        sources: matches the code of a field or call of a request.
        answered: the same, where the function answers the request, or its type says that it is one.
        requests: matches the type of a parameter that is a request.
        named: the last names of those.
        trusted: matches the code of a field of a request, with its key, that a client does not choose for others.
        beginning: matches the code of a source that begins as the program's own addresses do.
        everywhere: matches the code of an expression that comes from outside wherever its first name is nobody's own.
        filled: matches the decorator of a parameter that a client fills.
        converted: matches the code of such a parameter that can do no harm.
        harmless: matches the name of a function whose result can do no harm.
        keeping: matches the name of a function whose result holds its arguments.
        sinks: the calls that do harm. A field of an argument is `name{field}`, an assignment `name=`.
        addresses: those kinds of harm that only the beginning of a text does.
        texts: those kinds of harm that only a text does, not an object.
    """

    text: re.Pattern[str]
    sources: re.Pattern[str]
    answered: re.Pattern[str]
    requests: re.Pattern[str]
    named: frozenset[str]
    trusted: re.Pattern[str]
    beginning: re.Pattern[str]
    everywhere: re.Pattern[str]
    filled: re.Pattern[str]
    converted: re.Pattern[str]
    harmless: re.Pattern[str]
    keeping: re.Pattern[str]
    sinks: Sequence[Sink]
    addresses: frozenset[str]
    texts: frozenset[str]


_MOST_CODE = 400
"""Characters of a call's arguments that are held against a sink."""
_NOTHING = Parts()
_NUMBERS = re.compile(
    r":\s*(?:number|boolean|bigint|Date|null|undefined)(?:\s*\|\s*(?:number|boolean|null|undefined))*"
)
_SAME_BEGINNING = frozenset(
    {
        *("trim", "trimEnd", "toString", "toLowerCase", "toUpperCase", "normalize", "replace", "replaceAll", "concat"),
        *("join", "padEnd", "valueOf", "pathname", "href"),
    }
)
"""Methods and fields that begin as their object does."""
_ELEMENTS = frozenset({"map", "forEach", "filter", "find", "some", "every", "flatMap", "findIndex", "sort", "findLast"})
"""Methods that give the elements of their object to a function."""
_REPLACED = frozenset({"then", "map", "flatMap", "reduce"})
"""Methods whose result is what the function gives that they are given."""
_GIVING = _ELEMENTS | _REPLACED | {"finally", "tap"}
_STATEMENTS = frozenset(
    {
        *("program", "statement_block", "if_statement", "else_clause", "try_statement", "finally_clause"),
        *("switch_statement", "switch_body", "switch_case", "switch_default", "labeled_statement", "catch_clause"),
        *("lexical_declaration", "variable_declaration", "export_statement", "expression_statement", "for_statement"),
        *("while_statement", "do_statement", "throw_statement", "ERROR", "class_static_block", "with_statement"),
    }
)
_SKIPPED = frozenset(
    {
        *("class_declaration", "abstract_class_declaration", "class", "import_statement", "comment", "decorator"),
        *("interface_declaration", "type_alias_declaration", "enum_declaration", "ambient_declaration"),
        *("string", "number", "regex", "true", "false", "null", "undefined", "this", "super", "type_arguments"),
        *("update_expression", "jsx_text", "empty_statement", "statement_identifier", "type_annotation", "module"),
        *("property_identifier", "private_property_identifier", "hash_bang_line", "export_clause", "predefined_type"),
    }
)
_INNER = frozenset(
    {
        *("await_expression", "parenthesized_expression", "as_expression", "satisfies_expression", "spread_element"),
        *("non_null_expression", "yield_expression", "template_substitution", "jsx_expression"),
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """The value of an expression.

    Attributes:
        whole: all of it.
        start: what it begins with.
        fields: those of an object that is written out; `...` for the others.
        name: of the variable that it is.
    """

    whole: Value
    start: Value
    fields: "Mapping[str, _Told] | None" = None
    name: str = ""


_CONSTANT = _Told(_NOTHING, _NOTHING)


def javascript_functions(
    files: Mapping[str, str], tables: Sequence[JavaScriptRules], unread: set[Place], broken: set[str]
) -> list[Function]:
    """The functions of these files, for `flow.flows_of`, once by each table; none where nothing comes from outside.

    Sources of one table do not reach sinks of another. Files that do not parse whole are read as far as they do. Where
    the functions begin that are nested too deeply to be followed is added to `unread`; files that do not parse whole,
    or are too large, are added to `broken`.
    """
    needed = [table for table in tables if any(table.text.search(text) for text in files.values())]
    if not needed:
        return []
    paths = SourceFiles(files)
    read = [paths.connected(files, (path for path in files if table.text.search(files[path]))) for table in needed]
    found = declarations({path: text for path, text in files.items() if any(path in one for one in read)}, broken)
    names = Names(found, paths)
    functions: list[Function] = []
    for table, own in zip(needed, read, strict=True):
        functions += _told(found, names, table, own, unread)
    return functions


def _told(
    found: Declarations, names: Names, rules: JavaScriptRules, read: Collection[str], unread: set[Place]
) -> Iterator[Function]:
    """The functions of the files that are to be read."""
    declared = {key: one for key, one in found.functions.items() if one.scope.path in read}
    functions = {key: _function(one, rules) for key, one in declared.items()}
    sinks = _Sinks(rules.sinks)
    within: dict[str | int, list[tuple[int, int]]] = {}
    for key, one in declared.items():
        outer = one.scope.outer
        around = within.setdefault((outer.function if outer is not None else 0) or one.scope.path, [])
        around.append((functions[key].first_line, functions[key].last_line))
    for key, function in functions.items():
        function.inner = within.get(key, ())
    for key, one in declared.items():
        try:
            _Body(functions[key], one, names, functions, rules, sinks).tell()
        except RecursionError:  # see `flow.flows_of`
            unread.add(functions[key].place)
            continue
        yield functions[key]
    for path, module in found.modules.items():
        if path not in read:
            continue
        last = module.root.end_point.row + 1
        top = Function(path, 1, last, (), inner=within.get(path, ()))
        try:
            _Body(top, Expression(module.root, module.scope), names, functions, rules, sinks).tell()
        except RecursionError:
            unread.add(top.place)
            continue
        yield top


def _function(of: Expression, rules: JavaScriptRules) -> Function:
    """A function with its parameters: first those that are given by their place, then what is told apart in them."""
    node, scope = of.node, of.scope
    places, inner, outside = [], [], set()
    for index, parameter in enumerate(parameters_of(node)):
        pattern = pattern_of(parameter)
        plain = pattern.type == "identifier"
        name = text_of(pattern) if plain else f"@{index}"
        for _, keys in names_in(pattern) if not plain else ():
            if keys:
                scope.add_field(name, keys[0])
        typed = parameter.child_by_field_name("type")
        number = typed is not None and _NUMBERS.fullmatch(text_of(typed)[:80]) is not None
        places.append("" if number else name)
        made = () if number else _all_names(name, scope)
        inner += made[1:]
        decorators = [text_of(one)[:500] for one in parameter.named_children if one.type == "decorator"]
        if any(rules.filled.match(one) for one in decorators) and not rules.converted.search(text_of(parameter)[:500]):
            outside.update(made)
        if scope.answers and not plain:
            outside.update(one for one in made if rules.sources.fullmatch(f"req.{one[len(name) + 1 :].rstrip('^')}"))
    first, last = node.start_point.row + 1, node.end_point.row + 1
    return Function(scope.path, first, last, [*places, *inner], frozenset(outside))


def _all_names(name: str, scope: Scope, known_as: str | None = None) -> tuple[str, ...]:
    """A name, and those of its fields and beginnings."""
    fields = sorted(scope.fields.get(known_as or name, ()))
    return (name, *(f"{name}.{one}" for one in fields), f"{name}^", *(f"{name}.{one}^" for one in fields))


class _Sinks:
    """The sinks of a table by the names of functions."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._found: dict[str, list[Sink]] = {}
        self.fixed: dict[int, bool] = {}

    def of(self, names: Sequence[str]) -> list[Sink]:
        """Those that one of these names means."""
        found: list[Sink] = []
        for name in names:
            if name not in self._found:
                self._found[name] = [sink for sink in self._sinks if sink.name.fullmatch(name)]
            found += [sink for sink in self._found[name] if sink not in found]
        return found


class _Body:
    """Tells what one function's body does."""

    def __init__(
        self,
        function: Function,
        of: Expression,
        names: Names,
        functions: Mapping[int, Function],
        rules: JavaScriptRules,
        sinks: _Sinks,
    ) -> None:
        self._sinks = sinks
        self._function = function
        self._node = of.node
        self._scope = of.scope
        self._names = names
        self._functions = functions
        self._rules = rules
        self._steps = function.steps
        self._renamed: dict[str, str] = {}
        self._results: list[str] = []
        self._number = 0

    def tell(self) -> None:
        """Adds its steps to the function."""
        for index, parameter in enumerate(parameters_of(self._node) if self._node.type in FUNCTIONS else ()):
            pattern = pattern_of(parameter)
            if pattern.type != "identifier":
                self._bind(pattern, self._variable(f"@{index}"), pattern)
        self._run_function(self._node)

    def _run_function(self, node: Node) -> None:
        body = node.child_by_field_name("body") if node.type in FUNCTIONS else node
        if body is not None and body.type in ("statement_block", "program"):
            self._run(body)
        elif body is not None:
            self._return(self._value(body), body)

    def _place(self, node: Node) -> Place:
        return Place(self._function.path, node.start_point.row + 1)

    def _run(self, body: Node) -> None:
        """Tells of statements, one after the other."""
        waiting = [body]
        while waiting:
            node = waiting.pop()
            kind = node.type
            if kind == "variable_declarator":
                pattern, value = node.child_by_field_name("name"), node.child_by_field_name("value")
                if pattern is not None and value is not None:
                    self._bind(pattern, self._value(value), node)
            elif kind == "return_statement":
                for child in node.named_children[:1]:
                    self._return(self._value(child), node)
            elif kind == "for_in_statement":
                self._function.repeats = True
                pattern, of = node.child_by_field_name("left"), node.child_by_field_name("right")
                if pattern is not None and of is not None:
                    self._bind(pattern, self._value(of), node)
                waiting += [child for child in (node.child_by_field_name("body"),) if child is not None]
            elif kind in _STATEMENTS:
                self._function.repeats |= kind in ("while_statement", "do_statement", "for_statement")
                waiting += reversed(node.named_children)
            else:
                self._value(node)

    def _return(self, told: _Told, node: Node) -> None:
        if self._results:
            self._steps.append(Assign((self._results[-1],), told.whole, extend=True))
        elif told is not _CONSTANT:
            self._steps.append(Return(told.whole, self._place(node)))

    def _named(self, name: str) -> str:
        return self._renamed.get(name, name)

    def _variable(self, name: str) -> _Told:
        """The value of a variable."""
        own = self._named(name)
        return _Told(Name(own), Name(f"{own}^"), name=name)

    def _field(self, told: _Told, key: str, node: Node) -> _Told:
        """The value of a field."""
        if told.fields is not None:
            return told.fields.get(key) or told.fields.get("...", _CONSTANT)
        if told.name and key in self._rules.named and self._is_source(f"{told.name}.{key}"):
            return self._outside(f"{told.name}.{key}", node)
        if told.name and key in self._scope.fields.get(told.name, ()):
            own = self._named(told.name)
            return _Told(Name(f"{own}.{key}"), Name(f"{own}.{key}^"))
        return _Told(told.whole, told.start if key in _SAME_BEGINNING else told.whole)

    def _outside(self, code: str, node: Node) -> _Told:
        outside = Outside(self._place(node))
        return _Told(outside, _NOTHING if self._rules.beginning.fullmatch(code) else outside)

    def _bind(self, pattern: Node, told: _Told, node: Node, *, extend: bool = False) -> None:
        """A pattern's names are given a value."""
        if pattern.type == "member_expression":
            target = pattern.child_by_field_name("object")
            if target is not None and target.type == "identifier":
                name, key = self._named(text_of(target)), text_of(pattern.child_by_field_name("property"))
                at = self._place(node)
                self._steps.append(Assign((f"{name}.{key}",), told.whole, at, extend=extend))
                self._steps.append(Assign((f"{name}.{key}^",), told.start, at, extend=extend))
                self._steps.append(Assign((name, f"{name}^"), told.whole, at, extend=True))
            return
        if pattern.type == "subscript_expression":
            name = code_of(pattern.child_by_field_name("object"))
            if name.isidentifier():
                own = self._named(name)
                self._steps.append(Assign((own, f"{own}^"), told.whole, self._place(node), extend=True))
            return
        for name, keys in names_in(pattern):
            one = told
            for key in keys or ():
                one = self._field(one, key, node)
            self._store(name, one, node, extend=extend)

    def _store(self, name: str, told: _Told, node: Node, *, extend: bool = False) -> None:
        own, at = self._named(name), self._place(node)
        if told.fields is None and not told.name and told.start is told.whole:
            self._steps.append(Assign(_all_names(own, self._scope, name), told.whole, at, extend=extend))
            return
        for key in sorted(self._scope.fields.get(name, ())):
            one = self._field(told, key, node)
            self._steps.append(Assign((f"{own}.{key}",), one.whole, at, extend=extend))
            self._steps.append(Assign((f"{own}.{key}^",), one.start, at, extend=extend))
        self._steps.append(Assign((f"{own}^",), told.start, at, extend=extend))
        self._steps.append(Assign((own,), told.whole, at, extend=extend))

    def _is_source(self, code: str) -> bool:
        """Whether code of this form comes from outside: a field of a parameter that stands for a request, or a page's."""
        first = re.split(r"[.(\[]", code, maxsplit=1)[0]
        found = self._scope.find(first)
        if found is None:
            return self._rules.everywhere.fullmatch(code) is not None
        declared, scope = found
        if not declared.parameter or first in self._renamed:
            return False
        answers = scope.answers
        if declared.kind is not None:
            answers = self._rules.requests.search(text_of(declared.kind)[:200]) is not None
            if not answers:
                return False
        return bool(self._rules.sources.fullmatch(code) or (answers and self._rules.answered.fullmatch(code)))

    def _value(self, node: Node) -> _Told:
        """The value of an expression; tells of what it does."""
        kind = node.type
        if kind in ("identifier", "shorthand_property_identifier"):
            return self._variable(text_of(node))
        if kind in _SKIPPED:
            return _CONSTANT
        if kind in _INNER:
            told = _CONSTANT
            for child in node.named_children[:1]:
                told = self._value(child)
            return told
        if kind in ("member_expression", "subscript_expression"):
            return self._access(node)
        if kind in ("call_expression", "new_expression"):
            return self._call(node)
        if kind in ("template_string", "binary_expression"):
            return self._put_together(node)
        if kind in ("assignment_expression", "augmented_assignment_expression"):
            return self._assign(node)
        if kind in ("object", "array"):
            return self._literal(node)
        if kind in FUNCTIONS:
            return _CONSTANT if node.id in self._functions else self._inlined(node, _CONSTANT)
        values = [self._value(child) for child in node.named_children]
        if kind == "ternary_expression":
            return _together(values[1:])
        if kind == "sequence_expression":
            return values[-1] if values else _CONSTANT
        if kind in ("unary_expression", "jsx_element", "jsx_self_closing_element"):
            return _CONSTANT
        return _together(values)

    def _access(self, node: Node) -> _Told:
        target = node.child_by_field_name("object")
        index = node.child_by_field_name("index")
        key = text_of(node.child_by_field_name("property")) if index is None else string_of(index) or ""
        if key in self._rules.named and self._is_source(code := code_of(node)):
            return self._outside(code, node)
        told = self._value(target) if target is not None else _CONSTANT
        if index is not None:
            self._value(index)
        if key in ("length", "size"):
            return _CONSTANT
        if isinstance(told.whole, Outside) and self._rules.trusted.fullmatch(f"{code_of(target)}.{key.lower()}"):
            return _CONSTANT
        return self._field(told, key, node)

    def _put_together(self, node: Node) -> _Told:
        parts = parts_of(node)
        if parts is not None:
            values = [self._value(part) for part in parts]
            return _Told(
                Parts(tuple(one.whole for one in values)), Parts(tuple(values[one].start for one in begins(parts)))
            )
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        values = [self._value(one) for one in (left, right) if one is not None]
        operator = text_of(node.child_by_field_name("operator"))
        if operator in ("||", "??"):
            return _together(values)
        return values[-1] if operator == "&&" and values else _CONSTANT

    def _literal(self, node: Node) -> _Told:
        fields: dict[str, _Told] = {}
        values = []
        for child in node.named_children:
            if child.type == "method_definition":
                continue
            value = child.child_by_field_name("value") if child.type == "pair" else child
            told = self._value(value) if value is not None else _CONSTANT
            key = key_of(child.child_by_field_name("key")) if child.type == "pair" else text_of(child)
            fields["..." if child.type == "spread_element" or not key else key] = told
            values.append(told)
            if child.type == "pair":
                self._harm((f"{{{key}}}",), child, [(child, told)])
        whole = Parts(tuple(one.whole for one in values))
        if node.type == "array":
            return _Told(whole, values[0].start if values else _NOTHING)
        return _Told(whole, whole, fields)

    def _assign(self, node: Node) -> _Told:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left is None or right is None:
            return _CONSTANT
        told = self._value(right)
        operator = text_of(node.child_by_field_name("operator"))
        if operator not in ("", "=", "+=", "||=", "??=", "&&="):
            return _CONSTANT
        extend = node.type == "augmented_assignment_expression"
        if extend and operator == "+=":
            told = _Told(told.whole, _NOTHING)
        self._bind(left, told, node, extend=extend)
        code = code_of(left)
        if code:
            self._harm((f"{code}=",), node, [(right, told)])
        return told

    def _inlined(self, node: Node, given: _Told) -> _Told:
        """A function that is a part of this one; its parameters are given this, and what it gives comes back."""
        before = self._renamed
        self._number += 1
        result = f"#{self._number}"
        self._renamed = dict(before)
        for parameter in parameters_of(node):
            for name, _ in names_in(pattern_of(parameter)):
                self._renamed[name] = f"{name}{result}"
            self._bind(pattern_of(parameter), given, parameter)
        self._results.append(result)
        self._run_function(node)
        self._results.pop()
        self._renamed = before
        return _Told(Name(result), Name(result))

    def _call(self, node: Node) -> _Told:
        called = node.child_by_field_name("function") or node.child_by_field_name("constructor")
        given = node.child_by_field_name("arguments")
        while called is not None and called.type in (
            "parenthesized_expression",
            "sequence_expression",
            "non_null_expression",
        ):
            called = called.named_children[-1] if called.named_children else None
        if called is None or called.type == "import" or (given is not None and given.type == "template_string"):
            if given is not None:
                self._value(given)  # the parts of a tagged template are parameters of its tag
            return _CONSTANT
        new = "new " if node.type == "new_expression" else ""
        written = code_of(called)
        code = new + written if written else ""
        method = text_of(called.child_by_field_name("property")) if called.type == "member_expression" else ""
        receiver = _CONSTANT
        if called.type == "member_expression" and (target := called.child_by_field_name("object")) is not None:
            receiver = self._value(target)
        elif called.type in FUNCTIONS and called.id not in self._functions:
            receiver = self._inlined(called, _CONSTANT)
        elif called.type != "identifier":
            receiver = self._value(called)
        nodes = [one for one in given.named_children if one.type != "comment"] if given is not None else []
        callbacks = [one for one in nodes if one.type in FUNCTIONS and one.id not in self._functions]
        arguments = [(one, _CONSTANT if one in callbacks else self._value(one)) for one in nodes]
        if method in self._rules.named and self._is_source(f"{code}()"):
            first = string_of(nodes[0]) if nodes else None
            trusted = self._rules.trusted.fullmatch(f"{code}.{(first or '').lower()}")
            return _CONSTANT if trusted else self._outside(f"{code}()", node)
        meaning = self._names.meaning(called, self._scope) if code.split(".")[0] not in self._renamed else None
        known = self._known_as(code, meaning, new)
        if any(self._rules.harmless.fullmatch(one) for one in known):
            return _CONSTANT
        element = _Told(receiver.whole, receiver.start) if method in _GIVING else _CONSTANT
        results = [self._inlined(one, element) for one in callbacks]
        target_of = self._names.function(meaning)
        function = self._functions.get(target_of.node.id) if target_of is not None else None
        if target_of is not None and function is not None:
            return self._through(node, target_of, function, arguments, new=bool(new))
        if self._harm(known, node, arguments):
            return _CONSTANT
        if method in _GIVING:
            results += [self._passed(node, one, element) for one, _ in arguments if one not in callbacks]
        if method in _REPLACED and results:
            return _together([*results, *(one for _, one in arguments[1:])])
        kept = [one for _, one in arguments] if any(self._rules.keeping.fullmatch(one) for one in known) else []
        whole = Parts((receiver.whole, *(one.whole for one in kept)))
        start = Parts((receiver.start, *(one.start for one in kept[: 2 if new else 1])))
        return _Told(whole, start if kept or method in _SAME_BEGINNING else whole)

    def _known_as(self, code: str, meaning: Meaning | None, new: str) -> tuple[str, ...]:
        """The names of a function: as it is written, where nothing else has that name, and as a package gives it."""
        if isinstance(meaning, Foreign):
            return (new + meaning.name, code) if "." in code else (new + meaning.name,)
        return (code,) if "." in code else ()

    def _passed(self, node: Node, argument: Node, given: _Told) -> _Told:
        """A function that is read is given to a method such as `then`."""
        target = self._names.function(self._names.meaning(argument, self._scope))
        function = self._functions.get(target.node.id) if target is not None else None
        if target is None or function is None:
            return _CONSTANT
        return self._through(node, target, function, [(argument, given)])

    def _through(
        self,
        node: Node,
        of: Expression,
        function: Function,
        arguments: Sequence[tuple[Node, _Told]],
        *,
        new: bool = False,
    ) -> _Told:
        """A call of a function that is read."""
        parameters = parameters_of(of.node)
        given: list[tuple[str | None, Value]] = []
        spread = [told for one, told in arguments if one.type == "spread_element"]
        for index, parameter in enumerate(parameters):
            name = function.parameters[index]
            rest = pattern_of(parameter).parent is not None and text_of(parameter).startswith("...")
            mine = (
                [told for _, told in arguments[index:]] if rest else [told for _, told in arguments[index : index + 1]]
            )
            if not rest and not mine:
                mine = spread
            told = mine[0] if len(mine) == 1 else _together(mine)
            given.append((None, told.whole))
            if not name:
                continue
            given.append((f"{name}^", told.start))
            for key in sorted(of.scope.fields.get(name, ())):
                if key in self._rules.named and self._rules.sources.fullmatch(f"{name}.{key}"):
                    continue
                one = self._field(told, key, node)
                given += [(f"{name}.{key}", one.whole), (f"{name}.{key}^", one.start)]
        self._number += 1
        result = f"#{self._number}"
        call = Call(self._place(node), tuple(_ordered(given)), targets=(function,))
        if new:
            self._steps.append(Evaluate(call))
            return _CONSTANT
        self._steps.append(Assign((result,), call))
        fixed = self._sinks.fixed.get(of.node.id)
        if fixed is None:
            fixed = self._sinks.fixed[of.node.id] = returns_fixed_beginning(of.node, of.scope)
        return _Told(Name(result), _NOTHING if fixed else Name(result))

    def _harm(self, names: Sequence[str], node: Node, arguments: Sequence[tuple[Node, _Told]]) -> bool:
        """Tells of the harm that a call by these names does with its arguments; whether it does any."""
        sinks = self._sinks.of(names)
        given = text_of(node.child_by_field_name("arguments"))[:_MOST_CODE] if sinks else ""
        found = harms_of(sinks, names, given)
        for index, (argument, told) in enumerate(arguments):
            fields = self._fields_of(argument, told)
            for kind, position in found if fields is None else ():
                if position in (None, index):
                    self._harmed(kind, argument, told, node)
            for key, one in (fields or {}).items():
                written = [f"{name}{{{key}}}" for name in names]
                for kind, _ in harms_of(self._sinks.of(written), written, ""):
                    self._harmed(kind, argument, one, node)
        return bool(found)

    def _fields_of(self, argument: Node, told: _Told) -> Mapping[str, _Told] | None:
        """The fields of an object that is written out, here or where its name was declared."""
        declared = self._scope.names.get(told.name) if told.name else None
        if declared is None or declared.node is None or declared.node.type != "object" or declared.keys:
            return told.fields
        return {key: self._field(told, key, argument) for key in self._scope.fields.get(told.name, ())}

    def _harmed(self, kind: str, argument: Node, told: _Told, node: Node) -> None:
        if kind in self._rules.texts and not self._is_text(argument):
            return
        value = told.start if kind in self._rules.addresses else told.whole
        self._steps.append(Evaluate(Call(self._place(node), ((None, value),), harms=((kind, 0),))))

    def _is_text(self, node: Node) -> bool:
        """Whether an expression is a text, not an object: as it is written, or as the function that gives it says."""
        for _ in range(4):
            if is_text(node, self._scope):
                return True
            if node.type in _INNER and node.named_children:
                node = node.named_children[0]
            elif node.type == "identifier":
                declared = self._scope.names.get(text_of(node))
                if declared is None or declared.node is None or declared.keys:
                    return False
                node = declared.node
            else:
                break
        of = self._names.function(self._names.meaning(node.child_by_field_name("function"), self._scope))
        return of is not None and returns_text(of.node, of.scope)


def _together(values: Sequence[_Told]) -> _Told:
    """What may be any of these, or holds all of them."""
    if not values:
        return _CONSTANT
    return _Told(Parts(tuple(one.whole for one in values)), Parts(tuple(one.start for one in values)))


def _ordered(arguments: Sequence[tuple[str | None, Value]]) -> Iterator[tuple[str | None, Value]]:
    """Arguments that are given by their place come first: `flow` counts them."""
    yield from (one for one in arguments if one[0] is None)
    yield from (one for one in arguments if one[0] is not None)
