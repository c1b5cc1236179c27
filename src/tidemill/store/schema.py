"""The schema's revision, and the migrations that bring it to this version's.

Migrations follow one another in a line, and each file's name begins with its revision. So nothing but the upgrade
itself needs Alembic, which with SQLAlchemy would be half of the time that a command takes to start.
"""

from importlib import resources
from pathlib import Path

import psycopg

from tidemill.core.errors import Configuration, DataFolderNewer
from tidemill.store.database import sqlalchemy_url

LOCK = 7304771230


def migrate(url: str) -> None:
    """Brings the schema to this version's. Safe to run from several processes at once.

    Raises:
        DataFolderNewer: the schema was made by a later version.
        Configuration: the server can't be reached or refuses, or the database lacks pgvector.
    """
    current, newest = schema_revision(url)
    if current == newest:
        return
    if current is not None and current not in _revisions():
        raise DataFolderNewer(
            f"The database's schema is revision {current}, which this version of Tidemill does not know: "
            "a later version has written it. Install that version, or restore a backup made before."
        )
    _upgrade(url)


def schema_revision(url: str) -> tuple[str | None, str]:
    """The revision that the database has, and the one that this version makes.

    Raises:
        Configuration: the server can't be reached or refuses.
    """
    sqlalchemy_url(url)  # the one form of address that all of the project takes
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
            if row is not None and row[0] is not None:
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except psycopg.OperationalError as error:
        raise Configuration(f"The database can't be used: {str(error).strip()}") from error
    return (str(row[0]) if row and row[0] else None), _revisions()[-1]


def _upgrade(url: str) -> None:
    import sqlalchemy  # noqa: PLC0415
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    engine = sqlalchemy.create_engine(sqlalchemy_url(url), poolclass=sqlalchemy.NullPool)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            if connection.exec_driver_sql("SELECT to_regtype('vector')").scalar() is None:
                raise Configuration(
                    "The database lacks the extension pgvector, which Tidemill's tables need. Install pgvector on the "
                    "server, run `CREATE EXTENSION vector` in this database as superuser, then start again."
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except sqlalchemy.exc.OperationalError as error:
        raise Configuration(f"The database can't be used: {str(error.orig).strip()}") from error
    finally:
        engine.dispose()


def _folder() -> Path:
    return Path(str(resources.files("tidemill.store"))) / "migrations"


def _revisions() -> list[str]:
    return sorted(path.name.partition("_")[0] for path in (_folder() / "versions").glob("[0-9]*_*.py"))
