"""Answers are kept in memory, in the database and on disk, and given again to who asks the same and may see it."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.conftest import NOON
from tests.support.caching import (
    DEPLOYMENT,
    OWNER,
    SERVED,
    Cache,
    CacheOf,
    Serving,
    asked,
    chunks_of,
    said,
    tier_of,
)
from tidemill.core.chat import ChatCompletion, TextRequest, Usage
from tidemill.core.classification import Level
from tidemill.core.context import CacheUse
from tidemill.core.errors import ModelFailed, Unavailable
from tidemill.core.ids import new_id
from tidemill.llm.cache.key import key_of
from tidemill.llm.port import ChatModel
from tidemill.llm.scripted import ScriptedAnswer, ScriptedCall, ScriptedModel
from tidemill.llm.transcript import Transcript
from tidemill.settings import CacheSettings
from tidemill.store.answer_cache import AnswerCacheRepository, KeptAnswer
from tidemill.store.answer_files import AnswerFiles
from tidemill.store.database import Pool
from tidemill.store.retention import RetentionRepository

TURNS = "The tide turns the mill."
EMAIL = "Write to mai.huong@congty.vn."
CARD = "4111 1111 1111 1111"
SECOND = timedelta(seconds=1)


@pytest.fixture
def cache_of(pool: Pool, tmp_path: Path) -> CacheOf:
    def make(script: Any = None, *, inner: ChatModel | None = None, **options: Any) -> Cache:
        model = inner or Serving(ScriptedModel(script or (lambda request: TURNS)))
        return Cache(model, pool, tmp_path / "cache", **options)

    return make


@pytest.fixture
def serving() -> Serving:
    return Serving(ScriptedModel(lambda request: TURNS))


async def rows(pool: Pool) -> list[dict[str, Any]]:
    async with pool.connection() as connection:
        return await (await connection.execute("SELECT * FROM answer_cache ORDER BY created_at, key")).fetchall()


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


async def test_an_answer_is_given_again_for_nothing_with_its_tokens(cache_of: CacheOf, serving: Serving) -> None:
    cache = cache_of(inner=serving)
    first = await cache.model.complete(asked())
    again = await cache.model.complete(asked())
    assert serving.asked == 1
    assert (again.choices, again.text) == (first.choices, TURNS)
    assert first.served == SERVED
    assert again.served == replace(SERVED, cost_usd=0.0, attempts=0, cache_tier="l1")
    assert (again.usage.prompt_tokens, again.usage.completion_tokens) == (4, 5)
    assert cache.looks == [("none", False), ("l1", True)]


async def test_a_hit_can_be_streamed_and_a_stream_can_be_hit(cache_of: CacheOf, serving: Serving) -> None:
    cache = cache_of(inner=serving)
    live = await chunks_of(cache.model.stream(asked()))
    again = await chunks_of(cache.model.stream(asked()))
    assert serving.asked == 1
    assert (said(live), said(again)) == (TURNS, TURNS)
    assert again[0].choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert again[-2].choices == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert again[0].served is not None
    assert again[-1].served is not None
    assert (again[0].served.cache_tier, again[-1].served.cost_usd) == ("l1", 0.0)
    assert again[-1].usage == Usage(4, 5, cached_tokens=4)
    assert (await cache.model.complete(asked())).text == TURNS


async def test_tool_calls_are_replayed_as_a_stream_brings_them(cache_of: CacheOf) -> None:
    calls = [ScriptedCall("weather", '{"city": "Huế"}'), ScriptedCall("time", "{}")]
    cache = cache_of([ScriptedAnswer(calls=calls)])
    whole = await cache.model.complete(asked())
    transcript = Transcript()
    for chunk in await chunks_of(cache.model.stream(asked())):
        transcript.add(chunk)
    assert transcript.choices() == whole.choices
    assert transcript.choices()[0]["finish_reason"] == "tool_calls"


async def test_a_continued_text_is_given_again_whole_and_streamed(cache_of: CacheOf, serving: Serving) -> None:
    cache = cache_of(inner=serving)

    def request(suffix: str | None = None) -> TextRequest:
        return TextRequest("scripted", "def mill():", suffix, {"temperature": 0.0}, asked().context)

    await cache.model.complete(request())
    chunks = await chunks_of(cache.model.stream(request()))
    assert "".join(str(choice["text"]) for chunk in chunks for choice in chunk.choices) == TURNS
    assert chunks[-2].choices[0]["finish_reason"] == "stop"
    await cache.model.complete(request("return"))
    assert serving.asked == 2


async def test_an_answer_outlives_the_process_in_the_database(cache_of: CacheOf, serving: Serving) -> None:
    before = cache_of(inner=serving)
    await before.model.complete(asked())
    await before.answers.aclose()
    after = cache_of(inner=serving)
    assert tier_of(await after.model.complete(asked())) == "l2"
    assert tier_of(await after.model.complete(asked())) == "l1"
    assert serving.asked == 1


async def test_a_large_answer_outlives_the_process_as_a_file(cache_of: CacheOf, pool: Pool, tmp_path: Path) -> None:
    serving = Serving(ScriptedModel(lambda request: "tide " * 20_000))
    before = cache_of(inner=serving)
    first = await before.model.complete(asked())
    await before.answers.aclose()
    [row] = await rows(pool)
    assert (row["value"], row["size"] > 100_000) == (None, True)
    [file] = files(tmp_path / "cache")
    assert (file.name, file.stat().st_mode & 0o777, file.parent.parent.stat().st_mode & 0o777) == (
        row["blob"],
        0o600,
        0o700,
    )
    after = cache_of(inner=serving)
    again = await after.model.complete(asked())
    assert (tier_of(again), again.choices) == ("l3", first.choices)
    assert serving.asked == 1


@pytest.mark.parametrize("harm", ["gone", "damaged"])
async def test_a_file_that_is_gone_or_damaged_is_asked_for_anew(cache_of: CacheOf, tmp_path: Path, harm: str) -> None:
    serving = Serving(ScriptedModel(lambda request: "tide " * 20_000))
    before = cache_of(inner=serving)
    await before.model.complete(asked())
    await before.answers.aclose()
    [file] = files(tmp_path / "cache")
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-10])
    after = cache_of(inner=serving)
    assert tier_of(await after.model.complete(asked())) is None
    await after.answers.aclose()
    assert serving.asked == 2
    assert tier_of(await cache_of(inner=serving).model.complete(asked())) == "l3"


async def test_a_file_that_the_disk_does_not_give_is_no_error_but_asked_for_anew(
    cache_of: CacheOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    serving = Serving(ScriptedModel(lambda request: "tide " * 20_000))
    before = cache_of(inner=serving)
    await before.model.complete(asked())
    await before.answers.aclose()
    [file] = files(tmp_path / "cache")
    file.unlink()
    file.mkdir()
    answer = await cache_of(inner=serving).model.complete(asked())
    assert (tier_of(answer), serving.asked) == (None, 2)
    assert f"{file} can't be read" in caplog.text


@pytest.mark.parametrize("value", [b"{", b"[]", b'{"choices": [], "usage": [1], "served": ["a", "b", "c"]}'])
async def test_a_row_that_is_no_answer_any_more_is_asked_for_anew_and_kept_over(
    cache_of: CacheOf, serving: Serving, pool: Pool, value: bytes
) -> None:
    first = cache_of(inner=serving)
    await first.model.complete(asked())
    await first.answers.written()
    async with pool.connection() as connection:
        await connection.execute("UPDATE answer_cache SET value = %s", (value,))
    other = cache_of(inner=serving)
    assert (await other.model.complete(asked())).text == TURNS
    assert (await other.model.complete(asked())).text == TURNS
    assert serving.asked == 2
    await other.answers.written()
    assert [bytes(row["value"]) for row in await rows(pool)] != [value]


async def test_who_may_see_less_or_more_never_gets_the_answer(cache_of: CacheOf, serving: Serving) -> None:
    cache = cache_of(inner=serving)
    for level in Level:
        assert tier_of(await cache.model.complete(asked(level=level))) is None
    assert serving.asked == len(Level)
    other_person = asked(level=Level.INTERNAL, owner_id=new_id())
    assert tier_of(await cache.model.complete(other_person)) == "l1"


@pytest.mark.parametrize(
    "other",
    [
        asked("What turns the wheel?"),
        asked(deployment=replace(DEPLOYMENT, model_version="2")),
        asked(deployment=replace(DEPLOYMENT, prompt_version="v2")),
        asked(options={"temperature": 0, "max_tokens": 5}),
        asked(before=[{"role": "system", "content": "Be brief."}]),
        asked(level=Level.CONFIDENTIAL),
    ],
    ids=["text", "model version", "prompt version", "option", "system", "level"],
)
async def test_whatever_an_answer_depends_on_makes_another_request(
    cache_of: CacheOf, serving: Serving, other: Any
) -> None:
    cache = cache_of(inner=serving)
    await cache.model.complete(asked())
    await cache.model.complete(other)
    assert serving.asked == 2


async def test_the_order_of_fields_makes_no_difference(cache_of: CacheOf, serving: Serving) -> None:
    cache = cache_of(inner=serving)
    one = asked(options={"temperature": 0, "max_tokens": 7, "response_format": {"type": "json", "schema": {"a": 1}}})
    two = asked(options={"response_format": {"schema": {"a": 1}, "type": "json"}, "max_tokens": 7, "temperature": 0.0})
    await cache.model.complete(one)
    await cache.model.complete(replace(two, messages=[{"content": "What turns the mill?", "role": "user"}]))
    assert serving.asked == 1


async def test_chance_keeps_an_answer_out_unless_the_setting_lets_it_in(cache_of: CacheOf, serving: Serving) -> None:
    cache = cache_of(inner=serving)
    for options in ({}, {"temperature": 0.7}):
        for _ in range(2):
            await cache.model.complete(asked(options=options))
    assert (serving.asked, cache.looks) == (4, [])
    for _ in range(2):
        await cache.model.complete(asked(options={"temperature": 0.7, "seed": 3}))
    assert serving.asked == 5
    sampled = cache_of(inner=serving, settings=CacheSettings(sampled=True))
    for _ in range(2):
        await sampled.model.complete(asked(options={"temperature": 0.7}))
    assert serving.asked == 6


async def test_no_store_is_neither_read_nor_kept(cache_of: CacheOf, serving: Serving, pool: Pool) -> None:
    cache = cache_of(inner=serving)
    await cache.model.complete(asked(cache=CacheUse.NONE))
    await cache.model.complete(asked())
    assert serving.asked == 2
    await cache.model.complete(asked(cache=CacheUse.NONE))
    await cache.answers.written()
    assert (serving.asked, len(await rows(pool))) == (3, 1)


async def test_no_cache_is_asked_anew_and_kept(cache_of: CacheOf) -> None:
    cache = cache_of(["The moon.", "The tide."])
    await cache.model.complete(asked())
    assert (await cache.model.complete(asked(cache=CacheUse.REFRESH))).text == "The tide."
    assert (await cache.model.complete(asked())).text == "The tide."
    await cache.answers.aclose()
    assert (await cache_of([]).model.complete(asked())).text == "The tide."


@pytest.mark.parametrize(
    "answer",
    [ScriptedAnswer("I can't", finish_reason="content_filter"), ScriptedAnswer("Half", finish_reason="error")],
    ids=["filter", "error"],
)
async def test_an_answer_that_did_not_come_to_its_end_is_not_kept(cache_of: CacheOf, answer: ScriptedAnswer) -> None:
    cache = cache_of([answer, TURNS])
    await cache.model.complete(asked())
    assert (await cache.model.complete(asked())).text == TURNS


async def test_a_failure_is_not_kept(cache_of: CacheOf) -> None:
    cache = cache_of([ScriptedAnswer(error=ModelFailed("It babbles.")), TURNS])
    with pytest.raises(ModelFailed, match="babbles"):
        await cache.model.complete(asked())
    assert (await cache.model.complete(asked())).text == TURNS
    assert cache.looks == [("none", False), ("none", False)]


async def test_a_stream_that_breaks_off_is_not_kept(cache_of: CacheOf) -> None:
    cache = cache_of([ScriptedAnswer("The tide ", error=Unavailable("Gone.")), TURNS])
    with pytest.raises(Unavailable):
        await chunks_of(cache.model.stream(asked()))
    assert said(await chunks_of(cache.model.stream(asked()))) == TURNS


async def test_a_fallbacks_answer_is_not_kept(cache_of: CacheOf) -> None:
    serving = Serving(ScriptedModel(lambda request: "Sorry."), replace(SERVED, fallback="template"))
    cache = cache_of(inner=serving)
    for _ in range(2):
        await cache.model.complete(asked())
    assert serving.asked == 2


async def test_what_may_not_be_stored_stays_in_memory(cache_of: CacheOf, pool: Pool) -> None:
    serving = Serving(ScriptedModel(lambda request: TURNS))
    cache = cache_of(inner=serving)
    for text in (f"My card is {CARD}.", EMAIL):
        for _ in range(2):
            await cache.model.complete(asked(text))
    assert serving.asked == 2
    await cache.answers.aclose()
    [row] = await rows(pool)
    other = asked(EMAIL)
    assert other.context is not None
    assert row["key"] == key_of(other, other.context)
    forgetful = cache_of(inner=serving, days=0)
    await forgetful.model.complete(asked("Nothing is stored here."))
    await forgetful.answers.aclose()
    assert len(await rows(pool)) == 1


async def test_each_tier_lets_go_when_its_time_is_over(cache_of: CacheOf, serving: Serving) -> None:
    cache = cache_of(inner=serving, settings=CacheSettings(memory_seconds=300, shared_seconds=3600))
    await cache.model.complete(asked())
    await cache.answers.written()
    tiers = []
    for seconds in (299, 301, 602, 3599, 3601):
        cache.now = NOON + seconds * SECOND
        tiers.append(tier_of(await cache.model.complete(asked())))
        await cache.answers.written()
    assert tiers == ["l1", "l2", "l2", "l2", None]


async def test_nothing_goes_up_into_memory_for_longer_than_it_has_left(cache_of: CacheOf, serving: Serving) -> None:
    cache = cache_of(inner=serving, settings=CacheSettings(shared_seconds=3600))
    await cache.model.complete(asked())
    await cache.answers.written()
    cache.now = NOON + 3500 * SECOND
    assert tier_of(await cache.model.complete(asked())) == "l2"
    cache.now = NOON + 3601 * SECOND
    assert tier_of(await cache.model.complete(asked())) is None


async def test_no_tier_keeps_longer_than_retention_says(cache_of: CacheOf, serving: Serving, pool: Pool) -> None:
    cache = cache_of(inner=serving, hours=0.01)
    await cache.model.complete(asked())
    await cache.answers.written()
    assert [row["expires_at"] - NOON for row in await rows(pool)] == [36 * SECOND]
    cache.now = NOON + 37 * SECOND
    assert tier_of(await cache.model.complete(asked())) is None
    never = cache_of(inner=serving, hours=0.0)
    for _ in range(2):
        assert tier_of(await never.model.complete(asked("Keep nothing."))) is None


async def test_the_bounds_hold_and_what_was_not_used_for_longest_goes_first(
    cache_of: CacheOf, pool: Pool, tmp_path: Path
) -> None:
    script = Serving(ScriptedModel(lambda request: str(request.messages[-1]["content"]) * 100))  # type: ignore[union-attr]
    settings = CacheSettings(memory_bytes=0, shared_bytes=2000, file_over_bytes=1500, file_bytes=5000)
    cache = cache_of(inner=script, settings=settings)
    for text in ("small 1", "small 2", "small 3", "a larger text 1 ", "a larger text 2 ", "a larger text 3 "):
        cache.now += 2 * timedelta(minutes=1)
        await cache.model.complete(asked(text))
        await cache.answers.written()
    cache.now += 2 * timedelta(minutes=1)
    assert tier_of(await cache.model.complete(asked("small 1"))) == "l2"
    await cache.answers.tend()
    assert [tier_of(await cache.model.complete(asked(f"small {n}"))) for n in (1, 3, 2)] == ["l2", "l2", None]
    larger = [tier_of(await cache.model.complete(asked(f"a larger text {n} "))) for n in (3, 2, 1)]
    assert larger == ["l3", "l3", None]
    await cache.answers.written()
    await cache.answers.tend()
    rows_now, files_now = await cache.rows.amounts()
    assert (rows_now.bytes <= 2000, files_now.bytes <= 5000) == (True, True)
    assert {path.name for path in files(tmp_path / "cache")} == {row["blob"] for row in await rows(pool)} - {None}


async def test_files_that_no_row_names_are_deleted_when_they_are_old(
    cache_of: CacheOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = Serving(ScriptedModel(lambda request: "tide " * 20_000))
    cache = cache_of(inner=serving)
    await cache.model.complete(asked())
    await cache.answers.written()
    [kept] = files(tmp_path / "cache")
    orphan = kept.with_name(f"{kept.name[:2]}{'0' * 62}-{'0' * 64}")
    half = tmp_path / "cache" / "incoming-x"
    for path in (orphan, half):
        path.write_bytes(b"left by a killed process")
    await cache.answers.tend()
    assert {*files(tmp_path / "cache")} == {kept, orphan, half}
    monkeypatch.setattr("tidemill.store.answer_files.LEFT_SECONDS", -1.0)
    await cache.answers.tend()
    assert [*files(tmp_path / "cache")] == [kept]


async def test_an_erasure_deletes_what_a_person_asked_from_every_tier(
    cache_of: CacheOf, pool: Pool, tmp_path: Path
) -> None:
    model = Serving(ScriptedModel(lambda request: "tide " * (20_000 if "long" in str(request.messages) else 1)))  # type: ignore[union-attr]
    cache = cache_of(inner=model)
    other = UUID("22222222-2222-7222-8222-222222222222")
    for text, owner in (("short", OWNER), ("long", OWNER), ("another's", other)):
        await cache.model.complete(asked(text, owner_id=owner))
    assert await cache.answers.erase([OWNER]) == 2
    assert [row["owner_id"] for row in await rows(pool)] == [other]
    assert not [*files(tmp_path / "cache")]
    assert tier_of(await cache.model.complete(asked("short"))) is None
    assert tier_of(await cache.model.complete(asked("another's"))) == "l1"


async def test_an_erasure_does_not_wait_for_what_others_go_on_to_ask(cache_of: CacheOf) -> None:
    cache = cache_of()
    gates = {text: asyncio.Event() for text in ("before", "meanwhile")}

    async def keep(text: str) -> None:
        async def storable() -> bool:
            await gates[text].wait()
            return True

        answer = KeptAnswer(text.encode().ljust(32), b"{}", "chat", "hash", "level:internal", OWNER)
        await cache.answers.keep(answer, storable)

    await keep("before")
    erasing = asyncio.create_task(cache.answers.erase([OWNER]))
    await asyncio.sleep(0)
    await keep("meanwhile")
    gates["before"].set()
    async with asyncio.timeout(10):
        assert await erasing == 1
    gates["meanwhile"].set()
    await cache.answers.written()


async def test_clearing_leaves_nothing(cache_of: CacheOf, pool: Pool) -> None:
    cache = cache_of()
    await cache.model.complete(asked())
    assert await cache.answers.clear() == 1
    assert await rows(pool) == []
    assert tier_of(await cache.model.complete(asked())) is None
    status = await cache.answers.status()
    assert (status.hits, status.misses, status.hit_rate, status.redis) == ({}, 2, 0.0, None)


async def test_retention_counts_and_deletes_what_has_ended(cache_of: CacheOf, pool: Pool) -> None:
    cache = cache_of()
    await cache.model.complete(asked())
    await cache.answers.written()
    due = RetentionRepository(pool).due
    assert await due("cached_answers", NOON) == 0
    assert await due("cached_answers", NOON + timedelta(hours=2)) == 1
    assert await cache.rows.forget(NOON + timedelta(hours=2)) == 1


async def test_an_answer_of_half_a_surrogate_pair_is_kept_as_it_is(cache_of: CacheOf) -> None:
    half = "a broken \ud83d emoji"
    before = cache_of([half])
    await before.model.complete(asked())
    await before.answers.aclose()
    again: ChatCompletion = await cache_of([]).model.complete(asked())
    assert again.text == half


async def test_answers_that_come_together_are_all_kept_and_of_one_question_the_later(
    pool: Pool, tmp_path: Path
) -> None:
    answers = AnswerCacheRepository(pool, AnswerFiles(tmp_path / "cache"), over=100)

    def kept(number: int, value: bytes) -> KeptAnswer:
        return KeptAnswer(bytes([number]) * 32, value, "chat", "hash", "level:internal", None)

    end = NOON + timedelta(hours=1)
    await answers.put(kept(1, b"l" * 200), NOON, end)
    [file] = files(tmp_path / "cache")
    later = [kept(1, b"short"), *(kept(number, b"x" * number * 30) for number in range(2, 8)), kept(2, b"last")]
    await asyncio.gather(*(answers.put(one, NOON, end) for one in later))
    found = [await answers.find(bytes([number]) * 32, NOON) for number in range(1, 8)]
    assert [one.value if one else None for one in found] == [
        b"short",
        b"last",
        *(b"x" * number * 30 for number in range(3, 8)),
    ]
    assert not file.exists()
    assert len(list(files(tmp_path / "cache"))) == 4  # those of over 100 bytes


async def test_an_answer_that_the_database_can_not_hold_takes_no_other_with_it(pool: Pool, tmp_path: Path) -> None:
    answers = AnswerCacheRepository(pool, AnswerFiles(tmp_path / "cache"), over=100)
    good, bad = (KeptAnswer(bytes([number]) * 32, b"it", "chat", "hash", "level:x", None) for number in (1, 2))
    end = NOON + timedelta(hours=1)
    ended = await asyncio.gather(
        answers.put(good, NOON, end), answers.put(replace(bad, task="a\0b"), NOON, end), return_exceptions=True
    )
    assert ended[0] is None
    assert isinstance(ended[1], psycopg.Error)
    assert await answers.find(good.key, NOON) is not None
    assert await answers.find(bad.key, NOON) is None
