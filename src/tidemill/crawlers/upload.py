"""Documents that people uploaded, each under the name that it was given."""

from collections.abc import AsyncGenerator, Mapping

from tidemill.core.document import RawDocument, Source
from tidemill.core.errors import InvalidInput
from tidemill.crawlers.options import NoOptions, options_of
from tidemill.crawlers.port import Found, Known, Unchanged
from tidemill.store.blobs import BlobStore
from tidemill.store.sources import SourceRepository


class UploadCrawler:
    """Collects what was uploaded to a source."""

    def __init__(self, sources: SourceRepository, blobs: BlobStore) -> None:
        self._sources = sources
        self._blobs = blobs

    def check(self, source: Source) -> None:
        """As the port says."""
        options_of(source, NoOptions)
        if source.location:
            raise InvalidInput("A source of uploads has no location. Leave it out.", param="location")

    async def crawl(self, source: Source, known: Mapping[str, Known]) -> AsyncGenerator[Found, None]:
        """As the port says."""
        for upload in await self._sources.uploads(source.id):
            before = known.get(upload.path)
            if before is not None and before.digest == upload.digest:
                yield Unchanged(upload.path)
            else:
                data = await self._blobs.get(upload.digest)
                yield RawDocument(upload.path, data, modified_at=upload.uploaded_at, platform="upload")
