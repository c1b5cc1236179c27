"""The shared tier of the cache of answers."""

from alembic import op

revision = "0009"
down_revision = "0008"

STATEMENTS = (
    """
    CREATE TABLE answer_cache (
        key bytea PRIMARY KEY,
        task text NOT NULL,
        config_hash text NOT NULL,
        access text NOT NULL,
        owner_id uuid,
        value bytea,
        blob text,
        size integer NOT NULL,
        semantic_scope bytea,
        embedding_version text,
        embedding vector,
        created_at timestamptz NOT NULL,
        used_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX answer_cache_by_expiry ON answer_cache (expires_at)",
    "CREATE INDEX answer_cache_by_use ON answer_cache (used_at)",
    "CREATE INDEX answer_cache_by_owner ON answer_cache (owner_id) WHERE owner_id IS NOT NULL",
    "CREATE INDEX answer_cache_by_scope ON answer_cache (semantic_scope) WHERE semantic_scope IS NOT NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
