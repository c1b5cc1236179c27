"""Where a string stands in the database and in the data folder: every column of every table, and every file.

Not searched: downloaded models, and PostgreSQL's own files, in which what was deleted can stand until it is
overwritten.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from tidemill.core.errors import Configuration
from tidemill.store.data_folder import CLUSTER
from tidemill.store.database import Pool

PIECE = 1024 * 1024
NOT_SEARCHED = {CLUSTER, "models", "postgres-binaries", "socket"}

COLUMNS = """
SELECT n.nspname AS schema, c.relname AS "table", a.attname AS "column", t.typname AS type
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind IN ('r', 'p', 'm') AND a.attnum > 0 AND NOT a.attisdropped
AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1, 2, a.attnum
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where it was found, `schema.table.column` or a file's path in the data folder, and in how many rows or times."""

    where: str
    count: int


async def search_tables(pool: Pool, wanted: str) -> list[Place]:
    """Every column in which it stands, whatever its case, as it is or as JSON escapes it."""
    found = []
    async with pool.connection() as connection:
        columns = await (await connection.execute(COLUMNS)).fetchall()
        for column in columns:
            name = sql.Identifier(str(column["column"]))
            if column["type"] == "bytea":
                holds = sql.SQL("position(%(raw)s::bytea IN {}) > 0").format(name)
            else:
                holds = sql.SQL(
                    "strpos(lower({0}::text), lower(%(plain)s)) > 0 OR strpos(lower({0}::text), lower(%(escaped)s)) > 0"
                ).format(name)
            query = sql.SQL("SELECT count(*) AS count FROM {}.{} WHERE {}").format(
                sql.Identifier(str(column["schema"])), sql.Identifier(str(column["table"])), holds
            )
            values = {"raw": wanted.encode(), "plain": wanted, "escaped": json.dumps(wanted)[1:-1]}
            row = await (await connection.execute(query, values)).fetchone()
            if row is not None and row["count"]:
                where = f"{column['schema']}.{column['table']}.{column['column']}"
                found.append(Place(where, int(str(row["count"]))))
    return found


def search_files(data_dir: Path, wanted: str) -> list[Place]:
    """Every file in which it stands, ASCII letters in any case.

    Raises:
        Configuration: a file can't be read.
    """
    needles = {form.encode().lower() for form in (wanted, json.dumps(wanted)[1:-1])}
    found = []
    for path in _files(data_dir):
        try:
            count = sum(_count(path, needle) for needle in needles)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Configuration(f"{path} can't be searched: {error.strerror}. Run this as its owner.") from error
        count += sum(path.name.lower().encode().count(needle) for needle in needles)
        if count:
            found.append(Place(str(path.relative_to(data_dir)), count))
    return found


def _files(data_dir: Path) -> Iterator[Path]:
    for entry in sorted(data_dir.iterdir()):
        if entry.name not in NOT_SEARCHED and not entry.is_symlink():
            yield from (path for path in ([entry] if entry.is_file() else sorted(entry.rglob("*"))) if path.is_file())


def _count(path: Path, needle: bytes) -> int:
    count, tail = 0, b""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            window = tail + piece.lower()
            count += window.count(needle)
            tail = window[len(window) - len(needle) + 1 :] if len(needle) > 1 else b""
    return count
