"""Titles: the first message's beginning at once, the model's own afterwards where that is wanted."""

from tidemill.conversations.turn import Turn
from tidemill.core.chat import ChatRequest
from tidemill.core.conversation import TitledBy
from tidemill.core.deployment import Task
from tidemill.core.json import Json
from tidemill.core.text import storable
from tidemill.llm.port import ChatModel
from tidemill.llm.prompts.conversation import TITLE_TOKENS, title_messages
from tidemill.llm.prompts.template import PromptTemplate
from tidemill.store.conversations import ConversationRepository

LONGEST = 60
"""Characters of a title that nobody has written."""
MARKS = "\"'“”‘’«»`*#. "


def title_of(text: str) -> str:
    """The beginning of a text in one line, cut between words where it is long."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    if len(line) <= LONGEST:
        return line
    head, space, _ = line[:LONGEST].rpartition(" ")
    return f"{head if space else line[: LONGEST - 1]}…"


async def title_by_model(
    chat: ChatModel, conversations: ConversationRepository, turn: Turn, answer: str, prompt: PromptTemplate
) -> None:
    """Has the model name a conversation after its first answer; an empty title of its changes nothing.

    Raises:
        TidemillError: as `ChatModel.complete` does.
    """
    options: dict[str, Json] = {"max_tokens": TITLE_TOKENS, "temperature": 0.0}
    messages = title_messages(prompt, turn.question.content, answer)
    context = turn.side_context(Task.CONVERSATION_TITLE, options, prompt)
    said = (await chat.complete(ChatRequest(context.deployment.model, messages, options, context))).text.strip()
    title = title_of(storable(said.splitlines()[0]).strip(MARKS)) if said else ""
    if title:
        await conversations.retitle(turn.conversation.id, title, TitledBy.MODEL)
