"""What is inside the cluster: its creation, its configuration, its two roles and its one database."""

import contextlib
import logging
import secrets
import shutil
import sys
from collections.abc import Iterator
from urllib.parse import quote

import psycopg
from psycopg import sql

from tidemill.core.errors import Configuration, Unavailable
from tidemill.store.embedded.account import ServerAccount
from tidemill.store.embedded.binaries import PostgresBinaries
from tidemill.store.embedded.layout import PORT, Layout
from tidemill.store.secret_key import SecretKey

logger = logging.getLogger("tidemill.store.embedded")

ROLE = "tidemill"
ADMIN_ROLE = "tidemill_admin"
DATABASE = "tidemill"
SETTINGS_FILE = "tidemill.conf"
KEY_CHECK = "tidemill.key-check"

SETTINGS = """\
# Written by Tidemill at every start: changes here are lost. Put your own after the include in postgresql.conf.
listen_addresses = ''
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 60
shared_buffers = 64MB
maintenance_work_mem = 64MB
max_wal_size = 512MB
wal_level = minimal
max_wal_senders = 0
fsync = on
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
logging_collector = off
log_destination = 'stderr'
log_line_prefix = '%m [%p] '
log_min_messages = warning
log_statement = 'none'
log_checkpoints = off
# Details of an error can hold what people wrote to a model.
log_error_verbosity = terse
log_min_error_statement = panic
"""


def role_url(layout: Layout, key: SecretKey, role: str = ROLE, database: str = DATABASE) -> str:
    """A `postgresql://` URL of the socket, for libpq and for SQLAlchemy alike."""
    where = f"host={quote(str(layout.sockets), safe='')}&port={PORT}"
    return f"postgresql://{role}:{password(key, role)}@/{database}?{where}"


def password(key: SecretKey, role: str) -> str:
    """The role's password, which is stored nowhere: 64 hexadecimal digits."""
    return key.derive(f"postgres role {role}")


def create_cluster(layout: Layout, key: SecretKey, account: ServerAccount, binaries: PostgresBinaries) -> None:
    """Makes a new cluster beside its place and moves it there whole: a failure leaves none.

    Raises:
        Configuration: initdb failed, such as on a full disk; the message holds its own words.
    """
    logger.info("Making a new PostgreSQL %s database in %s.", binaries.version, layout.cluster)
    scratch = layout.root / f"postgres-new-{secrets.token_hex(4)}"
    try:
        scratch.mkdir(mode=0o700)
        account.own(scratch)
        cluster, pwfile = scratch / "cluster", scratch / "password"
        account.write(pwfile, password(key, ADMIN_ROLE) + "\n")
        # Lower-casing and sorting come from PostgreSQL itself. The system's locale of that name, which text search
        # asks what a letter is, is missing on macOS.
        locale = ["--locale=C", "--builtin-locale=C.UTF-8"] if sys.platform == "darwin" else ["--locale=C.UTF-8"]
        names = [f"--pgdata={cluster}", f"--username={ADMIN_ROLE}", f"--pwfile={pwfile}"]
        kinds = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", *locale]
        result = account.run([binaries.program("initdb"), *names, *kinds], timeout=300)
        if result.returncode:
            raise Configuration(f"A new database can't be made in {layout.root}: {_last_line(result.stderr)}")
        main = account.run(["/bin/cat", cluster / "postgresql.conf"]).stdout
        account.write(cluster / "postgresql.conf", f"{main}\ninclude '{SETTINGS_FILE}'\n")
        account.write(cluster / KEY_CHECK, _key_check(key))
        cluster.rename(layout.cluster)
    except OSError as error:
        raise Configuration(f"A new database can't be made in {layout.root}: {error.strerror}.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def cluster_version(layout: Layout) -> str | None:
    """The major version that made the cluster; `None` where there is no cluster.

    Raises:
        Configuration: a folder is in its place that is no cluster, or it can't be read.
    """
    try:
        if not layout.cluster.exists():
            return None
        return (layout.cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Configuration(
            f"The folder {layout.cluster} is no PostgreSQL cluster of ours ({error}). Restore a backup elsewhere."
        ) from error


def refuse_other_version(layout: Layout, version: str, binaries: PostgresBinaries) -> None:
    """Raises Configuration where the cluster was made by another major version."""
    if version != binaries.major:
        raise Configuration(
            f"The database in {layout.cluster} was made by PostgreSQL {version}, and this is PostgreSQL "
            f"{binaries.version}. Back up with the Tidemill that made it, and restore into a new data folder."
        )


def refuse_other_key(layout: Layout, key: SecretKey) -> None:
    """Raises Configuration where the cluster was made with another key, before anything is started or joined."""
    try:
        expected = (layout.cluster / KEY_CHECK).read_text(encoding="utf-8")
    except FileNotFoundError:
        return  # `provision` will tell
    if expected != _key_check(key):
        raise Configuration(_wrong_key(layout))


def configure(layout: Layout, account: ServerAccount) -> None:
    """Writes the settings, which hold the socket's folder: the data folder may have moved since."""
    account.write(layout.cluster / SETTINGS_FILE, SETTINGS.format(port=PORT, sockets=layout.sockets))


def provision(layout: Layout, key: SecretKey) -> None:
    """Makes the role, the database and the extension where they are missing; updates an older extension.

    Raises:
        Configuration: the key is not the one that the cluster was made with.
        Unavailable: the server went away.
    """
    try:
        with _connect(layout, key, "postgres") as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
                statement = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {}")
                connection.execute(statement.format(sql.Identifier(ROLE), sql.Literal(password(key, ROLE))))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                statement = sql.SQL("CREATE DATABASE {} OWNER {}")
                connection.execute(statement.format(sql.Identifier(DATABASE), sql.Identifier(ROLE)))
        with _connect(layout, key, DATABASE) as connection:
            connection.execute("SET client_min_messages = warning")
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            outdated = (
                "SELECT 1 FROM pg_available_extensions "
                "WHERE name = 'vector' AND installed_version IS DISTINCT FROM default_version"
            )
            if connection.execute(outdated).fetchone():
                connection.execute("ALTER EXTENSION vector UPDATE")
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise Configuration(_wrong_key(layout)) from error
        raise Unavailable(f"The embedded PostgreSQL went away: {error}") from error


@contextlib.contextmanager
def _connect(layout: Layout, key: SecretKey, database: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    url = role_url(layout, key, ADMIN_ROLE, database)
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        yield connection


def _key_check(key: SecretKey) -> str:
    return key.derive("which key made this cluster") + "\n"


def _wrong_key(layout: Layout) -> str:
    return (
        f"The secret key is not the one with which the database in {layout.cluster} was made. "
        "Put the right key file back from a backup, or set TIDEMILL_SECRET_KEY to its content."
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if "error" in line or "could not" in line or "FATAL" in line]
    return (lines or text.splitlines() or ["it said nothing"])[-1].strip()
