"""What a chat model adds to a search, with a model that is scripted at its port."""

import math
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest, Usage
from tidemill.core.deployment import Deployment, Task
from tidemill.core.errors import ModelFailed
from tidemill.knowledge.model_ranking import ModelReranker, ModelWriter


class Judge:
    """Says yes to passages with `wing`, and rewords questions as lists."""

    def __init__(self, *, logprobs: bool = True) -> None:
        self.logprobs = logprobs

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        prompt = str(request.messages[0]["content"])  # type: ignore[union-attr]
        choice: dict[str, Any] = {"message": {"content": "1. how do wings lift?\n- why does it fly?\n\nhow?\nagain?"}}
        if self.logprobs and request.options.get("logprobs"):
            yes = 0.8 if "a wing" in prompt else 0.1
            tokens = [{"token": " Yes", "logprob": math.log(yes)}, {"token": "no", "logprob": math.log(0.1)}]
            choice["logprobs"] = {"content": [{"top_logprobs": tokens}]}
        return ChatCompletion([choice], Usage())

    def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        raise AssertionError(request)


async def deployment() -> Deployment:
    return Deployment(Task.CHAT, "scripted", "1")


async def test_a_passage_scores_by_how_sure_the_model_is() -> None:
    scores = await ModelReranker(Judge(), deployment).scores("what lifts?", ["a wing", "an office"])
    assert scores == pytest.approx([8 / 9, 0.5])


async def test_a_model_without_log_probabilities_says_what_to_do() -> None:
    with pytest.raises(ModelFailed, match="without `rerank`"):
        await ModelReranker(Judge(logprobs=False), deployment).scores("what lifts?", ["a wing"])


async def test_other_wordings_come_one_on_a_line_and_are_bounded() -> None:
    variants = await ModelWriter(Judge(), deployment).variants("how?", "en")
    assert variants == ["how do wings lift?", "why does it fly?", "again?"]
