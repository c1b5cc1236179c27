"""Files over HTTP: the official client, forms that are broken, limits, and what is left of them on the disk."""

import hashlib
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, running_hub, scripted_settings, tidemill, upstream, wait_for
from tests.support.rows import query

MEGABYTE = 1_000_000
LIMIT = 3 * MEGABYTE
QUOTA = 8 * MEGABYTE
OCTETS = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with upstream(tmp_path_factory.mktemp("upstream")) as scripted:
        settings = scripted_settings(
            scripted.url, max_request_bytes=100_000, files={"max_bytes": LIMIT, "owner_max_bytes": QUOTA}
        )
        with running_hub(reachable(tmp_path_factory.mktemp("a hub")) / "data", settings) as running:
            yield running


def key(hub: Hub, name: str) -> str:
    return str(json.loads(tidemill(["keys", "create", name, "--json"], hub.environment).stdout)["key"])


@pytest.fixture(scope="module")
def own(hub: Hub) -> str:
    return key(hub, "ours")


@pytest.fixture(scope="module")
def other(hub: Hub) -> str:
    return key(hub, "theirs")


@pytest.fixture
def ask(hub: Hub, own: str) -> Iterator[openai.OpenAI]:
    client = openai.OpenAI(base_url=f"{hub.url}/v1", api_key=own, max_retries=0)
    yield client
    for file in client.files.list():
        client.files.delete(file.id)


@pytest.fixture
def client(hub: Hub, own: str, ask: openai.OpenAI) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=hub.url, headers={"authorization": f"Bearer {own}"}, timeout=60, trust_env=False
    ) as opened:
        yield opened


@pytest.fixture
def theirs(hub: Hub, other: str) -> Iterator[openai.OpenAI]:
    client = openai.OpenAI(base_url=f"{hub.url}/v1", api_key=other, max_retries=0)
    yield client
    for file in client.files.list():
        client.files.delete(file.id)


def blob(hub: Hub, content: bytes) -> Path:
    digest = hashlib.sha256(content).hexdigest()
    return hub.data_dir / "blobs" / digest[:2] / digest[2:]


def incoming(hub: Hub) -> list[Path]:
    return list((hub.data_dir / "blobs").glob("incoming-*"))


def test_the_official_client_uploads_lists_reads_and_deletes(hub: Hub, ask: openai.OpenAI) -> None:
    made = ask.files.create(file=("notes.bin", io.BytesIO(OCTETS)), purpose="user_data")
    assert made.id.startswith("file-")
    assert (made.bytes, made.filename, made.purpose, made.status) == (
        len(OCTETS),
        "notes.bin",
        "user_data",
        "processed",
    )
    assert made.expires_at is None
    assert ask.files.retrieve(made.id) == made
    assert [file.id for file in ask.files.list()] == [made.id]
    assert ask.files.content(made.id).read() == OCTETS
    assert blob(hub, OCTETS).exists()
    assert ask.files.delete(made.id).deleted
    assert not blob(hub, OCTETS).exists()
    with pytest.raises(openai.NotFoundError):
        ask.files.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        ask.files.delete(made.id)


def test_files_are_listed_by_purpose_in_both_orders_and_in_pages(ask: openai.OpenAI) -> None:
    made = [ask.files.create(file=(f"{n}.txt", b"%d" % n), purpose="batch" if n % 2 else "evals").id for n in range(5)]
    assert [file.id for file in ask.files.list(order="asc", limit=2)] == made
    assert [file.id for file in ask.files.list(limit=2)] == made[::-1]
    assert [file.id for file in ask.files.list(purpose="batch", order="asc")] == [made[1], made[3]]
    page = ask.files.list(order="asc", limit=3)
    assert page.has_more
    assert not ask.files.list(order="asc", after=made[2]).has_more


def test_a_file_ends_when_it_was_told_to(hub: Hub, ask: openai.OpenAI) -> None:
    made = ask.files.create(
        file=("a", b"short-lived"), purpose="assistants", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.expires_at == made.created_at + 3600
    query(hub, "UPDATE files SET expires_at = now() RETURNING id")
    assert list(ask.files.list()) == []
    with pytest.raises(openai.NotFoundError):
        ask.files.content(made.id)


def test_another_key_s_file_does_not_exist(ask: openai.OpenAI, theirs: openai.OpenAI) -> None:
    made = ask.files.create(file=("a", b"private"), purpose="user_data")
    for attempt in (theirs.files.retrieve, theirs.files.content, theirs.files.delete):
        with pytest.raises(openai.NotFoundError):
            attempt(made.id)
    with pytest.raises(openai.NotFoundError):
        theirs.files.list(after=made.id)
    assert list(theirs.files.list()) == []
    assert ask.files.content(made.id).read() == b"private"


def test_content_that_two_owners_share_goes_with_the_last_of_them(
    hub: Hub, ask: openai.OpenAI, theirs: openai.OpenAI
) -> None:
    first = ask.files.create(file=("a", b"the same"), purpose="user_data")
    second = theirs.files.create(file=("b", b"the same"), purpose="user_data")
    ask.files.delete(first.id)
    assert theirs.files.content(second.id).read() == b"the same"
    theirs.files.delete(second.id)
    assert not blob(hub, b"the same").exists()


def test_a_change_under_review_is_not_deleted_with_a_file_of_the_same_content(hub: Hub, ask: openai.OpenAI) -> None:
    with hub.client() as client:
        review = client.post("/v1/reviews", json={"diff": "", "model": False}).json()["id"]
    [row] = query(hub, "SELECT change_digest FROM reviews WHERE id = %s", review)
    path = hub.data_dir / "blobs" / row["change_digest"][:2] / row["change_digest"][2:]
    made = ask.files.create(file=("change.json", path.read_bytes()), purpose="user_data")
    ask.files.delete(made.id)
    assert path.exists()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\plan.docx", "plan.docx"),
        ('a"; filename=b\r\nx: y', "a"),
        ("kế hoạch 🌊.pdf", "kế hoạch 🌊.pdf"),
        ("n" * 300 + ".txt", "n" * 251 + ".txt"),
    ],
)
def test_a_name_is_shown_without_folders_and_can_do_no_harm_in_a_header(
    client: httpx.Client, given: str, shown: str
) -> None:
    made = client.post("/v1/files", data={"purpose": "vision"}, files={"file": (given, b"<script>", "text/html")})
    assert made.status_code == 200, made.text
    assert made.json()["filename"].startswith(shown)
    answer = client.get(f"/v1/files/{made.json()['id']}/content")
    assert answer.content == b"<script>"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith('attachment; filename="')
    assert "x" not in answer.headers


def form(*parts: tuple[str, bytes], boundary: str = "b", end: bool = True) -> bytes:
    body = b""
    for disposition, content in parts:
        body += f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
    return body + (f"--{boundary}--\r\n".encode() if end else b"")


FILE = ('name="file"; filename="a"', b"content")
PURPOSE = ('name="purpose"', b"batch")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "breaks off"),
        (b"hello", "no form"),
        (form(FILE, PURPOSE, end=False), "breaks off"),
        (form(PURPOSE), "`file` is missing"),
        (form(FILE), "`purpose` is missing"),
        (form(FILE, ('name="purpose"', b"anything")), "`purpose` can't be"),
        (form(FILE, ('name="purpose"', b"\xff")), "not valid Unicode"),
        (form(FILE, FILE, PURPOSE), "more than one file"),
        (form(FILE, PURPOSE, PURPOSE), "twice"),
        (form(FILE, PURPOSE, ('name="colour"', b"blue")), "colour"),
        (form(('name="file"', b"content"), PURPOSE), "no `filename`"),
        (form(('name="file"; filename=""', b"content"), PURPOSE), "needs a name"),
        (form(('name="file"; filename=".."', b"content"), PURPOSE), "needs a name"),
        (form(FILE, ('name="purpose"; filename="x"', b"batch")), "purpose"),
        (form(FILE, ('name="purpose"', b"x" * 2000)), "1000 bytes"),
        (form(FILE, PURPOSE, ('name="expires_after[seconds]"', b"3600")), "expires_after"),
        (
            form(
                FILE,
                PURPOSE,
                ('name="expires_after[anchor]"', b"created_at"),
                ('name="expires_after[seconds]"', b"60"),
            ),
            "between 3600",
        ),
        (form(FILE, PURPOSE, ('name="expires_after[anchor]"', b"now")), "expires_after"),
    ],
)
def test_a_form_that_can_not_be_used_is_told_why_and_nothing_is_kept(
    hub: Hub, client: httpx.Client, body: bytes, says: str
) -> None:
    answer = client.post("/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["error"]["message"]
    assert client.get("/v1/files").json()["data"] == []
    assert not blob(hub, b"content").exists()
    assert incoming(hub) == []


@pytest.mark.parametrize(
    "kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=b"]
)
def test_a_body_that_is_no_form_is_refused(client: httpx.Client, kind: str) -> None:
    answer = client.post("/v1/files", content=form(FILE, PURPOSE), headers={"content-type": kind})
    assert answer.status_code == 400
    assert "multipart/form-data" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["file-x", "x", "file-" + "0" * 32, "file-" + "0" * 33, "%00", "..%2fx"])
def test_a_file_that_can_not_be_is_not_found(client: httpx.Client, name: str) -> None:
    for path in (f"/v1/files/{name}", f"/v1/files/{name}/content"):
        assert client.get(path).status_code == 404
    assert client.delete(f"/v1/files/{name}").status_code == 404


def upload(client: httpx.Client, content: Any, **more: Any) -> httpx.Response:
    return client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a", content)}, **more)


def test_a_file_may_be_larger_than_other_requests_and_no_larger_than_its_limit(hub: Hub, client: httpx.Client) -> None:
    assert upload(client, bytes(LIMIT)).status_code == 200
    refused = upload(client, bytes(LIMIT + 1))
    assert refused.status_code == 413
    assert f"{LIMIT:,}" in refused.json()["error"]["message"]
    assert client.post("/v1/conversations", json={"system": "x" * 200_000}).status_code == 413
    assert incoming(hub) == []


def test_a_file_without_a_stated_length_is_stopped_at_the_limit(hub: Hub, client: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        yield form(FILE, end=False).removesuffix(b"content\r\n")
        for _ in range(LIMIT // 50_000 + 2):
            yield bytes(50_000)

    answer = client.post("/v1/files", content=pieces(), headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 413
    assert incoming(hub) == []


def test_an_owner_s_files_have_a_limit_together(client: httpx.Client) -> None:
    for number in range(2):
        assert upload(client, bytes([number]) * LIMIT).status_code == 200
    refused = upload(client, b"x" * LIMIT)
    assert refused.status_code == 413
    assert f"{QUOTA:,}" in refused.json()["error"]["message"]
    assert upload(client, b"x" * MEGABYTE).status_code == 200


def test_half_an_upload_leaves_nothing(hub: Hub, own: str, client: httpx.Client) -> None:
    host, port = hub.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/files HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {own}\r\ncontent-length: {2 * MEGABYTE}\r\n"
        "content-type: multipart/form-data; boundary=b\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + form(FILE, end=False) + bytes(MEGABYTE))
        wait_for(lambda: incoming(hub), what="the beginning of the file")
    wait_for(lambda: not incoming(hub), what="its removal")
    assert client.get("/v1/files").json()["data"] == []


def test_a_file_whose_content_is_gone_or_damaged_says_so(hub: Hub, ask: openai.OpenAI) -> None:
    made = ask.files.create(file=("a", b"whole"), purpose="batch")
    blob(hub, b"whole").write_bytes(b"who")
    with pytest.raises(openai.InternalServerError, match="damaged"):
        ask.files.content(made.id)
    blob(hub, b"whole").unlink()
    with pytest.raises(openai.NotFoundError, match="Restore"):
        ask.files.content(made.id)
