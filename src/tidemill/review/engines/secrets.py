"""Credentials in every text file."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tidemill.analysis.docstrings import docstring_lines
from tidemill.analysis.paths import PathKind, kind_of
from tidemill.analysis.secrets import SecretMatch, checksum_fits, find_secrets
from tidemill.core.change import ChangeSet, Diff
from tidemill.core.finding import Category, Finding, Severity
from tidemill.core.ids import digest
from tidemill.review import rules
from tidemill.review.engines.port import EngineResult, Reading
from tidemill.review.placing import Remark, lines_of, place

_GUESSED = ("password-literal", "credential-literal", "password-in-url")


class SecretsEngine:
    """Credentials on added lines of every text file, without those that the change only moves within their file.

    Needs the diff alone.
    """

    name = "secrets"
    version = rules.SECRETS_VERSION

    def reads(self, path: str) -> bool:
        """Every file."""
        return True

    def unavailable(self) -> str | None:
        """It is always there."""
        return None

    async def read(self, files: Mapping[str, str]) -> Reading:
        """See `TreeEngine.read`; never fails."""
        return Reading(tuple(await asyncio.to_thread(_in_files, files)))

    async def run(self, change: ChangeSet, diff: Diff) -> EngineResult:
        """See `Engine.run`; never fails."""
        return EngineResult(tuple(await asyncio.to_thread(self._findings, diff, change.files)))

    def _findings(self, diff: Diff, files: Mapping[str, str]) -> list[Finding]:
        remarks = []
        for file in diff.files:
            gone = Counter(key for hunk in file.hunks for line in hunk.removed for _, key in _keyed(line.text))
            for hunk in file.hunks:
                for line in hunk.added:
                    for match, key in _keyed(line.text):
                        if gone[key]:
                            gone[key] -= 1
                        elif line.new is not None:
                            remarks.append(_remark(match, line.text, file.path, line.new))
        return place(self.name, _weighed(remarks, files), diff)


def _in_files(files: Mapping[str, str]) -> list[Remark]:
    remarks = [
        _remark(match, line, path, number)
        for path, text in files.items()
        for number, line in enumerate(lines_of(text), 1)
        for match in find_secrets(line)
    ]
    return _weighed(remarks, files)


def _weighed(remarks: Sequence[Remark], files: Mapping[str, str]) -> list[Remark]:
    """The same, with what was guessed in a docstring as low as in a document: a sample of a request or an answer."""
    paths = {one.path for one in remarks if one.rule in _GUESSED and one.path.endswith(".py") and one.path in files}
    lines = {path: docstring_lines(files[path]) for path in paths}
    return [
        replace(one, severity=Severity.LOW) if one.rule in _GUESSED and one.line in lines.get(one.path, ()) else one
        for one in remarks
    ]


def _keyed(text: str) -> list[tuple[SecretMatch, str]]:
    """The credentials of a line, each with a digest that is the same for the same credential."""
    return [(match, digest(match.rule, text[match.start : match.end])) for match in find_secrets(text)]


def _remark(match: SecretMatch, text: str, path: str, line: int) -> Remark:
    guessed = match.rule in _GUESSED
    apart = guessed and kind_of(path) in (PathKind.TEST, PathKind.DOCUMENT)
    fits = checksum_fits(match.rule, text[match.start : match.end])
    doubt = " Its checksum is wrong, so it may be made up." if fits is False else ""
    return Remark(
        rule=match.rule,
        path=path,
        line=line,
        severity=Severity.LOW if apart else match.severity,
        title=f"Line holds {match.title}",
        message=f"This line adds {match.title}. Take it out of the code, and replace it where it is in use: "
        f"what was committed once must be taken as known.{doubt}",
        details={"cwe": 798},
        category=Category.HARDCODED_SECRET,
        confidence=0.4 if fits is False else 0.6 if guessed else 0.99 if fits else 0.95,
    )
