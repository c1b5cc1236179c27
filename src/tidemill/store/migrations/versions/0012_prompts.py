"""Versions of prompts that a team has set."""

from alembic import op

revision = "0012"
down_revision = "0011"

STATEMENTS = (
    """
    CREATE TABLE prompts (
        name text NOT NULL,
        language text NOT NULL,
        version integer NOT NULL,
        hash text NOT NULL,
        template text NOT NULL,
        note text,
        actor_id uuid,
        active boolean NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (name, language, version)
    )
    """,
    "CREATE UNIQUE INDEX prompts_active ON prompts (name, language) WHERE active",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
