"""Ids, digests and the error tree."""

import itertools
import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.core import errors
from tidemill.core.deployment import (
    Deployment,
    Fallback,
    Route,
    Strategy,
    Target,
    Task,
    deployment_from_json,
    deployment_json,
)
from tidemill.core.errors import ContextTooLong, TidemillError
from tidemill.core.finding import Severity
from tidemill.core.ids import digest, new_id


def subclasses(cls):
    return [cls, *itertools.chain.from_iterable(subclasses(below) for below in cls.__subclasses__())]


ERRORS = [cls for cls in subclasses(TidemillError) if cls.__module__ == errors.__name__]


def test_an_id_is_a_uuid_of_version_7_with_the_time_in_front():
    before = time.time_ns() // 1_000_000
    made = new_id()
    after = time.time_ns() // 1_000_000
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert before <= made.int >> 80 <= after


def test_ids_made_later_sort_later(monkeypatch):
    moments = iter(range(1_700_000_000_000_000_000, 1_700_000_001_000_000_000, 1_000_000))
    monkeypatch.setattr(time, "time_ns", lambda: next(moments))
    made = [new_id() for _ in range(1000)]
    assert made == sorted(made)
    assert [str(it) for it in made] == sorted(str(it) for it in made)


def test_ids_of_one_moment_differ(monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    assert len({new_id() for _ in range(1000)}) == 1000


parts = st.lists(st.text() | st.binary(), max_size=4)


@given(parts, parts)
def test_digests_are_equal_only_for_equal_parts(first, second):
    as_bytes = [
        [it.encode("utf-8", "surrogatepass") if isinstance(it, str) else it for it in them] for them in (first, second)
    ]
    assert (digest(*first) == digest(*second)) == (as_bytes[0] == as_bytes[1])


def test_parts_of_a_digest_do_not_run_into_each_other():
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("", "abc"), digest("abc", "")}) == 5


def test_text_that_is_not_valid_unicode_has_a_digest():
    assert digest("\udcff") != digest("\udcfe")


def test_a_deployment_changes_its_hash_with_each_of_its_parts():
    base = Deployment(Task.CHAT, "model", "1")
    others = [
        Deployment(Task.REVIEW_COMMENT, "model", "1"),
        Deployment(Task.CHAT, "other", "1"),
        Deployment(Task.CHAT, "model", "2"),
        Deployment(Task.CHAT, "model", "1", adapter="a"),
        Deployment(Task.CHAT, "model", "1", prompt_version="a"),
        Deployment(Task.CHAT, "model", "1", sampling={"temperature": 0}),
        Deployment(Task.CHAT, "model", "1", variant="b"),
    ]
    assert len({it.config_hash for it in [base, *others]}) == 8
    assert base.config_hash == Deployment(Task.CHAT, "model", "1").config_hash


def test_a_deployment_comes_back_from_json_as_it_was() -> None:
    route = Route("team", (Target("a/b", weight=2), Target("c")), Strategy.ROUND_ROBIN, (Fallback.LOCAL,))
    for deployment in (
        Deployment(Task.CHAT, "model", "1"),
        Deployment(Task.REVIEW_COMMENT, "team", "2", sampling={"temperature": 0.5}, route=route),
    ):
        again = deployment_from_json(json.loads(json.dumps(deployment_json(deployment))))
        assert again == deployment
        assert again.config_hash == deployment.config_hash
        assert isinstance(again.task, Task)


def test_severities_rank_from_info_to_critical():
    assert sorted(Severity, key=lambda it: it.rank) == ["info", "low", "medium", "high", "critical"]


@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__name__)
def test_every_error_knows_its_status_code_and_exit_code(cls):
    assert 400 <= cls.status < 600
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", cls.code)
    assert 1 <= cls.exit_code < 126
    assert isinstance(cls.transient, bool)
    assert cls.__doc__


def test_no_two_errors_share_a_code():
    assert len({cls.code for cls in ERRORS}) == len(ERRORS)


def test_the_tree_in_the_docstring_is_the_tree_of_classes():
    drawn = []
    above = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"^    ([│├└─ ]*)([A-Z]\w+) +(\d{3})  \S", line)
        if match:
            depth = len(match[1]) // 4
            above = [*above[:depth], match[2]]
            drawn.append((match[2], above[depth - 1] if depth else "Exception", int(match[3])))
    assert sorted(drawn) == sorted((cls.__name__, cls.__base__.__name__, cls.status) for cls in ERRORS)


def test_a_prompt_that_is_too_long_is_told_both_numbers():
    error = ContextTooLong(prompt_tokens=9000, context_tokens=8192)
    assert "8192" in error.message
    assert "9000" in error.message
    assert error.param == "messages"
