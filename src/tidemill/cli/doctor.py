"""`tidemill doctor`: each thing that can be missing, and how to mend it."""

import asyncio
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata

import psutil
import psycopg
import typer

from tidemill.cli.output import Json, human_bytes, print_json
from tidemill.core.errors import Configuration, TidemillError, Unavailable
from tidemill.core.execution import Interpreter
from tidemill.jobs.durable import APPLICATION_VERSION, pending_workflows
from tidemill.llm.catalog import SourceKind, default_name, list_models
from tidemill.review.engines.semgrep import INSTALL, semgrep_core
from tidemill.sandbox.engines import opened
from tidemill.settings import Settings, load_settings
from tidemill.store.embedded import EmbeddedPostgres, inspect
from tidemill.store.schema import schema_revision
from tidemill.store.secret_key import load_secret_key

MARKS = {"ok": "✓", "warning": "!", "broken": "✗"}
ROOM = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it stands, and how to mend it where that is needed."""

    name: str
    state: str
    found: str
    mend: str | None = None


def doctor(as_json: Json = False) -> None:
    """Check everything that can be missing, and say how to mend it. Exits with 6 if something is broken."""
    checks = list(_checks())
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            typer.echo(f"{MARKS[check.state]} {check.name:<12} {check.found}")
            if check.mend:
                typer.echo(f"               {check.mend}")
    if any(check.state == "broken" for check in checks):
        raise typer.Exit(Configuration.exit_code)


def _checks() -> Iterator[Check]:
    yield _python()
    yield _git()
    try:
        settings = load_settings()
    except TidemillError as error:
        yield Check("settings", "broken", error.message, "Mend the file or the environment, then run this again.")
        return
    yield Check("settings", "ok", f"data folder {settings.data_dir}")
    for look in (_disk, _memory, _database, _models, _engines, _sandbox, _port):
        yield from _guarded(look, settings)


def _guarded(look: Callable[[Settings], Iterator[Check]], settings: Settings) -> Iterator[Check]:
    try:
        yield from look(settings)
    except TidemillError as error:
        yield Check(look.__name__.strip("_"), "broken", error.message)


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _git() -> Check:
    path = shutil.which("git")
    if path is None:
        return Check("git", "broken", "not found", "Install git with the system's package manager; reviews need it.")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return Check("git", "ok", version)


def _disk(settings: Settings) -> Iterator[Check]:
    folder = settings.data_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    mend = None if free >= ROOM else "Free some space, or choose another folder with TIDEMILL_DATA_DIR."
    yield Check("disk", "ok" if mend is None else "warning", f"{human_bytes(free)} free at {folder}", mend)


def _memory(settings: Settings) -> Iterator[Check]:
    memory = psutil.virtual_memory()
    yield Check("memory", "ok", f"{human_bytes(memory.available)} available of {human_bytes(memory.total)}")


def _database(settings: Settings) -> Iterator[Check]:
    if settings.database_url is not None:
        yield from _schema(settings.database_url.get_secret_value())
        return
    if not settings.key_file.exists():
        yield Check("database", "ok", "not made yet; `tidemill up` makes it")
        return
    key = load_secret_key(settings)
    found = inspect(settings, key)
    state = "running" if found.running else "stopped"
    yield Check(
        "database", "ok", f"embedded PostgreSQL {found.version or ''}, {state}, {human_bytes(found.size_bytes)}"
    )
    if found.running:
        with EmbeddedPostgres.acquire(settings, key) as embedded:
            yield from _schema(embedded.url)


def _schema(url: str) -> Iterator[Check]:
    current, newest = schema_revision(url)
    mend = None if current == newest else "`tidemill db upgrade` brings it up to date."
    yield Check("schema", "ok" if mend is None else "warning", f"revision {current}, newest {newest}", mend)
    yield asyncio.run(_work(url))


async def _work(url: str) -> Check:
    try:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            pending = await pending_workflows(connection)
    except psycopg.OperationalError as error:
        raise Unavailable("The database went away while it was looked at. Run this again.") from error
    other = [one for one in pending if one.version not in {APPLICATION_VERSION, ""}]
    if not other:
        return Check("work", "ok", f"{len(pending)} workflows queued or running")
    names = ", ".join(f"{one.id} (version {one.version})" for one in other[:5])
    return Check(
        "work",
        "warning",
        f"{len(other)} unfinished workflows belong to another version: {names}",
        "Run a worker of that version until they are done.",
    )


def _models(settings: Settings) -> Iterator[Check]:
    name = default_name(settings)
    default = next((entry for entry in list_models(settings) if entry.default), None)
    if default is None and (name in settings.routes or name.partition("/")[0] in settings.providers):
        yield Check("model", "ok", f"{name} is served by {'a route' if name in settings.routes else 'a provider'}")
    elif default is None:
        yield Check("model", "broken", "no default model", "Set `models.default` to a name of `tidemill models list`.")
    elif default.installed:
        yield Check("model", "ok", f"{default.name} is there")
    elif default.kind in {SourceKind.CATALOG, SourceKind.HUB}:
        yield Check("model", "warning", f"{default.name} is not there", f"`tidemill models pull {default.name}`")
    else:
        yield Check("model", "broken", f"{default.name} is not at {default.path}", "Mend `models.files`.")
    yield _runtime()


def _runtime() -> Check:
    """Loads the local runtime in a process of its own, since a wrong build of it ends the process that loads it."""
    command = [sys.executable, "-c", "import xllamacpp; print(xllamacpp.__version__)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode == 0:
        return Check("runtime", "ok", f"xllamacpp {done.stdout.strip()}")
    why = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    return Check("runtime", "broken", why, "Install Tidemill again; local models need the package xllamacpp.")


def _engines(settings: Settings) -> Iterator[Check]:
    for engine in ("ruff", "bandit"):
        try:
            yield Check(engine, "ok", metadata.version(engine))
        except metadata.PackageNotFoundError:
            yield Check(engine, "broken", "not installed", "Install Tidemill again; reviews need it.")
    if semgrep_core() is None:
        yield Check("semgrep", "warning", "not installed: reviews do not follow data", f"`{INSTALL}`")
    else:
        yield Check("semgrep", "ok", metadata.version("semgrep"))


def _sandbox(settings: Settings) -> Iterator[Check]:
    try:
        engine, interpreters = asyncio.run(_tried_sandbox(settings))
    except Configuration as error:
        yield Check("sandbox", "warning", error.message, "Until then nothing runs a repository's own code.")
        return
    names = ", ".join(sorted(interpreters))
    missing = sorted(set(Interpreter) - interpreters)
    mend = f"To run {' and '.join(missing)}, too, install it under /usr." if missing else None
    yield Check("sandbox", "ok", f"{engine} runs {names}", mend)


async def _tried_sandbox(settings: Settings) -> tuple[str, frozenset[Interpreter]]:
    engine = None if settings.sandbox.engine == "auto" else settings.sandbox.engine
    pool = await opened(engine, 1, settings.sandbox.readable)
    await pool.aclose()
    return pool.engine, pool.interpreters


def _port(settings: Settings) -> Iterator[Check]:
    with socket.socket() as probe:
        probe.settimeout(1)
        taken = probe.connect_ex((settings.host, settings.port)) == 0
    found = f"{settings.host}:{settings.port} is {'in use (by a hub, if one is up)' if taken else 'free'}"
    yield Check("port", "ok", found)
