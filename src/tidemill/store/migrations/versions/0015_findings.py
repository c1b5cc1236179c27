"""What else a finding has: its kind, how sure it is, the way of the value, and lines that mend it."""

from alembic import op

revision = "0015"
down_revision = "0014"

STATEMENTS = (
    """
    ALTER TABLE review_findings
        ADD COLUMN category text NOT NULL DEFAULT 'other',
        ADD COLUMN confidence double precision NOT NULL DEFAULT 0.5,
        ADD COLUMN trace json NOT NULL DEFAULT '[]',
        ADD COLUMN suggestion json
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
