"""Where sentences stand in Vietnamese and English texts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.analysis.sentences import sentences

PIECES = st.sampled_from(
    [". ", "! ", "\n", "\n\n", "1. ", "- ", "| a |\n", "# ", "“", "”", "v.v. ", "TP. ", "A. ", "…", "。"]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(st.characters(codec=None, exclude_categories=()), max_size=9))).map("".join)


def split(text, language=None):
    return [span.of(text) for span in sentences(text, language)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith came. He paid 3.5 million.", ["Dr. Smith came.", "He paid 3.5 million."]),
        ("See Fig. 3 and No. 5. Then stop!", ["See Fig. 3 and No. 5.", "Then stop!"]),
        (
            "We met J. R. Tolkien. It was 5 p.m. Then we left.",
            ["We met J. R. Tolkien.", "It was 5 p.m.", "Then we left."],
        ),
        ("“Really?” she asked. Yes… perhaps.", ["“Really?” she asked.", "Yes… perhaps."]),
        ("We chose plan B. It works.", ["We chose plan B.", "It works."]),
        ("Use e.g. tea, i.e. leaves. Done", ["Use e.g. tea, i.e. leaves.", "Done"]),
        (
            "Trụ sở ở TP. Hồ Chí Minh, Q. 1. Giám đốc là TS. Nguyễn Văn A. Ông ký duyệt.",
            ["Trụ sở ở TP. Hồ Chí Minh, Q. 1.", "Giám đốc là TS. Nguyễn Văn A.", "Ông ký duyệt."],
        ),
        ("Hàng gồm bút, giấy, v.v. Đơn hàng số 5.", ["Hàng gồm bút, giấy, v.v.", "Đơn hàng số 5."]),
        ("Tối đa 10.000.000 đồng. Không cần hóa đơn.", ["Tối đa 10.000.000 đồng.", "Không cần hóa đơn."]),
        ("1. Lập phiếu.\n2. Kiểm tra.\n   Rồi ký.", ["1. Lập phiếu.", "2. Kiểm tra.", "Rồi ký."]),
        ("## 4. Hạn mức\nNội dung xuống\ndòng.", ["## 4. Hạn mức", "Nội dung xuống\ndòng."]),
        ("| a | b. C |\n| d | e |", ["| a | b. C |", "| d | e |"]),
        ("你好。我很好！", ["你好。", "我很好！"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text, expected):
    assert split(text) == expected


def test_abbreviations_are_those_of_the_language():
    assert split("Gặp ông TS. Lan hôm nay.", "vi") == ["Gặp ông TS. Lan hôm nay."]
    assert split("Bring the ts. Lan has the rest.", "en") == ["Bring the ts.", "Lan has the rest."]


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_sentences_of_any_text_are_in_order_and_leave_out_only_white_space(text):
    spans = sentences(text)
    covered = {at for span in spans for at in range(span.start, span.end)}
    assert sum(span.end - span.start for span in spans) == len(covered)
    assert [span.start for span in spans] == sorted(span.start for span in spans)
    assert all(span.of(text) == span.of(text).strip() != "" for span in spans)
    assert all(character.isspace() for at, character in enumerate(text) if at not in covered)
