"""Reads `.tidemill.yml`: what is wrong with it is a note with its line, and the rest of it counts all the same.

The file is data: safe scalars alone, no aliases, no tags, bounded in size and depth. docs/gates.md lists its keys.
"""

import difflib
import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tidemill.core.finding import Severity
from tidemill.core.gate import GateName
from tidemill.core.review_policy import GatePolicy, ReviewPolicy

POLICY_FILE = ".tidemill.yml"
POLICY_FILES = (POLICY_FILE, ".tidemill.yaml")
"""Where a repository's policy stands; the first that is there counts."""
MAX_BYTES = 65_536
_MAX_DEPTH = 8
_MAX_ITEMS = 200
_MAX_PATTERN = 300
_MAX_TEXT = 8_000
_MAX_NOTES = 20
LANGUAGES = ("en", "vi")
AUDITS = ("changed", "all", "off")
MAX_COMMENTS = 50
_OFF = "off"


class _Wrong(Exception):
    """A value that can't be used: what it should be, and the line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class _Notes:
    """What is wrong with the file, by line."""

    def __init__(self) -> None:
        self._found: list[tuple[int, str]] = []

    def add(self, line: int, message: str) -> None:
        self._found.append((line, message))

    def all(self) -> tuple[str, ...]:
        ordered = [f"{POLICY_FILE}, line {line}: {message}" for line, message in sorted(self._found)]
        more = len(ordered) - _MAX_NOTES
        return tuple(ordered if more <= 0 else [*ordered[:_MAX_NOTES], f"{POLICY_FILE}: {more} more mistakes."])


Reader = Callable[[Node, str, _Notes], Any]
"""Gives the value of a node under a key; notes what it leaves out; raises `_Wrong` where nothing is left."""


def read_policy(data: bytes | None) -> ReviewPolicy:
    """The policy that a file asks for; what it does not say, or says wrongly, is as `ReviewPolicy` has it.

    Args:
        data: the file as it stands on the side that the change is to be merged into; `None` where there is none.
    """
    if data is None:
        return ReviewPolicy()
    notes = _Notes()
    try:
        policy = _policy(_root(data), notes)
    except _Wrong as wrong:
        notes.add(wrong.line, wrong.message)
        policy = ReviewPolicy()
    return replace(policy, notes=notes.all())


def _policy(root: MappingNode | None, notes: _Notes) -> ReviewPolicy:
    if root is None:
        return ReviewPolicy()
    return ReviewPolicy(**_section(root, _KEYS, "", notes))


# ---------------------------------------------------------------------- YAML


def _root(data: bytes) -> MappingNode | None:
    """The file's mapping, its nodes knowing their lines; `None` of an empty file."""
    if len(data) > MAX_BYTES:
        raise _Wrong(1, f"the file has {len(data):,} bytes, and {MAX_BYTES:,} at most are read. Nothing of it counts.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Wrong(line, "the file is not UTF-8. Nothing of it counts.") from None
    try:
        _check_events(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise _Wrong(line, f"this is not YAML: {error.problem or error.context}. Nothing of it counts.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _Wrong(line, "a character stands here that YAML does not allow. Nothing of it counts.") from None
    if node is None or (isinstance(node, ScalarNode) and node.value == ""):
        return None
    if not isinstance(node, MappingNode):
        raise _Wrong(_line(node), "the file must hold keys with values, such as `max_comments: 8`.")
    return node


def _check_events(text: str) -> None:
    """Refuses what could grow or go deep before anything is built of it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _Wrong(line, "anchors and aliases (`&`, `*`) are not read here; quote a text that begins so. "
                         "Nothing of the file counts.")  # fmt: skip
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise _Wrong(line, f"values stand in one another more than {_MAX_DEPTH} deep. Nothing of the file counts.")


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _section(node: Node, keys: Mapping[str, Reader], under: str, notes: _Notes) -> dict[str, Any]:
    """The values of a mapping's known keys that can be used."""
    if not isinstance(node, MappingNode):
        raise _Wrong(_line(node), f"`{under}` must hold keys with values: {_listed(keys)}.")
    found: dict[str, Any] = {}
    seen: dict[str, int] = {}
    for key, value in node.value:
        name = key.value if isinstance(key, ScalarNode) else ""
        full = f"{under}.{name}" if under else name
        if name not in keys:
            notes.add(_line(key), _unknown(name, under, keys))
        elif name in seen:
            notes.add(_line(key), f"`{full}` stands on line {seen[name]} already, and that one counts.")
        else:
            seen[name] = _line(key)
            try:
                found[name] = keys[name](value, full, notes)
            except _Wrong as wrong:
                notes.add(wrong.line, wrong.message)
    return found


def _unknown(name: str, under: str, keys: Mapping[str, Reader]) -> str:
    where = f" under `{under}`" if under else ""
    near = difflib.get_close_matches(name[:100].lower().replace("-", "_"), keys, n=1, cutoff=0.6)
    if not near and not under and name in _GATE_KEYS:
        return f"there is no key `{name}` here; it stands under `gates`."
    hint = f"Did you mean `{near[0]}`?" if near else f"The keys are {_listed(keys)}."
    return f"there is no key `{_short(name)}`{where}. {hint}"


def _listed(names: Mapping[str, Any] | tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _short(text: str) -> str:
    plain = "".join(character if character.isprintable() and character != "`" else " " for character in text)
    return plain[:57] + "…" if len(plain) > 58 else plain


# ---------------------------------------------------------------------- values


def _scalar(node: Node, key: str, wanted: str) -> Any:
    """A scalar as YAML's safe rules read it."""
    if not isinstance(node, ScalarNode):
        raise _Wrong(_line(node), f"`{key}` must be {wanted}, not a list or keys with values.")
    constructor = yaml.constructor.SafeConstructor()
    try:
        return constructor.construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError):
        raise _Wrong(_line(node), f"`{key}` must be {wanted}, not `{_short(node.value)}`.") from None


def _wrong(node: Node, key: str, wanted: str, hint: str = "") -> _Wrong:
    said = f"`{_short(node.value)}`" if isinstance(node, ScalarNode) else "a list or keys with values"
    return _Wrong(_line(node), f"`{key}` must be {wanted}, not {said}.{hint}")


def _boolean(node: Node, key: str, notes: _Notes) -> bool:
    value = _scalar(node, key, "`true` or `false`")
    if not isinstance(value, bool):
        raise _wrong(node, key, "`true` or `false`")
    return value


def _whole(lowest: int, highest: int) -> Reader:
    def read(node: Node, key: str, notes: _Notes) -> int:
        wanted = f"a whole number from {lowest} to {highest}"
        value = _scalar(node, key, wanted)
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise _wrong(node, key, wanted)
        return value

    return read


def _percent(node: Node, key: str, notes: _Notes) -> float:
    wanted = "a percentage from 0 to 100, or `off`"
    value = _scalar(node, key, wanted)
    if isinstance(value, str) and value.endswith("%"):
        value = _number(value.removesuffix("%").strip())
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not usable or not 0 <= value <= 100:
        raise _wrong(node, key, wanted)
    return float(value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _or_off(reader: Reader) -> Reader:
    """What the reader reads, or `None` for `off` (which YAML 1.1 takes for false) and for nothing."""

    def read(node: Node, key: str, notes: _Notes) -> Any:
        if isinstance(node, ScalarNode) and node.value.lower() in (_OFF, "false", "none", "null", "~", ""):
            return None
        return reader(node, key, notes)

    return read


def _choice(choices: tuple[str, ...]) -> Reader:
    def read(node: Node, key: str, notes: _Notes) -> str:
        wanted = "one of " + _listed(choices)
        if not isinstance(node, ScalarNode):
            raise _wrong(node, key, wanted)
        # As it is written: YAML takes `off` for false.
        value = str(node.value).strip().lower()
        if value not in choices:
            near = difflib.get_close_matches(value[:100], choices, n=1)
            raise _wrong(node, key, wanted, f" Did you mean `{near[0]}`?" if near else "")
        return value

    return read


_SEVERITIES = tuple(severity.value for severity in Severity)


def _severity(node: Node, key: str, notes: _Notes) -> Severity:
    return Severity(_choice(_SEVERITIES)(node, key, notes))


def _text(limit: int) -> Reader:
    def read(node: Node, key: str, notes: _Notes) -> str:
        if not isinstance(node, ScalarNode):
            raise _wrong(node, key, "a text")
        value = str(node.value).strip()
        if not value:
            raise _Wrong(_line(node), f"`{key}` is empty.")
        if len(value) > limit:
            raise _Wrong(_line(node), f"`{key}` has {len(value):,} characters, and {limit:,} at most are read.")
        return value

    return read


def _many(reader: Reader) -> Reader:
    """A list, or one value for a list of one. An entry that can't be used is left out, and noted."""

    def read(node: Node, key: str, notes: _Notes) -> tuple[Any, ...]:
        if isinstance(node, ScalarNode) and node.value:
            return (reader(node, key, notes),)
        if not isinstance(node, SequenceNode):
            raise _wrong(node, key, "a list")
        if len(node.value) > _MAX_ITEMS:
            notes.add(_line(node.value[_MAX_ITEMS]), f"`{key}` has {len(node.value)} entries; {_MAX_ITEMS} are read.")
        found = []
        for number, entry in enumerate(node.value[:_MAX_ITEMS], start=1):
            try:
                found.append(reader(entry, f"{key}[{number}]", notes))
            except _Wrong as wrong:
                notes.add(wrong.line, wrong.message)
        return tuple(found)

    return read


def _set_of(reader: Reader) -> Reader:
    def read(node: Node, key: str, notes: _Notes) -> frozenset[Any]:
        return frozenset(_many(reader)(node, key, notes))

    return read


def _by_name(reader: Reader, longest: int) -> Reader:
    """Keys of the author's own choosing, each with a value."""

    def read(node: Node, key: str, notes: _Notes) -> dict[str, Any]:
        if not isinstance(node, MappingNode):
            raise _wrong(node, key, "keys with values")
        found: dict[str, Any] = {}
        for name, value in node.value[:_MAX_ITEMS]:
            try:
                found[_text(longest)(name, key, notes)] = reader(value, f"{key}.{_short(str(name.value))}", notes)
            except _Wrong as wrong:
                notes.add(wrong.line, wrong.message)
        if len(node.value) > _MAX_ITEMS:
            line = _line(node.value[_MAX_ITEMS][0])
            notes.add(line, f"`{key}` has {len(node.value)} entries; {_MAX_ITEMS} are read.")
        return found

    return read


def _instructions(node: Node, key: str, notes: _Notes) -> dict[str, str]:
    """Texts by pattern; one text alone is for all files."""
    if isinstance(node, ScalarNode):
        return {"**": _text(_MAX_TEXT)(node, key, notes)}
    found: dict[str, str] = _by_name(_text(_MAX_TEXT), _MAX_PATTERN)(node, key, notes)
    return found


def _command(node: Node, key: str, notes: _Notes) -> tuple[str, ...]:
    """A program with its arguments: a list, or a line as a shell would split it. No shell ever runs it."""
    if isinstance(node, SequenceNode):
        words: tuple[str, ...] = _many(_text(_MAX_PATTERN))(node, key, notes)
        return words
    line = _text(_MAX_TEXT)(node, key, notes)
    try:
        return tuple(shlex.split(line))
    except ValueError as error:
        raise _Wrong(_line(node), f"`{key}` can't be split into words: {error}.") from None


def _path(node: Node, key: str, notes: _Notes) -> str:
    path = str(_text(_MAX_PATTERN)(node, key, notes))
    if path.startswith("/") or "\\" in path or ".." in path.split("/"):
        raise _wrong(node, key, "a path inside the repository, with `/`")
    return path


_patterns = _many(_text(_MAX_PATTERN))

_GATE_KEYS: Mapping[str, Reader] = {
    "coverage": _or_off(_percent),
    "coverage_report": _or_off(_path),
    "duplication": _or_off(_percent),
    "complexity": _or_off(_whole(1, 1000)),
    "advisories": _or_off(_path),
    "critical": _or_off(_severity),
    "audit": _choice(AUDITS),
    "required": _set_of(lambda node, key, notes: GateName(_choice(tuple(GateName))(node, key, notes))),
}


def _gates(node: Node, key: str, notes: _Notes) -> GatePolicy:
    return GatePolicy(**_section(node, _GATE_KEYS, key, notes))


_KEYS: Mapping[str, Reader] = {
    "enabled": _boolean,
    "drafts": _boolean,
    "language": _choice(LANGUAGES),
    "max_comments": _whole(0, MAX_COMMENTS),
    "min_severity": _severity,
    "ignore": _patterns,
    "include": _patterns,
    "instructions": _instructions,
    "disabled": _set_of(_text(_MAX_PATTERN)),
    "severities": _by_name(_severity, _MAX_PATTERN),
    "test_command": _command,
    "format_command": _command,
    "gates": _gates,
}


# ---------------------------------------------------------------------- what the documents list


@dataclass(frozen=True, slots=True)
class PolicyKey:
    """A key of the file, for documents: `default` as it is where the file does not say."""

    name: str
    default: object


def policy_keys() -> tuple[PolicyKey, ...]:
    """Every key of the file, those of `gates` as `gates.coverage`."""
    top = [PolicyKey(one.name, _default(one)) for one in fields(ReviewPolicy) if one.name in _KEYS]
    gates = [PolicyKey(f"gates.{one.name}", _default(one)) for one in fields(GatePolicy)]
    return (*(key for key in top if key.name != "gates"), *gates)


def _default(one: Field[Any]) -> object:
    if one.default is not MISSING:
        return one.default
    return one.default_factory() if one.default_factory is not MISSING else None
