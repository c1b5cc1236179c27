"""Addresses of pages: one spelling for each, which site they belong to, and which of them are traps."""

import re
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode, urljoin, urlsplit, urlunsplit

import httpx

LONGEST_URL = 1000
"""A document's path, which its address is, is no longer."""
DEEPEST_PATH = 20
MOST_REPEATS = 3
_PORTS = {"http": 80, "https": 443}
_SAFE_PATH = "!$&'()*+,;=:@/~-._"
_SAFE_QUERY = "!$'()*+,;:@/?~-._=&"
_TRACKING = re.compile(
    r"utm_\w+|fbclid|gclid|dclid|msclkid|mc_[ce]id|igshid|yclid|_ga|phpsessid|jsessionid|sessionid|sid|aspsessionid\w*",
    re.IGNORECASE,
)
_HOST = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:.]{2,45}")
_ESCAPE = re.compile(r"(%[0-9A-Fa-f]{2})")
_SESSION = re.compile(r";jsessionid=[^/?#]*", re.IGNORECASE)


def canonical_url(address: str, base: str | None = None) -> str | None:
    """The one spelling of an address: no fragment, no tracking parameters, lower-case host, no default port.

    Escapes are written as RFC 3986 §6.2.2 wants them, and dots in the path are resolved.

    Args:
        address: as it stands in a page; relative where `base` is given.
        base: the address of that page.

    Returns:
        `None` for what is no address over HTTP, has a user in it, or is longer than any page's.
    """
    address = re.sub(r"[\t\r\n]", "", address.strip())
    if len(address) > LONGEST_URL:
        return None
    try:
        parts = urlsplit(urljoin(base, address) if base else address)
        host, port = (parts.hostname or "").rstrip("."), parts.port
        host = host.encode("idna").decode() if not host.isascii() else host
        if parts.scheme not in _PORTS or not _HOST.fullmatch(host) or "@" in parts.netloc:
            return None
        if "xn--" in host and not httpx.URL(f"http://{host}/").host:  # raises for what IDNA 2008 forbids
            return None
    except (ValueError, httpx.InvalidURL):
        return None
    host = f"[{host}]" if ":" in host else host
    netloc = host if port in (None, _PORTS[parts.scheme]) else f"{host}:{port}"
    path = _without_dots(_escaped(_SESSION.sub("", parts.path), _SAFE_PATH)) or "/"
    url = urlunsplit((parts.scheme, netloc, path, _query(parts.query), ""))
    return url if len(url) <= LONGEST_URL else None


def same_site(one: str, other: str) -> bool:
    """Whether two canonical addresses have one host and port; `http` and `https` at their usual ports are one site."""
    first, second = urlsplit(one), urlsplit(other)
    if first.hostname != second.hostname:
        return False
    if first.scheme == second.scheme:
        return first.port == second.port
    return first.port is None and second.port is None


def folder_of(url: str) -> str:
    """The path up to its last slash: `/docs/` for `https://a.example/docs/start`."""
    return urlsplit(url).path.rpartition("/")[0] + "/"


def path_of(url: str) -> str:
    """The path alone, as the site's own patterns name it."""
    return urlsplit(url).path


def without_query(url: str) -> str:
    """The address up to its question mark: what all the variants of a page share."""
    return url.partition("?")[0]


def looks_endless(url: str) -> bool:
    """Whether the path repeats itself or goes deeper than people's paths do, as a badly made relative link makes it."""
    segments = [segment for segment in urlsplit(url).path.split("/") if segment]
    return len(segments) > DEEPEST_PATH or any(segments.count(one) > MOST_REPEATS for one in set(segments))


def _query(query: str) -> str:
    if not query:
        return ""
    kept = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if not _TRACKING.fullmatch(name)]
    if len(kept) == query.count("&") + 1:
        return _escaped(query, _SAFE_QUERY)
    return urlencode(kept)


def _escaped(text: str, safe: str) -> str:
    """Each escape in capitals, and none for what needs none; what is not ASCII is escaped."""
    kept = []
    for piece in _ESCAPE.split(text):
        if _ESCAPE.fullmatch(piece):
            raw = unquote_to_bytes(piece)
            kept.append(raw.decode() if re.fullmatch(rb"[A-Za-z0-9._~-]", raw) else piece.upper())
        else:
            kept.append(quote(piece, safe=safe, encoding="utf-8", errors="replace"))
    return "".join(kept)


def _without_dots(path: str) -> str:
    """RFC 3986 §5.2.4."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if len(kept) > 1:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/".join(kept)
