"""What a table of rules for Java's data flow says: see `java_flow`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tidemill.analysis.flow import Sink


@dataclass(frozen=True, slots=True)
class JavaSource:
    """A method whose result comes from outside.

    Attributes:
        name: matches its whole qualified name.
        kinds: of harm that what it returns cannot do.
    """

    name: re.Pattern[str]
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class JavaEscape:
    """A method whose result does no harm of some kinds.

    Attributes:
        name: matches its whole qualified name.
        kinds: of harm; all of them where it is empty.
        arguments: matches the beginning of the code of all arguments, where it is harmless only so.
    """

    name: re.Pattern[str]
    kinds: frozenset[str] = frozenset()
    arguments: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class JavaAnswer:
    """What a method returns does harm.

    Attributes:
        kind: what is found.
        annotations: matches one that stands on the method or its class.
        returned: matches the method's type.
        value: matches the beginning of the code of what is returned.
        unless: matches somewhere in the annotations of a method whose result does no harm.
    """

    kind: str
    annotations: re.Pattern[str]
    returned: re.Pattern[str]
    value: re.Pattern[str]
    unless: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class JavaRules:
    """What is a source, what makes harmless, what is a sink, and what a library's methods do with data.

    Names of methods are qualified by their type: `java.io.File.getName`, `java.io.File.new` for a constructor, and
    `?.getName` where the type is not known.

    Attributes:
        begins: occurs in each file that has a source.
        sources: the methods whose result comes from outside.
        filled: matches the annotation of a parameter or a field that a client fills.
        plain: matches the simple name of a type whose values hold no text.
        carriers: matches the simple name of the type of a field that is followed.
        facts: matches the simple name of a method that only tells something of its object.
        escapes: the methods whose result does no harm.
        written: what occurs in the code of a method that is such a one, with what it does.
        keeps: matches a method of an object whose result holds its arguments.
        drops: matches a static method or a constructor whose result does not hold its arguments.
        wraps: matches a constructor whose object holds no more than its first argument.
        grows: matches a method that puts its arguments into its object.
        maps: matches a method whose result is that of the function which it is given.
        returns: the type of what a method returns.
        stands_for: the type that another stands for as a parameter's, in a file that imports what `web` matches.
        web: matches the beginning of the name of what a file imports.
        sinks: the calls that do harm.
        answers: the methods whose result does harm.
        lists: matches a method that says whether its object holds what it is given.
        passes: matches a static method that says whether its last argument is harmless.
        demands: matches a method that throws unless its first argument holds.
        paths: the kinds that need a path.
        addresses: the kinds that need the beginning of a text.
        pages: the kinds that need a page.
        no_page: occurs in the code of a class that answers with something else than a page.
        page: occurs in the code of a class that answers with a page even so.
    """

    begins: re.Pattern[str]
    sources: Sequence[JavaSource]
    filled: re.Pattern[str]
    plain: re.Pattern[str]
    carriers: re.Pattern[str]
    facts: re.Pattern[str]
    escapes: Sequence[JavaEscape]
    written: Sequence[tuple[re.Pattern[str], JavaEscape]]
    keeps: re.Pattern[str]
    drops: re.Pattern[str]
    wraps: re.Pattern[str]
    grows: re.Pattern[str]
    maps: re.Pattern[str]
    returns: Mapping[str, str]
    stands_for: Mapping[str, str]
    web: re.Pattern[str]
    sinks: Sequence[Sink]
    answers: Sequence[JavaAnswer]
    lists: re.Pattern[str]
    passes: re.Pattern[str]
    demands: re.Pattern[str]
    paths: frozenset[str]
    addresses: frozenset[str]
    pages: frozenset[str]
    no_page: re.Pattern[str]
    page: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the rules say of a method, by its qualified name: see `JavaRules`."""

    source: JavaSource | None = None
    escapes: tuple[JavaEscape, ...] = ()
    sinks: tuple[Sink, ...] = ()
    keeps: bool = False
    drops: bool = False
    wraps: bool = False
    grows: bool = False


class Meanings:
    """What the rules say of methods; of each qualified name it is found out once."""

    def __init__(self, rules: JavaRules) -> None:
        self._rules = rules
        self._known: dict[str, Meaning] = {}

    def of(self, names: Iterable[str]) -> Meaning:
        """What they say of a method that may have each of these names."""
        found = [one for one in map(self._of_one, names) if one is not _NOTHING]
        if len(found) < 2:
            return found[0] if found else _NOTHING
        return Meaning(
            next((one.source for one in found if one.source is not None), None),
            tuple(escape for one in found for escape in one.escapes),
            tuple(dict.fromkeys(sink for one in found for sink in one.sinks)),
            any(one.keeps for one in found),
            any(one.drops for one in found),
            any(one.wraps for one in found),
            any(one.grows for one in found),
        )

    def _of_one(self, name: str) -> Meaning:
        found = self._known.get(name)
        if found is None:
            rules = self._rules
            found = Meaning(
                next((one for one in rules.sources if one.name.fullmatch(name)), None),
                tuple(one for one in rules.escapes if one.name.fullmatch(name)),
                tuple(one for one in rules.sinks if one.name.fullmatch(name)),
                rules.keeps.fullmatch(name) is not None,
                rules.drops.fullmatch(name) is not None,
                rules.wraps.fullmatch(name) is not None,
                rules.grows.fullmatch(name) is not None,
            )
            self._known[name] = found = _NOTHING if found == _NOTHING else found
        return found


_NOTHING = Meaning()
