"""A website or a forge on loopback, in the test's own loop: answers as its pages say, and keeps what it was asked."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tidemill.crawlers.port import Found

HTML = "text/html; charset=utf-8"


@dataclass(frozen=True)
class Page:
    """What one address answers. `endless` sends the body again and again, `stalled` sends none of it."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    endless: bool = False
    stalled: bool = False


@dataclass(frozen=True)
class Asked:
    """One request."""

    target: str
    headers: Mapping[str, str]


Answers = Callable[[Asked], Page | None]


@dataclass
class Site:
    """Its pages by their path and query. A page has an ETag, and is not sent again to whoever has it.

    Attributes:
        pages: what each address answers; any other is a 404.
        answers: asked before `pages`.
    """

    pages: dict[str, Page] = field(default_factory=dict)
    answers: Answers = lambda asked: None
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    tags: bool = True

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self.port}"

    def put(self, target: str, text: str, content_type: str = HTML) -> None:
        """Sets what an address answers."""
        self.pages[target] = Page(text.encode(), headers={"content-type": content_type})

    def link(self, target: str, *targets: str) -> None:
        """Sets a page that links to others."""
        links = " ".join(f'<a href="{one}">{one}</a>' for one in targets)
        self.put(target, f"<html><body><p>This is the page {target}.</p>{links}</body></html>")

    def targets(self) -> list[str]:
        """What it was asked for, in that order."""
        return [one.target for one in self.asked]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, many requests."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value for line in head[1:] if line for name, _, value in [line.partition(": ")]
                }
                asked = Asked(head[0].split(" ")[1], headers)
                self.asked.append(asked)
                await self._send(writer, asked, self.answers(asked) or self.pages.get(asked.target, Page(status=404)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter, asked: Asked, page: Page) -> None:
        headers = dict(page.headers)
        body = page.body
        status = page.status
        if self.tags and status == 200:
            tag = headers.setdefault("etag", f'"{hashlib.sha256(body).hexdigest()[:16]}"')
            if asked.headers.get("if-none-match") == tag:
                status, body = 304, b""
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
        if page.stalled or page.endless:
            lines.append("connection: close")
        else:
            lines.append(f"content-length: {len(body)}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + (b"" if page.stalled else body))
        await writer.drain()
        while page.endless:
            writer.write(body)
            await writer.drain()
        if page.stalled:
            await asyncio.sleep(60)


@asynccontextmanager
async def running_site(site: Site) -> AsyncIterator[Site]:
    """Runs it for the block."""
    listening = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.port = listening.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        listening.close()


def redirect(target: str, status: int = 302) -> Page:
    """A redirect."""
    return Page(status=status, headers={"location": target})


async def collected(found: AsyncGenerator[Found, None]) -> list[Found]:
    """All of a crawl."""
    return [one async for one in found]
