"""The names of one function of JavaScript, and what they are given."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tree_sitter import Node

from tidemill.analysis.flow import Assign, Call, Function, Harmless, Name, Outside, Parts, Place, Value
from tidemill.analysis.javascript_names import Names
from tidemill.analysis.javascript_nodes import REQUESTS, code_of, names_in
from tidemill.analysis.javascript_rules import JavaScriptRules, Known
from tidemill.analysis.javascript_scopes import MOST_FIELDS, Expression, Scope
from tidemill.analysis.javascript_strings import SAME_BEGINNING
from tidemill.analysis.syntax import text_of

_MOST_RESULTS = 30
"""Fields of one function's result that are told apart: each tells again of all that the function does."""
NOTHING = Parts()
REST = "..."
"""In place of the name of a field: whatever else there is."""


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """The value of an expression.

    Attributes:
        whole: all of it.
        start: what it begins with.
        fields: those of an object that is written out; `...` for the others.
        name: of the variable that it is.
        result: the call that gives it, with the id of the function's node, where that gives an object.
    """

    whole: Value
    start: Value
    fields: "Mapping[str, Told] | None" = None
    name: str = ""
    result: tuple[int, Call] | None = None


CONSTANT = Told(NOTHING, NOTHING)


def all_names(name: str, scope: Scope, known_as: str | None = None) -> tuple[str, ...]:
    """A name, and those of its fields and beginnings."""
    fields = sorted(scope.fields.get(known_as or name, ()))
    return (name, *(f"{name}.{one}" for one in fields), f"{name}^", *(f"{name}.{one}^" for one in fields))


def together(values: Sequence[Told]) -> Told:
    """What may be any of these, or holds all of them."""
    if not values:
        return CONSTANT
    return Told(Parts(tuple(one.whole for one in values)), Parts(tuple(one.start for one in values)))


def spent(told: Told, kinds: frozenset[str]) -> Told:
    """The same value, where it does no harm of these kinds."""
    if not kinds or told is CONSTANT:
        return told
    whole = Harmless(told.whole, kinds)
    return Told(whole, whole if told.start is told.whole else Harmless(told.start, kinds))


class Values:
    """Gives names values, in the steps of a function."""

    def __init__(
        self,
        function: Function,
        of: Expression,
        names: Names,
        functions: Mapping[int, Function],
        rules: JavaScriptRules,
        known: Known,
    ) -> None:
        self._known = known
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
        self._depth = 0
        self._allowed: set[str] = set()
        self._no_pages: frozenset[str] = frozenset()

    def _place(self, node: Node) -> Place:
        return Place(self._function.path, node.start_point.row + 1)

    def _named(self, name: str) -> str:
        return self._renamed.get(name, name)

    def _variable(self, name: str) -> Told:
        """The value of a variable."""
        own = self._named(name)
        return Told(Name(own), Name(f"{own}^"), name=name)

    def _field(self, told: Told, key: str, node: Node) -> Told:
        """The value of a field."""
        if told.fields is not None:
            return told.fields.get(key) or told.fields.get(REST, CONSTANT)
        if told.name and key in self._rules.named and self._is_source(f"{told.name}.{key}"):
            return self._outside(f"{told.name}.{key}", node)
        if told.name and self._lacks(told.name, key):
            return CONSTANT
        if told.name and key in self._scope.fields.get(told.name, ()):
            own = self._named(told.name)
            return Told(Name(f"{own}.{key}"), Name(f"{own}.{key}^"))
        if told.result is not None:
            return self._field_of_result(*told.result, key)
        return Told(told.whole, told.start if key in SAME_BEGINNING else told.whole)

    def _field_of_result(self, key_of_function: int, call: Call, key: str) -> Told:
        """A field of what a function gives: what another that does the same gives, but for that field alone.

        Where many are read of one function, those that come later are all that it gives.
        """
        known, same = self._known.results, self._functions[key_of_function]
        apart = self._known.told_apart.get(key_of_function, 0)
        if (key_of_function, key) not in known and apart < _MOST_RESULTS:
            self._known.told_apart[key_of_function] = apart + 1
            known[key_of_function, key] = Function(
                same.path, same.first_line, same.last_line, same.parameters, same.from_outside, inner=same.inner
            )
        self._number += 1
        name = f"#{self._number}"
        target = known.get((key_of_function, key), same)
        self._steps.append(Assign((name,), Call(call.place, call.arguments, targets=(target,))))
        return Told(Name(name), Name(name))

    def _lacks(self, name: str, key: str) -> bool:
        """Whether a variable is an object that was written out without this field, which is not named either."""
        declared, fields = self._scope.names.get(name), self._scope.fields.get(name, set())
        if declared is None or declared.node is None or declared.node.type != "object" or declared.keys:
            return False
        spread = any(child.type == "spread_element" for child in declared.node.named_children)
        return not spread and key not in fields and len(fields) < MOST_FIELDS

    def _outside(self, code: str, node: Node) -> Told:
        outside = Outside(self._place(node))
        return Told(outside, NOTHING if self._rules.beginning.fullmatch(code) else outside)

    def _bind(self, pattern: Node, told: Told, node: Node, *, extend: bool = False) -> None:
        """A pattern's names are given a value."""
        if pattern.type == "member_expression":
            target = pattern.child_by_field_name("object")
            if target is not None and target.type == "identifier":
                name, key = self._named(text_of(target)), text_of(pattern.child_by_field_name("property"))
                at = self._place(node)
                self._steps.append(Assign((f"{name}.{key}",), told.whole, at, extend=extend))
                self._steps.append(Assign((f"{name}.{key}^",), told.start, at, extend=extend))
                if text_of(target) not in REQUESTS:  # what is kept in a request is not all that is in it
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

    def _store(self, name: str, told: Told, node: Node, *, extend: bool = False) -> None:
        own, at = self._named(name), self._place(node)
        if told.fields is None and not told.name and told.result is None and told.start is told.whole:
            self._steps.append(Assign(all_names(own, self._scope, name), told.whole, at, extend=extend))
            return
        for key in sorted(self._scope.fields.get(name, ())):
            one = self._field(told, key, node)
            self._steps.append(Assign((f"{own}.{key}",), one.whole, at, extend=extend))
            self._steps.append(Assign((f"{own}.{key}^",), one.start, at, extend=extend))
        self._steps.append(Assign((f"{own}^",), told.start, at, extend=extend))
        self._steps.append(Assign((own,), told.whole, at, extend=extend))

    def _is_source(self, code: str) -> bool:
        """Whether code of this form comes from outside: of a parameter that stands for a request, or of a page."""
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
