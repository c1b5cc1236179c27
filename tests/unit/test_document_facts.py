"""What is said of a document from its text alone: its language, what it is about, and whose near copy it is."""

import json
from pathlib import Path

import pytest

from tidemill.analysis.derived import derived
from tidemill.analysis.languages import language_of
from tidemill.analysis.near_duplicates import NEAR, bands, signature, similarity
from tidemill.readers.markup import read_code, read_markdown

DATA = Path(__file__).resolve().parents[1] / "data" / "knowledge"
QUESTIONS = json.loads((DATA / "questions.json").read_text("utf-8"))


def text_of(name):
    return (DATA / "documents" / name).read_text("utf-8")


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked["question"])
def test_the_language_of_a_question_is_told(asked):
    assert language_of(asked["question"]) == asked["language"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (text_of("quy-trinh-mua-hang.md"), "vi"),
        (text_of("runbook-payments.md"), "en"),
        ("Đơn hàng 5", "vi"),
        ("Wo ist der Bahnhof und wann fährt der nächste Zug nach Berlin ab?", "de"),
        ("La procédure d'achat est décrite dans ce document de référence.", "fr"),
        ("日本語の文書を読むための手順です。とても長い文章。", "ja"),
        ("", None),
        ("12345 !!!", None),
        ("PGW-4012", None),
    ],
)
def test_the_language_of_a_text_is_told_or_left_open(text, language):
    assert language_of(text) == language


def test_a_procedure_is_described_by_its_length_topics_and_entities():
    found = derived(read_markdown(text_of("quy-trinh-mua-hang.md")), "vi")
    assert 400 < found["words"] < 600
    assert {"mua hàng", "phê duyệt", "báo giá"} <= set(found["topics"])
    assert "QT-MH-03" in found["entities"]["codes"]
    assert "20.000.000 đồng" in found["entities"]["amounts"]
    assert "readability" not in found
    json.dumps(found)


def test_an_english_text_is_given_its_reading_ease():
    easy = derived(read_markdown("The cat sat on the mat. It was a big red cat. We like it."), "en")
    hard = derived(
        read_markdown("Organizational accountability necessitates comprehensive interdepartmental communication."), "en"
    )
    assert easy["readability"] > 90 > 10 > hard["readability"]


def test_code_is_described_by_its_length_alone():
    assert set(derived(read_code(text_of("purchase_limits.py")), None)) == {"characters", "words"}


def test_a_copy_with_an_edit_is_a_near_duplicate_and_shares_a_band():
    text = text_of("quy-trinh-mua-hang.md")
    one, other = signature(text), signature(text.replace("Giám đốc khối", "Giám đốc mảng"))
    assert NEAR <= similarity(one, other) < 1
    assert set(bands(one)) & set(bands(other))
    assert len(one) == 512


def test_another_text_is_no_near_duplicate():
    one, other = signature(text_of("quy-trinh-mua-hang.md")), signature(text_of("runbook-payments.md"))
    assert similarity(one, other) < 0.1
    assert not set(bands(one)) & set(bands(other))


def test_a_signature_is_the_same_on_every_machine_and_a_few_words_have_none():
    text = " ".join(f"word{number}" for number in range(30))
    assert signature(text)[:8].hex() == signature(text.upper())[:8].hex() == "21caec5cc13f53b6"
    assert signature("too short to say") is None


def test_bands_fit_into_a_database_s_integers():
    assert all(-(2**63) <= band < 2**63 for band in bands(signature(text_of("runbook-payments.md"))))
