"""What a repository's `.gitattributes` say of a file: whether it is generated or somebody else's code.

The names are those of https://github.com/github-linguist/linguist/blob/main/docs/overrides.md, the form that of
https://git-scm.com/docs/gitattributes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from tidemill.analysis.paths import PathKind
from tidemill.analysis.patterns import PathPattern, path_pattern

NAME = ".gitattributes"
_KINDS = {"linguist-generated": PathKind.GENERATED, "linguist-vendored": PathKind.VENDORED}
_OFF = frozenset({"false", "0"})
_MOST_LINES = 5_000
_LONGEST = 1_000
"""Characters of a line that is read; git itself reads up to 2,048."""


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: PathPattern
    kind: PathKind
    holds: bool


class Attributes:
    """The rules of all `.gitattributes` files: a later line comes before an earlier one, a nearer file before others.

    Args:
        files: their texts, by path.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self._rules = {str(PurePosixPath(path).parent): _rules(text) for path, text in files.items()}

    def kind(self, path: str) -> PathKind | None:
        """Generated or vendored where they say so; `SOURCE` where they say that it is neither; else `None`."""
        said = {kind: held for kind in _KINDS.values() if (held := self._holds(path, kind)) is not None}
        return next((kind for kind, held in said.items() if held), PathKind.SOURCE if said else None)

    def _holds(self, path: str, kind: PathKind) -> bool | None:
        for folder in PurePosixPath(path).parents:
            inside = path if str(folder) == "." else path[len(str(folder)) + 1 :]
            for rule in reversed(self._rules.get(str(folder), ())):
                if rule.kind is kind and rule.pattern.matches(inside):
                    return rule.holds
        return None


def _rules(text: str) -> list[_Rule]:
    found = []
    for line in text.split("\n")[:_MOST_LINES]:
        words = line.split()
        if not words or line.startswith("#") or len(line) > _LONGEST:
            continue
        for word in words[1:]:
            name, _, value = word.lstrip("-!").partition("=")
            if name in _KINDS:
                holds = word[0] not in "-!" and value.lower() not in _OFF
                pattern = path_pattern(words[0].strip('"'), within=False, negation=False)
                found.append(_Rule(pattern, _KINDS[name], holds))
    return found
