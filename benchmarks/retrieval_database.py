"""A database of its own for a benchmark of retrieval."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tidemill.settings import Settings
from tidemill.store.embedded import EmbeddedPostgres
from tidemill.store.schema import migrate
from tidemill.store.secret_key import load_secret_key

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@contextmanager
def database() -> Iterator[str]:
    """The URL of an empty, migrated database, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        Path(folder).chmod(0o711)
        settings = Settings(data_dir=Path(folder) / "data")
        with EmbeddedPostgres.acquire(settings, load_secret_key(settings)) as server:
            migrate(server.url)
            yield server.url
