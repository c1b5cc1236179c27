"""What a table of sources, harmless functions and sinks for Go says; see `go_flow`.

Patterns match whole names as packages give them without a version, with the type of a method's object:
`net/http.Request.FormValue`. A method whose object's type is not known is named by its code, `?s.db.Query`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.analysis.flow import Sink


@dataclass(frozen=True, slots=True)
class GoRules:
    """What is a source, what makes harmless, and what is a sink.

    Attributes:
        needed: occurs in a file that has a source.
        request: the type whose sources count where a server got it.
        response: the type of what a server writes to.
        contexts: matches the types of frameworks that stand for a request.
        sources: what comes from outside.
        served: what comes from outside where a server got the request.
        binds: what fills its arguments from a request.
        decodes: matches the bare name of a function that is given a request and fills its arguments from it.
        fills: what fills arguments of `&x` from the others and from its object.
        writes: what adds its arguments to its object.
        appends: what adds its arguments to the first.
        holds: what returns a value that holds its arguments. Other functions that are not read return none of them.
        formats: what puts a text together by a format, its first argument.
        harmless: what returns a value that can do no harm.
        harmless_for: by kind, what returns a value that can do none of that kind.
        rooted: matches the beginning of a call, with its arguments, whose value leads out of no folder.
        paths: the kinds that such a value does not do.
        checks: what says whether its last argument is allowed: `if !check(x) { return }` makes it harmless.
        keeps: what says whether a path, its last argument, leads out of no folder.
        cleans: what returns a path without `..`.
        begins: what says whether its first argument begins with the second.
        contains: what says whether its first argument holds the second.
        same: what says whether its two arguments are the same but for small and capital letters.
        letters: what returns its argument in small or capital letters.
        plain: matches types whose values can do no harm.
        streams: matches types of bodies and of what is read from; as a part of an object it is not followed.
        types: those of what functions and fields give that are not read; `.*` for all methods of a type.
        sinks: the calls that do harm. A name may end in `@` and the type of the first argument.
        addresses: the kinds that a text with a fixed beginning does not do.
        markup: the kinds that a text does not do that begins as data does, with a brace or a bracket.
        page: occurs in the code of a function that writes a page.
        no_page: occurs in the code of one that writes something else.
    """

    needed: re.Pattern[str]
    request: str
    response: str
    contexts: re.Pattern[str]
    sources: re.Pattern[str]
    served: re.Pattern[str]
    binds: re.Pattern[str]
    decodes: re.Pattern[str]
    fills: re.Pattern[str]
    writes: re.Pattern[str]
    appends: re.Pattern[str]
    holds: re.Pattern[str]
    formats: re.Pattern[str]
    harmless: re.Pattern[str]
    harmless_for: Mapping[str, re.Pattern[str]]
    rooted: re.Pattern[str]
    paths: frozenset[str]
    checks: re.Pattern[str]
    keeps: re.Pattern[str]
    cleans: re.Pattern[str]
    begins: re.Pattern[str]
    contains: re.Pattern[str]
    same: re.Pattern[str]
    letters: re.Pattern[str]
    plain: re.Pattern[str]
    streams: re.Pattern[str]
    types: Mapping[str, str]
    sinks: Sequence[Sink]
    addresses: frozenset[str]
    markup: frozenset[str]
    page: re.Pattern[str]
    no_page: re.Pattern[str]
    _of_name: dict[str, "OfName"] = field(default_factory=dict, init=False, compare=False)

    @property
    def kinds(self) -> frozenset[str]:
        """All kinds of harm."""
        return frozenset(sink.kind for sink in self.sinks)

    def of_name(self, name: str) -> "OfName":
        """What the table says of a name."""
        name = name if len(name) <= _LONGEST_NAME else ""
        found = self._of_name.get(name)
        if found is None:
            if len(self._of_name) > _MOST_NAMES:
                self._of_name.clear()
            found = self._of_name[name] = OfName(
                **{one: bool(getattr(self, one).fullmatch(name)) for one in _PATTERNS},
                sinks=tuple(sink for sink in self.sinks if sink.name.fullmatch(name)),
                kinds=frozenset(kind for kind, pattern in self.harmless_for.items() if pattern.fullmatch(name)),
            )
        return found


_MOST_NAMES = 20_000
_LONGEST_NAME = 300
_PATTERNS = ("sources", "served", "binds", "fills", "writes", "appends", "holds", "formats", "harmless")


@dataclass(frozen=True, slots=True)
class OfName:
    """What a table says of one name; see `GoRules`."""

    sources: bool
    served: bool
    binds: bool
    fills: bool
    writes: bool
    appends: bool
    holds: bool
    formats: bool
    harmless: bool
    sinks: tuple[Sink, ...]
    kinds: frozenset[str]
    """Of which its value can do no harm."""
