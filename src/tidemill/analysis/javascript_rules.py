"""What is a source, what makes harmless, and what is a sink in JavaScript and TypeScript."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill.analysis.flow import Function, Sink


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
        trusted_for: the kinds of harm that need another's browser or server to send it, which such a field does not do.
        beginning: matches the code of a source that begins as the program's own addresses do.
        everywhere: matches the code of an expression that comes from outside wherever its first name is nobody's own.
        filled: matches the decorator of a parameter that a client fills.
        converted: matches the code of such a parameter that can do no harm.
        harmless: matches the name of a function, not of one that is read, whose result can do no harm.
        harmless_for: by kind, what returns its arguments so that they do none of that kind.
        keeping: matches the name of a function whose result holds its arguments.
        sinks: the calls that do harm. A field of an argument is `name{field}`, an assignment `name=`.
        addresses: those kinds of harm that only the beginning of a text does.
        words: by kind of harm, what occurs in a text that does it, where it is put together with other text.
        texts: those kinds of harm that only a text does, not an object.
        paths: those kinds of harm that a path within a fixed folder does not do.
        pages: those kinds of harm that a text without `<` does not do.
        says: matches the code of a call on an answer that says of what type it is.
        no_page: matches, from their beginning, the arguments of such a call where that is no page.
    """

    text: re.Pattern[str]
    sources: re.Pattern[str]
    answered: re.Pattern[str]
    requests: re.Pattern[str]
    named: frozenset[str]
    trusted: re.Pattern[str]
    trusted_for: frozenset[str]
    beginning: re.Pattern[str]
    everywhere: re.Pattern[str]
    filled: re.Pattern[str]
    converted: re.Pattern[str]
    harmless: re.Pattern[str]
    harmless_for: Mapping[str, re.Pattern[str]]
    keeping: re.Pattern[str]
    sinks: Sequence[Sink]
    addresses: frozenset[str]
    words: Mapping[str, re.Pattern[str]]
    texts: frozenset[str]
    paths: frozenset[str]
    pages: frozenset[str]
    says: re.Pattern[str]
    no_page: re.Pattern[str]


class Known:
    """What is known where the functions of some files are told of by one table.

    Attributes:
        beginnings: by the id of a function's node, which parameters choose what its result begins with.
        objects: by the id of a function's node, whether it gives an object that is written out.
        texts: by the id of a function's node, whether it gives a text that is put together in it.
        results: by the id of a function's node and a field, what tells of that field of its result.
        told_apart: by the id of a function's node, how many of those there are.
    """

    def __init__(self, sinks: Sequence[Sink], harmless_for: Mapping[str, re.Pattern[str]]) -> None:
        self._sinks = sinks
        self._harmless_for = harmless_for
        self._found: dict[str, list[Sink]] = {}
        self._spent: dict[str, frozenset[str]] = {}
        self.beginnings: dict[int, frozenset[int] | None] = {}
        self.objects: dict[int, bool] = {}
        self.texts: dict[int, bool] = {}
        self.results: dict[tuple[int, str], Function] = {}
        self.told_apart: dict[int, int] = {}

    def spent_by(self, names: Sequence[str]) -> frozenset[str]:
        """The kinds of harm that the result of a function by one of these names does not do."""
        for name in names:
            if name not in self._spent:
                self._spent[name] = frozenset(
                    kind for kind, pattern in self._harmless_for.items() if pattern.fullmatch(name)
                )
        return frozenset().union(*(self._spent[name] for name in names))

    def sinks_of(self, names: Sequence[str]) -> list[Sink]:
        """The sinks that one of these names means."""
        found: list[Sink] = []
        for name in names:
            if name not in self._found:
                self._found[name] = [sink for sink in self._sinks if sink.name.fullmatch(name)]
            found += [sink for sink in self._found[name] if sink not in found]
        return found
