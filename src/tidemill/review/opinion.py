"""Whether a model would have a person look at a hunk, from the probabilities of its answer's first token."""

import math
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from tidemill.core.change import Hunk
from tidemill.core.deployment import Deployment
from tidemill.llm.prompts import review_necessity
from tidemill.llm.prompts.review_necessity import NO, YES
from tidemill.llm.prompts.shipped import Prompts
from tidemill.review.asking import Asking


async def opinion(
    asking: Asking, prompts: Prompts, hunk: Hunk, *, deployment: Deployment, review_id: UUID, seconds: float
) -> float | None:
    """The probability that a person should look at the hunk; `None` where the model gave no yes or no.

    Raises:
        TidemillError: something other than the model is wrong.
    """
    prompt = prompts.pinned(deployment.prompt_version or "")
    answer = await asking.ask(
        review_necessity.build(prompt, hunk), None, deployment=deployment, review_id=review_id, seconds=seconds
    )
    return None if answer.failure is not None else yes_share(answer.text, answer.tokens)


def yes_share(text: str, tokens: Sequence[Any]) -> float | None:
    """What share of the probability of yes and no together is on yes; the word itself where there is none.

    Args:
        text: the answer.
        tokens: `logprobs.content` of it, as OpenAI has it.
    """
    weights = {YES: 0.0, NO: 0.0}
    first = tokens[0] if tokens else None
    for one in (first.get("top_logprobs") or [first]) if isinstance(first, Mapping) else []:
        word = _word(one.get("token"))
        if word in weights and isinstance(one.get("logprob"), int | float):
            weights[word] += math.exp(one["logprob"])
    total = sum(weights.values())
    if total > 0:
        return weights[YES] / total
    return {YES: 1.0, NO: 0.0}.get(_word(text))


def _word(text: object) -> str:
    return str(text).strip().strip(".").lower()
