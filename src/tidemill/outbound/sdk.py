"""The transport and the client as the SDKs that build on httpx2 want them. Imported when the first SDK is."""

import httpx2

from tidemill.outbound.plain import PlainRequests
from tidemill.outbound.transport import Body, CheckedTransport


class SdkTransport(CheckedTransport, httpx2.AsyncBaseTransport):
    """The transport as httpx2 wants it."""


class SdkBody(Body, httpx2.AsyncByteStream):
    """An answer's body as httpx2 wants it."""


class SdkClient(PlainRequests, httpx2.AsyncClient):
    """The client as httpx2 has it."""
