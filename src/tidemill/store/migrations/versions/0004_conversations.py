"""Conversations: messages in a tree, and the summaries that stand in for the older ones."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    """
    CREATE TABLE conversations (
        id uuid PRIMARY KEY,
        owner_id uuid NOT NULL,
        title text NOT NULL,
        titled_by text NOT NULL CHECK (titled_by IN ('first_message', 'model', 'person')),
        model text NOT NULL,
        history text NOT NULL CHECK (history IN ('window', 'summary')),
        leaf_id uuid,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX conversations_by_owner ON conversations (owner_id, updated_at DESC, id)",
    "CREATE INDEX conversations_by_time ON conversations (updated_at)",
    """
    CREATE TABLE messages (
        id uuid PRIMARY KEY,
        conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        parent_id uuid REFERENCES messages (id) ON DELETE CASCADE,
        role text NOT NULL CHECK (role IN ('system', 'user', 'assistant')),
        content text NOT NULL,
        level text NOT NULL DEFAULT 'internal' CHECK (level IN ('public', 'internal', 'confidential', 'secret')),
        inference_id uuid,
        citations json NOT NULL DEFAULT '[]',
        finish_reason text,
        created_at timestamptz NOT NULL,
        words tsvector GENERATED ALWAYS AS (to_tsvector('simple', left(content, 500000))) STORED
    )
    """,
    "CREATE INDEX messages_by_conversation ON messages (conversation_id, created_at, id)",
    "CREATE INDEX messages_by_parent ON messages (parent_id)",
    "CREATE INDEX messages_by_word ON messages USING gin (words)",
    """
    CREATE TABLE conversation_summaries (
        message_id uuid PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
        content text NOT NULL,
        inference_id uuid,
        created_at timestamptz NOT NULL
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
