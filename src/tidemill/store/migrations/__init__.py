"""Alembic's migrations, as plain SQL. Only `tidemill.store.schema` runs them."""
