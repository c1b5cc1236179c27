"""Runs migrations on the connection that `tidemill.store.schema.migrate` passes."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
with context.begin_transaction():
    context.run_migrations()
