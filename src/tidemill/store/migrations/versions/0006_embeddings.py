"""The cache of embeddings, by model version and content."""

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = (
    """
    CREATE TABLE embedding_cache (
        model_version text NOT NULL,
        content_hash bytea NOT NULL,
        vector bytea NOT NULL,
        tokens integer NOT NULL,
        owner_id uuid,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (model_version, content_hash)
    )
    """,
    "CREATE INDEX embedding_cache_by_time ON embedding_cache (created_at)",
    "CREATE INDEX embedding_cache_by_owner ON embedding_cache (owner_id) WHERE owner_id IS NOT NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
