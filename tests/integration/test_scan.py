"""`tidemill scan`: a whole tree, with the real engines."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tidemill.cli.main import command

SINK = """\
from flask import request


def view(db):
    name = request.args["name"]
    db.execute("SELECT 1 WHERE name = '" + name + "'")
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for path, text in {
        ".gitignore": "build/\n*.tmp.py\n",
        "web/app.py": SINK,
        "web/.gitignore": "own.py\n!/kept.tmp.py\n",
        "web/own.py": SINK,
        "web/kept.tmp.py": SINK,
        "web/lost.tmp.py": SINK,
        "build/made.py": SINK,
        "node_modules/x/a.py": SINK,
        "vendor/a.py": SINK,
        "docs/a.py": SINK,
    }.items():
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    (tmp_path / "link.py").symlink_to("/etc/hostname")
    (tmp_path / "large.py").write_text("x = 1\n" * 200_000)
    return tmp_path


def test_a_tree_is_scanned_without_what_gitignore_leaves_out(tree: Path) -> None:
    arguments = [str(tree), "--json", "--exclude", "docs/", "--rules", "sql_injection", "--fail-on", "critical"]
    result = CliRunner().invoke(command("scan"), arguments)
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [(one["path"], one["line"], one["rule"]) for one in found["findings"]] == [
        ("web/app.py", 6, "python-sql-injection"),
        ("web/kept.tmp.py", 6, "python-sql-injection"),
    ]
    assert [step["role"] for step in found["findings"][0]["trace"]] == ["source", "sink"]
    assert any("large.py" in note for note in found["notes"])
    assert any("third-party" in note for note in found["notes"])


def test_a_file_alone_can_be_scanned_and_a_path_that_is_not_there_is_named(tree: Path) -> None:
    one = CliRunner().invoke(command("scan"), [str(tree / "docs" / "a.py"), "--format", "sarif", "--rules", "semgrep"])
    assert one.exit_code == 0
    runs = json.loads(one.stdout)["runs"]
    assert [result["ruleId"] for run in runs for result in run["results"]] == ["python-sql-injection"]
    missing = CliRunner().invoke(command("scan"), [str(tree / "nowhere")])
    assert missing.exit_code != 0
    assert "There is no" in str(missing.exception)
