"""How commands find a hub, and whom they trust with a key."""

import fcntl
import json
import stat
from pathlib import Path

import pytest

from tidemill.cli.hub import HubAddress, find_hub, lock_file, write_address
from tidemill.core.errors import Configuration
from tidemill.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("TIDEMILL_HUB_URL", "TIDEMILL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "run").mkdir()
    return Settings(data_dir=tmp_path)


def test_a_running_hub_is_found_by_a_file_that_only_its_user_can_read(settings: Settings) -> None:
    with lock_file(settings) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = write_address(settings, HubAddress("http://127.0.0.1:8000", "tm-x"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert find_hub(settings) == HubAddress("http://127.0.0.1:8000", "tm-x")


def test_the_key_of_a_killed_hub_is_not_sent_to_whoever_has_its_port_now(settings: Settings) -> None:
    with lock_file(settings) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = write_address(settings, HubAddress("http://127.0.0.1:8000", "tm-x"))
    with pytest.raises(Configuration, match="tidemill up"):
        find_hub(settings)
    assert not path.exists()


def test_a_folder_without_a_hub_says_how_to_start_one(settings: Settings) -> None:
    with pytest.raises(Configuration, match="tidemill up"):
        find_hub(settings)


def test_a_damaged_address_is_no_address(settings: Settings) -> None:
    with lock_file(settings) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (settings.run_dir / "hub.json").write_text(json.dumps({"url": "http://x"}))
        with pytest.raises(Configuration):
            find_hub(settings)


@pytest.mark.parametrize(
    ("url", "key", "says"),
    [
        ("http://hub", "", "TIDEMILL_API_KEY"),
        ("ftp://hub", "tm-x", "http://"),
        ("http://hub", "tm-ổ", "characters"),
    ],
)
def test_a_hub_elsewhere_needs_a_usable_address_and_key(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, url: str, key: str, says: str
) -> None:
    monkeypatch.setenv("TIDEMILL_HUB_URL", url)
    monkeypatch.setenv("TIDEMILL_API_KEY", key)
    with pytest.raises(Configuration, match=says):
        find_hub(settings)
    monkeypatch.setenv("TIDEMILL_HUB_URL", "http://hub/")
    monkeypatch.setenv("TIDEMILL_API_KEY", "tm-x")
    assert find_hub(settings) == HubAddress("http://hub", "tm-x")
