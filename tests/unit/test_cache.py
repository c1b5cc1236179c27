"""The parts of the cache that need nothing else: memory, keys, what may not differ, what is kept, the settings."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from tests.conftest import NOON
from tests.support.caching import OWNER, asked
from tidemill.analysis.particulars import particulars
from tidemill.app.answers import cached
from tidemill.core.chat import ChatCompletion, Usage
from tidemill.core.ids import new_id
from tidemill.core.served import Served
from tidemill.llm.cache.answer import decoded, encoded, may_be_kept, replayed
from tidemill.llm.cache.key import key_of, question_of
from tidemill.llm.cache.memory import OVERHEAD, Entry, MemoryTier
from tidemill.llm.scripted import ScriptedModel
from tidemill.llm.transcript import Transcript
from tidemill.settings import CacheSettings, Settings

LATER = NOON + timedelta(minutes=5)


def entry(size=1000, owner=None, expires_at=LATER):
    return Entry(b"x" * (size - OVERHEAD), owner, expires_at)


def test_memory_holds_its_bytes_and_lets_go_of_what_was_not_used_for_longest():
    memory = MemoryTier(10_000)
    for number in range(10):
        memory.put(bytes([number]), entry())
    assert memory.get(b"\0", NOON) is not None
    memory.put(b"new", entry())
    assert (len(memory), memory.bytes) == (10, 10_000)
    assert memory.get(b"\0", NOON) is not None
    assert memory.get(b"\1", NOON) is None


def test_memory_takes_no_answer_that_would_drive_out_most_others():
    memory = MemoryTier(10_000)
    memory.put(b"a", entry())
    memory.put(b"a", entry(1251))
    assert (len(memory), memory.bytes) == (0, 0)


def test_memory_lets_go_of_what_has_ended_and_of_an_owners():
    memory = MemoryTier(10_000)
    memory.put(b"a", entry(expires_at=NOON))
    memory.put(b"b", entry(expires_at=NOON))
    memory.put(b"c", entry(owner=OWNER))
    memory.put(b"d", entry(owner=new_id()))
    assert memory.get(b"a", NOON) is None
    memory.forget(NOON)
    assert len(memory) == 2
    assert memory.erase([OWNER]) == 1
    assert memory.get(b"d", NOON) is not None
    memory.clear()
    assert (len(memory), memory.bytes) == (0, 0)


def picture(data):
    return [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": data}}]


def test_a_picture_counts_by_what_it_shows():
    keys = set()
    for data in ("data:image/png;base64,AAAA", "data:image/png;base64,BBBB", "data:image/png;base64,AAAA"):
        request = asked(before=[{"role": "user", "content": picture(data)}])
        keys.add(key_of(request, request.context))
    assert len(keys) == 2


@pytest.mark.parametrize("content", ["", "  ", picture("data:image/png;base64,AAAA"), None])
def test_only_a_text_of_a_user_is_compared_by_meaning(content):
    request = asked(content)
    assert question_of(request, request.context) is None


def test_what_an_assistant_said_last_is_not_compared_by_meaning():
    request = asked()
    request.messages.append({"role": "assistant", "content": "Well,"})
    assert question_of(request, request.context) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("What changed in version 2.3?", ["2.3"]),
        ("Is it not safe? It isn’t.", ["isn't", "not"]),
        ("Tôi không được xoá thư mục phải không?", ["không", "không"]),
        ("Ask PostgreSQL's port, or max_bytes of gpt-4o.", ["4o", "PostgreSQL", "max_bytes"]),
        ("Where is Huế? Đà Nẵng is near.", ["Huế", "Nẵng"]),
        ("how are you", []),
    ],
)
def test_numbers_names_and_noes_are_found(text, found):
    assert particulars(text) == found


def test_a_replayed_answer_is_the_answer_with_everything_that_it_had():
    logprobs = {"content": [{"token": "Hi", "logprob": -0.1}]}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    choices = [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": logprobs,
            "message": {"role": "assistant", "content": "Hi", "reasoning_content": "Hm."},
        },
        {
            "index": 1,
            "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": None, "tool_calls": [call]},
        },
    ]
    answer = ChatCompletion(choices, Usage(3, 4), Served("p", "m", "1", cost_usd=1.0, recovery=("overload.light",)))
    again = decoded(encoded(answer, asked().context), "l1")
    assert again.choices == choices
    assert again.served == Served("p", "m", "1", cost_usd=0.0, attempts=0, cache_tier="l1")
    transcript = Transcript()
    chunks = list(replayed(again))
    for chunk in chunks:
        transcript.add(chunk)
    assert transcript.choices() == choices
    assert [chunk.served is not None for chunk in chunks] == [True, *[False] * (len(chunks) - 2), True]


@pytest.mark.parametrize(
    ("choices", "fallback", "kept"),
    [
        ([{"finish_reason": "stop"}], None, True),
        ([{"finish_reason": "length"}, {"finish_reason": "tool_calls"}], None, True),
        ([{"finish_reason": "stop"}, {"finish_reason": "content_filter"}], None, False),
        ([{"finish_reason": None}], None, False),
        ([], None, False),
        ([{"finish_reason": "stop"}], "local", False),
    ],
)
def test_only_a_models_own_answer_that_came_to_its_end_is_kept(choices, fallback, kept):
    assert may_be_kept(ChatCompletion(choices, Usage(), Served("p", "m", "1", fallback=fallback))) is kept


def test_a_cache_that_is_switched_off_is_not_there(tmp_path):
    inner = ScriptedModel([])
    settings = Settings(data_dir=tmp_path, cache=CacheSettings(enabled=False))
    assert cached(settings, inner, None, None, None, None) is inner


def test_the_address_of_a_redis_is_checked_and_never_repeated():
    with pytest.raises(ValidationError, match="must begin with redis://") as refused:
        CacheSettings(redis_url="http://:hunter2@host")
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(CacheSettings(redis_url="redis://:hunter2@host/0"))
