"""Finds a wheel on a Python package index (PEP 503 in HTML, PEP 691 in JSON). Nothing is ever installed."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from tidemill.core.errors import Unavailable

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.5, text/html;q=0.4"
JSON_TYPES = ("application/vnd.pypi.simple", "application/json")


@dataclass(frozen=True, slots=True)
class Archive:
    """A file that an index lists; `sha256` is absent where the index does not give it."""

    name: str
    url: str
    sha256: str | None


def page_url(index: str, project: str) -> str:
    """Where an index lists the files of a project, by its normalized name."""
    return f"{index.rstrip('/')}/{re.sub(r'[-_.]+', '-', project).lower()}/"


def find_wheel(page: bytes, content_type: str, url: str, project: str, version: str) -> Archive:
    """The wheel of this version on a project's page, which came from `url`.

    Raises:
        Unavailable: the page lists none, or is no index page.
    """
    stem = f"{re.sub(r'[-_.]+', '_', project).lower()}-{version}-"
    is_json = content_type.startswith(JSON_TYPES) and "html" not in content_type
    try:
        archives = list(_from_json(page, url) if is_json else _from_html(page, url))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(f"{url} is no page of a package index.") from error
    for archive in archives:
        if archive.name.lower().startswith(stem) and archive.name.endswith(".whl"):
            return archive
    raise Unavailable(f"{url} lists no wheel of {project} {version}.")


def _from_json(page: bytes, url: str) -> Iterator[Archive]:
    listing: dict[str, Any] = json.loads(page)
    for file in listing["files"]:
        yield Archive(str(file["filename"]), urljoin(url, file["url"]), file.get("hashes", {}).get("sha256"))


def _from_html(page: bytes, url: str) -> Iterator[Archive]:
    reader = _Links()
    reader.feed(page.decode("utf-8", "replace"))
    base = urljoin(url, reader.base)
    for link in reader.links:
        target, fragment = urldefrag(urljoin(base, link))
        name = unquote(urlsplit(target).path.rsplit("/", 1)[-1])
        found = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
        yield Archive(name, target, found[1].lower() if found else None)


class _Links(HTMLParser):
    """Collects the targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for each start tag."""
        target = dict(attrs).get("href")
        if target and tag == "a":
            self.links.append(target)
        elif target and tag == "base":
            self.base = target
