"""The process that reads documents that are not trusted: `python -m tidemill.readers.child`.

It reads nothing itself. For each document it forks a process that has that document alone, bounds of memory, CPU time
and files, no environment, no network and no program to start; a document that crashes its reader harms no other.
"""

import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any, BinaryIO

from tidemill.core.document import CleanDocument
from tidemill.readers.formats import Format
from tidemill.readers.port import Unreadable
from tidemill.readers.wire import Request, document_to_json, longest_answer, receive_request, send

READY = b"ready"
_PIECE = 1 << 16
_MOST_FILES = 64
_FORBIDDEN = (
    *(
        "socket.",
        "subprocess.",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "os.fork",
        "pty.",
        "ctypes.dlopen",
    ),
    *("urllib.", "http.", "ftplib.", "smtplib.", "shutil.", "os.remove", "os.rename", "os.symlink", "os.link"),
)
_MODULES = {
    Format.PDF: "tidemill.readers.pdf",
    Format.OFFICE: "tidemill.readers.office",
    Format.HTML: "tidemill.readers.page",
}


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers each request with a document or with why there is none, until there is no other."""
    send(answers, READY)
    while (request := receive_request(requests)) is not None:
        importlib.import_module(_MODULES[request.format])  # here, so that every fork has it
        send(answers, _in_a_fork(request))


def _in_a_fork(request: Request) -> bytes:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _be_the_fork(request, writing)
    os.close(writing)
    answer, ended = _collected(reading, longest_answer(request.limits), request.limits.seconds)
    os.close(reading)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if ended and status == 0:
        return bytes(answer)
    return _failure(_why(request, ended=ended, status=status, large=len(answer) > longest_answer(request.limits)))


def _collected(stream: int, most: int, seconds: float) -> tuple[bytearray, bool]:
    """What the fork wrote, and whether it came to its end within the time and the size."""
    deadline = time.monotonic() + seconds
    answer = bytearray()
    while (left := deadline - time.monotonic()) > 0 and len(answer) <= most:
        if select.select([stream], [], [], left)[0]:
            piece = os.read(stream, _PIECE)
            if not piece:
                return answer, True
            answer += piece
    return answer, False


def _why(request: Request, *, ended: bool, status: int, large: bool) -> Unreadable:
    path, limits = request.path, request.limits
    if large:
        return Unreadable(f"The text of {path} is too long to be kept.", "too_large")
    if not ended or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return Unreadable(
            f"Reading {path} took more than {limits.seconds} s (the setting knowledge.reading.seconds). It may be "
            "damaged, or made to take long.",
            "took_too_long",
        )
    return Unreadable(
        f"Reading {path} ended in a crash: it is damaged, made to do harm, or needs more than "
        f"{limits.max_memory_bytes:,} bytes of memory (the setting knowledge.reading.max_memory_bytes).",
        "crashed",
    )


def _be_the_fork(request: Request, writing: int) -> None:
    """Reads, writes what came of it, and ends."""
    status = 1
    try:
        with os.fdopen(writing, "wb") as out:
            _bind(request)
            out.write(_answer(request))
        status = 0
    finally:
        os._exit(status)


def _bind(request: Request) -> None:
    limits = request.limits
    bounds = [
        (resource.RLIMIT_CPU, limits.seconds),
        (resource.RLIMIT_AS, limits.max_memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _MOST_FILES),
        (resource.RLIMIT_NPROC, 0),
    ]
    for which, most in bounds:
        _, hard = resource.getrlimit(which)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (least, least))
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(_FORBIDDEN):
        raise PermissionError(f"a reader may not do this: {event}")
    if event == "open" and len(arguments) > 2 and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE:
        raise PermissionError("a reader may not write files")


def _answer(request: Request) -> bytes:
    try:
        document = _read(request)
    except Unreadable as reason:
        return _failure(reason)
    except RecursionError:
        return _failure(Unreadable(f"{request.path} is nested too deeply to be read.", "too_deep"))
    except MemoryError:
        most = request.limits.max_memory_bytes
        return _failure(
            Unreadable(
                f"Reading {request.path} needs more than {most:,} bytes of memory (the setting "
                "knowledge.reading.max_memory_bytes).",
                "too_large",
            )
        )
    except Exception as error:  # noqa: BLE001 - parsers raise anything on broken input, and this is where that ends
        return _failure(
            Unreadable(f"{request.path} is damaged, or breaks its format's rules ({type(error).__name__}).", "corrupt")
        )
    return json.dumps({"document": document_to_json(document)}, ensure_ascii=False).encode()


def _read(request: Request) -> CleanDocument:
    module = importlib.import_module(_MODULES[request.format])
    if request.format is Format.PDF:
        found = module.read_pdf(request.data, request.path, request.limits)
    elif request.format is Format.OFFICE:
        found = module.read_office(request.data, request.path, request.limits)
    else:
        found = module.read_page(request.data, request.path)
    document: CleanDocument = found
    if len(document.text) > request.limits.max_characters:
        raise too_long(request.path, len(document.text), request.limits.max_characters)
    return document


def too_long(path: str, length: int, most: int) -> Unreadable:
    """Why a text of that length is not kept."""
    return Unreadable(
        f"The text of {path} has {length:,} characters, and at most {most:,} are kept (the setting "
        "knowledge.reading.max_characters). Split it.",
        "too_large",
    )


def _failure(reason: Unreadable) -> bytes:
    return json.dumps({"code": reason.reason_code, "reason": str(reason)}).encode()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the hub ends it by closing its input
    serve(sys.stdin.buffer, sys.stdout.buffer)
