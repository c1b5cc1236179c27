"""What the tests share: a real PostgreSQL for all of them, a database of its own for each that asks."""

import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import hypothesis
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tidemill.settings import DatabaseSettings, Settings
from tidemill.store.database import Pool, make_pool
from tidemill.store.embedded import EmbeddedPostgres
from tidemill.store.embedded.account import choose_account
from tidemill.store.schema import migrate
from tidemill.store.secret_key import load_secret_key

# The same examples at every run, so that it passes or fails for what was changed; however busy the machine is.
# To look for new ones: pytest --hypothesis-profile=default
hypothesis.settings.register_profile(
    "same",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("same")

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """A folder of our own for the tests' files: pytest makes its usual one private again at every other run's start."""
    if config.option.basetemp is None:
        folder = Path(tempfile.mkdtemp(prefix="tidemill-tests-"))
        folder.chmod(0o711)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        config.option.basetemp = str(folder / "pytest-files")
    if getattr(config.option, "numprocesses", None) and os.geteuid() == 0:
        # Before the workers start, each of which has a server: both would make its user at once.
        choose_account(DatabaseSettings().system_user, Path(config.option.basetemp) / "absent")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The embedded server, started once, with a migrated template."""
    settings = Settings(data_dir=reachable(tmp_path_factory.mktemp("shared")) / "data")
    with EmbeddedPostgres.acquire(settings, load_secret_key(settings)) as server:
        migrate(server.url)
        yield server


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """An empty, migrated database, dropped after the test."""
    with fresh_database(postgres) as url:
        yield url


@contextmanager
def fresh_database(postgres: EmbeddedPostgres, *, migrated: bool = True) -> Iterator[str]:
    """An empty database for the block, with all tables or with none."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres.admin_url, autocommit=True) as admin:
        template = conninfo_to_dict(postgres.url)["dbname"] if migrated else "template0"
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER tidemill").format(
                sql.Identifier(name), sql.Identifier(str(template))
            )
        )
    if not migrated:  # whoever makes a database for Tidemill gives it the extension (docs/database.md)
        with psycopg.connect(_with_database(postgres.admin_url, name), autocommit=True) as admin:
            admin.execute("CREATE EXTENSION vector")
    yield _with_database(postgres.url, name)
    with psycopg.connect(postgres.admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool of connections to the test's own database."""
    async with make_pool(database_url, size=4) as opened:
        yield opened


def _with_database(url: str, name: str) -> str:
    head, _, query = url.partition("?")
    base, _, _ = head.rpartition("/")
    return f"{base}/{name}" + (f"?{query}" if query else "")


def reachable(path: Path) -> Path:
    """pytest's folders are private; the embedded server's user has to pass through them when root runs the tests."""
    for folder in (path, *path.parents):
        if folder.name.startswith(("pytest-", "popen-")):  # the latter of a worker of pytest-xdist
            folder.chmod(0o711)
    path.chmod(0o711)
    return path


_COVERAGE = "COVERAGE_PROCESS_CONFIG"
"""By which a process that a measured one starts is measured, too."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Takes the measuring of coverage off a test that is `unmeasured`, and off the processes that it starts."""
    if item.get_closest_marker("unmeasured") is None:
        return (yield)
    tracer, config = sys.gettrace(), os.environ.pop(_COVERAGE, None)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)
        if config is not None:
            os.environ[_COVERAGE] = config
