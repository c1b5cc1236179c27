"""The GitHub Action and the GitLab template: the commands in them, run on a real repository."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from tests.conftest import reachable
from tests.integration.test_gates_cli import commit, git
from tests.support.hubs import environment

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "tests" / "data" / "sarif" / "sarif-schema-2.1.0.json").read_text())
BROKEN = "def total(orders):\n    return sum(order.amount for order in ordres)\n"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`main` that went on, and a branch with a defect whose own policy would hide it."""
    folder = tmp_path_factory.mktemp("reviewed") / "a repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    commit(folder, {"a.py": "x = 1\n"})
    git(folder, "checkout", "-q", "-b", "change")
    commit(folder, {"total.py": BROKEN, ".tidemill.yml": "disabled: [F821]\n"})
    git(folder, "checkout", "-q", "main")
    commit(folder, {"b.py": "import nothing_of_the_change\n"})
    git(folder, "checkout", "-q", "change")
    return folder


def surroundings(folder: Path, **variables: str) -> dict[str, str]:
    """What a job sees: this Tidemill on its path, and no hub."""
    settings = environment(reachable(folder) / "empty", {})
    return {**settings, "PATH": f"{Path(sys.executable).parent}:{settings['PATH']}", **variables}


def run(script: str, folder: Path, env: dict[str, str], shell: str = "bash") -> subprocess.CompletedProcess[str]:
    command = (
        [shell, "--noprofile", "--norc", "-eo", "pipefail", "-c", script] if shell == "bash" else [shell, "-c", script]
    )
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def action() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
    return document


def step(name: str) -> dict[str, Any]:
    return next(one for one in action()["runs"]["steps"] if one["name"] == name)


def given(name: str, **known: str) -> dict[str, str]:
    """The step's environment: inputs by their defaults, and what the job knows."""
    inputs = {name: str(one["default"]) for name, one in action()["inputs"].items()}
    found = {}
    for variable, value in step(name)["env"].items():
        expression = re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", value)
        found[variable] = inputs[expression[1]] if expression else known.get(variable, "")
    return {**found, **known}


def review_step(
    repository: Path, folder: Path, **known: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    output, summary = folder / "output", folder / "summary"
    output.touch()
    env = surroundings(folder, **given("Review", REPORTS=str(folder / "reports"), **known))
    env |= {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
    done = run(step("Review")["run"], repository, env)
    lines = (line.partition("=") for line in output.read_text().splitlines())
    return done, {name: value for name, _, value in lines}


def test_the_action_reviews_a_pull_request_by_its_base(repository: Path, tmp_path: Path) -> None:
    base, head = git(repository, "rev-parse", "main"), git(repository, "rev-parse", "change")
    done, outputs = review_step(repository, tmp_path, BASE=base, HEAD=head)
    assert done.returncode == 0, done.stderr
    assert outputs["passed"] == "false"
    result = json.loads(Path(outputs["json"]).read_text())
    assert [(one["rule"], one["path"]) for one in result["findings"]] == [("F821", "total.py")]
    assert result["gates"]["holds"]
    sarif = json.loads(Path(outputs["sarif"]).read_text())
    jsonschema_rs.validator_for(SCHEMA).validate(sarif)
    assert sum(len(one["results"]) for one in sarif["runs"]) == 1
    assert "### Gates" in (tmp_path / "summary").read_text()
    last = run(step("Fail where the review does")["run"], repository, surroundings(tmp_path, PASSED=outputs["passed"]))
    assert last.returncode == 1
    assert "::error::" in last.stdout


def test_the_action_ends_with_the_error_where_there_is_no_review(repository: Path, tmp_path: Path) -> None:
    done, outputs = review_step(repository, tmp_path, RANGE="$(touch owned)", FAIL_ON="never", GATES="false")
    assert (done.returncode, outputs) == (4, {})
    assert "has no commit" in done.stderr
    assert not (repository / "owned").exists()


def test_the_template_of_gitlab_writes_a_code_quality_report(repository: Path, tmp_path: Path) -> None:
    template = yaml.safe_load((ROOT / "ci" / "gitlab" / "tidemill.gitlab-ci.yml").read_text())
    job = template["tidemill-review"]
    sha = {name: git(repository, "rev-parse", name) for name in ("change~1", "change")}
    env = surroundings(tmp_path, CI_MERGE_REQUEST_DIFF_BASE_SHA=sha["change~1"], CI_COMMIT_SHA=sha["change"])
    done = run("\n".join(job["script"]), repository, {**env, **template["variables"]}, shell="sh")
    assert done.returncode == 1, done.stderr
    report = repository / job["artifacts"]["reports"]["codequality"]
    (issue,) = json.loads(report.read_text())
    assert issue["location"] == {"path": "total.py", "lines": {"begin": 2}}
    assert issue["check_name"] == "ruff:F821"
    assert issue["severity"] in {"info", "minor", "major", "critical", "blocker"}
    assert issue["description"]
    assert issue["fingerprint"]
    assert (repository / "tidemill-review.md").read_text().startswith("## Review of")


def test_every_action_that_is_used_is_pinned_to_a_commit() -> None:
    used = [one["uses"] for one in action()["runs"]["steps"] if "uses" in one]
    assert used
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name) for name in used)
    assert len(re.findall(r"uses: \S+@[0-9a-f]{40} # v\d", (ROOT / "action.yml").read_text())) == len(used)


def test_no_expression_stands_in_a_script() -> None:
    """Where one did, who names a branch or an input could run commands."""
    scripts = [one["run"] for one in action()["runs"]["steps"] if "run" in one]
    assert scripts
    assert not [script for script in scripts if "${{" in script]


def test_the_requirements_that_are_installed_are_there_with_hashes() -> None:
    text = (ROOT / "action.yml").read_text() + (ROOT / "ci" / "gitlab" / "tidemill.gitlab-ci.yml").read_text()
    for name in set(re.findall(r"requirements/\w+\.txt", text)):
        assert "--hash=sha256:" in (ROOT / name).read_text(), name
