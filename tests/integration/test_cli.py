"""The command `tidemill`, run as people and CI jobs run it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import reachable
from tests.support.hubs import (
    Hub,
    environment,
    free_port,
    running_hub,
    scripted_settings,
    start_hub,
    stop,
    tidemill,
    upstream,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "orders.bundle"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cloned here") / "orders"
    subprocess.run(["git", "clone", "-q", str(EXAMPLE), str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = reachable(tmp_path_factory.mktemp("a hub for commands"))
    with upstream(folder) as model, running_hub(folder / "data", scripted_settings(model.url)) as running:
        yield running


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """Surroundings without a hub, a database or a model."""
    return environment(reachable(tmp_path) / "empty", {})


def test_help_names_every_command_and_is_the_same_without_arguments(nowhere: dict[str, str]) -> None:
    done = tidemill(["--help"], nowhere)
    for name in ("up", "worker", "review", "chat", "models", "keys", "db", "doctor", "version"):
        assert f"\n  {name} " in done.stdout
    assert tidemill([], nowhere).stdout == done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["rewiew"], 2, "Did you mean `tidemill review`?"),
        (["chat", "hello"], 6, "tidemill up"),
        (["models", "status"], 6, "tidemill up"),
        (["models", "pull", "gpt-9"], 4, "qwen2.5-coder"),
        (["review", "--staged", "HEAD"], 2, "not both"),
        (["review", "--no-model", "--repo", "/nonexistent"], 4, "/nonexistent"),
        (["db", "restore", "/nonexistent.tar"], 2, "/nonexistent.tar"),
        (["up", "--example"], 2, ""),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence_with_its_exit_code(
    nowhere: dict[str, str], arguments: list[str], code: int, says: str
) -> None:
    done = tidemill(arguments, nowhere)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_setting_stops_every_command(nowhere: dict[str, str]) -> None:
    done = tidemill(["db", "status"], {**nowhere, "TIDEMILL_REVEIW__MAX_HUNKS": "3"})
    assert done.returncode == 6
    assert "TIDEMILL_REVEIW__MAX_HUNKS" in done.stderr


@pytest.mark.parametrize("form", ["text", "json", "markdown", "sarif"])
def test_a_review_without_a_model_needs_no_hub(repository: Path, nowhere: dict[str, str], form: str) -> None:
    done = tidemill(["review", "HEAD", "--no-model", "--repo", str(repository), "--format", form], nowhere)
    assert done.returncode == 0, done.stderr
    assert "orders/" in done.stdout
    assert not Path(nowhere["TIDEMILL_DATA_DIR"]).exists()
    if form in {"json", "sarif"}:
        json.loads(done.stdout)


def test_fail_on_makes_a_finding_fail_the_job(repository: Path, nowhere: dict[str, str]) -> None:
    review = ["review", "HEAD", "--no-model", "--repo", str(repository), "--fail-on"]
    assert tidemill([*review, "medium"], nowhere).returncode == 1
    assert tidemill([*review, "critical"], nowhere).returncode == 0


def test_an_unknown_revision_is_named(repository: Path, nowhere: dict[str, str]) -> None:
    done = tidemill(["review", "no-such-branch", "--no-model", "--repo", str(repository)], nowhere)
    assert done.returncode in {2, 4}
    assert "no-such-branch" in done.stderr


def test_what_is_staged_is_reviewed(repository: Path, nowhere: dict[str, str], tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", str(repository), str(tmp_path / "r")], check=True)
    (tmp_path / "r" / "bad.py").write_text("import pickle\n\n\ndef f(x):\n    return eval(x)\n")
    subprocess.run(["git", "add", "bad.py"], cwd=tmp_path / "r", check=True)
    done = tidemill(["review", "--staged", "--no-model", "--repo", str(tmp_path / "r"), "--json"], nowhere)
    found = json.loads(done.stdout)["findings"]
    assert {finding["path"] for finding in found} == {"bad.py"}
    assert any(finding["line"] == 5 for finding in found)


def test_a_review_on_the_hub_shows_the_models_comments_that_hold(hub: Hub, repository: Path) -> None:
    done = tidemill(["review", "HEAD", "--repo", str(repository), "--json"], hub.environment)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["state"] == "done"
    assert result["deployment"]["model"] == "scripted"
    assert any(hunk["asked"] for hunk in result["hunks"])


def test_chat_prints_the_answer_as_text_and_as_json(hub: Hub) -> None:
    said = tidemill(["chat", "Hello"], hub.environment)
    whole = json.loads(tidemill(["chat", "Hello", "--json"], hub.environment).stdout)
    assert said.stdout.strip() == whole["choices"][0]["message"]["content"].strip()
    piped = tidemill(["chat"], hub.environment, input="Hello")
    assert piped.stdout == said.stdout


def test_keys_are_made_listed_and_revoked_beside_a_running_hub(hub: Hub) -> None:
    secret = json.loads(tidemill(["keys", "create", "ci", "--json"], hub.environment).stdout)["key"]
    listed = tidemill(["keys", "list"], hub.environment).stdout
    assert "ci" in listed
    assert secret not in listed
    assert tidemill(["keys", "revoke", "ci"], hub.environment).returncode == 0
    assert tidemill(["keys", "revoke", "ci"], hub.environment).returncode == 4
    rows = json.loads(tidemill(["keys", "list", "--json"], hub.environment).stdout)
    assert [row["revoked_at"] is not None for row in rows if row["name"] == "ci"] == [True]


def test_a_second_hub_on_the_same_folder_is_told_where_the_first_is(hub: Hub) -> None:
    done = tidemill(["up", "--port", str(free_port()), "--no-download"], hub.environment)
    assert done.returncode == 5
    assert hub.url in done.stderr


def test_a_port_in_use_is_named(hub: Hub, nowhere: dict[str, str]) -> None:
    port = hub.url.rpartition(":")[2]
    done = tidemill(["up", "--port", port, "--no-download"], nowhere)
    assert done.returncode == 6
    assert port in done.stderr
    assert "--port" in done.stderr


def test_doctor_finds_a_running_hub_sound(hub: Hub) -> None:
    done = tidemill(["doctor", "--json"], hub.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert {"python", "git", "disk", "memory", "database", "schema", "work", "model", "ruff", "port"} <= set(checks)
    assert "running" in checks["database"]["found"]


def test_doctor_says_what_is_missing_and_how_to_mend_it(nowhere: dict[str, str]) -> None:
    done = tidemill(["doctor"], nowhere)
    assert "tidemill models pull qwen2.5-coder" in done.stdout
    without_git = tidemill(["doctor", "--json"], {**nowhere, "PATH": "/nonexistent"})
    assert without_git.returncode == 6
    assert any(check["name"] == "git" and check["state"] == "broken" for check in json.loads(without_git.stdout))


def test_status_and_upgrade_of_the_database(hub: Hub, nowhere: dict[str, str]) -> None:
    assert json.loads(tidemill(["db", "status", "--json"], hub.environment).stdout)["running"] is True
    assert json.loads(tidemill(["db", "status", "--json"], nowhere).stdout)["running"] is False
    found = json.loads(tidemill(["db", "upgrade", "--json"], hub.environment).stdout)
    assert found["revision"] == found["newest"]


def test_a_backup_of_a_running_hub_is_restored_elsewhere_with_its_keys_and_reviews(
    hub: Hub, repository: Path, tmp_path: Path
) -> None:
    secret = json.loads(tidemill(["keys", "create", "kept", "--json"], hub.environment).stdout)["key"]
    review = json.loads(tidemill(["review", "HEAD", "--repo", str(repository), "--json"], hub.environment).stdout)
    archive = tmp_path / "backup.tar"
    assert tidemill(["db", "backup", str(archive)], hub.environment).returncode == 0
    elsewhere = reachable(tmp_path) / "elsewhere"
    settings = json.loads(Path(hub.environment["TIDEMILL_CONFIG"]).read_text())
    done = tidemill(["db", "restore", str(archive)], environment(elsewhere, settings))
    assert done.returncode == 0, done.stderr
    restored = start_hub(elsewhere, settings)
    try:
        with restored.client() as client:
            client.headers["authorization"] = f"Bearer {secret}"
            assert client.get("/v1/models").status_code == 200
            client.headers["authorization"] = f"Bearer {restored.key}"
            kept = client.get(f"/v1/reviews/{review['id']}").json()
        assert kept["result"]["findings"] == review["findings"]
    finally:
        stop(restored)


def test_a_pipe_that_closes_early_is_no_error(nowhere: dict[str, str]) -> None:
    done = subprocess.run(
        f"'{sys.executable}' -m tidemill --help | head -1",
        shell=True,
        env=nowhere,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
