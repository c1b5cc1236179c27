"""The levels of texts that were found a moment ago."""

from collections.abc import Sequence

from tidemill.analysis.classification import classify_all
from tidemill.core.classification import Classified, Level
from tidemill.llm.levels import RememberedLevels

MAIL = "Write to lan@tidemill.dev."


def test_the_same_texts_are_read_once_and_others_are_read() -> None:
    read: list[list[str]] = []

    def classify(texts: Sequence[str]) -> Classified:
        read.append([*texts])
        return classify_all(texts)

    levels = RememberedLevels(classify)
    assert levels(["Hello.", "World."]).level is Level.INTERNAL
    assert levels(["Hello.", "World."]).level is Level.INTERNAL
    assert levels(["Hello.World."]).level is Level.INTERNAL  # not the same, though its letters are
    assert levels([MAIL]) == levels([MAIL])
    assert levels([MAIL]).level is Level.CONFIDENTIAL
    assert read == [["Hello.", "World."], ["Hello.World."], [MAIL]]


def test_the_oldest_is_forgotten_first() -> None:
    read: list[str] = []

    def classify(texts: Sequence[str]) -> Classified:
        read.extend(texts)
        return classify_all(texts)

    levels = RememberedLevels(classify, most=2)
    for text in ("a", "b", "c", "b", "a"):
        levels([text])
    assert read == ["a", "b", "c", "a"]
