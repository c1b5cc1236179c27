"""HTML pages, by trafilatura: what a page says, without what stands around it. Runs in the child process."""

import re

import trafilatura

from tidemill.core.document import CleanDocument, DocumentKind
from tidemill.readers.draft import clean
from tidemill.readers.markup import date_in, markdown_headings
from tidemill.readers.port import Unreadable

_ARTICLE = re.compile(
    rb"""<meta[^>]{0,200}(?:article:published_time|og:type["'][^>]{0,40}content=["']article)|<article\b""", re.I
)
_CELL_END = re.compile(r" \| $", re.MULTILINE)


def read_page(data: bytes, path: str) -> CleanDocument:
    """The main text of a page, in Markdown, with its title, author and date. Nothing that it names is fetched or run.

    Raises:
        Unreadable: it has no text of its own.
    """
    tree = trafilatura.load_html(data)
    if tree is None:
        raise Unreadable(f"{path} is no HTML that can be read.", "corrupt")
    text = None
    for recall in (False, True):
        text = text or trafilatura.extract(
            data, output_format="markdown", include_comments=False, include_tables=True, favor_recall=recall
        )
    text = clean(text or trafilatura.html2txt(data)).strip("\n")
    if not text.strip():
        raise Unreadable(f"{path} has no text: it may be made by a script, which is not run.", "no_text")
    text = _CELL_END.sub(" |", text)
    headings = list(markdown_headings(text))
    about = trafilatura.extract_metadata(tree, date_config={"extensive_search": False, "original_date": True})
    first = min(headings, key=lambda heading: heading.depth).title if headings else None
    return CleanDocument(
        text,
        DocumentKind.ARTICLE if _ARTICLE.search(data) else DocumentKind.PAGE,
        "markdown",
        headings,
        title=about.title or first,
        author=about.author or None,
        licence=about.license or None,
        published_at=date_in(about.date or ""),
    )
