"""Forges, and what their webhooks deliver."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager

from tidemill.core.clock import system_clock
from tidemill.flows.deliveries import Deliveries
from tidemill.flows.deliveries import Secrets as Tellers
from tidemill.forges.copies import Copies
from tidemill.forges.gitea import Gitea
from tidemill.forges.github import PUBLIC_API, PUBLIC_SITE, GitHub
from tidemill.forges.github_tokens import AppTokens, FixedToken, Tokens
from tidemill.forges.gitlab import GitLab
from tidemill.forges.identity import Identity, gitea_token, github_app, github_token, gitlab_token
from tidemill.forges.port import Forge
from tidemill.forges.rest import Rest
from tidemill.jobs.port import Jobs
from tidemill.outbound import Outbound
from tidemill.protection.secrets import Secrets
from tidemill.settings import Settings
from tidemill.settings.forges import ForgeSettings
from tidemill.store.database import Pool
from tidemill.store.deliveries import DeliveryRepository

SETTLE_SECONDS = 10.0
_BASES = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}


@asynccontextmanager
async def open_forges(settings: Settings, outbound: Outbound, secrets: Secrets) -> AsyncIterator[Mapping[str, Forge]]:
    """The forges of the settings, by name. Their keys are asked for when they are first needed, not before."""
    copies = copies_of(settings, outbound)
    rests = {
        name: Rest(name, api_base(one), outbound, timeout=one.timeout, clock=system_clock)
        for name, one in settings.forges.items()
    }
    try:
        yield {name: forge_of(name, one, rests[name], secrets, copies) for name, one in settings.forges.items()}
    finally:
        for rest in rests.values():
            await rest.aclose()


async def identity_of(
    name: str, settings: ForgeSettings, outbound: Outbound, secrets: Tellers, project: str | None
) -> Identity:
    """Who Tidemill is on a forge, asked of the forge now.

    Raises:
        TidemillError: the forge can't be asked, or does not take the key.
    """
    rest = Rest(name, api_base(settings), outbound, timeout=settings.timeout, clock=system_clock)
    try:
        if settings.app_id is not None:
            reveal = _reveal(secrets, settings.app_key_secret)
            return await github_app(rest, AppTokens(rest, settings.app_id, reveal, system_clock).sign)
        asked = {"github": github_token, "gitlab": gitlab_token, "gitea": gitea_token}[settings.kind]
        headers = {"github": "authorization", "gitlab": "private-token", "gitea": "authorization"}
        words = {"github": "Bearer ", "gitlab": "", "gitea": "token "}
        value = words[settings.kind] + await _reveal(secrets, settings.token_secret)()

        async def sign() -> Mapping[str, str]:
            return {headers[settings.kind]: value}

        return await asked(rest, sign, project)
    finally:
        await rest.aclose()


def copies_of(settings: Settings, outbound: Outbound) -> Copies:
    """The copies of the repositories behind pull requests."""
    most = settings.knowledge.sources.max_repository_bytes
    return Copies(settings.cache_dir / "pull-requests", outbound, most)


def api_base(settings: ForgeSettings) -> str:
    """Where a forge's API is."""
    return PUBLIC_API if settings.site == PUBLIC_SITE else f"{settings.site}{_BASES[settings.kind]}"


def tokens_of(settings: ForgeSettings, rest: Rest, secrets: Tellers) -> Tokens:
    """Who Tidemill is on a GitHub."""
    if settings.app_id is None:
        return FixedToken(_reveal(secrets, settings.token_secret))
    return AppTokens(rest, settings.app_id, _reveal(secrets, settings.app_key_secret), system_clock)


def forge_of(name: str, settings: ForgeSettings, rest: Rest, secrets: Tellers, copies: Copies) -> Forge:
    """The adapter of one forge."""
    if settings.kind == "github":
        tokens = tokens_of(settings, rest, secrets)
        return GitHub(name, settings.site, rest, tokens, copies, app=settings.app_id is not None)
    make = GitLab if settings.kind == "gitlab" else Gitea
    return make(name, settings.site, rest, _reveal(secrets, settings.token_secret), copies)


def _reveal(secrets: Tellers, name: str | None) -> Callable[[], Awaitable[str]]:
    async def reveal() -> str:
        return (await secrets.reveal(name or "")).strip()

    return reveal


def deliveries_of(settings: Settings, pool: Pool, jobs: Jobs, secrets: Secrets) -> Deliveries:
    """What takes the deliveries of webhooks in."""
    return Deliveries(jobs, DeliveryRepository(pool), settings.forges, secrets, system_clock)


def delivery_chores(deliveries: Deliveries) -> Iterator[tuple[float, Callable[[], Awaitable[object]]]]:
    """What is done for deliveries now and then, and every how many seconds."""
    yield SETTLE_SECONDS, deliveries.settle
