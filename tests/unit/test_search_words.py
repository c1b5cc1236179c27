"""What is read from a question: filters, words, and how its legs are weighed."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.analysis.compression import compressed
from tidemill.analysis.diversity import diverse
from tidemill.analysis.fusion import CosineRange, Traits, fused, lexical_weight, range_of, with_feedback
from tidemill.analysis.query_words import identifier_share, marks_left_out, query_terms, question_language
from tidemill.analysis.self_query import filters_named, read_filters
from tidemill.core.document import DocumentKind
from tidemill.core.errors import InvalidInput
from tidemill.core.search import Filters
from tidemill.store.narrowing import like, narrowing_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AUTHORS = ("Nguyễn Văn Lan", "Bob Stone")


def day(year: int, month: int = 1, number: int = 1) -> datetime:
    return datetime(year, month, number, tzinfo=UTC)


@pytest.mark.parametrize(
    ("question", "filters", "rest"),
    [
        ("what is on GitHub about retries?", Filters(platforms=["github"]), "what is about retries?"),
        ("bài viết của Lan về mua hàng", Filters(kinds=[DocumentKind.ARTICLE], authors=(AUTHORS[0],)), "về mua hàng"),
        ("what did bob write? notes by bob stone", Filters(authors=(AUTHORS[1],)), "what did bob write? notes"),
        ("documents published since 2024 about risk", Filters(after=day(2024)), "documents about risk"),
        ("tài liệu trong tháng 3/2025", Filters(after=day(2025, 3), before=day(2025, 4)), "tài liệu"),
        ("tài liệu ban hành trước ngày 2/9/2025", Filters(before=day(2025, 9, 2)), "tài liệu"),
        ("files from last week", Filters(after=datetime(2026, 2, 22, 12, tzinfo=UTC)), "files"),
        ("văn bản tiếng Anh về hợp đồng", Filters(languages=["en"]), "văn bản về hợp đồng"),
        ("where is retry defined in the code?", Filters(kinds=[DocumentKind.CODE]), "where is retry defined ?"),
        ("what does parse do in src/app/main.py?", Filters(paths=["src/app/main.py"]), "what does parse do ?"),
        ("tệp src/app.py làm gì", Filters(paths=["src/app.py"]), "làm gì"),
        ("Vietnamese documents about leave", Filters(languages=["vi"]), "documents about leave"),
        ("documents between 2023 and 2024", Filters(after=day(2023), before=day(2025)), "documents"),
        ("tài liệu từ tháng 1/2025 đến tháng 3/2025", Filters(after=day(2025), before=day(2025, 4)), "tài liệu"),
        ("docs published on March 5, 2025", Filters(after=day(2025, 3, 5), before=day(2025, 3, 6)), "docs"),
        ("tệp sửa ngày 5 tháng 3 năm 2025", Filters(after=day(2025, 3, 5), before=day(2025, 3, 6)), "tệp"),
        ("tài liệu tuần này", Filters(after=day(2026, 2, 23)), "tài liệu"),
        ("files changed this year", Filters(after=day(2026)), "files"),
        ("tài liệu của chị Lan", Filters(authors=(AUTHORS[0],)), "tài liệu"),
        (
            "posts by Bob Stone from last week",
            Filters(kinds=[DocumentKind.POST], authors=(AUTHORS[1],), after=datetime(2026, 2, 22, 12, tzinfo=UTC)),
            "posts by Bob Stone from last week",
        ),
    ],
)
def test_where_to_look_is_read_from_the_question(question: str, filters: Filters, rest: str) -> None:
    found = read_filters(question, NOW, AUTHORS)
    assert (found.guessed, found.query, found.said) == (filters, rest, Filters())


@pytest.mark.parametrize(
    "question",
    [
        "what was our revenue in 2023?",
        "the code of conduct",
        "what changed before the merge by then?",
        "is GitHub better?",
        "tháng 13/2024 có gì?",
        "documents from 31/02/2024",
        "",
    ],
)
def test_what_is_no_filter_stays_in_the_question(question: str) -> None:
    found = read_filters(question, NOW, AUTHORS)
    assert (found.guessed, found.said, found.query) == (Filters(), Filters(), question)


def test_filters_that_are_spelt_out_always_count() -> None:
    found = read_filters('author:"Lan Nguyen" lang:Vietnamese kind:code path:docs/ before:2026-01 retry', NOW)
    assert found.query == "retry"
    assert found.said == Filters(
        authors=["Lan Nguyen"], languages=["vi"], kinds=[DocumentKind.CODE], paths=["docs/"], before=day(2026)
    )
    with pytest.raises(InvalidInput, match="names no kind"):
        read_filters("kind:book", NOW)
    for moment in ("march", "soon", "2026-13", "9" * 100):
        with pytest.raises(InvalidInput, match="no date"):
            read_filters(f"after:{moment}", NOW)


def test_of_what_a_model_names_only_what_there_is_narrows() -> None:
    named = {"author": "lan", "platform": "GitHub", "kind": "code", "language": "Vietnamese", "path": "src/"}
    assert filters_named(named | {"after": "2025-03", "before": "2026"}, AUTHORS) == Filters(
        authors=(AUTHORS[0],),
        platforms=["github"],
        kinds=[DocumentKind.CODE],
        languages=["vi"],
        paths=["src/"],
        after=day(2025, 3),
        before=day(2026),
    )
    guessed = {"author": "Mallory", "platform": "myspace", "kind": "book", "language": "xx", "after": "soon"}
    assert filters_named(guessed | {"path": ["a"], "before": 2026, "level": "secret"}, AUTHORS) == Filters()
    namesakes = ("Lan", "Lân", "Nguyễn Lan")
    assert filters_named({"author": "Lan"}, namesakes) == Filters(authors=namesakes)


@given(st.text(max_size=300))
def test_any_question_can_be_read(question: str) -> None:
    try:
        found = read_filters(question, NOW, AUTHORS)
    except InvalidInput:
        return
    assert found.query.strip() or not question.strip() or found.said != Filters()
    query_terms(found.query)
    narrowing_of(found.guessed)


def test_paths_are_prefixes_or_globs_and_nothing_else() -> None:
    assert like("docs/100%_a") == "docs/100\\%\\_a%"
    assert like("src/**/*.py") == "src/%/%.py"


def test_short_and_long_forms_and_names_of_code_are_added() -> None:
    assert {"nhà", "cung", "cấp"} <= {one.term for one in query_terms("NCC") if one.added}
    assert "ncc" in {one.term for one in query_terms("nhà cung cấp")}
    assert {"file_name", "filename"} <= {one.term for one in query_terms("file name")}
    assert not [one for one in query_terms("file name", expand=False) if one.added]


def test_languages_of_questions_are_told_by_their_letters() -> None:
    assert question_language("quy trình mua hàng") == "vi"
    assert question_language("quy trinh mua hang") == "vi"
    assert question_language("how do I buy things") == "en"
    assert question_language("résumé") is None
    assert not marks_left_out("show me the list")
    assert identifier_share("where is parse_url") == pytest.approx(1 / 3)


def test_words_count_less_across_languages_and_more_for_names_of_code() -> None:
    same, other = lexical_weight(Traits(language="vi"), "vi"), lexical_weight(Traits(language="vi"), "en")
    assert other < 0.1 < same
    assert lexical_weight(Traits(language=None), "en") == same
    assert lexical_weight(Traits(identifiers=1.0, language="en"), "en") > 0.8


@given(
    st.floats(0, 100),
    st.floats(0, 100),
    st.none() | st.floats(-1, 1),
    st.floats(0, 1),
    st.floats(-1, 1),
    st.floats(-1, 1),
)
def test_a_fused_score_is_between_0_and_1(
    lexical: float, mass: float, dense: float | None, weight: float, feedback: float, between: float
) -> None:
    near = None if dense is None else with_feedback(dense, feedback, between)
    assert 0 <= fused(lexical, mass, near, CosineRange(0.65, 0.95), weight) <= 1


def test_an_unknown_models_cosines_are_placed_by_what_was_found() -> None:
    assert range_of("other", {1: 0.2, 2: 0.6}) == CosineRange(0.2, 0.6)
    assert range_of("other", {1: 0.5}).place(0.5) == 0
    assert range_of("other", {}).place(1) == 1


def test_diversity_leaves_out_what_says_the_same() -> None:
    vectors = {1: [1.0, 0.0], 2: [1.0, 0.0], 3: [0.0, 1.0]}
    relevance = {1: 0.9, 2: 0.8, 3: 0.5}
    assert diverse(relevance, vectors, 2, 0.0) == [1, 2]
    assert diverse(relevance, vectors, 2, 0.6) == [1, 3]
    assert diverse({}, {}, 5, 0.5) == []


def test_compression_marks_what_it_leaves_out() -> None:
    text = "A wing lifts. The office is open. Lunch is good. A wing stalls."
    assert compressed(text, {"wing": 1.0}, "en") == "A wing lifts. … A wing stalls."
    assert compressed(text, {"drag": 1.0}, "en") == text
