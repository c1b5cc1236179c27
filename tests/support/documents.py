"""Writes small PDF, DOCX and PPTX files, sound ones and hostile ones, and the binary documents of the corpus.

`python -m tests.support.documents` writes those of tests/data/knowledge/documents anew.
"""

import hashlib
import io
import json
import zipfile
from datetime import datetime
from pathlib import Path
from xml.sax.saxutils import escape

import pptx

CORPUS = Path(__file__).resolve().parents[1] / "data" / "knowledge" / "documents"
PASSWORD_PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
"""ISO 32000-1, 7.6.3.3, algorithm 2."""
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

FONT = (
    b"<< /Type /Font /Subtype /Type0 /BaseFont /Helvetica /Encoding /Identity-H /DescendantFonts [4 0 R] "
    b"/ToUnicode 5 0 R >>"
)
GLYPHS = (
    b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Helvetica /DW 500 /CIDSystemInfo "
    b"<< /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>"
)

Block = tuple[str, str]
"""A style (`title`, `h1`, `h2`, `p`, `li`, or `row` with cells apart by `|`) and its text."""


def docx(blocks: list[Block], *, title: str = "", author: str = "", parts: dict[str, bytes] | None = None) -> bytes:
    """A Word document. `parts` are more files in the archive, or others in place of those."""
    body, rows = [], []
    for style, text in [*blocks, ("", "")]:
        if rows and style != "row":
            body.append(f"<w:tbl>{''.join(rows)}</w:tbl>")
            rows = []
        if style == "row":
            cells = "".join(f"<w:tc>{_paragraph('p', cell.strip())}</w:tc>" for cell in text.split("|"))
            rows.append(f"<w:tr>{cells}</w:tr>")
        elif style:
            body.append(_paragraph(style, text))
    names = {"Title": "Title", "Heading1": "heading 1", "Heading2": "heading 2"}
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{key}"><w:name w:val="{name}"/></w:style>'
        for key, name in names.items()
    )
    level = '<w:lvl w:ilvl="0"><w:numFmt w:val="decimal"/></w:lvl>'
    files = {
        "[Content_Types].xml": (
            b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            b'<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            b'<Default Extension="xml" ContentType="application/xml"/><Override PartName="/word/document.xml" '
            b'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
        ),
        "_rels/.rels": _relationships({"rId1": ("officeDocument", "word/document.xml")}),
        "word/_rels/document.xml.rels": _relationships(
            {"rId1": ("styles", "styles.xml"), "rId2": ("numbering", "numbering.xml")}
        ),
        "word/document.xml": f'<w:document xmlns:w="{WORD}"><w:body>{"".join(body)}</w:body></w:document>'.encode(),
        "word/styles.xml": f'<w:styles xmlns:w="{WORD}">{styles}</w:styles>'.encode(),
        "word/numbering.xml": (
            f'<w:numbering xmlns:w="{WORD}"><w:abstractNum w:abstractNumId="0">{level}</w:abstractNum>'
            '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num></w:numbering>'
        ).encode(),
        "docProps/core.xml": (
            '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" '
            'xmlns:dc="http://purl.org/dc/elements/1.1/">'
            f"<dc:title>{escape(title)}</dc:title><dc:creator>{escape(author)}</dc:creator></cp:coreProperties>"
        ).encode(),
    }
    return archive(files | (parts or {}))


def _paragraph(style: str, text: str) -> str:
    kinds = {
        "title": '<w:pPr><w:pStyle w:val="Title"/></w:pPr>',
        "h1": '<w:pPr><w:pStyle w:val="Heading1"/></w:pPr>',
        "h2": '<w:pPr><w:pStyle w:val="Heading2"/></w:pPr>',
        "li": '<w:pPr><w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr></w:pPr>',
        "p": "",
    }
    return f'<w:p>{kinds[style]}<w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r></w:p>'


def _relationships(targets: dict[str, tuple[str, str]]) -> bytes:
    lines = "".join(
        f'<Relationship Id="{key}" Type="{OFFICE}/{kind}" Target="{target}"/>'
        for key, (kind, target) in targets.items()
    )
    return f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{lines}</Relationships>'.encode()


def archive(files: dict[str, bytes]) -> bytes:
    """A zip archive whose bytes hang on its files alone."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def pptx_file(slides: list[tuple[str, list[str], str]], *, title: str = "", author: str = "") -> bytes:
    """A presentation of slides: title, lines, notes."""
    deck = pptx.Presentation()
    deck.core_properties.title, deck.core_properties.author = title, author
    deck.core_properties.created = deck.core_properties.modified = datetime(2026, 10, 5)  # noqa: DTZ001 - as it stores
    for heading, lines, notes in slides:
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = heading
        slide.placeholders[1].text_frame.text = "\n".join(lines)
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
    out = io.BytesIO()
    deck.save(out)
    return out.getvalue()


def pdf(pages: list[list[str]], *, title: str = "", author: str = "", password: str = "") -> bytes:
    """A PDF of pages of lines, in any script: each character's number is its glyph's, and a map gives it back.

    A line that begins with `# ` is large. With a password it is encrypted (RC4, 40 bits: enough to be locked).
    """
    ranges = [f"<{high:02x}00> <{high:02x}ff> <{high:02x}00>" for high in range(256)]
    blocks = [ranges[at : at + 100] for at in range(0, 256, 100)]
    mapped = "\n".join(f"{len(part)} beginbfrange\n" + "\n".join(part) + "\nendbfrange" for part in blocks)
    to_unicode = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /U def /CMapType 2 def\n"
        f"1 begincodespacerange <0000> <ffff> endcodespacerange\n{mapped}\nendcmap end end"
    )
    kids = " ".join(f"{7 + 2 * number} 0 R" for number in range(len(pages)))
    objects: list[bytes] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>".encode(),
        FONT,
        GLYPHS,
        _stream(to_unicode.encode()),
        f"<< /Title <{_utf16(title)}> /Author <{_utf16(author)}> >>".encode(),
    ]
    for number, lines in enumerate(pages):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {8 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(_stream(_page(lines)))
    return _pdf_of(objects, password)


def _page(lines: list[str]) -> bytes:
    drawn, height = [], 790
    for line in lines:
        size = 18 if line.startswith("# ") else 11
        text = line.removeprefix("# ").encode("utf-16-be").hex()
        height -= size + 6
        drawn.append(f"BT /F1 {size} Tf 50 {height} Td <{text}> Tj ET")
    return "\n".join(drawn).encode()


def _stream(data: bytes) -> bytes:
    return b"<< /Length %d >>\nstream\n%s\nendstream" % (len(data), data)


def _utf16(text: str) -> str:
    return (b"\xfe\xff" + text.encode("utf-16-be")).hex()


def _pdf_of(objects: list[bytes], password: str) -> bytes:
    identity = hashlib.md5(b"document").digest()
    extra = b""
    if password:
        objects, extra = _encrypted(objects, password, identity)
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + (
        b"trailer\n<< /Size %d /Root 1 0 R /Info 6 0 R /ID [<%s> <%s>]%s >>\nstartxref\n%d\n%%%%EOF\n"
        % (len(objects) + 1, identity.hex().encode(), identity.hex().encode(), extra, start)
    )


def _encrypted(objects: list[bytes], password: str, identity: bytes) -> tuple[list[bytes], bytes]:
    """The standard security handler, revision 2 (ISO 32000-1, 7.6.3). The contents of the streams alone are locked."""
    user = (password.encode("latin-1") + PASSWORD_PADDING)[:32]
    owner = _rc4(hashlib.md5(user).digest()[:5], user)
    allowed = 0xFFFFFFC0
    key = hashlib.md5(user + owner + allowed.to_bytes(4, "little") + identity).digest()[:5]
    check = _rc4(key, PASSWORD_PADDING).hex()
    entry = f"<< /Filter /Standard /V 1 /R 2 /O <{owner.hex()}> /U <{check}> /P {allowed - (1 << 32)} >>"
    locked = []
    for number, body in enumerate(objects, 1):
        if b"stream\n" in body:
            head, _, rest = body.partition(b"stream\n")
            own = hashlib.md5(key + number.to_bytes(3, "little") + b"\0\0").digest()[:10]
            body = head + b"stream\n" + _rc4(own, rest.removesuffix(b"\nendstream")) + b"\nendstream"
        locked.append(body)
    return [*locked, entry.encode()], b" /Encrypt %d 0 R" % (len(objects) + 1)


def _rc4(key: bytes, data: bytes) -> bytes:
    state, j = list(range(256)), 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out, i, j = bytearray(), 0, 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def write_corpus(folder: Path = CORPUS) -> None:
    """The corpus's binary documents, of what tests/data/knowledge/written.json says."""
    written = json.loads((folder.parent / "written.json").read_text("utf-8"))
    leave = docx(written["leave"], title="Chính sách nghỉ phép", author="Phòng Nhân sự")
    title = "Quy định tạm ứng và công tác phí"
    advances = pdf(written["advances"], title=title, author="Phòng Tài chính – Kế toán")
    review = pptx_file(written["platform"], title="Platform review, third quarter of 2026", author="Platform team")
    files = {"chinh-sach-nghi-phep.docx": leave, "tam-ung-cong-tac-phi.pdf": advances, "platform-review.pptx": review}
    for name, data in files.items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    write_corpus()
