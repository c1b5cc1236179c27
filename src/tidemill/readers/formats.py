"""What a document is, by its first bytes before its name."""

import re
from enum import StrEnum
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from tidemill.core.document import RawDocument
from tidemill.readers.decoding import wide_encoding
from tidemill.readers.port import Unreadable


class Format(StrEnum):
    """A format with a reader of its own."""

    PDF = "pdf"
    OFFICE = "office"
    """A zip archive: DOCX or PPTX, as its contents say."""
    HTML = "html"
    MARKDOWN = "markdown"
    RESTRUCTURED = "restructured"
    NOTEBOOK = "notebook"
    TABLE = "table"
    CODE = "code"
    TEXT = "text"


_SUFFIXES = {
    **dict.fromkeys((".md", ".markdown", ".mdx", ".mkd"), Format.MARKDOWN),
    **dict.fromkeys((".rst", ".rest"), Format.RESTRUCTURED),
    **dict.fromkeys((".html", ".htm", ".xhtml"), Format.HTML),
    **dict.fromkeys((".csv", ".tsv"), Format.TABLE),
    ".ipynb": Format.NOTEBOOK,
    **dict.fromkeys((".txt", ".text", ".log"), Format.TEXT),
}
_CODE_SUFFIXES = (
    ".py .pyi .js .jsx .mjs .cjs .ts .tsx .mts .cts .java .go .rs .c .h .cc .cpp .cxx .hpp .hh .cs .kt .kts .scala "
    ".swift .m .mm .rb .php .pl .pm .lua .r .jl .dart .ex .exs .erl .hs .ml .mli .clj .lisp .el .sh .bash .zsh .fish "
    ".ps1 .bat .sql .proto .graphql .tf .gradle .groovy .vue .svelte .css .scss .less .toml .yaml .yml .json .jsonl "
    ".xml .ini .cfg .conf .properties .env .cmake .mk .nix .sol .zig .v .vhd .asm .s"
)
_CODE = frozenset(_CODE_SUFFIXES.split())
_CODE_NAMES = frozenset({"makefile", "dockerfile", "jenkinsfile", "rakefile", "gemfile", "cmakelists.txt"})
_MEDIA_TYPES = {
    "text/html": Format.HTML,
    "application/xhtml+xml": Format.HTML,
    "text/markdown": Format.MARKDOWN,
    "text/x-rst": Format.RESTRUCTURED,
    "text/csv": Format.TABLE,
    "text/tab-separated-values": Format.TABLE,
    "application/x-ipynb+json": Format.NOTEBOOK,
}
_HTML = re.compile(rb"<(?:!doctype\s{1,20}html|html)\b", re.IGNORECASE)
_BEFORE_HTML = ((b"<?xml", b"?>"), (b"<!--", b"-->"))
_BINARY = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"RIFF": "a media file",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"\xca\xfe\xba\xbe": "a program",
    b"SQLite format 3": "a database",
    b"{\\rtf": "an RTF document",
}
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_LFS = b"version https://git-lfs.github.com/spec/"
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_LOOKED_AT = 8192


def format_of(document: RawDocument) -> Format:
    """Which reader reads it.

    Raises:
        Unreadable: it is empty, of a format that nobody reads, or no text at all.
    """
    data = document.data
    head = data[:_LOOKED_AT]
    if not data.strip(b"\0 \t\r\n\x0b\x0c") or not data.removeprefix(b"\xef\xbb\xbf").strip():
        raise Unreadable(f"{document.path} is empty.", "empty")
    if head.startswith(_LFS) and len(data) < _LOOKED_AT:
        raise Unreadable(
            f"{document.path} is kept in Git LFS, and only its pointer is in the repository. Add it as an upload, or "
            "the checked-out folder as a source.",
            "unsupported",
        )
    if head.startswith(b"%PDF-") or (b"%PDF-" in head[:1024] and _named_pdf(document)):
        return Format.PDF
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return Format.OFFICE
    if head.startswith(_OLE):
        raise _of_the_old_kind(document.path, data)
    for mark, name in _BINARY.items():
        if head.startswith(mark) and not (mark in (b"MZ", b"BZh", b"RIFF") and b"\0" not in head):
            raise Unreadable(f"{document.path} is {name}, and has no text that can be read.", "unsupported")
    if b"\0" in head and not head.startswith(_WIDE_MARKS) and not wide_encoding(head):
        raise Unreadable(f"{document.path} is a binary file of a format that is not read.", "unsupported")
    return _of_text(document, head)


def _named_pdf(document: RawDocument) -> bool:
    """Something may stand before the mark in a PDF, and the mark in a text about PDFs: then the name decides."""
    return document.media_type == "application/pdf" or urlsplit(document.path).path.lower().endswith(".pdf")


def _of_text(document: RawDocument, head: bytes) -> Format:
    name = PurePosixPath(urlsplit(document.path).path if "://" in document.path else document.path).name.lower()
    suffix = PurePosixPath(name).suffix
    if suffix in _CODE or name in _CODE_NAMES:
        return Format.CODE
    if suffix == ".ipynb":
        return Format.NOTEBOOK
    if _is_html(head.removeprefix(b"\xef\xbb\xbf")):
        return Format.HTML
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    media_type = (document.media_type or "").partition(";")[0].strip().lower()
    return _MEDIA_TYPES.get(media_type, Format.TEXT)


def _is_html(head: bytes) -> bool:
    """Whether it begins as HTML does, after an XML declaration and comments."""
    at = 0
    while True:
        while head[at : at + 1].isspace():
            at += 1
        end = next((head.find(end, at) + len(end) for start, end in _BEFORE_HTML if head.startswith(start, at)), at)
        if end <= at:
            return _HTML.match(head, at) is not None
        at = end


def _of_the_old_kind(path: str, data: bytes) -> Unreadable:
    """An OLE file: an Office document of before 2007, or one of today behind a password."""
    if "EncryptedPackage".encode("utf-16-le") in data:
        return Unreadable(f"{path} is protected by a password. Save it without one, then add it again.", "encrypted")
    return Unreadable(
        f"{path} is an Office document of before 2007. Save it as DOCX, PPTX or PDF, then add it again.", "unsupported"
    )
