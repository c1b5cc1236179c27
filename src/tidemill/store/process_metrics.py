"""What each process counts, left for whichever hub is asked, and how much durable work there is."""

from tidemill.store.database import Pool


class ProcessMetricsRepository:
    """The samples of every process of this database. Their times are the database's, since machines' clocks differ."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def put(self, process: str, role: str, samples: str) -> None:
        """Leaves a process's samples in place of its last ones."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO process_metrics (process, role, samples, updated_at) VALUES (%s, %s, %s, now()) "
                "ON CONFLICT (process) DO UPDATE SET role = excluded.role, samples = excluded.samples, "
                "updated_at = excluded.updated_at",
                (process, role, samples),
            )

    async def others(self, process: str, *, seconds: float) -> dict[str, str]:
        """The samples of every other process that left some in the last seconds, by the process's name."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT process, samples FROM process_metrics "
                "WHERE process <> %s AND updated_at > now() - make_interval(secs => %s) ORDER BY process",
                (process, seconds),
            )
            return {str(row["process"]): str(row["samples"]) for row in await cursor.fetchall()}

    async def remove(self, process: str) -> None:
        """Takes a process's samples away, since it ends."""
        async with self._pool.connection() as connection:
            await connection.execute("DELETE FROM process_metrics WHERE process = %s", (process,))

    async def work(self) -> dict[tuple[str, str], int]:
        """How many reviews, jobs and batches there are, by kind and state."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT 'review' AS kind, state, count(*) AS count FROM reviews GROUP BY state "
                "UNION ALL SELECT 'job', state, count(*) FROM generation_jobs GROUP BY state "
                "UNION ALL SELECT 'batch', state, count(*) FROM batches GROUP BY state"
            )
            return {(str(row["kind"]), str(row["state"])): int(str(row["count"])) for row in await cursor.fetchall()}

    async def resting(self) -> dict[tuple[str, str], bool]:
        """Of each provider that has failed or answered, and of its models, whether it is left alone now."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT provider, model, coalesce(rests_until > now(), false) OR disabled_at IS NOT NULL AS resting "
                "FROM provider_states ORDER BY provider, model"
            )
            return {(str(row["provider"]), str(row["model"])): bool(row["resting"]) for row in await cursor.fetchall()}
