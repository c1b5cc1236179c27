"""Reads unified diffs: git's, and plain patches of `diff -u`.

The format: https://git-scm.com/docs/diff-format and POSIX `diff -u`. Hunk bodies are read by their counts, so a
removed line `-- x` is never taken for a header.
"""

import re
from dataclasses import dataclass

from tidemill.core.change import ChangeKind, Diff, FileDiff, Hunk, Line, LineKind
from tidemill.core.errors import InvalidInput
from tidemill.core.text import storable

_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@ ?(.*)", re.DOTALL)
_BINARY = re.compile(r"Binary files (.+) and (.+) differ", re.DOTALL)
_SUBMODULE = re.compile(r"Submodule (.+) [0-9a-f]{7,64}\.{2,3}[0-9a-f]{7,64}(?: \(.*\))?:?", re.DOTALL)
_ESCAPE = re.compile(rb'\\([0-3][0-7]{2}|[abtnvfr"\\])')
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}
_PREFIXES = frozenset("abciow12")
"""git's `a/ b/`, and those of `diff.mnemonicPrefix`: commit, index, work tree, object, and 1 and 2."""
_NOWHERE = "/dev/null"
_SUBMODULE_MODE = "160000"
_EPOCH = re.compile(r"(?:1970-01-01|1969-12-31) ")
"""`diff -N` gives a file that does not exist the time zero."""


def parse_diff(text: str) -> Diff:
    """The files and hunks of a unified diff, in its order. A blank text is a diff without files.

    Text around the diff (a mail's head, a signature) is left out. Takes time in proportion to the text's length.

    Raises:
        InvalidInput: there is text but no diff in it, a hunk does not have the lines that its header counts, or it
            is the combined diff of a merge. The message names the line.
    """
    files = _Parser(text.split("\n")).files()
    if not files and text.strip():
        raise InvalidInput("There is no unified diff in this text. Make one with `git diff` or `diff -u`.")
    return Diff(tuple(files))


def unquote_path(text: str) -> str:
    """A path as git writes it: in double quotes with C escapes, its bytes UTF-8, or plain up to a tab.

    Bytes that are not UTF-8, and NUL, become U+FFFD.
    """
    if not text.startswith('"'):
        return text.split("\t", 1)[0]
    inner = text[1 : _closing_quote(text)]
    data = _ESCAPE.sub(_unescape, inner.encode("utf-8", "surrogatepass"))
    return storable(data.decode("utf-8", "replace"))


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match.group(1)
    return bytes([int(code, 8)]) if code[0:1].isdigit() else _ESCAPES.get(code, code)


def _closing_quote(text: str) -> int:
    at = 1
    while at < len(text) and text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    return min(at, len(text))


@dataclass(slots=True)
class _Header:
    """What the lines before a file's first hunk say; filled as they are read."""

    line: int
    old: str | None = None
    new: str | None = None
    kind: ChangeKind | None = None
    old_mode: str | None = None
    new_mode: str | None = None
    binary: bool = False
    submodule: bool = False
    certain: bool = False
    """`old` and `new` have no prefix left to strip."""

    def set_mode(self, *, old: str | None = None, new: str | None = None) -> None:
        self.old_mode, self.new_mode = old or self.old_mode, new or self.new_mode
        self.submodule = _SUBMODULE_MODE in (self.old_mode, self.new_mode)


class _Parser:
    """A cursor over the diff's lines."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.at = 0

    def files(self) -> list[FileDiff]:
        found: list[FileDiff] = []
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if line.startswith("diff --git "):
                found.append(self._file(self._git_header()))
            elif self._is_plain_header():
                found.append(self._file(self._plain_header()))
            elif match := _SUBMODULE.fullmatch(line.rstrip("\r")):
                self.at += 1
                path = match.group(1)
                found.append(FileDiff(path, path, ChangeKind.MODIFIED, submodule=True))
            elif match := _BINARY.fullmatch(line.rstrip("\r")):
                header = _Header(self.at + 1, match.group(1), match.group(2), binary=True)
                self.at += 1
                found.append(self._file(header))
            else:
                self._refuse_what_is_no_header(line)
                self.at += 1
        return found

    def _refuse_what_is_no_header(self, line: str) -> None:
        if line.startswith(("@@@ ", "diff --cc ", "diff --combined ")):
            raise InvalidInput(
                f"Line {self.at + 1} of the diff: this is the combined diff of a merge, which has no single old side. "
                "Make one against one parent, with `git diff PARENT MERGE`."
            )
        if _HUNK.match(line):
            raise InvalidInput(f"Line {self.at + 1} of the diff: a hunk stands before any `---` and `+++` lines.")

    # ------------------------------------------------------------------ headers

    def _git_header(self) -> _Header:
        """Reads from `diff --git` up to the first hunk or whatever is no part of the header."""
        header = _Header(self.at + 1)
        names = _git_names(self.lines[self.at][len("diff --git ") :].rstrip("\r"))
        if names is not None:
            header.old, header.new, header.certain = *names, True
        self.at += 1
        while self.at < len(self.lines):
            line = self.lines[self.at].rstrip("\r")
            if not self._extended_header(header, line):
                break
            self.at += 1
        return header

    def _extended_header(self, header: _Header, line: str) -> bool:
        """Takes one line of a git header into `header`; False where it is none."""
        match line.split(" ", 2):
            case ["old", "mode", mode]:
                header.set_mode(old=mode)
            case ["new", "mode", mode]:
                header.set_mode(new=mode)
            case ["deleted", "file", mode]:
                header.kind = ChangeKind.DELETED
                header.set_mode(old=mode.removeprefix("mode "))
            case ["new", "file", mode]:
                header.kind = ChangeKind.ADDED
                header.set_mode(new=mode.removeprefix("mode "))
            case ["rename" | "copy" as verb, "from", path]:
                header.kind = ChangeKind.RENAMED if verb == "rename" else ChangeKind.COPIED
                header.old, header.certain = unquote_path(path), True
            case ["rename" | "copy", "to", path]:
                header.new, header.certain = unquote_path(path), True
            case ["similarity" | "dissimilarity", *_]:
                pass
            case ["index", _, mode]:
                header.set_mode(old=header.old_mode or mode, new=header.new_mode or mode)
            case ["index", _]:
                pass
            case ["Binary", "files", _] | ["GIT", "binary", "patch"]:
                header.binary = True
            case ["---", path]:
                self._side(header, path, old=True)
            case ["---", _, _]:
                self._side(header, line[4:], old=True)
            case ["+++", path]:
                self._side(header, path, old=False)
            case ["+++", _, _]:
                self._side(header, line[4:], old=False)
            case _:
                return False
        return True

    def _side(self, header: _Header, path: str, *, old: bool) -> None:
        """A `---` or `+++` line of a git header. The header's own names, where certain, are better than these."""
        name = unquote_path(path)
        if name == _NOWHERE:
            header.kind = ChangeKind.ADDED if old else ChangeKind.DELETED
        elif not header.certain:
            if old:
                header.old = name
            else:
                header.new = name

    def _is_plain_header(self) -> bool:
        lines, at = self.lines, self.at
        return (
            lines[at].startswith("--- ")
            and at + 2 < len(lines)
            and lines[at + 1].startswith("+++ ")
            and lines[at + 2].startswith("@@ -")
        )

    def _plain_header(self) -> _Header:
        old, new = (self.lines[self.at + side][4:].rstrip("\r") for side in (0, 1))
        header = _Header(self.at + 1, unquote_path(old), unquote_path(new))
        if header.old == _NOWHERE or _EPOCH.match(old.partition("\t")[2]):
            header.kind = ChangeKind.ADDED
        elif header.new == _NOWHERE or _EPOCH.match(new.partition("\t")[2]):
            header.kind = ChangeKind.DELETED
        self.at += 2
        return header

    # ------------------------------------------------------------------ bodies

    def _file(self, header: _Header) -> FileDiff:
        """The file whose header was just read, with its hunks."""
        old, new = _resolve(header)
        path = old if header.kind is ChangeKind.DELETED else new
        if not path:
            raise InvalidInput(f"Line {header.line} of the diff: the file's path can't be read from its header.")
        hunks: list[Hunk] = []
        submodule = header.submodule
        while self.at < len(self.lines) and self.lines[self.at].startswith("@@"):
            hunk = self._hunk(path, len(hunks))
            submodule = submodule or (len(hunk.lines) <= 2 and _is_submodule(hunk))
            hunks.append(hunk)
        kind = header.kind
        if kind is None:
            moded = header.old_mode != header.new_mode and not hunks and not header.binary
            kind = ChangeKind.MODE if moded else ChangeKind.MODIFIED
        return FileDiff(
            path=path,
            old_path=None if kind is ChangeKind.ADDED else old or path,
            kind=kind,
            hunks=tuple(hunks),
            binary=header.binary,
            submodule=submodule,
            old_mode=header.old_mode,
            new_mode=header.new_mode,
        )

    def _hunk(self, path: str, index: int) -> Hunk:
        number = self.at + 1
        self._refuse_combined(self.lines[self.at])
        match = _HUNK.fullmatch(self.lines[self.at].rstrip("\r"))
        if match is None:
            raise InvalidInput(f"Line {number} of the diff: this hunk header is not `@@ -start,count +start,count @@`.")
        old_start, old_count, new_start, new_count = (int(group) if group else 1 for group in match.groups()[:4])
        self.at += 1
        lines = self._hunk_lines(number, old_start, old_count, new_start, new_count)
        self._refuse_leftover(number)
        return Hunk(path, index, old_start, old_count, new_start, new_count, match.group(5), tuple(lines))

    def _refuse_combined(self, line: str) -> None:
        if line.startswith("@@@"):
            self._refuse_what_is_no_header("@@@ ")

    def _hunk_lines(self, number: int, old: int, old_left: int, new: int, new_left: int) -> list[Line]:
        """The body of the hunk whose header is line `number`; ends when both counts are used up."""
        lines, found = self.lines, list[Line]()
        last = len(lines) - 1
        at = self.at
        while old_left > 0 or new_left > 0:
            raw = lines[at] if at <= last else ""
            if at > last or (not raw and at == last):
                raise InvalidInput(
                    f"Line {number} of the diff: the hunk ends before the lines that its header counts "
                    f"({old_left} old and {new_left} new ones are missing)."
                )
            mark, text, eol = raw[:1], raw[1:], "\n"
            if text.endswith("\r"):
                text, eol = text[:-1], "\r\n"
            at += 1
            if at <= last and lines[at].startswith("\\"):
                eol, at = eol[:-1], at + 1
            if mark == "+" and new_left:
                found.append(Line(LineKind.ADDED, text, None, new, eol))
                new, new_left = new + 1, new_left - 1
            elif mark == "-" and old_left:
                found.append(Line(LineKind.REMOVED, text, old, None, eol))
                old, old_left = old + 1, old_left - 1
            elif mark in (" ", "", "\r") and old_left and new_left:
                found.append(Line(LineKind.CONTEXT, text, old, new, "\r\n" if mark == "\r" else eol))
                old, new, old_left, new_left = old + 1, new + 1, old_left - 1, new_left - 1
            else:
                raise InvalidInput(
                    f"Line {at} of the diff does not fit the hunk whose header is line {number}: by its counts "
                    f"{old_left} old and {new_left} new lines are left."
                )
        self.at = at
        return found

    def _refuse_leftover(self, number: int) -> None:
        """A body line right after a hunk that is complete: its header counts too few."""
        if self.at >= len(self.lines):
            return
        line = self.lines[self.at].rstrip("\r")
        if not line.startswith(("+", "-", " ")) or line in ("-- ", "--") or self._is_plain_header():
            return
        raise InvalidInput(
            f"Line {self.at + 1} of the diff goes on after the hunk whose header is line {number} has all the lines "
            "that it counts."
        )


def _is_submodule(hunk: Hunk) -> bool:
    return bool(hunk.lines) and all(line.text.startswith("Subproject commit ") for line in hunk.lines)


def _git_names(rest: str) -> tuple[str, str] | None:
    """Both names of a `diff --git` line, without prefixes; `None` where the line alone can't tell.

    Names may hold spaces, so an unquoted line is only certain where both names are the same.
    """
    if rest.startswith('"'):
        end = _closing_quote(rest) + 1
        old, new = unquote_path(rest[:end]), unquote_path(rest[end + 1 :])
    elif rest.endswith('"') and ' "' in rest:
        left, _, right = rest.partition(' "')
        old, new = left, unquote_path('"' + right)
    else:
        middle = len(rest) // 2
        old, new = rest[:middle], rest[middle + 1 :]
        if rest[middle : middle + 1] != " ":
            return None
    if old == new:
        return old, new
    stripped = _strip_prefixes(old, new)
    return stripped if stripped[0] == stripped[1] else None


def _strip_prefixes(old: str, new: str) -> tuple[str, str]:
    """Without git's one-letter prefixes, which differ between the sides; other paths stay as they are."""
    sides = [name[:1] if name[1:2] == "/" and name[0] in _PREFIXES else "" for name in (old, new)]
    if old == _NOWHERE and sides[1]:
        return old, new[2:]
    if new == _NOWHERE and sides[0]:
        return old[2:], new
    return (old[2:], new[2:]) if all(sides) and sides[0] != sides[1] else (old, new)


def _resolve(header: _Header) -> tuple[str, str]:
    """The old and the new path, without prefixes, `/dev/null` replaced by the other side's."""
    old, new = header.old or "", header.new or ""
    if not header.certain:
        if header.kind is ChangeKind.ADDED:
            old = _NOWHERE
        elif header.kind is ChangeKind.DELETED and header.line:
            new = _NOWHERE
        old, new = _strip_prefixes(old, new)
    return (new if old == _NOWHERE else old), (old if new == _NOWHERE else new)
