"""A person's posts and articles, from the archive that LinkedIn gives them of their data.

LinkedIn lets no program read its pages. Its members ask for the archive under Settings, Data privacy, Get a copy of
your data; it holds `Shares.csv`, a page for each article, and `Profile.csv` with the name.
"""

import asyncio
import csv
import hashlib
import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field

from tidemill.core.document import DocumentKind, RawDocument, Source
from tidemill.core.errors import InvalidInput, NotFound, NotPermitted, TooLarge
from tidemill.core.text import storable
from tidemill.crawlers.options import options_of
from tidemill.crawlers.port import Failed, Found, Known, Unchanged, failed_part
from tidemill.crawlers.urls import canonical_url

MOST_MEMBERS = 50_000
LARGEST_DIRECTORY = 16_000_000
"""Bytes of the archive's own table of contents, all of which is held in memory."""
LONGEST_TITLE = 100
_ARTICLE = re.compile(r"(?:.*/)?(Articles/.+\.html?)", re.IGNORECASE)
_SHARES = re.compile(r"(?:.*/)?Shares(?:_\d+)?\.csv", re.IGNORECASE)
_PROFILE = re.compile(r"(?:.*/)?Profile\.csv", re.IGNORECASE)
_POST_NUMBER = re.compile(r"\d{6,25}")
_POSTS = "posts/"
_SPLIT_LINES = '"\n"'
"""Within a post, LinkedIn's table has each end of line between quotes."""
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError)
_END = struct.Struct("<4s4H2LH")
_LOCATOR_BYTES = 20


class LinkedInOptions(BaseModel):
    """The options of a LinkedIn archive."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    max_archive_bytes: int = Field(1_000_000_000, ge=1000, le=10_000_000_000, description="Bytes of the archive.")
    max_bytes: int = Field(20_000_000, ge=1000, le=200_000_000, description="Bytes of its largest file, unpacked.")
    max_unpacked_bytes: int = Field(
        200_000_000, ge=1000, le=2_000_000_000, description="Bytes that are unpacked of it in all."
    )
    max_documents: int = Field(20_000, ge=1, le=1_000_000, description="Posts and articles that are taken at most.")


class LinkedInCrawler:
    """Collects the posts and articles in an archive on the hub's machine.

    Args:
        private: folders from which nothing is ever collected: Tidemill's own data.
    """

    def __init__(self, private: Sequence[Path]) -> None:
        self._private = [path.resolve() for path in private]

    def check(self, source: Source) -> None:
        """See `Crawler.check`."""
        options_of(source, LinkedInOptions)
        self._path(source)

    async def crawl(self, source: Source, known: Mapping[str, Known]) -> AsyncGenerator[Found, None]:
        """See `Crawler.crawl`. Paths are `posts/` with the post's number, and the articles' own."""
        options = options_of(source, LinkedInOptions)
        archive = await asyncio.to_thread(_Archive.open, self._path(source), options)
        try:
            documents = archive.documents(known)
            count = 0
            while (one := await asyncio.to_thread(next, documents, None)) is not None:
                count += not isinstance(one, Failed)
                if count > options.max_documents:
                    yield Failed(
                        one.path,
                        "too_many",
                        "The archive has more posts and articles than the source takes. Raise the option "
                        f"`max_documents` (now {options.max_documents:,}).",
                    )
                    return
                before = known.get(one.path)
                unchanged = isinstance(one, RawDocument) and before is not None and before.digest == _digest(one.data)
                yield Unchanged(one.path) if unchanged else one
        finally:
            archive.close()

    def _path(self, source: Source) -> Path:
        path = Path(source.location)
        try:
            if not path.is_absolute() or path.resolve() != path:
                raise InvalidInput(
                    "The location of a LinkedIn source is the whole path of the archive (a ZIP) on the hub's machine, "
                    "without links and `..` in it.",
                    param="location",
                )
            if any(own in path.parents for own in self._private):
                raise NotPermitted(f"{path} lies in Tidemill's own data, which is no source.", param="location")
            if not path.is_file():
                raise NotFound(f"There is no file {str(path)[:300]!r} on the hub's machine.", param="location")
        except (OSError, ValueError, RuntimeError) as error:
            raise InvalidInput(f"{source.location[:300]!r} can't be a file's path.", param="location") from error
        return path


class _NoMember(InvalidInput):
    """A file of the archive that is not unpacked, and why."""

    def __init__(self, message: str, reason_code: str) -> None:
        super().__init__(message)
        self.reason_code = reason_code


@dataclass(slots=True)
class _Archive:
    """An archive that is not trusted: nothing is unpacked beyond its bounds, and nothing is written."""

    zip: zipfile.ZipFile
    file: BinaryIO
    options: LinkedInOptions
    left: int

    @classmethod
    def open(cls, path: Path, options: LinkedInOptions) -> "_Archive":
        """Opens it.

        Raises:
            InvalidInput: it is no archive, broken, or none of LinkedIn's.
            TooLarge: it is over its bounds.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        file = os.fdopen(descriptor, "rb")
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise InvalidInput(f"{path} is no file.", param="location")
            if found.st_size > options.max_archive_bytes:
                raise TooLarge(
                    f"{path} has {found.st_size:,} bytes, and at most {options.max_archive_bytes:,} are read (the "
                    "option `max_archive_bytes`)."
                )
            _check_directory(file, found.st_size, path)
            archive = zipfile.ZipFile(file)
            names = [info.filename for info in archive.infolist()]
            if not any(_SHARES.fullmatch(name) or _ARTICLE.fullmatch(name) for name in names):
                raise InvalidInput(
                    f"{path} holds neither `Shares.csv` nor articles. Ask LinkedIn for the larger copy of the data.",
                    param="location",
                )
            return cls(archive, file, options, options.max_unpacked_bytes)
        except _BROKEN as error:
            file.close()
            raise InvalidInput(f"{path} is no ZIP archive, or a broken one: {error}.", param="location") from error
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """Closes it."""
        self.zip.close()
        self.file.close()

    def documents(self, known: Mapping[str, Known]) -> Iterator[Found]:
        """Its posts and articles, each path once."""
        author, seen = self._author(), set[str]()
        for info in self.zip.infolist():
            article = _ARTICLE.fullmatch(info.filename)
            if article is not None:
                found: Iterator[Found] = iter([self._article(info, storable(article[1]), author)])
            elif _SHARES.fullmatch(info.filename):
                found = self._posts(info, author, known)
            else:
                continue
            for one in found:
                if one.path not in seen:
                    seen.add(one.path)
                    yield one

    def _article(self, info: zipfile.ZipInfo, path: str, author: str | None) -> Found:
        path = f"articles/{path.partition('/')[2]}"
        try:
            data = self._read(info)
        except _NoMember as error:
            return Failed(path, error.reason_code, error.message)
        return RawDocument(
            path, data, media_type="text/html", kind=DocumentKind.ARTICLE, platform="linkedin", author=author
        )

    def _posts(self, info: zipfile.ZipInfo, author: str | None, known: Mapping[str, Known]) -> Iterator[Found]:
        try:
            rows = list(_rows(self._read(info)))
        except _NoMember as error:
            yield from failed_part(known, _POSTS, error.reason_code, error.message)
            return
        except csv.Error as error:
            reason = f"{info.filename} in the archive is no table that can be read: {error}."
            yield from failed_part(known, _POSTS, "corrupt", reason)
            return
        for row in rows:
            post = _post(row, author)
            if post is not None:
                yield post

    def _author(self) -> str | None:
        """The member's name, as the archive has it."""
        for info in self.zip.infolist():
            if _PROFILE.fullmatch(info.filename):
                try:
                    row = next(_rows(self._read(info)), {})
                except (_NoMember, csv.Error):
                    return None  # posts without their author's name are worth more than none
                name = f"{row.get('First Name') or ''} {row.get('Last Name') or ''}"
                return " ".join(storable(name).split()) or None
        return None

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        """A file's bytes.

        Raises:
            _NoMember: they are too many, encrypted, packed in another way, or broken.
        """
        name = storable(info.filename)[:200]
        if info.flag_bits & 1:
            raise _NoMember(f"{name} in the archive is encrypted.", "encrypted")
        if info.compress_type not in _METHODS:
            raise _NoMember(f"{name} in the archive is packed in a way that LinkedIn does not use.", "unsupported")
        most = min(self.options.max_bytes, self.left)
        try:
            with self.zip.open(info) as member:
                data = member.read(most + 1)
        except _BROKEN as error:
            raise _NoMember(f"{name} in the archive is broken: {error}.", "corrupt") from error
        self.left -= min(len(data), self.left)
        if len(data) > most:
            raise _NoMember(
                f"{name} in the archive unpacks to more than the {most:,} bytes that are left to it (the options "
                "`max_bytes` and `max_unpacked_bytes`).",
                "too_large",
            )
        return data


def _check_directory(file: BinaryIO, size: int, path: Path) -> None:
    """That the table of contents is small enough to be read (PKWARE's APPNOTE, 4.3.16), before all of it is."""
    length = min(size, _END.size + 0xFFFF + _LOCATOR_BYTES)
    file.seek(size - length)
    tail = file.read(length)
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or place + _END.size > len(tail):
        raise InvalidInput(f"{path} is no ZIP archive, or it was cut off.", param="location")
    _, _, _, _, members, directory, _, _ = _END.unpack_from(tail, place)
    if tail[max(0, place - _LOCATOR_BYTES) : place].startswith(b"PK\x06\x07"):
        raise InvalidInput(f"{path} is an archive for more than 4 GB, which LinkedIn does not make.", param="location")
    if members > MOST_MEMBERS or directory > LARGEST_DIRECTORY:
        raise TooLarge(f"{path} holds {members:,} files, and at most {MOST_MEMBERS:,} are looked at.")


def _rows(data: bytes) -> Iterator[dict[str, str]]:
    text = io.StringIO(data.decode("utf-8-sig", "replace"), newline="")
    for row in csv.DictReader(text):
        yield {name: value for name, value in row.items() if isinstance(name, str) and isinstance(value, str)}


def _post(row: Mapping[str, str], author: str | None) -> RawDocument | None:
    """A post; `None` for one without a text of its own."""
    text = storable(row.get("ShareCommentary", "").replace("\r\n", "\n").replace(_SPLIT_LINES, "\n")).strip()
    if not text:
        return None
    url = canonical_url(row.get("ShareLink", ""))
    number = _POST_NUMBER.search(url or "")
    date = row.get("Date", "").strip()
    shared = canonical_url(row.get("SharedUrl", ""))
    title = text.splitlines()[0].strip()
    return RawDocument(
        path=_POSTS + (number[0] if number else _digest(f"{date}\n{text}".encode())[:20]),
        data=(f"{text}\n\n{shared}\n" if shared else f"{text}\n").encode(),
        media_type="text/plain",
        title=title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1].rstrip() + "…",
        url=url,
        kind=DocumentKind.POST,
        platform="linkedin",
        author=author,
        published_at=_moment(date),
    )


def _moment(date: str) -> datetime | None:
    try:
        return datetime.strptime(date.removesuffix(" UTC"), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
