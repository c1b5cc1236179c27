"""HTML pages, by trafilatura: what a page says, without what stands around it. Runs in the child process."""

import re
from configparser import ConfigParser

import trafilatura
from trafilatura.settings import use_config

from tidemill.core.document import CleanDocument, DocumentKind
from tidemill.readers.draft import clean
from tidemill.readers.markup import date_in, markdown_headings
from tidemill.readers.port import Unreadable

_ARTICLE = re.compile(
    rb"""<meta[^>]{0,200}(?:article:published_time|og:type["'][^>]{0,40}content=["']article)|<article\b""", re.I
)
_OUTERMOST = re.compile(r"^# ", re.MULTILINE)
_LEAST_TEXT = "25"
"""Characters from which on a page's main text is taken for that. Below trafilatura's own 250 it would give a short page
without its tables, lists and line ends."""
_CELL_END = re.compile(r" \| $", re.MULTILINE)


def read_page(data: bytes, path: str) -> CleanDocument:
    """The main text of a page, in Markdown, with its title, author and date. Nothing that it names is fetched or run.

    Raises:
        Unreadable: it has no text of its own.
    """
    tree = trafilatura.load_html(data)
    if tree is None:
        raise Unreadable(
            f"{path} is no HTML that can be read, or one that takes more memory to read than it may (the setting "
            "knowledge.reading.max_memory_bytes).",
            "corrupt",
        )
    text = trafilatura.extract(
        data,
        output_format="markdown",
        include_comments=False,
        include_tables=True,
        favor_recall=True,
        config=_options(),
    )
    text = clean(text or trafilatura.html2txt(data)).strip("\n")
    if not text.strip():
        raise Unreadable(f"{path} has no text: it may be made by a script, which is not run.", "no_text")
    about = trafilatura.extract_metadata(tree, date_config={"extensive_search": False, "original_date": True})
    text = _CELL_END.sub(" |", text)
    title = " ".join(clean(about.title or "").split())
    if title and not _OUTERMOST.search(text):
        text = f"# {title}\n\n{text}"
    headings = list(markdown_headings(text))
    first = min(headings, key=lambda heading: heading.depth).title if headings else None
    return CleanDocument(
        text,
        DocumentKind.ARTICLE if _ARTICLE.search(data) else DocumentKind.PAGE,
        "markdown",
        headings,
        title=title or first,
        author=about.author or None,
        licence=about.license or None,
        published_at=date_in(about.date or ""),
    )


def _options() -> ConfigParser:
    options = use_config()
    options.set("DEFAULT", "MIN_EXTRACTED_SIZE", _LEAST_TEXT)
    return options
