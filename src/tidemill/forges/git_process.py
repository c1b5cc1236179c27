"""Runs the git program on a repository that is not trusted."""

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tidemill.core.errors import (
    Configuration,
    InvalidInput,
    NotFound,
    NotPermitted,
    TidemillError,
    TooLarge,
    Unavailable,
)
from tidemill.forges.roots import find_repository

_CONFIG = (
    "core.quotepath=true",
    "core.attributesFile=/dev/null",
    "core.bigFileThreshold=16m",
    "core.excludesFile=/dev/null",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.packedGitLimit=1g",
    "core.packedGitWindowSize=64m",
    "core.pager=cat",
    "core.untrackedCache=false",
    "diff.suppressBlankEmpty=false",
    "log.showSignature=false",
    "pack.threads=4",
    "protocol.allow=never",
)
"""A larger file counts as binary: to compare texts git takes 20 times as much memory as a text of short lines has."""
ADDRESSES = 4 * 2**30
"""Bytes of address space that a git may take."""
_LIMITED = f'ulimit -v {ADDRESSES // 1024} 2>/dev/null; exec "$@"'
"""For the shell that becomes git: set from outside, the limit could come after git's own children."""
_KEPT_ENVIRONMENT = ("PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR", "SYSTEMROOT", "GIT_INDEX_FILE")
"""The home folder's configuration says which repositories of other users are trusted. A commit hook names its index."""
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
}
_CHUNK = 1 << 16
_COUNT_ON = 10
"""A diff over the limit is counted on, but not kept, up to this many times the limit."""


class Git:
    """git, for one repository. Every call is a process of its own, with little environment and bounded memory.

    Args:
        repo: its folder.
        timeout: seconds that a call may take.
        settings: more of git's settings, such as `http.followRedirects=false`.
        protocol: the one transport that is allowed; none where it is absent.
        secret_settings: settings that no other user of the machine may read, by name: they go by the environment,
            not by the arguments.
    """

    def __init__(
        self,
        repo: Path,
        *,
        timeout: float = 120.0,
        settings: Sequence[str] = (),
        protocol: str = "none",
        secret_settings: Mapping[str, str] | None = None,
    ) -> None:
        self._repo = repo
        self._timeout = timeout
        self._settings = settings
        self._protocol = protocol
        self._secret_settings = secret_settings or {}

    async def check(self) -> None:
        """That there is a git program, and a repository that it is willing to read, here and nowhere else.

        From data that is broken git climbs to the next repository above, and a repository's settings can name a work
        tree anywhere.

        Raises:
            Configuration, InvalidInput, NotFound, NotPermitted, Unavailable: see `run`.
        """
        if not self._repo.is_dir():
            raise NotFound(f"There is no folder {str(self._repo)!r}.", param="repository")
        data = await self.run("rev-parse", "--absolute-git-dir")
        tree = await self.run("rev-parse", "--show-toplevel", accept=(0, 128))  # 128: it has none
        found = Path(os.fsdecode((tree or data).removesuffix(b"\n")))
        expected = await asyncio.to_thread(find_repository, self._repo)
        if found != expected:
            raise InvalidInput(
                f"git reads {found} where it is asked for {self._repo}: the data there is broken, or names another "
                "work tree (core.worktree).",
                param="repository",
            )

    async def run(
        self, *arguments: str, stdin: bytes = b"", limit: int | None = None, accept: Sequence[int] = (0,)
    ) -> bytes:
        """What git writes to its standard output.

        Args:
            arguments: the command and its arguments.
            stdin: what git reads.
            limit: the most bytes of output; more is an error, and is never held in memory.
            accept: exit codes that are no error.

        Raises:
            Configuration: git is not installed.
            InvalidInput: the folder is no repository.
            NotPermitted: git does not trust the repository's owner.
            TooLarge: the output is over `limit`.
            Unavailable: git took too long.
            TidemillError: git failed otherwise; holds what it said.
        """
        process = await self._start(arguments, stdin)
        try:
            async with asyncio.timeout(self._timeout):
                (output, total), errors, _ = await asyncio.gather(
                    _read(process, limit), _stderr(process), _write(process, stdin)
                )
                code = await process.wait()
        except TimeoutError:
            raise Unavailable(
                f"git {arguments[0]} did not end within {self._timeout:g} s on {self._repo}. "
                "Try again, or with a smaller change."
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if limit is not None and total > limit:
            raise _too_large(total, limit)
        if code not in accept:
            raise _failure(self._repo, arguments[0], code, errors)
        return output

    async def _start(self, arguments: Sequence[str], stdin: bytes) -> asyncio.subprocess.Process:
        program = shutil.which("git")
        if program is None:
            raise Configuration("The program git is not installed, or not on the PATH. Install it, then try again.")
        settings = [part for setting in (*_CONFIG, *self._settings) for part in ("-c", setting)]
        return await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", _LIMITED, "git", program),
            "--no-pager",
            *settings,
            "-C",
            str(self._repo),
            *arguments,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
            | _ENVIRONMENT
            | {"GIT_ALLOW_PROTOCOL": self._protocol}
            | self._secret_environment(),
        )

    def _secret_environment(self) -> dict[str, str]:
        """As git-config(1) says under GIT_CONFIG_COUNT."""
        named = {"GIT_CONFIG_COUNT": str(len(self._secret_settings))} if self._secret_settings else {}
        for number, (name, value) in enumerate(self._secret_settings.items()):
            named |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        return named


async def _read(process: asyncio.subprocess.Process, limit: int | None) -> tuple[bytes, int]:
    """The output up to the limit, and how many bytes there were; ends git when there are far too many."""
    assert process.stdout is not None  # noqa: S101 - asked for with PIPE
    kept, total = bytearray(), 0
    while chunk := await process.stdout.read(_CHUNK):
        total += len(chunk)
        if limit is None or total <= limit:
            kept += chunk
        elif total > limit * _COUNT_ON:
            process.kill()
            break
    return bytes(kept), total


async def _stderr(process: asyncio.subprocess.Process) -> str:
    """The last of what git says when it fails; the rest is read and let go."""
    assert process.stderr is not None  # noqa: S101 - asked for with PIPE
    kept = b""
    while chunk := await process.stderr.read(_CHUNK):
        kept = (kept + chunk)[-4000:]
    return kept.decode("utf-8", "replace").strip()


async def _write(process: asyncio.subprocess.Process, data: bytes) -> None:
    if process.stdin is None or process.stdin.is_closing():
        return  # nothing to write, or git ended before; its exit code says why
    try:
        process.stdin.write(data)
        await process.stdin.drain()
        process.stdin.close()
        await process.stdin.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        return  # git ended before it read everything; its exit code says why
    except RuntimeError:  # uvloop's word for the same
        if not process.stdin.is_closing():
            raise


def _too_large(total: int, limit: int) -> TooLarge:
    least = "more than " if total > limit * _COUNT_ON else ""
    return TooLarge(
        f"The diff has {least}{total:,} bytes, and a review reads at most {limit:,} (the setting "
        "review.max_diff_bytes). Review a smaller range, or raise the limit."
    )


def _failure(repo: Path, command: str, code: int, errors: str) -> TidemillError:
    if "dubious ownership" in errors:
        return NotPermitted(
            f"git does not trust the repository {repo}, because it belongs to another user. If you trust it, run "
            f"`git config --global --add safe.directory {repo}` as the user who runs Tidemill."
        )
    if "not a git repository" in errors or "must be run in a work tree" in errors:
        return InvalidInput(f"There is no git repository in {str(repo.absolute())!r}.", param="repository")
    said = errors.splitlines()[-1] if errors else "it said nothing"
    return TidemillError(f"git {command} failed on {repo} (exit code {code}): {said}")
