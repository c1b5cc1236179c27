"""Sources in a whole hub: over HTTP and on the command line, for callers who may see different things, and killed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, running_hub, scripted_settings, start_hub, stop, tidemill, upstream, wait_for
from tests.support.rows import query

pytestmark = pytest.mark.unmeasured

CORPUS = Path(__file__).resolve().parents[1] / "data" / "knowledge" / "documents"


def settings_of(url: str, roots: Path) -> dict[str, Any]:
    embeddings = {"default": "scripted-vectors", "endpoints": {"scripted-vectors": {"url": url}}}
    return scripted_settings(url, embeddings=embeddings, knowledge={"sources": {"roots": [str(roots)]}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reachable(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def files(folder: Path) -> Path:
    made = folder / "files"
    made.mkdir()
    for name in ("quy-trinh-mua-hang.md", "purchase_limits.py", "runbook-payments.md"):
        (made / name).write_bytes((CORPUS / name).read_bytes())
    (made / "broken.pdf").write_bytes(b"%PDF-1.4 and nothing")
    return made


@pytest.fixture(scope="module")
def hub(folder: Path, files: Path) -> Iterator[Hub]:
    with upstream(folder) as scripted, running_hub(folder / "data", settings_of(scripted.url, files)) as running:
        yield running


def client_of(hub: Hub, name: str, **person: object) -> httpx.Client:
    """A client of a new person."""
    with hub.client() as admin:
        user = done(admin.post("/v1/users", json={"email": f"{name}@example.org", "name": name, **person}))
        role = person.get("role", "member")
        made = done(admin.post("/v1/keys", json={"name": name, "role": role, "owner_id": user["id"]}))
    return httpx.Client(
        base_url=hub.url, headers={"authorization": f"Bearer {made['key']}"}, timeout=60, trust_env=False
    )


def done(answer: httpx.Response) -> Any:
    assert answer.status_code < 300, answer.text
    return answer.json() if answer.content else None


def synced(client: httpx.Client, source: str) -> dict[str, Any]:
    """A sync, followed to its end."""
    sync = done(client.post(f"/v1/sources/{source}/sync"))
    text = client.get(f"/v1/sources/{source}/syncs/{sync['id']}/events").text
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("event: ")]
    last = json.loads(blocks[-1][1].removeprefix("data: "))
    assert blocks[-1][0] == f"event: {last['state']}"
    found: dict[str, Any] = last
    return found


def command(hub: Hub, *words: str) -> Any:
    ended = tidemill(["sources", *words, "--json"], hub.environment)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_the_commands_add_sync_show_and_remove_a_source(hub: Hub, files: Path) -> None:
    first = command(hub, "add", str(files), "--name", "handbook", "--option", "exclude=*.py")
    assert (first["state"], first["counts"]["new"], first["counts"]["failed"]) == ("done", 2, 1)
    again = command(hub, "sync", "handbook")
    assert (again["counts"]["unchanged"], again["counts"]["embedded"]) == (2, 0)
    [listed] = command(hub, "list")
    assert (listed["name"], listed["documents"], listed["failures"]) == ("handbook", 2, 1)
    shown = command(hub, "show", "handbook", "--documents")
    assert [one["path"] for one in shown["data"]] == ["quy-trinh-mua-hang.md", "runbook-payments.md"]
    assert [one["language"] for one in shown["data"]] == ["vi", "en"]
    [failure] = command(hub, "failures", "handbook")
    assert (failure["path"], failure["code"]) == ("broken.pdf", "corrupt")
    said = tidemill(["sources", "failures", "handbook"], hub.environment)
    assert "broken.pdf" in said.stdout
    removed = tidemill(["sources", "rm", "handbook"], hub.environment)
    assert removed.returncode == 0, removed.stderr
    assert command(hub, "list") == []
    assert tidemill(["sources", "sync", "handbook"], hub.environment).returncode == 4


def test_who_may_not_see_a_source_finds_nothing_of_it(hub: Hub, files: Path) -> None:
    with hub.client() as admin, client_of(hub, "stranger") as member:
        body = {"name": "secret plans", "kind": "folder", "location": str(files), "level": "secret"}
        source = done(admin.post("/v1/sources", json=body))["id"]
        synced(admin, source)
        asked = {"query": "mua hàng", "mode": "lexical"}
        assert done(admin.post("/v1/search", json=asked))["data"]
        assert done(member.post("/v1/search", json=asked))["data"] == []
        assert done(member.get("/v1/sources"))["data"] == []
        for path in ("", "/documents", "/syncs", "/failures"):
            assert member.get(f"/v1/sources/{source}{path}").status_code == 404
        for method in ("PATCH", "DELETE"):
            assert member.request(method, f"/v1/sources/{source}", json={}).status_code == 404
        done(admin.patch(f"/v1/sources/{source}", json={"level": "internal"}))
        assert done(member.post("/v1/search", json=asked))["data"]
        assert member.delete(f"/v1/sources/{source}").status_code == 403
        assert member.post(f"/v1/sources/{source}/sync").status_code == 403
        assert member.get(f"/v1/sources/{source}/failures").status_code == 403
        for listed in ("", f"/{source}/documents", f"/{source}/failures"):
            done(admin.get(f"/v1/sources{listed}", params={"after": "a\x00b"}))
        done(admin.delete(f"/v1/sources/{source}"))
        assert done(admin.post("/v1/search", json=asked))["data"] == []


def test_a_member_adds_sources_within_their_own_bounds(hub: Hub, files: Path, folder: Path) -> None:
    with client_of(hub, "mai") as member, client_of(hub, "ngoc", role="viewer") as viewer, hub.client() as admin:
        body = {"name": "mine", "kind": "folder", "location": str(files)}
        assert viewer.post("/v1/sources", json=body).status_code == 403
        assert member.post("/v1/sources", json={**body, "level": "secret"}).status_code == 403
        unknown = member.post("/v1/sources", json={**body, "level": "top secret"})
        assert (unknown.status_code, "level" in unknown.text) == (400, True)
        nobodys = {**body, "departments": ["00000000-0000-0000-0000-000000000001"]}
        assert admin.post("/v1/sources", json=nobodys).status_code == 404
        outside = member.post("/v1/sources", json={**body, "location": str(folder)})
        assert outside.status_code == 403
        missing = member.post("/v1/sources", json={**body, "location": "/no/such/folder/anywhere"})
        assert missing.status_code == 403, "whether a folder is there is told to nobody"
        own = admin.post("/v1/sources", json={**body, "location": str(hub.data_dir)})
        assert "own data" in own.json()["error"]["message"]
        department = done(admin.post("/v1/departments", json={"name": "Planning"}))["id"]
        assert member.post("/v1/sources", json={**body, "departments": [department]}).status_code == 403
        assert member.post("/v1/sources", json={**body, "options": {"depth": 3}}).status_code == 400
        source = done(member.post("/v1/sources", json=body))["id"]
        assert member.post("/v1/sources", json=body).status_code == 409
        assert synced(member, source)["state"] == "done"
        assert member.post("/v1/sources/reembed").status_code == 403
        changed = done(member.patch(f"/v1/sources/{source}", json={"name": "ours", "sync_every": 3600}))
        assert (changed["name"], changed["sync_every"], changed["documents"]) == ("ours", 3600, 3)
        done(member.delete(f"/v1/sources/{source}"))
        for kind, location in (
            ("git", "https://user:pw@example.org/a.git"),
            ("git", "ssh://example.org/a"),
            ("git", "-x"),
        ):
            refused = member.post("/v1/sources", json={"name": "bad", "kind": kind, "location": location})
            assert refused.status_code == 400, refused.text


def test_an_upload_is_found_and_taken_back(hub: Hub, folder: Path) -> None:
    with hub.client() as admin:
        source = done(admin.post("/v1/sources", json={"name": "drop", "kind": "upload"}))["id"]
        path = f"/v1/sources/{source}/documents"
        content = "# Parking\n\nThe garage opens at six for everybody with a marsupial badge.\n"
        sent = done(admin.post(path, files={"file": ("parking.md", content.encode())}))
        assert sent["path"] == "parking.md"
        admin.get(f"/v1/sources/{source}/syncs/{sent['sync']['id']}/events")
        found = done(admin.post("/v1/search", json={"query": "marsupial badge", "mode": "lexical"}))["data"]
        assert [hit["path"] for hit in found] == ["parking.md"]
        [document] = done(admin.get(path))["data"]
        taken = done(admin.delete(f"{path}/{document['id']}"))
        admin.get(f"/v1/sources/{source}/syncs/{taken['id']}/events")
        assert done(admin.get(path))["data"] == []
        sent = done(admin.post(path, files={"file": ("broken.pdf", b"%PDF-1.4 and nothing")}))
        admin.get(f"/v1/sources/{source}/syncs/{sent['sync']['id']}/events")
        assert [one["path"] for one in command(hub, "failures", "drop")] == ["broken.pdf"]
        assert command(hub, "take-back", "drop", "broken.pdf")["state"] == "done"
        assert command(hub, "failures", "drop") == []
        assert admin.delete(path, params={"path": "broken.pdf"}).status_code == 404
        for bad in ({"file": ("a.md", b"")}, {"file": ("..", b"x")}):
            assert admin.post(path, files=bad).status_code == 400
        assert admin.post(f"/v1/sources/{source}/documents", data={"path": "a"}).status_code == 400
        done(admin.delete(f"/v1/sources/{source}"))


def test_a_sync_whose_hub_is_killed_ends_as_if_it_had_not_been(folder: Path) -> None:
    notes = folder / "notes"
    notes.mkdir()
    for number in range(60):
        (notes / f"{number}.md").write_text(f"# Note {number}\n\nThis is what note {number} says of its own matter.\n")
    with upstream(folder) as scripted:
        settings = settings_of(scripted.url, notes)
        hub = start_hub(folder / "killed", settings)
        try:
            with hub.client() as client:
                body = {"name": "notes", "kind": "folder", "location": str(notes)}
                source = done(client.post("/v1/sources", json=body))["id"]
                sync = done(client.post(f"/v1/sources/{source}/sync"))["id"]
            for wanted in ("SELECT 1 FROM documents OFFSET 20", "SELECT 1 FROM chunk_vectors"):
                wait_for(lambda hub=hub, wanted=wanted: query(hub, wanted), what="a part of the sync")
                hub.kill()
                hub = start_hub(folder / "killed", settings)
            wait_for(
                lambda: query(hub, "SELECT 1 FROM source_syncs WHERE id = %s AND state = 'done'", sync),
                what="the end of the sync",
            )
            assert query(hub, "SELECT count(*) AS n FROM documents") == [{"n": 60}]
            assert query(hub, "SELECT count(*) AS n FROM document_versions") == [{"n": 60}]
            assert query(hub, "SELECT count(*) AS n FROM chunk_vectors") == [{"n": 60}]
            assert query(hub, "SELECT count(*) AS n FROM chunks_to_embed") == [{"n": 0}]
            [row] = query(hub, "SELECT counts FROM source_syncs")
            assert row["counts"]["seen"] == 60
        finally:
            stop(hub)


def test_a_hub_that_has_read_documents_stops_in_order(folder: Path, files: Path) -> None:
    log = folder / "stopped.log"
    pages = folder / "pages"
    pages.mkdir()
    (pages / "page.html").write_bytes((CORPUS / "onboarding.html").read_bytes())
    with upstream(folder) as scripted:
        hub = start_hub(folder / "stopped", settings_of(scripted.url, pages), log=log)
        with hub.client() as client:
            body = {"name": "pages", "kind": "folder", "location": str(pages)}
            assert synced(client, done(client.post("/v1/sources", json=body))["id"])["counts"]["new"] == 1
        stop(hub)
    assert hub.process.returncode == 0
    assert "Traceback" not in log.read_text()
