"""Reads every format: what is text here, what is complicated in a process apart."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from tidemill.core.document import CleanDocument, RawDocument
from tidemill.readers.child import too_long
from tidemill.readers.decoding import decoded
from tidemill.readers.formats import Format, format_of
from tidemill.readers.markup import read_code, read_markdown, read_plain, read_restructured
from tidemill.readers.port import Unreadable
from tidemill.readers.process import ReadingProcess
from tidemill.readers.records import read_notebook, read_table
from tidemill.settings.knowledge import ReadingSettings

_APART = frozenset({Format.PDF, Format.OFFICE, Format.HTML})
_MARKUPS = {
    Format.MARKDOWN: read_markdown,
    Format.RESTRUCTURED: read_restructured,
    Format.CODE: read_code,
    Format.TEXT: read_plain,
}


class DocumentReader:
    """Reads any document, within the bounds of the settings. `close` ends the process that it may have started."""

    def __init__(self, limits: ReadingSettings) -> None:
        self._limits = limits
        self._process = ReadingProcess(limits)

    async def read(self, document: RawDocument) -> CleanDocument:
        """Its clean text.

        Raises:
            Unreadable: encrypted, corrupt, empty, larger than the bounds, or of a format that nobody reads.
            Unavailable: the process that reads could not be started.
        """
        return await asyncio.to_thread(self._read, document)

    async def close(self) -> None:
        """Ends the process that reads, where there is one."""
        with ThreadPoolExecutor(1) as own:  # the loop's own threads may be gone when all is shut down
            await asyncio.get_running_loop().run_in_executor(own, self._process.close)

    def _read(self, document: RawDocument) -> CleanDocument:
        size, most = len(document.data), self._limits.max_bytes
        if size > most:
            raise Unreadable(
                f"{document.path} has {size:,} bytes, and at most {most:,} are read (the setting "
                "knowledge.reading.max_bytes).",
                "too_large",
            )
        format_ = format_of(document)
        if format_ in _APART:
            return self._process.read(format_, document.path, document.data)
        text = decoded(document.data, document.path)
        if len(text) > self._limits.max_characters:
            raise too_long(document.path, len(text), self._limits.max_characters)
        clean = self._of_text(format_, text, document.path)
        if not clean.text.strip():
            raise Unreadable(f"{document.path} is empty.", "empty")
        if len(clean.text) > self._limits.max_characters:
            raise too_long(document.path, len(clean.text), self._limits.max_characters)
        return clean

    def _of_text(self, format_: Format, text: str, path: str) -> CleanDocument:
        if format_ is Format.NOTEBOOK:
            return read_notebook(text, path)
        if format_ is Format.TABLE:
            return read_table(text, path, self._limits.max_rows)
        return _MARKUPS[format_](text)
