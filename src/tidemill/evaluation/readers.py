"""Readers of sets: BEIR-style folders, SQuAD-style JSON, Cranfield, WiCE, and questions over a folder of documents."""

import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from tidemill.core.text import storable
from tidemill.evaluation.data import (
    BadData,
    Claim,
    ClaimSet,
    Files,
    LabelledQuestion,
    Passage,
    QuestionSet,
    checked,
    list_of,
    text_of,
)

LABELS = ("supported", "partially_supported", "not_supported")


class Format(StrEnum):
    """How a set is written."""

    BEIR = "beir"
    SQUAD = "squad"
    CRANFIELD = "cranfield"
    QUESTIONS = "questions"
    WICE = "wice"


def read_questions(path: Path, form: Format, split: str = "test", passages: Path | None = None) -> QuestionSet:
    """A set of questions.

    Args:
        path: a folder, or for `squad` and `questions` a file.
        form: how it is written; not `wice`, which has claims.
        split: which qrels of a BEIR-style folder count.
        passages: for `squad`, another file with the same paragraphs in the same order, in another language.

    Raises:
        BadData: it can't be read as that; names the file, the line, and what to do.
    """
    readers: Mapping[Format, Callable[[], QuestionSet]] = {
        Format.BEIR: lambda: read_beir(path, split),
        Format.SQUAD: lambda: read_squad(path, passages),
        Format.CRANFIELD: lambda: read_cranfield(path),
        Format.QUESTIONS: lambda: read_own(path),
    }
    if form not in readers:
        raise BadData(path, "`wice` holds claims, not questions. Measure it with `tidemill eval grounding`.")
    return checked(path, readers[form]())


def read_beir(folder: Path, split: str = "test") -> QuestionSet:
    """`corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`, `text`), `qrels/SPLIT.tsv` with a line of
    headings and then query, document and grade; a grade below 1 is not relevant. Queries without a relevant document
    are left out, as BEIR does: https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset."""
    files = Files()
    corpus, queries, qrels = folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels" / f"{split}.tsv"
    passages: dict[str, Passage] = {}
    for line, row in files.rows(corpus, "a document in each line"):
        title = text_of(corpus, row, "title", line) if row.get("title") is not None else ""
        one = Passage(text_of(corpus, row, "_id", line), text_of(corpus, row, "text", line), title)
        if not one.id:
            raise BadData(corpus, "`_id` is empty. Give each document an `_id` of its own.", line)
        if one.id in passages:
            raise BadData(corpus, f"the document {one.id!r} is there twice. Give each an `_id` of its own.", line)
        passages[one.id] = one
    texts: dict[str, str] = {}
    for line, row in files.rows(queries, "a query in each line"):
        name = text_of(queries, row, "_id", line)
        if name in texts:
            raise BadData(queries, f"the query {name!r} is there twice. Give each an `_id` of its own.", line)
        texts[name] = text_of(queries, row, "text", line)
    relevant: dict[str, dict[str, int]] = {}
    for number, judged in enumerate(files.text(qrels, "query, document and grade, set apart by tabs").split("\n"), 1):
        cells = judged.rstrip("\r").split("\t")
        if not judged.strip() or (number == 1 and len(cells) == 3 and not _is_grade(cells[2])):
            continue
        if len(cells) != 3 or not _is_grade(cells[2]):
            raise BadData(qrels, "must be query, document and a whole number, set apart by tabs.", number)
        query, document, grade = cells[0], cells[1], int(cells[2])
        if query not in texts:
            raise BadData(qrels, f"the query {query!r} is not in {queries.name}.", number)
        if grade > 0:
            if document not in passages:
                raise BadData(qrels, f"the document {document!r} is not in {corpus.name}.", number)
            relevant.setdefault(query, {})[document] = grade
    questions = [LabelledQuestion(one, texts[one], relevant[one]) for one in texts if one in relevant]
    return QuestionSet(f"{folder.name}/{split}", questions, files.hexdigest, list(passages.values()))


def read_squad(path: Path, passages: Path | None = None) -> QuestionSet:
    """SQuAD's JSON, which XQuAD has, too: `data` → `paragraphs` → `context` and `qas` (`id`, `question`, `answers`).

    Each paragraph is a document; the one that a question was asked of is the one that answers it, and a question that
    is `is_impossible` has none. Source: https://rajpurkar.github.io/SQuAD-explorer/. With `passages`, the documents are
    that file's paragraphs, which must be as many.
    """
    files = Files()
    paragraphs = list(_paragraphs(path, files))
    contexts = [text_of(path, one, "context", at) for at, one in paragraphs]
    if passages is not None:
        contexts = [text_of(passages, one, "context", at) for at, one in _paragraphs(passages, files)]
        if len(contexts) != len(paragraphs):
            raise BadData(passages, f"has {len(contexts)} paragraphs, and {path} has {len(paragraphs)}.")
    names: dict[str, str] = {}
    questions: list[LabelledQuestion] = []
    for place, ((at, paragraph), context) in enumerate(zip(paragraphs, contexts, strict=True)):
        name = names.setdefault(context, f"p{place}")
        for row in list_of(path, paragraph, "qas", at):
            if not isinstance(row, dict):
                raise BadData(path, "`qas` must hold objects.", at)
            possible = not row.get("is_impossible")
            told = list_of(path, row, "answers", at) if possible or row.get("answers") is not None else []
            if not all(isinstance(one, dict) for one in told):
                raise BadData(path, "`answers` must hold objects.", at)
            answers = [text_of(path, one, "text", at) for one in told]
            questions.append(
                LabelledQuestion(
                    str(row.get("id", len(questions))),
                    text_of(path, row, "question", at),
                    {name: 1} if possible else {},
                    answers if possible else (),
                    answers if possible and passages is None else (),  # no paragraph of another language has them
                )
            )
    named = path.stem if passages is None else f"{path.stem} on {passages.stem}"
    return QuestionSet(named, questions, files.hexdigest, [Passage(name, text) for text, name in names.items()])


def read_cranfield(folder: Path) -> QuestionSet:
    """`cran.all.1400`, `cran.qry` and `cranqrel`. A query's id is its place, not the number after `.I`.

    Grades go the other way round there: 1 is a complete answer and 4 of little interest, so they become 4 to 1, and 5,
    of no interest, is not relevant. Source: `cranqrel.readme` at
    http://ir.dcs.gla.ac.uk/resources/test_collections/cran/. It does not speak of -1, which stands once for each
    query. BM25 puts those documents at place 2 in the median, and those of the best grade at 10: they count as that.
    """
    files = Files()
    texts = files.text(folder / "cran.all.1400", "Cranfield's abstracts", "latin-1")
    passages = []
    for number, part in _parts(folder / "cran.all.1400", texts):
        title = re.search(r"\.T\n(.*?)\n?\.A\n", part, re.S)
        body = _line(part.split(".W\n", 1)[1] if ".W\n" in part else "")
        passages.append(Passage(number, body, _line(title[1]) if title else ""))
    queries = folder / "cran.qry"
    asked = [
        _line(part.split(".W\n", 1)[-1]) for _, part in _parts(queries, files.text(queries, "its queries", "latin-1"))
    ]
    qrels = folder / "cranqrel"
    relevant: list[dict[str, int]] = [{} for _ in asked]
    known = {passage.id for passage in passages}
    for line, row in enumerate(files.text(qrels, "query, document and grade").split("\n"), 1):
        cells = row.split()
        if len(cells) < 3:
            if cells:
                raise BadData(qrels, "must be query, document and grade.", line)
            continue
        if not all(map(_is_grade, cells[:3])) or not 1 <= int(cells[0]) <= len(asked):
            raise BadData(qrels, f"must be a query from 1 to {len(asked)}, a document and a grade.", line)
        if cells[1] not in known:
            raise BadData(qrels, f"the document {cells[1]} is not in cran.all.1400.", line)
        grade = 1 if int(cells[2]) == -1 else int(cells[2])
        if 1 <= grade <= 4:
            relevant[int(cells[0]) - 1][cells[1]] = 5 - grade
    questions = [
        LabelledQuestion(str(place), text, grades)
        for place, (text, grades) in enumerate(zip(asked, relevant, strict=True), 1)
        if grades
    ]
    return QuestionSet("cranfield", questions, files.hexdigest, passages)


def read_own(path: Path) -> QuestionSet:
    """A JSON list of `question`, `document`, `answer` and `quote`, beside a folder `documents` with the files.

    `document` is a file's path in the folder; a question without one is answered by none of them.
    """
    files = Files()
    file = path / "questions.json" if path.is_dir() else path
    value = files.json(file, "a list of questions")
    if not isinstance(value, list):
        raise BadData(file, "must be a list of questions.")
    folder = file.parent / "documents"
    if not folder.is_dir():
        raise BadData(folder, "is not there. Put the documents that the questions are about into it.")
    names = dict(files_of(folder))
    for name, one in names.items():
        files.count(one, name)
    questions = []
    for place, row in enumerate(value, 1):
        at = f"question {place}"
        if not isinstance(row, dict):
            raise BadData(file, "must be an object.", at)
        document = row.get("document")
        if document is not None and document not in names:
            raise BadData(file, f"names the document {document!r}, which is not in {folder}.", at)
        answers = [text_of(file, row, "answer", at)] if row.get("answer") is not None else []
        quotes = [text_of(file, row, "quote", at)] if row.get("quote") is not None else []
        relevant = {} if document is None else {document: 1}
        questions.append(
            LabelledQuestion(str(place), text_of(file, row, "question", at), relevant, answers, quotes or answers)
        )
    return QuestionSet(file.parent.name, questions, files.hexdigest, folder=folder)


def read_wice(path: Path) -> ClaimSet:
    """WiCE's claims, one JSON object a line: `claim`, `evidence`, `label`, `supporting_sentences`.

    Source: https://github.com/ryokamoi/wice.
    """
    files = Files()
    claims: dict[str, Claim] = {}
    for line, row in files.rows(path, "a claim in each line"):
        label = text_of(path, row, "label", line)
        if label not in LABELS:
            raise BadData(path, f"the label {label!r} is none of {', '.join(LABELS)}.", line)
        evidence = list_of(path, row, "evidence", line)
        named = list_of(path, row, "supporting_sentences", line)
        if not all(isinstance(one, str) for one in evidence):
            raise BadData(path, "`evidence` must hold texts.", line)
        if not all(isinstance(one, list) and all(_is_place(at, evidence) for at in one) for one in named):
            raise BadData(path, "`supporting_sentences` must hold lists of places in `evidence`.", line)
        meta = row.get("meta")
        name = meta["id"] if isinstance(meta, dict) and isinstance(meta.get("id"), str) else str(line)
        if name in claims:
            raise BadData(path, f"the claim {name!r} is there twice. Give each a `meta.id` of its own.", line)
        sentences = [storable(one) for one in evidence]
        claims[name] = Claim(name, text_of(path, row, "claim", line), sentences, label, list(map(frozenset, named)))
    if not claims:
        raise BadData(path, "holds no claims. Choose another file, or another --format.")
    return ClaimSet(path.stem, list(claims.values()), files.hexdigest)


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of a folder and of those in it, with their paths; hidden ones are left out, as a source's are."""
    for one in sorted(folder.rglob("*")):
        inside = one.relative_to(folder)
        if not any(part.startswith(".") for part in inside.parts) and one.is_file():
            yield inside.as_posix(), one


def _paragraphs(path: Path, files: Files) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each paragraph, with where it stands in the file."""
    value = files.json(path, "`data` with articles")
    if not isinstance(value, dict):
        raise BadData(path, "must be a JSON object with `data`.")
    for number, article in enumerate(list_of(path, value, "data"), 1):
        if not isinstance(article, dict):
            raise BadData(path, "must be an object.", f"article {number} of `data`")
        for place, paragraph in enumerate(list_of(path, article, "paragraphs", f"article {number}"), 1):
            at = f"article {number}, paragraph {place}"
            if not isinstance(paragraph, dict):
                raise BadData(path, "must be an object.", at)
            yield at, paragraph


def _parts(path: Path, text: str) -> Iterator[tuple[str, str]]:
    """The records of one of Cranfield's files, with their numbers."""
    found = re.split(r"^\.I (\d+)[ \t]*\n", text.replace("\r\n", "\n"), flags=re.M)[1:]
    if not found:
        raise BadData(path, "has no record that begins with `.I`. Is it Cranfield's?")
    yield from zip(found[::2], found[1::2], strict=True)


def _line(text: str) -> str:
    return " ".join(text.split())


def _is_grade(text: str) -> bool:
    return re.fullmatch(r"-?\d+", text.strip()) is not None


def _is_place(at: object, evidence: list[object]) -> bool:
    return isinstance(at, int) and 0 <= at < len(evidence)
