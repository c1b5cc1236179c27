"""Conversations: messages in a tree, and the summaries that stand in for the older ones.

`search_text` makes of a text what is searched: without diacritics, so that words match with and without them, and no
longer than fits into a `tsvector` (1 MiB). Its functions are immutable, as a generated column needs; PostgreSQL's own
`unaccent` is neither that nor everywhere. PostgreSQL's parser looks ahead anew at each `<`, `_`, `@` or `-` for a tag,
an address or a compound, up to the next space or further: 60,000 characters of `a_` take it half a minute. So there
are no such signs that reach over a space, and a space after 100 characters without one.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    """
    CREATE FUNCTION search_text(given text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
        SELECT pg_catalog.regexp_replace(
            pg_catalog.left(
                pg_catalog.translate(
                    pg_catalog.regexp_replace(
                        pg_catalog.normalize(pg_catalog.left(given, 60000), 'NFD'), '[\u0300-\u036f]', '', 'g'
                    ),
                    'đĐ<_', 'dD  '
                ),
                60000
            ),
            '([^[:space:]]{100})', '\\1 ', 'g'
        )
    $$
    """,
    """
    CREATE TABLE conversations (
        id uuid PRIMARY KEY,
        owner_id uuid NOT NULL,
        title text NOT NULL,
        titled_by text NOT NULL CHECK (titled_by IN ('first_message', 'model', 'person')),
        model text NOT NULL,
        history text NOT NULL CHECK (history IN ('window', 'summary')),
        system text,
        leaf_id uuid,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        words tsvector GENERATED ALWAYS AS (to_tsvector('simple', search_text(title))) STORED
    )
    """,
    "CREATE INDEX conversations_by_owner ON conversations (owner_id, updated_at DESC, id DESC)",
    "CREATE INDEX conversations_by_time ON conversations (updated_at)",
    """
    CREATE TABLE messages (
        id uuid PRIMARY KEY,
        conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        parent_id uuid REFERENCES messages (id) ON DELETE CASCADE,
        role text NOT NULL CHECK (role IN ('user', 'assistant')),
        content text NOT NULL,
        level text NOT NULL DEFAULT 'internal' CHECK (level IN ('public', 'internal', 'confidential', 'secret')),
        model text,
        inference_id uuid,
        citations json NOT NULL DEFAULT '[]',
        finish_reason text,
        prompt_bytes integer,
        prompt_tokens integer,
        completion_tokens integer,
        created_at timestamptz NOT NULL,
        words tsvector GENERATED ALWAYS AS (to_tsvector('simple', search_text(content))) STORED
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
