"""The forges whose pull requests are reviewed: where they are, as whom Tidemill speaks there, and what it may touch."""

import re
from fnmatch import fnmatchcase
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from tidemill.core.pull_request import is_project_path
from tidemill.settings.section import Section, http_url

PUBLIC_SITES = {"github": "https://github.com", "gitlab": "https://gitlab.com"}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PATTERN = re.compile(r"[A-Za-z0-9._*-]+(?:/[A-Za-z0-9._*-]+)*")


def _names(forges: dict[str, "ForgeSettings"]) -> dict[str, "ForgeSettings"]:
    for name in forges:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} can't name a forge: use up to 64 lower-case letters, digits, dots, dashes and underscores"
            )
    return forges


def _pattern(text: str) -> str:
    if not _PATTERN.fullmatch(text):
        raise ValueError("must be a project's path such as acme/shop, or a pattern such as acme/*")
    return text


def _site(url: str) -> str:
    http_url(url)
    return url.rstrip("/")


class ForgeSettings(Section):
    """One forge, spoken to as one account. Keys are secrets: `tidemill secrets set` stores them, and here stand their
    names.
    """

    kind: Literal["github", "gitlab", "gitea"] = Field(description="Whose API it speaks; Forgejo's is Gitea's.")
    url: Annotated[str, AfterValidator(_site)] | None = Field(
        None, description="The site's address; github.com's or gitlab.com's when absent."
    )
    token_secret: str | None = Field(None, min_length=1, description="The secret that holds an access token.")
    app_id: str | None = Field(
        None, pattern=r"[A-Za-z0-9.]{1,100}", description="GitHub: the App's id or client id, in place of a token."
    )
    app_key_secret: str | None = Field(
        None, min_length=1, description="GitHub: the secret that holds the App's private key, in PEM."
    )
    webhook_secret: str | None = Field(
        None,
        min_length=1,
        description="The secret whose value is set at the forge's webhook too; without it no delivery is taken.",
    )
    projects: list[Annotated[str, AfterValidator(_pattern)]] = Field(
        default_factory=list,
        description="Projects whose pull requests are looked at: paths, and patterns in which `*` stands for anything; "
        "all when absent.",
    )
    timeout: float = Field(30.0, gt=0, le=600, description="Seconds without anything happening.")

    @model_validator(mode="after")
    def complete(self) -> "ForgeSettings":
        """An address, and either a token or an App."""
        if self.kind not in PUBLIC_SITES and self.url is None:
            raise ValueError(f"a forge of the kind {self.kind} needs its `url`")
        if (self.app_id is None) != (self.app_key_secret is None):
            raise ValueError("an App needs both `app_id` and `app_key_secret`")
        if self.app_id is not None and self.kind != "github":
            raise ValueError("only GitHub has Apps: give `token_secret`")
        if (self.token_secret is None) == (self.app_id is None):
            raise ValueError("give `token_secret`, or on GitHub `app_id` and `app_key_secret`, and not both")
        return self

    @property
    def site(self) -> str:
        """The site's address, without a slash at its end."""
        return self.url or PUBLIC_SITES[self.kind]

    @property
    def host(self) -> str:
        """The site's host."""
        return urlsplit(self.site).hostname or ""

    def allows(self, project: str) -> bool:
        """Whether a project's pull requests are looked at. Case does not matter, as on forges."""
        if not is_project_path(project):
            return False
        return not self.projects or any(fnmatchcase(project.lower(), pattern.lower()) for pattern in self.projects)


Forges = Annotated[dict[str, ForgeSettings], AfterValidator(_names)]
