"""The transport as httpx2 wants it. Imported when the first SDK is."""

import httpx2

from tidemill.outbound.transport import Body, CheckedTransport


class SdkTransport(CheckedTransport, httpx2.AsyncBaseTransport):
    """The transport as httpx2 wants it."""


class SdkBody(Body, httpx2.AsyncByteStream):
    """An answer's body as httpx2 wants it."""
