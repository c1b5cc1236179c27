"""What the engines find in a change, with the real programs."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet
from tidemill.core.finding import Finding, Severity
from tidemill.core.review import ReviewState
from tidemill.review.engines import (
    BanditEngine,
    Engine,
    EngineFailed,
    EngineResult,
    FlowEngine,
    RuffEngine,
    ScriptedEngine,
    SecretsEngine,
    SemgrepEngine,
)
from tidemill.review.offline import default_engines, review_without_model
from tidemill.review.selection import NO_MODEL
from tidemill.settings import ReviewSettings

SOURCE = """\
import subprocess


def run(command, seen=[]):
    seen.append(command)
    subprocess.run(
        "sh " + command,
        shell=True,
    )
    return unknown
"""


def diff_of(path: str, text: str, *, only: range | None = None) -> str:
    """A diff that adds the whole text, or only some of its lines (from 1), the others being context."""
    lines = text.split("\n")[:-1]
    added = [only is None or number in only for number in range(1, len(lines) + 1)]
    body = "".join(f"{'+' if new else ' '}{line}\n" for line, new in zip(lines, added, strict=True))
    old = added.count(False)
    head = f"--- {f'a/{path}' if old else '/dev/null'}\n+++ b/{path}\n"
    return f"diff --git a/{path} b/{path}\n{head}@@ -{1 if old else 0},{old} +1,{len(lines)} @@\n{body}"


def change_of(files: Mapping[str, str], *, only: range | None = None, known: bool = True) -> ChangeSet:
    diff = "".join(diff_of(path, text, only=only) for path, text in files.items())
    return ChangeSet("t", None, None, diff, dict(files) if known else {})


async def run(engine: Engine, change: ChangeSet) -> EngineResult:
    return await engine.run(change, parse_diff(change.diff))


async def found(engine: Engine, files: Mapping[str, str], *, only: range | None = None) -> list[tuple[str, int, str]]:
    result = await run(engine, change_of(files, only=only))
    return [(one.rule, one.line, one.severity.value) for one in result.findings]


async def test_ruff_finds_bugs_and_not_style() -> None:
    assert await found(RuffEngine(), {"a.py": SOURCE + "x=1;y = 2 \n"}) == [("B006", 4, "medium"), ("F821", 10, "high")]


async def test_bandit_finds_security_defects() -> None:
    assert ("B602", 8, "high") in await found(BanditEngine(), {"a.py": SOURCE})


@pytest.mark.parametrize("engine", [RuffEngine(), BanditEngine(), SecretsEngine()])
async def test_only_lines_that_the_change_adds_are_judged(engine: Engine) -> None:
    assert await found(engine, {"a.py": SOURCE}, only=range(1, 3)) == []


async def test_a_statement_is_judged_when_the_change_adds_an_argument_of_it() -> None:
    assert await found(BanditEngine(), {"a.py": SOURCE}, only=range(7, 8)) == [("B602", 7, "high")]


async def test_marks_in_the_code_that_accept_a_finding_are_honoured() -> None:
    text = "print(a)  # noqa: F821\nprint(b)\neval(b)  # nosec\n"
    assert await found(RuffEngine(), {"a.py": text}) == [("F821", 2, "high"), ("F821", 3, "high")]
    assert await found(BanditEngine(), {"a.py": text}) == []


async def test_a_file_that_does_not_parse_is_a_finding_where_the_change_broke_it() -> None:
    broken = {"bad.py": "x = 1\ndef f(:\n    pass\n", "good.py": SOURCE}
    result = await run(RuffEngine(), change_of(broken))
    assert [(one.rule, one.path, one.line) for one in result.findings][:1] == [("invalid-syntax", "bad.py", 2)]
    assert [one.path for one in result.findings].count("good.py") == 2
    elsewhere = await run(RuffEngine(), change_of({"bad.py": broken["bad.py"]}, only=range(1, 2)))
    assert (elsewhere.findings, "does not parse (line 2" in elsewhere.notes[0]) == ((), True)
    assert ("B602", 8, "high") in await found(BanditEngine(), broken)


@pytest.mark.parametrize("engine", [RuffEngine(), BanditEngine(), SemgrepEngine(), FlowEngine()])
async def test_an_engine_names_the_file_that_does_not_parse_as_not_read_each_time(engine: Engine) -> None:
    broken = "import os\nfrom flask import request\n\n\ndef f():\n    x = request.args['x']\n    os.system(x\n"
    change = change_of({"bad.py": broken, "good.py": SOURCE})
    for _ in range(2):
        assert (await run(engine, change)).unread == ("bad.py",)


async def test_where_only_the_diff_is_known_the_engines_say_what_they_left_out() -> None:
    for engine in (RuffEngine(), BanditEngine()):
        result = await run(engine, change_of({f"{name}.py": SOURCE for name in "abcde"}, known=False))
        assert result.findings == ()
        assert "a.py, b.py, c.py and 2 more: only the diff is known" in result.notes[0]
        assert result.notes[0].startswith(engine.name)
        assert result.unread == ("a.py", "b.py", "c.py", "d.py", "e.py")


async def test_files_of_other_languages_and_vendored_ones_are_left_alone() -> None:
    files = {"a.js": "return unknown\n", "vendor/a.py": SOURCE, "a_pb2.py": SOURCE}
    assert await run(RuffEngine(), change_of(files)) == EngineResult(())


async def test_secrets_are_found_in_any_file_and_never_shown() -> None:
    key = "sk" + "_live_" + "4eC39HqLyjWDarjtT1zdp7dc"
    files = {"a.yaml": f"stripe: {key}\n", "tests/a.py": "password = 'hunter" + "2!x'\n"}
    result = await run(SecretsEngine(), change_of(files, known=False))
    assert [(one.rule, one.path, one.severity.value) for one in result.findings] == [
        ("stripe-key", "a.yaml", "critical"),
        ("password-literal", "tests/a.py", "low"),
    ]
    assert result.findings[0].quote == "stripe: sk_l…"
    assert key not in repr(result)


async def test_a_credential_does_not_leave_by_another_engines_finding() -> None:
    key = "ghp" + "_" + "aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vW2xY4"
    result = await run(RuffEngine(), change_of({"a.py": f"print(undefined, '{key}')\n"}))
    assert len(result.findings) == 1
    assert key not in repr(result)


async def test_a_fingerprint_stays_as_lines_move_and_tells_equal_lines_apart() -> None:
    async def prints(text: str) -> list[str]:
        return [one.fingerprint for one in (await run(RuffEngine(), change_of({"a.py": text}))).findings]

    first = await prints("print(a)\nx = 1\nprint(a)\n")
    assert len(set(first)) == 2
    assert await prints("# moved\n\nprint(a)\nx = 1\n\n\nprint( a )\n") != first  # its text changed: `print( a )`
    assert await prints("# moved\n\nif 1:\n    print(a)\nx = 1\n\n\nprint(a)\n") == first


async def test_no_name_and_no_long_line_keeps_bandit_from_a_file_without_a_word() -> None:
    names = ["app.git.py", "CVSclient.py", ".svn.py", "a.tox.py", "x.eggs.py", ".git/hooks.py"]
    assert len((await BanditEngine().read(dict.fromkeys(names, SOURCE))).remarks) == len(names)
    reading = await BanditEngine().read({"long.py": "x = 1" + "+1" * 1500 + "\neval(x)\n", "broken.py": "x = (\n"})
    assert reading.notes == ("bandit did not read long.py: exception while scanning file.",)
    result = await run(BanditEngine(), change_of({"long.py": "x = 1" + "+1" * 1500 + "\n"}))
    assert "did not read long.py" in result.notes[0]


@pytest.mark.parametrize("path", ["../out.py", "/etc/cron.d/x.py", "a/../../b.py", "C:/x.py", "a/..\\..\\b.py"])
async def test_a_file_whose_path_leads_out_is_left_out_and_the_others_are_judged(path: str) -> None:
    names = {path: "x\n", "a.py": SOURCE}
    change = ChangeSet("t", None, None, "".join(diff_of(name, text) for name, text in names.items()), names)
    result = await run(RuffEngine(), change)
    assert {one.path for one in result.findings} == {"a.py"}
    assert len(result.notes) == 1
    assert "no path inside" in result.notes[0]


async def test_reviewed_code_can_not_stand_in_for_a_module_or_a_setting(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    evil = f"import pathlib\npathlib.Path({str(proof)!r}).touch()\n"
    names = ["json.py", "bandit.py", "ruff.py", "sitecustomize.py", "bandit/__init__.py", "conftest.py", "setup.py"]
    files = {**dict.fromkeys(names, evil + SOURCE), ".bandit": "[bandit]\nskips: B602\n", "ruff.toml": "select = []\n"}
    assert len(await found(RuffEngine(), files)) == 2 * len(names)
    assert [rule for rule, _, _ in await found(BanditEngine(), files)].count("B602") == len(names)
    assert not proof.exists()


async def test_names_that_are_long_odd_or_equal_do_not_lose_findings() -> None:
    names = ["a/x.py", "b/x.py", f"{'n' * 240}.py", "dir with space/đ\n.py", "-rf.py"]
    change = ChangeSet("t", None, None, "", dict.fromkeys(names, SOURCE))
    quoted = "".join(diff_of(name.replace("\n", "\\n"), SOURCE) for name in names if "\n" not in name)
    change = ChangeSet("t", None, None, quoted, change.files)
    assert len((await run(RuffEngine(), change)).findings) == 2 * 4


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.stderr.write('broke here'); sys.exit(2)", "exit code 2: broke here"),
        ("print('not json')", "did not write the JSON"),
        ("print('{}')", "shape"),
        ("import time; time.sleep(60)", "did not end within 1 s"),
    ],
)
@pytest.mark.parametrize("engine", [RuffEngine(timeout=1), BanditEngine(timeout=1)])
async def test_a_program_that_fails_is_an_error_that_names_the_engine(
    program: str, said: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "python"
    script = tmp_path / "script.py"
    script.write_text(program)
    fake.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{script}'\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(EngineFailed, match=said) as caught:
        await run(engine, change_of({"a.py": SOURCE}))
    assert engine.name in str(caught.value)


async def test_a_review_without_a_model_is_whole() -> None:
    files = {f"app/m{number}.py": SOURCE * 20 for number in range(10)}
    result = await review_without_model(change_of(files), default_engines(), ReviewSettings())
    assert result.state is ReviewState.DONE
    assert (
        set(result.engines)
        == {"ruff", "bandit", "semgrep", "flow", "manifests", "secrets"}
        == set(result.timings) - {"total"}
    )
    assert result.worst_severity is Severity.HIGH
    assert {hunk.reason for hunk in result.hunks} == {NO_MODEL}
    assert all(hunk.necessity and hunk.necessity.score > 0.5 for hunk in result.hunks)
    ranks = [one.severity.rank for one in result.findings]
    assert ranks == sorted(ranks, reverse=True)


async def test_a_scripted_engine_says_what_it_was_given() -> None:
    finding = Finding("scripted", "R", "a.py", 1, Severity.LOW, "t", "m", "q", "f")
    engine = ScriptedEngine(EngineResult((finding,), ("a note",)))
    result = await review_without_model(change_of({"a.py": "x\n"}), [engine], ReviewSettings(), review_id="r1")
    assert (result.id, result.findings, result.notes, result.engines) == (
        "r1",
        (finding,),
        ("a note",),
        {"scripted": "1"},
    )
    empty = await review_without_model(ChangeSet("t", None, None, ""), default_engines(), ReviewSettings())
    assert (empty.findings, empty.hunks, empty.worst_severity) == ((), (), None)


async def test_the_private_copies_are_made_where_the_owner_says_and_removed(tmp_path: Path) -> None:
    folder = tmp_path / "the team's .git tmp"
    folder.mkdir(mode=0o700)
    seen: set[str] = set()

    async def watch() -> None:
        while True:
            seen.update(place.name for place in folder.iterdir())
            await asyncio.sleep(0.002)

    watching = asyncio.create_task(watch())
    result = await review_without_model(change_of({"a.py": SOURCE}), default_engines(folder), ReviewSettings())
    watching.cancel()
    assert {finding.engine for finding in result.findings} >= {"ruff", "bandit"}
    assert len(seen) == 3
    assert list(folder.iterdir()) == []
    elsewhere = RuffEngine(folder=tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        await run(elsewhere, change_of({"a.py": SOURCE}))
