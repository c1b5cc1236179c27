"""Providers from the command line, without a hub: keys come in unseen, and what is wrong is said in a sentence."""

import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tidemill.cli.main import run

KEY = "sk-heron-4711-not-to-be-found"
Command = Callable[..., tuple[int, str, str]]


class _Lister(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.headers.get("authorization") == f"Bearer {KEY}"
        said: dict[str, Any] = {"data": [{"id": "m"}]} if known else {"error": {"message": "Incorrect API key"}}
        body = json.dumps(said).encode()
        self.send_response(200 if known else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """A provider that lists one model to whoever has the key."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Lister)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}/v1"
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.fixture
def command(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs a command on the test's own database: its exit code, and what it wrote."""
    monkeypatch.setenv("TIDEMILL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DATABASE_URL", database_url)

    def done(*arguments: str, typed: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
        with pytest.raises(SystemExit) as end:
            run(["providers", *arguments])
        written = capsys.readouterr()
        return int(end.value.code or 0), written.out, written.err

    return done


def test_a_provider_is_added_tried_disabled_enabled_and_removed(
    command: Command, server: str, database_url: str
) -> None:
    assert "There are no providers. Add one with `tidemill providers add`." in command("list")[1]
    arguments = ["--kind", "openai_compatible", "--base-url", server, "--allow-private", "--model", "other"]
    arguments += ["--price", "m=1.25/10/0.125", "--price", "org/n:free=0/0", "--timeout", "9", "--outside"]
    code, out, _ = command("add", "house", *arguments, typed=f"{KEY}\n".encode())
    assert (code, out) == (0, "The provider house is added. `tidemill providers test house` tries it.\n")
    code, out, _ = command("show", "house", "--json")
    shown = json.loads(out)
    assert shown["base_urls"] == [server]
    assert shown["key"] == {"place": "secret", "name": "provider.house"}
    assert shown["models"] == {
        "other": {}, "m": {"input": 1.25, "output": 10, "cached": 0.125}, "org/n:free": {"input": 0, "output": 0},
    }  # fmt: skip
    assert (shown["outside"], shown["timeout"], shown["health"]["state"]) == (True, 9, "ready")
    code, out, _ = command("test", "house")
    assert code == 0, out
    assert out.startswith("house: well, ")
    assert "It lists 1 models." in out
    assert command("disable", "house", "--reason", "too dear")[1] == "The provider house is disabled.\n"
    said = command("list")[1] + command("show", "house")[1]
    for word in ("house", "openai_compatible", "secret provider.house", "disabled: too dear", "$1.25 in, $10 out",
                 "cached $0.125", "unknown", "$0 in, $0 out"):  # fmt: skip
        assert word in said
    assert json.loads(command("enable", "house", "--json")[1])["health"]["state"] == "ready"
    with psycopg.connect(database_url) as connection:
        everything = repr([connection.execute(f"SELECT * FROM {table}").fetchall()  # type: ignore[arg-type]
                           for table in ("providers", "provider_states", "secrets", "audit_log")])  # fmt: skip
        actions = [row[0] for row in connection.execute("SELECT action FROM audit_log ORDER BY seq")]
    assert KEY not in everything + said
    assert actions == ["provider.added", "secret.set", "provider.disabled", "provider.enabled"]
    assert command("remove", "house")[1] == "The provider house is removed.\n"
    assert json.loads(command("list", "--json")[1]) == []


def test_a_key_can_stay_where_it_is(
    command: Command, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "house.key"
    own = ["--kind", "vllm", "--base-url", server, "--allow-private", "--json"]
    found = json.loads(command("add", "one", *own, "--key-env", "HOUSE_KEY")[1])
    assert found["key"] == {"place": "environment", "name": "HOUSE_KEY"}
    found = json.loads(command("add", "two", *own, "--key-file", str(file))[1])
    assert found["key"] == {"place": "file", "name": str(file)}
    assert json.loads(command("add", "three", *own, "--no-key")[1])["key"] is None
    assert json.loads(command("add", "four", *own)[1])["key"] is None
    monkeypatch.setenv("HOUSE_KEY", KEY)
    assert command("test", "one")[0] == 0
    code, out, _ = command("test", "two")
    assert code == 7
    assert f"the file {file}, which can't be read" in out
    file.write_text(f"{KEY}\n")
    assert command("test", "two")[0] == 0
    code, out, _ = command("test", "three", "--json")
    assert code == 7
    assert json.loads(out)["failure"] == "authentication.invalid"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1"])
def test_what_is_wrong_is_said_in_a_sentence(command: Command, url: str) -> None:
    own = ["--kind", "vllm", "--base-url", url, "--no-key"]
    openai = ["--kind", "openai"]
    wrong = [
        (["add", "p", *openai], 2, "There is no key. Type it when it is asked for"),
        (["add", "p", *openai, "--no-key"], 2, "openai answers nobody without a key"),
        (["add", "p", *openai, "--key-env", "K", "--key-file", "k"], 2, "Give one of --key-env"),
        (["add", "p", *own], 2, "loopback address"),
        (["add", "p", "--kind", "vllm", "--no-key"], 2, "vllm has no public address"),
        (["add", "p", *own[:3], "http://169.254.169.254/", "--no-key", "--allow-private"], 2, "metadata service"),
        (["add", "p", *openai, "--key-env", "K", "--base-url", "api.openai.com"], 2, "begins with http://"),
        (["add", "P", *own, "--allow-private"], 2, "can't name a provider"),
        (["add", "p", *own, "--allow-private", "--price", "m=cheap"], 2, "--price takes MODEL=INPUT/OUTPUT"),
        (["add", "p", *own, "--allow-private", "--price", "m=1"], 2, "--price takes MODEL=INPUT/OUTPUT"),
        (["add", "p", *own, "--allow-private", "--price", "m=-1/2"], 2, "models.m.input"),
        (["add", "p", *own, "--allow-private", "--price", "m=nan/2"], 2, "models.m.input"),
        (["show", "nobody"], 4, "There is no provider 'nobody'"),
        (["test", "nobody"], 4, "There is no provider 'nobody'"),
        (["disable", "nobody"], 4, "There is no provider 'nobody'"),
        (["remove", "nobody"], 4, "There is no provider 'nobody'"),
    ]
    for arguments, exit_code, said in wrong:
        code, _, err = command(*arguments)
        assert (code, said in err) == (exit_code, True), (arguments, code, err)
    code, _, err = command("add", "p", *openai, typed=b"sk two words")
    assert code == 2
    assert "two words" not in err


def test_endpoints_of_the_settings_are_listed_with_how_they_are_doing(
    command: Command, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tidemill.yaml"
    endpoints = {name: {"url": f"http://{name}:8000/v1"} for name in ("gpu-box", "spare")}
    file.write_text(json.dumps({"models": {"endpoints": endpoints}}))
    monkeypatch.setenv("TIDEMILL_CONFIG", str(file))
    assert command("list", "--json")[:2] == (0, "[]\n")
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO provider_states (provider, model, failures, rests_until, last_failure, updated_at) "
            "VALUES ('gpu-box', '', 5, now() + interval '1 hour', 'network.connection', now())"
        )
    lines = command("list")[1].splitlines()
    assert [line.split()[:3] for line in lines[-2:]] == [
        ["gpu-box", "endpoint", "http://gpu-box:8000/v1"],
        ["spare", "endpoint", "http://spare:8000/v1"],
    ]
    assert ("resting until" in lines[-2], "ready" in lines[-1]) == (True, True)
