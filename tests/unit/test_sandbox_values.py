"""What surrounds the sandbox: the scripted one, its settings, its filters and limits, and what it gives back."""

import io
import os
import resource
import struct
import tarfile

import pytest
from pydantic import ValidationError

from tidemill.app.sandbox import limits_of, sandbox_of
from tidemill.core.errors import Configuration, InvalidInput
from tidemill.core.execution import Interpreter, Limits, Program
from tidemill.sandbox import limiting
from tidemill.sandbox.engines import ENGINES, opened
from tidemill.sandbox.outputs import files_in, files_of
from tidemill.sandbox.scripted import ScriptedSandbox, exited
from tidemill.sandbox.seccomp import machine_filter, supervisor_filter
from tidemill.sandbox.staging import remove
from tidemill.sandbox.watching import MOST_FILES, use_of_tree
from tidemill.settings import Settings
from tidemill.settings.sandbox import SandboxSettings

NOTHING = Program(Interpreter.SHELL, ["-c", ":"])


async def test_the_scripted_sandbox_answers_as_it_was_told_and_remembers_what_it_was_asked():
    def answer(program: Program):
        if program.arguments == ["bad"]:
            raise InvalidInput("no")
        return exited(stdout=b"green")

    sandbox = ScriptedSandbox(answer)
    good, bad = await sandbox.run_all([NOTHING, Program(Interpreter.SHELL, ["bad"])])
    assert (good.succeeded, good.stdout, type(bad)) == (True, b"green", InvalidInput)
    assert sandbox.asked[0] == NOTHING


async def test_a_sandbox_that_nobody_used_opens_and_closes_nothing():
    await sandbox_of(SandboxSettings()).aclose()


def test_each_limit_can_be_set():
    settings = SandboxSettings(seconds=3, cpu_seconds=2, memory_bytes=2**26, processes=9, output_bytes=2048,
                               files_bytes=2**21, open_files=20)  # fmt: skip
    assert limits_of(settings) == Limits(3, 2, 2**26, 9, 2048, 2**21, 20)


def test_an_engine_that_there_is_not_is_refused():
    with pytest.raises(ValidationError, match="engine"):
        SandboxSettings(engine="subprocess")
    names = SandboxSettings.model_fields["engine"].annotation.__args__
    assert set(names) == {"auto", *ENGINES}


@pytest.mark.parametrize("folder", ["/", "/srv", "/srv/data", "/srv/data/blobs"])
def test_a_program_is_never_shown_the_data_folder(folder):
    with pytest.raises(ValidationError, match="holds the data folder"):
        Settings(data_dir="/srv/data", sandbox={"readable": [folder]})
    assert Settings(data_dir="/srv/data", sandbox={"readable": ["/srv/tools"]})


async def test_on_another_system_nothing_runs(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(Configuration, match="Linux alone"):
        await opened(None, 1)


def verdict(rules: bytes, architecture: int, number: int, first: int = 0) -> int:
    """What the kernel would do with a call: the filter's classic BPF, run by hand."""
    program = [struct.unpack_from("=HBBI", rules, at) for at in range(0, len(rules), 8)]
    data, loaded, at = {0: number, 4: architecture, 16: first}, 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == 0x20:
            loaded = data[value]
        elif code == 0x06:
            return value
        else:
            at += if_true if (loaded == value if code == 0x15 else loaded >= value) else if_false


X86, ARM, ALLOWED, REFUSED = 0xC000003E, 0xC00000B7, 0x7FFF0000, 0x00050001


@pytest.mark.parametrize(
    ("machine", "architecture", "read", "socket", "unshare", "prlimit", "setpriority"),
    [("x86_64", X86, 0, 41, 272, 302, 141), ("aarch64", ARM, 63, 198, 97, 261, 140)],
)
def test_the_filters_refuse_what_they_name_and_nothing_else(
    machine, architecture, read, socket, unshare, prlimit, setpriority
):
    rules, inner = machine_filter(machine), supervisor_filter(machine)
    assert verdict(rules, architecture, read) == verdict(inner, architecture, read) == ALLOWED
    assert verdict(rules, architecture, unshare) == REFUSED
    assert [verdict(rules, architecture, socket, family) for family in (1, 2, 10, 16, 40)] == [ALLOWED] * 3 + [
        REFUSED
    ] * 2
    assert verdict(inner, architecture, socket, 1) == REFUSED
    assert [verdict(inner, architecture, prlimit, pid) for pid in (0, 1)] == [ALLOWED, REFUSED]
    assert verdict(inner, architecture, setpriority) == REFUSED
    for each in (rules, inner):
        assert verdict(each, X86 if machine == "aarch64" else ARM, read) == 0x80000000
    if machine == "x86_64":
        assert verdict(rules, architecture, 0x40000000) == verdict(inner, architecture, 0x40000000 + 41) == REFUSED


def test_on_another_processor_there_is_no_filter():
    assert machine_filter("riscv64") is supervisor_filter("riscv64") is None


def test_limits_are_rounded_up_to_what_a_shell_counts_in():
    words = limiting.words(Limits(memory_bytes=1025, files_bytes=513), processes=False)
    assert "ulimit -d 2 " in words
    assert "ulimit -f 2 " in words
    assert "ulimit -p" not in words


def test_an_archive_gives_back_only_whole_regular_files_that_were_wanted():
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, kind in (("./a", tarfile.REGTYPE), ("./b", tarfile.REGTYPE), ("./link", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, "/etc/passwd", 3 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"xyz"))
    assert files_of(archive.getvalue(), ["a", "link", "none"], 100) == {"a": b"xyz"}
    assert files_of(archive.getvalue(), ["a", "b"], 5) == {"a": b"xyz"}
    assert files_of(archive.getvalue()[:514], ["a"], 100) == {}
    assert files_of(b"no archive at all" * 100, ["a"], 100) == {}


def test_an_archive_whose_headers_lie_gives_nothing_back_and_takes_no_memory():
    kilobytes = 256_000
    for kind, fields in (
        (tarfile.GNUTYPE_SPARSE, {}),
        (tarfile.REGTYPE, {"GNU.sparse.major": "0", "GNU.sparse.size": str(kilobytes * 1024), "GNU.sparse.map": "0,0"}),
    ):
        member = tarfile.TarInfo("./a")
        member.type, member.pax_headers = kind, fields
        header = bytearray(member.tobuf(tarfile.PAX_FORMAT if fields else tarfile.GNU_FORMAT))
        if not fields:
            header[483:495] = b"%011o\0" % (kilobytes * 1024)  # the size that a sparse file says it has
            header[148:156] = b"        "
            header[148:156] = b"%06o\0 " % sum(header)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert files_of(bytes(header) + bytes(1024), ["a"], 1 << 40) == {}
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < kilobytes / 2
    nested = tarfile.TarInfo("./x")
    nested.type = tarfile.XHDTYPE
    assert files_of(nested.tobuf(tarfile.USTAR_FORMAT) * 3000, ["a"], 100) == {}


def test_a_folder_gives_back_only_regular_files_within_the_limit_and_through_no_link(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "b")
    (tmp_path / "way").symlink_to(tmp_path / "in")
    os.mkfifo(tmp_path / "pipe")
    wanted = ["in/a", "b", "link", "way/a", "pipe", "in", "none"]
    assert files_in(tmp_path, wanted, 100) == {"in/a": b"12345", "b": b"12345"}
    assert files_in(tmp_path, wanted, 7) == {"in/a": b"12345"}


def test_what_is_nested_too_deeply_to_look_at_counts_as_too_much_and_can_be_deleted(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("folder-name", dir_fd=here)
        below = os.open("folder-name", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert use_of_tree(os.getpid(), tmp_path).files > MOST_FILES
    remove(tmp_path)
    assert not tmp_path.exists()
