"""People, teams, keys and the audit log from the command line, without a hub."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tidemill.cli.accounts import duration
from tidemill.cli.main import run
from tidemill.core.accounts import Right, Role
from tidemill.core.errors import InvalidInput

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs a command on the test's own database: its exit code, and what it wrote."""
    monkeypatch.setenv("TIDEMILL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DATABASE_URL", database_url)

    def done(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            run(arguments)
        written = capsys.readouterr()
        return int(end.value.code or 0), written.out, written.err

    return done


def shown(command: Command, *arguments: str) -> Any:
    code, out, err = command(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_the_first_admin_is_added_without_a_hub(command: Command) -> None:
    assert "`tidemill users add EMAIL --role admin`" in command("users", "list")[1]
    code, out, _ = command("users", "add", "An@example.org", "--role", "admin")
    assert (code, out) == (0, "Added an@example.org, a person with the role admin.\n")
    [an] = shown(command, "users", "list")
    assert (an["email"], an["name"], an["role"]) == ("an@example.org", "An", "admin")
    assert "password_hash" not in an
    assert "an@example.org" in command("users", "list")[1]


def test_a_person_is_changed_disabled_and_enabled(command: Command) -> None:
    for arguments in (["teams", "add-department", "Sales"], ["teams", "add", "Core", "--department", "sales"]):
        assert command(*arguments)[0] == 0
    add = ["users", "add", "a@example.org", "--name", "An", "--level", "secret", "--department", "Sales"]
    assert command(*add)[0] == 0
    assert command("users", "set-role", "A@example.org", "viewer")[1] == "a@example.org has the role viewer now.\n"
    assert command("users", "set-level", "a@example.org", "public")[0] == 0
    assert command("teams", "join", "core", "a@example.org")[0] == 0
    found = shown(command, "users", "show", "a@example.org")
    assert (found["role"], found["access_level"], found["teams"], found["keys"]) == ("viewer", "public", ["Core"], 0)
    assert "Core" in command("users", "show", "a@example.org")[1]
    assert shown(command, "teams", "list")[0]["people"] == ["a@example.org"]
    assert "a@example.org" in command("teams", "list")[1]
    assert "no subject" in command("users", "unlink", "a@example.org")[1]
    assert shown(command, "users", "disable", "a@example.org")["disabled_at"]
    assert shown(command, "users", "enable", "a@example.org")["disabled_at"] is None
    assert command("teams", "leave", "Core", "a@example.org")[0] == 0
    assert command("teams", "remove", "Core")[0] == 0
    assert "no teams" in command("teams", "list")[1]
    assert [one["name"] for one in shown(command, "teams", "departments")] == ["Sales"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["users", "show", "nobody@example.org"], 4, "no person with the address"),
        (["users", "add", "not an address"], 2, "not an email address"),
        (["users", "add", "a@example.org", "--department", "Nowhere"], 4, "no department"),
        (["teams", "remove", "Nothing"], 4, "no team"),
        (["keys", "create", "ci", "--owner", "nobody@example.org"], 4, "no person with the address"),
        (["keys", "create", "ci", "--expires", "soon"], 2, "90d, 12h or 30m"),
        (["keys", "create", "ci", "--expires", "0d"], 2, "expired already"),
        (["keys", "create", "ci", "--scope", "everything"], 2, "everything"),
        (["keys", "rotate", "nothing"], 4, "No keys that work"),
        (["audit", "export", "--since", "yesterday"], 2, "takes a date"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(command: Command, arguments: list[str], code: int, says: str) -> None:
    ended, _, err = command(*arguments)
    assert (ended, says in err) == (code, True), err


def test_the_last_admin_stays(command: Command) -> None:
    command("users", "add", "a@example.org", "--role", "admin")
    for arguments in (["set-role", "a@example.org", "member"], ["disable", "a@example.org"]):
        code, _, err = command("users", *arguments)
        assert (code, "last admin" in err) == (5, True)


def test_a_key_is_made_for_a_person_rotated_and_revoked(command: Command) -> None:
    command("users", "add", "a@example.org", "--role", "viewer")
    scopes = ["--scope", "models.read", "--scope", "reviews.read"]
    made = shown(command, "keys", "create", "ci", "--owner", "a@example.org", *scopes, "--expires", "90d")
    assert (made["role"], made["scopes"]) == ("viewer", ["models.read", "reviews.read"])
    assert made["key"].startswith("tm-")
    assert made["expires_at"]
    assert shown(command, "users", "show", "a@example.org")["keys"] == 1
    fresh = shown(command, "keys", "rotate", "ci", "--grace", "0m")
    assert fresh["key"] != made["key"]
    assert command("keys", "revoke", fresh["id"])[0] == 0
    rows = {row["id"]: row for row in shown(command, "keys", "list")}
    assert rows[made["id"]]["replaced_by"] == fresh["id"]
    assert rows[fresh["id"]]["revoked_at"]
    assert made["key"] not in command("keys", "list")[1]


def test_the_log_is_exported_and_its_changes_show(command: Command, database_url: str) -> None:
    command("users", "add", "a@example.org")
    command("users", "set-role", "a@example.org", "viewer")
    lines = [json.loads(line) for line in command("audit", "export")[1].splitlines()]
    assert [(line["actor"], line["action"]) for line in lines] == [
        ("command", "user.added"),
        ("command", "user.role_changed"),
    ]
    assert json.loads(command("audit", "export", "--json")[1]) == lines
    assert json.loads(command("audit", "export", "--json", "--until", "2020-01-01")[1]) == []
    assert len(command("audit", "export", "--since", "1h")[1].splitlines()) == 2
    assert "All 2 entries are as they were written" in command("audit", "verify")[1]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_is_append_only")
        connection.execute("UPDATE audit_log SET actor = 'hub' WHERE seq = 2")
    code, out, _ = command("audit", "verify")
    assert (code, "Entry 2 is not as it was written" in out) == (1, True)


def test_every_right_stands_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["rights"])
    assert set(Right) <= set(capsys.readouterr().out.split())


def test_the_table_and_the_routes_are_printed_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["rights", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert set(printed["roles"]) == set(Role)
    assert {"method": "GET", "path": "/v1/me", "rights": ["account"]} in printed["routes"]
    with pytest.raises(SystemExit):
        run(["rights", "--routes"])
    assert "/v1/users/{user_id}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "length"),
    [("90d", timedelta(days=90)), ("12h", timedelta(hours=12)), (" 30m ", timedelta(minutes=30))],
)
def test_a_length_of_time_is_read_as_people_write_it(text: str, length: timedelta) -> None:
    assert duration(text, "--expires") == length


@pytest.mark.parametrize("text", ["", "d", "90", "-1d", "1.5d", "90 days", "99999999d", "٣d", "1d\n2d"])
def test_a_length_of_time_that_is_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="90d, 12h or 30m"):
        duration(text, "--expires")
