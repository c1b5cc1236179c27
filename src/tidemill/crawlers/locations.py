"""The addresses that sources are given."""

from tidemill.core.document import Source
from tidemill.core.errors import InvalidInput
from tidemill.crawlers.urls import canonical_url


def address_of(source: Source) -> str:
    """The address of a site, a feed or a forge's project, in its canonical form.

    Raises:
        InvalidInput: it is none.
    """
    address = canonical_url(source.location)
    if address is None:
        raise InvalidInput(
            "The location of such a source is an address that begins with http:// or https:// and a host's name, "
            "without a user and a password.",
            param="location",
        )
    return address
