"""Data protection in a whole hub: a person's data exported, erased and then found nowhere; secrets; what may leave."""

import asyncio
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, running_hub, scripted_settings, tidemill, upstream, wait_for
from tests.support.rows import query
from tidemill.flows.personal_data import receipt_digest
from tidemill.settings import Settings
from tidemill.store.database import make_pool
from tidemill.store.embedded import EmbeddedPostgres
from tidemill.store.search import search_files, search_tables
from tidemill.store.secret_key import load_secret_key

EMAIL = "xuan.heron@congty.vn"
NAME = "Đặng Xuân Heron"
PHRASES = {
    "chat": "zebra crossing at the tidal lock",
    "conversation": "the lighthouse keeper's forty spoons",
    "title": "spoons and lighthouses of mine",
    "file": "kingfisher ledger, page nineteen",
    "review": "wobbly_bridge_of_thirteen_ropes",
    "response": "umbrella orchard in the fog",
    "shared": "a text that two people uploaded",
}
PROVIDERS_KEY = "swordfish-" + "in-the-mill-race"
SHARED = f"{PHRASES['shared']}\n".encode()


class Person(NamedTuple):
    id: str
    key: str


class Keyed(BaseHTTPRequestHandler):
    """A provider that answers who shows its key."""

    def do_POST(self) -> None:
        """One chat request."""
        self.rfile.read(int(self.headers["content-length"]))
        right = self.headers["authorization"] == f"Bearer {PROVIDERS_KEY}"
        choice = {"index": 0, "message": {"role": "assistant", "content": "Welcome."}, "finish_reason": "stop"}
        body = json.dumps({"choices": [choice]} if right else {"error": {"message": "no"}}).encode()
        self.send_response(200 if right else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *given: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Keyed) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, provider: str) -> Iterator[Hub]:
    with upstream(tmp_path_factory.mktemp("upstream")) as server:
        settings = scripted_settings(server.url)
        settings["models"]["endpoints"] |= {
            "far": {"url": server.url, "outside": True},
            "keyed": {"url": provider, "api_key_secret": "provider"},
        }
        data_dir = reachable(tmp_path_factory.mktemp("data")) / "hub"
        with running_hub(data_dir, settings) as running:
            yield running


def command(hub: Hub, *words: str, **options: Any) -> Any:
    done = tidemill([*words, "--json"], hub.environment, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def person(hub: Hub, email: str, name: str) -> Person:
    with hub.client() as admin:
        user = ok(admin.post("/v1/users", json={"email": email, "name": name}))
        made = ok(admin.post("/v1/keys", json={"name": f"laptop of {name}", "owner_id": user["id"]}))
    return Person(user["id"], made["key"])


def client_of(hub: Hub, someone: Person) -> httpx.Client:
    headers = {"authorization": f"Bearer {someone.key}"}
    return httpx.Client(base_url=hub.url, headers=headers, trust_env=False, timeout=60)


def ok(answer: httpx.Response) -> Any:
    assert answer.status_code < 300, answer.text
    return answer.json()


def live_a_little(client: httpx.Client) -> None:
    """One of everything that the hub stores."""
    messages = [{"role": "user", "content": PHRASES["chat"]}]
    ok(client.post("/v1/chat/completions", json={"model": "scripted", "messages": messages}))
    opening = {"model": "scripted", "title": PHRASES["title"]}
    conversation = ok(client.post("/v1/conversations", json=opening))
    ok(client.post(f"/v1/conversations/{conversation['id']}/messages", json={"content": PHRASES["conversation"]}))
    for name, content in (("heron notes.txt", PHRASES["file"].encode()), ("both.txt", SHARED)):
        ok(client.post("/v1/files", files={"file": (name, content)}, data={"purpose": "user_data"}))
    ok(client.post("/v1/responses", json={"model": "scripted", "input": PHRASES["response"]}))
    code = f"def {PHRASES['review']}():\n    return eval(input())\n"
    lines = "".join(f"+{line}\n" for line in code.splitlines())
    diff = f"diff --git a/b.py b/b.py\nnew file mode 100644\n--- /dev/null\n+++ b/b.py\n@@ -0,0 +1,2 @@\n{lines}"
    review = ok(client.post("/v1/reviews", json={"diff": diff, "files": {"b.py": code}, "title": PHRASES["review"]}))
    wait_for(
        lambda: ok(client.get(f"/v1/reviews/{review['id']}"))["state"] in {"done", "failed"}, seconds=60, what="review"
    )


@pytest.fixture(scope="module")
def heron(hub: Hub) -> Person:
    someone = person(hub, EMAIL, NAME)
    with client_of(hub, someone) as client:
        live_a_little(client)
    return someone


@pytest.fixture(scope="module")
def other(hub: Hub) -> Person:
    someone = person(hub, "someone.else@congty.vn", "Someone Else")
    with client_of(hub, someone) as client:
        ok(client.post("/v1/files", files={"file": ("both.txt", SHARED)}, data={"purpose": "user_data"}))
    return someone


def places(hub: Hub, wanted: str) -> list[str]:
    """Where the hub's database and folder hold a string."""

    async def search(url: str) -> list[str]:
        async with make_pool(url, size=1) as pool:
            found = await search_tables(pool, wanted)
        return [place.where for place in (*found, *search_files(hub.data_dir, wanted))]

    settings = Settings(data_dir=hub.data_dir)
    with EmbeddedPostgres.acquire(settings, load_secret_key(settings)) as server:
        return asyncio.run(search(server.url))


@pytest.fixture(scope="module")
def archive(hub: Hub, heron: Person) -> zipfile.ZipFile:
    with client_of(hub, heron) as client:
        answer = client.get("/v1/me/export")
    assert answer.headers["content-type"] == "application/zip"
    return zipfile.ZipFile(io.BytesIO(answer.content))


def test_a_person_gets_all_that_is_stored_of_them_and_the_manifest_holds(archive: zipfile.ZipFile) -> None:
    manifest = json.loads(archive.read("manifest.json"))
    assert set(manifest["members"]) == set(archive.namelist()) - {"manifest.json"}
    for name, told in manifest["members"].items():
        data = archive.read(name)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (told["bytes"], told["sha256"])
        if name.endswith(".json"):
            assert len(json.loads(data)) == told["count"]
    texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert EMAIL in texts["profile.json"]
    assert NAME in texts["profile.json"]
    assert PHRASES["chat"] in texts["inferences.json"]
    assert PHRASES["conversation"] in texts["conversations.json"]
    assert PHRASES["review"] in texts["reviews.json"]
    assert PHRASES["response"] in texts["responses.json"]
    assert PHRASES["file"] in "".join(text for name, text in texts.items() if name.startswith("files/"))
    assert "user.exported" in texts["audit.json"]
    assert NAME in texts["keys.json"]


def test_no_export_holds_a_secret_or_anything_of_another(
    archive: zipfile.ZipFile, heron: Person, other: Person
) -> None:
    text = "".join(archive.read(name).decode() for name in archive.namelist())
    assert heron.key not in text
    assert "password_hash" not in text
    assert other.id not in text
    assert "Someone Else" not in text


def test_only_who_manages_data_exports_or_erases_others(hub: Hub, heron: Person, other: Person) -> None:
    with client_of(hub, other) as client:
        assert client.get(f"/v1/users/{heron.id}/export").status_code == 403
        assert client.post(f"/v1/users/{heron.id}/erase").status_code == 403
        assert client.get("/v1/erasures").status_code == 403
    with hub.client() as admin:
        assert admin.get(f"/v1/users/{heron.id}/export").status_code == 200
        assert admin.get("/v1/me/export").status_code == 404
        assert admin.get(f"/v1/users/{'0' * 8}-0000-0000-0000-{'0' * 12}/export").status_code == 404
        assert admin.post(f"/v1/users/{'0' * 8}-0000-0000-0000-{'0' * 12}/erase").status_code == 404


def test_the_command_writes_an_export_for_its_owner_alone(hub: Hub, heron: Person, tmp_path: Path) -> None:
    target = tmp_path / "heron.zip"
    command(hub, "data", "export", EMAIL, "--to", str(target))
    assert target.stat().st_mode & 0o777 == 0o600
    assert "profile.json" in zipfile.ZipFile(target).namelist()
    again = tidemill(["data", "export", EMAIL, "--to", str(target)], hub.environment)
    assert again.returncode == 5


def test_an_erased_person_is_found_nowhere_and_the_receipt_says_what_went(
    hub: Hub, heron: Person, other: Person
) -> None:
    log = hub.data_dir / "logs" / "a program.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text(f"2026-03-01 refused {EMAIL}, who is {NAME}\n")
    wanted = (EMAIL, NAME, *(phrase for kind, phrase in PHRASES.items() if kind != "shared"))
    for one in wanted:
        assert places(hub, one), one
    told = [place["where"] for place in command(hub, "data", "search", EMAIL)]
    assert {"public.users.email", "logs/a program.log"} <= set(told)
    refused = tidemill(["data", "erase", EMAIL], hub.environment)
    assert refused.returncode == 2
    with hub.client() as admin:
        receipt = ok(admin.post(f"/v1/users/{heron.id}/erase"))
    for one in wanted:
        assert places(hub, one) == [], one
    counts = receipt["counts"]
    assert {name for name, count in counts.items() if count} >= {
        "keys", "inference_texts", "inferences_made_anonymous", "conversations", "responses", "reviews", "workflows",
        "files", "profile", "words_in_logs",
    }  # fmt: skip
    assert receipt["sha256"] == receipt_digest(receipt)
    assert not any(one in json.dumps(receipt, ensure_ascii=False) for one in wanted)
    with client_of(hub, heron) as gone:
        assert gone.get("/v1/models").status_code == 401
    assert places(hub, PHRASES["shared"])
    with client_of(hub, other) as client:
        files = ok(client.get("/v1/files"))["data"]
        assert client.get(f"/v1/files/{files[0]['id']}/content").content == SHARED


def test_after_an_erasure_the_teams_figures_are_still_there_without_the_person(hub: Hub, heron: Person) -> None:
    rows = query(hub, "SELECT owner_id, key_id, prompt_tokens FROM inferences WHERE owner_id IS NULL")
    assert rows
    assert all(row["key_id"] is None for row in rows)
    [user] = query(hub, "SELECT * FROM users WHERE id = %s", heron.id)
    assert user["erased_at"] is not None
    assert user["email"] is user["name"] is user["password_hash"] is None


def test_a_second_erasure_gives_the_same_receipt_and_the_list_shows_it(hub: Hub, heron: Person) -> None:
    with hub.client() as admin:
        first = ok(admin.post(f"/v1/users/{heron.id}/erase"))
        listed = ok(admin.get("/v1/erasures"))["data"]
    assert command(hub, "data", "erase", heron.id, "--yes") == first
    assert [one["receipt"]["sha256"] for one in listed] == [first["sha256"]]


def test_the_last_admin_can_not_be_erased(hub: Hub) -> None:
    with hub.client() as client:
        boss = ok(client.post("/v1/users", json={"email": "boss@congty.vn", "name": "Boss", "role": "admin"}))
        refused = client.post(f"/v1/users/{boss['id']}/erase")
    assert refused.status_code == 409
    assert "last admin" in refused.json()["error"]["message"]
    assert places(hub, "boss@congty.vn")


def test_secrets_are_set_over_http_and_never_read(hub: Hub, other: Person) -> None:
    value = PROVIDERS_KEY
    asked = {"model": "keyed", "messages": [{"role": "user", "content": "Hello"}]}
    with hub.client() as admin:
        unset = admin.post("/v1/chat/completions", json=asked)
        assert unset.status_code == 500
        assert "tidemill secrets set provider" in unset.json()["error"]["message"]
        assert admin.put("/v1/secrets/provider", json={"value": value}).status_code == 204
        listed = admin.get("/v1/secrets")
        assert [one["name"] for one in listed.json()["data"]] == ["provider"]
        assert value not in listed.text
        wrong = admin.put("/v1/secrets/a%20b", json={"value": value})
        assert wrong.status_code == 400
        refused = admin.put("/v1/secrets/provider", json={"value": [value]})
        assert refused.status_code == 400
        assert value not in wrong.text + refused.text
        with client_of(hub, other) as client:
            assert client.get("/v1/secrets").status_code == 403
            assert client.put("/v1/secrets/provider", json={"value": "x"}).status_code == 403
        assert places(hub, value) == []
        answer = ok(admin.post("/v1/chat/completions", json=asked))
        assert answer["choices"][0]["message"]["content"] == "Welcome."
        assert admin.delete("/v1/secrets/provider").status_code == 204
        assert admin.delete("/v1/secrets/provider").status_code == 404


@pytest.mark.parametrize("stream", [False, True])
def test_a_confidential_text_goes_to_no_model_outside_and_leaves_a_row_that_says_so(hub: Hub, *, stream: bool) -> None:
    address = "minh.anh@congty.vn"
    asked = {"messages": [{"role": "user", "content": f"Write to {address}."}], "stream": stream}
    with hub.client() as client:
        refused = client.post("/v1/chat/completions", json={"model": "far", **asked})
        allowed = client.post("/v1/chat/completions", json={"model": "scripted", **asked})
        harmless = {"model": "far", "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
        assert client.post("/v1/chat/completions", json=harmless).status_code == 200
    assert allowed.status_code == 200
    assert refused.status_code == 403
    assert "email-address" in refused.text
    assert address not in refused.text
    [row] = query(
        hub,
        "SELECT i.status, i.error_code, t.level FROM inferences i JOIN inference_texts t ON t.inference_id = i.id "
        "WHERE model = 'far' AND status = 'error' AND streamed = %s",
        stream,
    )
    assert row == {"status": "error", "error_code": "permission_denied", "level": "confidential"}


def test_retention_says_what_is_due_and_when_it_last_ran(hub: Hub) -> None:
    told = {one["kind"]: one for one in command(hub, "data", "retention", "--dry-run")}
    assert told["conversations"]["keep_hours"] == 168
    assert told["cached_embeddings"]["keep_hours"] == 24
    assert told["log_files"]["keep_hours"] == 720
    assert all(one["due"] == 0 for one in told.values())
    assert all(one["last_run_at"] for one in told.values()), "the hub looks at its start"
