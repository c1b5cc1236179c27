"""The key ring: what it seals only it can open, under the name that it was sealed for."""

import base64
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tidemill.core.errors import Configuration
from tidemill.settings import Settings
from tidemill.store.key_ring import ENVIRONMENT, KeyFile, open_key_file

VALUE = "grey heron, 23 °C"


@pytest.fixture(autouse=True)
def no_key_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def file(settings: Settings) -> KeyFile:
    return open_key_file(settings)


def test_a_sealed_secret_opens_again_and_does_not_show(file: KeyFile) -> None:
    ring = file.make()
    sealed = ring.seal("provider", VALUE)
    assert ring.open(sealed) == VALUE
    assert VALUE not in repr(sealed)
    assert VALUE.encode() not in sealed.ciphertext
    assert ring.text().strip() not in repr(ring)


def test_each_sealing_has_a_nonce_of_its_own(file: KeyFile) -> None:
    ring = file.make()
    sealings = [ring.seal("provider", VALUE) for _ in range(100)]
    assert len({one.nonce for one in sealings}) == len({one.ciphertext for one in sealings}) == 100
    assert {len(one.nonce) for one in sealings} == {12}


def test_no_file_is_made_before_the_first_need(settings: Settings, file: KeyFile) -> None:
    assert file.read() is None
    assert not settings.data_dir.exists()


def test_the_file_is_for_its_owner_alone_and_stays_the_same(settings: Settings, file: KeyFile) -> None:
    made = file.make()
    assert stat.S_IMODE(settings.encryption_keys_file.stat().st_mode) == 0o600
    assert file.make().ids == made.ids
    assert open_key_file(settings).make().ids == made.ids


@pytest.mark.parametrize("change", ["name", "key_id", "nonce", "ciphertext"])
def test_a_row_that_was_changed_or_moved_does_not_open(file: KeyFile, change: str) -> None:
    file.make()
    ring = file.add()
    sealed = ring.seal("provider", VALUE)
    other = {
        "name": "another",
        "key_id": ring.ids[1],
        "nonce": bytes(12),
        "ciphertext": bytes([sealed.ciphertext[0] ^ 1]) + sealed.ciphertext[1:],
    }
    with pytest.raises(Configuration, match="secrets set") as raised:
        ring.open(replace(sealed, **{change: other[change]}))
    assert VALUE not in str(raised.value)


def test_a_secret_whose_key_is_lost_names_itself_and_the_key(settings: Settings, file: KeyFile) -> None:
    sealed = file.make().seal("provider", VALUE)
    settings.encryption_keys_file.unlink()
    with pytest.raises(Configuration, match=rf"provider.*{sealed.key_id}"):
        file.make().open(sealed)


def test_a_new_key_encrypts_while_the_old_one_still_decrypts_until_it_is_dropped(file: KeyFile) -> None:
    old = file.make()
    sealed = old.seal("provider", VALUE)
    both = file.add()
    assert both.ids[1:] == old.ids
    assert both.first != old.first
    assert both.open(sealed) == VALUE
    assert both.seal("provider", VALUE).key_id == both.first
    only = file.keep_first()
    assert only.ids == (both.first,)
    assert file.read() is not None
    with pytest.raises(Configuration, match="provider"):
        only.open(sealed)


def test_a_file_that_others_can_read_is_refused_with_the_command_that_mends_it(
    settings: Settings, file: KeyFile
) -> None:
    file.make()
    settings.encryption_keys_file.chmod(0o640)
    with pytest.raises(Configuration, match="chmod 600"):
        file.read()


@pytest.mark.parametrize("content", ["", "\n", "abc\n", "zz" * 32, "00" * 31, "00" * 32 + "\nrubbish\n", "\xff"])
def test_a_file_that_holds_no_keys_is_refused(settings: Settings, file: KeyFile, content: str) -> None:
    file.make()
    settings.encryption_keys_file.write_bytes(content.encode("latin-1"))
    with pytest.raises(Configuration, match=r"encryption\.keys"):
        file.read()


def test_keys_from_the_environment_take_the_files_place(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = bytes(range(32)), bytes(range(32, 64))
    monkeypatch.setenv(ENVIRONMENT, old.hex())
    sealed = open_key_file(settings).make().seal("provider", VALUE)
    monkeypatch.setenv(ENVIRONMENT, f"{base64.b64encode(new).decode()}, {old.hex()}")
    file = open_key_file(settings)
    assert not file.changeable
    ring = file.make()
    assert ring.open(sealed) == VALUE
    assert ring.first != sealed.key_id
    assert not settings.encryption_keys_file.exists()


def test_an_empty_variable_counts_as_not_set(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "")
    assert open_key_file(settings).changeable


@pytest.mark.parametrize("given", ["short", ",", "00" * 32 + ",short"])
def test_a_variable_that_holds_no_keys_is_refused_without_being_shown(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv(ENVIRONMENT, given)
    with pytest.raises(Configuration, match=ENVIRONMENT) as raised:
        open_key_file(settings)
    assert "00" * 32 not in str(raised.value)
