"""What durable work has recorded of reviews that ended, which goes with the logs."""

from datetime import datetime

from tidemill.flows.review import WORKFLOW
from tidemill.jobs.durable import forget_workflows
from tidemill.store.database import Pool
from tidemill.store.retention import RetentionRepository


async def forget_steps(pool: Pool, rows: RetentionRepository, before: datetime) -> int:
    """Deletes events and recorded steps of reviews that ended before a time; returns how many reviews there were."""
    reviews = await rows.ended_reviews(before)
    async with pool.connection() as connection, connection.transaction():
        await forget_workflows(connection, WORKFLOW, [str(review) for review in reviews])
        await connection.execute("DELETE FROM review_events WHERE review_id = ANY(%s)", (reviews,))
    return len(reviews)
