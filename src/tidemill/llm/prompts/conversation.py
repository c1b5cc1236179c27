"""The prompts that name a conversation and that sum up its older messages. The texts to work on come as one message.

What is said in a conversation is put between marks and called a transcript, so that a model works on it rather than
goes on with it.
"""

from collections.abc import Sequence

from tidemill.core.conversation import Message, Speaker
from tidemill.core.json import JsonObject

VERSION = "conversation-1"
TITLE_TOKENS = 24
TITLE_BYTES = 2000
"""Of a question and of its answer each; the beginning of a conversation is enough to name it."""
NAMES = {Speaker.USER: "User", Speaker.ASSISTANT: "Assistant"}

TITLE = (
    "Write a title for the conversation in the transcript: at most six words, in its language, without quotation marks "
    "and without a full stop. Answer with the title alone."
)
SUMMARY = (
    "Sum up the transcript for whoever goes on with the conversation, in its language. Keep names, numbers, decisions, "
    "code identifiers and open questions; leave out pleasantries. Answer with the summary alone, at most {words} words."
)


def title_messages(question: str, answer: str) -> list[JsonObject]:
    """What a model is asked for a title. Both texts are cut short."""
    transcript = f"User: {cut(question, TITLE_BYTES)}\n\nAssistant: {cut(answer, TITLE_BYTES)}"
    return [{"role": "user", "content": f"{TITLE}\n\n<transcript>\n{transcript}\n</transcript>"}]


def summary_messages(earlier: str | None, messages: Sequence[Message], *, words: int, limit: int) -> list[JsonObject]:
    """What a model is asked for a summary of these messages, and of what was summed up before.

    Args:
        earlier: the summary of what came before them.
        messages: oldest first.
        words: how long the summary may be.
        limit: bytes of each message that are shown; a longer one loses its middle.
    """
    parts = [f"Summary of what came before:\n{earlier}"] if earlier else []
    parts += [f"{NAMES[message.role]}: {cut(message.content, limit)}" for message in messages]
    transcript = "\n\n".join(parts)
    task = SUMMARY.format(words=words)
    return [{"role": "user", "content": f"{task}\n\n<transcript>\n{transcript}\n</transcript>"}]


def with_summary(system: str | None, summary: str) -> str:
    """The system message in front of a history whose beginning is summed up."""
    told = f"The conversation so far, summed up:\n{summary}"
    return f"{system}\n\n{told}" if system else told


def cut(text: str, limit: int) -> str:
    """The text in at most about `limit` bytes of UTF-8; what is left out is in the middle, and is said."""
    data = text.encode("utf-8")
    if len(data) <= limit:
        return text
    half = max(1, (limit - 5) // 2)
    head, tail = data[:half].decode("utf-8", "ignore"), data[-half:].decode("utf-8", "ignore")
    return f"{head} […] {tail}"
