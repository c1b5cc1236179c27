"""Filters of a search as conditions on documents."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tidemill.core.search import Filters
from tidemill.core.text import storable

_GLOB = re.compile(r"[*?]")
_SPECIAL = re.compile(r"[\\%_]")


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Conditions over `documents` and `sources`, with their values; none where nothing is narrowed."""

    conditions: tuple[str, ...]
    values: Mapping[str, object]

    @property
    def narrows(self) -> bool:
        """Whether there is any condition."""
        return bool(self.conditions)

    def join(self, chunk: str) -> str:
        """What narrows a query to the documents: joins and conditions. `chunk` is its column with the chunk's id."""
        return (
            f"JOIN chunks AS narrowed ON narrowed.id = {chunk} "
            "JOIN documents ON documents.id = narrowed.document_id "
            "JOIN sources ON sources.id = documents.source_id AND " + " AND ".join(self.conditions)
        )


def narrowing_of(filters: Filters) -> Narrowing:
    """The conditions of the filters. What no database can hold in a text matches nothing."""
    found: dict[str, tuple[str, object]] = {
        "sources": ("sources.name = ANY(%(sources)s)", [storable(one) for one in filters.sources]),
        "kinds": ("documents.kind = ANY(%(kinds)s)", [str(kind) for kind in filters.kinds]),
        "platforms": (
            "lower(documents.platform) = ANY(%(platforms)s)",
            [storable(one).lower() for one in filters.platforms],
        ),
        "authors": ("lower(documents.author) = ANY(%(authors)s)", [storable(one).lower() for one in filters.authors]),
        "languages": ("documents.language = ANY(%(languages)s)", [storable(one).lower() for one in filters.languages]),
        "paths": ("documents.path LIKE ANY(%(paths)s)", [like(storable(path)) for path in filters.paths]),
        "after": ("coalesce(documents.published_at, documents.modified_at) >= %(after)s", filters.after),
        "before": ("coalesce(documents.published_at, documents.modified_at) < %(before)s", filters.before),
    }
    given = {name: one for name, one in found.items() if one[1]}
    return Narrowing(
        tuple(condition for condition, _ in given.values()), {name: value for name, (_, value) in given.items()}
    )


def like(path: str) -> str:
    """A prefix or a glob as a pattern of LIKE. `*` stands for any characters, `?` for one; others for themselves."""
    escaped = _SPECIAL.sub(lambda found: f"\\{found[0]}", path)
    if not _GLOB.search(path):
        return f"{escaped}%"
    return re.sub(r"\*+", "%", escaped).replace("?", "_")
