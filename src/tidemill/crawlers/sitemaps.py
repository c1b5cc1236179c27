"""Sitemaps and indexes of sitemaps (https://www.sitemaps.org/protocol.html), packed with gzip or not."""

import zlib
from dataclasses import dataclass
from xml.parsers import expat

from tidemill.core.errors import InvalidInput, TooLarge

MOST_BYTES = 50 * 1024 * 1024
"""Of one sitemap unpacked, by the protocol."""
MOST_ADDRESSES = 50_000
"""In one sitemap, by the protocol."""
LONGEST_ADDRESS = 4096
_GZIP = b"\x1f\x8b"
_ROOTS = frozenset({"urlset", "sitemapindex"})
_HOLDERS = {"url": "pages", "sitemap": "sitemaps"}


@dataclass(frozen=True, slots=True)
class Sitemap:
    """The addresses in a sitemap as they are written: of pages, and of other sitemaps."""

    pages: tuple[str, ...]
    sitemaps: tuple[str, ...]


def read_sitemap(data: bytes) -> Sitemap:
    """The addresses of a sitemap or of an index.

    Raises:
        InvalidInput: it is neither, or broken.
        TooLarge: it unpacks to more than the protocol allows.
    """
    if data.startswith(_GZIP):
        data = unpacked(data, MOST_BYTES)
    if len(data) > MOST_BYTES:
        raise TooLarge(f"The sitemap has more than {MOST_BYTES:,} bytes.")
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<", b"\xff\xfe", b"\xfe\xff")):
        return _of_text(data)
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise InvalidInput(f"The sitemap is broken: {error}.") from error
    if reader.root not in _ROOTS:
        raise InvalidInput(f"What stands in the sitemap's place is a <{(reader.root or '')[:40]}>, and no sitemap.")
    return Sitemap(tuple(reader.found["pages"]), tuple(reader.found["sitemaps"]))


def unpacked(data: bytes, most: int) -> bytes:
    """What gzip packed, never more than that of it in memory.

    Raises:
        InvalidInput: it is broken.
        TooLarge: it unpacks to more than `most` bytes.
    """
    kept = bytearray()
    try:
        while data:
            stream = zlib.decompressobj(wbits=31)
            kept += stream.decompress(data, most + 1 - len(kept))
            if len(kept) > most:
                raise TooLarge(f"It unpacks to more than {most:,} bytes.")
            if not stream.eof:
                raise InvalidInput("The gzip archive ends too early.")
            data = stream.unused_data if stream.unused_data.startswith(_GZIP) else b""
    except zlib.error as error:
        raise InvalidInput(f"The gzip archive is broken: {error}.") from error
    return bytes(kept)


def _of_text(data: bytes) -> Sitemap:
    """The protocol's plain form: an address a line."""
    lines = [line.strip() for line in data.decode("utf-8-sig", "replace").splitlines()[: MOST_ADDRESSES + 1]]
    addresses = [line for line in lines if line]
    if not addresses or not all(line.startswith(("http://", "https://")) for line in addresses):
        raise InvalidInput("What stands in the sitemap's place is no sitemap.")
    return Sitemap(tuple(addresses[:MOST_ADDRESSES]), ())


class _Reader:
    """Collects what stands in `<loc>`, without a tree, and refuses a document that declares entities."""

    def __init__(self) -> None:
        self.root: str | None = None
        self.found: dict[str, list[str]] = {"pages": [], "sitemaps": []}
        self._within: list[str] = []
        self._address: str | None = None
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.EntityDeclHandler = _refuse_entity

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(" ")[2]
        if self.root is None:
            self.root = name
        if len(self._within) > 100:
            raise InvalidInput("The sitemap is nested too deeply.")
        if name == "loc" and self._within and self._within[-1] in _HOLDERS:
            self._address = ""
        self._within.append(name)

    def _end(self, tag: str) -> None:
        self._within.pop()
        if self._address is None or tag.rpartition(" ")[2] != "loc":
            return
        found = self.found[_HOLDERS[self._within[-1]]]
        if self._address.strip() and len(found) < MOST_ADDRESSES:
            found.append(self._address.strip())
        self._address = None

    def _text(self, text: str) -> None:
        if self._address is not None and len(self._address) <= LONGEST_ADDRESS:
            self._address += text


def _refuse_entity(*arguments: object) -> None:
    raise InvalidInput("The sitemap declares entities, which no sitemap needs.")
