"""Documents of every format become text; what can't is refused with a reason, and harms nothing."""

import asyncio
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import time
import unicodedata
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.documents import archive, docx, pdf, pptx_file
from tidemill.core.document import DocumentKind, RawDocument
from tidemill.evaluation import readers as sets
from tidemill.readers.documents import DocumentReader
from tidemill.readers.draft import clean
from tidemill.readers.formats import Format
from tidemill.readers.port import Unreadable
from tidemill.readers.process import ReadingProcess
from tidemill.settings.knowledge import ReadingSettings

DOCUMENTS = Path(__file__).resolve().parents[1] / "data" / "knowledge" / "documents"
QUESTIONS = json.loads((DOCUMENTS.parent / "questions.json").read_text("utf-8"))
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "quy-trinh-mua-hang"
LIMITS = ReadingSettings(max_bytes=2_000_000, max_unpacked_bytes=30_000_000, seconds=20)
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


@pytest.fixture(scope="module")
def reader():
    reader = DocumentReader(LIMITS)
    yield reader
    asyncio.run(reader.close())


def read(reader, path, data, **fields):
    return asyncio.run(reader.read(RawDocument(path, data, **fields)))


def refusal(reader, path, data):
    with pytest.raises(Unreadable) as refused:
        read(reader, path, data)
    assert path in str(refused.value)
    return refused.value.reason_code


def corpus(reader, name):
    return read(reader, name, (DOCUMENTS / name).read_bytes())


@pytest.mark.parametrize("asked", [one for one in QUESTIONS if one["quote"]], ids=lambda asked: asked["question"])
def test_what_a_question_asks_for_stands_in_the_text_of_its_document(reader, asked):
    assert asked["quote"] in corpus(reader, asked["document"]).text


def test_the_example_says_what_its_questions_quote(reader):
    asked = sets.read_questions(EXAMPLE, sets.Format.QUESTIONS)
    texts = {name: read(reader, name, path.read_bytes()).text for name, path in sets.files_of(EXAMPLE / "documents")}
    for question in asked.questions:
        for document in question.relevant:
            assert question.quotes[0] in texts[document], question.text
    assert [question.id for question in asked.questions if not question.relevant] == ["5", "10"]
    assert {name for question in asked.questions for name in question.relevant} < texts.keys()


@pytest.mark.parametrize("path", sorted(DOCUMENTS.iterdir()), ids=lambda path: path.name)
def test_a_text_is_clean_and_its_headings_and_pages_are_spans_of_it(reader, path):
    found = corpus(reader, path.name)
    assert found.text == clean(found.text)
    assert unicodedata.is_normalized("NFC", found.text)
    assert "\r" not in found.text
    for heading in found.headings:
        assert heading.title in heading.span.of(found.text)
    for page in found.pages:
        assert page.span.of(found.text).strip() == page.span.of(found.text) != ""


def test_a_pdf_has_pages_headings_title_and_author(reader):
    found = corpus(reader, "tam-ung-cong-tac-phi.pdf")
    assert [page.number for page in found.pages] == [1, 2]
    assert "Phụ cấp nước ngoài" in found.pages[1].span.of(found.text)
    assert [heading.title for heading in found.headings][1:3] == ["1. Tạm ứng", "2. Định mức khách sạn"]
    assert (found.title, found.author) == ("Quy định tạm ứng và công tác phí", "Phòng Tài chính – Kế toán")


def test_a_word_document_keeps_its_headings_lists_and_tables(reader):
    found = corpus(reader, "chinh-sach-nghi-phep.docx")
    assert "## Nghỉ phép năm" in found.text
    assert "\n2. Quản lý trực tiếp trả lời" in found.text
    assert "| Kết hôn | 3 ngày | Hưởng nguyên lương |" in found.text
    assert (found.title, found.author, found.markup) == ("Chính sách nghỉ phép", "Phòng Nhân sự", "markdown")


def test_slides_are_pages_with_their_notes(reader):
    found = corpus(reader, "platform-review.pptx")
    assert [page.number for page in found.pages] == [1, 2, 3, 4]
    assert "kept warm" in found.pages[1].span.of(found.text)
    assert (found.published_at.year, found.author) == (2026, "Platform team")


def test_a_page_loses_what_stands_around_it_and_no_script_of_it_runs(reader):
    found = corpus(reader, "onboarding.html")
    assert found.kind is DocumentKind.ARTICLE
    assert "| Data engineer | 64 GB | 2 TB |" in found.text
    assert "IT help" not in found.text
    assert "secret" not in found.text
    assert (found.title, found.author) == ("Your first weeks at Lam Giang", "Hannah Berg")
    assert found.published_at.isoformat() == "2026-01-12T00:00:00+00:00"


def test_a_short_page_keeps_its_title_table_and_lists(reader):
    page = (
        "<html><head><title>Bảng giá</title></head><body><h1>Bảng giá 2026</h1><table><tr><th>Gói</th><th>Giá</th></tr>"
        "<tr><td>Cơ bản</td><td>100.000 đồng</td></tr></table><ul><li>Chưa gồm thuế</li><li>Theo tháng</li></ul></body>"
    )
    found = read(reader, "a.html", page.encode())
    assert found.text.startswith("# Bảng giá 2026\n\n| Gói | Giá |")
    assert "- Theo tháng" in found.text
    assert [heading.title for heading in found.headings] == ["Bảng giá 2026"]


def test_front_matter_says_who_wrote_a_text_and_is_not_part_of_it(reader):
    found = corpus(reader, "runbook-payments.md")
    assert found.author == "Mai Trần"
    assert found.text.startswith("# Runbook: payment gateway incidents")
    assert "PGW-4012: provider signature rejected" in [heading.title for heading in found.headings]


def test_a_notebook_keeps_prose_code_and_what_it_printed(reader):
    found = corpus(reader, "demand-forecast.ipynb")
    assert found.kind is DocumentKind.NOTEBOOK
    assert "```python\ndef smoothed" in found.text
    assert "reorder point: 1340 pallets" in found.text
    assert "iVBOR" not in found.text


def test_a_table_s_rows_name_their_columns(reader):
    found = corpus(reader, "nha-cung-cap.csv")
    assert found.kind is DocumentKind.TABLE
    assert "Mã: NCC-019\nTên nhà cung cấp: Công ty TNHH Vận tải Cánh Cò" in found.text


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-16", "Quy trình mua hàng: đơn hàng cần ba báo giá."),
        ("utf-8-sig", "Quy trình mua hàng: đơn hàng cần ba báo giá."),
        ("utf-16-le", "The order needs three quotes before it is approved by the head of department."),
        ("latin-1", "Die Prüfung der Aufträge erfolgt täglich; größere Änderungen brauchen eine Begründung. " * 3),
        ("cp1252", "La société a approuvé la commande après réception du devis. Le prix est “ferme”. " * 2),
        ("cp1250", "Zamówienie wymaga zgody kierownika działu, zanim zostanie wysłane do dostawcy. " * 3),
        ("cp1251", "Закупка согласована руководителем отдела до отправки заказа. " * 3),
        ("shift_jis", "これは日本語の文書です。購入の手順を説明します。" * 5),
    ],
)
def test_a_text_in_another_encoding_is_read(reader, encoding, text):
    assert read(reader, "a.txt", text.encode(encoding)).text == text.strip()


def test_vietnamese_of_windows_1258_is_read_whole(reader):
    text = "Đơn hàng phải được trưởng phòng phê duyệt trước khi gửi cho nhà cung cấp. " * 4
    decomposed = unicodedata.normalize("NFD", text).replace("D\u0335", "Đ")
    data = b"".join(_in_1258(character) for character in unicodedata.normalize("NFC", decomposed))
    assert read(reader, "a.txt", data).text == text.strip()


def _in_1258(character):
    """windows-1258 has vowels with their marks, and tones as characters of their own."""
    try:
        return character.encode("cp1258")
    except UnicodeEncodeError:
        parts = unicodedata.normalize("NFD", character)
        tone = next(part for part in parts[1:] if part in "\u0300\u0301\u0303\u0309\u0323")
        vowel = unicodedata.normalize("NFC", "".join(part for part in parts if part != tone))
        return vowel.encode("cp1258") + tone.encode("cp1258")


def test_a_text_about_pdfs_is_a_text(reader):
    assert read(reader, "notes.md", b"A PDF begins with `%PDF-1.7` and a line of bytes.").kind is DocumentKind.DOCUMENT


def test_bytes_decide_before_the_name(reader):
    page = b"<!DOCTYPE html><html><body><article><p>Orders need three quotes.</p></article></body></html>"
    assert read(reader, "quotes.txt", page).kind is DocumentKind.ARTICLE
    assert read(reader, "report.txt", pdf([["A report"]])).text == "A report"
    assert read(reader, "slides.pdf", pptx_file([("Title", ["one"], "")])).pages
    assert read(reader, "page.py", b"<html>{{ template }}</html>").kind is DocumentKind.CODE


@pytest.mark.parametrize(
    ("path", "data", "code"),
    [
        ("empty.pdf", b"", "empty"),
        ("blank.txt", b" \r\n\t\n", "empty"),
        ("mark.txt", b"\xef\xbb\xbf", "empty"),
        ("locked.pdf", pdf([["secret"]], password="x"), "encrypted"),
        ("scan.pdf", pdf([[]]), "no_text"),
        ("cut.pdf", pdf([["text"]])[:300], "corrupt"),
        ("noise.pdf", b"%PDF-1.7\n" + os.urandom(4000), "corrupt"),
        ("locked.docx", bytes.fromhex("d0cf11e0a1b11ae1") + "EncryptedPackage".encode("utf-16-le"), "encrypted"),
        ("old.doc", bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 600, "unsupported"),
        ("cut.docx", docx([("p", "text")])[:400], "corrupt"),
        ("no-text.docx", docx([]), "no_text"),
        ("broken.docx", docx([("p", "a")], parts={"word/document.xml": b"<w:document"}), "corrupt"),
        ("sheet.xlsx", archive({"xl/workbook.xml": b"<workbook/>"}), "unsupported"),
        ("files.zip", archive({"a.txt": b"text"}), "unsupported"),
        ("photo.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "unsupported"),
        ("data.bin", b"abc\0\1\2\3" * 50, "unsupported"),
        ("before.pdf", b"\r\n\r\n" + pdf([["text"]])[:300], "corrupt"),
        ("large.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", "unsupported"),
        ("a.ipynb", b'{"cells": 5}', "corrupt"),
        ("deep.ipynb", b"[" * 100_000, "corrupt"),
        ("a.csv", b"a,b,c\n", "empty"),
        ("script.html", b"<html><body><script>document.write('hi')</script></body></html>", "no_text"),
        ("large.txt", b"a" * 2_000_001, "too_large"),
        ("large.pdf", b"%PDF-1.4" + b"\0" * 2_000_000, "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_can_t_be_read_is_refused_with_a_reason(reader, path, data, code):
    assert refusal(reader, path, data) == code


def test_a_zip_bomb_is_refused_before_it_is_unpacked(reader):
    bomb = docx([("p", "text")], parts={"word/media/image1.bmp": b"\0" * 25_000_000})
    assert len(bomb) < 100_000
    assert refusal(reader, "bomb.docx", bomb) == "too_large"


def test_an_archive_that_lies_about_its_sizes_is_refused(reader):
    data = bytearray(docx([("p", "text")], parts={"word/document.xml": b"<a>" + b" " * 900_000 + b"</a>"}))
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        entry = packed.getinfo("word/document.xml")
    honest = entry.file_size.to_bytes(4, "little")
    lying = bytes(data).replace(honest, (100).to_bytes(4, "little"))
    assert refusal(reader, "lie.docx", lying) == "corrupt"


def test_xml_that_declares_entities_is_refused(reader):
    lol = "".join(f'<!ENTITY l{n} "{"&l" + str(n - 1) + ";" * 1}{f"&l{n - 1};" * 9}">' for n in range(1, 9))
    text = f'<?xml version="1.0"?><!DOCTYPE w:document [<!ENTITY l0 "lol">{lol}]>'
    text += f'<w:document xmlns:w="{WORD}"><w:body><w:p><w:r><w:t>&l8;</w:t></w:r></w:p></w:body></w:document>'
    for encoding in ("utf-8", "utf-16"):
        data = docx([], parts={"word/document.xml": text.encode(encoding)})
        assert refusal(reader, "lol.docx", data) == "hostile"


def test_a_document_nested_without_end_is_refused(reader):
    depth = 20_000
    body = "<w:tbl><w:tr><w:tc>" * depth + "<w:p/>" + "</w:tc></w:tr></w:tbl>" * depth
    text = f'<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>'
    noise = os.urandom(20_000).hex().encode()  # so that it is not refused for how well it packs
    data = docx([], parts={"word/document.xml": text.encode() + b"<!--" + noise + b"-->"})
    assert refusal(reader, "deep.docx", data) in ("too_deep", "crashed")
    assert refusal(reader, "deep.html", b"<html><body>" + b"<div>" * 200_000) in ("too_deep", "no_text", "corrupt")


def test_a_macro_is_no_more_than_a_file_that_is_not_read(reader):
    data = docx([("p", "Báo giá có hiệu lực.")], parts={"word/vbaProject.bin": b'Shell("touch /tmp/x")'})
    assert read(reader, "a.docm", data).text == "Báo giá có hiệu lực."


def test_nothing_that_a_document_names_is_fetched(reader):
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]

    address = f"http://127.0.0.1:{port}/a.png"
    relationships = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId9" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/image" '
        f'Target="{address}" TargetMode="External"/></Relationships>'
    ).encode()
    picture = (
        f'<w:document xmlns:w="{WORD}" xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
        'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" '
        'xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"><w:body><w:p><w:r><w:t>'
        'text</w:t><w:drawing><wp:inline><a:graphic><a:graphicData><a:blip r:link="rId9"/></a:graphicData>'
        "</a:graphic></wp:inline></w:drawing></w:r></w:p></w:body></w:document>"
    ).encode()
    data = docx([], parts={"word/document.xml": picture, "word/_rels/document.xml.rels": relationships})
    assert read(reader, "a.docx", data).text == "text"
    page = f'<html><head><link rel="stylesheet" href="{address}"></head><body><p>text</p><img src="{address}">'
    page += f'<iframe src="{address}"></iframe></body></html>'
    assert read(reader, "a.html", page.encode()).text == "text"
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.accept()
    server.close()


@pytest.mark.parametrize(
    "attempt",
    [
        "__import__('socket').create_connection(('127.0.0.1', 9))",
        "__import__('subprocess').run(['true'])",
        "__import__('os').system('true')",
        "__import__('urllib.request').request.urlopen('http://127.0.0.1:9/')",
        "open('/tmp/written', 'w')",
        "__import__('os').remove('/tmp/none')",
        "__import__('os').fork()",
    ],
)
def test_a_reader_may_not_connect_start_or_write(attempt):
    program = (
        "import sys\nfrom tidemill.readers import child\nfrom tidemill.readers.wire import Request\n"
        "from tidemill.readers.formats import Format\nfrom tidemill.settings.knowledge import ReadingSettings\n"
        "child._bind(Request(Format.HTML, 'a', ReadingSettings(), b''))\n"
        f"try:\n    {attempt}\nexcept PermissionError as error:\n    print('refused:', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("refused: a reader may not")


def test_reading_that_needs_too_much_memory_is_refused():
    small = DocumentReader(ReadingSettings(max_memory_bytes=268_435_456))
    page = "".join(f"<p>Paragraph {n} of many.</p>" for n in range(400_000))
    try:
        assert refusal(small, "a.html", f"<html><body>{page}</body></html>".encode()) != "took_too_long"
        assert read(small, "b.pdf", pdf([["still here"]])).text == "still here"
    finally:
        asyncio.run(small.close())


def test_a_table_of_too_many_rows_is_refused():
    small = DocumentReader(ReadingSettings(max_rows=10))
    assert refusal(small, "a.csv", b"a,b\n" + b"1,2\n" * 11) == "too_large"


def test_a_text_that_is_too_long_is_refused_whatever_its_format():
    small = DocumentReader(ReadingSettings(max_characters=1000, max_pages=2))
    try:
        assert refusal(small, "a.txt", b"word " * 300) == "too_large"
        assert refusal(small, "a.docx", docx([("p", "word " * 300)])) == "too_large"
        assert refusal(small, "a.pdf", pdf([["a"], ["b"], ["c"]])) == "too_large"
    finally:
        asyncio.run(small.close())


def test_reading_that_takes_too_long_is_ended():
    slow = DocumentReader(ReadingSettings(seconds=1))
    rows = "".join(f"<tr><td>{'<b><i>' * 30}{n}</td></tr>" for n in range(30_000))
    try:
        assert refusal(slow, "a.html", f"<html><body><table>{rows}</table></body></html>".encode()) == "took_too_long"
        assert read(slow, "b.pdf", pdf([["still here"]])).text == "still here"
    finally:
        asyncio.run(slow.close())


def test_the_reader_is_started_again_after_it_was_killed(reader):
    assert read(reader, "a.pdf", pdf([["one"]])).text == "one"
    reader._process._process.kill()
    reader._process._process.wait()
    assert read(reader, "a.pdf", pdf([["two"]])).text == "two"


def test_the_reader_s_process_has_none_of_the_hub_s_environment(reader, monkeypatch):
    monkeypatch.setenv("TIDEMILL_SECRET_KEY", "never passed on")
    asyncio.run(reader.close())
    read(reader, "a.pdf", pdf([["one"]]))
    environment = Path(f"/proc/{reader._process._process.pid}/environ")
    if environment.exists():
        assert b"TIDEMILL" not in environment.read_bytes()


def test_an_idle_reader_s_process_ends():
    process = ReadingProcess(LIMITS, idle_s=0.05)
    process.read(Format.PDF, "a.pdf", pdf([["one"]]))
    deadline = time.monotonic() + 20
    while process._process is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process._process is None


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(sorted(path.name for path in DOCUMENTS.iterdir())))
def test_damage_anywhere_in_a_document_is_read_or_refused(reader, data, name):
    whole = bytearray((DOCUMENTS / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    with contextlib.suppress(Unreadable):
        found = read(reader, name, bytes(whole))
        assert found.text == clean(found.text)
