"""Which interpreters there are on this machine, and which folders each of them needs."""

import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tidemill.core.errors import Configuration
from tidemill.core.execution import Execution, Interpreter, Program
from tidemill.sandbox.running import reason_of

SYSTEM = Path("/usr")
LIBRARIES = ("lib", "lib64", "libexec")
NOTHING = {Interpreter.PYTHON: ["-I", "-S", "-c", "0"], Interpreter.SHELL: ["-c", ":"], Interpreter.NODE: ["-e", ""]}
"""As good as no program at all."""


@dataclass(frozen=True)
class Candidate:
    """An interpreter that may work in a sandbox.

    Args:
        path: the program.
        arguments: what it gets before a program's own arguments.
        folders: read-only folders that it needs beside `/usr`.
    """

    path: Path
    arguments: Sequence[str] = ()
    folders: Sequence[Path] = ()


def candidates(readable: Sequence[Path] = ()) -> Mapping[Interpreter, Sequence[Candidate]]:
    """Those worth a try, best first. One of a closed folder is found here, and fails when it is tried.

    Args:
        readable: further folders that programs may read; an interpreter in the `bin` of one goes before all others.
    """
    own = _installed(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
    return {
        Interpreter.SHELL: _found("sh"),
        Interpreter.PYTHON: list(dict.fromkeys([*_brought(readable, "python3"), own, *_found("python3")])),
        Interpreter.NODE: list(dict.fromkeys([*_brought(readable, "node"), *_found("node")])),
    }


def path_of(readable: Sequence[Path]) -> str:
    """Where programs look for others: in the `bin` of each further folder, then where the system's are."""
    return ":".join([*(str(folder / "bin") for folder in readable), "/usr/bin", "/bin"])


def _brought(readable: Sequence[Path], name: str) -> list[Candidate]:
    paths = [folder / "bin" / name for folder in readable]
    # by its own name, since a virtual environment is known by it
    return [replace(_installed(path), path=path) for path in paths if path.exists()]


def _found(name: str) -> list[Candidate]:
    path = shutil.which(name, path="/usr/bin:/bin:/usr/local/bin") or shutil.which(name)
    return [_installed(Path(path))] if path else []


def _installed(path: Path) -> Candidate:
    """An interpreter with its `bin` and the folders of libraries beside that.

    Not with all that is beside it: above the `bin` there may be a home, and the hub's data in it.
    """
    real = path.resolve()
    prefix = real.parent.parent
    inside = prefix == SYSTEM or SYSTEM in prefix.parents
    beside = [folder for name in LIBRARIES if (folder := prefix / name).is_dir()]
    return Candidate(real, folders=() if inside else (real.parent, *beside))


def chosen(interpreters: Mapping[Interpreter, Candidate], wanted: Interpreter) -> Candidate:
    """The one that runs a program.

    Raises:
        Configuration: none of them works here.
    """
    candidate = interpreters.get(wanted)
    if candidate is None:
        raise Configuration(
            f"No {wanted} can be run in the sandbox here. Install one under /usr, or in a folder "
            "that every user of this machine can read."
        )
    return candidate


async def choose(
    run: Callable[[Program, Candidate], Awaitable[Execution]], engine: str, readable: Sequence[Path]
) -> Mapping[Interpreter, Candidate]:
    """Those of this machine that ran something in a sandbox, the best of each.

    Args:
        run: runs a program by an interpreter.
        engine: the sandbox's name, for the message.
        readable: further folders that programs may read.

    Raises:
        Configuration: one of those folders is not there, or not even a shell runs in there, with the reason.
    """
    for folder in readable:
        if not folder.is_dir():
            raise Configuration(f"There is no folder {folder}, which `sandbox.readable` names. Make it, or mend that.")
    working, refused = dict[Interpreter, Candidate](), "There is no shell here."
    for interpreter, found in candidates(readable).items():
        for candidate in found:
            try:
                done = await run(Program(interpreter, NOTHING[interpreter]), candidate)
            except Configuration as error:
                refused = error.message
                continue
            if done.succeeded:
                working[interpreter] = candidate
                break
            refused = f"{candidate.path} {done.ending} in {engine}: {reason_of(done.stderr)}"
        if interpreter is Interpreter.SHELL and interpreter not in working:
            raise Configuration(refused)
    return working
