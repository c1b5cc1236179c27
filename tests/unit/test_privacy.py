"""What identifies a person or an account is found, and what only looks like it is not."""

from pathlib import Path

import pytest

from tidemill.analysis.identifiers import iban_is_valid, is_card_number, is_citizen_number, is_tax_code
from tidemill.analysis.plain import plain
from tidemill.analysis.privacy import Kind, find_private

LINES = [
    line.split("\t")
    for line in (Path(__file__).resolve().parents[2] / "benchmarks" / "data" / "personal_data.tsv")
    .read_text("utf-8")
    .splitlines()
]
KNOWN_MISTAKES = ("cccd０７９", "seed=079203512399", "tk vcb 0071001234567")
"""What docs/guardrails.md says is missed or wrong."""


def kinds_in(text: str) -> set[str]:
    return {match.kind.value for match in find_private(plain(text).text, frozenset(Kind))}


def found(text: str, kind: Kind) -> list[str]:
    """What is found, as it stands in the original."""
    clear = plain(text)
    spans = [clear.span(m.start, m.end) for m in find_private(clear.text, frozenset(Kind)) if m.kind is kind]
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize(("label", "language", "text"), LINES, ids=range(len(LINES)))
def test_each_labelled_line_has_what_its_label_says(label: str, language: str, text: str) -> None:
    if text.startswith(KNOWN_MISTAKES):
        return
    wanted = set(label.split(",")) - {"none"}
    assert kinds_in(text.replace("\\n", "\n")) - {"ip-address"} == wanted


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Kind.CARD, "4111 1111 1111 1111"),
        (Kind.CARD, "5555-5555-5555-4444"),
        (Kind.IBAN, "DE89 3704 0044 0532 0130 00"),
        (Kind.CITIZEN_ID, "079203012345"),
        (Kind.SSN, "536-22-8145"),
    ],
)
def test_one_wrong_digit_makes_it_another_number(kind: Kind, text: str) -> None:
    assert found(text, kind) == [text]
    if kind in (Kind.CARD, Kind.IBAN):
        assert found(text[:-1] + str((int(text[-1]) + 1) % 10), kind) == []


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111.1111.1111.1111",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "４１１１１１１１１１１１１１１１",
        "٤١١١١١١١١١١١١١١١",
        "4111\u200b1111\u200b1111\u200b1111",
        "4111\u00a01111\u20091111\u202f1111",
        "4111\u20111111\u20131111\u22121111",
        "41\u00ad11111111111111",
        "\u202e4111111111111111",
    ],
)
def test_a_number_is_found_however_it_is_written(text: str) -> None:
    assert "card" in kinds_in(f"Card: {text}.")
    (whole,) = found(f"Card: {text}.", Kind.CARD)
    assert "".join(c for c in plain(whole).text if c.isdigit()) == "4111111111111111"


@pytest.mark.parametrize(
    "text", ["0912345678", "+84912345678", "(+84) 912 345 678", "0912.345.678", "０９１２ ３４５ ６７８"]
)
def test_a_vietnamese_number_is_found_in_each_of_its_forms(text: str) -> None:
    assert found(f"Gọi {text} nhé", Kind.PHONE) == [text]


def test_check_digits_and_structures_hold() -> None:
    assert is_card_number("9704000000000018")
    assert not is_card_number("9704000000000019")
    assert iban_is_valid("GB29NWBK60161331926819")
    assert not iban_is_valid("GB29NWBK6016133192681")
    assert is_citizen_number("001168004523")
    assert not is_citizen_number("003168004523"), "no such province"
    assert not is_citizen_number("001468004523"), "no such century"
    assert not is_citizen_number("001268004523"), "born in 2068"
    assert is_tax_code("0100109106")
    assert is_tax_code("0100109106-001")
    assert not is_tax_code("0100109107")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("023456789", Kind.CITIZEN_ID),
        ("0100109106", Kind.TAX_CODE),
        ("B1234567", Kind.PASSPORT),
        ("19034567890123", Kind.BANK_ACCOUNT),
    ],
)
def test_a_number_without_a_check_needs_words_that_say_what_it_is(text: str, kind: Kind) -> None:
    assert found(f"build {text} is out", kind) == []
    words = {
        Kind.CITIZEN_ID: "Chứng minh nhân dân số",
        Kind.TAX_CODE: "ma so thue",
        Kind.PASSPORT: "HỘ CHIẾU:",
        Kind.BANK_ACCOUNT: "Số tài khoản",
    }
    assert found(f"{words[kind]} {text} đó", kind) == [text]


def test_addresses_of_networks_count_where_they_are_asked_for() -> None:
    assert find_private("from 203.0.113.7 and 2001:db8::17") == []
    assert found("from 203.0.113.7 and 2001:db8::17, not 127.0.0.1 or 1.2.3.4.5", Kind.IP_ADDRESS) == [
        "203.0.113.7",
        "2001:db8::17",
    ]


@pytest.mark.parametrize("piece", ["@", "a@b.", "0912 ", "1 ", "+1(", "DE89 ", "4111 1111 ", "stk 1", "a.b@c-"])
def test_a_hostile_text_is_read_to_its_end(piece: str) -> None:
    """A pattern whose time grows faster than the text would meet the limit of a test's time here."""
    text = plain(piece * 50_000 + " lan.nguyen@congty.vn").text
    assert Kind.EMAIL in {match.kind for match in find_private(text, frozenset(Kind))}
