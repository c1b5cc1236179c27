"""Uploaded files, and stored responses."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = (
    """
    CREATE TABLE files (
        id uuid PRIMARY KEY,
        owner_id uuid NOT NULL,
        filename text NOT NULL,
        purpose text NOT NULL,
        bytes bigint NOT NULL,
        digest text NOT NULL,
        level text NOT NULL DEFAULT 'internal' CHECK (level IN ('public', 'internal', 'confidential', 'secret')),
        created_at timestamptz NOT NULL,
        expires_at timestamptz
    )
    """,
    "CREATE INDEX files_by_owner ON files (owner_id, created_at DESC, id)",
    "CREATE INDEX files_by_digest ON files (digest)",
    """
    CREATE TABLE responses (
        id uuid PRIMARY KEY,
        owner_id uuid NOT NULL,
        previous_id uuid,
        inference_id uuid,
        input json NOT NULL,
        response json NOT NULL,
        level text NOT NULL DEFAULT 'internal' CHECK (level IN ('public', 'internal', 'confidential', 'secret')),
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX responses_by_owner ON responses (owner_id, created_at DESC)",
    "CREATE INDEX responses_by_expiry ON responses (expires_at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
