"""The process that starts sandboxes and ends them: a small one, run as a program of its own.

Started by root, it becomes another user before it starts anything; forking it costs little; and it outlives no hub.
Whatever is left of a sandbox becomes its child, which it kills. It knows the standard library alone, since its user
may not be able to read any other; and it has loaded all of that before it becomes that user.

A request is a length (4 bytes, big-endian) and JSON: `{"argv": […], "env": {…}}`, or `{"policy": {…}, …}` for one
that sandlock confines. Its descriptors come along: a socket for this run, standard input, output and error, and
what else the program gets as 3, 4, …. The socket says two numbers (4 bytes each, signed): the process, and at its end
how it ended: as shells say it, or `LOST`. Whatever is written to the socket, and its end, kills that run.
"""

import array
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

LENGTH = struct.Struct("!I")
NUMBER = struct.Struct("!i")
MOST_DESCRIPTORS = 8
ABOVE = 64  # where descriptors wait until they get their numbers
PAUSE = 0.01
FAILED = 125
CHUNK = 64 * 1024
SIGNALLED = 128
LOST = 1000  # what holds the program was killed, or never came to hold it

# linux/prctl.h
PR_SET_DUMPABLE, PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 4, 1, 22, 36, 38
SECCOMP_MODE_FILTER = 2
_libc = ctypes.CDLL(None, use_errno=True)

Confine = Callable[[dict[str, Any]], int]


class Filter(ctypes.Structure):
    """`struct sock_fprog` (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def main() -> None:
    """Arguments: the socket's descriptor, the user to become or -1, and for sandlock its folder and a filter in hex."""
    channel, user = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    confine = _confine(sys.argv[3]) if len(sys.argv) > 3 else None
    if user >= 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _prctl(PR_SET_DUMPABLE, 1)  # or its own entry in /proc would be root's, and closed to it
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    if confine is not None:
        _filter(bytes.fromhex(sys.argv[4]))
    os.chdir("/")
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    channel.sendall(b".")
    Launcher(channel, confine).serve()


class Launcher:
    """Serves requests until the other side has gone.

    Args:
        channel: where requests come from.
        confine: runs a policy's program by sandlock, in a fork of this process.
    """

    def __init__(self, channel: socket.socket, confine: Confine | None) -> None:
        self._channel = channel
        self._confine = confine
        self._runs = dict[int, tuple[int, socket.socket]]()  # by process: its pidfd, its socket
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def serve(self) -> None:
        """Until the other side has gone; then everything is killed."""
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            for pid, (pidfd, control) in list(self._runs.items()):
                if pidfd in ready:
                    self._ended(pid)
                elif control.fileno() in ready:
                    self._poll.unregister(control)  # it is over for it, whatever else is written
                    self._kill(pid)
            if self._channel.fileno() in ready:
                request = _received(self._channel)
                if request is None:
                    break
                self._start(*request)
        for pid in self._runs:
            self._kill(pid)
        self._runs.clear()
        while self._killed_strays():
            pass

    def _start(self, request: dict[str, Any], descriptors: Sequence[int]) -> None:
        control = socket.socket(fileno=descriptors[0])
        pid = os.fork()
        if pid == 0:
            _run(request, descriptors[1:], self._confine)
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        pidfd = os.pidfd_open(pid)
        self._runs[pid] = (pidfd, control)
        self._poll.register(pidfd, select.POLLIN)
        self._poll.register(control, select.POLLIN)
        with suppress(OSError):  # who asked has gone: its end of the socket says so, too
            control.sendall(NUMBER.pack(pid))

    def _ended(self, pid: int) -> None:
        pidfd, control = self._runs.pop(pid)
        _, status = os.waitpid(pid, 0)
        self._poll.unregister(pidfd)
        with suppress(KeyError):
            self._poll.unregister(control)
        os.close(pidfd)
        while self._killed_strays():
            pass  # each was waited for; what it had started is there now
        code = os.waitstatus_to_exitcode(status)
        with suppress(OSError):
            control.sendall(NUMBER.pack(code if code >= 0 else LOST))
        control.close()

    def _kill(self, pid: int) -> None:
        """Kills a sandbox. The first process of a namespace takes all others of it along, and bubblewrap ends then."""
        first = _children(pid)
        if self._confine is None:
            _signal(first[0] if first else pid, signal.SIGKILL)
            return
        _signal(pid, signal.SIGSTOP)  # it lets processes be made: while it stands still, there are no new ones
        while left := _descendants(pid):
            for one in left:
                _signal(one, signal.SIGKILL)
            if all(map(_is_dead, left)):
                break
            time.sleep(PAUSE / 10)
        _signal(pid, signal.SIGKILL)

    def _killed_strays(self) -> bool:
        """Kills what a sandbox left behind, and waits for it. Whether there was anything."""
        strays = [pid for pid in _children(os.getpid()) if pid not in self._runs]
        _end_all(strays)
        return bool(strays)


def _run(request: dict[str, Any], descriptors: Sequence[int], confine: Confine | None) -> NoReturn:
    """In the fork: becomes the program, or the process that confines it."""
    code = FAILED
    try:
        waiting = [_moved(descriptor) for descriptor in descriptors]
        for number, descriptor in enumerate(waiting):
            os.dup2(descriptor, number)
        os.closerange(len(waiting), os.sysconf("SC_OPEN_MAX"))
        if confine is None:
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.execve(request["argv"][0], request["argv"], request["env"])  # noqa: S606
        os.setsid()
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        code = confine(request)
    except BaseException as error:  # noqa: BLE001 - the fork of a server must never return into it
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)
    finally:
        os._exit(code)


def _moved(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, ABOVE)


def _confine(folder: str) -> Confine:
    """Loads sandlock while everything can still be read."""
    sys.path.insert(0, folder)
    from sandlock import ExitReason, Sandbox, StdioMode  # noqa: PLC0415

    def confine(request: dict[str, Any]) -> int:
        Path("/proc/self/oom_score_adj").write_bytes(b"1000")
        stderr, words = _moved(2), os.memfd_create("words")
        os.dup2(words, 2)  # sandlock's own words are no program's, unless it can't confine
        try:
            process = Sandbox(**request["policy"]).popen(
                request["argv"], StdioMode.INHERIT, StdioMode.INHERIT, StdioMode.PIPED
            )
        except BaseException:
            os.write(stderr, os.pread(words, CHUNK, 0))
            os.dup2(stderr, 2)
            raise
        copying = threading.Thread(target=_copy, args=(process.stderr.fileno(), stderr))
        copying.start()
        threading.Thread(target=_end_with, args=(os.pidfd_open(os.getppid()),), daemon=True).start()
        for number in range(2):
            os.close(number)  # who reads them waits for the program, and not for this process
        result = process.wait()
        while left := _children(os.getpid()):
            _end_all(left)
        copying.join()
        if result.reason is ExitReason.EXITED:
            return int(result.exit_code) & 255
        return SIGNALLED + (result.signal if result.signal > 0 else signal.SIGKILL)

    return confine


def _end_with(pidfd: int) -> None:
    """In a process that confines: when the launcher has gone, kills what it confines, and ends."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()
    while left := _descendants(os.getpid()):
        for pid in left:
            _signal(pid, signal.SIGKILL)
        if all(map(_is_dead, left)):
            break
    os._exit(FAILED)


def _end_all(pids: Sequence[int]) -> None:
    for pid in pids:
        _signal(pid, signal.SIGKILL)
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _copy(source: int, sink: int) -> None:
    with suppress(OSError):
        while content := os.read(source, CHUNK):
            os.write(sink, content)


def _received(channel: socket.socket) -> tuple[dict[str, Any], Sequence[int]] | None:
    """The next request and its descriptors; `None` when there will be none any more."""
    size = array.array("i").itemsize
    head, ancillary, _, _ = channel.recvmsg(
        LENGTH.size, socket.CMSG_SPACE(MOST_DESCRIPTORS * size), socket.MSG_CMSG_CLOEXEC
    )
    if not head:
        return None
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) - len(content) % size])
    head += _exactly(channel, LENGTH.size - len(head))
    return json.loads(_exactly(channel, LENGTH.unpack(head)[0])), list(descriptors)


def _exactly(channel: socket.socket, count: int) -> bytes:
    content = bytearray()
    while len(content) < count:
        chunk = channel.recv(count - len(content))
        if not chunk:
            raise EOFError("a request was cut off")
        content += chunk
    return bytes(content)


def _filter(rules: bytes) -> None:
    """A filter of system calls, for this process and all that come of it."""
    if not rules:
        return
    kept = ctypes.create_string_buffer(rules, len(rules))
    program = Filter(len(rules) // 8, ctypes.cast(kept, ctypes.c_void_p))
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program))


def _prctl(option: int, *arguments: Any) -> None:
    if _libc.prctl(option, *(*arguments, 0, 0, 0, 0)[:4]) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")


def _children(pid: int) -> list[int]:
    found = list[int]()
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found += [int(child) for child in (task / "children").read_bytes().split()]
    return found


def _descendants(pid: int) -> list[int]:
    found = _children(pid)
    for one in found:  # grows as it goes
        found += _children(one)
    return found


def _is_dead(pid: int) -> bool:
    """Whether it has gone, or waits only for someone to ask how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in {b"Z", b"X"}
    except (FileNotFoundError, ProcessLookupError):
        return True


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    main()
