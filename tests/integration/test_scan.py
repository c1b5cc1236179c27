"""`tidemill scan`: a whole tree, with the real engines."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tidemill.cli.main import command
from tidemill.core.errors import InvalidInput
from tidemill.review.engines.process import remove_leftovers
from tidemill.review.rule_names import MANIFESTS, engines_for

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


def test_several_paths_are_scanned_at_once_and_info_is_counted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.py").write_text("import os\n\nprint(missing)\n")
    paths = [str(tmp_path / "a"), str(tmp_path / "b" / "x.py")]
    result = CliRunner().invoke(command("scan"), [*paths, "--rules", "ruff"])
    assert result.exit_code == 0
    assert re.findall(r"^. (\w+) +(\S+)  \[ruff (\w+)\]", result.stdout, re.MULTILINE) == [
        ("high", "a/x.py:3", "F821"),
        ("high", "b/x.py:3", "F821"),
    ]
    assert "2 more of the severity info" in result.stdout
    assert re.search(r"^Engines: ruff [\d.]+; [\d.]+ s\.$", result.stdout, re.MULTILINE)
    listed = CliRunner().invoke(command("scan"), [*paths, "--rules", "ruff", "--info"])
    assert listed.stdout.count("F401") == 2


def test_a_weak_hash_is_no_defect_of_an_etag_and_no_severe_one_elsewhere(tmp_path: Path) -> None:
    lines = ["import hashlib", "", "etag = hashlib.sha1(b'').hexdigest()", "stored = hashlib.sha1(b'').hexdigest()"]
    (tmp_path / "a.py").write_text("\n".join(lines) + "\n")
    result = CliRunner().invoke(command("scan"), [str(tmp_path), "--json"])
    assert [(one["line"], one["severity"]) for one in json.loads(result.stdout)["findings"]] == [(4, "medium")]


def test_a_name_that_no_rule_has_is_an_error_with_the_nearest() -> None:
    result = CliRunner().invoke(command("scan"), ["--rules", "python-sql-injektion"])
    assert isinstance(result.exception, InvalidInput)
    assert "Did you mean 'python-sql-injection'?" in result.exception.message
    with pytest.raises(InvalidInput, match="lists the rules"):
        engines_for(["nonsense"], ["secrets"])
    assert engines_for(["semgrep:python-ssrf", "B602", "F821"], ["secrets", "semgrep", "flow", "bandit", "ruff"]) == {
        *("semgrep", "bandit", "ruff")
    }


def test_the_rules_for_manifests_are_those_of_the_page() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "scan.md").read_text("utf-8")
    part = page.split("## Manifests")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", part, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([\w-]+)`", row)} == MANIFESTS


def test_a_scan_that_is_terminated_leaves_no_copies(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    for number in range(300):
        (tmp_path / "code" / f"m{number}.py").write_text(SINK * 20)
    (tmp_path / "tmp").mkdir()
    scanning = subprocess.Popen(
        [sys.executable, "-m", "tidemill", "scan", str(tmp_path / "code"), "--rules", "bandit"],
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while scanning.poll() is None and not list((tmp_path / "tmp").glob("*/lock")):
        time.sleep(0.05)
    scanning.send_signal(signal.SIGTERM)
    assert scanning.wait(30) == 143
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_stays(tmp_path: Path) -> None:
    for name in ("tidemill-review-dead", "tidemill-review-alive", "else"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").touch()
    with (tmp_path / "tidemill-review-alive" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remove_leftovers(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"tidemill-review-alive", "else"}
