"""Notebooks and tables."""

import csv
import io
import json
from typing import Any

from tidemill.core.document import CleanDocument, DocumentKind
from tidemill.readers.draft import Draft, clean
from tidemill.readers.markup import markdown_headings
from tidemill.readers.port import Unreadable

LONGEST_CELL = 20_000
LONGEST_OUTPUT = 2_000
_SNIFFED = 20_000
_SEPARATORS = ",;\t|"


def read_notebook(text: str, path: str) -> CleanDocument:
    """A Jupyter notebook (https://nbformat.readthedocs.io): its prose, its code in fences, and what that printed.

    Raises:
        Unreadable: it is no notebook.
    """
    try:
        notebook = json.loads(text)
        if "worksheets" in notebook:
            cells = [cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]
        else:
            cells = notebook["cells"]
        metadata = notebook.get("metadata", {})
        language = str(metadata.get("kernelspec", {}).get("language", "python"))
        draft = Draft()
        for cell in cells:
            _add_cell(draft, cell, language)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(
            f"{path} is no notebook that can be read ({type(error).__name__}). Open and save it in Jupyter, then add "
            "it again.",
            "corrupt",
        ) from None
    headings = list(markdown_headings(draft.text))
    title = headings[0].title if headings else None
    return CleanDocument(draft.text, DocumentKind.NOTEBOOK, "markdown", headings, title=title)


def _add_cell(draft: Draft, cell: dict[str, Any], language: str) -> None:
    source = _joined(cell.get("source", cell.get("input", "")))
    if not source.strip():
        return
    if cell["cell_type"] != "code":
        draft.add(source)
        return
    ticks = "`" * 3 if "```" not in source else "`" * 8
    draft.add(f"{ticks}{language}\n{source.strip()}\n{ticks}")
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        printed = _joined(output.get("text", data.get("text/plain", ""))).strip()
        if printed:
            draft.add(f"{ticks}\n{printed[:LONGEST_OUTPUT]}\n{ticks}")


def _joined(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)


def read_table(text: str, path: str, most_rows: int) -> CleanDocument:
    """A table: each row a paragraph of `column: value` lines.

    Raises:
        Unreadable: more rows than may be read, or no row under the columns' names.
    """
    text = clean(text)
    sample = text[:_SNIFFED]
    separator = max(_SEPARATORS, key=sample.partition("\n")[0].count)
    draft = Draft()
    try:
        rows = csv.reader(io.StringIO(text), delimiter=separator)
        names = next((row for row in rows if any(map(str.strip, row))), [])
        count = 0
        for row in rows:
            lines = [
                f"{_name(names, at)}: {cell[:LONGEST_CELL].strip()}" for at, cell in enumerate(row) if cell.strip()
            ]
            if lines:
                count += 1
                draft.add("\n".join(" ".join(line.split()) for line in lines))
            if count > most_rows:
                raise Unreadable(
                    f"{path} has more than {most_rows:,} rows (the setting knowledge.reading.max_rows). Add the part "
                    "of it that people ask about.",
                    "too_large",
                )
    except csv.Error as error:
        raise Unreadable(f"{path} can't be read as a table: {error}.", "corrupt") from None
    if not draft.text:
        raise Unreadable(f"{path} has no row under the names of its columns.", "empty")
    return CleanDocument(draft.text, DocumentKind.TABLE, "plain")


def _name(names: list[str], at: int) -> str:
    name = names[at].strip() if at < len(names) else ""
    return name or f"column {at + 1}"
