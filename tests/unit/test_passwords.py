"""Passwords: which are taken, and how they are hashed."""

import asyncio
import unicodedata

import pytest

from tests.support.sign_in import CHEAP, PASSWORD
from tidemill.accounts.passwords import LONGEST_BYTES, WAITING_FOR_EACH, Passwords
from tidemill.core.errors import Configuration, InvalidInput, TooManyRequests
from tidemill.settings import PasswordSettings


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(CHEAP)


async def test_a_password_is_known_again_and_another_is_not(passwords: Passwords) -> None:
    hashed = await passwords.hash(PASSWORD)
    assert hashed.startswith("$argon2id$v=19$m=8192,t=1,p=1$")
    assert await passwords.check(PASSWORD, hashed)
    assert not await passwords.check(PASSWORD + " ", hashed)


async def test_the_same_password_has_another_hash_each_time(passwords: Passwords) -> None:
    assert await passwords.hash(PASSWORD) != await passwords.hash(PASSWORD)


async def test_the_defaults_are_rfc_9106s_for_little_memory() -> None:
    hashed = await Passwords(PasswordSettings()).hash(PASSWORD)
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def test_a_password_typed_as_composed_or_decomposed_letters_is_the_same(passwords: Passwords) -> None:
    hashed = await passwords.hash("đường về quê mẹ")
    assert await passwords.check(unicodedata.normalize("NFD", "đường về quê mẹ"), hashed)


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("", "12 characters or more"),
        ("eleven char", "12 characters or more, and this one has 11"),
        ("password1234", "tried first"),
        ("PassWord1234", "tried first"),
        ("QWERTYUIOPASDF", "tried first"),
        ("aaaaaaaaaaaaaaaa", "tried first"),
        ("abababababababab", "tried first"),
        ("an.nguyen@mill.example", "own name or address"),
        ("AN.Nguyen.Van.Long", "own name or address"),
        ("An Nguyen Van Long", "own name or address"),
        ("annguyenvanlong", "own name or address"),
        ("a nul \x00 in the middle", "NUL"),
        ("half a letter \ud83c there", "Unicode"),
        ("ă" * LONGEST_BYTES, "1024 bytes"),
        ("x" * 10_000_000, "1024 bytes"),
        ("\ufdfa" * 100, "1024 bytes"),
    ],
)
async def test_a_password_that_is_no_use_is_refused_with_the_reason(
    passwords: Passwords, password: str, said: str
) -> None:
    about = ["an.nguyen@mill.example", "An Nguyen Van Long", "an.nguyen.van.long@mill.example"]
    with pytest.raises(InvalidInput, match=said) as error:
        await passwords.hash(password, about=about)
    assert error.value.param == "password"
    assert not password or len(password) < 12 or password not in error.value.message


@pytest.mark.parametrize(
    "password", ["correct horse", "twelve-chars", "mật khẩu dài", "1029384756 ok", "🌊 tide mill 🌊"]
)
async def test_no_rules_of_composition_stand_in_the_way(passwords: Passwords, password: str) -> None:
    assert await passwords.check(password, await passwords.hash(password))


async def test_without_a_hash_the_answer_is_no_whatever_is_asked(passwords: Passwords) -> None:
    assert not await passwords.check("nobody's", None)
    assert not await passwords.check(PASSWORD, None)


async def test_without_a_hash_the_same_work_is_done(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    hasher = passwords._hasher

    class Counting:
        def verify(self, hashed: str, data: bytes) -> bool:
            verified.append(hashed.rpartition("$")[0].rpartition("$")[0])
            return hasher.verify(hashed, data)

        def hash(self, data: bytes) -> str:
            return hasher.hash(data)

    monkeypatch.setattr(passwords, "_hasher", Counting())
    await passwords.check(PASSWORD, None)
    await passwords.check(PASSWORD, hasher.hash("another one"))
    assert verified == ["$argon2id$v=19$m=8192,t=1,p=1"] * 2


async def test_a_hash_of_other_parameters_still_works_and_is_said_to_be_outdated(passwords: Passwords) -> None:
    older = await Passwords(PasswordSettings(memory_kib=16384, passes=1, lanes=1)).hash(PASSWORD)
    assert await passwords.check(PASSWORD, older)
    assert passwords.is_outdated(older)
    assert not passwords.is_outdated(await passwords.rehash(PASSWORD))


async def test_a_stored_hash_that_is_none_is_the_operators_matter(passwords: Passwords) -> None:
    with pytest.raises(Configuration, match="set-password"):
        await passwords.check(PASSWORD, "not a hash")


async def test_a_flood_of_checks_is_sent_away_and_leaves_the_service_well() -> None:
    passwords = Passwords(PasswordSettings(memory_kib=8192, passes=1, lanes=1, at_once=1))
    hashed = await passwords.hash(PASSWORD)
    flood = [passwords.check("some other password", hashed) for _ in range(WAITING_FOR_EACH * 3)]
    answers = await asyncio.gather(*flood, return_exceptions=True)
    assert {type(answer) for answer in answers} == {bool, TooManyRequests}
    assert answers.count(False) == WAITING_FOR_EACH + 1
    assert await passwords.check(PASSWORD, hashed)
