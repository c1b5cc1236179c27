"""A program that nobody vouches for, the limits within which it runs, and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Interpreter(StrEnum):
    """What runs a program."""

    PYTHON = "python"
    SHELL = "shell"
    NODE = "node"


class Ending(StrEnum):
    """How a program ended."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CPU = "cpu"
    FILES = "files"
    PROCESSES = "processes"


@dataclass(frozen=True)
class Limits:
    """What one run may use.

    Args:
        seconds: of the clock, until everything in the sandbox is killed.
        cpu_seconds: of each of its processes.
        memory_bytes: of each process's data, and resident in all of them together. What lies in the sandbox's files
            counts on its own, as `files_bytes`.
        processes: processes and threads at once.
        output_bytes: of standard output, and again of standard error, that are kept.
        files_bytes: of all files in the sandbox together, those that were given among them. They lie in memory.
        open_files: descriptors of each process.
    """

    seconds: float = 10.0
    cpu_seconds: int = 10
    memory_bytes: int = 512 * 1024 * 1024
    processes: int = 64
    output_bytes: int = 1024 * 1024
    files_bytes: int = 256 * 1024 * 1024
    open_files: int = 256


@dataclass(frozen=True)
class Program:
    """One run.

    Args:
        interpreter: what runs it.
        arguments: what the interpreter gets, such as `["test.py"]` or `["-c", "…"]`.
        files: what lies in the working folder, by relative path; made anew for each run.
        folder: a folder whose content lies there, too, beneath `files`.
        stdin: standard input.
        environment: variables beside those that every run has (`PATH`, `HOME`, `TMPDIR`, `LANG`).
        limits: what it may use.
        outputs: relative paths of files that are wanted back, unless a limit ended the run.
    """

    interpreter: Interpreter
    arguments: Sequence[str]
    files: Mapping[str, bytes] = field(default_factory=dict)
    folder: Path | None = None
    stdin: bytes = b""
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    outputs: Sequence[str] = ()


@dataclass(frozen=True)
class Execution:
    """What became of a run.

    Args:
        ending: how it ended; the limit that was exceeded, where one was.
        exit_code: where it exited by itself.
        signal: the signal's number, where one ended it. A program that exits with 128 + n looks the same.
        stdout: standard output, up to `Limits.output_bytes`.
        stderr: standard error, up to as much.
        truncated: the program wrote more than is kept.
        seconds: of the clock.
        peak_bytes: the most memory that was resident at once, as far as it was seen.
        files: those that were wanted back and are there, by relative path.
    """

    ending: Ending
    exit_code: int | None
    signal: int | None
    stdout: bytes
    stderr: bytes
    truncated: bool
    seconds: float
    peak_bytes: int
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """It exited by itself, with 0."""
        return self.ending is Ending.EXITED and self.exit_code == 0
