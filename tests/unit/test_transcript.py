"""The pieces of a stream add up to the answer that would have come whole."""

from typing import Any

import pytest

from tidemill.core.chat import ChatChunk, ChatRequest, TextRequest
from tidemill.llm.scripted import ScriptedAnswer, ScriptedCall, ScriptedModel
from tidemill.llm.transcript import Transcript

CHAT = ChatRequest("tiny", [], {})


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (CHAT, ScriptedAnswer("The tide turns the mill.")),
        (CHAT, ScriptedAnswer("", calls=[ScriptedCall("a", '{"x": "a long argument"}'), ScriptedCall("b")])),
        (CHAT, ScriptedAnswer("Wait. ", calls=[ScriptedCall("a", '{"x": 1}')])),
        (ChatRequest("tiny", [], {"n": 2}), ScriptedAnswer("twice")),
        (ChatRequest("tiny", [], {}), ScriptedAnswer("cut", finish_reason="length")),
    ],
)
async def test_a_streamed_answer_is_the_whole_one(request_: ChatRequest, answer: ScriptedAnswer) -> None:
    model = ScriptedModel([answer, answer])
    whole = await model.complete(request_)
    transcript = Transcript()
    async for chunk in model.stream(request_):
        transcript.add(chunk)
    assert transcript.choices() == list(whole.choices)


async def test_a_streamed_text_is_the_whole_one() -> None:
    transcript = Transcript()
    async for chunk in ScriptedModel(["one two "]).stream(TextRequest("tiny", "p")):
        transcript.add(chunk)
    assert transcript.choices() == [{"index": 0, "text": "one two ", "finish_reason": "stop"}]


def test_refusals_thoughts_and_log_probabilities_are_kept() -> None:
    transcript = Transcript()
    deltas: list[dict[str, Any]] = [
        {"reasoning_content": "Hm"},
        {"reasoning_content": "m."},
        {"refusal": "I "},
        {"refusal": "won't."},
    ]
    for number, delta in enumerate(deltas):
        logprobs = {"content": [{"token": str(number)}], "refusal": None}
        transcript.add(ChatChunk([{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": None}]))
    [choice] = transcript.choices()
    assert choice["message"] == {
        "role": "assistant", "content": "", "reasoning_content": "Hmm.", "refusal": "I won't.",
    }  # fmt: skip
    assert choice["logprobs"] == {"content": [{"token": str(n)} for n in range(4)]}


@pytest.mark.parametrize(
    "piece",
    [
        {},
        {"delta": None},
        {"delta": {"tool_calls": "x"}},
        {"delta": {"tool_calls": ["x", {"function": 5}]}},
        {"index": "x"},
    ],
)
def test_pieces_that_make_no_sense_are_no_failure_of_the_record(piece: dict[str, Any]) -> None:
    transcript = Transcript()
    transcript.add(ChatChunk([piece]))
    transcript.choices()
