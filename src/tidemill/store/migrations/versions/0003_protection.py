"""Encrypted secrets, the level of each stored text, and receipts of erasure."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    """
    CREATE TABLE secrets (
        name text PRIMARY KEY,
        key_id text NOT NULL,
        nonce bytea NOT NULL,
        ciphertext bytea NOT NULL,
        updated_at timestamptz NOT NULL
    )
    """,
    """
    ALTER TABLE inference_texts ADD COLUMN level text NOT NULL DEFAULT 'internal'
    CHECK (level IN ('public', 'internal', 'confidential', 'secret'))
    """,
    """
    CREATE TABLE erasures (
        id uuid PRIMARY KEY,
        user_id uuid NOT NULL,
        receipt json NOT NULL,
        at timestamptz NOT NULL
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
