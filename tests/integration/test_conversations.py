"""What a person gets of conversations: a tree that nothing is lost from, histories that fit, and a search."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from tests.conftest import NOON, fresh_database
from tidemill.analysis.classification import classify_all
from tidemill.conversations.answering import Answering
from tidemill.conversations.service import Answered, Change, Conversations, Opening, Post
from tidemill.conversations.summaries import Summaries
from tidemill.core.accounts import RIGHTS, Caller, Role
from tidemill.core.chat import ChatRequest
from tidemill.core.classification import Level
from tidemill.core.context import Asker
from tidemill.core.conversation import Conversation, History, Message, Speaker, TitledBy
from tidemill.core.deployment import Deployment, Task
from tidemill.core.errors import (
    ContextTooLong,
    InvalidInput,
    ModelFailed,
    ModelNotFound,
    NotFound,
    TooLarge,
    Unavailable,
)
from tidemill.core.ids import new_id
from tidemill.llm.outside import Classify
from tidemill.llm.prompts.shipped import ShippedPrompts
from tidemill.llm.scripted import ScriptedAnswer, ScriptedModel
from tidemill.settings import ConversationSettings
from tidemill.store.conversations import ConversationRepository
from tidemill.store.database import Pool, make_pool
from tidemill.store.embedded import EmbeddedPostgres

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(postgres: EmbeddedPostgres) -> AsyncIterator[Pool]:
    """One database for all: each test is another person."""
    with fresh_database(postgres) as url:
        async with make_pool(url, size=4) as opened:
            yield opened


def caller() -> Caller:
    return Caller(new_id(), Role.MEMBER, RIGHTS[Role.MEMBER], key_id=new_id())


def asker(caller: Caller) -> Asker:
    return Asker("0" * 32, key_id=caller.key_id, owner_id=caller.owner_id)


class Deployments:
    """A registry of the models whose names begin with `scripted`."""

    async def for_chat(self, name: str) -> Deployment:
        if name != "default" and not name.startswith("scripted"):
            raise ModelNotFound(f"There is no model {name}.")
        return Deployment(Task.CHAT, "scripted" if name == "default" else name, "1")

    async def for_side(self, task: Task, beside: Deployment) -> Deployment:
        return Deployment(task, "scripted-titles", "1") if task is Task.CONVERSATION_TITLE else beside


@dataclass
class Talk:
    """The service over a script, as one person uses it."""

    pool: Pool
    script: Callable[[ChatRequest], ScriptedAnswer | str]
    context_tokens: int | None = None
    settings: ConversationSettings = field(default_factory=ConversationSettings)
    who: Caller = field(default_factory=caller)
    now: datetime = NOON
    classify: Classify = classify_all

    def __post_init__(self) -> None:
        self.model = ScriptedModel(self.script)
        self.rows = ConversationRepository(self.pool)
        summaries = Summaries(self.model, self.rows, self.clock, ShippedPrompts())
        answering = Answering(self.model, summaries, lambda _: self.context_tokens, ShippedPrompts())
        self.service = Conversations(
            self.rows, answering, self.model, Deployments(), ShippedPrompts(), self.settings, self.clock, self.classify
        )

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    async def open(self, **opening: Any) -> UUID:
        return (await self.service.create(self.who, Opening(**opening))).id

    async def say(self, conversation: UUID, content: str | None, **post: Any) -> Message:
        turn = await self.service.ask(self.who, conversation, Post(content, asker(self.who), **post))
        async with aclosing(self.service.answer(turn)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Answered):
                    return piece.message
        raise AssertionError

    async def get(self, conversation: UUID) -> Conversation:
        return await self.service.get(self.who, conversation)

    async def shown(self, conversation: UUID) -> list[str]:
        return [message.content for message in await self.service.path(await self.get(conversation))]

    async def all(self, conversation: UUID) -> list[Message]:
        return await self.service.messages(await self.get(conversation), limit=None, after=None)


def counted(request: ChatRequest) -> int:
    """Tokens as the scripted model counts them: what stands between white space."""
    return sum(len(str(message["content"]).split()) for message in request.messages)


def refusing(limit: int, answer: str = "Yes.") -> Callable[[ChatRequest], ScriptedAnswer]:
    """A model whose context holds so many tokens."""

    def script(request: ChatRequest) -> ScriptedAnswer:
        if counted(request) >= limit:
            return ScriptedAnswer(error=ContextTooLong(prompt_tokens=counted(request), context_tokens=limit))
        task = request.context.deployment.task if request.context else None
        return ScriptedAnswer("A short summary." if task is Task.CONVERSATION_SUMMARY else answer)

    return script


def echo(request: ChatRequest) -> str:
    return f"You said {request.messages[-1]['content']}"


async def test_a_question_is_answered_with_what_was_said_before_and_both_are_kept(pool: Pool) -> None:
    talk = Talk(pool, echo)
    conversation = await talk.open(system="Be brief.")
    first = await talk.say(conversation, "one")
    second = await talk.say(conversation, "two")
    assert await talk.shown(conversation) == ["one", "You said one", "two", "You said two"]
    assert [message["role"] for message in talk.model.requests[-1].messages] == ["system", "user", "assistant", "user"]
    assert (await talk.get(conversation)).leaf_id == second.id
    assert first.finish_reason == "stop"
    assert first.inference_id == talk.model.requests[0].context.inference_id  # type: ignore[union-attr]
    context = talk.model.requests[0].context
    assert context is not None
    assert (context.owner_id, context.key_id) == (talk.who.owner_id, talk.who.key_id)
    assert (context.subject, context.deployment.task) == (str(conversation), Task.CHAT)
    assert first.prompt_tokens == 3
    assert first.completion_tokens == 3


async def test_a_conversation_may_begin_with_messages_and_no_model_is_asked(pool: Pool) -> None:
    talk = Talk(pool, echo)
    begun = [(Speaker.USER, "a"), (Speaker.ASSISTANT, "b"), (Speaker.USER, "c"), (Speaker.ASSISTANT, "d")]
    conversation = await talk.open(messages=begun)
    assert await talk.shown(conversation) == ["a", "b", "c", "d"]
    assert [message.content for message in await talk.all(conversation)] == ["a", "b", "c", "d"]
    assert talk.model.calls == 0
    await talk.say(conversation, "e")
    assert len(talk.model.requests[0].messages) == 5


@pytest.mark.parametrize(
    "opening",
    [
        {"messages": [(Speaker.USER, "a"), (Speaker.USER, "b")]},
        {"messages": [(Speaker.USER, "  \n")]},
        {"title": ""},
        {"title": "t" * 201},
        {"title": "\x1b[31m"},
    ],
)
async def test_a_beginning_that_can_not_be_used_is_refused(pool: Pool, opening: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        await Talk(pool, echo).open(**opening)


async def test_a_model_that_does_not_exist_is_refused_at_once(pool: Pool) -> None:
    talk = Talk(pool, echo)
    with pytest.raises(ModelNotFound):
        await talk.open(model="absent")
    conversation = await talk.open()
    with pytest.raises(ModelNotFound):
        await talk.say(conversation, "x", model="absent")
    assert await talk.shown(conversation) == []


async def test_an_edited_question_makes_a_branch_and_the_old_one_stays(pool: Pool) -> None:
    talk = Talk(pool, echo)
    conversation = await talk.open()
    first = await talk.say(conversation, "one")
    old = await talk.say(conversation, "two")
    new = await talk.say(conversation, "deux", parent_id=first.id, at_leaf=False)
    assert await talk.shown(conversation) == ["one", "You said one", "deux", "You said deux"]
    root = await talk.say(conversation, "another beginning", parent_id=None, at_leaf=False)
    assert await talk.shown(conversation) == ["another beginning", "You said another beginning"]
    assert len(await talk.all(conversation)) == 8
    siblings = await talk.service.siblings(await talk.get(conversation))
    assert [len(siblings[None]), len(siblings[first.id])] == [2, 2]
    await talk.service.change(talk.who, conversation, Change(leaf_id=old.id))
    assert await talk.shown(conversation) == ["one", "You said one", "two", "You said two"]
    await talk.say(conversation, "three")
    assert len(await talk.shown(conversation)) == 6
    assert new.parent_id != root.parent_id


async def test_an_answer_can_be_given_again_beside_the_first(pool: Pool) -> None:
    answers = iter(["first", "second"])
    talk = Talk(pool, lambda _: next(answers))
    conversation = await talk.open()
    first = await talk.say(conversation, "one")
    again = await talk.say(conversation, None, parent_id=first.parent_id, at_leaf=False)
    assert again.parent_id == first.parent_id
    assert await talk.shown(conversation) == ["one", "second"]
    assert talk.model.requests[0].messages == talk.model.requests[1].messages


async def test_a_question_follows_an_answer_and_only_a_question_is_answered_again(pool: Pool) -> None:
    talk = Talk(pool, echo)
    conversation = await talk.open()
    answer = await talk.say(conversation, "one")
    with pytest.raises(InvalidInput, match="follows an answer"):
        await talk.say(conversation, "two", parent_id=answer.parent_id, at_leaf=False)
    with pytest.raises(InvalidInput, match="names an answer"):
        await talk.say(conversation, None, parent_id=answer.id, at_leaf=False)
    for post in ({}, {"parent_id": None, "at_leaf": False}):
        with pytest.raises(InvalidInput, match="content"):
            await talk.say(conversation, None, **post)
    with pytest.raises(NotFound):
        await talk.say(conversation, "two", parent_id=new_id(), at_leaf=False)
    other = await talk.open()
    with pytest.raises(NotFound):
        await talk.say(other, "two", parent_id=answer.id, at_leaf=False)


async def test_two_questions_at_once_are_both_answered_as_branches(pool: Pool) -> None:
    talk = Talk(pool, lambda request: ScriptedAnswer(echo(request), delay=0.05))
    conversation = await talk.open()
    first = await talk.say(conversation, "one")
    answers = await asyncio.gather(talk.say(conversation, "left"), talk.say(conversation, "right"))
    questions = [one for one in await talk.all(conversation) if one.parent_id == first.id]
    assert {one.content for one in questions} == {"left", "right"}
    assert {one.content for one in answers} == {"You said left", "You said right"}
    assert (await talk.shown(conversation))[-1] in {"You said left", "You said right"}


async def test_who_turns_to_another_branch_while_an_answer_comes_stays_there(pool: Pool) -> None:
    talk = Talk(pool, echo)
    conversation = await talk.open()
    first = await talk.say(conversation, "one")
    turn = await talk.service.ask(talk.who, conversation, Post("two", asker(talk.who)))
    async with aclosing(talk.service.answer(turn)) as pieces:
        await anext(pieces)
        await talk.service.change(talk.who, conversation, Change(leaf_id=first.id))
        rest = [piece async for piece in pieces]
    assert isinstance(rest[-1], Answered)
    assert (await talk.get(conversation)).leaf_id == first.id


async def test_a_model_that_fails_leaves_the_question_which_can_be_asked_again(pool: Pool) -> None:
    answers = iter([ScriptedAnswer(error=Unavailable("Not now.")), ScriptedAnswer("Now.")])
    talk = Talk(pool, lambda _: next(answers))
    conversation = await talk.open()
    with pytest.raises(Unavailable, match="Not now"):
        await talk.say(conversation, "one")
    [question] = await talk.all(conversation)
    assert (await talk.get(conversation)).leaf_id == question.id
    await talk.say(conversation, None, parent_id=question.id, at_leaf=False)
    assert await talk.shown(conversation) == ["one", "Now."]


async def test_a_question_beside_one_that_got_no_answer_does_not_follow_it(pool: Pool) -> None:
    answers = iter([ScriptedAnswer(error=Unavailable("Not now.")), ScriptedAnswer("Now.")])
    talk = Talk(pool, lambda _: next(answers))
    conversation = await talk.open()
    with pytest.raises(Unavailable):
        await talk.say(conversation, "one")
    await talk.say(conversation, "two")
    assert await talk.shown(conversation) == ["two", "Now."]
    assert len(talk.model.requests[-1].messages) == 1


async def test_an_answer_that_breaks_off_is_kept_as_far_as_it_came(pool: Pool) -> None:
    talk = Talk(pool, lambda _: ScriptedAnswer("Half an answer", error=ModelFailed("It broke.")))
    conversation = await talk.open()
    with pytest.raises(ModelFailed):
        await talk.say(conversation, "one")
    question, answer = await talk.all(conversation)
    assert (answer.content, answer.finish_reason, answer.parent_id) == ("Half an answer", "error", question.id)
    assert answer.inference_id is not None


@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_an_answer_whose_client_goes_is_kept_as_far_as_it_came(pool: Pool, way: str) -> None:
    talk = Talk(pool, lambda _: ScriptedAnswer("one two " * 50, delay=20))
    conversation = await talk.open()
    turn = await talk.service.ask(talk.who, conversation, Post("Count.", asker(talk.who)))
    pieces = talk.service.answer(turn)
    if way == "close":
        assert await anext(pieces) == "one "
        await pieces.aclose()
    else:
        seen = asyncio.Event()

        async def read() -> None:
            async for _ in pieces:
                seen.set()

        task = asyncio.create_task(read())
        await seen.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    _, answer = await talk.all(conversation)
    assert (answer.content, answer.finish_reason) == ("one ", "cancelled")
    assert (await talk.get(conversation)).leaf_id == answer.id


async def test_a_client_that_goes_before_the_first_word_leaves_the_question_alone(pool: Pool) -> None:
    talk = Talk(pool, lambda _: ScriptedAnswer("late", delay=60))
    conversation = await talk.open()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(talk.say(conversation, "one"), 0.1)
    assert [one.role for one in await talk.all(conversation)] == [Speaker.USER]


async def test_a_conversation_deleted_while_its_answer_comes_takes_no_answer(pool: Pool) -> None:
    talk = Talk(pool, echo)
    conversation = await talk.open()
    turn = await talk.service.ask(talk.who, conversation, Post("one", asker(talk.who)))
    async with aclosing(talk.service.answer(turn)) as pieces:
        await anext(pieces)
        await talk.service.delete(talk.who, conversation)
        with pytest.raises(NotFound, match="deleted while"):
            async for _ in pieces:
                pass


async def test_another_s_conversation_does_not_exist(pool: Pool) -> None:
    talk = Talk(pool, echo)
    conversation = await talk.open()
    answer = await talk.say(conversation, "secret words")
    other = replace(talk, who=caller())
    for attempt in (
        other.get(conversation),
        other.say(conversation, "x"),
        other.say(conversation, None, parent_id=answer.parent_id, at_leaf=False),
        other.service.change(other.who, conversation, Change(title="mine")),
        other.service.delete(other.who, conversation),
        other.service.latest(other.who, limit=5, after=conversation, query=None),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await other.service.latest(other.who, limit=5, after=None, query=None) == []
    assert await other.service.latest(other.who, limit=5, after=None, query="secret") == []
    assert len(await talk.all(conversation)) == 2


async def test_a_title_comes_from_the_first_message_and_a_person_s_is_kept(pool: Pool) -> None:
    talk = Talk(pool, echo)
    conversation = await talk.open()
    assert (await talk.get(conversation)).title == ""
    await talk.say(conversation, "Why does\n\tthe tide\x00 come in twice a day, and not once, as the moon does?")
    title = (await talk.get(conversation)).title
    assert title == "Why does the tide\ufffd come in twice a day, and not once, as…"
    changed = await talk.service.change(talk.who, conversation, Change(title="Tides"))
    assert (changed.title, changed.titled_by) == ("Tides", TitledBy.PERSON)
    await talk.rows.retitle(conversation, "no", TitledBy.MODEL)
    assert (await talk.get(conversation)).title == "Tides"


async def test_a_model_names_a_conversation_where_that_is_wanted(pool: Pool) -> None:
    def script(request: ChatRequest) -> str:
        assert request.context is not None
        titled = request.context.deployment.task is Task.CONVERSATION_TITLE
        assert request.model == ("scripted-titles" if titled else "scripted")
        return '"The Two Tides"\nand more' if titled else "Because."

    talk = Talk(pool, script, settings=ConversationSettings(model_titles=True))
    conversation = await talk.open()
    await talk.say(conversation, "Why?")
    await talk.service.aclose()
    found = await talk.get(conversation)
    assert (found.title, found.titled_by) == ("The Two Tides", TitledBy.MODEL)
    await talk.say(conversation, "And then?")
    await talk.service.aclose()
    assert talk.model.calls == 3
    named = await talk.open(title="Mine")
    await talk.say(named, "Why?")
    await talk.service.aclose()
    assert (await talk.get(named)).title == "Mine"


async def test_a_title_that_a_model_fails_to_give_is_no_failure_of_the_answer(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([ScriptedAnswer("Because."), ScriptedAnswer(error=Unavailable("Not now."))])
    talk = Talk(pool, lambda _: next(answers), settings=ConversationSettings(model_titles=True))
    conversation = await talk.open()
    await talk.say(conversation, "Why?")
    await talk.service.aclose()
    assert (await talk.get(conversation)).title == "Why?"
    assert "Not now." in caplog.text


async def test_conversations_are_listed_newest_first_in_pages(pool: Pool) -> None:
    talk = Talk(pool, echo)
    made = [await talk.open(title=f"number {number}") for number in range(5)]
    await talk.say(made[1], "again")
    order = [made[1], made[4], made[3], made[2], made[0]]
    page = await talk.service.latest(talk.who, limit=3, after=None, query=None)
    assert [one.conversation.id for one in page] == order[:3]
    page = await talk.service.latest(talk.who, limit=3, after=page[-1].conversation.id, query=None)
    assert [one.conversation.id for one in page] == order[3:]


@pytest.mark.parametrize("query", ["Đường phố", "duong pho", "ĐƯỜNG", "duong", '"pho Ha Noi"', "dương -cafe"])
async def test_a_search_finds_vietnamese_with_and_without_its_diacritics(pool: Pool, query: str) -> None:
    talk = Talk(pool, lambda _: "Không biết.")
    conversation = await talk.open()
    await talk.say(conversation, "Xin chào! Tên của đường phố Hà Nội đẹp nhất là gì?")
    await talk.open(title="something else")
    [found] = await talk.service.latest(talk.who, limit=5, after=None, query=query)
    assert found.conversation.id == conversation
    assert found.snippet is not None
    assert "đường phố Hà Nội" in found.snippet


@pytest.mark.parametrize("query", ["nowhere", "đường -phố", "& | ! :* ( ) ' \\", "\x00", '"', "-", "%", "<->"])
async def test_a_search_for_what_is_not_there_finds_nothing_and_fails_on_nothing(pool: Pool, query: str) -> None:
    talk = Talk(pool, lambda _: "Không biết.")
    await talk.say(await talk.open(), "đường phố Hà Nội")
    assert await talk.service.latest(talk.who, limit=5, after=None, query=query) == []


async def test_a_search_finds_titles(pool: Pool) -> None:
    talk = Talk(pool, echo)
    conversation = await talk.open(title="Kế hoạch quý ba")
    [found] = await talk.service.latest(talk.who, limit=5, after=None, query="ke hoach")
    assert (found.conversation.id, found.snippet) == (conversation, None)


@pytest.mark.parametrize(
    ("alphabet", "length", "between"),
    [
        (range(0x4E00, 0x9FFF), 2, " "),
        (range(0x10400, 0x10450), 4, "-"),
        (range(0xAC00, 0xD7A3), 3, " "),
        (range(97, 123), 3, "-"),
        (range(97, 123), 40_000, " "),
        (range(0x301, 0x302), 50_000, " "),
    ],
    ids=["CJK", "beyond the BMP, hyphenated", "Hangul, which decomposes", "hyphenated", "one word", "accents alone"],
)
async def test_no_text_is_too_much_for_the_search(pool: Pool, alphabet: range, length: int, between: str) -> None:
    chance = random.Random(7)
    words = ("".join(chr(chance.choice(alphabet)) for _ in range(length)) for _ in range(200_000 // length))
    talk = Talk(pool, lambda _: "Yes.", settings=ConversationSettings(max_message_bytes=2_000_000))
    conversation = await talk.open()
    await talk.say(conversation, "needle " + between.join(words))
    assert await talk.service.latest(talk.who, limit=1, after=None, query="needle")


async def test_a_message_a_conversation_and_its_bytes_have_limits_that_are_said(pool: Pool) -> None:
    limits = ConversationSettings(max_message_bytes=100, max_messages=4, max_bytes=150)
    talk = Talk(pool, lambda _: "ok", settings=limits)
    conversation = await talk.open()
    with pytest.raises(TooLarge, match=r"101 bytes, and 100"):
        await talk.say(conversation, "x" * 101)
    await talk.say(conversation, "x" * 99)
    with pytest.raises(TooLarge, match=r"151 bytes, and 150"):
        await talk.say(conversation, "x" * 50)
    answer = await talk.say(conversation, "x")
    with pytest.raises(TooLarge, match=r"6 messages, and 4"):
        await talk.say(conversation, "x")
    with pytest.raises(TooLarge, match=r"5 messages, and 4"):
        await talk.say(conversation, None, parent_id=answer.parent_id, at_leaf=False)
    with pytest.raises(TooLarge):
        await talk.open(system="s" * 101)
    with pytest.raises(TooLarge):
        await talk.open(messages=[(Speaker.USER, "a"), (Speaker.ASSISTANT, "b")] * 3)


async def test_what_no_database_can_hold_is_replaced(pool: Pool) -> None:
    talk = Talk(pool, lambda _: "half \ud83c\udf0a and \ud83c\x00")
    conversation = await talk.open(system="a\x00b")
    answer = await talk.say(conversation, "a\x00b\udfff")
    assert await talk.shown(conversation) == ["a\ufffdb\ufffd", "half \N{WATER WAVE} and \ufffd\ufffd"]
    assert answer.content.endswith("\ufffd")
    assert (await talk.get(conversation)).system == "a\ufffdb"


async def test_a_message_in_which_no_rule_finds_anything_has_the_level_that_the_installation_says(pool: Pool) -> None:
    talk = Talk(pool, echo, classify=partial(classify_all, default=Level.CONFIDENTIAL))
    answer = await talk.say(await talk.open(), "Good morning")
    assert answer.level is Level.CONFIDENTIAL


@pytest.mark.parametrize("padding", ["", "word " * 10_000])
async def test_a_message_carries_the_level_of_what_it_says(pool: Pool, padding: str) -> None:
    talk = Talk(pool, lambda _: "I don't know.")
    conversation = await talk.open()
    await talk.say(conversation, f"{padding}Write to mai.nguyen@quarry.vn")
    question, answer = await talk.all(conversation)
    assert (question.level, answer.level) == (Level.CONFIDENTIAL, Level.INTERNAL)


async def fill(talk: Talk, conversation: UUID, turns: int, words: int) -> None:
    """So many turns of so many words each."""
    for number in range(turns):
        await talk.say(conversation, f"q{number} " + "word " * words)


async def test_a_window_holds_the_newest_that_fit_the_system_message_and_the_question(pool: Pool) -> None:
    talk = Talk(pool, refusing(100), context_tokens=100)
    conversation = await talk.open(system="Be brief.")
    await fill(talk, conversation, 12, 15)
    told = [str(message["content"]) for message in talk.model.requests[-1].messages]
    assert told[0] == "Be brief."
    assert told[-1].startswith("q11 ")
    assert told[1].startswith("q")
    assert told[1:] == (await talk.shown(conversation))[:-1][-len(told[1:]) :]
    assert 3 <= len(told) < 12
    assert counted(talk.model.requests[-1]) < 76
    assert len(await talk.shown(conversation)) == 24


async def test_where_nothing_is_known_of_a_context_a_refusal_says_how_much_fits(pool: Pool) -> None:
    talk = Talk(pool, refusing(100))
    conversation = await talk.open(system="Be brief.")
    await fill(talk, conversation, 5, 15)
    before = talk.model.calls
    await fill(talk, conversation, 1, 15)
    assert talk.model.calls == before + 2
    asked = talk.model.requests[-1]
    assert counted(asked) <= 75
    assert talk.model.requests[-2].context.inference_id != asked.context.inference_id  # type: ignore[union-attr]
    await fill(talk, conversation, 1, 15)
    assert talk.model.calls == before + 3


async def test_an_estimate_that_is_too_low_is_mended_by_the_refusal(pool: Pool) -> None:
    talk = Talk(pool, refusing(400), context_tokens=400)
    begun = [(speaker, "a b c d e f g h i j " * 4) for speaker in (Speaker.USER, Speaker.ASSISTANT)] * 8
    conversation = await talk.open(messages=begun)
    await talk.say(conversation, "x", options={"max_tokens": 10})
    assert 2 <= talk.model.calls <= 4
    assert len(talk.model.requests[-1].messages) > 1


async def test_room_is_kept_for_the_answer_that_was_asked_for(pool: Pool) -> None:
    talk = Talk(pool, refusing(200), context_tokens=200)
    conversation = await talk.open()
    await fill(talk, conversation, 10, 15)
    await talk.say(conversation, "q " + "word " * 15, options={"max_tokens": 140})
    assert counted(talk.model.requests[-1]) <= 60
    assert talk.model.requests[-1].options == {"max_tokens": 140}


@pytest.mark.parametrize("history", list(History))
@pytest.mark.parametrize("known", [100, None])
async def test_a_question_that_is_too_long_by_itself_is_told_both_numbers(
    pool: Pool, history: History, known: int | None
) -> None:
    talk = Talk(pool, refusing(100), context_tokens=known)
    conversation = await talk.open(history=history)
    await talk.say(conversation, "a")
    with pytest.raises(ContextTooLong) as refused:
        await talk.say(conversation, "word " * 300)
    assert refused.value.context_tokens == 100
    assert refused.value.prompt_tokens >= 300
    assert len(await talk.all(conversation)) == 3


async def test_what_does_not_fit_is_summed_up_once_and_the_summary_is_used_again(pool: Pool) -> None:
    talk = Talk(pool, refusing(200), context_tokens=200)
    conversation = await talk.open(system="Be brief.", history=History.SUMMARY)
    await fill(talk, conversation, 20, 15)
    tasks = [request.context.deployment.task for request in talk.model.requests if request.context]
    summed = tasks.count(Task.CONVERSATION_SUMMARY)
    assert tasks.count(Task.CHAT) == 20
    assert 1 <= summed < 10
    told = [str(message["content"]) for message in talk.model.requests[-1].messages]
    assert told[0].startswith("Be brief.")
    assert "A short summary." in told[0]
    assert told[-1].startswith("q19 ")
    transcripts = [
        str(request.messages[0]["content"])
        for request in talk.model.requests
        if request.context and request.context.deployment.task is Task.CONVERSATION_SUMMARY
    ]
    assert "A short summary." in transcripts[-1]
    for number in range(3):
        assert sum(f"q{number} " in transcript for transcript in transcripts) == 1
    summaries = await talk.rows.summaries([message.id for message in await talk.all(conversation)])
    assert len(summaries) == summed


async def test_a_long_beginning_is_summed_up_in_pieces_and_a_long_message_is_cut(pool: Pool) -> None:
    talk = Talk(pool, refusing(300), context_tokens=300)
    begun = [(Speaker.USER, "word " * 900), (Speaker.ASSISTANT, "word " * 60)]
    begun += [(speaker, "word " * 60) for speaker in (Speaker.USER, Speaker.ASSISTANT)] * 6
    conversation = await talk.open(history=History.SUMMARY, messages=begun)
    await talk.say(conversation, "x")
    summed = [
        request
        for request in talk.model.requests
        if request.context and request.context.deployment.task is Task.CONVERSATION_SUMMARY
    ]
    assert len(summed) >= 2
    assert "[…]" in str(summed[0].messages[0]["content"])
    assert "A short summary." in str(talk.model.requests[-1].messages[0]["content"])


async def test_a_summary_that_a_model_fails_to_give_fails_the_answer_and_the_question_stays(pool: Pool) -> None:
    def script(request: ChatRequest) -> ScriptedAnswer:
        assert request.context is not None
        silent = request.context.deployment.task is Task.CONVERSATION_SUMMARY
        return ScriptedAnswer("" if silent else "Yes.")

    talk = Talk(pool, script, context_tokens=100)
    begun = [(speaker, "word " * 60) for speaker in (Speaker.USER, Speaker.ASSISTANT)] * 3
    conversation = await talk.open(history=History.SUMMARY, messages=begun)
    with pytest.raises(ModelFailed, match="sum up"):
        await talk.say(conversation, "x")
    assert (await talk.shown(conversation))[-1] == "x"


@pytest_asyncio.fixture(loop_scope="module")
async def two(pool: Pool) -> tuple[Talk, Talk]:
    first, second = Talk(pool, echo), Talk(pool, echo)
    await first.rows.forget(NOON + timedelta(days=365))
    for talk in (first, second):
        await talk.say(await talk.open(), "something private")
    return first, second


async def test_conversations_are_forgotten_by_the_time_of_their_last_message(two: tuple[Talk, Talk]) -> None:
    first, _ = two
    first.now += timedelta(days=8)
    fresh = await first.open()
    await first.say(fresh, "today")
    assert await first.rows.forget(first.now - timedelta(days=7)) == 2
    [left] = await first.service.latest(first.who, limit=5, after=None, query=None)
    assert left.conversation.id == fresh


@pytest.mark.parametrize("unit", ["a_", "@1a", "1@a1", "a-1-", "1-a_", "<!--", "<a b ", "&#", "a.", "é-"])
async def test_no_text_keeps_the_database_busy_with_making_it_searchable(pool: Pool, unit: str) -> None:
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = '10s'")
        await connection.execute("SELECT to_tsvector('simple', search_text(%s))", ((unit * 60_000)[:60_000],))


async def test_words_in_identifiers_and_in_tags_are_found(pool: Pool) -> None:
    talk = Talk(pool, echo)
    conversation = await talk.open()
    await talk.say(conversation, "class Vec<Heron>: wobbly_bridge = " + "x" * 150 + " # see a@b.co")
    for words in ("heron", "wobbly_bridge", "bridge", "x" * 150, "a@b.co", "see"):
        [found] = await talk.service.latest(talk.who, limit=5, after=None, query=words)
        assert found.conversation.id == conversation, words


async def test_a_question_whose_conversation_is_deleted_as_it_is_asked_is_told_so(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(pool, echo)
    conversation = await talk.open()
    ask = talk.rows.ask

    async def asked_and_deleted(question: Message) -> bool:
        return await ask(question) and await talk.rows.delete(conversation, talk.who.owner_id)

    monkeypatch.setattr(talk.rows, "ask", asked_and_deleted)
    with pytest.raises(NotFound, match="no conversation"):
        await talk.say(conversation, "Is it still here?")
