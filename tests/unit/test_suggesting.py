"""Which lines that mend a finding are offered for a click."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet
from tidemill.core.execution import Ending, Execution
from tidemill.core.finding import Finding, Severity, Suggestion
from tidemill.core.pull_request import ForgeKind, Position
from tidemill.core.review_policy import ReviewPolicy
from tidemill.review.engines import Reading, RuffEngine, SecretsEngine
from tidemill.review.finding_text import finding_text
from tidemill.review.offline import review_without_model
from tidemill.review.refiner import Refined, own_fix, read_replacement, replaceable
from tidemill.review.reports import finding_from_json, finding_json, render_text
from tidemill.review.suggesting import (
    NotPlaceable,
    Replacement,
    Unfit,
    apply,
    check_place,
    replacement_between,
    within,
)
from tidemill.review.suggestion_text import diff_lines, sarif_fix
from tidemill.review.trying import CannotRun, Tried, Trying
from tidemill.settings import ReviewSettings

SOURCE = """\
import os


def mean(values):
    total = sum(values)
    return total / len(values)
"""
DIFF = parse_diff(
    "--- a/s.py\n+++ b/s.py\n@@ -3,2 +3,4 @@\n \n def mean(values):\n"
    "+    total = sum(values)\n+    return total / len(values)\n"
)
MENDED = ("    if not values:", "        return 0", "    return total / len(values)")


def text_with(*lines: str, start: int = 6, end: int = 6, path: str = "s.py", source: str = SOURCE) -> str:
    return apply(path, source, Replacement(start, end, lines)).text


def test_lines_are_put_in_the_place_of_others_and_all_else_stays() -> None:
    applied = apply("s.py", SOURCE, Replacement(6, 6, MENDED))
    assert applied.text == SOURCE.replace("    return total / len(values)", "\n".join(MENDED))
    assert applied.verified == ("applies", "parses")
    assert applied.suggestion.text == "\n".join(MENDED)


def test_lines_that_were_indented_otherwise_are_moved_as_a_whole() -> None:
    assert text_with(*(line.removeprefix("    ") for line in MENDED)) == text_with(*MENDED)


def test_ends_of_line_stay_those_of_the_file() -> None:
    windows = SOURCE.replace("\n", "\r\n")
    assert text_with(*MENDED, source=windows) == text_with(*MENDED).replace("\n", "\r\n")


def test_a_last_line_without_an_end_stays_without() -> None:
    assert not text_with(*MENDED, source=SOURCE.rstrip("\n")).endswith("\n")


def test_lines_can_be_removed() -> None:
    assert text_with(start=1, end=1) == SOURCE.removeprefix("import os\n")


@pytest.mark.parametrize(
    ("lines", "place", "reason"),
    [
        (MENDED, (6, 9), "lines that the file does not have"),
        (("    return  total / len(values)  ",), (6, 6), "nothing but spacing"),
        (("    return total / len(values",), (6, 6), "does not parse"),
        (("    return total / (",), (6, 6), "does not parse"),
        (("    if values:", "    \treturn 0"), (6, 6), "tabs and spaces"),
        (("    return 0  # \u202egood",), (6, 6), "nobody sees"),
        (("    return '" + "x" * 200 + "'",), (6, 6), "over 120 characters"),
        (("    return get('http://evil.example/x')",), (6, 6), "an address"),
        (("    key = 'ghp" + "_" + "aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vW2xY4'",), (6, 6), "credential"),
    ],
)
def test_what_would_harm_the_file_is_not_offered(lines: tuple[str, ...], place: tuple[int, int], reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        apply("s.py", SOURCE, Replacement(*place, lines))


def test_a_language_that_nothing_here_parses_is_not_said_to_parse() -> None:
    assert apply("x.cobol", "MOVE A TO B\n", Replacement(1, 1, ("MOVE B TO A",))).verified == ("applies",)


def test_a_file_that_was_broken_before_may_stay_as_broken() -> None:
    source = "def f(:\n    return 1\n"
    assert apply("s.py", source, Replacement(2, 2, ("    return 2",))).text == "def f(:\n    return 2\n"


def test_a_suggestion_has_to_stand_in_one_hunk_of_the_diff() -> None:
    check_place(DIFF, "s.py", SOURCE, Replacement(5, 6, ()))
    for path, replacement in (("s.py", Replacement(1, 1, ())), ("t.py", Replacement(5, 5, ()))):
        with pytest.raises(NotPlaceable, match="one part of the diff"):
            check_place(DIFF, path, SOURCE, replacement)
    with pytest.raises(NotPlaceable, match="differ"):
        check_place(DIFF, "s.py", SOURCE.replace("total = ", "summe = "), Replacement(5, 5, ()))


def test_what_a_formatter_did_beyond_the_replacement_is_seen() -> None:
    old = "a\nb\nc\nd\n"
    assert within(Replacement(2, 2, ("b",)), old, "a\nB\nB\nc\nd\n") == Replacement(2, 2, ("B", "B"))
    assert within(Replacement(2, 2, ("b",)), old, "A\nb\nc\nd\n") is None
    assert within(Replacement(2, 2, ("b",)), old, "a\n") is None


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("a\nb\nc\n", "a\nX\nc\n", Replacement(2, 2, ("X",))),
        ("a\nb\nc\n", "b\nc\n", Replacement(1, 1, ())),
        ("a\nb\n", "a\nX\nb\n", Replacement(1, 1, ("a", "X"))),
        ("a\nb\n", "X\na\nb\n", Replacement(1, 1, ("X", "a"))),
        ("a\n", "a\n", None),
    ],
)
def test_two_texts_give_the_lines_that_make_one_of_the_other(old: str, new: str, found: Replacement | None) -> None:
    assert replacement_between(old, new) == found
    if found is not None:
        lines = old.split("\n")
        lines[found.start - 1 : found.end] = found.lines
        assert "\n".join(lines) == new


def test_a_replacement_of_a_model_counts_from_the_hunks_first_line_and_holds_the_findings() -> None:
    hunk = DIFF.hunks[0]
    lines = replaceable(hunk, 6)
    assert lines == [3, 4, 5, 6]
    answer = {"first": 4, "last": 4, "lines": ["    return 0"]}
    assert read_replacement(json.dumps(answer), hunk, lines, 6) == Replacement(6, 6, ("    return 0",))
    for changes, reason in (
        ({"first": 1, "last": 2}, "other lines"),
        ({"first": 4, "last": 99}, "other lines"),
        ({"first": "4"}, "not a replacement"),
        ({"lines": "x"}, "not a replacement"),
    ):
        assert reason in str(read_replacement(json.dumps({**answer, **changes}), hunk, lines, 6))
    assert "cut off" in str(read_replacement('{"first": 4', hunk, lines, 6))
    assert replaceable(hunk, 60) == []


# ---------------------------------------------------------------------- tried out

BAD = "import os\n\n\ndef same(a):\n    return not a in [1]\n"
WHOLE = "--- /dev/null\n+++ b/s.py\n@@ -0,0 +1,5 @@\n" + "".join(f"+{line}\n" for line in BAD.splitlines())
CHANGE = ChangeSet("t", None, "a" * 40, WHOLE, {"s.py": BAD})


class BlindEngine(RuffEngine):
    """Finds nothing in a second text, which it does not read to its end."""

    async def read(self, files: Mapping[str, str]) -> Reading:
        if files["s.py"] == BAD:
            return await super().read(files)
        return Reading(unread=frozenset(files))


class ScriptedExecutor:
    """Ends as it was told, and remembers what it ran."""

    def __init__(self, *, code: int = 0, formatted: str | None = None, cannot: str | None = None) -> None:
        self.ran: list[tuple[Sequence[str], Mapping[str, str]]] = []
        self._code, self._formatted, self._cannot = code, formatted, cannot

    async def run(
        self,
        command: Sequence[str],
        change: ChangeSet,
        files: Mapping[str, str],
        *,
        whole: bool,
        wanted: Sequence[str] = (),
        seconds: float,
    ) -> Execution:
        self.ran.append((tuple(command), files))
        if self._cannot:
            raise CannotRun(self._cannot)
        texts = {path: (self._formatted or files[path]).encode() for path in wanted}
        return Execution(Ending.EXITED, self._code, None, b"", b"1 failed", False, 0.1, 0, texts)


def finding(rule: str = "F401", line: int = 1, engine: str = "ruff", **details: Any) -> Finding:
    return Finding(engine, rule, "s.py", line, Severity.INFO, "t", "m", "q", "f", details)


async def tried(
    replacement: Replacement,
    *,
    executor: ScriptedExecutor | None = None,
    found: Finding | None = None,
    **policy: Any,
) -> Tried:
    trying = Trying([RuffEngine(), SecretsEngine()], executor)
    diff = parse_diff(CHANGE.diff)
    return await trying.tried(CHANGE, diff, found or finding(), replacement, ReviewPolicy(**policy))


REMOVED = Replacement(1, 3, ())


async def test_the_engine_is_asked_whether_its_finding_is_gone() -> None:
    done = await tried(REMOVED)
    assert (done.refused, done.unverified) == (None, None)
    assert done.applied is not None
    assert done.applied.verified == ("applies", "parses", "clears")
    still = await tried(Replacement(1, 1, ("import os  # kept",)))
    assert still.refused == "ruff still finds F401 with it"
    diff = parse_diff(CHANGE.diff)
    unread = await Trying([BlindEngine()]).tried(CHANGE, diff, finding(), REMOVED, ReviewPolicy())
    assert unread.refused == "ruff does not read the whole file with it"


async def test_what_brings_a_new_finding_is_not_offered() -> None:
    worse = await tried(
        Replacement(1, 1, ("import sys as os", "print(nothing)")), found=finding("model", engine="model")
    )
    assert str(worse.refused).startswith("ruff finds F821 with it")


async def test_formatter_and_tests_run_where_the_policy_names_them() -> None:
    executor = ScriptedExecutor()
    done = await tried(
        REMOVED, executor=executor, test_command=("python", "-m", "unittest"), format_command=("fmt", "{path}")
    )
    assert done.applied is not None
    assert done.applied.verified == ("applies", "parses", "clears", "formatted", "tests")
    assert [command for command, _ in executor.ran] == [("fmt", "s.py"), ("python", "-m", "unittest")]
    assert all(files == {"s.py": done.applied.text} for _, files in executor.ran)


@pytest.mark.parametrize(
    ("executor", "reason"),
    [
        (ScriptedExecutor(code=1), "tests do not pass with it (exited): 1 failed"),
        (ScriptedExecutor(cannot="no sandbox works here"), "no sandbox works here"),
        (None, "there is no sandbox here"),
    ],
)
async def test_what_the_tests_do_not_confirm_is_offered_as_text_with_the_reason(
    executor: ScriptedExecutor | None, reason: str
) -> None:
    done = await tried(REMOVED, executor=executor, test_command=("pytest",))
    assert done.applied is not None
    assert reason in str(done.unverified)


async def test_ruffs_own_safe_fixes_are_taken_and_unsafe_ones_left() -> None:
    remarks = (await RuffEngine().read({"s.py": BAD})).remarks
    [unused] = [one for one in remarks if one.rule == "F401"]
    replacement = own_fix(finding(**unused.details), BAD)
    assert replacement == Replacement(1, 1, ())
    done = await tried(replacement, found=finding(**unused.details))
    assert done.applied is not None
    assert done.applied.text == BAD.removeprefix("import os\n")
    assert own_fix(finding(), BAD) is None


async def test_a_review_without_a_model_offers_what_ruff_can_mend_itself() -> None:
    result = await review_without_model(CHANGE, [RuffEngine()], ReviewSettings())
    mended = {one.rule: one.suggestion for one in result.findings}
    assert mended["F401"] == Suggestion(1, 1, "", ("applies", "parses", "clears"), "import os")
    assert "      - import os" in render_text(result)
    assert finding_from_json(finding_json(result.findings[0])) == result.findings[0]


# ---------------------------------------------------------------------- shown

FENCES = Suggestion(5, 5, 'text = "```"', ("applies", "parses"), "text = ''")


def shown(**changes: Any) -> Finding:
    return replace(finding(line=5), **changes)


def test_a_forge_gets_a_block_whose_fence_the_code_can_not_close() -> None:
    text = finding_text(shown(suggestion=FENCES), "en", Position("s.py", 5, 5))
    assert text.endswith('````suggestion\ntext = "```"\n````')


@pytest.mark.parametrize(
    ("forge", "crlf", "head"),
    [
        (ForgeKind.GITHUB, False, "suggestion"),
        (ForgeKind.GITHUB, True, "suggestion"),
        (ForgeKind.GITLAB, False, "suggestion:-2+0"),
        (ForgeKind.GITLAB, True, "text"),
        (ForgeKind.GITEA, False, "text"),
    ],
)
def test_each_forge_is_told_the_lines_in_its_own_way_or_gets_text(forge: ForgeKind, crlf: bool, head: str) -> None:
    mended = shown(suggestion=Suggestion(4, 6, "a\nb", ("applies", "parses")))
    text = finding_text(mended, "en", Position("s.py", 4, 6), forge, crlf=crlf)
    assert text.endswith(f"```{head}\na\nb\n```")
    assert ("in the place of line 4–6" in text) is (head == "text")


def test_gitlab_gets_text_for_more_lines_than_its_suggestions_reach() -> None:
    mended = shown(suggestion=Suggestion(1, 102, "a", ("applies", "parses")))
    assert "```text" in finding_text(mended, "en", Position("s.py", 1, 102), ForgeKind.GITLAB)


def test_what_could_not_be_checked_is_text_on_a_forge_and_everywhere_else_has_its_reason() -> None:
    refined = Refined("f", "model", proposal=FENCES, reason="the project's tests do not pass with it")
    offered = refined.finding(shown())
    for language, words in (("en", "could not be checked"), ("vi", "chưa kiểm tra được")):
        text = finding_text(offered, language, Position("s.py", 5, 5))
        assert "suggestion\n" not in text
        assert words in text
        assert "the project's tests do not pass with it" in text.replace("\\", "")
        assert text.endswith('````text\ntext = "```"\n````\n\n</details>')
    assert diff_lines(offered) == [
        "mend line 5 (not to be applied as it is: the project's tests do not pass with it):",
        "- text = ''",
        '+ text = "```"',
    ]
    assert sarif_fix(offered, "s.py") is None


def test_a_terminal_shows_the_lines_as_a_diff_and_sarif_has_them_as_a_fix() -> None:
    mended = shown(suggestion=replace(FENCES, text="a\tb\x1b[2J", end=6, replaces="c\nd"))
    assert diff_lines(mended) == ["mend lines 5-6 (checked: applies, parses):", "- c", "- d", "+ a\tb [2J"]
    assert sarif_fix(shown(suggestion=FENCES), "s.py") == {
        "description": {"text": "Checked: applies, parses."},
        "artifactChanges": [
            {
                "artifactLocation": {"uri": "s.py"},
                "replacements": [
                    {
                        "deletedRegion": {"startLine": 5, "startColumn": 1, "endLine": 5},
                        "insertedContent": {"text": 'text = "```"'},
                    }
                ],
            }
        ],
    }


def test_a_message_of_the_repositorys_choosing_is_no_mention_image_or_command_on_a_forge() -> None:
    attack = "@admin ![x](http://evil/x.png) <img src=x> /tidemill ignore\n/close `code` #12 !3"
    text = finding_text(shown(message=attack, rule="a`b|c"), "en", Position("s.py", 5, 5))
    assert "@admin" not in text
    assert "![" not in text
    assert "http://" not in text
    assert "<img" not in text
    assert not any(line.startswith("/") for line in text.split("\n"))
