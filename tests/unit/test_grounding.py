"""Whether passages support a sentence: numbers, denials and opposites have to agree, and the place is shown."""

import asyncio
from array import array

import pytest

from tests.support.answering import RETURNS, SIGNING, STEPS, LikeE5, asker
from tidemill.core.deployment import Deployment, Task
from tidemill.core.document import Span
from tidemill.core.embedding import Embeddings, unit_vector
from tidemill.core.errors import ModelNotFound
from tidemill.knowledge.grounding.classifier import shipped
from tidemill.knowledge.grounding.features import ACROSS, NAMES
from tidemill.knowledge.grounding.support import Grounding, Passages, Supported
from tidemill.knowledge.grounding.words import is_vietnamese, words_of

TEXTS = {1: STEPS.text, 2: SIGNING.text, 3: RETURNS.text}


def supported(claim, numbers=(1, 2, 3), *, embedder=None, withheld=None):
    grounding = Grounding(embedder or LikeE5(), lambda: Deployment(Task.EMBED, "like-e5", "v1"))
    passages = Passages(TEXTS, withheld)
    asyncio.run(grounding.embed(passages, [claim], asker()))
    return grounding.support(claim, passages, numbers)


@pytest.mark.parametrize(
    ("claim", "number"),
    [
        ("Quy trình mua hàng gồm 5 bước chính.", 1),
        ("Đơn hàng từ 100 triệu đồng trở lên cần 3 báo giá.", 1),
        ("Giám đốc ký trong vòng hai ngày làm việc.", 2),
        ("Returns are accepted within fourteen days of delivery.", 3),
        ("Refunds take 5 days.", 3),
    ],
)
def test_what_a_passage_says_is_supported_whatever_way_its_numbers_are_written(claim, number):
    found = supported(claim, [number])
    assert found.confidence >= 0.5
    assert words_of(claim).numbers <= words_of(found.spans[number].of(TEXTS[number])).numbers


@pytest.mark.parametrize(
    "claim",
    [
        "Quy trình mua hàng gồm 7 bước chính.",
        "Đơn hàng từ 10 triệu đồng trở lên cần ba báo giá.",
        "Returns are accepted within 30 days of delivery.",
        "Nhân viên mới được tặng một chiếc xe máy.",
        "The managing director lives in Lisbon.",
    ],
)
def test_what_no_passage_says_is_not(claim):
    assert all(supported(claim, [number]).confidence < 0.5 for number in TEXTS)


@pytest.mark.parametrize(
    ("said", "opposite", "number"),
    [
        ("Refunds take five days.", "Refunds do not take five days.", 3),
        ("The warehouse is closed on Sundays.", "The warehouse is open on Sundays.", 3),
        (
            "Việc phê duyệt yêu cầu mua hàng cần có chữ ký giám đốc.",
            "Việc phê duyệt yêu cầu mua hàng không cần có chữ ký giám đốc.",
            2,
        ),
    ],
)
def test_the_opposite_of_what_a_passage_says_is_not_supported(said, opposite, number):
    assert supported(said, [number]).confidence >= 0.5
    assert supported(opposite, [number]).confidence < 0.5


def test_the_span_is_the_sentence_that_says_it():
    span = supported("Việc phê duyệt cần chữ ký giám đốc", [2]).spans[2]
    assert span.of(SIGNING.text) == "Việc phê duyệt yêu cầu mua hàng cần có chữ ký giám đốc."


def test_what_is_withheld_supports_nothing():
    hidden = {3: [Span(0, len(RETURNS.text))]}
    assert supported("Refunds take five days.", [3], withheld=hidden).confidence == 0.0


def test_without_vectors_nothing_is_supported_across_two_languages():
    class Missing(LikeE5):
        async def embed(self, request):
            raise ModelNotFound("It is not there.")

    assert supported("Hàng được trả lại trong vòng 14 ngày.", [3], embedder=Missing()).confidence == 0.0
    assert supported("Returns are accepted within 14 days of delivery.", [3], embedder=Missing()).confidence >= 0.5


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("Từ 20.000.000 đến dưới 100.000.000 đồng", "60000000", "120000000"),
        ("Từ 100 triệu đồng trở lên", "120000000", "60000000"),
        ("Orders over 5,000 euros", "7000", "4000"),
        ("It takes between 3 and 5 days.", "4", "6"),
        ("At most 30 %", "20", "40"),
        ("50 triệu trở xuống", "20000000", "60000000"),
    ],
)
def test_bounds_hold_what_lies_within_them(text, inside, outside):
    assert words_of(text).holds(inside)
    assert not words_of(text).holds(outside)


def test_a_number_of_the_question_within_a_passage_s_bounds_need_not_stand_there():
    texts = {1: "| Từ 20.000.000 đến dưới 100.000.000 đồng | Giám đốc khối phê duyệt |"}
    grounding = Grounding(LikeE5(), lambda: Deployment(Task.EMBED, "like-e5", "v1"))
    passages = Passages(texts)
    claims = ["Đơn 60 triệu đồng do Giám đốc khối phê duyệt.", "Đơn 120 triệu đồng do Giám đốc khối phê duyệt."]
    asyncio.run(grounding.embed(passages, claims, asker()))
    inside, outside = (grounding.support(one, passages, [1], {"60000000", "120000000"}).confidence for one in claims)
    assert inside >= 0.5 > outside
    assert grounding.support(claims[0], passages, [1]).confidence < 0.5


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("100.000.000 đồng", {"100000000"}),
        ("100 triệu", {"100000000"}),
        ("1,5 tỷ", {"1500000000"}),
        ("$1.5 million", {"1500000"}),
        ("2,000 euros [3]", {"2000"}),
        ("12.50 on 3 May 2024", {"12.5", "3", "2024"}),
        ("three of ten in March", {"3", "10", "month 3"}),
        ("ba báo giá", {"3"}),
        ("30%, 30 days, 5 percent", {"30%", "30", "5%"}),
    ],
)
def test_numbers_have_one_form(text, numbers):
    assert words_of(text).numbers == numbers


def test_languages_are_told_apart_by_their_letters():
    assert is_vietnamese("Đơn hàng cần ba báo giá")
    assert not is_vietnamese("Ask Mr Đặng about the order of the new machine parts")


@pytest.mark.parametrize(("name", "features"), [("within", NAMES), ("across", ACROSS)])
def test_the_weights_that_ship_are_those_of_the_features_and_their_calibration_rises(name, features):
    classifier = shipped(name)
    assert classifier.features == features
    assert len(classifier.weights) == len(classifier.mean) == len(classifier.scale) == len(features)
    for one, after in zip(classifier.calibration, classifier.calibration[1:], strict=False):
        assert one[0] <= after[0]
        assert one[1] <= after[1]
    assert all(0.0 <= classifier.probability([value] * len(features)) <= 1.0 for value in (-9.0, 0.0, 0.5, 1.0, 9.0))


LIMITS = (
    "Trưởng phòng phê duyệt đơn hàng dưới 10.000.000 đồng. "
    "Giám đốc khối phê duyệt đơn hàng từ 10.000.000 đến dưới 100.000.000 đồng."
)


def of_question(claim, texts, *, asked="", embedder=None):
    grounding = Grounding(embedder or LikeE5(), lambda: Deployment(Task.EMBED, "like-e5", "v1"))
    passages = Passages(texts)
    asyncio.run(grounding.embed(passages, [claim], asker()))
    return grounding.support(claim, passages, tuple(texts), words_of(asked).numbers)


def test_a_number_of_the_question_needs_the_bounds_of_the_very_sentence_that_the_claim_rests_on():
    asked = "Đơn hàng 80 triệu đồng do ai phê duyệt?"
    right = of_question("Giám đốc khối phê duyệt đơn hàng 80 triệu đồng.", {1: LIMITS}, asked=asked)
    wrong = of_question("Trưởng phòng phê duyệt đơn hàng 80 triệu đồng.", {1: LIMITS}, asked=asked)
    bound = of_question("Trưởng phòng phê duyệt đơn hàng dưới 80 triệu đồng.", {1: LIMITS}, asked=asked)
    assert right.confidence >= 0.5
    assert wrong.confidence < 0.5
    assert bound.confidence < 0.5


class ByLanguage:
    """Vectors that are nearer to others of the same language than to those of another, whatever they say."""

    async def embed(self, request):
        made = [
            array("f", [1.0, 0.0] if text == LUNCH else [0.88, 0.475] if is_vietnamese(text) else [0.75, 0.661])
            for text in request.texts
        ]
        return Embeddings([one.tobytes() for one in made], 1)


LUNCH = "Nhân viên được trợ cấp tiền ăn trưa mỗi ngày là 3.000.000 đồng."


def test_a_passage_in_the_claims_language_is_held_to_it_by_words_also_beside_one_in_another():
    """All together they look like a text in the other language, which vectors alone compare."""
    texts = {
        1: "Purchases below 3,000,000 VND are paid from the petty cash. Suppliers are paid in 30 days. We are strict.",
        2: "Mỗi cấp phê duyệt trả lời trong vòng 2 ngày làm việc.",
    }
    together = of_question(LUNCH, texts, embedder=ByLanguage())
    each = [of_question(LUNCH, {number: text}, embedder=ByLanguage()).confidence for number, text in texts.items()]
    assert together.confidence <= max(each) < 0.5


class Alike:
    """Everything is near everything, as short texts are to the default model."""

    async def embed(self, request):
        return Embeddings(
            [unit_vector([1.0, 0.2 * (place % 2)], request.model) for place in range(len(request.texts))], 1
        )


def test_another_number_is_not_supported_across_two_languages_however_near_the_vectors():
    right = supported("Hàng được trả lại trong vòng 14 ngày.", [3], embedder=Alike())
    wrong = supported("Hàng được trả lại trong vòng 30 ngày.", [3], embedder=Alike())
    assert right.confidence > 0.5 > wrong.confidence


def test_across_two_languages_only_what_is_nearly_certain_is_support():
    assert not Supported(0.8, foreign=True).enough(0.5)
    assert Supported(0.8).enough(0.5)
    assert Supported(0.9, foreign=True).enough(0.5)


def test_a_number_alone_is_held_to_words_whatever_the_language():
    assert not supported("14", [3]).foreign
    assert not supported("5", [1]).foreign


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        ("Đơn hàng từ 50.000.000 đồng trở lên cần ba báo giá của ba nhà cung cấp khác nhau.", True),
        ("Dưới 10.000.000 đồng, cần ba báo giá của ba nhà cung cấp khác nhau.", False),
    ],
)
def test_bounds_of_one_row_are_not_taken_for_those_of_another_sentence(claim, holds):
    text = (
        "| Giá trị đơn hàng | Số báo giá |\n| --- | --- |\n| Dưới 10.000.000 đồng | 1 |\n\n"
        "Đơn hàng từ 50.000.000 đồng trở lên phải có ít nhất ba báo giá của ba nhà cung cấp khác nhau."
    )
    assert (of_question(claim, {1: text}).confidence >= 0.5) is holds
