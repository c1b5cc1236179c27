"""`tidemill up` and `tidemill worker`."""

import asyncio
import fcntl
import logging
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
import uvicorn
import uvloop
from rich.console import Console

from tidemill.accounts.api_keys import LOCAL_KEY, NewApiKey, Wanted
from tidemill.api.app import create_app
from tidemill.api.protocol import Protocol
from tidemill.api.services import Services
from tidemill.app.database import Database, open_database
from tidemill.app.hub import open_hub
from tidemill.app.telemetry import mask_log
from tidemill.cli.hub import HubAddress, HubClient, find_hub, lock_file, write_address
from tidemill.cli.models import pull_with_progress
from tidemill.cli.review import review_on_hub
from tidemill.core.accounts import Role
from tidemill.core.audit import HUB
from tidemill.core.clock import system_clock
from tidemill.core.errors import Configuration, Conflict, NotFound, TidemillError, Unavailable
from tidemill.forges.bundle import clone_bundle
from tidemill.forges.local_git import read_change, recent_commits
from tidemill.llm.catalog import SourceKind, list_models
from tidemill.review.reports import RENDERERS
from tidemill.settings import Settings, load_settings
from tidemill.store.data_folder import make_data_folder, make_private_folder
from tidemill.telemetry.logs import configure_logs

EXAMPLE_REVIEWS = 3

log = logging.getLogger(__name__)
console = Console(stderr=True, highlight=False, soft_wrap=True)


def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on (default 8000).")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="The data folder.")] = None,
    download: Annotated[bool, typer.Option("--download/--no-download", help="Fetch the default model first.")] = True,
    example: Annotated[
        Path | None, typer.Option(help="A git bundle whose newest commits are reviewed once the hub is up.")
    ] = None,
) -> None:
    """Start the hub, with its database and worker, and stay up until Ctrl-C."""
    settings = _prepared(load_settings(host=host, port=port, data_dir=data_dir), "hub")
    with _only_hub(settings), _listen(settings) as listener:
        if download:
            _fetch_default_model(settings)
        console.print("Starting the database …")
        with open_database(settings) as database:
            uvloop.run(_serve(settings, database, listener, example))
    console.print("Stopped; nothing is left running.")


def worker(
    data_dir: Annotated[Path | None, typer.Option(help="The data folder.")] = None,
) -> None:
    """Run a further worker on the same data folder or database, until Ctrl-C."""
    settings = _prepared(load_settings(data_dir=data_dir), "worker")
    with open_database(settings) as database:
        uvloop.run(_work(settings, database))
    console.print("Stopped.")


def _prepared(settings: Settings, process: str) -> Settings:
    """What every process that stays needs first: a log, the data folder, and the private one for what it tells."""
    configure_logs(process, level=settings.log_level, form=settings.log_format, mask=mask_log)
    make_data_folder(settings.data_dir)
    make_private_folder(settings.run_dir)
    return settings


class _Server(uvicorn.Server):
    """uvicorn, with Ctrl-C and SIGTERM as an orderly stop, after which everything else is closed, too."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to answer, and says so."""
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stops in order at the first signal, at once at the second."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


async def _work(settings: Settings, database: Database) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_hub(settings, database, "worker"):
        console.print("The worker is up. Ctrl-C stops it.")
        await stop.wait()
        console.print("Stopping …")


async def _serve(settings: Settings, database: Database, listener: socket.socket, example: Path | None) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104 - a comparison, not a binding
    async with open_hub(settings, database) as services, _local_key(services) as key:
        app = create_app(services)
        server = _Server(
            uvicorn.Config(
                app,
                loop="none",
                http=Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # they are read where `auth.trusted_proxies` is known
                timeout_graceful_shutdown=5,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await asyncio.wait({serving, asyncio.create_task(server.listening.wait())}, return_when="FIRST_COMPLETED")
        address = HubAddress(url, key)
        path = write_address(settings, address)
        try:
            await _greet(services, url)
            if example is not None:
                client = HubClient(address)
                review = asyncio.to_thread(_review_example, settings, client, example)
                await _until_stopped(server, asyncio.create_task(review), client.close)
            await serving
            console.print("Stopping …")
        finally:
            path.unlink(missing_ok=True)


async def _until_stopped(server: uvicorn.Server, work: "asyncio.Task[None]", stop: Callable[[], None]) -> None:
    """Waits for the work, or for Ctrl-C, which `stop` ends it by."""
    while not work.done() and not server.should_exit:
        await asyncio.wait({work}, timeout=0.2)
    if not work.done():
        await asyncio.to_thread(stop)
    [error] = await asyncio.gather(work, return_exceptions=True)
    if server.should_exit or error is None:
        return
    if not isinstance(error, TidemillError):
        raise error
    console.print(f"The example was not reviewed: {error.message}", style="yellow", markup=False)


@asynccontextmanager
async def _local_key(services: Services) -> AsyncIterator[str]:
    """A key for this machine's commands, valid while the hub runs. Its id is noted, so that a kill leaves none.

    Each follows the one before, at the end one whose secret nobody has, so that what was asked with it goes on at the
    next start, and belongs to the same owner.
    """
    note = services.settings.run_dir / "local-key"
    made = await _next_local_key(services, note)
    try:
        yield made.secret
    finally:
        try:
            await _next_local_key(services, note)
        except Unavailable as error:
            log.warning("The key of this machine's commands goes on to the next start: %s", error.message)


async def _next_local_key(services: Services, note: Path) -> NewApiKey:
    """A new key, at which the noted one ends; of its owner, unless somebody revoked it."""
    try:
        made = await services.keys.rotate(_noted(note), grace=timedelta(0), actor=HUB)
    except (FileNotFoundError, ValueError, NotFound, Conflict):
        made = await services.keys.create(Wanted(LOCAL_KEY, Role.ADMIN), HUB)
    fresh = note.with_suffix(".new")
    fresh.write_text(str(made.key.id))
    fresh.replace(note)
    return made


def _noted(note: Path) -> UUID:
    return UUID(note.read_text())


async def _greet(services: Services, url: str) -> None:
    console.print(f"\n[bold]Tidemill is up at {url}[/bold]\n")
    now = system_clock()
    keys = [key for key in await services.keys.list() if key.name != LOCAL_KEY and key.live(now)]
    if keys:
        console.print("Your API keys still work; `tidemill keys list` shows them, `tidemill keys create` makes more.")
        shown = "KEY"
    else:
        shown = (await services.keys.create(Wanted("first", Role.ADMIN), HUB)).secret
        console.print(f"Your first API key (admin, shown this once):  [bold]{shown}[/bold]")
    program = _program()
    console.print("\nTry, in another terminal:\n", markup=False)
    console.print(f'  {program} chat "Write a Python function that reverses a list."', markup=False)
    console.print(f"  {program} review HEAD --repo PATH-TO-A-REPOSITORY", markup=False)
    console.print(f"  {program} sources add FOLDER-OF-DOCUMENTS", markup=False)
    console.print(f'  {program} ask "A question that they answer?"', markup=False)
    console.print(
        f"  curl {url}/v1/chat/completions -H 'Authorization: Bearer {shown}' -H 'Content-Type: application/json' "
        '-d \'{"model": "default", "messages": [{"role": "user", "content": "Hello"}]}\'\n',
        markup=False,
    )
    console.print("Ctrl-C stops it.\n")


def _program() -> str:
    """How a person calls this command from any folder, quoted for a shell."""
    command = Path(sys.argv[0])
    if command.name != "tidemill" or shutil.which("tidemill") == str(command.absolute()):
        return "tidemill"
    return shlex.quote(str(command.absolute()))


def _review_example(settings: Settings, client: HubClient, bundle: Path) -> None:
    """Reviews the newest commits of a bundle and prints the reviews."""
    with tempfile.TemporaryDirectory(prefix="tidemill-example-") as folder:
        repository = clone_bundle(bundle, Path(folder) / "example")
        for commit in asyncio.run(recent_commits(repository, EXAMPLE_REVIEWS)):
            console.print(f"Reviewing the example's commit {commit.sha[:10]}, {commit.title!r} …", markup=False)
            change = asyncio.run(read_change(repository, commit.sha, staged=False, limits=settings.review))
            result = review_on_hub(client, change, quiet=not console.is_terminal)
            sys.stdout.write(RENDERERS["text"](result) + "\n")
            sys.stdout.flush()
    client.close()
    console.print("That was the example. The hub stays up until Ctrl-C.")


def _fetch_default_model(settings: Settings) -> None:
    entry = next((one for one in list_models(settings) if one.default), None)
    if entry is None or entry.kind not in {SourceKind.CATALOG, SourceKind.HUB} or entry.installed:
        return
    about = f", {entry.size / 1e6:,.0f} MB, {entry.licence}" if entry.size else ""
    console.print(f"Fetching the default model {entry.name}{about} …")
    pull_with_progress(settings, None)


def _listen(settings: Settings) -> socket.socket:
    """A listening socket, taken before anything slow is started."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only for this
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise Configuration(
            f"The hub can't listen on {settings.host}:{settings.port}: {(error.strerror or str(error)).lower()}. "
            "Stop what uses that port, or choose another with --port."
        ) from error
    listener.setblocking(False)
    return listener


@contextmanager
def _only_hub(settings: Settings) -> Iterator[None]:
    """Holds the lock that makes this the only hub on the data folder.

    Raises:
        Conflict: another hub holds it.
    """
    with lock_file(settings) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                f"A hub is already running on {settings.data_dir}{_where(settings)}. Use that one, stop it, or choose "
                "another folder with --data-dir. `tidemill worker` adds a worker beside it."
            ) from error
        yield


def _where(settings: Settings) -> str:
    try:
        return f" at {find_hub(settings).url}"
    except Configuration:
        return ""
