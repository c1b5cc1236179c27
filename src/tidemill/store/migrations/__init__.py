"""Alembic's migrations, as plain SQL. Only `tidemill.store.database` runs them."""
