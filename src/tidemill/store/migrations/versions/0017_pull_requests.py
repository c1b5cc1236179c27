"""Pull requests, what is done for each, the comments that were placed, and what became of them."""

from alembic import op

revision = "0017"
down_revision = "0016"

STATEMENTS = (
    """
    CREATE TABLE pull_requests (
        id uuid PRIMARY KEY,
        forge text NOT NULL,
        project text NOT NULL,
        number bigint NOT NULL,
        title text NOT NULL DEFAULT '',
        author text NOT NULL DEFAULT '',
        state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'merged', 'closed')),
        base text NOT NULL DEFAULT '',
        head text NOT NULL DEFAULT '',
        target text NOT NULL DEFAULT '',
        source text NOT NULL DEFAULT '',
        fork boolean NOT NULL DEFAULT false,
        draft boolean NOT NULL DEFAULT false,
        url text NOT NULL DEFAULT '',
        merge_commit text,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        UNIQUE (forge, project, number)
    )
    """,
    "CREATE INDEX pull_requests_by_time ON pull_requests (updated_at DESC)",
    # One piece of work for each cause, however often a forge tells of it. Of a review the id is the review's, too.
    """
    CREATE TABLE pull_request_runs (
        id uuid PRIMARY KEY,
        pull_request_id uuid NOT NULL REFERENCES pull_requests ON DELETE CASCADE,
        kind text NOT NULL CHECK (kind IN ('review', 'command', 'outcomes')),
        cause text NOT NULL,
        head text NOT NULL,
        event json,
        state text NOT NULL
            CHECK (state IN ('queued', 'running', 'waiting', 'done', 'skipped', 'superseded', 'failed')),
        attempt integer NOT NULL DEFAULT 0,
        again_at timestamptz,
        reason text,
        asked_by text,
        counts json NOT NULL DEFAULT '{}',
        created_at timestamptz NOT NULL,
        finished_at timestamptz,
        UNIQUE (pull_request_id, cause)
    )
    """,
    """
    CREATE INDEX pull_request_runs_unfinished ON pull_request_runs (created_at)
    WHERE state IN ('queued', 'running', 'waiting')
    """,
    """
    CREATE TABLE placed_comments (
        id uuid PRIMARY KEY,
        pull_request_id uuid NOT NULL REFERENCES pull_requests ON DELETE CASCADE,
        review_id uuid REFERENCES reviews ON DELETE SET NULL,
        head text NOT NULL,
        fingerprint text NOT NULL,
        finding json NOT NULL,
        inference_id uuid,
        comment text NOT NULL,
        thread text,
        state text NOT NULL CHECK (state IN ('open', 'fixed', 'resolved', 'dismissed', 'ignored')),
        placed_at timestamptz NOT NULL,
        UNIQUE (pull_request_id, fingerprint)
    )
    """,
    "CREATE INDEX placed_comments_by_review ON placed_comments (review_id)",
    # Of a whole project where `number` is null.
    """
    CREATE TABLE ignored_findings (
        forge text NOT NULL,
        project text NOT NULL,
        number bigint,
        fingerprint text NOT NULL,
        login text,
        at timestamptz NOT NULL,
        UNIQUE NULLS NOT DISTINCT (forge, project, number, fingerprint)
    )
    """,
    """
    CREATE TABLE comment_feedback (
        id uuid PRIMARY KEY,
        placed_id uuid NOT NULL REFERENCES placed_comments ON DELETE CASCADE,
        outcome text NOT NULL,
        source text NOT NULL,
        login text,
        code_before text,
        code_after text,
        level text NOT NULL CHECK (level IN ('public', 'internal', 'confidential', 'secret')),
        detail json NOT NULL,
        at timestamptz NOT NULL,
        UNIQUE (placed_id, outcome, source)
    )
    """,
    "CREATE INDEX comment_feedback_by_time ON comment_feedback (at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
