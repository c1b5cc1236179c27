"""How a request is changed before it is put to the same model once more."""

from dataclasses import replace

from tidemill.analysis.truncation import drop_middle_of_messages
from tidemill.core.chat import ChatRequest, ModelRequest
from tidemill.core.errors import ContextTooLong, TidemillError
from tidemill.core.provider import ModelFacts
from tidemill.llm.classified import said_in
from tidemill.llm.prompts.recovery import safer_messages
from tidemill.llm.prompts.template import PromptTemplate
from tidemill.llm.recovery.strategies import CHARACTERS_PER_TOKEN, expected_use

MARGIN = 0.9
"""Of what fits by the reckoning, since tokens are not counted here but reckoned from characters."""


def safer(request: ModelRequest, prompt: PromptTemplate) -> ModelRequest | None:
    """A chat with a system message that asks for an answer within the provider's policy; `None` for a bare text."""
    if not isinstance(request, ChatRequest):
        return None
    return replace(request, messages=safer_messages(prompt, request.messages))


def shorter(request: ModelRequest, error: TidemillError, facts: ModelFacts) -> ModelRequest | None:
    """A chat without so much of what is oldest and of its middle that it fits; `None` where nothing can be left out.

    How much fits follows from the numbers of the refusal, else from what is known of the model's context, else half of
    it is left out. The answer keeps its room.
    """
    if not isinstance(request, ChatRequest):
        return None
    characters = sum(map(len, said_in(replace(request, options={}))))
    if isinstance(error, ContextTooLong):
        prompt, context = error.prompt_tokens, error.context_tokens
    elif facts.context_tokens is not None:
        prompt, context = max(1, characters // CHARACTERS_PER_TOKEN), facts.context_tokens
    else:
        prompt, context = 2, 1
    answer = expected_use(request, facts).completion_tokens if context > 1 else 0
    room = max(context - answer, context // 2)
    limit = int(characters * min(1.0, room / max(1, prompt)) * MARGIN)
    messages = drop_middle_of_messages(request.messages, limit, len)
    return None if messages is None else replace(request, messages=messages)
