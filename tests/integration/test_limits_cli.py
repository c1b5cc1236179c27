"""Budgets, rate limits and usage from the command line, without a hub."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tidemill.cli.main import run
from tidemill.core.ids import new_id

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


def test_a_budget_is_set_for_what_people_call_by_its_name_listed_and_removed(command: Command) -> None:
    assert "`tidemill budgets set all --usd 100`" in command("budgets", "list")[1]
    for setting_up in (
        ["users", "add", "an@example.org"],
        ["teams", "add", "Platform"],
        ["keys", "create", "ci"],
    ):
        assert command(*setting_up)[0] == 0
    assert command("budgets", "set", "all", "--usd", "100")[1] == "everyone together may cost $100.00 a month.\n"
    assert command("budgets", "set", "user", "An@example.org", "--usd", "5", "--per", "day")[0] == 0
    assert command("budgets", "set", "team", "platform", "--usd", "50", "--per", "total")[0] == 0
    assert command("budgets", "set", "key", "ci", "--usd", "2")[0] == 0
    assert command("budgets", "set", "task", "chat", "--usd", "2")[0] == 0
    found = {one["scope"]: (one["name"], one["period"], one["left_usd"]) for one in shown(command, "budgets", "list")}
    assert found == {
        "all": (None, "month", 100.0),
        "user": ("an@example.org", "day", 5.0),
        "team": ("Platform", "total", 50.0),
        "key": ("ci", "month", 2.0),
        "task": (None, "month", 2.0),
    }
    assert "an@example.org" in command("budgets", "list")[1]
    assert command("budgets", "remove", "team", "Platform", "--per", "total")[0] == 0
    assert command("budgets", "remove", "team", "Platform", "--per", "total")[0] == 4
    assert len(shown(command, "budgets", "list")) == 4


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["all", "--usd", "0"], 2, "A budget is an amount of US dollars from 0.000001"),
        (["all", "--usd", "-5"], 2, "A budget is an amount"),
        (["user", "nobody@example.org", "--usd", "5"], 4, "nobody@example.org"),
        (["task", "chatter", "--usd", "5"], 4, "There is no task 'chatter'"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(command: Command, arguments: list[str], code: int, why: str) -> None:
    ended, _, err = command("budgets", "set", *arguments)
    assert ended == code
    assert why in err


def test_a_rate_limit_is_set_listed_and_removed(command: Command) -> None:
    assert command("keys", "create", "ci")[0] == 0
    code, out, _ = command("limits", "set", "key", "ci", "--requests", "60", "--tokens", "100000", "--burst", "5")
    assert (code, out) == (0, "the key ci may use 60 requests and 100,000 tokens a minute.\n")
    [limit] = shown(command, "limits", "list")
    assert (limit["name"], limit["requests_per_minute"], limit["burst"]) == ("ci", 60, 5)
    assert command("limits", "set", "all")[0] == 2
    assert command("limits", "remove", "key", "ci")[0] == 0
    assert "No rate limit was set." in command("limits", "list")[1]


def test_usage_is_a_table_with_a_sum_and_json_for_programs(command: Command, database_url: str) -> None:
    assert command("usage")[1] == "Nothing was used in this time.\n"
    with psycopg.connect(database_url, autocommit=True) as connection:
        for cost in (0.25, None):
            connection.execute(
                "INSERT INTO inferences (id, task, variant, model, model_version, config_hash, request_hash, trace_id, "
                "status, streamed, prompt_tokens, completion_tokens, cached_tokens, cost_usd, latency_ms, created_at, "
                "provider) VALUES (%s, 'chat', 'default', 'big', '1', '', '', '', 'ok', false, 1000, 20, 0, %s, 1, "
                "now(), 'acme')",
                (new_id(), cost),
            )
    table = command("usage", "--by", "model", "--by", "provider", "--from", "1d")[1]
    assert "2,000" in table
    assert "0.250000 + 1 unknown" in table
    assert table.splitlines()[-1].startswith("all")
    report = shown(command, "usage", "--by", "provider")
    assert [(one["provider"], one["requests"], one["unknown_costs"]) for one in report["data"]] == [("acme", 2, 1)]
    assert report["total"]["cost_usd"] == 0.25
    assert command("usage", "--from", "someday")[0] == 2
