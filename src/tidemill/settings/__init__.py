"""The settings tree, read once from `tidemill.yaml` and the environment, and passed in.

Sources, later ones win: the defaults here; `tidemill.yaml` in the data folder, or the file that `TIDEMILL_CONFIG`
names; environment variables (`TIDEMILL_PORT`, `TIDEMILL_REVIEW__MAX_HUNKS`, and `DATABASE_URL`); options of the
command line. An unknown key is an error that names it. An empty environment variable counts as not set.

May import core alone.
"""

from tidemill.settings.cache import CacheSettings, SemanticCacheSettings
from tidemill.settings.data import (
    ConversationSettings,
    DatabaseSettings,
    FileSettings,
    ProtectionSettings,
    RetentionSettings,
    ReviewSettings,
)
from tidemill.settings.jobs import JobSettings
from tidemill.settings.models import (
    HUB_FILE,
    AdapterSettings,
    EmbeddingEndpointSettings,
    EmbeddingSettings,
    EndpointSettings,
    ModelSettings,
    ServerSettings,
)
from tidemill.settings.outbound import OutboundSettings
from tidemill.settings.people import AuthSettings, OidcSettings, PasswordSettings
from tidemill.settings.sources import load_settings
from tidemill.settings.tree import Settings, default_data_dir

__all__ = [
    "HUB_FILE",
    "AdapterSettings",
    "AuthSettings",
    "CacheSettings",
    "ConversationSettings",
    "DatabaseSettings",
    "EmbeddingEndpointSettings",
    "EmbeddingSettings",
    "EndpointSettings",
    "FileSettings",
    "JobSettings",
    "ModelSettings",
    "OidcSettings",
    "OutboundSettings",
    "PasswordSettings",
    "ProtectionSettings",
    "RetentionSettings",
    "ReviewSettings",
    "SemanticCacheSettings",
    "ServerSettings",
    "Settings",
    "default_data_dir",
    "load_settings",
]
