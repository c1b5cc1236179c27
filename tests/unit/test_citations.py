"""Citations are read however a model writes them, and sentences are told apart as they come."""

import pytest

from tidemill.knowledge.citations import citations_in, claim_of, complete, is_claim, is_refusal, split


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("It is so [1].", [(1,)]),
        ("It is so[1][3].", [(1,), (3,)]),
        ("It is so [1, 2].", [(1, 2)]),
        ("It is so [1-3].", [(1, 2, 3)]),
        ("It is so [1–2; 4].", [(1, 2, 4)]),
        ("It is so 【2】.", [(2,)]),
        ("It is so [^1].", [(1,)]),
        ("It is so [1](https://example.org/x).", [(1,)]),
        ("`a[1]` and ```b[2]```", []),
        ("[x] [1a] [] [12345]", []),
        ("It is so [1-9999].", [tuple(range(1, 52))]),
    ],
)
def test_citations_are_read_in_every_form(text, numbers):
    assert [one.numbers for one in citations_in(text)] == numbers


def test_a_number_behind_the_full_stop_belongs_to_the_sentence_before():
    assert [one.text for one in split("It is so. [1] And so. [2][3]\n- A point [1]", "en")] == [
        "It is so. [1]", "And so. [2][3]", "- A point [1]"
    ]  # fmt: skip


def test_sentences_put_together_are_the_text():
    text = "Các bước gồm:\n\n1. Tạo yêu cầu [1].\n2. Ký duyệt. [2]\n\nXong!"
    assert "".join(one.gap + one.text for one in split(text, "vi")) == text


@pytest.mark.parametrize("text", [
    "It is so [1]. And so it is [2]. The end.",
    "Đơn hàng cần ba báo giá. [1] Giám đốc ký. [2]\n\n1. Một [1].\n2. Hai [2].",
])  # fmt: skip
def test_a_stream_gives_the_same_sentences_as_the_whole(text):
    found, left = [], ""
    for letter in text:
        done, left = complete(left + letter, None)
        found += done
    found += split(left, None)
    assert [one.text for one in found] == [one.text for one in split(text, None)]
    assert "".join(one.gap + one.text for one in found) == text


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("1. **Tạo yêu cầu** mua hàng [1].", "Tạo yêu cầu mua hàng."),
        ("- It is so [1][2]", "It is so"),
        ("## Steps", "Steps"),
    ],
)
def test_a_claim_is_what_is_left_without_marks(text, claim):
    assert claim_of(text) == claim


@pytest.mark.parametrize("text", ["## The steps of it", "Here are the main steps:", "Yes.", "Vâng.", "[1]"])
def test_what_claims_nothing_needs_no_passage(text):
    assert not is_claim(text)


@pytest.mark.parametrize("text", ["Quy trình gồm 5 bước:", "Orders need three quotes."])
def test_what_claims_something_does(text):
    assert is_claim(text)


@pytest.mark.parametrize(
    "text",
    [
        "I cannot find this in the documents.",
        "I couldn't find information about that.",
        "The passages do not say who repairs the roof.",
        "Tôi không tìm thấy thông tin này trong tài liệu.",
        "Tài liệu không đề cập đến việc này.",
    ],
)
def test_refusals_are_known_in_both_languages(text):
    assert is_refusal(text)


@pytest.mark.parametrize("text", ["Orders can not exceed 5 euros.", "Không được chi quá 5 triệu đồng."])
def test_what_a_rule_forbids_is_no_refusal(text):
    assert not is_refusal(text)
