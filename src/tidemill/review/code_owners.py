"""Who owns a file, as CODEOWNERS says: GitHub's rules, and GitLab's.

Gitea's file has another form, regular expressions of the author's choosing, and is not read.

GitHub: https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners
GitLab: https://docs.gitlab.com/user/project/codeowners/reference/
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.analysis.patterns import PathPattern, path_pattern
from tidemill.core.pull_request import ForgeKind

GITHUB_FILES = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")
GITLAB_FILES = ("CODEOWNERS", "docs/CODEOWNERS", ".gitlab/CODEOWNERS")
"""Where the file stands; the first that is there counts."""
_LONGEST = 500
_MOST_LINES = 5_000
_SECTION = re.compile(r"(?P<optional>\^?)\[(?P<name>[^\[\]]+)\](?:\[\d+\])?(?P<owners>.*)")
_OWNER = re.compile(r"@@?[\w./\-]+|[^\s@]+@[^\s@]+\.[^\s@]+")


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: PathPattern
    owners: tuple[str, ...]


@dataclass(slots=True)
class _Section:
    owners: tuple[str, ...] = ()
    rules: list[_Rule] = field(default_factory=list)

    def owners_of(self, path: str) -> tuple[str, ...]:
        """The last rule that fits decides; one that excludes, for good."""
        if any(rule.pattern.negated and rule.pattern.matches(path) for rule in self.rules):
            return ()
        found = next((rule for rule in reversed(self.rules) if rule.pattern.matches(path)), None)
        return () if found is None else found.owners


def owners_files(forge: ForgeKind | None) -> tuple[str, ...]:
    """The paths where this forge looks for its CODEOWNERS, in its order; every forge's where it is not known."""
    if forge is ForgeKind.GITLAB:
        return GITLAB_FILES
    if forge is ForgeKind.GITEA:
        return ()
    return GITHUB_FILES if forge is not None else tuple(dict.fromkeys([*GITHUB_FILES, *GITLAB_FILES]))


def is_gitlab_form(text: str) -> bool:
    """Whether a file has sections, which GitLab alone knows."""
    return any(_SECTION.fullmatch(line) for line in _lines(text))


def owners_of(text: str, paths: Sequence[str], *, gitlab: bool) -> Mapping[str, tuple[str, ...]]:
    """The owners of each of these files that has any, in the file's order; logins and teams with `@`, or addresses.

    A line that can't be read is passed over, as the forges do.

    Args:
        text: of CODEOWNERS.
        paths: files, from the repository's root.
        gitlab: GitLab's rules: sections, of which each can name owners; a pattern that is not anchored stands at any
            depth; `!` takes files out of a section. Else GitHub's: one list.
    """
    sections = _gitlab(text) if gitlab else _github(text)
    found: dict[str, tuple[str, ...]] = {}
    for path in paths:
        owners = tuple(dict.fromkeys(owner for section in sections for owner in section.owners_of(path)))
        if owners:
            found[path] = owners
    return found


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()[:_MOST_LINES] if line.strip() and len(line) <= _LONGEST]


def _github(text: str) -> list[_Section]:
    section = _Section()
    for line in _lines(text):
        words = _words(line)
        if not words or words[0].startswith("!") or "[" in words[0]:
            continue  # GitHub passes over both
        section.rules.append(_Rule(_pattern(words[0], gitlab=False), _owners(words[1:])))
    return [section]


def _gitlab(text: str) -> list[_Section]:
    sections: dict[str, _Section] = {"": _Section()}
    current = sections[""]
    for line in _lines(text):
        if line.startswith("#"):
            continue
        heading = _SECTION.fullmatch(line)
        if heading is not None:
            name = heading["name"].strip().lower()
            current = sections.setdefault(name, _Section())
            current.owners = _owners(_words(heading["owners"])) or current.owners
            continue
        words = _words(line)
        if words:
            current.rules.append(_Rule(_pattern(words[0], gitlab=True), _owners(words[1:]) or current.owners))
    return list(sections.values())


def _words(line: str) -> list[str]:
    """The words of a line up to a comment; a backslash keeps the space or the sign that follows it."""
    pieces = re.findall(r"(?:\\.|[^\s\\])+", line)
    comment = next((at for at, piece in enumerate(pieces) if piece.startswith("#")), len(pieces))
    return pieces[:comment]


def _owners(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for word in words if _OWNER.fullmatch(word))


def _pattern(text: str, *, gitlab: bool) -> PathPattern:
    """`docs/*` means the files in `docs`, not those in folders below: unlike in .gitignore, on both forges."""
    last = text.rstrip("/").rsplit("/", 1)[-1]
    starred = "/" in text and "*" in last and last != "**"
    if gitlab and text.endswith("/**"):
        text = text.removesuffix("*")  # Ruby's fnmatch goes down a `**` only before a `/`
    return path_pattern(text, anywhere=gitlab, within=not gitlab and not starred, negation=gitlab)
