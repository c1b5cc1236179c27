"""The texts of recovery: what a model is told after its provider's filter held an answer back, and what is said when
no model answers."""

from collections.abc import Sequence

from tidemill.core.context import Passage
from tidemill.core.json import JsonObject

SAFER = (
    "Your provider's safety filter held back the last answer to this. Answer again, within its usage policy: leave "
    "out what it does not allow, say in one sentence what you left out, and help with everything else."
)
APOLOGY = {
    "en": "I am sorry, but I can't answer right now: none of the models that I could ask is available. "
    "Please try again in a few minutes.",
    "vi": "Xin lỗi, hiện tại tôi chưa thể trả lời: không có mô hình nào sẵn sàng. Vui lòng thử lại sau ít phút.",
}
DECLINED = {
    "en": "I am sorry, but I can't answer this as it was asked. Please put it in other words, or make it shorter.",
    "vi": "Xin lỗi, tôi không thể trả lời câu hỏi này như đã hỏi. Vui lòng diễn đạt lại hoặc hỏi ngắn gọn hơn.",
}
FOUND = {
    "en": "No model is available right now. This is what was found for your question:",
    "vi": "Hiện không có mô hình nào sẵn sàng. Đây là những gì tìm được cho câu hỏi của bạn:",
}


def safer(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """The same conversation, with a system message that asks to keep within the provider's policy."""
    place = next((i for i, message in enumerate(messages) if message.get("role") not in ("system", "developer")), 0)
    note: JsonObject = {"role": "system", "content": SAFER}
    return [*messages[:place], note, *messages[place:]]


def apology(language: str, *, refused: bool = False) -> str:
    """What is said where nothing else can be; another thing where models were there and would not answer this."""
    texts = DECLINED if refused else APOLOGY
    return texts.get(language, texts["en"])


def found(passages: Sequence[Passage], language: str) -> str:
    """The passages themselves, each with its source."""
    parts = [f"[{number}] {passage.reference}\n{passage.text}" for number, passage in enumerate(passages, 1)]
    return "\n\n".join([FOUND.get(language, FOUND["en"]), *parts])
