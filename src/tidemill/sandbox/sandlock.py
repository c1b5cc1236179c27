"""Programs confined by Landlock and a filter of system calls, by way of sandlock: for machines without namespaces.

Each run has a process of its own that confines it and watches its system calls. The program sees the machine's file
system, and can open nothing of it but the interpreters and libraries, read-only, and its working folder, which lies on
the disk. It can make no socket. Started by root, all of it runs as a user of its own from the start.
"""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from importlib import util
from pathlib import Path

from tidemill.core.errors import Configuration
from tidemill.core.execution import Execution, Interpreter, Program
from tidemill.sandbox import limiting
from tidemill.sandbox.interpreters import Candidate, choose, chosen, path_of
from tidemill.sandbox.launching import Launching
from tidemill.sandbox.outputs import files_in
from tidemill.sandbox.running import execution_of, pipes
from tidemill.sandbox.seccomp import supervisor_filter
from tidemill.sandbox.staging import Folders, Place, checked_program, give_to_user, runner, stage
from tidemill.sandbox.watching import use_of_tree

LIBRARIES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ld.so.cache", "/etc/alternatives")
READABLE = (*LIBRARIES, "/etc/ssl/openssl.cnf")  # Node.js does not start where this is and can't be read
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
WRITABLE_DEVICES = ("/dev/null", "/dev/zero")
ENTER = '{limits} || exit 125; exec "$@"'


class SandlockSandbox:
    """Runs programs by sandlock. `opened` makes one that was tried.

    Args:
        place: where the files of runs are laid out.
        launching: starts it, as a user without rights.
        readable: further folders that programs may read.
    """

    engine = "sandlock"

    def __init__(self, place: Place, launching: Launching, readable: Sequence[Path]) -> None:
        self._place = place
        self._interpreters: Mapping[Interpreter, Candidate] = {}
        self._launching = launching
        self._readable = readable
        self._folders = Folders()

    @classmethod
    async def opened(cls, readable: Sequence[Path] = ()) -> "SandlockSandbox":
        """One that ran something here. `aclose` it.

        Args:
            readable: further folders that programs may read, such as a virtual environment.

        Raises:
            Configuration: sandlock is not there, or the kernel can't confine, with its reason.
        """
        spec = util.find_spec("sandlock")
        if spec is None or spec.origin is None:
            raise Configuration("sandlock is missing. Install Tidemill again; on Linux it comes along.")
        rules = supervisor_filter()
        if rules is None:
            raise Configuration(f"sandlock confines on x86_64 and aarch64 alone, and this is {os.uname().machine}.")
        launching = Launching(runner(), [str(Path(spec.origin).parents[1]), rules.hex()])
        place = await asyncio.to_thread(Place)
        try:
            sandbox = cls(place, launching, readable)
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
        async with self._folders.of(partial(_stage, self._place.folder, program)) as folder:
            work, started = folder / "work", time.monotonic()
            with pipes(2) as (sources, (out, err)):
                with await asyncio.to_thread((folder / "stdin").open, "rb") as stdin:
                    launched = await self._launching.launch(
                        _request(program, candidate, work, self._readable), [stdin.fileno(), out.fileno(), err.fileno()]
                    )
                with closing(launched):
                    out.close()
                    err.close()
                    look = partial(use_of_tree, folder=work)
                    done, _ = await execution_of(launched, sources, 0, program.limits, look, started)
            if not program.outputs or (done.exit_code is None and done.signal is None):
                return done
            given = await asyncio.to_thread(files_in, work, program.outputs, program.limits.files_bytes)
            return replace(done, files=given)


def _stage(parent: Path, program: Program) -> Path:
    folder = stage(parent, program)
    (folder / "work" / "tmp").mkdir(exist_ok=True)
    user = runner()
    if user is not None:
        give_to_user(folder, user)
    return folder


def _request(program: Program, candidate: Candidate, work: Path, further: Sequence[Path]) -> Mapping[str, object]:
    """A run, as the launcher takes it: what sandlock allows, and the command."""
    readable = [*READABLE, *DEVICES, *map(str, (*candidate.folders, *further))]
    environment = {
        "PATH": path_of(further),
        "HOME": str(work),
        "TMPDIR": str(work / "tmp"),
        "LANG": "C.UTF-8",
        **program.environment,
    }
    policy = {
        "fs_readable": [path for path in readable if Path(path).exists()],
        "fs_writable": [str(work), *WRITABLE_DEVICES],
        "cwd": str(work),
        "clean_env": True,
        "env": environment,
        "max_processes": program.limits.processes,
        "no_coredump": True,
    }
    limits = ENTER.format(limits=limiting.words(program.limits, processes=False))
    command: Sequence[str] = [str(candidate.path), *candidate.arguments, *program.arguments]
    return {"policy": policy, "argv": ["/bin/sh", "-c", limits, "sh", *command]}
