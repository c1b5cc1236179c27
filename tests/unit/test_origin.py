"""Where a request comes from: what is believed of it, and from whom."""

from typing import Any

import pytest

from tidemill.api.origin import RequestOrigin
from tidemill.core.errors import NotPermitted
from tidemill.settings import AuthSettings


def request(peer: str | None = "10.0.0.5", **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"client": (peer, 1234) if peer else None, "scheme": "http", "headers": raw}


def origin(*trusted: str, **more: Any) -> RequestOrigin:
    return RequestOrigin(AuthSettings.model_validate({"trusted_proxies": trusted, **more}))


def test_without_a_trusted_proxy_the_socket_alone_says_where_a_request_comes_from() -> None:
    scope = request("203.0.113.7", x_forwarded_for="192.0.2.1", x_forwarded_proto="https", host="hub:8000")
    assert origin().address(scope) == "203.0.113.7"
    assert origin("10.0.0.0/8").address(scope) == "203.0.113.7"
    assert not origin("10.0.0.0/8").is_secure(scope)
    assert origin("10.0.0.0/8").base(scope) == "http://hub:8000"


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("198.51.100.9, 192.0.2.1", "192.0.2.1"),
        ("198.51.100.9, 192.0.2.1, 10.0.0.6", "192.0.2.1"),
        ("10.0.0.7, 10.0.0.6", "10.0.0.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("nonsense", "10.0.0.5"),
        ("192.0.2.1, nonsense, 10.0.0.6", "10.0.0.6"),
        ("", "10.0.0.5"),
        ("a" * 10_000, "10.0.0.5"),
    ],
)
def test_behind_trusted_proxies_the_last_address_that_is_none_of_them_counts(forwarded: str, address: str) -> None:
    assert origin("10.0.0.0/8").address(request(x_forwarded_for=forwarded)) == address


def test_a_proxy_over_ipv6_is_known_by_its_ipv4_address() -> None:
    assert origin("10.0.0.5").address(request("::ffff:10.0.0.5", x_forwarded_for="192.0.2.1")) == "192.0.2.1"


def test_a_request_without_a_socket_comes_from_nowhere() -> None:
    assert origin("10.0.0.5").address(request(None, x_forwarded_for="192.0.2.1")) == ""


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("Hub.Example", "https://hub.example"),
        ("hub.example:443", "https://hub.example"),
        ("hub.example:8443", "https://hub.example:8443"),
        ("[::1]:8000", "https://[::1]:8000"),
        ("", ""),
        ("hub.example/path", ""),
        ("user@hub.example", ""),
        ("a b", ""),
    ],
)
def test_our_own_address_is_read_from_the_host_and_a_trusted_proxys_scheme(host: str, base: str) -> None:
    assert origin("10.0.0.5").base(request(host=host, x_forwarded_proto="https")) == base


def test_the_public_address_wins_over_what_a_request_says() -> None:
    ours = origin(public_url="https://Hub.example:443/")
    scope = request(host="inside:8000", origin="https://hub.example", sec_fetch_site="same-origin")
    assert ours.base(scope) == "https://hub.example"
    assert ours.is_secure(scope)
    ours.refuse_foreign(scope, must_say=True)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "https://hub.example"},
        {"origin": "http://hub.example.evil.example"},
        {"origin": "http://hub.example:8000"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"origin": "http://hub.example", "sec_fetch_site": "cross-site"},
        {"origin": "http://evil.example", "sec_fetch_site": "same-origin"},
    ],
)
def test_a_page_of_another_site_is_refused(headers: dict[str, str]) -> None:
    for must_say in (True, False):
        with pytest.raises(NotPermitted, match="public_url"):
            origin().refuse_foreign(request(host="hub.example", **headers), must_say=must_say)


def test_a_request_that_says_nothing_passes_only_where_it_need_not() -> None:
    origin().refuse_foreign(request(host="hub.example"), must_say=False)
    with pytest.raises(NotPermitted):
        origin().refuse_foreign(request(host="hub.example"), must_say=True)


def test_a_host_that_is_none_is_nobodys_origin() -> None:
    with pytest.raises(NotPermitted):
        origin().refuse_foreign(request(host="", origin="null"), must_say=True)


def test_over_https_only_the_cookie_that_is_bound_to_the_host_is_read() -> None:
    secure = origin(secure_cookies=True)
    assert secure.cookie(request(cookie="tidemill_session=tossed"), "tidemill_session") is None
    assert secure.cookie(request(cookie="a=b; __Host-tidemill_session=own"), "tidemill_session") == "own"
    assert origin().cookie(request(cookie="tidemill_session=own"), "tidemill_session") == "own"
    assert origin().cookie(request(cookie="tidemill_session="), "tidemill_session") is None
    assert origin().cookie(request(), "tidemill_session") is None
