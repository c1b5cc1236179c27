"""Everything that is kept: the embedded PostgreSQL, tables and migrations, one repository for each aggregate, blobs.

May import `analysis`, `telemetry`, `settings` and `core`. A repository writes what it is given: ids, times and
decisions are made by whoever calls it.
"""
