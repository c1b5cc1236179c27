"""What a change brought: findings of the new side without those of the old one, with the real engines."""

import asyncio
from pathlib import Path

import pytest

from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet
from tidemill.core.finding import Finding
from tidemill.review.engines import (
    BanditEngine,
    Engine,
    EngineFailed,
    FlowEngine,
    RuffEngine,
    SecretsEngine,
    SemgrepEngine,
)
from tidemill.review.offline import run_engines, tree_engines

OLD = """\
from flask import request


def view(db):
    name = "fixed"
    query = "SELECT 1 WHERE name = '" + name + "'"
    db.execute(query)
"""
TRACED = OLD.replace('"fixed"', 'request.args["name"]')


def diff_of(path: str, old: str, new: str) -> str:
    """A diff of one hunk: what both sides begin and end with is context."""
    before, after = old.splitlines(), new.splitlines()
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    tail = 0
    while tail < min(len(before), len(after)) - same and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    gone, come = before[same : len(before) - tail], after[same : len(after) - tail]
    rest = before[len(before) - tail :]
    body = [*(f" {line}" for line in before[:same]), *(f"-{line}" for line in gone)]
    body += [*(f"+{line}" for line in come), *(f" {line}" for line in rest)]
    head = f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n"
    counts = f"@@ -{1 if before else 0},{len(before)} +1,{len(after)} @@\n"
    return head + counts + "".join(f"{line}\n" for line in body)


async def brought(engine: Engine, old: dict[str, str], new: dict[str, str]) -> list[Finding]:
    diff = "".join(diff_of(path, old.get(path, ""), text) for path, text in new.items() if old.get(path) != text)
    change = ChangeSet("t", None, None, diff, new, old)
    return list((await engine.run(change, parse_diff(diff))).findings)


async def test_a_new_source_that_reaches_an_old_sink_is_told_on_the_line_that_changed() -> None:
    [found] = await brought(SemgrepEngine(), {"a.py": OLD}, {"a.py": TRACED})
    assert (found.rule, found.line, found.quote.strip()) == (
        "python-sql-injection",
        5,
        'name = request.args["name"]',
    )
    assert [(step.role, step.line) for step in found.trace] == [("source", 5), ("step", 6), ("sink", 7)]
    assert found.details["sink"] == "a.py:7"


async def test_what_was_there_before_is_not_told_when_its_line_moves_or_is_indented() -> None:
    moved = TRACED.replace("    query", "    if name:\n        pass\n    query")
    assert await brought(SemgrepEngine(), {"a.py": TRACED}, {"a.py": moved}) == []
    indented = "import pickle\n\ndef load(data):\n    return pickle.loads(data)\n"
    deeper = indented.replace("    return", "    if data:\n        return")
    assert await brought(BanditEngine(), {"a.py": indented}, {"a.py": deeper}) == []


async def test_a_second_equal_defect_is_told_once_and_on_its_own_line() -> None:
    one = "import pickle\n\n\ndef load(data):\n    pickle.loads(data)\n"
    [found] = await brought(BanditEngine(), {"a.py": one}, {"a.py": one + "    pickle.loads(data)\n"})
    assert found.line == 6


async def test_a_name_that_the_change_takes_away_is_told_where_it_is_used() -> None:
    old = "import json\n\n\ndef load(text):\n    return json.loads(text)\n"
    found = await brought(RuffEngine(), {"a.py": old}, {"a.py": old.replace("import json\n", "import re\n")})
    assert [(one.rule, one.line) for one in found] == [("F401", 1), ("F821", 5)]


async def test_a_credential_that_only_moves_is_not_told_again() -> None:
    line = "password = 'hunter" + "2!x9'\n"
    assert await brought(SecretsEngine(), {"a.py": line + "x = 1\n"}, {"a.py": "x = 1\n" + line}) == []


HELPERS = {
    "shop/db.py": 'def find(db, name):\n    db.execute("SELECT 1 WHERE name = \'" + name + "\'")\n',
    "shop/web.py": "from shop.db import find\n\n\ndef view(db, request):\n    find(db, 'fixed')\n",
}


async def test_a_source_in_one_file_that_reaches_a_sink_in_another_is_told_with_its_way() -> None:
    new = {
        "shop/db.py": HELPERS["shop/db.py"] + "\n\ndef unused():\n    pass\n",
        "shop/web.py": HELPERS["shop/web.py"].replace("'fixed'", "request.args['name']"),
    }
    [found] = await brought(FlowEngine(), HELPERS, new)
    assert (found.rule, found.path, found.line) == ("python-sql-injection", "shop/web.py", 5)
    assert [(step.role, step.path, step.line) for step in found.trace] == [
        ("source", "shop/web.py", 5),
        ("step", "shop/db.py", 1),
        ("sink", "shop/db.py", 2),
    ]


async def test_a_new_source_that_reaches_a_sink_in_an_unchanged_file_is_told_where_it_was_written() -> None:
    old = {"shop/web.py": HELPERS["shop/web.py"]}
    new = {"shop/web.py": HELPERS["shop/web.py"].replace("'fixed'", "request.args['name']")}
    around = {"shop/db.py": HELPERS["shop/db.py"]}
    diff = diff_of("shop/web.py", old["shop/web.py"], new["shop/web.py"])
    engine = FlowEngine()
    result = await engine.run(ChangeSet("t", None, None, diff, new, old, around), parse_diff(diff))
    assert [(one.path, one.line, one.details["sink"]) for one in result.findings] == [
        ("shop/web.py", 5, "shop/db.py:2")
    ]
    same = await engine.run(ChangeSet("t", None, None, diff, new, new, around), parse_diff(diff))
    assert same.findings == ()


async def test_of_two_sources_into_one_unchanged_sink_the_new_one_is_told() -> None:
    first = HELPERS["shop/web.py"].replace("'fixed'", "request.args['name']")
    both = first.replace("def view", "def early(db, request):\n    find(db, request.form['other'])\n\n\ndef view")
    diff = diff_of("shop/web.py", first, both)
    sides = {"shop/web.py": both}, {"shop/web.py": first}, {"shop/db.py": HELPERS["shop/db.py"]}
    result = await FlowEngine().run(ChangeSet("t", None, None, diff, *sides), parse_diff(diff))
    assert [(one.path, one.line) for one in result.findings] == [("shop/web.py", 5)]


async def test_a_function_nested_too_deeply_is_noted_and_hides_nothing_of_the_others() -> None:
    new = {
        **dict(HELPERS, **{"shop/web.py": HELPERS["shop/web.py"].replace("'fixed'", "request.args['name']")}),
        "shop/sums.py": "def add(x, a):\n    return x" + "+a" * 3000 + "\n",
        "shop/calls.py": "def call(x):\n    return x" + ".a()" * 500 + "\n",
    }
    reading = await FlowEngine().read(new)
    assert [(one.path, one.line) for one in reading.remarks] == [("shop/db.py", 2)]
    (note,) = reading.notes
    assert note.startswith("flow did not follow the function at shop/calls.py:1: it is nested too deeply")


async def test_a_way_through_two_files_that_was_there_before_is_not_told() -> None:
    old = dict(HELPERS, **{"shop/web.py": HELPERS["shop/web.py"].replace("'fixed'", "request.args['name']")})
    new = {path: text.replace("def ", "# here\ndef ") for path, text in old.items()}
    assert await brought(FlowEngine(), old, new) == []


async def test_a_helper_that_makes_a_value_harmless_ends_its_way() -> None:
    new = dict(HELPERS, **{"shop/web.py": HELPERS["shop/web.py"].replace("'fixed'", "int(request.args['name'])")})
    assert await brought(FlowEngine(), HELPERS, new) == []


async def test_one_defect_that_two_engines_see_is_told_once() -> None:
    text = "import hashlib\n\nprint(hashlib.md5(b'x'))\n"
    diff = diff_of("a.py", "", text)
    ran = await run_engines(tree_engines(), ChangeSet("t", None, None, diff, {"a.py": text}), parse_diff(diff))
    assert [(one.engine, one.rule) for one in ran.findings] == [("semgrep", "python-weak-hash")]


async def test_a_second_review_of_the_same_text_asks_no_program() -> None:
    engine = SemgrepEngine()
    files = {"a.py": TRACED}
    first = await engine.read(files)
    engine._core = None  # the program is gone: an answer can only be a remembered one
    assert await engine.read(files) == first


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo broke here >&2; exit 2", "exit code 2: broke here"),
        ("echo not json", "did not write the JSON"),
        ("echo '{}'", "shape"),
        ("exec sleep 60", "did not end within 1 s"),
    ],
)
async def test_a_semgrep_that_fails_is_an_error_and_never_no_findings(script: str, said: str, tmp_path: Path) -> None:
    fake = tmp_path / "semgrep-core"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    with pytest.raises(EngineFailed, match=said):
        await SemgrepEngine(program=fake, timeout=1).read({"a.py": TRACED})


async def test_a_semgrep_that_is_not_there_is_a_note_with_the_command_that_installs_it() -> None:
    engine = SemgrepEngine()
    engine._core = None
    diff = diff_of("a.py", "", TRACED)
    result = await engine.run(ChangeSet("t", None, None, diff, {"a.py": TRACED}), parse_diff(diff))
    assert (result.findings, result.notes, result.unread) == ((), (f"{engine.unavailable()}",), ("a.py",))
    assert "pip install --no-deps semgrep" in result.notes[0]


def test_semgrep_reads_what_is_long_broken_or_oddly_named_and_keeps_no_home(tmp_path: Path) -> None:
    files = {
        "a/-rf.py": TRACED,
        "dir with space/đ\n.py": TRACED,
        f"{'n' * 240}.py": TRACED,
        "long.js": "x = [" + "1, " * 350_000 + "1]\n",
        "broken.py": "def f(:\n    pass\n" + TRACED,
        "odd.go": "package a\n\ufffd\ud800\x00\n",
        "semgrep.yml.py": TRACED,
        "empty.ts": "",
    }
    reading = asyncio.run(SemgrepEngine(folder=tmp_path).read(files))
    found = {one.path for one in reading.remarks if one.rule == "python-sql-injection"}
    assert found >= {path for path, text in files.items() if text == TRACED}
    assert list(tmp_path.iterdir()) == []
    assert not (Path.home() / ".semgrep").exists()
