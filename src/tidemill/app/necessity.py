"""What people made of comments, to train the model on that scores hunks."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from tidemill.app.database import Database
from tidemill.core.json import JsonObject
from tidemill.flows.necessity_examples import necessity_examples
from tidemill.settings import Settings
from tidemill.store.blobs import BlobStore
from tidemill.store.database import make_pool
from tidemill.store.placed_comments import PlacedCommentRepository
from tidemill.store.reviews import ReviewRepository


@asynccontextmanager
async def open_examples(settings: Settings, database: Database) -> AsyncGenerator[AsyncIterator[JsonObject]]:
    """The examples of this database, without those that are too sensitive for models to learn from."""
    async with make_pool(database.url, size=4) as pool:
        feedback = PlacedCommentRepository(pool).all_feedback(since=None)
        most = settings.protection.training_up_to
        yield necessity_examples(feedback, ReviewRepository(pool), BlobStore(settings.blobs_dir), most=most)
