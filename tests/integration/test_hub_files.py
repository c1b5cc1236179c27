"""Models by their name on the Hugging Face Hub, fetched from a local server that speaks as the Hub does."""

import hashlib
import json
import threading
from http.server import ThreadingHTTPServer

import pytest

from tests.integration.test_download import DATA, Server, Site
from tests.support.hubs import environment, tidemill
from tidemill.core.errors import Configuration, InvalidInput, ModelNotFound, Unavailable
from tidemill.llm import resumable
from tidemill.llm.catalog import SourceKind, find_model, list_models, model_version
from tidemill.llm.download import pull
from tidemill.llm.hub_files import hub_file
from tidemill.settings import ModelSettings, Settings

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "org/tiny-GGUF:sub/tiny.Q4.gguf"
SHA256 = hashlib.sha256(DATA).hexdigest()
HEAD = {
    "x-repo-commit": COMMIT,
    "x-linked-size": str(len(DATA)),
    "x-linked-etag": f'"{SHA256}"',
    "location": "https://cdn.invalid/elsewhere",
}


class Hub(Server):
    """Answers HEAD with the Hub's redirect and headers, and GET of a commit with the bytes."""

    def do_HEAD(self):
        site = self.server.site
        site.asked.append((self.path, "HEAD"))
        known = self.path == "/org/tiny-GGUF/resolve/main/sub/tiny.Q4.gguf"
        self.send_response(site.head_status if known else 404)
        for name, value in (site.head if known else {}).items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(resumable, "BACKOFF_SECONDS", 0.01)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    server.site = Site()
    server.site.head, server.site.head_status = dict(HEAD), 302
    server.site.files[f"/org/tiny-GGUF/resolve/{COMMIT}/sub/tiny.Q4.gguf"] = DATA
    server.site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.site
    server.shutdown()
    thread.join()
    server.server_close()


def settings_at(site, folder, **models):
    return Settings(data_dir=folder / "data", models=ModelSettings(hugging_face_url=site.url, **models))


@pytest.fixture
def settings(site, tmp_path):
    return settings_at(site, tmp_path)


@pytest.mark.parametrize("prefix", ["", "hf.co/", "https://huggingface.co/"])
def test_a_name_is_known_with_the_hubs_address_or_without(prefix):
    assert hub_file(f"{prefix}{NAME}").name == NAME


@pytest.mark.parametrize(
    "name", ["tiny", "org/tiny", "llama2:7b", "org/tiny:x.bin", "org/../x:y.gguf", "org/x:../../y.gguf", "a/b/c:d.gguf"]
)
def test_what_is_no_name_of_a_file_on_the_hub_is_none(name):
    assert hub_file(name) is None


async def test_a_pulled_file_is_pinned_listed_and_found_by_its_name(site, settings):
    path = await pull(settings, f"hf.co/{NAME}")
    assert path.read_bytes() == DATA
    assert path == settings.models_dir / "hub/org/tiny-GGUF/sub/tiny.Q4.gguf"
    record = json.loads(path.with_name("tiny.Q4.gguf.json").read_text())
    assert record == {"revision": COMMIT, "sha256": SHA256, "size": len(DATA)}
    entry = find_model(settings, NAME)
    assert (entry.kind, entry.installed, entry.size) == (SourceKind.HUB, True, len(DATA))
    assert find_model(settings, f"hf.co/{NAME}") == entry
    assert model_version(settings, entry) == f"sha256:{SHA256}"
    assert NAME in [one.name for one in list_models(settings)]
    asked = len(site.asked)
    assert await pull(settings, NAME) == path
    assert len(site.asked) == asked


async def test_a_file_that_was_deleted_comes_again_from_the_same_commit(site, settings):
    path = await pull(settings, NAME)
    path.unlink()
    assert not next(one for one in list_models(settings) if one.name == NAME).installed
    site.head["x-repo-commit"] = "f" * 40
    assert (await pull(settings, NAME)).read_bytes() == DATA
    assert [kind for _, kind in site.asked].count("HEAD") == 1


async def test_a_broken_download_goes_on_where_it_stopped(site, settings):
    site.break_after, site.breaks = 1_000_000, 1
    assert (await pull(settings, NAME)).read_bytes() == DATA
    assert site.asked[-1][1] == "bytes=1000000-"


async def test_a_name_of_the_settings_means_a_file_of_the_hub(site, tmp_path):
    settings = settings_at(site, tmp_path, files={"house": f"hf.co/{NAME}"}, default="house")
    with pytest.raises(ModelNotFound, match="tidemill models pull house"):
        find_model(settings, "house")
    path = await pull(settings, None)
    assert find_model(settings, None).path == path
    assert find_model(settings, "house").name == "house"


def test_a_model_that_was_not_pulled_is_told_with_the_command(settings):
    with pytest.raises(ModelNotFound, match=f"tidemill models pull {NAME}"):
        find_model(settings, NAME)


async def test_another_file_than_the_hub_says_is_refused_and_not_listed(site, settings):
    site.head["x-linked-etag"] = f'"{"0" * 64}"'
    with pytest.raises(Configuration, match=f"SHA-256 is {SHA256}"):
        await pull(settings, NAME)
    assert NAME not in [one.name for one in list_models(settings)]
    assert not list(settings.models_dir.rglob("*.gguf"))


@pytest.mark.parametrize("header", ["x-repo-commit", "x-linked-size", "x-linked-etag"])
async def test_a_server_that_does_not_say_what_it_has_is_refused(site, settings, header):
    del site.head[header]
    with pytest.raises(Unavailable, match="does not say the digest, size and commit"):
        await pull(settings, NAME)


@pytest.mark.parametrize(("status", "error"), [(404, ModelNotFound), (401, ModelNotFound), (503, Unavailable)])
async def test_a_refusal_of_the_hub_is_told(site, settings, status, error):
    site.head_status = status
    with pytest.raises(error, match=str(status)):
        await pull(settings, NAME)


async def test_a_hub_that_cannot_be_reached_is_told(tmp_path, site):
    settings = Settings(data_dir=tmp_path, models=ModelSettings(hugging_face_url="http://127.0.0.1:9"))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1: can't be reached"):
        await pull(settings, NAME)


async def test_a_part_of_a_split_model_is_refused(settings):
    with pytest.raises(InvalidInput, match="several files"):
        await pull(settings, "org/big:big-00001-of-00003.gguf")


async def test_a_damaged_record_is_told_with_its_place(site, settings):
    path = await pull(settings, NAME)
    path.with_name("tiny.Q4.gguf.json").write_text("{")
    with pytest.raises(Configuration, match=r"tiny\.Q4\.gguf\.json can't be read"):
        list_models(settings)


def test_the_command_pulls_and_lists_it(site, tmp_path):
    surroundings = environment(tmp_path / "data", {"models": {"hugging_face_url": site.url}})
    pulled = tidemill(["models", "pull", NAME], surroundings)
    assert pulled.returncode == 0, pulled.stderr
    assert "its digest is right" in pulled.stdout
    listed = json.loads(tidemill(["models", "list", "--json"], surroundings).stdout)
    assert [one["kind"] for one in listed if one["name"] == NAME and one["installed"]] == ["hub"]
    missing = tidemill(["models", "pull", "org/none:x.gguf"], surroundings)
    assert missing.returncode == 4
    assert "has no file org/none:x.gguf" in missing.stderr
