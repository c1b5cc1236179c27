"""What answers when no target did, and asks no model: a polite text, or what was retrieved."""

from collections.abc import AsyncGenerator

from tidemill.core.chat import ChatChunk, ChatCompletion, ChatRequest, ModelRequest, Usage
from tidemill.core.context import InferenceContext
from tidemill.core.deployment import Fallback
from tidemill.core.json import JsonObject
from tidemill.core.served import Served
from tidemill.llm.openai_wire import wanted_choices
from tidemill.llm.prompts.recovery import APOLOGY, DECLINED, FOUND, said
from tidemill.llm.prompts.shipped import Prompts


def said_instead(
    fallback: Fallback, request: ModelRequest, context: InferenceContext, prompts: Prompts, *, refused: bool
) -> tuple[str, str] | None:
    """The text of a fallback, and the version of the prompt that it is; `None` where it has none for this request.

    Only a person who reads prose is helped by prose: where code is to be completed, or the answer has to be JSON or a
    call of a tool, nothing is said.

    Args:
        refused: providers were there, and would not answer this.

    Raises:
        InvalidInput: a team's own prompt can't be filled in with what was found.
    """
    if not isinstance(request, ChatRequest) or not _takes_prose(request):
        return None
    if fallback is Fallback.TEMPLATE:
        prompt = prompts.current(DECLINED if refused else APOLOGY, context.language)
        return said(prompt), prompt.version
    if fallback is Fallback.SEARCH and context.passages:
        prompt = prompts.current(FOUND, context.language)
        return said(prompt, context.passages), prompt.version
    return None


def _takes_prose(request: ChatRequest) -> bool:
    wanted = request.options.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else "text"
    return kind == "text" and request.options.get("tool_choice") in (None, "auto", "none")


def whole(text: str, request: ModelRequest, served: Served) -> ChatCompletion:
    """The text as an answer."""
    choices: list[JsonObject] = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for index in range(wanted_choices(request))
    ]
    return ChatCompletion(choices, Usage(), served)


async def streamed(answer: ChatCompletion) -> AsyncGenerator[ChatChunk, None]:
    """The same as a stream: the text in one piece, and the end."""
    yield ChatChunk(
        [{"index": one["index"], "delta": one["message"], "finish_reason": None} for one in answer.choices],
        served=answer.served,
    )
    yield ChatChunk(
        [{"index": one["index"], "delta": {}, "finish_reason": "stop"} for one in answer.choices],
        Usage(),
        answer.served,
    )
