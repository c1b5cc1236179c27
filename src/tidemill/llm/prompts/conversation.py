"""What the prompts that name a conversation and sum up its older messages are filled with.

What is said in a conversation is put between marks and called a transcript, so that a model works on it rather than
goes on with it.
"""

from collections.abc import Sequence

from tidemill.core.conversation import Message, Speaker
from tidemill.core.json import JsonObject
from tidemill.llm.prompts.template import PromptTemplate

TITLE = "conversation.title"
SUMMARY = "conversation.summary"
HISTORY = "conversation.history"
TITLE_TOKENS = 24
TITLE_BYTES = 2000
"""Of a question and of its answer each; the beginning of a conversation is enough to name it."""
NAMES = {Speaker.USER: "User", Speaker.ASSISTANT: "Assistant"}


def title_messages(prompt: PromptTemplate, question: str, answer: str) -> list[JsonObject]:
    """What a model is asked for a title. Both texts are cut short."""
    transcript = f"User: {cut(question, TITLE_BYTES)}\n\nAssistant: {cut(answer, TITLE_BYTES)}"
    return prompt.render({"transcript": transcript})


def summary_messages(
    prompt: PromptTemplate, earlier: str | None, messages: Sequence[Message], *, words: int, limit: int
) -> list[JsonObject]:
    """What a model is asked for a summary of these messages, and of what was summed up before.

    Args:
        prompt: the prompt for it.
        earlier: the summary of what came before them.
        messages: oldest first.
        words: how long the summary may be.
        limit: bytes of each message that are shown; a longer one loses its middle.
    """
    parts = [f"Summary of what came before:\n{earlier}"] if earlier else []
    parts += [f"{NAMES[message.role]}: {cut(message.told, limit)}" for message in messages]
    return prompt.render({"transcript": "\n\n".join(parts), "words": words})


def with_summary(prompt: PromptTemplate, system: str | None, summary: str) -> str:
    """The system message in front of a history whose beginning is summed up."""
    return "\n\n".join(str(one["content"]) for one in prompt.render({"system": system or "", "summary": summary}))


def cut(text: str, limit: int) -> str:
    """The text in at most about `limit` bytes of UTF-8; what is left out is in the middle, and is said."""
    data = text.encode("utf-8")
    if len(data) <= limit:
        return text
    half = max(1, (limit - 5) // 2)
    head, tail = data[:half].decode("utf-8", "ignore"), data[-half:].decode("utf-8", "ignore")
    return f"{head} […] {tail}"
