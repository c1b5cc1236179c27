"""The whole tree."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tidemill.settings.alerts import AlertSettings
from tidemill.settings.cache import CacheSettings
from tidemill.settings.data import (
    ConversationSettings,
    DatabaseSettings,
    FileSettings,
    ProtectionSettings,
    RetentionSettings,
    ReviewSettings,
)
from tidemill.settings.forges import Forges
from tidemill.settings.guardrails import GuardrailSettings
from tidemill.settings.jobs import JobSettings
from tidemill.settings.knowledge import KnowledgeSettings
from tidemill.settings.limits import LimitSettings
from tidemill.settings.models import EmbeddingSettings, ModelSettings
from tidemill.settings.outbound import OutboundSettings
from tidemill.settings.people import AuthSettings
from tidemill.settings.prompts import PromptSettings
from tidemill.settings.providers import Providers, Routes, Tasks, check_names
from tidemill.settings.recovery import RecoverySettings
from tidemill.settings.sandbox import SandboxSettings
from tidemill.settings.section import AbsolutePath
from tidemill.settings.telemetry import TelemetrySettings

POSTGRES_HOST = re.compile(r"(\[[^\[\]@]+\]|[^\[\]:@]*)(:\d*)?")
"""One of the hosts of an address, with its port or without: https://www.postgresql.org/docs/current/libpq-connect.html."""


def _postgres_url(secret: SecretStr) -> SecretStr:
    """An address that libpq can read. What is wrong with it is said without it, since it may hold a password."""
    url = secret.get_secret_value()
    scheme, _, rest = url.partition("://")
    if scheme not in {"postgresql", "postgres"} or not rest:
        raise ValueError("must begin with postgresql:// or postgres://, as in postgresql://user:password@host/database")
    place = re.split(r"[/?]", rest, maxsplit=1)[0]
    hosts = place.partition("@")[2] if "@" in place else place
    broken = not all(map(POSTGRES_HOST.fullmatch, hosts.split(",")))
    if broken or re.search(r"\s|%(?![0-9A-Fa-f]{2})", url):
        raise ValueError(
            "can't be read as postgresql://user:password@host:port/database. In a password, write @ as %40, : as %3A, "
            "/ as %2F and % as %25"
        )
    return secret


def default_data_dir() -> Path:
    """`/var/lib/tidemill` for root, else `$XDG_DATA_HOME/tidemill` or `~/.local/share/tidemill`.

    Root's own home is private on most systems, and the embedded database, which never runs as root, could not
    reach a folder in it.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/tidemill")
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share").absolute() / "tidemill"


class Settings(BaseSettings):
    """Everything that an operator can set. See `load_settings` for where it is read from."""

    model_config = SettingsConfigDict(
        env_prefix="TIDEMILL_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    data_dir: AbsolutePath = Field(
        default_factory=default_data_dir, description="Where everything that Tidemill keeps is."
    )
    host: str = Field("127.0.0.1", description="The address that the hub listens on.")
    port: int = Field(8000, ge=0, le=65535, description="The port that the hub listens on; 0 takes a free one.")
    database_url: Annotated[SecretStr, AfterValidator(_postgres_url)] | None = Field(
        None, description="A PostgreSQL of your own; embedded when absent."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")
    log_format: Literal["json", "text"] | None = Field(
        None, description="How logs are written: `text` on a terminal and `json` elsewhere when absent."
    )
    max_request_bytes: int = Field(40_000_000, ge=1024, description="A larger request body is refused.")
    models: ModelSettings = ModelSettings()
    database: DatabaseSettings = DatabaseSettings()
    review: ReviewSettings = ReviewSettings()
    retention: RetentionSettings = RetentionSettings()
    auth: AuthSettings = AuthSettings()
    protection: ProtectionSettings = ProtectionSettings()
    conversations: ConversationSettings = ConversationSettings()
    prompts: PromptSettings = PromptSettings()
    alerts: AlertSettings = AlertSettings()
    files: FileSettings = FileSettings()
    embeddings: EmbeddingSettings = EmbeddingSettings()
    cache: CacheSettings = CacheSettings()
    jobs: JobSettings = JobSettings()
    recovery: RecoverySettings = RecoverySettings()
    limits: LimitSettings = LimitSettings()
    outbound: OutboundSettings = OutboundSettings()
    providers: Providers = Field(default_factory=dict, description="Providers of models, by name.")
    routes: Routes = Field(default_factory=dict, description="Several models under one name, by that name.")
    tasks: Tasks = Field(default_factory=dict, description="Which model or route serves a task, by the task.")
    telemetry: TelemetrySettings = TelemetrySettings()
    guardrails: GuardrailSettings = GuardrailSettings()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    sandbox: SandboxSettings = SandboxSettings()
    forges: Forges = Field(default_factory=dict, description="Forges whose pull requests are reviewed, by name.")

    @model_validator(mode="after")
    def names(self) -> "Settings":
        """Each name means one thing."""
        check_names(self.providers, self.routes, self.models.endpoints, self.models.files)
        return self

    @model_validator(mode="after")
    def sandbox_apart(self) -> "Settings":
        """A program in the sandbox reads nothing of Tidemill's own."""
        for folder in self.sandbox.readable:
            if self.data_dir.is_relative_to(folder) or folder.is_relative_to(self.data_dir):
                raise ValueError("sandbox.readable must name no folder that holds the data folder, or lies in it")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The arguments alone: `load_settings` merges the sources."""
        return (init_settings,)

    @property
    def blobs_dir(self) -> Path:
        """Content-addressed files."""
        return self.data_dir / "blobs"

    @property
    def cache_dir(self) -> Path:
        """Large kept answers; may be deleted at any time, and is not part of a backup."""
        return self.data_dir / "cache"

    @property
    def models_dir(self) -> Path:
        """Downloaded model files; not part of a backup."""
        return self.data_dir / "models"

    @property
    def run_dir(self) -> Path:
        """What running processes tell each other: addresses and locks. Private (0700)."""
        return self.data_dir / "run"

    @property
    def key_file(self) -> Path:
        """The secret from which all others derive. Private (0600)."""
        return self.data_dir / "secret.key"

    @property
    def encryption_keys_file(self) -> Path:
        """The keys under which secrets are encrypted. Private (0600)."""
        return self.data_dir / "encryption.keys"
