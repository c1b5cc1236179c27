"""The embedded PostgreSQL, with real servers, real owners in processes of their own, and real kills."""

import contextlib
import multiprocessing
import os
import pwd
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import sqlalchemy

from tidemill.core.errors import Configuration, TidemillError
from tidemill.settings import DatabaseSettings, Settings
from tidemill.store.embedded import EmbeddedPostgres, binaries, inspect
from tidemill.store.embedded.account import choose_account
from tidemill.store.embedded.layout import LARGEST_LOG, Layout
from tidemill.store.embedded.locks import OwnersLock
from tidemill.store.embedded.server import postmaster, processes
from tidemill.store.secret_key import SecretKey, load_secret_key

FORK = multiprocessing.get_context("fork")
IS_ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    # Not under pytest's private folder: as root, the server's own user has to pass through.
    with tempfile.TemporaryDirectory(prefix="tm-pg-", dir=_fast_folder()) as name:
        Path(name).chmod(0o711)
        yield Path(name)


def _fast_folder() -> str | None:
    """Memory where there is a gigabyte of it and programs may run from it, else the usual place."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        return None
    found = os.statvfs(memory)
    roomy = found.f_bavail * found.f_frsize > 1 << 30
    return str(memory) if roomy and not found.f_flag & getattr(os, "ST_NOEXEC", 8) else None


@pytest.fixture(scope="module")
def template(place: Path) -> Path:
    settings = Settings(data_dir=place / "template")
    EmbeddedPostgres.acquire(settings, load_secret_key(settings)).release()
    with (settings.data_dir / "postgres" / "postgresql.conf").open("a") as file:
        file.write("fsync = off\n")  # no test here takes the power away
    return settings.data_dir


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for the deaf that are as short as the tests allow."""
    monkeypatch.setattr("tidemill.store.embedded.postgres.SILENCE", 0.5)
    monkeypatch.setattr("tidemill.store.embedded.server.ANSWER_PATIENCE", 1)
    monkeypatch.setattr("tidemill.store.embedded.server.QUIT_PATIENCE", 0.5)


class Hub:
    """A data folder, its key, and what a test does to them."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(data_dir=folder)
        self.key = load_secret_key(self.settings)
        self.layout = Layout.of(self.settings, self.key)

    def acquire(self) -> EmbeddedPostgres:
        return EmbeddedPostgres.acquire(self.settings, self.key)

    def postmaster(self) -> psutil.Process:
        process = postmaster(self.layout)
        assert process is not None
        return process

    def end(self) -> None:
        for process in processes(self.layout):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def make_hub(template: Path, place: Path) -> Iterator[Callable[[str], Hub]]:
    """Hubs in folders of any name, each a copy of one finished cluster."""
    made: list[Hub] = []

    def make(name: str) -> Hub:
        folder = place / str(len(list(place.iterdir()))) / name
        folder.parent.mkdir(parents=True, mode=0o711)
        subprocess.run(["cp", "-a", template, folder], check=True)
        made.append(Hub(folder))
        return made[-1]

    yield make
    for hub in made:
        hub.end()
        shutil.rmtree(hub.settings.data_dir)


@pytest.fixture
def hub(make_hub: Callable[[str], Hub]) -> Hub:
    return make_hub("data")


class Owner:
    """Another process that holds a share until it is told to leave, or is killed."""

    def __init__(self, hub: Hub, uid: int | None = None) -> None:
        self._ours, theirs = FORK.Pipe()
        self.process = FORK.Process(target=_own, args=(hub.settings, uid, theirs))
        self.process.start()
        theirs.close()

    def said(self) -> Any:
        assert self._ours.poll(60), "the owner said nothing"
        return self._ours.recv()

    def leave(self) -> None:
        self._ours.send("leave")
        self.process.join(60)
        assert self.process.exitcode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def _own(settings: Settings, uid: int | None, pipe: Connection) -> None:
    if uid is not None:
        become(uid)
    try:
        server = EmbeddedPostgres.acquire(settings, load_secret_key(settings))
    except TidemillError as error:
        pipe.send(error.message)
        return
    pipe.send(answer(server))
    with contextlib.suppress(EOFError):
        pipe.recv()
    server.release()


def become(uid: int) -> None:
    os.setgroups([])
    os.setgid(pwd.getpwuid(uid).pw_gid)
    os.setuid(uid)


def as_user(uid: int, act: Callable[[], Any]) -> Any:
    """What `act` returns in a forked child that has become another user; errors as their text."""
    ours, theirs = FORK.Pipe()

    def child() -> None:
        become(uid)
        try:
            theirs.send(act())
        except (TidemillError, psycopg.Error, OSError) as error:
            theirs.send(f"{type(error).__name__}: {error}")

    process = FORK.Process(target=child)
    process.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        process.join(30)


def answer(server: EmbeddedPostgres) -> int:
    with psycopg.connect(server.url, connect_timeout=10) as connection:
        return connection.execute("SELECT 1 + 1").fetchone()[0]  # type: ignore[index]


def gone(hub: Hub) -> bool:
    return not processes(hub.layout)


def row(url: str, query: str) -> tuple[Any, ...]:
    with psycopg.connect(url) as connection:
        found = connection.execute(query).fetchone()  # type: ignore[call-overload]
        assert found is not None
        return found  # type: ignore[no-any-return]


# What a new hub gets


def test_a_new_folder_gets_a_server_that_knows_vietnamese_and_vectors(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "/nowhere")
    hub = Hub(place / "new")
    with hub.acquire() as server:
        assert row(server.url, "SELECT lower('ĐƯỜNG'), '[3,4]'::vector <-> '[0,0]'") == ("đường", 5.0)
        assert row(server.url, "SELECT upper('đường'), current_user, current_database()") == (
            "ĐƯỜNG",
            "tidemill",
            "tidemill",
        )
        assert row(server.url, "SHOW server_version")[0].startswith("18.")
    assert gone(hub)


def test_the_hub_is_no_superuser_and_cannot_reach_the_machine(hub: Hub) -> None:
    with hub.acquire() as server:
        query = "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user"
        assert row(server.url, query) == (False, False, False)
        with pytest.raises(psycopg.errors.InsufficientPrivilege), psycopg.connect(server.url) as connection:
            connection.execute("COPY (SELECT 1) TO PROGRAM 'true'")
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE SCHEMA dbos")
            connection.execute("CREATE TABLE public.t (v vector(3))")
        assert row(server.admin_url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == (True,)


def test_the_url_works_in_sqlalchemy(hub: Hub) -> None:
    with hub.acquire() as server:
        engine = sqlalchemy.create_engine(server.url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT current_user").scalar() == "tidemill"
        engine.dispose()


def test_nobody_connects_without_the_password(hub: Hub) -> None:
    with hub.acquire() as server:
        for role in ("tidemill", "tidemill_admin", "postgres", "root"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(host=str(hub.layout.sockets), port=5432, user=role, dbname="tidemill", password="x")
        assert not list(hub.postmaster().net_connections("inet"))
        assert answer(server) == 2


def test_files_are_private(hub: Hub) -> None:
    with hub.acquire():
        for path in (hub.layout.cluster, hub.layout.sockets, hub.layout.run, hub.layout.log.parent):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
        for path in (hub.settings.key_file, hub.layout.log):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_status_says_what_runs_and_inspect_starts_nothing(hub: Hub) -> None:
    assert not inspect(hub.settings, hub.key).running
    with hub.acquire() as server:
        status = server.status()
        assert status.running
        assert status.version is not None
        assert status.version.startswith("18.")
        assert status.size_bytes > 10_000_000
        assert status.uptime_seconds is not None
        assert 0 <= status.uptime_seconds < 60
    stopped = inspect(hub.settings, hub.key)
    assert (stopped.running, stopped.version, stopped.uptime_seconds) == (False, "18", None)
    assert gone(hub)


# Folders


@pytest.mark.parametrize(
    "name",
    [
        "with a space",
        "Dữ liệu của tôi",
        'it\'s "quoted", $HOME `id` \\n %s',
        "/".join(["long" * 20] * 3),
    ],
)
def test_any_folder_name_will_do(make_hub: Callable[[str], Hub], name: str) -> None:
    if "/" in name:
        hub = make_hub("x")
        target = hub.settings.data_dir.parent / name
        target.parent.mkdir(parents=True)
        hub.settings.data_dir.rename(target)
        hub.settings = Settings(data_dir=target)
        hub.layout = Layout.of(hub.settings, hub.key)
    else:
        hub = make_hub(name)
    with hub.acquire() as server:
        assert answer(server) == 2
        assert len(os.fsencode(hub.layout.sockets)) < 90
    assert gone(hub)
    assert hub.layout.sockets.parent == hub.layout.root or not hub.layout.sockets.exists()


def test_a_folder_reached_through_a_link_is_the_same_hub(hub: Hub) -> None:
    link = hub.settings.data_dir.with_name("link")
    link.symlink_to(hub.settings.data_dir)
    with hub.acquire() as first, EmbeddedPostgres.acquire(Settings(data_dir=link), hub.key) as second:
        assert first.url == second.url


def test_a_folder_with_room_for_nothing_is_left_without_half_a_cluster(place: Path) -> None:
    settings = Settings(data_dir=place / "full")

    def act() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            EmbeddedPostgres.acquire(settings, load_secret_key(settings))
        except Configuration as error:
            return error.message
        return "started"

    assert "A new database can't be made" in as_user(os.geteuid(), act)
    assert not (settings.data_dir / "postgres").exists()
    assert not list(settings.data_dir.glob("postgres-new-*"))
    with EmbeddedPostgres.acquire(settings, load_secret_key(settings)) as server:
        assert answer(server) == 2


def test_what_an_interrupted_creation_left_is_removed(hub: Hub) -> None:
    leftover = hub.settings.data_dir / "postgres-new-0000"
    leftover.mkdir()
    (leftover / "password").write_text("x")
    with hub.acquire():
        assert not leftover.exists()


def test_a_cluster_of_another_postgresql_is_refused(hub: Hub) -> None:
    (hub.layout.cluster / "PG_VERSION").write_text("17\n")
    with pytest.raises(Configuration, match="made by PostgreSQL 17"):
        hub.acquire()
    assert gone(hub)


def test_a_folder_that_is_no_cluster_is_refused(hub: Hub) -> None:
    (hub.layout.cluster / "PG_VERSION").unlink()
    with pytest.raises(Configuration, match="no PostgreSQL cluster"):
        hub.acquire()


@pytest.mark.parametrize("checked", [True, False])
def test_another_key_is_refused_and_no_server_stays(hub: Hub, checked: bool) -> None:
    if not checked:
        (hub.layout.cluster / "tidemill.key-check").unlink()
    with pytest.raises(Configuration, match="secret key is not the one"):
        EmbeddedPostgres.acquire(hub.settings, SecretKey("0" * 64))
    assert gone(hub)


def test_another_key_does_not_disturb_a_running_hub(make_hub: Callable[[str], Hub]) -> None:
    hub = make_hub("with a space")  # its socket's folder depends on the key
    with hub.acquire() as server:
        before = hub.postmaster()
        with pytest.raises(Configuration, match="secret key is not the one"):
            EmbeddedPostgres.acquire(hub.settings, SecretKey("0" * 64))
        assert hub.postmaster() == before
        assert answer(server) == 2


def test_a_server_that_cannot_start_says_why(hub: Hub) -> None:
    with (hub.layout.cluster / "postgresql.conf").open("a") as file:
        file.write("shared_buffers = 'plenty'\n")
    with pytest.raises(Configuration, match="shared_buffers"):
        hub.acquire()


# Crashes


@pytest.mark.parametrize("content", ["", "12", "not a number\n", "999999\n/nowhere\n0\n5432\n"])
def test_a_stale_or_broken_pid_file_does_not_stop_a_start(hub: Hub, content: str) -> None:
    (hub.layout.cluster / "postmaster.pid").write_text(content)
    with hub.acquire() as server:
        assert answer(server) == 2


def test_a_pid_file_that_names_another_live_process_does_not_stop_a_start(hub: Hub) -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        content = f"{other.pid}\n{hub.layout.cluster}\n0\n5432\n{hub.layout.sockets}\n\n\n"
        (hub.layout.cluster / "postmaster.pid").write_text(content)
        hub.layout.make_socket_folder(choose_account("tidemill", hub.layout.cluster))
        (hub.layout.sockets / ".s.PGSQL.5432.lock").write_text(content)
        with hub.acquire() as server:
            assert answer(server) == 2
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_killed_server_comes_back_with_its_rows(hub: Hub) -> None:
    with hub.acquire() as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        assert not server.ensure_alive()
        hub.postmaster().kill()
        assert server.ensure_alive()
        assert not server.ensure_alive()
        assert row(server.url, "SELECT n FROM kept") == (7,)


def test_a_killed_server_whose_children_still_work_comes_back(hub: Hub, impatience: None) -> None:
    with hub.acquire() as server:
        busy = psycopg.connect(server.url)
        backend = busy.info.backend_pid
        os.kill(backend, signal.SIGSTOP)  # a child that can't notice that its parent is gone
        hub.postmaster().kill()
        assert server.ensure_alive()
        assert not psutil.pid_exists(backend)
        assert answer(server) == 2
        busy.close()


def test_whichever_owner_looks_first_revives_the_server(hub: Hub) -> None:
    with hub.acquire() as first, hub.acquire() as second:
        hub.postmaster().kill()
        assert second.ensure_alive()
        assert not first.ensure_alive()
        assert answer(first) == 2


def test_a_server_that_hangs_is_replaced(hub: Hub, impatience: None) -> None:
    with hub.acquire() as server:
        hung = hub.postmaster()
        hung.suspend()
        assert server.ensure_alive()
        assert not hung.is_running()
        assert answer(server) == 2


def test_a_server_that_is_just_stopping_is_followed_by_a_new_one(hub: Hub) -> None:
    owner = Owner(hub)
    assert owner.said() == 2
    owner.kill()
    hub.postmaster().send_signal(signal.SIGINT)
    with hub.acquire() as server:
        assert answer(server) == 2
    assert gone(hub)


def test_a_server_whose_socket_was_cleaned_away_is_replaced(hub: Hub, impatience: None) -> None:
    with hub.acquire() as server:
        shutil.rmtree(hub.layout.sockets)
        assert server.ensure_alive()
        assert answer(server) == 2


def test_a_crowded_server_counts_as_alive(hub: Hub) -> None:
    with hub.acquire() as server, contextlib.ExitStack() as stack:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(contextlib.closing(psycopg.connect(server.url)))
        assert not server.ensure_alive()


def test_no_zombie_is_left_when_the_server_dies(hub: Hub) -> None:
    with hub.acquire() as server:
        pid = hub.postmaster().pid
        os.kill(pid, signal.SIGKILL)
        server.ensure_alive()
        deadline = time.monotonic() + 5
        while psutil.pid_exists(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not psutil.pid_exists(pid)


# Owners


def test_the_server_stays_until_the_last_of_two_owners_leaves(hub: Hub) -> None:
    owner = Owner(hub)
    assert owner.said() == 2
    server = hub.acquire()
    owner.leave()
    assert answer(server) == 2
    server.release()
    server.release()
    assert gone(hub)
    with pytest.raises(Configuration, match="released"):
        server.ensure_alive()


def test_processes_that_start_at_once_share_one_server(hub: Hub) -> None:
    owners = [Owner(hub) for _ in range(4)]
    assert [owner.said() for owner in owners] == [2] * 4
    assert len([one for one in processes(hub.layout) if "-D" in one.cmdline()]) == 1
    for owner in owners:
        owner.leave()
    assert gone(hub)


def test_a_killed_owners_server_survives_and_stops_with_the_next_owner(hub: Hub) -> None:
    owner = Owner(hub)
    assert owner.said() == 2
    before = hub.postmaster()
    owner.kill()
    with hub.acquire() as server:
        assert hub.postmaster() == before
        assert answer(server) == 2
    assert gone(hub)


def test_a_forked_copy_of_an_owner_cannot_stop_the_server(hub: Hub) -> None:
    with hub.acquire() as server:
        child = FORK.Process(target=server.release)
        child.start()
        child.join(20)
        assert child.exitcode == 0
        assert answer(server) == 2
    assert gone(hub)


def test_an_owner_that_was_killed_while_starting_does_not_block_the_next(hub: Hub) -> None:
    owner = Owner(hub)
    time.sleep(0.05)
    owner.kill()
    with hub.acquire() as server:
        assert answer(server) == 2
    assert gone(hub)


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(hub: Hub) -> None:
    with hub.acquire():
        process = hub.postmaster()
        assert os.getsid(process.pid) != os.getsid(0)
        assert os.getpgid(process.pid) != os.getpgrp()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_server_holds_nothing_of_ours_open(hub: Hub) -> None:
    share = OwnersLock(hub.settings.run_dir / "other.lock")
    with hub.acquire():
        folder = Path(f"/proc/{hub.postmaster().pid}/fd")
        names = [str(path.readlink()) for path in folder.iterdir()]
        assert not [name for name in names if ".lock" in name and "PGSQL" not in name]
        assert {str((folder / str(number)).readlink()) for number in (1, 2)} == {str(hub.layout.log)}
        environment = Path(f"/proc/{hub.postmaster().pid}/environ").read_bytes()
        assert hub.key.value.encode() not in environment
    share.drop()


def test_a_long_log_is_moved_aside_while_the_server_runs(hub: Hub) -> None:
    with hub.acquire() as server:
        with hub.layout.log.open("ab") as file:
            file.truncate(LARGEST_LOG + 1)
        server.ensure_alive()
        assert hub.layout.log.stat().st_size < LARGEST_LOG
        assert hub.layout.log.with_suffix(".log.1").stat().st_size > LARGEST_LOG
    assert "shut down" in hub.layout.log.read_text()


# The key


def test_the_key_is_made_once_and_never_shown(place: Path) -> None:
    settings = Settings(data_dir=place / "keys")
    key = load_secret_key(settings)
    assert load_secret_key(settings) == key
    assert stat.S_IMODE(settings.key_file.stat().st_mode) == 0o600
    assert key.value not in repr(key)
    assert key.derive("a") != key.derive("b")
    assert len(bytes.fromhex(key.derive("a"))) == 32
    assert [path.name for path in settings.data_dir.iterdir()] == ["secret.key"]


def test_processes_that_make_the_key_at_once_read_the_same(place: Path) -> None:
    settings = Settings(data_dir=place / "raced")
    with FORK.Pool(4) as pool:
        keys = pool.map(load_secret_key, [settings] * 16, chunksize=1)
    assert len(set(keys)) == 1


def test_data_without_its_key_is_not_given_a_new_one(hub: Hub) -> None:
    hub.settings.key_file.unlink()
    with pytest.raises(Configuration, match=r"key file .* is missing"):
        load_secret_key(hub.settings)
    assert not hub.settings.key_file.exists()


def test_a_short_or_open_key_file_is_refused(place: Path) -> None:
    settings = Settings(data_dir=place / "short")
    load_secret_key(settings)
    settings.key_file.chmod(0o644)
    with pytest.raises(Configuration, match="chmod 600"):
        load_secret_key(settings)
    settings.key_file.chmod(0o600)
    settings.key_file.write_text("")
    with pytest.raises(Configuration, match="0 characters"):
        load_secret_key(settings)


def test_a_key_in_the_environment_wins_and_leaves_no_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_SECRET_KEY", "e" * 64)
    settings = Settings(data_dir=place / "env")
    assert load_secret_key(settings).value == "e" * 64
    assert not settings.data_dir.exists()


def test_an_empty_key_in_the_environment_counts_as_not_set(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_SECRET_KEY", "")
    settings = Settings(data_dir=place / "no env")
    key = load_secret_key(settings)
    assert settings.key_file.read_text("ascii").strip() == key.value


# Root and others


@pytest.fixture
def needs_root() -> None:
    if not IS_ROOT or sys.platform != "linux":
        pytest.skip("needs root on Linux, to become other users")


@pytest.fixture
def plain_user(needs_root: None) -> int:
    return pwd.getpwnam("nobody").pw_uid


@pytest.mark.needs_root
@pytest.mark.usefixtures("needs_root")
def test_root_runs_the_server_as_a_plain_user_and_keeps_its_secrets(hub: Hub) -> None:
    with hub.acquire():
        assert hub.postmaster().uids().real == hub.postmaster().uids().saved == pwd.getpwnam("tidemill").pw_uid
        assert 0 not in hub.postmaster().gids()
        assert Path(f"/proc/{hub.postmaster().pid}/status").read_text().split("Groups:")[1].split("\n")[0].strip() == ""
        assert hub.settings.key_file.stat().st_uid == 0
        assert stat.S_IMODE(hub.settings.data_dir.stat().st_mode) == 0o711


@pytest.mark.needs_root
def test_another_user_of_the_machine_cannot_connect(hub: Hub, plain_user: int) -> None:
    with hub.acquire() as server:
        assert "Permission denied" in as_user(plain_user, lambda: row(server.url, "SELECT 1"))


@pytest.mark.needs_root
def test_a_plain_user_runs_a_server_of_their_own(place: Path, plain_user: int) -> None:
    home = place / "home"
    home.mkdir()
    os.chown(home, plain_user, -1)
    settings = Settings(data_dir=home / "dữ liệu")

    def act() -> tuple[Any, ...]:
        with EmbeddedPostgres.acquire(settings, load_secret_key(settings)) as server:
            layout = Layout.of(settings, load_secret_key(settings))
            first = row(server.url, "SELECT current_user, lower('ĐƯỜNG')")
            process = postmaster(layout)
            assert process is not None
            owner = process.uids().real
            process.kill()
            return (*first, owner, server.ensure_alive())

    assert as_user(plain_user, act) == ("tidemill", "đường", plain_user, True)
    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700
    with EmbeddedPostgres.acquire(settings, load_secret_key(settings)) as server:  # root joins another's hub
        assert answer(server) == 2
        assert server.status().running
    assert not [path for path in settings.data_dir.rglob("*") if path.lstat().st_uid != plain_user]
    assert as_user(plain_user, act)[-1] is True


@pytest.mark.needs_root
def test_a_plain_user_is_told_that_the_folder_is_anothers(hub: Hub, plain_user: int) -> None:
    message = as_user(plain_user, lambda: EmbeddedPostgres.acquire(hub.settings, hub.key).url)
    assert message.startswith("Configuration: ")
    assert str(hub.settings.data_dir) in message


@pytest.mark.needs_root
@pytest.mark.usefixtures("needs_root")
def test_a_folder_that_the_server_cannot_reach_is_refused_and_no_mode_is_changed(place: Path) -> None:
    private = place / "private"
    private.mkdir(mode=0o700)
    settings = Settings(data_dir=private / "data")
    with pytest.raises(Configuration, match="who can't enter the data folder"):
        EmbeddedPostgres.acquire(settings, load_secret_key(settings))
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert not (settings.data_dir / "postgres").exists()


@pytest.mark.needs_root
@pytest.mark.usefixtures("needs_root")
def test_programs_in_a_closed_folder_are_copied_where_the_server_can_run_them(
    hub: Hub, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    source = binaries.installed_binaries().folder.parents[1]
    shutil.copytree(source, closed / source.name, ignore=shutil.ignore_patterns("pginstall", "include", "*.a"))
    libraries = source.with_name(f"{source.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, closed / libraries.name)
    monkeypatch.syspath_prepend(str(closed))
    monkeypatch.delitem(sys.modules, source.name, raising=False)
    with hub.acquire() as server:
        assert answer(server) == 2
        assert hub.postmaster().exe().startswith(str(hub.layout.binaries.resolve()))
        assert row(server.url, "SELECT '[1,2]'::vector <-> '[1,2]'") == (0.0,)
    with hub.acquire() as server:
        assert answer(server) == 2
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.needs_root
@pytest.mark.usefixtures("needs_root")
def test_a_missing_system_user_is_made_and_said(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = f"tm-test-{os.getpid()}"
    try:
        with caplog.at_level("INFO"):
            account = choose_account(name, place / "absent")
        assert account.uid == pwd.getpwnam(name).pw_uid != 0
        assert f"Made the system user {name}" in caplog.text
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)


@pytest.mark.needs_root
@pytest.mark.usefixtures("needs_root")
def test_a_system_user_that_cannot_be_is_refused(place: Path) -> None:
    for name, reason in (("root", "which is root"), ("not:a:name", "failed")):
        settings = Settings(data_dir=place / "refused", database=DatabaseSettings(system_user=name))
        with pytest.raises(Configuration, match=reason):
            EmbeddedPostgres.acquire(settings, load_secret_key(settings))
