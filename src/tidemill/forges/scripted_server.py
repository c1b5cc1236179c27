"""A forge over HTTP for tests and demonstrations: the three forges' APIs, git, and webhooks that are signed.

Beside the forges' own routes stand those by which one does what people do (`POST /_control/…`), and each pull request's
page as text (`GET /_page/PROJECT/NUMBER`). Those need no token: whoever reaches the server may use them.
"""

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import logging
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidemill.core.errors import Configuration, InvalidInput, NotAuthenticated, NotFound, TidemillError
from tidemill.core.pull_request import ForgeKind, Position
from tidemill.forges.scripted import Fault
from tidemill.forges.scripted_gitea import GiteaRoutes
from tidemill.forges.scripted_github import GitHubRoutes
from tidemill.forges.scripted_gitlab import GitLabRoutes
from tidemill.forges.scripted_http import Served, body_of, told
from tidemill.forges.scripted_page import page
from tidemill.forges.scripted_payloads import payload_of
from tidemill.forges.scripted_site import Occurrence, ScriptedPull, ScriptedSite

DELIVERY_SECONDS = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where deliveries are sent, as which forge, and with which secret."""

    url: str
    kind: ForgeKind
    secret: str


@dataclass(slots=True)
class Sent:
    """One delivery: what was sent, and the status of the answer; 0 where there was none."""

    id: str
    event: str
    body: bytes
    status: int = 0


class ScriptedServer:
    """The server's application.

    Args:
        site: what the forge holds.
        tokens: whose each token is: logins by token. The first is what an App's installation gets.
        webhook: where deliveries go; nowhere where absent.
        app_key: the App's public key, in PEM.

    Attributes:
        sent: the deliveries, oldest first.
        served: what it serves, with the faults that are to come.
    """

    def __init__(
        self,
        site: ScriptedSite,
        tokens: Mapping[str, str],
        *,
        webhook: Webhook | None = None,
        app_key: str | None = None,
    ) -> None:
        self.served = Served(site, tokens, app_key)
        self.webhook = webhook
        self.sent: list[Sent] = []
        self._queue: asyncio.Queue[Sent] = asyncio.Queue()
        site.listeners.append(self._happened)
        self.app = Starlette(
            routes=[
                *GitHubRoutes(self.served).routes(),
                *GitLabRoutes(self.served).routes(),
                *GiteaRoutes(self.served).routes(),
                Route("/{project:path}.git/info/refs", self._refs),
                Route("/{project:path}.git/git-upload-pack", self._pack, methods=["POST"]),
                Route("/_control/{action}", self._control, methods=["POST"]),
                Route("/_deliveries", self._deliveries),
                Route("/_page/{project:path}/{number:int}", self._page),
            ],
            exception_handlers={TidemillError: told},
            middleware=[Middleware(_Faulty, served=self.served)],
            lifespan=self._lifespan,
        )

    async def settled(self) -> None:
        """Goes on when every delivery was sent."""
        await self._queue.join()

    async def redeliver(self, delivery_id: str) -> Sent:
        """Sends a delivery again, under its id."""
        found = next((one for one in self.sent if one.id == delivery_id), None)
        if found is None:
            raise NotFound(f"There is no delivery {delivery_id}.")
        await self._send(found)
        return found

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        del app
        sending = asyncio.create_task(self._send_all())
        yield
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    async def _happened(self, occurrence: Occurrence) -> None:
        if self.webhook is None:
            return
        made = payload_of(self.webhook.kind, occurrence)
        if made is not None:
            now = self.served.site.clock().isoformat()
            sent = Sent(str(uuid4()), made[0], json.dumps({**made[1], "delivered_at": now}).encode())
            self.sent.append(sent)
            self._queue.put_nowait(sent)

    async def _send_all(self) -> None:
        while True:
            sent = await self._queue.get()
            try:
                await self._send(sent)
            finally:
                self._queue.task_done()

    async def _send(self, sent: Sent) -> None:
        assert self.webhook is not None  # noqa: S101 - what is sent was made for one
        headers = {"content-type": "application/json", **signed(self.webhook, sent)}
        async with httpx.AsyncClient(timeout=DELIVERY_SECONDS, trust_env=False) as client:
            try:
                answer = await client.post(self.webhook.url, content=sent.body, headers=headers)
                sent.status = answer.status_code
            except httpx.HTTPError as error:
                log.warning("The delivery %s could not be sent: %s", sent.id, error or type(error).__name__)

    # git, over smart HTTP: https://git-scm.com/docs/http-protocol

    async def _refs(self, request: Request) -> Response:
        folder = self._folder(request)
        if request.query_params.get("service") != "git-upload-pack":
            raise NotFound("Only fetching is served.")
        refs = await _git(folder, request, b"", "--advertise-refs")
        head = b"" if "version=2" in request.headers.get("git-protocol", "") else b"001e# service=git-upload-pack\n0000"
        return Response(head + refs, media_type="application/x-git-upload-pack-advertisement")

    async def _pack(self, request: Request) -> Response:
        folder = self._folder(request)
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        return Response(await _git(folder, request, body), media_type="application/x-git-upload-pack-result")

    def _folder(self, request: Request) -> Path:
        self.served.login(_password(request.headers.get("authorization", "")))
        return self.served.site.project(request.path_params["project"]).repository.folder

    # What people do.

    @property
    def actions(self) -> tuple[str, ...]:
        """What people can do: the last part of a control route."""
        return tuple(self._actions())

    def _actions(self) -> Mapping[str, Callable[[dict[str, Any]], Awaitable[Any]]]:
        return {
            "project": self._add_project,
            "branch": self._branch,
            "open": self._open,
            "push": self._push,
            "say": self._say,
            "react": self._react,
            "resolve": self._resolve,
            "apply": self._apply,
            "merge": self._merge,
            "close": self._close,
            "reopen": self._reopen,
            "ready": self._ready,
            "fault": self._fault,
            "redeliver": self._redeliver,
        }

    async def _control(self, request: Request) -> Response:
        actions = self._actions()
        action = actions.get(request.path_params["action"])
        if action is None:
            raise NotFound(f"There is no such action. There are: {', '.join(actions)}.")
        try:
            done = await action(await body_of(request))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"The action can't be done: {error!r}") from error
        await self.settled()
        return JSONResponse(done)

    async def _add_project(self, given: dict[str, Any]) -> Any:
        source, writers = Path(given["source"]), set(given.get("writers", ()))
        project = await self.served.site.add_project(given["project"], source, writers=writers)
        return {"project": project.path}

    async def _branch(self, given: dict[str, Any]) -> Any:
        repository = self.served.site.project(given["project"]).repository
        commit = await repository.commit_of(given["at"])
        await repository.point(f"refs/heads/{given['name']}", commit)
        return {"commit": commit}

    async def _open(self, given: dict[str, Any]) -> Any:
        named = {name: given[name] for name in ("title", "body", "author", "fork", "draft") if name in given}
        site = self.served.site
        return _shown(await site.open(given["project"], given["source"], given.get("target", "main"), **named))

    async def _push(self, given: dict[str, Any]) -> Any:
        pull, files = self._pull(given), given.get("files")
        data = None if files is None else {path: _data(text) for path, text in files.items()}
        named = {name: given[name] for name in ("commit", "message", "author", "onto") if name in given}
        await self.served.site.push(pull, data, **named)
        return _shown(pull)

    async def _say(self, given: dict[str, Any]) -> Any:
        site, pull, author = self.served.site, self._pull(given), given.get("author", "maintainer")
        if "path" in given:
            position = Position(given["path"], int(given["line"]), int(given["line"]))
            return {"comment": (await site.say_inline(pull, author, given["body"], position)).id}
        return {"comment": (await site.say(pull, author, given["body"], given.get("reply_to"))).id}

    async def _react(self, given: dict[str, Any]) -> Any:
        author, name = given.get("author", "author"), given["reaction"]
        await self.served.site.react(self._pull(given), int(given["comment"]), author, name)
        return {}

    async def _resolve(self, given: dict[str, Any]) -> Any:
        pull, site = self._pull(given), self.served.site
        thread = site.comment(pull, int(given["comment"])).thread
        if thread is None:
            raise InvalidInput("That comment is in no thread.")
        await site.resolve(pull, thread, given.get("actor", "author"), resolved=given.get("resolved", True))
        return {"thread": thread}

    async def _apply(self, given: dict[str, Any]) -> Any:
        pull, actor = self._pull(given), given.get("actor", "author")
        return {"head": await self.served.site.apply_suggestion(pull, int(given["comment"]), actor)}

    async def _merge(self, given: dict[str, Any]) -> Any:
        return {"commit": await self.served.site.merge(self._pull(given), given.get("actor", "maintainer"))}

    async def _close(self, given: dict[str, Any]) -> Any:
        await self.served.site.close(self._pull(given))
        return {}

    async def _reopen(self, given: dict[str, Any]) -> Any:
        await self.served.site.reopen(self._pull(given))
        return {}

    async def _ready(self, given: dict[str, Any]) -> Any:
        await self.served.site.ready(self._pull(given))
        return {}

    async def _fault(self, given: dict[str, Any]) -> Any:
        self.served.faults.waiting.append(Fault(**given))
        return {}

    async def _redeliver(self, given: dict[str, Any]) -> Any:
        return {"status": (await self.redeliver(given["id"])).status}

    async def _deliveries(self, request: Request) -> Response:
        del request
        return JSONResponse([{"id": one.id, "event": one.event, "status": one.status} for one in self.sent])

    async def _page(self, request: Request) -> Response:
        return PlainTextResponse(page(self.served.pull(request)))

    def _pull(self, given: dict[str, Any]) -> ScriptedPull:
        return self.served.site.pull(given["project"], int(given["number"]))


class _Faulty:
    """Lets the faults that are to come happen to requests for the API and for git."""

    def __init__(self, app: ASGIApp, served: Served) -> None:
        self._app = app
        self._served = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        fault = None
        if scope["type"] == "http" and not scope["path"].startswith("/_"):
            fault = self._served.faults.take(f"{scope['method']} {scope['path']}")
        if fault is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(fault.seconds)
        if fault.status == 0 or fault.done:
            await self._app(scope, receive, send if fault.status == 0 else _nowhere)
        if fault.status:
            await _fault_answer(fault)(scope, receive, send)


async def _nowhere(message: Message) -> None:
    """Takes an answer that is lost."""


def _fault_answer(fault: Fault) -> Response:
    headers = {}
    if fault.status in {403, 429}:
        if fault.retry_after is not None:
            headers["retry-after"] = f"{fault.retry_after:.0f}"
        said = "You have exceeded a secondary rate limit." if headers else "Forbidden"
        return JSONResponse({"message": said}, fault.status, headers)
    return JSONResponse({"message": f"HTTP {fault.status}, on command"}, fault.status)


def signed(webhook: Webhook, sent: Sent) -> Mapping[str, str]:
    """A delivery's headers, in the form of its forge."""
    mac = hmac.new(webhook.secret.encode(), sent.body, hashlib.sha256).hexdigest()
    if webhook.kind is ForgeKind.GITHUB:
        return {
            "x-github-event": sent.event,
            "x-github-delivery": sent.id,
            "x-hub-signature-256": f"sha256={mac}",
        }
    if webhook.kind is ForgeKind.GITLAB:
        return {"x-gitlab-event": sent.event, "idempotency-key": sent.id, "x-gitlab-token": webhook.secret}
    names = ("gitea", "github")
    return {
        **{f"x-{name}-event": sent.event for name in names},
        **{f"x-{name}-delivery": sent.id for name in names},
        "x-gitea-signature": mac,
        "x-hub-signature-256": f"sha256={mac}",
    }


async def _git(folder: Path, request: Request, body: bytes, *options: str) -> bytes:
    program = shutil.which("git")
    if program is None:
        raise Configuration("The program git is not installed, or not on the PATH. Install it, then try again.")
    process = await asyncio.create_subprocess_exec(
        program,
        "upload-pack",
        "--stateless-rpc",
        *options,
        str(folder),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", ""), "GIT_PROTOCOL": request.headers.get("git-protocol", "")},
    )
    output, errors = await process.communicate(body)
    if process.returncode not in {0, 128}:  # 128: what it refuses, it has told the client
        log.warning("git upload-pack: %s", errors.decode("utf-8", "replace").strip())
    return output


def _password(authorization: str) -> str:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise NotAuthenticated("git asks with a user and a password here.")
    return base64.b64decode(encoded).decode("utf-8", "replace").partition(":")[2]


def _shown(pull: ScriptedPull) -> Any:
    return {"project": pull.project, "number": pull.number, "head": pull.head, "base": pull.base}


def _data(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
