"""The links of a page, and nothing else of it: found in one pass over its text, however broken that is."""

import html
import re
from dataclasses import dataclass

MOST_CHARACTERS = 2_000_000
"""A page is looked through up to here."""
MOST_LINKS = 10_000
MOST_TAGS = 200_000
MOST_ATTRIBUTES = 100_000
"""Of all the tags of a page, so that none takes long."""
_CHARSET = re.compile(rb"""charset\s{0,5}=\s{0,5}["']?([A-Za-z0-9_-]{2,20})""", re.IGNORECASE)
_OPENING = re.compile(r"<(?:!--|([A-Za-z][A-Za-z0-9-]{0,30}))")
_BETWEEN = re.compile(r"[\s/=]*+")
_ATTRIBUTE = re.compile(r"""([^\s/>=]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>"'][^\s>]*+)))?""")
_ENDS = {
    tag: re.compile(f"</{tag}", re.IGNORECASE) for tag in ("script", "style", "textarea", "title", "xmp", "iframe")
}
"""What stands within these is text, whatever it looks like."""


@dataclass(frozen=True, slots=True)
class Links:
    """What `<a>` and `<area>` of a page lead to, as written there, and the `<base>` that they are relative to."""

    addresses: tuple[str, ...]
    base: str | None


def links_of(data: bytes, content_type: str | None = None) -> Links:
    """The links of an HTML page, in their order, each once, without those marked `nofollow`.

    Args:
        data: the page.
        content_type: what its server calls it, for the encoding.
    """
    return _scanned(_decoded(data, content_type)[:MOST_CHARACTERS])


def _decoded(data: bytes, content_type: str | None) -> str:
    """Good enough for links, which are nearly always ASCII: the named encoding, else UTF-8."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    named = _CHARSET.search((content_type or "").encode("ascii", "replace")) or _CHARSET.search(data[:2048])
    try:
        return data.decode(named[1].decode() if named else "utf-8", "replace")
    except LookupError:
        return data.decode("utf-8", "replace")


def _scanned(text: str) -> Links:
    found: dict[str, None] = {}
    base: str | None = None
    place, tags, left = 0, 0, MOST_ATTRIBUTES
    while len(found) < MOST_LINKS and tags < MOST_TAGS and (opening := _OPENING.search(text, place)):
        tags += 1
        if opening[1] is None:
            place = text.find("-->", opening.end())
            if place < 0:
                break
            continue
        tag = opening[1].lower()
        attributes, place, left = _attributes(text, opening.end(), left)
        if place < 0:
            break
        if tag in {"a", "area"} and "nofollow" not in attributes.get("rel", "").lower():
            address = html.unescape(attributes.get("href", "")).strip()
            if address and not address.startswith("#"):
                found.setdefault(address)
        elif tag == "base" and base is None:
            base = html.unescape(attributes.get("href", "")).strip() or None
        elif tag in _ENDS:
            end = _ENDS[tag].search(text, place)
            if end is None:
                break
            place = end.start()
    return Links(tuple(found), base)


def _attributes(text: str, place: int, left: int) -> tuple[dict[str, str], int, int]:
    """A tag's attributes, where it ends (-1 where it never does), and how many more may be read."""
    attributes: dict[str, str] = {}
    while left > 0:
        if (between := _BETWEEN.match(text, place)) is not None:
            place = between.end()
        match = _ATTRIBUTE.match(text, place)
        if match is None:  # here stands ">", or nothing any more
            return attributes, place + 1 if place < len(text) else -1, left
        attributes.setdefault(match[1].lower(), match[2] or match[3] or match[4] or "")
        place = match.end()
        left -= 1
    return attributes, -1, 0
