"""Telling an address that a job has ended: signed, at least once, and tried again when it fails.

What is to be told, and when, stands in the job's row: a hub that is killed while it tells leaves it to be told again.
"""

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import httpx

from tidemill.core.clock import Clock
from tidemill.core.errors import InvalidInput, TidemillError
from tidemill.core.generation import Callback, CallbackState, GenerationJob
from tidemill.core.json import Json
from tidemill.settings import JobSettings
from tidemill.store.generation_jobs import GenerationJobRepository

AT_ONCE = 8
TIMEOUT_SECONDS = 10.0
ANSWER_BYTES = 65_536
"""An answer to a callback is not read; a longer one is broken off."""
LEASE = timedelta(minutes=2)
"""Who claims a callback and is killed leaves it to others after so long."""
FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(hours=1)
LONGEST_ERROR = 300

log = logging.getLogger(__name__)


class Outbound(Protocol):
    """Asks addresses that others chose, where they may be asked."""

    async def check(self, url: str, *, param: str) -> None:
        """Goes on where the address may be asked, as far as that can be known now; else `InvalidInput`."""
        ...

    def client(self, *, timeout: float, max_bytes: int) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        """A client that checks each connection, and follows no redirect."""
        ...


class Callbacks:
    """Tells of jobs' ends.

    Args:
        rows: the jobs.
        outbound: asks the addresses.
        derive: gives a secret for a purpose.
        settings: how often it is tried.
        clock: gives times.
    """

    def __init__(
        self,
        rows: GenerationJobRepository,
        outbound: Outbound,
        *,
        derive: Callable[[str], str],
        settings: JobSettings,
        clock: Clock,
    ) -> None:
        self._rows = rows
        self._outbound = outbound
        self._derive = derive
        self._settings = settings
        self._clock = clock

    async def check(self, url: str) -> None:
        """Goes on with an address that may be asked.

        Raises:
            InvalidInput: it is none, or a private one that the settings do not allow.
        """
        if not url.isprintable():
            raise InvalidInput("The address of a callback holds printable characters alone.", param="callback_url")
        await self._outbound.check(url, param="callback_url")

    def secret(self, owner_id: UUID) -> str:
        """With which callbacks of an owner's jobs are signed; always the same for the hub's `secret.key`."""
        return f"whsec_{self._derive(f'callbacks of {owner_id}')}"

    async def deliver(self) -> None:
        """Makes every attempt that is due."""
        while True:
            now = self._clock()
            due = await self._rows.claim_callbacks(now, now + LEASE, AT_ONCE)
            if not due:
                return
            async with self._outbound.client(timeout=TIMEOUT_SECONDS, max_bytes=ANSWER_BYTES) as client:
                await asyncio.gather(*(self._attempt(client, job) for job in due))

    async def _attempt(self, client: httpx.AsyncClient, job: GenerationJob) -> None:
        callback = job.callback
        assert callback is not None  # noqa: S101 - only jobs with one are claimed
        attempts = callback.attempts + 1
        fault = await self._fault(client, job, callback)
        if fault is None:
            state, due = CallbackState.DELIVERED, None
        elif attempts >= self._settings.callback_attempts:
            state, due = CallbackState.FAILED, None
            log.warning("The callback of the job %s failed %s times and is given up: %s", job.id, attempts, fault)
        else:
            state, due = CallbackState.WAITING, self._clock() + pause_after(attempts)
        await self._rows.note_callback(job.id, state, attempts, fault and fault[:LONGEST_ERROR], due)

    async def _fault(self, client: httpx.AsyncClient, job: GenerationJob, callback: Callback) -> str | None:
        """What went wrong at an attempt; `None` where the address took it."""
        told = replace(job, callback=replace(callback, state=CallbackState.DELIVERED, attempts=callback.attempts + 1))
        body = json.dumps(job_json(told)).encode()
        headers = {
            "content-type": "application/json",
            "user-agent": "tidemill",
            "x-tidemill-delivery": str(callback.delivery_id),
            "x-tidemill-signature": signature(self.secret(job.maker.owner_id), int(self._clock().timestamp()), body),
        }
        if job.maker.request_id is not None:
            headers["x-request-id"] = job.maker.request_id
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS * 2):
                async with client.stream("POST", callback.url, content=body, headers=headers) as answer:
                    status = answer.status_code
        except TimeoutError:
            return "it did not answer in time"
        except TidemillError as error:
            return error.message
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"it can't be reached ({type(error).__name__})"
        return None if 200 <= status < 300 else f"it answered {status}"


def signature(secret: str, seconds: int, body: bytes) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA256, under the secret as UTF-8, over the seconds since 1970, a dot and the body."""
    signed = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={signed}"


def pause_after(attempts: int) -> timedelta:
    """Before the next attempt: a second after the first, four times as long after each further one, an hour at most."""
    factor: int = 4 ** min(attempts - 1, 10)
    return min(FIRST_PAUSE * factor, LONGEST_PAUSE)


def job_json(job: GenerationJob) -> dict[str, Json]:
    """A job as its owner and its callback see it. Times are in seconds since 1970, as in OpenAI's API."""
    callback = job.callback
    return {
        "id": str(job.id),
        "object": "generation.job",
        "status": job.state,
        "endpoint": job.endpoint,
        "priority": job.priority.name.lower(),
        "created_at": int(job.created_at.timestamp()),
        "started_at": None if job.started_at is None else int(job.started_at.timestamp()),
        "ended_at": None if job.ended_at is None else int(job.ended_at.timestamp()),
        "expires_at": int(job.expires_at.timestamp()),
        "request_id": job.maker.request_id,
        "result": None if job.result is None else json.loads(job.result),
        "error": None if job.error is None else json.loads(job.error)["error"],
        "callback": None
        if callback is None
        else {
            "url": callback.url,
            "delivery_id": str(callback.delivery_id),
            "state": callback.state,
            "attempts": callback.attempts,
            "error": callback.error,
        },
    }
