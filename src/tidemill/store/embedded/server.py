"""The server's processes: found by their working folder, judged by connecting, stopped by signals.

`postmaster.pid` is never believed: it may be stale, cut short, or name a process that has since become another's.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import psutil
from psycopg import pq

from tidemill.core.errors import Configuration, Unavailable
from tidemill.store.embedded.account import ServerAccount
from tidemill.store.embedded.layout import PORT, Layout

logger = logging.getLogger("tidemill.store.embedded")

START_PATIENCE = 60.0  # seconds without an answer of any kind
RECOVERY_PATIENCE = 900.0  # seconds of crash recovery, during which it answers that it is not ready
STOP_PATIENCE = 30.0
QUIT_PATIENCE = 3.0
ANSWER_PATIENCE = 3


def ping(layout: Layout) -> pq.Ping:
    """Whether a server behind the socket accepts connections, refuses them for now, or does not answer."""
    conninfo = f"host={layout.sockets} port={PORT} dbname=postgres user=ping connect_timeout={ANSWER_PATIENCE}"
    return pq.Ping(pq.PGconn.ping(conninfo.encode()))


def processes(layout: Layout) -> list[psutil.Process]:
    """Every live PostgreSQL process whose working folder is the cluster."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.name().startswith("postgres") and Path(process.cwd()).samefile(layout.cluster):
                found.append(process)
    return found


def postmaster(layout: Layout) -> psutil.Process | None:
    """The live parent of the server's processes; none where only children of a killed one are left."""
    group = processes(layout)
    pids = {process.pid for process in group}
    for process in group:
        with contextlib.suppress(psutil.Error):
            title = process.cmdline()
            if process.ppid() not in pids and "-D" in title:
                return process
    return None


def launch(layout: Layout, account: ServerAccount, postgres: Path) -> None:
    """Starts the server, and returns when it accepts connections.

    Raises:
        Configuration: it ended at once; the message holds its own last words.
        Unavailable: it neither ended nor answered.
    """
    _clear_leftovers(layout)
    layout.bound_log()
    with layout.open_log() as log:
        before = log.seek(0, os.SEEK_END)
        child = account.start([postgres, "-D", layout.cluster], log)
    # The server outlives or predeceases us; whichever it is, nobody else will collect its exit status.
    threading.Thread(target=child.wait, name="postgres-exit", daemon=True).start()
    try:
        wait_until_ready(layout, child=child)
    except Configuration as error:
        raise Configuration(
            f"The embedded PostgreSQL in {layout.cluster} does not start: {layout.last_words(before)} "
            f"The whole log is {layout.log}."
        ) from error


def wait_until_ready(layout: Layout, *, child: "Popen[bytes] | None" = None, patience: float = START_PATIENCE) -> None:
    """Waits until the server accepts connections; as long as it takes while it says that it is recovering.

    Raises:
        Configuration: `child` ended.
        Unavailable: no answer within `patience` seconds, or the server is gone.
    """
    started = time.monotonic()
    told = started
    while True:
        answer = ping(layout)
        if answer == pq.Ping.OK:
            return
        if child is not None and child.poll() is not None:
            raise Configuration(f"PostgreSQL ended with status {child.returncode}.")
        if child is None and answer == pq.Ping.NO_RESPONSE and postmaster(layout) is None:
            raise Unavailable("The embedded PostgreSQL has stopped.")
        now = time.monotonic()
        if now - started > (RECOVERY_PATIENCE if answer == pq.Ping.REJECT else patience):
            raise Unavailable(
                f"The embedded PostgreSQL has not answered for {now - started:.0f} seconds. Its log is {layout.log}."
            )
        if now - told > 5:
            logger.info("Waiting for the database, which is starting or recovering (%.0f s).", now - started)
            told = now
        time.sleep(0.02)


def stop(layout: Layout) -> None:
    """Stops the server: connections are ended and everything is written; after 30 seconds it is made to.

    Raises:
        Unavailable: processes remain that can't be ended.
    """
    group = processes(layout)
    parent = postmaster(layout)
    if parent is not None:
        for number, patience in ((signal.SIGINT, STOP_PATIENCE), (signal.SIGQUIT, 10.0)):
            with contextlib.suppress(psutil.NoSuchProcess):
                parent.send_signal(number)
            if not psutil.wait_procs([*group, parent], timeout=patience)[1]:
                return
            logger.warning("The database did not stop within %.0f seconds; stopping it harder.", patience)
    end_processes(layout)


def end_processes(layout: Layout) -> None:
    """Ends what is left of a server that is gone or deaf: asks, then kills.

    Raises:
        Unavailable: processes remain that can't be ended.
    """
    for number, patience in ((signal.SIGQUIT, QUIT_PATIENCE), (signal.SIGKILL, 10.0)):
        left = processes(layout)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        _, left = psutil.wait_procs(left, timeout=patience)
        if not left and not processes(layout):
            return
    pids = ", ".join(str(process.pid) for process in processes(layout))
    raise Unavailable(f"Old PostgreSQL processes still use {layout.cluster} and can't be ended: {pids}.")


def _clear_leftovers(layout: Layout) -> None:
    """Makes sure that no process uses the cluster, then removes what would keep a new server from starting.

    PostgreSQL itself would refuse when the pid in these files belongs to any live process. Removing them is sound
    only because it has been established that no process works in the cluster.
    """
    if processes(layout):
        logger.warning("Ending processes that a killed database server left behind.")
        end_processes(layout)
    for path in (
        layout.cluster / "postmaster.pid",
        layout.sockets / f".s.PGSQL.{PORT}",
        layout.sockets / f".s.PGSQL.{PORT}.lock",
    ):
        path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """The server as it runs: its process and the Unix time at which it started."""

    pid: int
    started_at: float


def running_server(layout: Layout) -> RunningServer | None:
    """The live server's process, where there is one."""
    process = postmaster(layout)
    if process is None:
        return None
    try:
        return RunningServer(process.pid, process.create_time())
    except psutil.Error:
        return None
