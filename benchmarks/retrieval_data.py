"""Sets of questions with what answers them: Cranfield and XQuAD, as files of a folder."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """Questions over passages.

    Attributes:
        passages: each a title, which may be empty, and a text.
        relevant: for each question, the places of the passages that answer it.
        passage_key, question_key: name the texts, so that each is embedded once.
    """

    name: str
    passages: Sequence[tuple[str, str]]
    questions: Sequence[str]
    relevant: Sequence[frozenset[int]]
    language: str
    passage_key: str
    question_key: str

    @property
    def texts(self) -> list[str]:
        """The passages as they are searched and embedded."""
        return [f"{title} {text}" if title else text for title, text in self.passages]


def retrieval_sets(folder: Path) -> Iterator[RetrievalSet]:
    """Every set whose files are there."""
    if (folder / "cran.all.1400").is_file():
        yield cranfield(folder)
    if (folder / "xquad.vi.json").is_file():
        for asked, answered in (("vi", "vi"), ("vi", "en"), ("en", "en"), ("en", "vi")):
            yield xquad(folder, asked, answered)


def whole_sets(folder: Path) -> Iterator[RetrievalSet]:
    """Those of them whose questions and passages are in one language: each passage and each question once."""
    crossing = {"XQuAD vi→en", "XQuAD en→vi"}
    return (one for one in retrieval_sets(folder) if one.name not in crossing)


def cranfield(folder: Path) -> RetrievalSet:
    """1,400 abstracts and 225 questions. Every judged passage counts as relevant, and a question's id is its place."""
    passages = []
    for part in re.split(r"^\.I \d+\n", (folder / "cran.all.1400").read_text("latin-1"), flags=re.M)[1:]:
        title = re.search(r"\.T\n(.*?)\n?\.A\n", part, re.S)
        body = part.split(".W\n", 1)[1] if ".W\n" in part else ""
        passages.append((_line(title[1] if title else ""), _line(body)))
    parts = re.split(r"^\.I \d+\n", (folder / "cran.qry").read_text("latin-1"), flags=re.M)[1:]
    questions = [_line(part.split(".W\n", 1)[1]).strip() for part in parts]
    relevant: list[set[int]] = [set() for _ in questions]
    for line in (folder / "cranqrel").read_text().splitlines():
        numbers = line.split()
        if len(numbers) > 2:
            relevant[int(numbers[0]) - 1].add(int(numbers[1]) - 1)
    judged = [frozenset(one) for one in relevant]
    return RetrievalSet("Cranfield", passages, questions, judged, "en", "cran_p", "cran_q")


def xquad(folder: Path, asked: str, answered: str) -> RetrievalSet:
    """240 paragraphs and 1,190 questions, which are in the same order in every language."""
    ours, theirs = (_xquad(folder / f"xquad.{language}.json") for language in (asked, answered))
    questions = [question for _, found in ours for question in found]
    relevant = [frozenset([place]) for place, (_, found) in enumerate(ours) for _ in found]
    passages = [("", paragraph) for paragraph, _ in theirs]
    name = f"XQuAD {asked}→{answered}"
    return RetrievalSet(name, passages, questions, relevant, answered, f"{answered}_p", f"{asked}_q")


def _xquad(path: Path) -> list[tuple[str, list[str]]]:
    data = json.loads(path.read_text("utf-8"))["data"]
    paragraphs = [paragraph for article in data for paragraph in article["paragraphs"]]
    return [(one["context"], [question["question"] for question in one["qas"]]) for one in paragraphs]


def _line(text: str) -> str:
    return text.replace("\n", " ")
