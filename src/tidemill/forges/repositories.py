"""The files of repositories that are collected: those on this machine, and copies of those behind a URL.

A repository is data, and may be hostile: `Git` says how it is read. A copy is fetched over HTTPS alone, from an address
that was checked and that git is held to, without redirects, credentials or a proxy, and within bounds of time and size.
"""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

from tidemill.analysis.addresses import Reach, literal_address, reach_of
from tidemill.core.errors import (
    Configuration,
    InvalidInput,
    NotFound,
    NotPermitted,
    TidemillError,
    TooLarge,
    Unavailable,
)
from tidemill.core.repository import LastChange, TreeFile
from tidemill.core.text import storable
from tidemill.forges.git_process import Git
from tidemill.store.data_folder import make_private_folder

FETCH_SECONDS = 900.0
READ_SECONDS = 300.0
GROUP_BYTES = 16_000_000
"""Of contents that are held at once."""
HISTORY = 2000
"""Commits that are looked at for who changed a file last."""
HISTORY_BYTES = 64_000_000
LISTING_BYTES = 200_000_000
"""Of the list of a commit's files. A few trees that name one another can stand for more files than there is memory."""
SIZE_SECONDS = 1.0
PINNING_GIT = (2, 37)
"""The first version with `http.curloptResolve`; an older one passes over it, and looks the host up by itself."""
HEAD = "refs/tidemill/head"
_FILE_MODES = frozenset({"100644", "100755"})
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?|[0-9a-f:.]{2,45}")
"""As a name stands in a list that curl reads (CURLOPT_RESOLVE): there a sign before it, or an escape, means another."""
_VERSION = re.compile(rb"git version (\d+)\.(\d+)")
_BRANCH = re.compile(r"(?!-)(?!.*(?:\.\.|@\{|//|\.lock(?:/|$)))[^\x00-\x20~^:?*\[\\\x7f]{1,250}(?<![./])")
"""git-check-ref-format(1), and never what looks like an option."""


class Addresses(Protocol):
    """Looks up which addresses of a host may be asked."""

    async def addresses(self, host: str) -> Sequence[str]:
        """At least one; raises `Refused` or `Unavailable` where there is none."""
        ...


class CommitTree:
    """The files of one commit."""

    def __init__(self, git: Git, commit: str, files: Sequence[TreeFile]) -> None:
        self._git = git
        self._commit = commit
        self.files = files

    async def read(self, files: Sequence[TreeFile]) -> AsyncGenerator[tuple[TreeFile, bytes], None]:
        """The contents of some of them, a bounded number of bytes at a time."""
        group: list[TreeFile] = []
        size = 0
        for file in files:
            if group and size + file.bytes > GROUP_BYTES:
                for one in await self._contents(group):
                    yield one
                group, size = [], 0
            group.append(file)
            size += file.bytes
        if group:
            for one in await self._contents(group):
                yield one

    async def last_changes(self) -> Mapping[str, LastChange]:
        """Who changed each file last, by path; nothing for those that nobody changed lately, or in a shallow copy."""
        if (await self._git.run("rev-parse", "--is-shallow-repository")).strip() == b"true":
            return {}
        command = ("log", "-z", "--name-only", "--no-renames", "--encoding=UTF-8", f"--max-count={HISTORY}")
        try:
            output = await self._git.run(
                *command, "--format=%x01%cI%x02%aN%x03", self._commit, "--", limit=HISTORY_BYTES
            )
        except TooLarge:
            return {}
        found: dict[str, LastChange] = {}
        for entry in output.split(b"\x01")[1:]:
            head, _, names = entry.partition(b"\x03")
            when, _, author = head.decode("utf-8", "replace").partition("\x02")
            change = LastChange(storable(author), datetime.fromisoformat(when))
            for name in names.strip(b"\n").split(b"\0"):
                found.setdefault(storable(name.strip(b"\n").decode("utf-8", "replace")), change)
        return found

    async def _contents(self, files: Sequence[TreeFile]) -> list[tuple[TreeFile, bytes]]:
        asked = "".join(f"{file.blob}\n" for file in files).encode()
        stream = await self._git.run("cat-file", "--batch", stdin=asked)
        found, at = [], 0
        for file in files:
            start = stream.index(b"\n", at) + 1
            found.append((file, stream[start : start + file.bytes]))
            at = start + file.bytes + 1
        return found


class CollectedRepositories:
    """Opens repositories by path or URL.

    Args:
        folder: where the copies of those behind a URL are kept; may be deleted at any time.
        outbound: says which addresses may be asked.
        max_bytes: of the largest copy.
        private: folders whose repositories are never opened by path: Tidemill's own data, the copies among it.
    """

    def __init__(self, folder: Path, outbound: Addresses, max_bytes: int, private: Sequence[Path] = ()) -> None:
        self._folder = folder
        self._outbound = outbound
        self._max_bytes = max_bytes
        self._private = [path.resolve() for path in private]

    def check(self, location: str, branch: str | None) -> None:
        """Goes on with a place and a branch that can be opened.

        Raises:
            InvalidInput: it can't be one.
            NotPermitted: it is Tidemill's own.
        """
        if branch is not None and not _BRANCH.fullmatch(branch):
            raise InvalidInput(f"{branch[:100]!r} can't be the name of a branch.", param="options")
        path = local_path(location)
        if path is None:
            _host_and_port(location)
        elif self._is_private(path):
            raise NotPermitted(f"{path} lies in Tidemill's own data, which is no source.", param="location")

    async def open(self, source_id: UUID, location: str, branch: str | None) -> CommitTree:
        """The newest commit of a branch, of `HEAD` where none is named.

        Raises:
            InvalidInput, NotFound, NotPermitted, Configuration, Unavailable: it can't be read; says why.
            TooLarge: the copy of it has too many bytes.
        """
        self.check(location, branch)
        path = local_path(location)
        if path is None:
            git, revision = await self._copy(source_id, location, branch), HEAD
        else:
            git, revision = Git(path, timeout=READ_SECONDS), f"refs/heads/{branch}" if branch else "HEAD"
            await git.check()
        wanted = f"{revision}^{{commit}}"
        found = await git.run("rev-parse", "--verify", "--quiet", "--end-of-options", wanted, accept=(0, 1, 128))
        commit = found.decode("ascii", "replace").strip()
        if not commit:
            what = f"no branch {branch!r}" if branch else "no commit yet"
            raise NotFound(f"The repository {location} has {what}.", param="options")
        try:
            listing = await git.run("ls-tree", "-r", "-z", "-l", "--full-tree", commit, limit=LISTING_BYTES)
        except TooLarge as error:
            raise TooLarge(
                f"The list of the files of {location} has more than {LISTING_BYTES:,} bytes, and no more are looked at."
            ) from error
        return CommitTree(git, commit, _files(listing))

    def _is_private(self, path: Path) -> bool:
        try:
            folder = path.resolve()
        except (OSError, ValueError, RuntimeError) as error:  # a name too long, a NUL, a loop of links
            raise InvalidInput(f"{str(path)[:300]!r} can't be a folder's path.", param="location") from error
        return any(folder == own or own in folder.parents for own in self._private)

    def forget(self, source_id: UUID) -> None:
        """Deletes the copy that was made for a source, where there is one."""
        shutil.rmtree(self._place(source_id), ignore_errors=True)

    def _place(self, source_id: UUID) -> Path:
        return self._folder / f"{source_id}.git"

    async def _copy(self, source_id: UUID, url: str, branch: str | None) -> Git:
        scheme, host, _ = _host_and_port(url)
        addresses = await self._outbound.addresses(host)
        if scheme == "http" and any(_is_public(address) for address in addresses):
            raise InvalidInput(f"The repository {url} is asked over https:// alone.", param="location")
        wanted = f"refs/heads/{branch}" if branch else "HEAD"
        place = self._place(source_id)
        try:
            return await fetch(place, url, [f"+{wanted}:{HEAD}"], addresses[0], self._max_bytes)
        except TidemillError as error:
            raise _said(url, branch, error) from error


async def fetch(
    place: Path,
    url: str,
    wanted: Sequence[str],
    address: str,
    max_bytes: int,
    *,
    limited_by: str = "knowledge.sources.max_repository_bytes",
    header: str | None = None,
    since: datetime | None = None,
) -> Git:
    """Fetches commits into a bare repository, without their history; makes it where it is not there.

    Nobody else may write to it meanwhile: what locks it was left by a git that was killed, and is taken away.

    Args:
        place: the repository's folder.
        url: over http:// or https://.
        wanted: what is fetched, as git's refspecs.
        address: of the URL's host, which was checked; git is held to it.
        max_bytes: of the repository; it is deleted where it grows larger.
        limited_by: the setting that says so.
        header: an HTTP header that says who asks; no other user of the machine sees it.
        since: fetches the history since then instead, with the names of its files and without what is in them.

    Raises:
        Configuration: git is too old.
        TooLarge: there are more bytes.
        TidemillError: git failed; says what it said.
    """
    scheme, host, port = _host_and_port(url)
    await asyncio.to_thread(_unlock, place)
    if not (place / "HEAD").is_file():
        make_private_folder(place.parent.parent)
        make_private_folder(place.parent)
        await Git(place.parent).run("init", "--quiet", "--bare", "--template=", "--", str(place))
    await _check_pins(Git(place.parent))
    pinned = f"[{address}]" if ":" in address else address
    settings = [
        "http.followRedirects=false",
        "http.proxy=",
        "credential.helper=",
        "core.askPass=",
        "gc.auto=0",
        "fetch.fsckObjects=true",
    ]
    if literal_address(host) is None:
        settings.append(f"http.curloptResolve={host}:{port}:{pinned}")
    secret = {} if header is None else {"http.extraHeader": header}
    git = Git(place, timeout=FETCH_SECONDS, settings=settings, protocol=scheme, secret_settings=secret)
    options = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--force")
    depth = ("--depth=1",) if since is None else ("--filter=blob:none", f"--shallow-since={since.isoformat()}")
    fetching = asyncio.ensure_future(git.run("fetch", *options, *depth, "--", url, *wanted))
    try:
        while not fetching.done():
            await asyncio.wait({fetching}, timeout=SIZE_SECONDS)
            if await asyncio.to_thread(_bytes_in, place) > max_bytes:
                await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
                raise TooLarge(f"The repository {url} has more than {max_bytes:,} bytes (the setting {limited_by}).")
        await fetching
    finally:
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)
    return Git(place, timeout=READ_SECONDS)


async def _check_pins(git: Git) -> None:
    """That git holds to an address which it is given.

    Raises:
        Configuration: it is too old for that.
    """
    said = _VERSION.match(await git.run("version"))
    if said is not None and (int(said[1]), int(said[2])) < PINNING_GIT:
        wanted = ".".join(map(str, PINNING_GIT))
        raise Configuration(
            f"Repositories behind an address need git {wanted} or newer, which keeps to the address that was checked. "
            f"This is {said[0].decode()}. Install a newer one, or clone the repository and name its path."
        )


def local_path(location: str) -> Path | None:
    """The folder that a location names on this machine; `None` of a URL that leads elsewhere."""
    if location.startswith("/"):
        return Path(location)
    if location.startswith("file://"):
        return Path(unquote(urlsplit(location).path))
    return None


def _host_and_port(url: str) -> tuple[str, str, int]:
    """The scheme, host and port of a repository's URL.

    Raises:
        InvalidInput: it is no URL over HTTPS, or holds a user or a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"https", "http"} or not parts.hostname or not url.isprintable() or " " in url:
        raise InvalidInput(
            f"{url[:300]!r} is no repository: give the whole path of a folder, or an address that begins with "
            "https://.",
            param="location",
        )
    if "@" in parts.netloc:
        raise InvalidInput("An address holds no user and no password. Take them out.", param="location")
    if not _HOST.fullmatch(parts.hostname):
        raise InvalidInput(
            f"{parts.hostname[:300]!r} is no host's name: give it in letters, digits, dots and hyphens.",
            param="location",
        )
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _is_public(address: str) -> bool:
    literal = literal_address(address)
    return literal is not None and reach_of(literal) is Reach.PUBLIC


def _files(listing: bytes) -> Sequence[TreeFile]:
    """From `ls-tree -r -z -l`: the regular files."""
    found = []
    for entry in listing.split(b"\0"):
        head, tab, path = entry.partition(b"\t")
        parts = head.decode("ascii", "replace").split()
        if tab and len(parts) == 4 and parts[0] in _FILE_MODES and parts[3].isdigit():
            found.append(TreeFile(storable(path.decode("utf-8", "replace")), parts[2], int(parts[3])))
    return found


def _unlock(place: Path) -> None:
    for lock in place.rglob("*.lock"):
        lock.unlink(missing_ok=True)


def _bytes_in(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_size
            except FileNotFoundError:
                continue  # git has moved it meanwhile
    return total


def _said(url: str, branch: str | None, error: TidemillError) -> TidemillError:
    """What git said, as what it means for a source."""
    if type(error) is not TidemillError:
        return error
    if "couldn't find remote ref" in error.message:
        what = f"no branch {branch!r}" if branch else "no commit yet"
        return NotFound(f"The repository {url} has {what}.", param="options")
    return Unavailable(
        f"The repository {url} could not be fetched. Check the address, and that it can be read without signing in. "
        f"{error.message}"
    )
