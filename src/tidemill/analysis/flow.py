"""Where data goes between functions: which of a function's arguments reach a sink or its result, and which results come
from outside. With a summary for each function, until no summary grows.

What a language's functions do is told in the few words of this module, by `python_flow` and its like: a function is a
list of steps, a step gives values names, and a value is put together from names, calls and what comes from outside.
Which way a condition goes is not told; a value that was checked is harmless only where a front end says so.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

LARGEST = 500_000
"""Characters; a larger file is not read."""
_ROUNDS = 6
"""A value that passes through more calls than this is lost."""
_LONGEST = 10
"""Steps of one way."""
_MOST_ORIGINS = 500_000
"""That all values of one run through a function have together. Functions that people write have some hundreds."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file."""

    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Flow:
    """Data from outside that reaches a sink in another function: the places that it passes, source first, sink last."""

    kind: str
    way: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Sink:
    """A call that does harm with one of its arguments.

    Attributes:
        kind: what is found.
        name: matches the whole name of the function, as it is written or as an import gives it.
        position: of the argument, from 0; `None` for each of them.
        arguments: matches the beginning of the code of all arguments, where not every such call does harm.
    """

    kind: str
    name: re.Pattern[str]
    position: int | None = 0
    arguments: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """The value that a step gave this name in the same function, or a parameter's."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Outside:
    """A value that a client sends."""

    place: Place


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A value that is put together from others; from none of them it is a constant."""

    of: "tuple[Value, ...]" = ()


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call, and what it returns.

    What a function returns that is not among those read is taken to hold its arguments and the object that it is a
    method of.

    Attributes:
        place: where it stands.
        arguments: each with its name, where it is given by one.
        receiver: the object whose method is called.
        targets: the functions that it may mean, of those that are read.
        harms: what is found where an argument comes from outside, with the position of the argument; `None` for each.
        harmless: nothing that it returns does harm.
    """

    place: Place
    arguments: "tuple[tuple[str | None, Value], ...]" = ()
    receiver: "Value | None" = None
    targets: "tuple[Function, ...]" = ()
    harms: tuple[tuple[str, int | None], ...] = ()
    harmless: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Harmless:
    """A value that does no harm of these kinds any more: an escaper's, or one that stands where it decides nothing."""

    value: "Value"
    kinds: frozenset[str]


Value = Name | Outside | Parts | Call | Harmless


@dataclass(frozen=True, slots=True, eq=False)
class Assign:
    """A value is given names.

    Attributes:
        names: that it is given.
        value: what is given.
        place: a step of the way, where the value's way is to tell of it.
        extend: the names keep what they had as well.
    """

    names: tuple[str, ...]
    value: Value
    place: Place | None = None
    extend: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Return:
    """A value is what the function returns."""

    value: Value
    place: Place


@dataclass(frozen=True, slots=True, eq=False)
class Evaluate:
    """A value is computed, and used for nothing that is followed."""

    value: Value


Step = Assign | Return | Evaluate


class _TooMuch(Exception):
    """A function's values come from too many places."""


_Origin = tuple[int | None, frozenset[str]]
"""The parameter that a value comes from, `None` for one from outside, and the kinds of which it does no harm."""
_Values = dict[_Origin, tuple[Place, ...]]
"""By origin, the way that a value took to where it is."""


@dataclass(slots=True, eq=False)
class Function:
    """A function that is read, and what is known of it.

    Attributes:
        path: of its file.
        first_line: from 1.
        last_line: lines of functions within it are its own, but for `inner`.
        parameters: their names, in order, without the object of a method; empty for one that has no name.
        from_outside: the parameters that a client fills.
        steps: what it does, in order.
        repeats: some steps come after later ones, as in a loop.
        inner: first and last lines of functions within it that are read by themselves.
    """

    path: str
    first_line: int
    last_line: int
    parameters: Sequence[str]
    from_outside: frozenset[str] = frozenset()
    steps: list[Step] = field(default_factory=list)
    repeats: bool = False
    inner: Sequence[tuple[int, int]] = ()
    _positions: dict[str, int] | None = field(default=None, init=False)
    _returns: dict[int | None, dict[frozenset[str], tuple[Place, ...]]] = field(default_factory=dict, init=False)
    _reaches: dict[int, dict[str, tuple[Place, ...]]] = field(default_factory=dict, init=False)
    _calls: set[int] = field(default_factory=set, init=False)

    @property
    def place(self) -> Place:
        """Where it begins."""
        return Place(self.path, self.first_line)

    def _position(self, name: str) -> int | None:
        """Of a parameter."""
        if self._positions is None:
            self._positions = {one: index for index, one in reversed([*enumerate(self.parameters)]) if one}
        return self._positions.get(name)

    @property
    def _size(self) -> int:
        """How much is known of it; it only grows."""
        return sum(map(len, self._returns.values())) + sum(map(len, self._reaches.values()))


def harms_of(sinks: Iterable[Sink], names: Collection[str], arguments: str) -> tuple[tuple[str, int | None], ...]:
    """The harms of a call by these names, with the code of all its arguments: see `Call`."""
    return tuple(
        (sink.kind, sink.position)
        for sink in sinks
        if any(sink.name.fullmatch(one) for one in names)
        and (sink.arguments is None or sink.arguments.match(arguments))
    )


def flows_of(functions: Sequence[Function], unread: set[Place]) -> list[Flow]:
    """The ways of data from outside to a sink that pass through more than one of these functions.

    Where the functions begin whose values are nested too deeply to be followed, or come from too many places, is added
    to `unread`.
    """
    found: dict[tuple[str, Place, Place], Flow] = {}
    grown: set[int] | None = None
    for _ in range(_ROUNDS):
        before = {id(one): one._size for one in functions}
        for function in functions:
            if grown is not None and grown.isdisjoint(function._calls):
                continue
            try:
                flows = _Run(function).flows()
            except (RecursionError, _TooMuch):  # whoever writes the change could wish so
                unread.add(function.place)
                continue
            for flow in flows:
                found.setdefault((flow.kind, flow.way[0], flow.way[-1]), flow)
        grown = {id(one) for one in functions if one._size != before[id(one)]}
        if not grown:
            break
    return sorted(found.values(), key=lambda flow: (flow.way[-1].path, flow.way[-1].line, flow.kind))


class _Run:
    """Goes through one function's steps with what is known of the others so far."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._flows: list[Flow] = []
        self._left = _MOST_ORIGINS
        at = function.place
        self._values: dict[str, _Values] = {
            name: {(index, frozenset()): (at,)} for index, name in enumerate(function.parameters) if name
        }
        for name in function.from_outside:
            if name in self._values:
                self._values[name][None, frozenset()] = (at,)

    def flows(self) -> list[Flow]:
        """Adds to what is known of the function; the flows that end in another function or come from one."""
        for _ in range(2 if self._function.repeats else 1):
            for step in self._function.steps:
                self._take(step)
        return self._flows

    def _take(self, step: Step) -> None:
        value = self._value(step.value)
        if isinstance(step, Assign):
            if step.place is not None:
                value = {origin: _joined(way, step.place) for origin, way in value.items()}
            for name in step.names:
                kept = self._values.get(name, {}) if step.extend else {}
                self._values[name] = {**value, **kept}
        elif isinstance(step, Return):
            for (parameter, spent), way in value.items():
                self._function._returns.setdefault(parameter, {}).setdefault(spent, _joined(way, step.place))

    def _value(self, value: Value) -> _Values:
        """Where a value comes from."""
        found = self._origins(value)
        self._spend(len(found))
        return found

    def _spend(self, origins: int) -> None:
        self._left -= origins
        if self._left < 0:
            raise _TooMuch

    def _origins(self, value: Value) -> _Values:
        match value:
            case Name(name):
                return self._values.get(name, {})
            case Outside(place):
                return {(None, frozenset()): (place,)}
            case Parts(of):
                return _together(self._value(part) for part in of)
            case Harmless(inner, kinds):
                found: _Values = {}
                for (origin, spent), way in self._value(inner).items():
                    found.setdefault((origin, spent | kinds), way)
                return found
            case Call():
                return self._call(value)

    def _call(self, call: Call) -> _Values:
        values = [(key, self._value(argument)) for key, argument in call.arguments]
        receiver = self._value(call.receiver) if call.receiver is not None else {}
        if call.harmless:
            return {}
        for kind, position in call.harms:
            for number, (_, value) in enumerate(values):
                if position in (None, number):
                    self._sink(kind, value, (call.place,))
        if not call.targets:
            return _together([receiver, *(value for _, value in values)])
        self._function._calls.update(id(target) for target in call.targets)
        return _together(self._through(target, values, call.place) for target in call.targets)

    def _through(self, target: Function, values: Sequence[tuple[str | None, _Values]], at: Place) -> _Values:
        """What comes back from a function that is read, and what its arguments reach in it."""
        found: _Values = {}
        for kinds, inside in target._returns.get(None, {}).items():
            found[None, kinds] = _joined(inside, at)
        for number, (key, value) in enumerate(values):
            index = number if key is None else target._position(key)
            if index is None or not value:
                continue
            # copies: a function that calls itself learns of its own ways here
            for kind, rest in tuple(target._reaches.get(index, {}).items()):
                self._sink(kind, value, (at, *rest))
            for kinds, inside in tuple(target._returns.get(index, {}).items()):
                for (origin, spent), way in value.items():
                    found.setdefault((origin, spent | kinds), _joined((*way, at), *inside))
        return found

    def _sink(self, kind: str, values: _Values, rest: tuple[Place, ...]) -> None:
        self._spend(len(values))
        for (origin, spent), way in values.items():
            if kind in spent:
                continue
            whole = _joined(way, *rest)
            if whole[-1] != rest[-1]:  # the sink's line calls a function that the value came through
                whole = (*whole, rest[-1])
            if origin is not None:
                self._function._reaches.setdefault(origin, {}).setdefault(kind, whole)
            elif len({self._inside(place) for place in whole}) > 1:
                self._flows.append(Flow(kind, whole))

    def _inside(self, place: Place) -> tuple[str, bool]:
        """Of which file a place is, and whether it lies in the function."""
        function = self._function
        own = place.path == function.path and function.first_line <= place.line <= function.last_line
        return place.path, own and not any(first <= place.line <= last for first, last in function.inner)


def _together(values: Iterable[_Values]) -> _Values:
    found: _Values = {}
    for one in values:
        for origin, way in one.items():
            found.setdefault(origin, way)
    return found


def _joined(way: Sequence[Place], *more: Place) -> tuple[Place, ...]:
    """A way with further places: none twice, and not too many."""
    places: list[Place] = []
    for place in (*way, *more):
        if place not in places:
            places.append(place)
    return tuple(places if len(places) <= _LONGEST else [*places[: _LONGEST // 2], *places[-_LONGEST // 2 :]])
