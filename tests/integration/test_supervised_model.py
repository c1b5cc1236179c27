"""A local model that can't be started: what a client is told, and that the next one may try."""

import logging
import struct
from pathlib import Path

import psutil
import pytest

from tests.support.gguf import write_gguf
from tidemill.core.errors import Configuration, ModelFailed
from tidemill.llm.runtime import children, process, supervised
from tidemill.llm.runtime.local import LocalRuntime, RuntimeState
from tidemill.settings import ModelSettings, Settings


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "bad.gguf"
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
    return file


@pytest.fixture
async def runtime(tmp_path, path):
    models = ModelSettings(files={"bad": path}, context_tokens=512, slots=1, start_timeout=20)
    opened = LocalRuntime(Settings(data_dir=tmp_path / "data", models=models))
    yield opened
    await opened.aclose()


def child_that_says(monkeypatch, folder, code):
    """A program that takes the place of the child's, and does what `code` says."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\nread line\n{code}\n")
    program.chmod(0o755)
    monkeypatch.setattr(process.sys, "executable", str(program))


async def test_arrays_within_arrays_are_told_as_a_damaged_file(runtime, path):
    entry = struct.pack("<Q", 1) + b"x" + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry)
    with pytest.raises(Configuration, match="is damaged"):
        await runtime.ensure("bad")


async def test_an_unexpected_end_is_told_with_its_cause_and_logged(runtime, monkeypatch, caplog):
    def broken(*_):
        raise RecursionError("too deep")

    monkeypatch.setattr(process.ChildPlan, "need", broken)
    for _ in range(2):
        with pytest.raises(ModelFailed, match="bad can't be run: RecursionError: too deep"):
            await runtime.ensure("bad")
    assert runtime.status()[0].state is RuntimeState.FAILED
    assert [one.exc_info[0] for one in caplog.records if one.levelno == logging.ERROR] == [RecursionError]
    assert "unloaded" not in caplog.text


@pytest.mark.parametrize("said", ["echo nonsense", "head -c 200000 /dev/zero", "echo 7", "exit 3"])
async def test_a_child_that_talks_nonsense_is_a_crash_and_is_ended(runtime, monkeypatch, tmp_path, said):
    monkeypatch.setattr(supervised, "MAX_CRASHES", 1)
    child_that_says(monkeypatch, tmp_path, f"{said}\nexec sleep 600")
    with pytest.raises(ModelFailed, match=r"crashed 1 times.*bad\.log"):
        await runtime.ensure("bad")
    await runtime.aclose()
    assert not [one for one in psutil.Process().children() if one.name() in {"sh", "sleep"}]


async def test_an_unusable_answer_of_a_fresh_child_ends_it(runtime, monkeypatch, tmp_path):
    child_that_says(monkeypatch, tmp_path, 'echo \'{"port": "7"}\'\nexec sleep 600')

    async def broken(*_):
        raise ValueError("no such wire")

    monkeypatch.setattr(children.Children, "answers", broken)
    with pytest.raises(ModelFailed, match="ValueError: no such wire"):
        await runtime.ensure("bad")
    await runtime.aclose()
    assert not [one for one in psutil.Process().children() if one.name() in {"sh", "sleep"}]


async def test_a_log_that_cannot_be_written_stops_no_child(runtime, monkeypatch, tmp_path, caplog):
    """The program fills the pipe of its log twice over before it says that it can't load the file."""
    child_that_says(monkeypatch, tmp_path, 'head -c 200000 /dev/zero >&2\necho \'{"error": "no"}\'')

    def full(path: Path, _: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(process, "_append", full)
    with pytest.raises(Configuration, match="can't load"):
        await runtime.ensure("bad")
    assert caplog.text.count("No space left on device") == 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("pinned", ["gone"]),
        ("draft", {"gone": "ngram"}),
        ("draft", {"bad": "gone"}),
        ("mmproj", {"gone": "/m.gguf"}),
        ("adapters", {"kind": {"base": "gone", "path": "/a.gguf"}}),
    ],
)
def test_a_setting_about_a_model_that_there_is_not_is_refused(tmp_path, path, setting, value):
    models = ModelSettings.model_validate({"files": {"bad": path}, setting: value})
    with pytest.raises(Configuration, match=f"`models.{setting}` names 'gone'"):
        LocalRuntime(Settings(data_dir=tmp_path, models=models))


async def test_an_adapter_of_the_settings_that_does_not_fit_is_named_before_anything_starts(tmp_path, path):
    write_gguf(path, {"general.architecture": "llama"})
    wrong = write_gguf(tmp_path / "wrong.gguf", {"general.architecture": "llama"})
    adapters = {"kind": {"base": "bad", "path": wrong}}
    models = ModelSettings.model_validate({"files": {"bad": path}, "adapters": adapters})
    runtime = LocalRuntime(Settings(data_dir=tmp_path / "data", models=models))
    with pytest.raises(Configuration, match=r"wrong\.gguf is no LoRA adapter.*models\.adapters"):
        await runtime.ensure("bad")
    await runtime.aclose()
