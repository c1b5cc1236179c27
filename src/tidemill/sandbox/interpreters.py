"""Which interpreters there are on this machine, and which folders each of them needs."""

import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidemill.core.errors import Configuration
from tidemill.core.execution import Execution, Interpreter, Program
from tidemill.sandbox.running import reason_of

SYSTEM = Path("/usr")
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


def candidates() -> Mapping[Interpreter, Sequence[Candidate]]:
    """Those worth a try, best first. One of a closed folder is found here, and fails when it is tried."""
    own = _installed(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
    pythons = [own, *_found("python3")]
    return {
        Interpreter.SHELL: _found("sh"),
        Interpreter.PYTHON: list(dict.fromkeys(pythons)),
        Interpreter.NODE: _found("node"),
    }


def _found(name: str) -> list[Candidate]:
    path = shutil.which(name, path="/usr/bin:/bin:/usr/local/bin") or shutil.which(name)
    return [_installed(Path(path))] if path else []


def _installed(path: Path) -> Candidate:
    """An interpreter with the folder that it was installed into, which is the one above its `bin`."""
    real = path.resolve()
    prefix = real.parent.parent
    inside = prefix == SYSTEM or SYSTEM in prefix.parents
    return Candidate(real, folders=() if inside else (prefix,))


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
    run: Callable[[Program, Candidate], Awaitable[Execution]], engine: str
) -> Mapping[Interpreter, Candidate]:
    """Those of this machine that ran something in a sandbox, the best of each.

    Args:
        run: runs a program by an interpreter.
        engine: the sandbox's name, for the message.

    Raises:
        Configuration: not even a shell runs in there, with the reason.
    """
    working, refused = dict[Interpreter, Candidate](), "There is no shell here."
    for interpreter, found in candidates().items():
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
