"""Which interpreters there are on this machine, and which folders each of them needs."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidemill.core.execution import Interpreter

SYSTEM = Path("/usr")


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
        Interpreter.PYTHON: list(dict.fromkeys(pythons)),
        Interpreter.SHELL: _found("sh"),
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
