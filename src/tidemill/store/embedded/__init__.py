"""A real PostgreSQL with pgvector that Tidemill starts, shares between its processes, revives and stops.

Reached through a socket in a private folder alone. See `docs/database.md`.
"""

from tidemill.store.embedded.postgres import EmbeddedPostgres, EmbeddedStatus, inspect

__all__ = ["EmbeddedPostgres", "EmbeddedStatus", "inspect"]
