"""Reviews that ended without a verdict, by the end: few of them have a check that still has to be closed."""

from alembic import op

revision = "0018"
down_revision = "0017"

STATEMENTS = (
    """
    CREATE INDEX pull_request_runs_unclosed ON pull_request_runs (finished_at)
    WHERE state IN ('superseded', 'skipped') AND counts ->> 'checked' IS NOT NULL
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
