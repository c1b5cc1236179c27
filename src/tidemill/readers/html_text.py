"""Simple, sound HTML, such as comes of a Word document, to Markdown."""

from html.parser import HTMLParser

_HEADINGS = {f"h{depth}": depth for depth in range(1, 7)}
_BLOCKS = frozenset({"p", "div", "blockquote", "pre", "dt", "dd", "section", "article"})
_LISTS = frozenset({"ul", "ol"})
TITLE = "title"
"""The class of the heading that is the document's title: all others are below it."""
_DEEPEST = 200


class MarkdownWriter(HTMLParser):
    """Writes Markdown of the HTML that it is fed; `markdown()` at the end."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._blocks: list[str] = []
        self._line: list[str] = []
        self._prefix = ""
        self._lists: list[tuple[str, int]] = []
        self._rows: list[list[str]] = []
        self._cell: list[str] | None = None
        self._tables = 0
        self._below_title = False

    def markdown(self) -> str:
        """All that was read."""
        self._end_block()
        return "\n".join(self._blocks).strip("\n")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        if tag == "table":
            self._tables += 1
            if self._tables == 1:
                self._end_block()
                self._rows = []
        elif self._tables:
            self._start_in_table(tag)
        elif tag in _HEADINGS:
            self._end_block()
            titled = ("class", TITLE) in attrs
            self._below_title = self._below_title or titled
            self._prefix = "#" * (1 if titled else min(_HEADINGS[tag] + self._below_title, 6)) + " "
        elif tag in _LISTS:
            self._end_block()
            self._lists.append((tag, 0))
        elif tag == "li":
            self._end_block()
            kind, count = self._lists.pop() if self._lists else ("ul", 0)
            self._lists.append((kind, count + 1))
            indent = "   " * (min(len(self._lists), _DEEPEST) - 1)
            self._prefix = indent + (f"{count + 1}. " if kind == "ol" else "- ")
        elif tag in _BLOCKS:
            self._end_block()
        elif tag == "br":
            self._line.append("\n")

    def _start_in_table(self, tag: str) -> None:
        if self._tables > 1:
            return
        if tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._cell = []
        elif tag in ("p", "br", "li") and self._cell:
            self._cell.append(" ")

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        if tag == "table" and self._tables:
            self._tables -= 1
            if not self._tables:
                self._end_table()
        elif self._tables:
            if tag in ("td", "th") and self._tables == 1 and self._cell is not None:
                if not self._rows:
                    self._rows.append([])
                self._rows[-1].append(" ".join("".join(self._cell).split()).replace("|", "\\|"))
                self._cell = None
        elif tag in _LISTS:
            self._end_block()
            if self._lists:
                self._lists.pop()
            if not self._lists:
                self._blocks.append("")
        elif tag in _HEADINGS or tag in _BLOCKS or tag == "li":
            self._end_block()

    def handle_data(self, data: str) -> None:
        """Text."""
        if self._cell is not None:
            self._cell.append(data)
        elif not self._tables:
            self._line.append(data)

    def _end_block(self) -> None:
        lines = [" ".join(line.split()) for line in "".join(self._line).split("\n")]
        text = "\n".join(line for line in lines if line)
        self._line = []
        if not text:
            return
        self._blocks.append(self._prefix + text)
        if not self._lists:
            self._blocks.append("")
        self._prefix = ""

    def _end_table(self) -> None:
        rows = [row for row in self._rows if any(row)]
        if not rows:
            return
        width = max(map(len, rows))
        lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in rows]
        self._blocks.extend([lines[0], "| " + " | ".join(["---"] * width) + " |", *lines[1:], ""])
