"""What forges' webhooks delivered."""

from alembic import op

revision = "0016"
down_revision = "0015"

STATEMENTS = (
    # `digest` is of the body: GitHub's and Gitea's signatures don't cover a delivery's id, and under a new one a body
    # that was overheard would count as new. The body goes by retention, the rest stays longer.
    """
    CREATE TABLE deliveries (
        id uuid PRIMARY KEY,
        forge text NOT NULL,
        delivery text NOT NULL,
        event text NOT NULL,
        actor text NOT NULL,
        digest text NOT NULL,
        payload bytea,
        state text NOT NULL CHECK (state IN ('received', 'done', 'failed')),
        attempt integer NOT NULL DEFAULT 0,
        error text,
        received_at timestamptz NOT NULL,
        ended_at timestamptz,
        UNIQUE (forge, delivery),
        UNIQUE (forge, digest)
    )
    """,
    "CREATE INDEX deliveries_by_time ON deliveries (received_at)",
    "CREATE INDEX deliveries_waiting ON deliveries (received_at) WHERE state = 'received'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
