"""Readers of sets, what is measured on them, and results side by side."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tidemill.app.evaluation_runs import RunOptions
from tidemill.core.errors import InvalidInput
from tidemill.evaluation.data import BadData, Claim, LabelledQuestion
from tidemill.evaluation.grounding import AnsweredFrom, GivenAnswer, Judged, measure_answers, measure_claims
from tidemill.evaluation.readers import Format, files_of, read_questions, read_wice
from tidemill.evaluation.results import Result, compare, means
from tidemill.evaluation.retrieval import measure

KNOWLEDGE = Path(__file__).resolve().parents[1] / "data" / "knowledge"


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


BEIR = {
    "corpus.jsonl": '{"_id": "d1", "title": "Mua hàng", "text": "Ba báo giá."}\n'
    '{"_id": "d2", "text": "Two weeks."}\n\n',
    "queries.jsonl": '{"_id": "q1", "text": "Mấy báo giá?"}\n{"_id": "q2", "text": "How long?"}\n',
    "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n",
}
CRANFIELD = {
    "cran.all.1400": ".I 1\n.T\nwings at\nspeed\n.A\nx\n.B\ny\n.W\nwings lift .\n.I 2\n.T\nheat\n.A\n.B\n.W\n",
    "cran.qry": ".I 001\n.W\nwhat lifts\na wing\n.I 004\n.W\nwhat is heat\n",
    "cranqrel": "1 1  1\n1 2 5\n2 1 -1\n2 2 4 \n",
}
SQUAD = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": "Ba báo giá.",
                    "qas": [
                        {"id": "a", "question": "Mấy?", "answers": [{"text": "Ba", "answer_start": 0}]},
                        {"id": "b", "question": "Ai?", "answers": [], "is_impossible": True},
                    ],
                }
            ]
        }
    ]
}
WICE = {"claim": "A flew.", "evidence": ["A flew.", "B."], "label": "supported", "supporting_sentences": [[0]]}


def test_a_beir_folder_is_read_with_its_grades(tmp_path: Path) -> None:
    found = read_questions(write(tmp_path, BEIR), Format.BEIR)
    assert [(one.id, one.title) for one in found.passages] == [("d1", "Mua hàng"), ("d2", "")]
    assert [(one.id, dict(one.relevant)) for one in found.questions] == [("q1", {"d1": 2})]


def test_a_set_that_changed_has_another_digest(tmp_path: Path) -> None:
    before = read_questions(write(tmp_path, BEIR), Format.BEIR).digest
    assert read_questions(tmp_path, Format.BEIR).digest == before
    write(tmp_path, {"corpus.jsonl": BEIR["corpus.jsonl"].replace("Two", "Four")})
    assert read_questions(tmp_path, Format.BEIR).digest != before


def test_a_set_that_an_editor_began_with_a_mark_of_byte_order_is_read(tmp_path: Path) -> None:
    marked = write(tmp_path, {**BEIR, "queries.jsonl": "\ufeff" + BEIR["queries.jsonl"]})
    assert [one.id for one in read_questions(marked, Format.BEIR).questions] == ["q1"]


def test_what_no_database_can_hold_is_replaced(tmp_path: Path) -> None:
    row = '{"_id": "d1", "text": "half \\ud800 a pair and \\u0000"}\n{"_id": "d2", "text": "b"}\n'
    found = read_questions(write(tmp_path, {**BEIR, "corpus.jsonl": row}), Format.BEIR)
    assert found.passages[0].text == "half \ufffd a pair and \ufffd"


def test_cranfield_counts_its_queries_and_turns_its_grades_round(tmp_path: Path) -> None:
    found = read_questions(write(tmp_path, CRANFIELD), Format.CRANFIELD)
    assert [(one.id, one.text, dict(one.relevant)) for one in found.questions] == [
        ("1", "what lifts a wing", {"1": 4}),
        ("2", "what is heat", {"1": 4, "2": 1}),
    ]
    assert (found.passages[0].title, found.passages[0].text) == ("wings at speed", "wings lift .")


def test_squad_has_paragraphs_and_questions_that_none_answers(tmp_path: Path) -> None:
    file = write(tmp_path, {"xquad.vi.json": json.dumps(SQUAD)}) / "xquad.vi.json"
    found = read_questions(file, Format.SQUAD)
    assert [one.text for one in found.passages] == ["Ba báo giá."]
    assert [(one.id, dict(one.relevant), list(one.answers)) for one in found.questions] == [
        ("a", {"p0": 1}, ["Ba"]),
        ("b", {}, []),
    ]
    other = write(tmp_path, {"en.json": json.dumps(SQUAD).replace("Ba b", "Three b")}) / "en.json"
    across = read_questions(file, Format.SQUAD, passages=other)
    assert across.passages[0].text.startswith("Three")
    assert across.questions[0].text == "Mấy?"
    assert across.questions[0].quotes == (), "no paragraph of another language has the words of the answer"


def test_our_own_questions_are_read_with_their_documents_and_no_hidden_file(tmp_path: Path) -> None:
    found = read_questions(KNOWLEDGE, Format.QUESTIONS)
    assert found.folder == KNOWLEDGE / "documents"
    assert any(not one.relevant for one in found.questions)
    write(tmp_path, {"documents/.cache/x.md": "x", "documents/a.md": "a", "questions.json": '[{"question": "a"}]'})
    assert [name for name, _ in files_of(tmp_path / "documents")] == ["a.md"]
    assert {"quy-trinh-mua-hang.md"} in [set(one.relevant) for one in found.questions]


def test_wice_claims_are_read_with_the_evidence_that_was_named(tmp_path: Path) -> None:
    file = write(tmp_path, {"wice.jsonl": json.dumps(WICE) + "\n"}) / "wice.jsonl"
    [claim] = read_wice(file).claims
    assert (claim.label, claim.named) == ("supported", [frozenset([0])])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"corpus.jsonl": "{}\n"}, r"corpus\.jsonl, line 1: `_id` is missing"),
        ({"corpus.jsonl": '{"_id": "d1", "text": "x"}\nnonsense\n'}, r"corpus\.jsonl, line 2: is no JSON"),
        ({"corpus.jsonl": "[]\n"}, r"line 1: is list"),
        ({"corpus.jsonl": '{"_id": 1, "text": "x"}\n'}, "`_id` is int"),
        ({"corpus.jsonl": '{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n'}, "line 2: .* twice"),
        ({"queries.jsonl": ""}, r"test\.tsv, line 2: the query 'q1' is not in queries\.jsonl"),
        ({"qrels/test.tsv": "q1\td1\n"}, r"test\.tsv, line 1"),
        ({"qrels/test.tsv": "q1\td1\tgood\nq1\td1\tgood\n"}, r"test\.tsv, line 2: must be query"),
        ({"qrels/test.tsv": "q1\td9\t1\n"}, r"line 1: the document 'd9' is not in corpus\.jsonl"),
        ({"qrels/test.tsv": "q1\td1\t0\n"}, "holds no questions"),
        ({"corpus.jsonl": '{"_id": "d1", "text": "x", "title": 5}\n'}, r"corpus\.jsonl, line 1: `title` is int"),
        ({"corpus.jsonl": '{"_id": "", "text": "x"}\n'}, "line 1: `_id` is empty"),
        ({"corpus.jsonl": "[" * 100_000 + "\n"}, "line 1: is no JSON that can be read"),
        ({"corpus.jsonl": '{"_id": ' + "1" * 5_000 + "}\n"}, "line 1: is no JSON that can be read"),
        (
            {"queries.jsonl": '{"_id": "q1", "text": "a"}\n{"_id": "q1", "text": "b"}\n'},
            "line 2: .*'q1' is there twice",
        ),
        ({"queries.jsonl": '{"_id": "q1", "text": " ?! "}\n'}, "the question 'q1' has no word"),
        ({"queries.jsonl": json.dumps({"_id": "q1", "text": "a" * 20_001})}, "20,000 are the most"),
    ],
)
def test_a_broken_beir_folder_is_refused_with_file_and_line(tmp_path: Path, change: dict[str, str], said: str) -> None:
    with pytest.raises(BadData, match=said):
        read_questions(write(tmp_path, {**BEIR, **change}), Format.BEIR)


def test_what_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"corpus\.jsonl: is not there"):
        read_questions(tmp_path, Format.BEIR)
    (tmp_path / "corpus.jsonl").write_bytes(b'{"_id": "a", "text": "b"}\n\xff\xfe')
    with pytest.raises(BadData, match="line 2: is not utf-8"):
        read_questions(tmp_path, Format.BEIR)
    with pytest.raises(BadData, match="eval grounding"):
        read_questions(tmp_path, Format.WICE)


@pytest.mark.parametrize(
    ("form", "files", "said"),
    [
        (Format.CRANFIELD, {"cran.all.1400": "no records"}, "begins with"),
        (Format.CRANFIELD, {**CRANFIELD, "cranqrel": "9 1 1\n"}, "cranqrel, line 1: must be a query from 1 to 2"),
        (Format.CRANFIELD, {**CRANFIELD, "cranqrel": "1 7 1\n"}, "line 1: the document 7"),
        (Format.CRANFIELD, {**CRANFIELD, "cranqrel": "1 1\n"}, "line 1"),
        (Format.QUESTIONS, {"questions.json": "{}", "documents/a.md": "a"}, "must be a list"),
        (Format.QUESTIONS, {"questions.json": "[]"}, "documents: is not there"),
        (Format.QUESTIONS, {"questions.json": '[{"question": "a", "document": "b"}]', "documents/a.md": "a"}, "'b'"),
        (
            Format.QUESTIONS,
            {"questions.json": '[{"question": "a"}, {"question": "b", "quote": 5}]', "documents/a.md": "a"},
            "question 2: `quote` is int",
        ),
        (
            Format.CRANFIELD,
            {**CRANFIELD, "cran.all.1400": CRANFIELD["cran.all.1400"] * 2},
            "the document '1' is there twice",
        ),
    ],
)
def test_a_broken_folder_is_refused(tmp_path: Path, form: Format, files: dict[str, str], said: str) -> None:
    with pytest.raises(BadData, match=said):
        read_questions(write(tmp_path, files), form)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "`data`"),
        ('{"data": 1}', "must be a list"),
        ('{"data": [{"paragraphs": [1]}]}', "article 1, paragraph 1: must be an object"),
        ('{"data": [{"paragraphs": [{"context": "a", "qas": [{}]}]}]}', "article 1, paragraph 1: `answers` is missing"),
        (json.dumps(SQUAD).replace('"id": "b"', '"id": "a"'), "the question 'a' is there twice"),
        ("{", "no JSON"),
    ],
)
def test_a_broken_squad_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadData, match=said):
        read_questions(write(tmp_path, {"a.json": text}) / "a.json", Format.SQUAD)


@pytest.mark.parametrize(
    "change", [{"label": "maybe"}, {"evidence": [1]}, {"supporting_sentences": [[5]]}, {"claim": None}]
)
def test_a_broken_claim_is_refused_with_its_line(tmp_path: Path, change: dict[str, object]) -> None:
    lines = f"{json.dumps(WICE)}\n{json.dumps({**WICE, **change})}\n"
    with pytest.raises(BadData, match="line 2"):
        read_wice(write(tmp_path, {"w.jsonl": lines}) / "w.jsonl")


def test_a_claim_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    row = json.dumps({**WICE, "meta": {"id": "dev1"}})
    with pytest.raises(BadData, match="line 2: the claim 'dev1' is there twice"):
        read_wice(write(tmp_path, {"w.jsonl": f"{row}\n{row}\n"}) / "w.jsonl")


def told(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total, what


class Found:
    """Finds what it was told to."""

    async def documents(self, question: str, limit: int) -> Sequence[str]:
        return ["x", question][:limit]


async def test_each_question_that_something_answers_is_measured() -> None:
    questions = [
        LabelledQuestion("1", "a", {"a": 1}),
        LabelledQuestion("2", "b", {}),
        LabelledQuestion("3", "c", {"x": 1}),
    ]
    found = await measure(Found(), questions, 2, told)
    assert {name: figures["mrr@2"] for name, figures in found.items()} == {"1": 0.5, "3": 1.0}
    assert means(found)["mrr@2"] == 0.75


async def test_a_set_that_answers_none_of_its_questions_is_refused() -> None:
    with pytest.raises(InvalidInput, match="can't be measured"):
        await measure(Found(), [LabelledQuestion("1", "a", {})], 2, told)


class WordJudge:
    """Calls a claim supported where each of its words is in one of the texts."""

    async def support(self, claim: str, texts: Sequence[str]) -> Judged:
        shown = [place for place, text in enumerate(texts) if set(claim.split()) <= set(text.split())]
        return Judged(0.9 if shown else 0.1, frozenset(shown))


class Same:
    async def cosines(self, question: str, texts: Sequence[str]) -> Sequence[float]:
        return [0.5 for _ in texts]


async def test_support_is_told_from_its_absence() -> None:
    claims = [
        Claim("1", "a flew.", ["a flew.", "b"], "supported", [frozenset([0])]),
        Claim("2", "b flew.", ["a flew.", "b"], "not_supported"),
        Claim("3", "c flew.", ["a"], "partially_supported", [frozenset([0])]),
    ]
    found = await measure_claims(WordJudge(), claims, 0.5, told)
    assert found.metrics["f1_strict"] == 1.0
    assert (found.metrics["precision_partly"], found.metrics["recall_partly"]) == (1.0, 0.5)
    assert found.metrics["evidence_recall"] == 0.5
    assert found.questions["1"]["squared_error"] == pytest.approx(0.01)


class Answers:
    """Gives one answer with a wrong citation and a sentence that nothing supports, and refuses what is unknown."""

    async def answer(self, question: str) -> GivenAnswer:
        passages = [AnsweredFrom("x", "nothing here"), AnsweredFrom("a", "three quotes are needed.")]
        if question == "unknown":
            return GivenAnswer("I don't know.", True, passages, {})
        text = "three quotes are needed. [2][1] The sky is green [1]."
        return GivenAnswer(text, False, passages, {1: 0, 2: 1})


async def test_an_answer_is_held_to_its_passages_and_its_citations() -> None:
    questions = [
        LabelledQuestion("1", "how many?", {"a": 1}, quotes=["Three quotes"]),
        LabelledQuestion("2", "unknown", {}),
        LabelledQuestion("3", "made up", {}),
    ]
    found = await measure_answers(Answers(), WordJudge(), Same(), questions, 0.5, told)
    first = found.questions["1"]
    assert first["faithfulness"] == 0.5
    assert first["citation_recall"] == 0.5
    assert first["citation_precision"] == pytest.approx(1 / 3)
    assert first["citation_of_right_document"] == pytest.approx(1 / 3)
    assert first["context_precision"] == 0.5
    assert first["context_recall"] == 1.0
    assert first["answer_relevancy"] == 0.5
    assert "faithfulness" not in found.questions["2"]
    assert (found.metrics["refusal_precision"], found.metrics["refusal_recall"]) == (1.0, 0.5)


class Passages:
    """Answers from two passages of the right document, of which the second has the number."""

    async def answer(self, question: str) -> GivenAnswer:
        passages = [AnsweredFrom("a", "In 2024 much changed."), AnsweredFrom("a", "At most 20 days.")]
        return GivenAnswer("At most 20 days. [2]", False, passages, {2: 1})


async def test_a_quote_within_a_longer_number_is_not_found_there() -> None:
    asked = [LabelledQuestion("1", "q", {"a": 1}, quotes=["20", ""])]
    found = await measure_answers(Passages(), WordJudge(), Same(), asked, 0.5, told)
    assert (found.metrics["context_precision"], found.metrics["context_recall"]) == (0.5, 1.0)


def result(
    folder: Path,
    name: str,
    values: Mapping[str, float],
    digest: str = "d",
    kind: str = "retrieval",
    mode: str = "hybrid",
) -> Path:
    questions = {one: {"ndcg@10": value} for one, value in values.items()}
    now = datetime(2026, 3, 1, tzinfo=UTC)
    made = Result(kind, {"digest": digest}, {}, {"k": 10, "mode": mode}, means(questions), questions, now, 1.0)
    (folder / name).write_text(json.dumps(made.as_json()))
    return folder / name


def test_two_results_are_compared_question_by_question(tmp_path: Path) -> None:
    a = result(tmp_path, "a.json", {str(one): 0.5 for one in range(20)})
    b = result(tmp_path, "b.json", {str(one): 0.7 for one in range(5, 25)}, mode="lexical")
    compared = compare(a, b)
    assert compared.differences == {"mode": ("hybrid", "lexical")}
    [found] = compared.metrics
    assert (found.metric, found.test.pairs) == ("ndcg@10", 15)
    assert found.test.difference == pytest.approx(0.2)
    assert found.test.p < 0.001


def test_what_can_not_be_compared_is_refused(tmp_path: Path) -> None:
    a = result(tmp_path, "a.json", {"1": 0.5})
    for other, said in (
        (result(tmp_path, "b.json", {"1": 0.5}, digest="e"), "other data"),
        (result(tmp_path, "c.json", {"1": 0.5}, kind="grounding"), "other kinds"),
        (result(tmp_path, "d.json", {"2": 0.5}), "no question in common"),
        (write(tmp_path, {"e.json": "[]"}) / "e.json", "is no result"),
        (write(tmp_path, {"f.json": "x"}) / "f.json", "can't be read"),
        (write(tmp_path, {"g.json": '{"object": "evaluation", "questions": {"1": 5}}'}) / "g.json", "is no result"),
        (tmp_path / "none.json", "is not there"),
    ):
        with pytest.raises(BadData, match=said):
            compare(a, other)


def test_a_few_questions_are_drawn_evenly() -> None:
    assert RunOptions(limit=3).drawn(list(range(10))) == [0, 3, 6]
    assert RunOptions(limit=30).drawn([1, 2]) == [1, 2]
    assert RunOptions().drawn([1, 2]) == [1, 2]
