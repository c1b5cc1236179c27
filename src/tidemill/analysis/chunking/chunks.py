"""Which way a document is cut, and what each chunk is given."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator

from tidemill.analysis.chunking.code import CodeCutter, by_definitions
from tidemill.analysis.chunking.markdown import MarkdownCutter
from tidemill.analysis.chunking.packing import Counter, Measure, pack
from tidemill.analysis.chunking.prose import Vectors, by_meaning, by_tokens, sentence_atoms
from tidemill.analysis.chunking.sections import cut, path_of, under_headings
from tidemill.analysis.sentences import trimmed
from tidemill.core.document import Chunk, ChunkStrategy, CleanDocument, Span, embedded_text
from tidemill.core.errors import InvalidInput


def chunk(
    document: CleanDocument,
    path: str,
    strategy: ChunkStrategy,
    *,
    size: int,
    overlap: int,
    count_tokens: Counter,
    vectors: Vectors | None = None,
) -> list[Chunk]:
    """The chunks of a document, in the order of its text.

    Together they hold everything in it but white space; each is a span of it without white space at its end.

    Args:
        document: what is cut.
        path: its path; the suffix says which language's definitions code has.
        strategy: how it is cut.
        size: the most tokens of a chunk's text. Only a single character that has more of them is larger.
        overlap: the most tokens that a chunk repeats of the one before it, in whole sentences, lines or words; within
            a section or a definition alone.
        count_tokens: of the model that will embed the chunks.
        vectors: what `SEMANTIC` compares sentences by; the other strategies need none.

    Raises:
        InvalidInput: a size below 1, an overlap that is not below the size, or `SEMANTIC` without vectors.
    """
    if size < 1 or not 0 <= overlap < size:
        raise InvalidInput(
            f"A chunk of {size} tokens can't repeat {overlap} of them: give a size of 1 or more and a smaller overlap.",
            param="overlap",
        )
    measure = Measure(count_tokens, size)
    spans = _spans(document, path, chosen(document, strategy), measure, overlap, vectors)
    return list(_chunks(document, spans, count_tokens))


def chosen(document: CleanDocument, strategy: ChunkStrategy) -> ChunkStrategy:
    """What `AUTO` comes to for this document; any other strategy is itself."""
    if strategy is not ChunkStrategy.AUTO:
        return strategy
    if document.markup == "code":
        return ChunkStrategy.CODE
    return ChunkStrategy.MARKDOWN if document.markup == "markdown" or document.headings else ChunkStrategy.SENTENCES


def _spans(
    document: CleanDocument,
    path: str,
    strategy: ChunkStrategy,
    measure: Measure,
    overlap: int,
    vectors: Vectors | None,
) -> Iterator[tuple[Span, str]]:
    text = document.text
    if strategy is ChunkStrategy.MARKDOWN:
        yield from cut(text, under_headings(text, document.headings), measure, overlap, MarkdownCutter())
    elif strategy is ChunkStrategy.CODE:
        yield from cut(text, by_definitions(text, path), measure, overlap, CodeCutter(text, path))
    else:
        whole = Span(0, len(text))
        if strategy is ChunkStrategy.TOKENS:
            found = by_tokens(text, whole, measure, overlap)
        elif strategy is ChunkStrategy.SENTENCES:
            found = pack(text, list(sentence_atoms(text, whole, measure)), measure, overlap)
        elif vectors is None:
            raise InvalidInput("Cutting by meaning needs an embedding model, and there is none.", param="strategy")
        else:
            found = by_meaning(text, whole, measure, overlap, vectors)
        above = _HeadingsAbove(document)
        for span in found:
            yield span, above.at(span.start)


class _HeadingsAbove:
    """The path of headings above a place."""

    def __init__(self, document: CleanDocument) -> None:
        self._starts: list[int] = []
        self._paths: list[str] = []
        open_: list[tuple[int, str]] = []
        for heading in sorted(document.headings, key=lambda heading: heading.span.start):
            while open_ and open_[-1][0] >= heading.depth:
                open_.pop()
            open_.append((heading.depth, heading.title))
            self._starts.append(document.text.rfind("\n", 0, heading.span.start) + 1)
            self._paths.append(path_of([title for _, title in open_]))

    def at(self, place: int) -> str:
        found = bisect_right(self._starts, place)
        return self._paths[found - 1] if found else ""


def _chunks(document: CleanDocument, spans: Iterator[tuple[Span, str]], count_tokens: Counter) -> Iterator[Chunk]:
    pages = [page.span.start for page in document.pages]
    ordinal = 0
    for whole, heading in spans:
        span = trimmed(document.text, whole)
        if document.markup == "code" and span.start < span.end:
            span = Span(max(document.text.rfind("\n", 0, span.start) + 1, whole.start), span.end)
        if span.start == span.end:
            continue
        text = span.of(document.text)
        digest = hashlib.sha256(embedded_text(heading, text).encode("utf-8", "surrogatepass")).hexdigest()
        page = document.pages[max(bisect_right(pages, span.start) - 1, 0)].number if pages else None
        yield Chunk(ordinal, span, text, heading, digest, count_tokens(text), page)
        ordinal += 1
