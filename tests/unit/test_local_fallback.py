"""Which model the fallback `local` asks, and that a hub says so where there is none."""

import logging
from pathlib import Path
from typing import Any, cast

import pytest

from tidemill.app.recovery import means_of
from tidemill.llm.catalog import machine_default
from tidemill.llm.prompts.shipped import ShippedPrompts
from tidemill.llm.recovery.means import Means
from tidemill.registry.providers import Providers
from tidemill.settings import Settings

ROUTES = {"smart": {"targets": ["box"], "fallbacks": ["local"]}, "bare": {"targets": ["box"]}}
BOX = {"box": {"url": "http://gpu-box:8000/v1"}}


def means(folder: Path, default: str, *files: str) -> Means:
    for name in files:
        (folder / f"{name}.gguf").write_bytes(b"GGUF")
    models = {"default": default, "endpoints": BOX, "files": {name: folder / f"{name}.gguf" for name in files}}
    settings = Settings.model_validate({"data_dir": folder / "data", "models": models, "routes": ROUTES})
    nothing = cast(Any, None)
    return means_of(settings, nothing, Providers(settings, nothing, nothing), ShippedPrompts())


def test_the_default_model_answers_where_it_is_a_local_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert means(tmp_path, "mine", "mine", machine_default()).local_model() == "mine"
    assert caplog.messages == []


@pytest.mark.parametrize("default", ["box", "smart", "default"])
def test_the_machines_own_model_answers_where_the_default_is_elsewhere(tmp_path: Path, default: str) -> None:
    assert means(tmp_path, default, machine_default()).local_model() == machine_default()


def test_a_hub_without_a_local_model_says_so_at_its_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert means(tmp_path, "box").local_model() is None
    [said] = caplog.messages
    assert "routes smart is passed over" in said
    assert f"tidemill models pull {machine_default()}" in said
