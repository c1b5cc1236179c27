"""Programs that try to get out of a sandbox. Each prints a line for whatever it reached: nothing, where it holds.

Run as a program, it needs the standard library and the sandbox alone, so that any user of the machine can run it:
`python escaping.py FOLDER ENGINE TARGETS` prints, as JSON, what each attempt reached in the sandbox and without one.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SECRET = "s3cr3t-value"

BEGIN = """
import json, os, socket, sys
t = json.loads(sys.argv[1])
def attempt(name, act):
    try:
        if act():
            print(name, flush=True)
    except (OSError, ValueError, IndexError):
        pass
def connects(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as s:
        s.settimeout(5)
        s.connect(address)
    return True
def holds(path):
    with open(path, 'rb') as file:
        return t['secret'].encode() in file.read(1 << 20)
"""

ATTEMPTS = {
    "network": """
attempt('tcp', lambda: connects(socket.AF_INET, ('127.0.0.1', t['port'])))
attempt('tcp6', lambda: connects(socket.AF_INET6, ('::ffff:127.0.0.1', t['port'])))
def datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(('127.0.0.1', t['datagrams']))
        s.send(b'out')
        s.send(b'again')  # the kernel says here whether somebody listens there
    return True
attempt('udp', datagram)
attempt('virtual machine', lambda: connects(40, (2, 1024)))
""",
    "sockets of the machine": """
attempt('by name', lambda: connects(socket.AF_UNIX, t['socket']))
attempt('abstract', lambda: connects(socket.AF_UNIX, chr(0) + t['abstract']))
attempt('database', lambda: connects(socket.AF_UNIX, t['database']))
""",
    "secrets and environment": """
attempt('file', lambda: holds(t['file']))
attempt('by the root of another process', lambda: holds(f"/proc/{t['pids'][0]}/root{t['file']}"))
for pid in [*t['pids'], os.getppid(), 1]:
    attempt(f'environment of {pid}', lambda: holds(f'/proc/{pid}/environ'))
attempt('own environment', lambda: t['secret'] in json.dumps(dict(os.environ)))
attempt('folder', lambda: os.listdir(t['folder']))
for path in ('/etc/passwd', '/etc/ssh', '/root', '/home', '/var/lib', '/run', '/sys/kernel'):
    attempt(path, lambda: os.listdir(path) if os.path.isdir(path) else open(path).read())
""",
    "writing outside": """
def writes(path):
    with open(path, 'w') as file:
        file.write('x')
    return True
attempt('folder', lambda: writes(f"{t['folder']}/by-{os.getuid()}-{os.getpid()}"))
attempt('file', lambda: writes(f"{t['file']}.{os.getuid()}-{os.getpid()}"))
attempt('mode', lambda: os.chmod(t['file'], 0o666) is None)
for path in ('/x', '/usr/x', '/usr/bin/x', '/etc/x', '/dev/x', '/input/x', '../stdin', '../x', '/var/tmp/x',
             '/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger'):
    if t['sandboxed']:
        attempt(path, lambda: writes(path))
""",
    "links": """
def through(link, target, make=os.symlink):
    make(target, link)
    return holds(link)
attempt('link', lambda: through('link', t['file']))
folder, name = os.path.split(t['file'])
attempt('link of a folder', lambda: os.symlink(folder, 'folder') or holds(f'folder/{name}'))
attempt('hard link', lambda: through('hard', t['file'], os.link))
attempt('link by another process', lambda: through('root', f"/proc/{t['pids'][0]}/root{t['file']}"))
attempt('moved in', lambda: os.rename(t['movable'], 'moved') is None)
""",
    "/proc": """
for pid in t['pids']:
    attempt(f'memory of {pid}', lambda: open(f'/proc/{pid}/mem', 'rb') and True)
    attempt(f'arguments of {pid}', lambda: open(f'/proc/{pid}/cmdline', 'rb').read())
    attempt(f'descriptors of {pid}', lambda: os.listdir(f'/proc/{pid}/fd'))
    attempt(f'folder of {pid}', lambda: os.listdir(f'/proc/{pid}/cwd'))
""",
    "killing and changing others": """
import resource
core = resource.RLIMIT_CORE
for pid in t['pids']:
    attempt(f'signal to {pid}', lambda: os.kill(pid, 0) is None)
    attempt(f'limit of {pid}', lambda: resource.prlimit(pid, core, resource.prlimit(pid, core)))
    attempt(f'priority of {pid}', lambda: os.setpriority(0, pid, os.getpriority(0, pid)) is None)
    attempt(f'processors of {pid}', lambda: os.sched_setaffinity(pid, os.sched_getaffinity(pid)) is None)
""",
    "rights": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if t['sandboxed']:
    attempt('namespace', lambda: libc.unshare(0x10000000) == 0)
    attempt('mount', lambda: libc.mount(b'x', os.getcwd().encode(), b'tmpfs', 0, None) == 0)
    attempt('root folder', lambda: libc.chroot(os.getcwd().encode()) == 0)
    attempt('trace', lambda: libc.ptrace(16, os.getppid(), 0, 0) == 0)
    attempt('root', lambda: os.setuid(0) is None)
    attempt('keys', lambda: libc.syscall(248, b'user', b'x', b'x', 1, -4) > 0)
    attempt('io_uring', lambda: libc.syscall(425, 1, ctypes.create_string_buffer(256)) >= 0)
else:
    print('nothing is tried without one')
""",
    "descriptors": """
here = os.getcwd()
for descriptor in range(3, 200):
    try:
        os.fstat(descriptor)
    except OSError:
        continue
    print('open', descriptor)
if not t['sandboxed']:
    print('nothing is tried without one')
""",
}


@contextmanager
def targets(folder: Path, database: str) -> Iterator[dict[str, object]]:
    """Things of this machine that anybody on it can reach, in a folder that anybody can pass through."""
    folder.chmod(0o777)
    secret, movable = folder / "secret.txt", folder / "movable.txt"
    for file in (secret, movable):
        file.write_text(SECRET)
        file.chmod(0o666)
    abstract = f"tidemill-test-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as nameless,
    ):
        udp.bind(("127.0.0.1", 0))
        named.bind(str(folder / "socket"))
        (folder / "socket").chmod(0o777)
        nameless.bind("\0" + abstract)
        for server in (named, nameless):
            server.listen()
        yield {
            "secret": SECRET,
            "port": tcp.getsockname()[1],
            "datagrams": udp.getsockname()[1],
            "socket": str(folder / "socket"),
            "abstract": abstract,
            "database": database,
            "file": str(secret),
            "folder": str(folder),
            "movable": str(movable),
        }


async def reached(sandbox, attempt: str, known: Mapping[str, object]) -> list[str]:
    """What a program reached in a sandbox."""
    from tidemill.core.execution import Interpreter, Limits, Program  # noqa: PLC0415

    told = json.dumps({**known, "sandboxed": True})
    done = await sandbox.run(
        Program(Interpreter.PYTHON, ["-c", BEGIN + ATTEMPTS[attempt], told], limits=Limits(seconds=60, cpu_seconds=60))
    )
    return done.stdout.decode().splitlines() if done.succeeded else [f"it failed: {done}"]


def reached_without(attempt: str, known: Mapping[str, object]) -> list[str]:
    """What the same program reaches without a sandbox: it is all there."""
    told = json.dumps({**known, "sandboxed": False})
    with tempfile.TemporaryDirectory(dir=str(known["folder"])) as folder:
        done = subprocess.run(
            [sys.executable, "-c", BEGIN + ATTEMPTS[attempt], told], capture_output=True, text=True, cwd=folder
        )
    return done.stdout.splitlines()


def pids(sandbox) -> list[int]:
    """The processes to aim at: this one, and the one that starts sandboxes."""
    return [os.getpid(), sandbox._launching._process.pid]


async def _main(engine: str, known: Mapping[str, object]) -> None:
    from tidemill.sandbox.engines import ENGINES  # noqa: PLC0415

    os.environ["TIDEMILL_TEST_SECRET"] = SECRET
    sandbox = await ENGINES[engine](())
    known = {**known, "pids": pids(sandbox)}
    found = {}
    for attempt in ATTEMPTS:
        inside = await reached(sandbox, attempt, known)
        found[attempt] = {"inside": inside, "without": reached_without(attempt, known)}
    await sandbox.aclose()
    print(json.dumps(found))


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    asyncio.run(_main(sys.argv[2], json.loads(sys.argv[3])))
