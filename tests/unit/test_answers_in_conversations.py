"""Answers from documents in a conversation: what a model is told of them later, and who may open them."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.support.answering import NOON, SIGNING, STEPS, InMemory, answers_of, asker
from tidemill.core.accounts import Caller, Right, Role
from tidemill.core.classification import Level
from tidemill.core.conversation import Message, Speaker
from tidemill.core.errors import NotFound
from tidemill.core.search import Reader
from tidemill.flows.questions import Questions, reply_of
from tidemill.knowledge.questions import Question
from tidemill.llm.scripted import ScriptedModel

SAID = "Việc phê duyệt yêu cầu mua hàng cần có chữ ký giám đốc [2]."


def answered(owner_id, repository):
    """The service, and an answer from a confidential passage."""
    service = answers_of(ScriptedModel([SAID]), repository=repository)
    question = Question("Ai ký yêu cầu mua hàng?", passages=(STEPS, replace(SIGNING, level=Level.CONFIDENTIAL)))
    answer = asyncio.run(service.answer(question, replace(asker(), owner_id=owner_id), Reader(Level.CONFIDENTIAL)))
    return Questions(service, conversations=None), answer


def test_a_model_is_told_the_level_of_what_documents_said_so_that_it_stays_in_the_network():
    _, answer = answered(uuid4(), InMemory())
    reply = reply_of(answer)
    message = Message(uuid4(), uuid4(), None, Speaker.ASSISTANT, reply.content, NOON, reply.level)
    assert message.told == SAID
    assert replace(message, citations=reply.citations).told == f"classification: confidential\n{SAID}"


def test_each_citation_of_a_message_has_its_passage_and_both_places():
    _, answer = answered(uuid4(), InMemory())
    (cited,) = reply_of(answer).citations
    assert cited["text"] == SIGNING.text
    assert SIGNING.text[cited["quote_start"] : cited["quote_end"]] == cited["quote"]
    assert answer.text[cited["start"] : cited["end"]] == SAID


def test_an_answer_is_not_there_for_a_key_below_the_level_of_its_documents():
    owner = uuid4()
    questions, answer = answered(owner, InMemory())
    high = Caller(owner, Role.MEMBER, frozenset(Right), Level.CONFIDENTIAL)
    assert asyncio.run(questions.find(high, answer.id)) == answer
    with pytest.raises(NotFound):
        asyncio.run(questions.find(replace(high, level=Level.INTERNAL), answer.id))
    with pytest.raises(NotFound):
        asyncio.run(questions.find(replace(high, owner_id=uuid4()), answer.id))
