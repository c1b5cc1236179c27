"""Which addresses may be asked."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from tidemill.analysis.addresses import (
    ONES_OWN,
    Address,
    Network,
    Reach,
    embedded,
    is_metadata_name,
    normal_host,
    reach_of,
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be asked beside public addresses.

    Attributes:
        hosts: names, and addresses as they are written, whose addresses may lie anywhere.
        networks: addresses that may be asked under any name.
        allow_private: whether loopback, private and shared addresses may be asked.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    allow_private: bool = False

    @classmethod
    def of(cls, allowed: Iterable[str], *, allow_private: bool = False) -> "Policy":
        """The policy of a list of hosts, addresses and networks such as `10.1.0.0/16`."""
        hosts, networks = set(), []
        for one in allowed:
            try:
                networks.append(ip_network(one))
            except ValueError:
                hosts.add(normal_host(one))
        return cls(frozenset(hosts), tuple(networks), allow_private)

    def refusal(self, host: str, address: Address) -> str | None:
        """Why an address of a host may not be asked, as what it is; `None` where it may.

        A metadata service may never be asked, whatever is allowed.
        """
        reach = reach_of(address)
        if reach is Reach.METADATA or is_metadata_name(host):
            return "a cloud's metadata service"
        if reach is Reach.PUBLIC or normal_host(host) in self.hosts:
            return None
        judged = embedded(address)
        if any(judged in network for network in self.networks):
            return None
        if self.allow_private and reach in ONES_OWN:
            return None
        return f"a {reach} address"
