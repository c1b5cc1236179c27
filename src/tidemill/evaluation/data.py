"""What is measured on: questions with the passages that answer them, and claims with what is said of their evidence."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidemill.core.errors import InvalidInput
from tidemill.core.text import storable

LONGEST_FILE = 2_000_000_000
"""Bytes of a file that is read at all."""
LONGEST_QUESTION = 20_000
"""Characters that a search takes at most."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A document of a set, as it is indexed."""

    id: str
    text: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class LabelledQuestion:
    """A question and what is known of it.

    Attributes:
        relevant: a grade above 0 for each passage that answers it, by the passage's id; none where no passage does.
        answers: right answers, each enough by itself.
        quotes: what a passage says that holds the answer.
    """

    id: str
    text: str
    relevant: Mapping[str, int]
    answers: Sequence[str] = ()
    quotes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions over documents.

    Attributes:
        passages: the documents as texts; empty where `folder` has them as files.
        folder: of files that are read as a source's are; a file's path in it is its id.
        digest: SHA-256 of the files that it was read from.
    """

    name: str
    questions: Sequence[LabelledQuestion]
    digest: str
    passages: Sequence[Passage] = ()
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim and the sentences that it is compared with.

    Attributes:
        label: `supported`, `partially_supported` or `not_supported`.
        named: sets of places in `evidence`; each set supports the claim by itself.
    """

    id: str
    text: str
    evidence: Sequence[str]
    label: str
    named: Sequence[frozenset[int]] = ()


@dataclass(frozen=True, slots=True)
class ClaimSet:
    """Claims with evidence."""

    name: str
    claims: Sequence[Claim]
    digest: str


class BadData(InvalidInput):
    """A file of a set that can't be read as what it should be; names the file, the line, and what to do.

    Args:
        at: the line's number, or where in the file it is in words.
    """

    def __init__(self, path: Path, why: str, at: int | str | None = None) -> None:
        place = f"line {at}" if isinstance(at, int) else at
        super().__init__(f"{path}: {why}" if place is None else f"{path}, {place}: {why}", param="data")


@dataclass
class Files:
    """The files of a set, read once each and counted into its digest."""

    digest: Any = field(default_factory=hashlib.sha256)

    def text(self, path: Path, what: str, encoding: str = "utf-8") -> str:
        """A file's text.

        Raises:
            BadData: it is not there, or no text.
        """
        try:
            if path.stat().st_size > LONGEST_FILE:
                raise BadData(path, f"has more than {LONGEST_FILE:,} bytes, which are the most. Take a part of it.")
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise BadData(path, f"is not there. It should hold {what}.") from error
        except OSError as error:
            raise BadData(path, f"can't be read: {error.strerror}.") from error
        self.digest.update(f"{path.name}\0{len(data)}\0".encode("utf-8", "surrogateescape") + data)
        try:
            return data.decode(encoding).removeprefix("\ufeff")  # some editors begin a file with it
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise BadData(path, f"is not {encoding}. Save it as {encoding}.", line) from error

    def count(self, path: Path, name: str) -> None:
        """Counts a document's bytes into the digest, under the name that questions know it by.

        Raises:
            BadData: it can't be read.
        """
        self.digest.update(f"{name}\0".encode("utf-8", "surrogateescape"))
        try:
            with path.open("rb") as file:
                self.digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise BadData(path, f"can't be read: {error.strerror}.") from error

    def rows(self, path: Path, what: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each line of a JSONL file that is not empty, with its number.

        Raises:
            BadData: a line is no JSON object.
        """
        for number, line in enumerate(self.text(path, what).split("\n"), 1):
            if line.strip():
                yield number, _object(path, line, number)

    def json(self, path: Path, what: str) -> Any:
        """A file's JSON value.

        Raises:
            BadData: it is none.
        """
        return _json(path, self.text(path, what), f"It should hold {what}.")

    @property
    def hexdigest(self) -> str:
        """SHA-256 of all that was read, in the order of reading."""
        return str(self.digest.hexdigest())


def text_of(path: Path, row: Mapping[str, Any], name: str, at: int | str | None = None) -> str:
    """A field that must be a text, with U+FFFD for what no database can hold.

    Raises:
        BadData: it is absent, or something else.
    """
    value = row.get(name)
    if not isinstance(value, str):
        what = "is missing" if name not in row else f"is {type(value).__name__}"
        raise BadData(path, f"`{name}` {what}, and must be a text.", at)
    return storable(value)


def list_of(path: Path, row: Mapping[str, Any], name: str, at: int | str | None = None) -> list[Any]:
    """A field that must be a list.

    Raises:
        BadData: it is absent, or something else.
    """
    value = row.get(name)
    if not isinstance(value, list):
        what = "is missing" if name not in row else f"is {type(value).__name__}"
        raise BadData(path, f"`{name}` {what}, and must be a list.", at)
    return value


def checked(path: Path, found: QuestionSet) -> QuestionSet:
    """The set, where it can be measured on.

    Raises:
        BadData: it has no questions or no documents, two of one id, a question without a word, or one that names a
            document that is not there.
    """
    if not found.questions:
        raise BadData(path, "holds no questions. Choose another folder, or another --format.")
    known = {passage.id for passage in found.passages}
    for what, ids in (
        ("document", [one.id for one in found.passages]),
        ("question", [one.id for one in found.questions]),
    ):
        twice = next((one for one, number in Counter(ids).items() if number > 1), None)
        if twice is not None:
            raise BadData(path, f"the {what} {twice!r} is there twice. Give each an id of its own.")
    if found.folder is None and not known:
        raise BadData(path, "holds no documents. Choose another folder, or another --format.")
    for question in found.questions:
        if not any(letter.isalnum() for letter in question.text):
            raise BadData(path, f"the question {question.id!r} has no word. Write one, or leave it out.")
        if len(question.text) > LONGEST_QUESTION:
            raise BadData(
                path,
                f"the question {question.id!r} has {len(question.text):,} characters, and {LONGEST_QUESTION:,} are the "
                "most. Shorten it, or leave it out.",
            )
        unknown = next((one for one in question.relevant if known and one not in known), None)
        if unknown is not None:
            raise BadData(path, f"the question {question.id} names the document {unknown!r}, which is not there.")
    return found


def _object(path: Path, line: str, number: int) -> dict[str, Any]:
    value = _json(path, line, "Each line must be one JSON object.", number)
    if not isinstance(value, dict):
        raise BadData(path, f"is {type(value).__name__}. Each line must be one JSON object.", number)
    return value


def _json(path: Path, text: str, wanted: str, line: int | None = None) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadData(path, f"is no JSON: {error.msg}. {wanted}", line or error.lineno) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets without end
        raise BadData(path, f"is no JSON that can be read: {error}. {wanted}", line) from error
