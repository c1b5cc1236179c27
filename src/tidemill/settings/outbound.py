"""Which addresses the hub may ask that others chose."""

import re
from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, Field

from tidemill.settings.section import Section


def _host_or_network(text: str) -> str:
    try:
        network = ip_network(text)
    except ValueError as error:
        if "/" in text or not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?", text):
            raise ValueError(
                "must be a host's name, an address, or a network such as 10.1.0.0/16 with no bit set behind its length"
            ) from error
        return text
    if network.prefixlen == 0:
        raise ValueError("must not be all of the network: name the hosts or networks that are your own")
    return text


class OutboundSettings(Section):
    """Which addresses may be asked although they are not public."""

    allow: list[Annotated[str, AfterValidator(_host_or_network)]] = Field(
        default_factory=list,
        description="Hosts and networks that providers, callbacks, webhooks and sources may have although they are not "
        "public.",
    )
