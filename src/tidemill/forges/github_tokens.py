"""Who Tidemill is on GitHub: a person's or a machine's token, or an App's installation.

https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import quote

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from pydantic import AwareDatetime, BaseModel

from tidemill.core.clock import Clock
from tidemill.core.errors import Configuration, NotFound
from tidemill.forges.rest import Rest

VERSION = "2022-11-28"
SPARE = timedelta(minutes=2)
"""An installation's token is renewed so long before its end."""
_LIFE = 540
"""Seconds for which an App's own token is good; GitHub takes ten minutes at most."""
_DRIFT = 60


class Tokens(Protocol):
    """Gives the token that is good for a project's repository."""

    async def token(self, project: str) -> str:
        """The token. Raises what the port says."""
        ...


class FixedToken:
    """One token for every project.

    Args:
        reveal: gives it; asked each time, so that a new one counts at once.
    """

    def __init__(self, reveal: Callable[[], Awaitable[str]]) -> None:
        self._reveal = reveal

    async def token(self, project: str) -> str:
        """See `Tokens.token`."""
        del project
        return await self._reveal()


class _Installation(BaseModel):
    id: int


class _AccessToken(BaseModel):
    token: str
    expires_at: AwareDatetime


class AppTokens:
    """The tokens of an App's installations, each kept until shortly before its end.

    Args:
        rest: the API.
        app_id: the App's id, or its client id.
        key: gives its private key, in PEM.
        clock: gives times.
    """

    def __init__(self, rest: Rest, app_id: str, key: Callable[[], Awaitable[str]], clock: Clock) -> None:
        self._rest = rest
        self._app_id = app_id
        self._key = key
        self._clock = clock
        self._installations: dict[str, int] = {}
        self._tokens: dict[int, tuple[str, datetime]] = {}
        self._lock = asyncio.Lock()

    async def token(self, project: str) -> str:
        """See `Tokens.token`."""
        async with self._lock:
            known = self._installations.get(project)
            if known is not None:
                try:
                    return await self._of(known)
                except NotFound:  # the App was taken out, and may have been installed again under another number
                    del self._installations[project]
            found = await self._rest.one(_Installation, self.sign, "GET", f"/repos/{quote(project)}/installation")
            self._installations[project] = found.id
            return await self._of(found.id)

    async def _of(self, installation: int) -> str:
        kept = self._tokens.get(installation)
        if kept is None or kept[1] - SPARE <= self._clock():
            path = f"/app/installations/{installation}/access_tokens"
            made = await self._rest.one(_AccessToken, self.sign, "POST", path)
            kept = self._tokens[installation] = (made.token, made.expires_at)
        return kept[0]

    async def sign(self) -> Mapping[str, str]:
        """The headers with which the App itself asks.

        Raises:
            Configuration: its private key can't be used.
        """
        try:
            key = RSAKey.import_key(await self._key())
            now = int(self._clock().timestamp())
            claims = {"iat": now - _DRIFT, "exp": now + _LIFE, "iss": self._app_id}
            token = jwt.encode({"alg": "RS256"}, claims, key)
        except (JoseError, ValueError) as error:
            raise Configuration(
                "The GitHub App's private key can't be used: store the PEM file that GitHub gave out, whole, with "
                "`tidemill secrets set`."
            ) from error
        return {"authorization": f"Bearer {token}", "x-github-api-version": VERSION}
