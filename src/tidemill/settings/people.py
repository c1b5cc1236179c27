"""How people sign in."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, IPvAnyNetwork, model_validator

from tidemill.core.accounts import Role
from tidemill.settings.section import Section, http_url


def _issuer(url: str) -> str:
    """An issuer's address: with TLS, save on this machine, since who can change its answers can be anyone."""
    parts = urlsplit(http_url(url))
    if parts.scheme != "https" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
        raise ValueError("must begin with https://, save for an issuer on this machine")
    return url


def _origin(url: str) -> str:
    """An address without a path, as browsers send it in `Origin`."""
    parts = urlsplit(http_url(url))
    if parts.path not in {"", "/"}:
        raise ValueError("must end after the host and its port")
    port = "" if parts.port in {None, {"http": 80, "https": 443}[parts.scheme]} else f":{parts.port}"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{port}"


class PasswordSettings(Section):
    """How passwords are hashed; the defaults are the second choice of RFC 9106 §4, for machines with little memory."""

    memory_kib: int = Field(65_536, ge=8192, le=4_194_304, description="Memory of one hash of a password, in KiB.")
    passes: int = Field(3, ge=1, le=100, description="Passes over that memory.")
    lanes: int = Field(4, ge=1, le=64, description="Lanes of that memory, worked on at once.")
    at_once: int = Field(2, ge=1, le=64, description="Passwords that one process hashes at once; others wait.")


class OidcSettings(Section):
    """Sign-in through an OpenID Connect issuer; off while `issuer` is absent."""

    issuer: Annotated[str, AfterValidator(_issuer)] | None = Field(
        None, description="The issuer's address, as in its discovery document; none signs nobody in through one."
    )
    client_id: str | None = Field(None, min_length=1, description="What the issuer calls this hub.")
    client_secret: str | None = Field(
        None, description="The name of the secret that the issuer gave the client; a public client has none."
    )
    client_secret_env: str | None = Field(
        None, description="The environment variable that holds that secret, in place of `client_secret`."
    )
    scopes: str = Field("openid email profile", description="What the issuer is asked for, with spaces between.")
    default_role: Role = Field(Role.MEMBER, description="The role of a person whom a first sign-in creates.")
    allowed_domains: list[str] = Field(
        default_factory=list, description="Domains whose verified addresses may sign in; any when empty."
    )
    create_users: bool = Field(False, description="Whether a first sign-in creates the person.")

    @model_validator(mode="after")
    def _complete(self) -> "OidcSettings":
        if self.issuer is not None and self.client_id is None:
            raise ValueError("needs `client_id`, which the issuer gives, beside `issuer`")
        if self.client_secret is not None and self.client_secret_env is not None:
            raise ValueError("takes `client_secret` or `client_secret_env`, not both")
        if "openid" not in self.scopes.split():
            raise ValueError("needs `openid` among its `scopes`")
        return self


class AuthSettings(Section):
    """How people sign in, and how long they stay."""

    session_idle_minutes: float = Field(60.0, gt=0, description="A session that is not used for so long ends.")
    session_max_hours: float = Field(24.0, gt=0, description="A session ends after so long, used or not.")
    public_url: Annotated[str, AfterValidator(_origin)] | None = Field(
        None, description="The address at which browsers reach the hub; taken from each request when absent."
    )
    secure_cookies: bool = Field(False, description="Whether cookies are sent over https alone, whatever the request.")
    trusted_proxies: list[IPvAnyNetwork] = Field(
        default_factory=list, description="Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."
    )
    passwords: PasswordSettings = PasswordSettings()
    oidc: OidcSettings = OidcSettings()
