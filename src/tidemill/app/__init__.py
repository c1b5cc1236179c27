"""Composition: builds the objects and wires them, and nothing else. May import everything below it in the house."""

from tidemill.app.data import open_data, open_prompts, open_secrets
from tidemill.app.database import Database, open_database
from tidemill.app.hub import open_hub
from tidemill.app.limits import open_limits
from tidemill.app.people import open_accounts, open_entrance
from tidemill.app.providers import open_providers

__all__ = [
    "Database",
    "open_accounts",
    "open_data",
    "open_database",
    "open_entrance",
    "open_hub",
    "open_limits",
    "open_prompts",
    "open_providers",
    "open_secrets",
]
