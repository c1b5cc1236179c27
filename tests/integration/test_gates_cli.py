"""`tidemill review --gates` and `tidemill policy`, on a real repository, as people and CI jobs run them."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import reachable
from tests.support.hubs import environment, tidemill
from tidemill.cli.main import run
from tidemill.core.change import ChangeSet, Diff
from tidemill.core.errors import InvalidInput
from tidemill.core.gate import Gate, GateState
from tidemill.flows.local_review import local_gates, local_policy
from tidemill.forges.local_git import read_change
from tidemill.review.engines import EngineFailed, EngineResult, RuffEngine
from tidemill.settings import ReviewSettings

BUSY = "def busy(a):\n" + "".join(f"    if a == {n}:\n        return {n}\n" for n in range(15)) + "    return a\n"
CLEAN = "def calm(a):\n    return a + 1\n"
SECRET = 'token = "ghp_' + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8" + '"\n'
POLICY = """max_comments: 1
min_severity: low
ignore: [generated/]
disabled: [F401]
severities: {F821: critical}
gates:
  coverage_report: coverage.xml
  advisories: osv.json
  required: [coverage]
unknown: 1
"""
OSV = json.dumps(
    [
        {
            "id": "GHSA-1",
            "affected": [
                {
                    "package": {"ecosystem": "PyPI", "name": "flask"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0.2"}]}],
                }
            ],
        }
    ]
)


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "A change")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy and advisories on the base side; a change with a defect of each kind, and a policy of its own."""
    folder = tmp_path_factory.mktemp("gated") / "a repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    commit(folder, {".tidemill.yml": POLICY, "osv.json": OSV, "calm.py": CLEAN, "requirements.txt": "six==1.0\n"})
    commit(
        folder,
        {
            ".tidemill.yml": "disabled: [F821]\ngates: {coverage: off, complexity: off, audit: off}\n",
            "busy.py": "import os\n" + BUSY + "\n\nprint(nothing, nobody)\n",
            "generated/a.py": "print(nothing)\n",
            "requirements.txt": "six==1.0\nFlask==2.0.1\n",
        },
    )
    return folder


FORMS = ("json", "sarif", "gitlab", "markdown")


@pytest.fixture(scope="module")
def done(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """One run that prints the review and writes every other form of it, too."""
    folder = reachable(tmp_path_factory.mktemp("reports"))
    reports = [part for form in FORMS for part in ("--report", f"{form}={folder / form}")]
    arguments = ["review", "--repo", str(repository), "--no-model", "--gates", *reports]
    ran = tidemill(arguments, environment(folder / "empty", {}))
    return ran, {form: (folder / form).read_text() for form in FORMS}


Done = tuple[subprocess.CompletedProcess[str], dict[str, str]]


def test_the_base_side_says_how_a_change_is_reviewed(done: Done) -> None:
    result = json.loads(done[1]["json"])
    assert [(one["rule"], one["severity"], one["path"]) for one in result["findings"]] == [
        ("F821", "critical", "busy.py")
    ]
    assert [one["rule"] for one in result["folded"]] == ["F821"]
    assert {"path": "generated/a.py", "reason": "ignored by .tidemill.yml (generated/)"} in result["skipped"]
    assert result["notes"][-1].startswith(".tidemill.yml, line 10: there is no key `unknown`.")


def test_gates_are_held_against_the_thresholds_of_the_base_side(done: Done) -> None:
    ran, files = done
    assert ran.returncode == 1
    gates = {gate["name"]: gate for gate in json.loads(files["json"])["gates"]["gates"]}
    assert {name: gate["state"] for name, gate in gates.items()} == {
        "coverage": "not_measured",
        "duplication": "passed",
        "complexity": "failed",
        "dependencies": "failed",
        "critical": "failed",
    }
    assert gates["coverage"]["reason"] == "coverage.xml is not there"
    assert not gates["coverage"]["holds"]
    assert gates["complexity"]["places"] == [{"path": "busy.py", "line": 2, "text": "busy: 16"}]
    assert gates["dependencies"]["places"][0]["text"].startswith("flask 2.0.1: GHSA-1")
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert ["coverage", "≥", "80", "%", "NOT", "MEASURED,", "required", "coverage.xml", "is", "not", "there"] in lines
    assert ["busy.py:2", "busy:", "16"] in lines


def test_every_form_holds_every_finding_and_the_gates(done: Done) -> None:
    ran, files = done
    issues = json.loads(files["gitlab"])
    assert [(issue["check_name"], issue["severity"]) for issue in issues] == [("ruff:F821", "blocker")] * 2
    assert len({issue["fingerprint"] for issue in issues}) == 2
    assert sum(len(run["results"]) for run in json.loads(files["sarif"])["runs"]) == 2
    assert "### Gates" in files["markdown"]
    assert "And, folded by the repository's policy, 1 finding:" in ran.stdout


async def gates_with(repository: Path, **files: Path) -> dict[str, Gate]:
    change = await read_change(repository, None, staged=False, limits=ReviewSettings())
    policy = await local_policy(repository, change)
    assert policy is not None
    report = await local_gates(repository, change, (), policy, **files)
    return {gate.name.value: gate for gate in report.gates}


async def test_the_report_that_the_policy_names_is_read_in_the_work_tree(repository: Path, tmp_path: Path) -> None:
    report = repository / "coverage.xml"
    report.write_text(
        '<coverage><class filename="busy.py"><line number="2" hits="1"/><line number="3" hits="0"/></class></coverage>'
    )
    gate = (await gates_with(repository))["coverage"]
    assert (gate.state, gate.measured) == (GateState.FAILED, "50 % (1 of 2 lines)")
    report.write_text("neither")
    assert "neither Cobertura's XML nor LCOV's form" in (await gates_with(repository))["coverage"].reason
    report.unlink()
    (tmp_path / "secret").write_text("SF:busy.py\nDA:2,1\n")
    report.symlink_to(tmp_path / "secret")
    assert (await gates_with(repository))["coverage"].reason == "coverage.xml is not there"
    report.unlink()


async def test_a_file_that_was_given_must_be_readable(repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "given"
    file.write_text("nonsense")
    with pytest.raises(InvalidInput, match="neither Cobertura's XML nor LCOV's form"):
        await gates_with(repository, coverage=file)
    with pytest.raises(InvalidInput, match="neither JSON, nor JSON on each line"):
        await gates_with(repository, advisories=file)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--report", "pdf=a.pdf"], "--report takes FORMAT=FILE"), (["--coverage", "absent"], "does not exist")],
)
def test_options_are_checked_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert command(["review", "--repo", "/absent", "--no-model", *arguments]) == 2
    assert says in capsys.readouterr().err


def command(arguments: list[str]) -> int:
    """The exit code of a command that is run in this process: it reads no setting."""
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    return int(ended.value.code or 0)


def test_a_policy_is_checked_line_by_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command(["policy", "check", str(tmp_path)]) == 0
    assert "the defaults hold" in capsys.readouterr().out
    assert command(["policy", "check", str(tmp_path / "nowhere.yml")]) == 4
    file = tmp_path / ".tidemill.yml"
    file.write_text("max_comments: 3\n")
    capsys.readouterr()
    assert command(["policy", "check", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{file}: nothing is wrong with it.\n"
    file.write_text("max_coments: 3\n")
    assert command(["policy", "check", "--json", str(file)]) == 1
    assert json.loads(capsys.readouterr().out)["notes"] == [
        ".tidemill.yml, line 1: there is no key `max_coments`. Did you mean `max_comments`?"
    ]


def test_a_review_whose_engine_fails_is_printed_and_ends_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(engine: RuffEngine, change: ChangeSet, diff: Diff) -> EngineResult:
        raise EngineFailed("ruff failed with exit code 2: no space left.")

    monkeypatch.setattr(RuffEngine, "run", fail)
    git(tmp_path, "init", "-q")
    commit(tmp_path, {"a.py": CLEAN})
    commit(tmp_path, {"b.py": SECRET})
    report = tmp_path / "review.sarif"
    with pytest.raises(SystemExit) as ended:
        run(["review", "--no-model", "--repo", str(tmp_path), "--report", f"sarif={report}"])
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert "secrets" in said.out
    assert "What ruff would have found is missing." in said.out
    assert "ruff failed with exit code 2" in said.err
    assert json.loads(report.read_text())["runs"]
