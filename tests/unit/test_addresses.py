"""Addresses are judged for where they lead, in whatever form they are written."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.analysis.addresses import (
    METADATA_ADDRESSES,
    Reach,
    embedded,
    is_inside,
    is_metadata_name,
    literal_address,
    reach_of,
)
from tidemill.outbound.policy import Policy

V4 = st.ip_addresses(v=4)


@pytest.mark.parametrize(
    ("text", "reach"),
    [
        ("8.8.8.8", Reach.PUBLIC),
        ("1.1.1.1", Reach.PUBLIC),
        ("172.15.255.255", Reach.PUBLIC),
        ("172.32.0.0", Reach.PUBLIC),
        ("100.63.255.255", Reach.PUBLIC),
        ("2606:4700:4700::1111", Reach.PUBLIC),
        ("127.0.0.1", Reach.LOOPBACK),
        ("127.255.255.254", Reach.LOOPBACK),
        ("::1", Reach.LOOPBACK),
        ("10.0.0.1", Reach.PRIVATE),
        ("172.16.0.1", Reach.PRIVATE),
        ("172.31.255.255", Reach.PRIVATE),
        ("192.168.1.1", Reach.PRIVATE),
        ("fc00::1", Reach.PRIVATE),
        ("fdff::1", Reach.PRIVATE),
        ("100.64.0.1", Reach.SHARED),
        ("100.127.255.255", Reach.SHARED),
        ("169.254.1.1", Reach.LINK_LOCAL),
        ("fe80::1", Reach.LINK_LOCAL),
        ("fe80::1%eth0", Reach.LINK_LOCAL),
        ("224.0.0.1", Reach.MULTICAST),
        ("ff02::1", Reach.MULTICAST),
        ("0.0.0.0", Reach.RESERVED),
        ("0.1.2.3", Reach.RESERVED),
        ("192.0.2.1", Reach.RESERVED),
        ("198.18.0.1", Reach.RESERVED),
        ("203.0.113.9", Reach.RESERVED),
        ("240.0.0.1", Reach.RESERVED),
        ("255.255.255.255", Reach.RESERVED),
        ("::", Reach.RESERVED),
        ("100::1", Reach.RESERVED),
        ("fec0::1", Reach.RESERVED),
        ("2001:db8::1", Reach.RESERVED),
        ("2001::1", Reach.RESERVED),
        ("64:ff9b:1::1", Reach.RESERVED),
        ("169.254.169.254", Reach.METADATA),
        ("169.254.170.2", Reach.METADATA),
        ("100.100.100.200", Reach.METADATA),
        ("168.63.129.16", Reach.METADATA),
        ("fd00:ec2::254", Reach.METADATA),
        ("fd00:0ec2:0000::0254", Reach.METADATA),
    ],
)
def test_an_address_lies_where_the_registries_say(text: str, reach: Reach) -> None:
    assert reach_of(ip_address(text)) is reach


@pytest.mark.parametrize(
    "form",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7F.1",
        "0x7f.0x0.0x0.0x1",
        "017700000001",
        "0177.0.0.1",
        "0177.0.0.01",
        "127.0.0.0x1",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7f00:1]",
        "::127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::7f00:1",
        "::ffff:0:127.0.0.1",
        "2002:7f00:1::",
        "2002:7f00:0001:dead::beef",
        "１２７.０.０.１",
        "127。0。0。1",
        "①②⑦.⓪.⓪.①",
    ],
)
def test_loopback_is_known_in_every_form(form: str) -> None:
    address = literal_address(form)
    assert address is not None
    assert reach_of(address) is Reach.LOOPBACK
    assert Policy().refusal(form, address) == "a loopback address"


@pytest.mark.parametrize(
    "form",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "100.6579400",
    ],
)
def test_a_metadata_service_is_refused_in_every_form_whatever_is_allowed(form: str) -> None:
    address = literal_address(form)
    assert address is not None
    lax = Policy.of([form, "169.254.0.0/16", "100.64.0.0/10", "fd00::/8"], allow_private=True)
    assert lax.refusal(form, address) == "a cloud's metadata service"


@pytest.mark.parametrize("name", ["metadata.google.internal", "METADATA.Google.Internal.", "metadata.goog", "metadata"])
def test_a_metadata_service_is_known_by_its_name(name: str) -> None:
    assert is_metadata_name(name)
    assert Policy.of([name]).refusal(name, ip_address("8.8.8.8")) == "a cloud's metadata service"
    assert not is_metadata_name(f"x{name}")


@pytest.mark.parametrize(
    "name",
    ["api.openai.com", "localhost", "127.0.0.1.example.com", "256.1.1.1", "1.2.3.4.5", "08.1.1.1", "0x", "1.2.3.256",
     "4294967296", "", ".", "1..1", "9" * 5000, "0x1g"],
)  # fmt: skip
def test_a_name_is_no_address(name: str) -> None:
    address = literal_address(name)
    assert address is None or str(address) == "0.0.0.0"


@given(V4)
def test_every_ipv4_address_is_judged_the_same_within_an_ipv6_one(address: IPv4Address) -> None:
    reach, number = reach_of(address), int(address)
    for carrier in (number, 0xFFFF << 32 | number, 0xFFFF << 48 | number, 0x64FF9B << 96 | number,
                    0x2002 << 112 | number << 80 | 7):  # fmt: skip
        if carrier > 1:
            assert reach_of(IPv6Address(carrier)) is reach


@given(V4, st.integers(1, 4), st.lists(st.sampled_from(["d", "o", "x"]), min_size=4, max_size=4))
def test_every_form_is_read_as_the_system_reads_it(address: IPv4Address, parts: int, bases: list[str]) -> None:
    octets = list(address.packed)
    numbers = [*octets[: parts - 1], int.from_bytes(bytes(octets[parts - 1 :]), "big")]
    written = {"d": str, "o": lambda number: f"0{number:o}", "x": hex}
    form = ".".join(written[base](number) for base, number in zip(bases, numbers, strict=False))
    assert literal_address(form) == address == IPv4Address(socket.inet_aton(form))


@given(st.one_of(V4, st.ip_addresses(v=6)))
def test_what_python_does_not_call_global_is_never_public(address: IPv4Address | IPv6Address) -> None:
    judged = embedded(address)
    assert reach_of(address) is not Reach.PUBLIC or judged.is_global


def test_what_is_allowed_is_allowed_and_nothing_else() -> None:
    policy = Policy.of(["gpu-box", "10.1.0.0/16", "192.168.7.7"])
    near, far, other = ip_address("10.1.2.3"), ip_address("10.2.2.3"), ip_address("192.168.7.7")
    assert policy.refusal("anything", near) is None
    assert policy.refusal("anything", far) == "a private address"
    assert policy.refusal("anything", other) is None
    assert policy.refusal("GPU-Box.", far) is None
    assert policy.refusal("gpu-box.example.com", far) == "a private address"
    assert policy.refusal("anything", ip_address("::ffff:10.1.2.3")) is None
    assert policy.refusal("anything", ip_address("8.8.8.8")) is None


@pytest.mark.parametrize("text", ["127.0.0.1", "::1", "10.0.0.1", "fd12::1", "100.64.0.1", "::ffff:192.168.0.1"])
def test_a_provider_of_ones_own_network_may_be_asked_where_it_is_allowed(text: str) -> None:
    assert Policy(allow_private=True).refusal("own", ip_address(text)) is None
    assert Policy().refusal("own", ip_address(text)) is not None


@pytest.mark.parametrize("text", ["169.254.1.1", "fe80::1", "0.0.0.0", "224.0.0.1", "192.0.2.1", "255.255.255.255"])
def test_what_no_provider_has_is_refused_even_so(text: str) -> None:
    assert Policy(allow_private=True).refusal("own", ip_address(text)) is not None


def test_an_odd_form_counts_as_outside_so_that_nothing_leaves_by_mistake() -> None:
    assert is_inside("10.0.0.7")
    assert not is_inside("0xa000007")
    assert not is_inside("::ffff:10.0.0.7")
    assert all(not is_inside(str(one)) for one in METADATA_ADDRESSES)
