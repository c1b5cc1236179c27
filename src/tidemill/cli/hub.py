"""How a command reaches a running hub."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

from tidemill.core.errors import Configuration, TidemillError, Unavailable
from tidemill.settings import Settings
from tidemill.store.data_folder import inherit_owner

FILE = "hub.json"
EXIT_CODES = {400: 2, 401: 3, 403: 3, 404: 4, 409: 5, 413: 2, 422: 2, 429: 7, 502: 7, 503: 7}


@dataclass(frozen=True, slots=True)
class HubAddress:
    """Where a hub listens and a key for it."""

    url: str
    key: str


class HubRefused(TidemillError):
    """The hub answered with an error; its sentence is passed on."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = EXIT_CODES.get(status, 1)  # type: ignore[misc]


def write_address(settings: Settings, address: HubAddress) -> Path:
    """Lets this machine's commands find the hub. Private (0600), since it holds a key."""
    path = settings.run_dir / FILE
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump({"url": address.url, "key": address.key, "pid": os.getpid()}, file)
    return path


def find_hub(settings: Settings) -> HubAddress:
    """The hub that `TIDEMILL_HUB_URL` and `TIDEMILL_API_KEY` name, else the one running on this data folder.

    Raises:
        Configuration: neither is there; the message says how to start one.
    """
    url, key = os.environ.get("TIDEMILL_HUB_URL"), os.environ.get("TIDEMILL_API_KEY")
    if key is not None and not (key.isascii() and key.isprintable()):
        raise Configuration("TIDEMILL_API_KEY holds characters that no key has. Copy the key again.")
    if url:
        if not key:
            raise Configuration("TIDEMILL_HUB_URL names a hub; set TIDEMILL_API_KEY to a key of it, too.")
        if not url.startswith(("http://", "https://")) or not _is_address(url):
            raise Configuration(
                "TIDEMILL_HUB_URL must be an address such as http://127.0.0.1:8000 or https://hub.example."
            )
        return HubAddress(url.rstrip("/"), key)
    path = settings.run_dir / FILE
    try:
        if not _is_running(settings):
            path.unlink()  # what a killed hub left: who listens there now is someone else
        found = json.loads(path.read_text())
        return HubAddress(found["url"], key or found["key"])
    except (FileNotFoundError, PermissionError, ValueError, KeyError) as error:
        raise Configuration(
            f"No hub is running on {settings.data_dir}. Start one with `tidemill up`, or name one with "
            "TIDEMILL_HUB_URL and TIDEMILL_API_KEY."
        ) from error


def _is_address(url: str) -> bool:
    try:
        return bool(httpx.URL(url).host)
    except httpx.InvalidURL:
        return False


def lock_file(settings: Settings) -> IO[str]:
    """The file whose lock the running hub holds, open."""
    path = settings.run_dir / "hub.lock"
    try:
        file = path.open("a")
        inherit_owner(path)
    except OSError as error:
        raise Configuration(f"{path} can't be opened: {error.strerror}. It belongs to another user.") from error
    return file


def _is_running(settings: Settings) -> bool:
    """Whether a hub holds the lock on this data folder; the kernel drops it when the hub dies."""
    with (settings.run_dir / "hub.lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class HubClient:
    """Asks a hub, and turns its errors into ours."""

    def __init__(self, address: HubAddress, *, timeout: float | None = 600.0) -> None:
        self._address = address
        self._client = httpx.Client(
            base_url=address.url,
            headers={"authorization": f"Bearer {address.key}"},
            timeout=httpx.Timeout(timeout, connect=5.0),
            trust_env=False,
        )

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def get(self, path: str) -> Any:
        """The JSON at a path."""
        with self._reaching():
            return self._checked(self._client.get(path)).json()

    def post(self, path: str, body: object) -> Any:
        """The JSON that comes back for a JSON body."""
        with self._reaching():
            return self._checked(self._client.post(path, json=body)).json()

    def send(self, path: str, body: object) -> None:
        """Posts a JSON body to where nothing comes back."""
        with self._reaching():
            self._checked(self._client.post(path, json=body))

    def upload(self, path: Path, purpose: str) -> Any:
        """Uploads a file; the JSON that says what became of it."""
        with path.open("rb") as file, self._reaching():
            files = {"file": (path.name, file)}
            return self._checked(self._client.post("/v1/files", data={"purpose": purpose}, files=files)).json()

    def download(self, path: str, target: IO[bytes]) -> None:
        """Writes what is at a path into an open file."""
        with self._reaching(), self._client.stream("GET", path) as response:
            if response.status_code >= 400:
                response.read()
            self._checked(response)
            for piece in response.iter_bytes():
                target.write(piece)

    def patch(self, path: str, body: object) -> Any:
        """The JSON that comes back for a change."""
        with self._reaching():
            return self._checked(self._client.patch(path, json=body)).json()

    def send_file(self, path: str, file: Path, fields: Mapping[str, str]) -> Any:
        """Uploads a file in a form with these fields; the JSON that comes back."""
        with file.open("rb") as opened, self._reaching():
            return self._checked(self._client.post(path, data=fields, files={"file": (file.name, opened)})).json()

    def remove(self, path: str) -> None:
        """Deletes what is at a path, where nothing comes back."""
        with self._reaching():
            self._checked(self._client.delete(path))

    def delete(self, path: str) -> Any:
        """The JSON that the hub answers."""
        with self._reaching():
            return self._checked(self._client.delete(path)).json()

    def events(self, path: str, body: object | None = None) -> Iterator[tuple[str, str]]:
        """The server-sent events at a path, as pairs of event name and data."""
        method = "GET" if body is None else "POST"
        with self._reaching(), self._client.stream(method, path, json=body) as response:
            if response.status_code >= 400:
                response.read()
            self._checked(response)
            name = "message"
            for line in response.iter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    yield name, line[6:]
                    name = "message"

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            raise Unavailable(
                f"The hub at {self._address.url} does not answer. Start it with `tidemill up`."
            ) from error
        except httpx.TransportError as error:
            raise Unavailable(f"The connection to the hub at {self._address.url} broke off: {error}") from error

    def _checked(self, response: httpx.Response) -> httpx.Response:
        if response.status_code < 400:
            return response
        try:
            message = response.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = f"The hub at {self._address.url} answered {response.status_code}."
        raise HubRefused(response.status_code, message)


@contextmanager
def hub(settings: Settings) -> Iterator[HubClient]:
    """A client of the hub that `find_hub` finds."""
    client = HubClient(find_hub(settings))
    try:
        yield client
    finally:
        client.close()
