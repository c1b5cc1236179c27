"""What an address of the network is: public, of one's own, or one that must never be asked.

The kinds follow IANA's registries of special-purpose addresses (https://www.iana.org/assignments/
iana-ipv4-special-registry, iana-ipv6-special-registry). An IPv6 address that carries an IPv4 address is judged as that
one, since that is where its packets may go: mapped (RFC 4291 §2.5.5.2), compatible (§2.5.5.1), translated (RFC 6052
§2.1, RFC 2765 §2.1) and 6to4 (RFC 3056 §2).
"""

import re
import unicodedata
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Reach(StrEnum):
    """Where an address lies."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    SHARED = "shared"
    """Behind a carrier's or an overlay network's translation (RFC 6598)."""
    LINK_LOCAL = "link-local"
    MULTICAST = "multicast"
    RESERVED = "reserved"
    METADATA = "metadata"
    """A cloud's metadata service, which gives its machine's credentials to whoever asks."""


ONES_OWN = frozenset({Reach.LOOPBACK, Reach.PRIVATE, Reach.SHARED})
"""Where the machines of one's own network are."""

METADATA_ADDRESSES = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google Cloud, OpenStack and others
        "169.254.170.2",  # AWS: credentials of a container's task
        "169.254.170.23",  # AWS: credentials of a pod
        "169.254.0.23",  # Tencent Cloud
        "168.63.129.16",  # Azure's agent of the host
        "192.0.0.192",  # Oracle Cloud
        "100.100.100.200",  # Alibaba Cloud
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS: credentials of a pod
        "fd20:ce::254",  # Google Cloud
        "fd00:42::42",  # Scaleway
        "fe80::a9fe:a9fe",  # OpenStack
    )
)
METADATA_NAMES = frozenset(
    {
        "instance-data",
        "instance-data.ec2.internal",
        "metadata",
        "metadata.azure.internal",
        "metadata.goog",
        "metadata.google.internal",
        "metadata.packet.net",
        "metadata.platformequinix.com",
        "metadata.tencentyun.com",
        "rancher-metadata",
    }
)

_V4 = (
    (Reach.RESERVED, "0.0.0.0/8 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24"),
    (Reach.RESERVED, "203.0.113.0/24 240.0.0.0/4"),
    (Reach.PRIVATE, "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16"),
    (Reach.SHARED, "100.64.0.0/10"),
    (Reach.LOOPBACK, "127.0.0.0/8"),
    (Reach.LINK_LOCAL, "169.254.0.0/16"),
    (Reach.MULTICAST, "224.0.0.0/4"),
)
_V6 = (
    (Reach.LOOPBACK, "::1/128"),
    (Reach.PRIVATE, "fc00::/7"),
    (Reach.LINK_LOCAL, "fe80::/10"),
    (Reach.MULTICAST, "ff00::/8"),
    (Reach.RESERVED, "2001::/23 2001:db8::/32 3fff::/20"),
)
_V4_REACH = [(IPv4Network(network), reach) for reach, named in _V4 for network in named.split()]
_V6_REACH = [(IPv6Network(network), reach) for reach, named in _V6 for network in named.split()]
_V6_PUBLIC = IPv6Network("2000::/3")
_6TO4 = IPv6Network("2002::/16")
_WITH_V4_LAST = [IPv6Network(one) for one in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")]
_NOT_COMPATIBLE = frozenset({IPv6Address("::"), IPv6Address("::1")})

SINGLE_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
"""A name without a dot is one of the machine's or of its own network, as containers call each other."""
INSIDE = (".localhost", ".local", ".internal")
_PART = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one carries, else the address itself, without a zone."""
    if isinstance(address, IPv4Address):
        return address
    value = int(address)
    plain = IPv6Address(value)
    if plain in _6TO4:
        return IPv4Address((value >> 80) & 0xFFFFFFFF)
    if plain not in _NOT_COMPATIBLE and any(plain in network for network in _WITH_V4_LAST):
        return IPv4Address(value & 0xFFFFFFFF)
    return plain


def reach_of(address: Address) -> Reach:
    """Where an address lies, or the one that it carries."""
    judged = embedded(address)
    if judged in METADATA_ADDRESSES:
        return Reach.METADATA
    if isinstance(judged, IPv4Address):
        return next((reach for network, reach in _V4_REACH if judged in network), Reach.PUBLIC)
    found = next((reach for network, reach in _V6_REACH if judged in network), None)
    return found or (Reach.PUBLIC if judged in _V6_PUBLIC else Reach.RESERVED)


def normal_host(host: str) -> str:
    """A host as it is compared: without brackets and the root's dot, in lower case, look-alike letters replaced."""
    plain = unicodedata.normalize("NFKC", host).replace("\u3002", ".").strip().lower()
    return plain.removeprefix("[").removesuffix("]").rstrip(".")


def literal_address(host: str) -> Address | None:
    """The address that a host is written as, in any form that a resolver takes; `None` for a name.

    Beside the usual forms these are one to four numbers, each decimal, octal or hexadecimal, of which the last fills
    what is left of the 32 bits (inet_aton, https://pubs.opengroup.org/onlinepubs/9799919799/functions/inet_addr.html).
    """
    plain = normal_host(host)
    try:
        return ip_address(plain)
    except ValueError:
        pass
    parts = plain.split(".")
    if len(parts) > 4 or not all(_PART.fullmatch(part) for part in parts):
        return None
    numbers = [_number(part) for part in parts]
    if None in numbers:
        return None
    *first, last = [number for number in numbers if number is not None]
    if any(number > 255 for number in first) or last >= 256 ** (4 - len(first)):
        return None
    return IPv4Address(sum(number << (24 - 8 * place) for place, number in enumerate(first)) + last)


def is_metadata_name(host: str) -> bool:
    """Whether a name is known to be that of a cloud's metadata service."""
    return normal_host(host) in METADATA_NAMES


def is_inside(host: str) -> bool:
    """Whether a host is of one's own network, as far as its name or address says; nothing is looked up.

    An address in an unusual form counts as outside, and so does any that carries another.
    """
    plain = normal_host(host)
    try:
        address = ip_address(plain)
    except ValueError:
        return plain.endswith(INSIDE) or bool(SINGLE_LABEL.fullmatch(plain))
    return address == embedded(address) and reach_of(address) in ONES_OWN | {Reach.LINK_LOCAL}


def url_host(url: str) -> str:
    """The host in an address that was checked when it was given; empty where there is none."""
    return urlsplit(url).hostname or ""


def _number(part: str) -> int | None:
    """As C reads it; `None` for an octal number with an 8 or a 9."""
    try:
        if part[:2].lower() == "0x":
            return int(part[2:] or "0", 16)
        return int(part, 8) if part.startswith("0") and len(part) > 1 else int(part)
    except ValueError:
        return None
