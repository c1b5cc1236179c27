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

from tidemill.analysis.flow import Assign, Function, Name, Parts, Place, Return
from tidemill.analysis.javascript_bodies import Body
from tidemill.analysis.javascript_imports import SourceFiles
from tidemill.analysis.javascript_modules import declarations
from tidemill.analysis.javascript_names import Names
from tidemill.analysis.javascript_nodes import names_in, parameters_of, pattern_of
from tidemill.analysis.javascript_rules import JavaScriptRules, Known
from tidemill.analysis.javascript_scopes import Declarations, Expression, Scope
from tidemill.analysis.javascript_values import REST, all_names
from tidemill.analysis.syntax import text_of

_SHARED = 3
"""Calls that a name is given through to where a field of it is read."""
_NUMBERS = re.compile(
    r":\s*(?:number|boolean|bigint|Date|null|undefined)(?:\s*\|\s*(?:number|boolean|null|undefined))*"
)


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
    _share_fields(found, names)
    functions: list[Function] = []
    for table, own in zip(needed, read, strict=True):
        functions += _told(found, names, table, own, unread)
    return functions


def _share_fields(found: Declarations, names: Names) -> None:
    """Tells the fields of a name apart that a function reads of it that it is given to."""
    for one in found.functions.values():
        for index, parameter in enumerate(parameters_of(one.node)):
            pattern = pattern_of(parameter)
            for _, keys in names_in(pattern) if pattern.type != "identifier" else ():
                if keys:
                    one.scope.add_field(f"@{index}", keys[0])
    given: list[tuple[Scope, str, Scope, str]] = []
    for called, index, name in found.passed:
        own = name in called.scope.names
        target = names.function(names.called(called.node, called.scope)) if own else None
        parameters = parameters_of(target.node) if target is not None else []
        if target is not None and index < len(parameters):
            pattern = pattern_of(parameters[index])
            inner = text_of(pattern) if pattern.type == "identifier" else f"@{index}"
            given.append((called.scope, name, target.scope, inner))
    for _ in range(_SHARED):
        for scope, name, of, inner in given:
            for key in tuple(of.fields.get(inner, ())):
                scope.add_field(name, key)


def _told(
    found: Declarations, names: Names, rules: JavaScriptRules, read: Collection[str], unread: set[Place]
) -> Iterator[Function]:
    """The functions of the files that are to be read."""
    declared = {key: one for key, one in found.functions.items() if one.scope.path in read}
    functions = {key: _function(one, rules) for key, one in declared.items()}
    known = Known(rules.sinks, rules.harmless_for)
    within: dict[str | int, list[tuple[int, int]]] = {}
    for key, one in declared.items():
        outer = one.scope.outer
        around = within.setdefault((outer.function if outer is not None else 0) or one.scope.path, [])
        around.append((functions[key].first_line, functions[key].last_line))
    for key, function in functions.items():
        function.inner = within.get(key, ())
    for key, one in declared.items():
        try:
            Body(functions[key], one, names, functions, rules, known).tell()
        except RecursionError:  # see `flow.flows_of`
            unread.add(functions[key].place)
            continue
        yield functions[key]
    for (key, name), function in known.results.items():
        same = functions[key]
        given = Parts((Name(f"return.{name}"), Name(f"return.{REST}")))
        function.steps += [step for step in same.steps if isinstance(step, Assign)]
        function.steps.append(Return(given, same.place))
        function.repeats = same.repeats
        yield function
    for path, module in found.modules.items():
        if path not in read:
            continue
        last = module.root.end_point.row + 1
        top = Function(path, 1, last, (), inner=within.get(path, ()))
        try:
            Body(top, Expression(module.root, module.scope), names, functions, rules, known).tell()
        except RecursionError:
            unread.add(top.place)
            continue
        yield top


def _function(of: Expression, rules: JavaScriptRules) -> Function:
    """A function with its parameters: first those that are given by their place, then what is told apart in them."""
    node, scope = of.node, of.scope
    places: list[str] = []
    inner: list[str] = []
    outside: set[str] = set()
    for index, parameter in enumerate(parameters_of(node)):
        pattern = pattern_of(parameter)
        plain = pattern.type == "identifier"
        name = text_of(pattern) if plain else f"@{index}"
        typed = parameter.child_by_field_name("type")
        number = typed is not None and _NUMBERS.fullmatch(text_of(typed)[:80]) is not None
        places.append("" if number else name)
        made = () if number else all_names(name, scope)
        inner += made[1:]
        decorators = [text_of(one)[:500] for one in parameter.named_children if one.type == "decorator"]
        if any(rules.filled.match(one) for one in decorators) and not rules.converted.search(text_of(parameter)[:500]):
            outside.update(made)
        if scope.answers and not plain:
            outside.update(one for one in made if rules.sources.fullmatch(f"req.{one[len(name) + 1 :].rstrip('^')}"))
    first, last = node.start_point.row + 1, node.end_point.row + 1
    return Function(scope.path, first, last, [*places, *inner], frozenset(outside))
