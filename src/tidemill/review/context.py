"""What is read beside a hunk: the definition around it, those that it calls, and who calls what it changes.

files of the change (new side) + files around it
  → symbols     definitions and calls by name, once for a change
  → candidates  for one hunk, each with what it is worth
  → excerpts    the best for their tokens, within the budget
"""

import builtins
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import PurePosixPath

from tidemill.analysis.calls import Call, calls
from tidemill.analysis.paths import PathKind, kind_of
from tidemill.analysis.syntax import Definition, Language, definitions, language_of
from tidemill.analysis.token_count import about_tokens
from tidemill.core.change import ChangeSet, Hunk
from tidemill.core.hunk_context import Excerpt, ExcerptRole, HunkContext

TOKENS = 900
"""For one hunk: of a small model on two cores, reading them takes some 15 s."""
MOST_CHARACTERS = 4_000_000
"""Of all files whose names are known; parsing them takes some four seconds."""
_LARGEST = 400_000
"""Characters of one such file."""
_COMMON = 4
"""A name that so many files define says nothing of which of them is meant."""
_CALLED_LINES, _AROUND, _ENCLOSING_LINES = 24, 3, 60
_MOST_CALLERS = 12
_MOST_SITES, _MOST_RIVALS = 500, 10
_SELF = frozenset({"self", "cls", "this", "super()"})
_ELLIPSIS = "…"
_SCRIPT_METHODS = (
    "map filter reduce forEach push pop then catch finally slice splice concat includes indexOf toString length find"
    " some every keys values entries call apply bind test exec trim log error warn set has add delete equals hashCode"
    " size isEmpty stream collect contains put containsKey Println Printf Errorf Sprintf Fprintf Error String Close"
)
COMMON_METHODS = frozenset(
    name for kind in (dict, list, str, set, bytes, tuple, int) for name in dir(kind)
) | frozenset(_SCRIPT_METHODS.split())
"""Methods of what every program has: of an object that is not known, they say nothing."""
_NOT_LOOKED_FOR = COMMON_METHODS | frozenset(dir(builtins))
_SHORTEST = 3


_language = lru_cache(maxsize=4096)(language_of)
_kind = lru_cache(maxsize=4096)(kind_of)


@dataclass(frozen=True, slots=True)
class _Defined:
    path: str
    definition: Definition

    @property
    def last(self) -> str:
        return self.definition.name.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class _Called:
    path: str
    call: Call


@dataclass(slots=True)
class Symbols:
    """The definitions and calls in the files of a change and around it, by their last name."""

    texts: dict[str, str] = field(default_factory=dict)
    in_file: dict[str, list[Definition]] = field(default_factory=dict)
    defined: dict[str, list[_Defined]] = field(default_factory=lambda: defaultdict(list))
    called: dict[str, list[_Called]] = field(default_factory=lambda: defaultdict(list))
    calls_in: dict[str, Sequence[Call]] = field(default_factory=dict)


def symbols_of(change: ChangeSet) -> Symbols:
    """Parses the files of a change, then those around it, until there are `MOST_CHARACTERS`."""
    found = Symbols()
    left = MOST_CHARACTERS
    for path, text in (*_smallest_first(change.files), *_smallest_first(change.around)):
        if _language(path) is None or len(text) > min(left, _LARGEST) or path in found.texts:
            continue
        left -= len(text)
        _add(found, path, text)
    return found


def _smallest_first(files: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(files.items(), key=lambda item: (len(item[1]), item[0]))


def _add(found: Symbols, path: str, text: str) -> None:
    found.texts[path] = text
    found.in_file[path] = definitions(text, path)
    found.calls_in[path] = calls(text, path)
    for definition in found.in_file[path]:
        one = _Defined(path, definition)
        found.defined[one.last].append(one)
    for call in found.calls_in[path]:
        found.called[call.name].append(_Called(path, call))


def hunk_context(symbols: Symbols, hunk: Hunk, *, tokens: int = TOKENS) -> HunkContext:
    """The excerpts that earn their tokens best, for one hunk; none of a file that is not known as a whole.

    What a hunk calls in lines that it adds is worth more than what stands around them; a definition in the same file
    or one that is imported more than one of the same name elsewhere; and a name that many files define nothing.
    """
    if hunk.path not in symbols.texts:
        return HunkContext()
    wanted = _Wanted.of(hunk, symbols)
    candidates = [*_enclosing(symbols, wanted), *_definitions(symbols, wanted), *_callers(symbols, wanted)]
    priced = [(about_tokens(one.text) + about_tokens(one.path), one) for one in _distinct(candidates)]
    ranked = sorted(
        ((one.score / math.sqrt(20 + cost), cost, one) for cost, one in priced),
        key=lambda item: (-item[0], item[2].path, item[2].start),
    )
    chosen: list[Excerpt] = []
    left = tokens
    for density, cost, one in ranked:
        if cost <= left:
            left -= cost
            chosen.append(replace(one, score=round(density, 4)))
    return HunkContext(tuple(chosen), tokens - left, len(ranked) - len(chosen))


def changed_names(symbols: Symbols, hunks: Iterable[Hunk]) -> tuple[set[str], set[str]]:
    """What the changed lines of hunks call that no known file defines, and the names of definitions they change.

    For a `CodeIndex`: the first are defined, the second are called in files that the change does not have.
    """
    missing: set[str] = set()
    changed: set[str] = set()
    for hunk in hunks:
        if hunk.path in symbols.texts:
            wanted = _Wanted.of(hunk, symbols)
            missing |= {call.name for call in wanted.calls if not symbols.defined.get(call.name)}
            changed |= {one.last for one in wanted.changed}
    return _telling(missing), _telling(changed)


def _telling(names: set[str]) -> set[str]:
    return {name for name in names - _NOT_LOOKED_FOR if len(name) >= _SHORTEST}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What of a hunk is looked for: its calls, and the definitions that it changes, innermost first."""

    hunk: Hunk
    calls: Sequence[Call]
    changed: Sequence[_Defined]

    @classmethod
    def of(cls, hunk: Hunk, symbols: Symbols) -> "_Wanted":
        added = {line.new for line in hunk.added if line.new is not None and line.text.strip()}
        lines = added or {hunk.new_start}
        found = [call for call in symbols.calls_in[hunk.path] if call.line in added]
        around = [one for one in symbols.in_file[hunk.path] if any(one.start <= line <= one.end for line in lines)]
        around.sort(key=lambda one: one.end - one.start)
        return cls(hunk, found, [_Defined(hunk.path, one) for one in around])


def _enclosing(symbols: Symbols, wanted: _Wanted) -> list[Excerpt]:
    """The innermost definition that is not within the hunk itself."""
    hunk = wanted.hunk
    end = hunk.new_start + hunk.new_count - 1
    for one in wanted.changed:
        inner = one.definition
        if inner.start < hunk.new_start or inner.end > end:
            text = _head(inner.text, _ENCLOSING_LINES)
            return [Excerpt(ExcerptRole.ENCLOSING, one.path, inner.name, inner.start, inner.end, text, 3.0)]
    return []


def _definitions(symbols: Symbols, wanted: _Wanted) -> list[Excerpt]:
    found = []
    for call in wanted.calls:
        for one, sure in _meant(symbols, wanted, call):
            definition = one.definition
            if one.path == wanted.hunk.path and _within(definition, wanted.hunk):
                continue  # it stands in the hunk itself
            text = _head(definition.text, _CALLED_LINES)
            found.append(
                Excerpt(ExcerptRole.CALLED, one.path, definition.name, definition.start, definition.end, text, 2 * sure)
            )
    return found


def _meant(symbols: Symbols, wanted: _Wanted, call: Call) -> list[tuple[_Defined, float]]:
    """Which definitions a call may mean, and how sure that is, from 0 to 1: the surest ones alone."""
    here = wanted.changed[0].definition if wanted.changed else None
    rated = [
        (one, sure)
        for one in symbols.defined.get(call.name, ())
        if one.definition != here and (sure := _sure(symbols, call, wanted.hunk.path, one))
    ]
    best = max((sure for _, sure in rated), default=0.0)
    surest = [one for one, sure in rated if sure == best]
    if len({one.path for one in surest}) >= _COMMON:
        return []
    return [(one, best / len(surest)) for one in surest]


def _sure(symbols: Symbols, call: Call, path: str, one: _Defined) -> float:
    """How sure it is, from 0 (it can't be) to 1, that a call in the file `path` means a definition.

    By names alone, since nothing is run and no types are known: a bare name means what stands at the top of the same
    file, or of one that this file speaks of; a method is found by the object's class where that is this one.
    """
    if not _speaks_with(one.path, path) or (_kind(one.path) is PathKind.TEST and _kind(path) is not PathKind.TEST):
        return 0.0
    method = "." in one.definition.name
    own = one.path == path
    if call.receiver in _SELF:
        outer = one.definition.name.rpartition(".")[0]
        inside = own and any(
            each.name == outer and each.start <= call.line <= each.end for each in symbols.in_file.get(path, ())
        )
        return 1.0 if inside else 0.3 * (method and not one.last.startswith("_"))
    if not own and one.last.startswith("_"):
        return 0.0
    if not call.receiver:
        implicit = method and _language(path) is Language.JAVA
        return (1.0 if own else 0.9 * _names_module(symbols, path, one)) if implicit or not method else 0.0
    if not method:
        return 0.9 if not own and call.receiver.rpartition(".")[2] == _module(one.path) else 0.0
    if call.name in COMMON_METHODS or one.definition.kind != "method":
        return 0.0
    return 0.6 if own or _names_module(symbols, path, one) else 0.4


def _names_module(symbols: Symbols, path: str, one: _Defined) -> bool:
    """The file speaks of the other one's module; in Go and Java the files of a folder know each other without that."""
    together = _language(path) in (Language.GO, Language.JAVA)
    beside = together and PurePosixPath(path).parent == PurePosixPath(one.path).parent
    return beside or _module(one.path) in symbols.texts[path]


def _module(path: str) -> str:
    pure = PurePosixPath(path)
    return pure.parent.name or pure.stem if pure.stem in ("__init__", "index") else pure.stem


def _speaks_with(one: str, other: str) -> bool:
    """Of languages that call each other."""
    first, second = _language(one), _language(other)
    script = ("javascript", "typescript", "tsx")
    return first == second or (str(first) in script and str(second) in script)


def _callers(symbols: Symbols, wanted: _Wanted) -> list[Excerpt]:
    """Of the innermost definitions that change; of a class only where nothing in it is the innermost."""
    found = []
    for number, changed in enumerate(wanted.changed[:2]):
        if number and changed.definition.kind in ("class", "interface", "enum", "type"):
            continue
        if len({one.path for one in symbols.defined.get(changed.last, ())}) >= _COMMON:
            continue
        sites = [
            (one, sure)
            for one in symbols.called.get(changed.last, ())[:_MOST_SITES]
            if not _of_itself(one, changed, wanted.hunk) and (sure := _sure_caller(symbols, one, changed))
        ]
        sites.sort(key=lambda rated: -rated[1])
        found += [_caller(symbols, one, 1.2 * sure) for one, sure in sites[:_MOST_CALLERS]]
    return found


def _sure_caller(symbols: Symbols, site: _Called, changed: _Defined) -> float:
    """As `_sure`; tests call what is no test. Less where other definitions of this name are meant as well."""
    sure = _sure(symbols, site.call, site.path, changed)
    rivals = sum(
        _sure(symbols, site.call, site.path, one) >= sure
        for one in symbols.defined.get(changed.last, ())[:_MOST_RIVALS]
    )
    return sure / max(rivals, 1)


def _of_itself(site: _Called, changed: _Defined, hunk: Hunk) -> bool:
    inside = changed.definition.start <= site.call.line <= changed.definition.end
    shown = hunk.new_start <= site.call.line < hunk.new_start + hunk.new_count
    return site.path == changed.path and (inside or shown)


def _caller(symbols: Symbols, site: _Called, worth: float) -> Excerpt:
    """The call with a few lines around it, under the first line of the definition that it stands in."""
    lines = symbols.texts[site.path].split("\n")
    around = [one for one in symbols.in_file[site.path] if one.start <= site.call.line <= one.end]
    inner = min(around, key=lambda one: one.end - one.start, default=None)
    low = max(site.call.line - _AROUND, inner.start if inner else 1)
    high = min(site.call.line + _AROUND, inner.end if inner else len(lines))
    shown = lines[low - 1 : high]
    if inner is not None and inner.start < low:
        shown = [lines[inner.start - 1], *([_ELLIPSIS] if inner.start + 1 < low else []), *shown]
    test = _kind(site.path) is PathKind.TEST
    return Excerpt(
        ExcerptRole.CALLER,
        site.path,
        inner.name if inner else "",
        inner.start if inner is not None and inner.start < low else low,
        high,
        "\n".join(line[:300] for line in shown),
        worth * (0.5 if test else 1.0),
    )


def _head(text: str, most: int) -> str:
    lines = [line[:300] for line in text.split("\n")]
    return "\n".join(lines if len(lines) <= most else [*lines[:most], _ELLIPSIS])


def _within(definition: Definition, hunk: Hunk) -> bool:
    return hunk.new_start <= definition.start and definition.end < hunk.new_start + hunk.new_count


def _distinct(candidates: Iterable[Excerpt]) -> list[Excerpt]:
    """One for each place, the one that is worth most; what lies in a better one's lines is left out."""
    best: list[Excerpt] = []
    for one in sorted(candidates, key=lambda candidate: -candidate.score):
        if not any(other.path == one.path and other.start <= one.start and one.end <= other.end for other in best):
            best.append(one)
    return best
