"""What Go's conditions tell of variables: which of them do no harm where a check holds, and where it does not. See
`go_flow`. By tree-sitter."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tree_sitter import Node

from tidemill.analysis.flow import Assign, Harmless, Name, Parts, Value
from tidemill.analysis.go_calls import Calls
from tidemill.analysis.go_packages import operator_of
from tidemill.analysis.go_rules import GoRules
from tidemill.analysis.go_types import Declarations, Declared
from tidemill.analysis.go_values import LITERALS, STRINGS, Closure, Known, Tested, Variable
from tidemill.analysis.syntax import text_of

_MOST = 50
"""Variables that a condition tells of; a caller's condition that is longer tells nothing."""
_MOST_OPERANDS = 300
_MOST_PARAMETERS = 20
_MOST_AROUND = 6
"""Nodes from a name that is returned to the `if` that it stands in."""
_LEAVING = frozenset({"return_statement", "continue_statement", "break_statement", "goto_statement"})
_ENDING = re.compile(r"panic|os\.Exit|runtime\.Goexit|log\.(?:Fatal|Panic)\w*")
_ERRORS = re.compile(r"fmt\.Errorf|(?:[\w./-]+/)?errors\.(?:New|Errorf)|google\.golang\.org/grpc/status\.Errorf?")
"""What never returns the error `nil`."""
_ANSWERING = frozenset({"identifier", "call_expression", "index_expression"})
"""Expressions that tell of a check by being `nil`, or by not being it."""
_ANSWERS = (("bool",), ("error",))
"""The last result of functions that may check their arguments."""
_DOTS = re.compile(r"[\"`](?:\.\.|/|\\\\/)[/\\]*[\"`]|'/'")
_FOLDER = re.compile(r"[\"`].+/[\"`]")
_SEPARATOR = re.compile(r"""["`](?:/|.+/)["`]|string\((?:filepath\.Separator|os\.PathSeparator)\)""")


@dataclass(slots=True, eq=False)
class Verdict:
    """What a function whose last result is a bool or an error says of its arguments with it.

    Attributes:
        told: some `return` was seen.
        passes: by position, the kinds of harm that an argument does not do where it returns true, or no error; `None`
            where it never does.
        fails: the same where it returns false.
    """

    told: bool = False
    passes: dict[int, frozenset[str]] | None = None
    fails: dict[int, frozenset[str]] | None = None


@dataclass(frozen=True, slots=True)
class _Before:
    """A variable before it was checked or given another value, and the name under which its value is kept."""

    variable: Variable
    spent: frozenset[str]
    given: int
    kept: str = ""


@dataclass(slots=True)
class Exits:
    """The ways out of an `if` or `switch`.

    Attributes:
        since: where the changes begin that it makes.
        known: what does no harm on each of the ways so far; `None` before the first.
    """

    since: int
    known: Known | None = field(default=None)


class Checks(Calls):
    """Tells what the checks of one function make harmless."""

    def __init__(
        self, of: Declared, declared: Declarations, rules: GoRules, verdict_of: Callable[[Declared], Verdict]
    ) -> None:
        """With what tells of another function what it says of its arguments."""
        super().__init__(of, declared, rules)
        self.verdict = Verdict()
        self._file = of.file
        self._results: tuple[str, ...] = of.results
        self._closures: list[Closure] = []
        self._parameters: Sequence[Variable | None] = ()
        self._changes: list[_Before] = []
        self._verdict_of = verdict_of

    def _renew(self, variable: Variable, value: Value | None) -> None:
        """A variable is given a value; `None` where a part of it is, or where it keeps what it had."""
        self._changes.append(_Before(variable, variable.spent, variable.given))
        constant = isinstance(value, Parts) and not value.of and not self._plain(variable.kind)
        variable.given += 1
        variable.spent = self._rules.kinds if constant else frozenset()
        variable.tested, variable.cleaned = None, False

    def _spare(self, known: Known) -> None:
        """Variables do no harm of these kinds from here on."""
        for variable, kinds in known.items():
            if kinds <= variable.spent:
                continue
            kept = f"{variable.name}~before~{len(self._steps)}"
            self._changes.append(_Before(variable, variable.spent, variable.given, kept))
            variable.spent |= kinds
            own = Name(variable.name)
            self._steps.append(Assign((kept,), own))
            value = Parts() if variable.spent >= self._rules.kinds else Harmless(own, kinds)
            self._steps.append(Assign((variable.name,), value))

    def _undo(self, since: int) -> None:
        """What was checked in a branch is not checked behind it."""
        while len(self._changes) > since:
            before = self._changes.pop()
            variable = before.variable
            variable.spent = before.spent if variable.given == before.given else frozenset()
            if before.kept:
                self._steps.append(Assign((variable.name,), Name(before.kept), extend=True))
            else:
                variable.tested, variable.cleaned = None, False

    def _leave(self, exits: Exits) -> None:
        """Another way out, with what is known at its end."""
        if exits.known is None:
            changed = {one.variable: one.variable.spent for one in self._changes[exits.since :]}
            exits.known = dict([one for one in changed.items() if one[1]][:_MOST])
        else:
            exits.known = _each([exits.known, {one: one.spent for one in exits.known}])

    def _end(self, exits: Exits) -> None:
        """Behind an `if` or `switch`."""
        self._undo(exits.since)
        self._spare(exits.known or {})

    def _tested(self, node: Node | None) -> Tested:
        """What a condition tells; of an error, whether there is none."""
        while node is not None and node.type == "parenthesized_expression" and node.named_children:
            node = node.named_children[0]
        match node.type if node is not None else "":
            case "identifier":
                variable = self._variable(text_of(node))
                return variable.tested.now() if variable is not None and variable.tested is not None else Tested()
            case "unary_expression" if node is not None and operator_of(node) == "!":
                return self._tested(node.child_by_field_name("operand")).turned()
            case "index_expression" if node is not None:
                return Tested(self._all_kinds(node.child_by_field_name("index")))
            case "binary_expression" if node is not None:
                return self._compared(node)
            case "call_expression" if node is not None:
                return self._asked(node)
        return Tested()

    def _compared(self, node: Node) -> Tested:
        operator = operator_of(node)
        if operator in ("&&", "||"):
            told = [self._tested(one) for one in _operands(node, operator)]
            holds, fails = [one.holds for one in told], [one.fails for one in told]
            return Tested(_all(holds), _each(fails)) if operator == "&&" else Tested(_each(holds), _all(fails))
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if operator not in ("==", "!=") or left is None or right is None:
            return Tested()
        if self._is_constant(left):
            left, right = right, left
        if right.type == "nil" or (left.type == "index_expression" and text_of(right) in ('""', "``")):
            found = self._tested(left) if left.type in _ANSWERING else Tested()
            found = found.turned() if left.type == "index_expression" else found
        elif self._is_constant(right):
            found = Tested(self._all_kinds(left))
        else:
            return Tested()
        return found if operator == "==" else found.turned()

    def _is_constant(self, node: Node) -> bool:
        """Whether code stands for one value: a literal, or the name of a constant."""
        if node.type in LITERALS or node.type == "nil":
            return True
        if node.type == "identifier":
            name = text_of(node)
            return self._variable(name) is None and f"{self._file.package}.{name}" not in self._declared.variables
        operand = node.child_by_field_name("operand") if node.type == "selector_expression" else None
        package = self._file.imports.get(text_of(operand)) if operand is not None else None
        if package is None or self._variable(text_of(operand)) is not None:
            return False
        return f"{package}.{text_of(node.child_by_field_name('field'))}" not in self._declared.variables

    def _asked(self, node: Node) -> Tested:
        """What is told by a call that returns a bool or an error."""
        holder, callee = node.child_by_field_name("arguments"), node.child_by_field_name("function")
        given = [one for one in holder.named_children if one.type != "comment"] if holder is not None else []
        meaning = self._meanings.of(callee)
        if not given or len(given) > _MOST_OPERANDS or (callee is not None and callee.type == "func_literal"):
            return Tested()
        if meaning.functions:
            return self._judged(meaning.functions, given)
        name, rules = meaning.name, self._rules
        if rules.checks.fullmatch(name):
            return Tested(self._all_kinds(given[-1]))
        if rules.keeps.fullmatch(name):
            return Tested(self._of_paths(given[-1]))
        if len(given) == 2 and rules.same.fullmatch(name) and self._is_constant(given[1]):
            return Tested(self._all_kinds(given[0]))
        if len(given) == 2 and rules.begins.fullmatch(name) and _is_folder(given[1]) and self._is_cleaned(given[0]):
            return Tested(self._of_paths(given[0]))
        if len(given) == 2 and rules.contains.fullmatch(name) and _DOTS.fullmatch(text_of(given[1])[:_MOST]):
            return Tested({}, self._of_paths(given[0]))
        return Tested()

    def _is_cleaned(self, node: Node) -> bool:
        """Whether a path is one without `..`."""
        if node.type == "call_expression":
            return self._rules.cleans.fullmatch(self._meanings.of(node).name) is not None
        variable = self._subject(node)
        return variable is not None and variable.cleaned

    def _all_kinds(self, node: Node | None) -> Known:
        variable = self._subject(node)
        return {variable: self._rules.kinds} if variable is not None else {}

    def _of_paths(self, node: Node) -> Known:
        variable = self._subject(node)
        return {variable: self._rules.paths} if variable is not None else {}

    def _subject(self, node: Node | None) -> Variable | None:
        """The variable that a check is about, also where it is asked in small letters or as another type."""
        for _ in range(_MOST_PARAMETERS):
            if node is None or node.type == "identifier":
                break
            if node.type in ("call_expression", "type_conversion_expression"):
                meaning = self._meanings.of(node.child_by_field_name("function") or node)
                conversion = meaning.conversion or node.type == "type_conversion_expression"
                if not conversion and not self._rules.letters.fullmatch(meaning.name):
                    return None
                holder = node.child_by_field_name("arguments")
                given = holder.named_children if holder is not None else node.children_by_field_name("operand")
                node = given[0] if len(given) == 1 else None
            elif node.type == "parenthesized_expression" and node.named_children:
                node = node.named_children[0]
            else:
                return None
        variable = self._variable(text_of(node)) if node is not None and node.type == "identifier" else None
        return variable if variable is not None and not self._plain(variable.kind) else None

    def _judged(self, functions: Sequence[Declared], given: Sequence[Node]) -> Tested:
        """What functions that are read say of what they are given."""
        told: list[Tested] = []
        for one in functions:
            if one.results[-1:] not in _ANSWERS or one.variadic:
                return Tested()
            verdict = self._verdict_of(one)
            told.append(Tested(self._by_position(verdict.passes, given), self._by_position(verdict.fails, given)))
        return Tested(_each(one.holds for one in told), _each(one.fails for one in told))

    def _by_position(self, kinds: dict[int, frozenset[str]] | None, given: Sequence[Node]) -> Known:
        found = ((self._subject(given[at]), spent) for at, spent in (kinds or {}).items() if at < len(given))
        return {variable: spent for variable, spent in found if variable is not None}

    def _conclude(self, given: Sequence[Node]) -> None:
        """What a `return` adds to what the function says of its arguments."""
        if self._closures or self._results[-1:] not in _ANSWERS:
            return
        self.verdict.told = True
        one = given[-1] if len(given) in (1, len(self._results)) else None
        error, word = self._results[-1] == "error", one.type if one is not None else ""
        tested = self._tested(one)
        if word != "false" and not (error and one is not None and self._is_error(one)):
            self.verdict.passes = self._agreed(self.verdict.passes, tested.holds)
        if word != "true":
            self.verdict.fails = self._agreed(self.verdict.fails, tested.fails)

    def _agreed(self, before: dict[int, frozenset[str]] | None, known: Known) -> dict[int, frozenset[str]]:
        """What was known of the parameters at each `return` so far and is at this one."""
        found = {}
        for position, one in enumerate(self._parameters[:_MOST_PARAMETERS]):
            kinds = (one.spent | known.get(one, frozenset())) if one is not None and not one.given else frozenset()
            kinds = kinds if before is None else kinds & before.get(position, frozenset())
            if kinds:
                found[position] = kinds
        return found

    def _is_error(self, node: Node) -> bool:
        """Whether what is returned is an error, and never `nil`."""
        if node.type == "unary_expression":
            node = node.child_by_field_name("operand") or node
        if node.type == "composite_literal":
            return True
        if node.type == "call_expression":
            meaning = self._meanings.of(node.child_by_field_name("function"))
            verdicts = [self._verdict_of(one) for one in meaning.functions if one.results[-1:] == ("error",)]
            never = bool(verdicts) and all(one.told and one.passes is None for one in verdicts)
            return never or _ERRORS.fullmatch(meaning.name) is not None
        if node.type == "selector_expression" or self._variable(text_of(node)) is None:
            return text_of(node).rpartition(".")[2].startswith(("Err", "err"))
        return _is_no_nil(node)


def leaves(nodes: Iterable[Node], *, case: bool = False) -> bool:
    """Whether statements end by leaving the function or the turn of a loop; a `break` leaves no more than its case."""
    last: Node | None = None
    for node in nodes:
        for one in node.named_children if node.type in ("block", "statement_list") else [node]:
            inner = one.named_children if one.type == "statement_list" else [one]
            last = next((each for each in reversed(inner) if each.type != "comment"), last)
    if last is not None and last.type == "expression_statement" and last.named_children:
        called = last.named_children[0].child_by_field_name("function")
        return called is not None and _ENDING.fullmatch(text_of(called)) is not None
    return last is not None and last.type in _LEAVING and not (case and last.type == "break_statement")


def either(told: Sequence[Tested]) -> Tested:
    """What is told where one of several conditions holds, and where none does."""
    return Tested(_each(one.holds for one in told), _all(one.fails for one in told))


def _operands(node: Node, operator: str) -> list[Node]:
    """Of conditions that are joined by one operator; a long list's tell nothing."""
    found: list[Node] = []
    left: Node | None = node
    while left is not None and left.type == "binary_expression" and operator_of(left) == operator:
        found += [one for one in [left.child_by_field_name("right")] if one is not None]
        left = left.child_by_field_name("left")
    found += [left] if left is not None else []
    return found if len(found) <= _MOST_OPERANDS else []


def _all(known: Iterable[Known]) -> Known:
    """What each of them knows."""
    found: Known = {}
    for one in known:
        for variable, kinds in one.items():
            if variable in found or len(found) < _MOST:
                found[variable] = found.get(variable, frozenset()) | kinds
    return found


def _each(known: Iterable[Known]) -> Known:
    """What all of them know alike."""
    found: Known | None = None
    for one in known:
        both = one if found is None else {name: kinds & one[name] for name, kinds in found.items() if name in one}
        found = {name: kinds for name, kinds in both.items() if kinds}
    return found or {}


def _is_folder(node: Node) -> bool:
    """Whether a beginning ends where a folder's name does, as far as can be told: `/srv` begins `/srv2` as well."""
    if node.type in STRINGS:
        return _FOLDER.fullmatch(text_of(node)) is not None
    if node.type == "binary_expression" and operator_of(node) == "+":
        return _SEPARATOR.fullmatch(text_of(node.child_by_field_name("right"))) is not None
    return node.type in ("identifier", "selector_expression")


def _is_no_nil(name: Node) -> bool:
    """Whether a name is returned in an `if` that asks whether it is no `nil`."""
    below, around = name, name.parent
    for _ in range(_MOST_AROUND):
        if around is None or around.type in ("if_statement", "func_literal"):
            break
        below, around = around, around.parent
    if around is None or around.type != "if_statement" or around.child_by_field_name("consequence") != below:
        return False
    asked = around.child_by_field_name("condition")
    if asked is None or asked.type != "binary_expression" or operator_of(asked) != "!=":
        return False
    left, right = asked.child_by_field_name("left"), asked.child_by_field_name("right")
    if left is None or right is None or left.type != "identifier" or right.type != "nil":
        return False
    return text_of(left) == text_of(name)
