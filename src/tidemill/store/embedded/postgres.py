"""The embedded PostgreSQL as the rest of Tidemill sees it."""

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import pq

from tidemill.core.errors import Configuration, Unavailable
from tidemill.settings import Settings
from tidemill.store.embedded import cluster, server
from tidemill.store.embedded.account import ServerAccount, choose_account
from tidemill.store.embedded.binaries import installed_binaries, usable_binaries
from tidemill.store.embedded.layout import Layout
from tidemill.store.embedded.locks import OwnersLock, starting
from tidemill.store.secret_key import SecretKey

logger = logging.getLogger("tidemill.store.embedded")

SILENCE = 5.0  # seconds that a living server may take to answer before it counts as deaf


@dataclass(frozen=True, slots=True)
class EmbeddedStatus:
    """How the embedded database is.

    Attributes:
        running: whether it accepts connections.
        version: `18.4` of a running server, `18` of a stopped cluster, `None` before there is one.
        folder: PostgreSQL's own data folder.
        size_bytes: what its files take.
        uptime_seconds: since the server started; `None` when it is stopped.
    """

    running: bool
    version: str | None
    folder: Path
    size_bytes: int
    uptime_seconds: float | None


class EmbeddedPostgres:
    """A share in the data folder's server, which runs for as long as anyone holds one.

    Made by `acquire`. Every method may be called from any thread.
    """

    def __init__(self, settings: Settings, key: SecretKey, layout: Layout) -> None:
        self._settings = settings
        self._key = key
        self._layout = layout
        self._mutex = threading.RLock()
        self._share: OwnersLock | None = None

    @classmethod
    def acquire(cls, settings: Settings, key: SecretKey) -> Self:
        """Starts the server or joins a running one; returns when it accepts connections.

        Raises:
            Configuration: something that the operator has to mend; the message says what.
            Unavailable: the server does not answer.
        """
        self = cls(settings, key, Layout.of(settings, key))
        self._layout.make_folders()
        with starting(self._layout.start_lock):
            share = OwnersLock(self._layout.owners_lock)
            try:
                self._ensure_running()
            except BaseException:
                self._leave(share)
                raise
            self._share = share
        return self

    @property
    def url(self) -> str:
        """The URL of the role that the hub uses. It owns its database and is no superuser."""
        return cluster.role_url(self._layout, self._key)

    @property
    def admin_url(self) -> str:
        """The superuser's URL of the same database, for backup and restore only."""
        return cluster.role_url(self._layout, self._key, cluster.ADMIN_ROLE)

    def ensure_alive(self) -> bool:
        """Connects, and restarts the server where it is gone; true where this call had to.

        Raises:
            Configuration: this share was released, or the server can't be restarted; the message says why.
            Unavailable: it does not answer.
        """
        with self._mutex:
            if self._share is None or not self._share.is_ours:
                raise Configuration("This share in the embedded database was released.")
            self._layout.bound_log()
            if server.ping(self._layout) == pq.Ping.OK:
                return False
            with starting(self._layout.start_lock):
                return self._ensure_running()

    def release(self) -> None:
        """Gives the share back, and stops the server if it was the last. Does nothing the second time."""
        with self._mutex:
            share, self._share = self._share, None
            if share is None:
                return
            if not share.is_ours:
                share.drop()
                return
            try:
                with starting(self._layout.start_lock):
                    self._leave(share)
            finally:
                share.drop()

    def status(self) -> EmbeddedStatus:
        """How the server is now."""
        return inspect(self._settings, self._key)

    def __enter__(self) -> Self:
        """The share itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Releases it."""
        self.release()

    def _leave(self, share: OwnersLock) -> None:
        """Under the start lock: drops the share, and stops the server where it was the last."""
        try:
            if share.is_last():
                server.stop(self._layout)
                self._layout.remove_outside_sockets()
        finally:
            share.drop()

    def _ensure_running(self) -> bool:
        """Under the start lock: joins, revives or starts the server. True where it started one."""
        layout = self._layout
        version = cluster.cluster_version(layout)
        if version is not None:
            cluster.refuse_other_version(layout, version, installed_binaries())
            cluster.refuse_other_key(layout, self._key)
        started = not self._joins()
        if started:
            account = choose_account(self._settings.database.system_user, layout.cluster)
            self._start(account, is_new=version is None)
        cluster.provision(layout, self._key)
        return started

    def _joins(self) -> bool:
        """Whether a server answers, or does after a moment. One that lives without answering is ended."""
        layout = self._layout
        if server.ping(layout) == pq.Ping.OK:
            return True
        if server.postmaster(layout) is None:
            return False
        try:
            server.wait_until_ready(layout, patience=SILENCE)
        except Unavailable:
            if server.postmaster(layout) is not None:
                logger.warning("The database server runs but does not answer; restarting it.")
                server.end_processes(layout)
            return False
        return True

    def _start(self, account: ServerAccount, *, is_new: bool) -> None:
        layout = self._layout
        layout.remove_scratch()
        if account.is_other and not account.can_enter(layout.root):
            raise Configuration(
                f"PostgreSQL runs as the user {account.name}, who can't enter the data folder {layout.root}. "
                "Choose a folder that others may pass through (mode 711, with all above it), such as "
                "/var/lib/tidemill, with TIDEMILL_DATA_DIR."
            )
        binaries = usable_binaries(account, layout.binaries)
        if is_new:
            cluster.create_cluster(layout, self._key, account, binaries)
        layout.make_socket_folder(account)
        cluster.configure(layout, account)
        server.launch(layout, account, binaries.program("postgres"))
        logger.info("PostgreSQL %s runs in %s.", binaries.version, layout.cluster)


def inspect(settings: Settings, key: SecretKey) -> EmbeddedStatus:
    """How the embedded database is, without starting it.

    Raises:
        Configuration: the cluster's folder holds something else, or was made with another key.
        Unavailable: the server goes away meanwhile.
    """
    layout = Layout.of(settings, key)
    version = cluster.cluster_version(layout)
    if version is not None:
        cluster.refuse_other_key(layout, key)
    process = server.running_server(layout) if version is not None else None
    running = process is not None and server.ping(layout) == pq.Ping.OK
    if running:
        try:
            with psycopg.connect(cluster.role_url(layout, key), connect_timeout=5) as connection:
                version = connection.info.parameter_status("server_version") or version
        except psycopg.OperationalError as error:
            raise Unavailable(f"The embedded PostgreSQL went away: {error}") from error
    uptime = time.time() - process.started_at if process is not None and running else None
    return EmbeddedStatus(running, version, layout.cluster, _size(layout.cluster), uptime)


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # the server removes files as it works
            total += path.lstat().st_size
    return total
