"""A GitHub and a GitLab on loopback, as far as sources ask them, with tokens, pages, limits and failures on demand."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.sites import Asked, Page, Site

AT = "2026-01-05T08:00:00Z"
JSON = {"content-type": "application/json"}


def blob_name(data: bytes) -> str:
    """How git names a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Forge:
    """A project `team/handbook`.

    Attributes:
        token: what a request must be signed with; every request is let in where it is empty.
        page: items in one page of a list.
        first: what is answered first, one after the other, whatever is asked.
        about: what else the project says of itself.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    issues: list[dict[str, Any]] = field(default_factory=list)
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    wiki: dict[str, str] = field(default_factory=dict)
    token: str = ""
    page: int = 2
    first: list[Page] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    about: dict[str, Any] = field(default_factory=dict)
    truncated: bool = False
    site: Site = field(default_factory=Site)

    def __post_init__(self) -> None:
        self.site.answers = self.answer
        self.site.tags = False

    @property
    def location(self) -> str:
        """Its project's address."""
        return f"{self.site.url}/team/handbook"

    def asked(self, part: str) -> list[str]:
        """The requests whose address has this part."""
        return [target for target in self.site.targets() if part in target]

    def answer(self, asked: Asked) -> Page:
        """What it answers."""
        if self.first:
            return self.first.pop(0)
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            return Page(status=401 if "authorization" in asked.headers else 404)
        parts = urlsplit(asked.target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if any(one in unquote(parts.path) for one in self.broken):
            return Page(status=500)
        return self.github(parts.path, query) if parts.path.startswith("/api/v3") else self.gitlab(parts.path, query)

    def github(self, path: str, query: Mapping[str, str]) -> Page:
        """What GitHub answers."""
        home = "/api/v3/repos/team/handbook"
        if path == home:
            return _json({"default_branch": "main", "has_wiki": False, "license": {"spdx_id": "MIT"}, **self.about})
        if path.startswith(f"{home}/git/trees/"):
            return self._tree(path.rpartition("/")[2], recursive="recursive" in query)
        if path.startswith(f"{home}/git/blobs/"):
            return self._blob(path.rpartition("/")[2])
        if path == f"{home}/issues":
            return self._list(path, query, self.issues)
        if path.startswith(f"{home}/issues/"):
            return self._list(path, query, self.comments.get(int(path.split("/")[-2]), []))
        return Page(status=404)

    def gitlab(self, path: str, query: Mapping[str, str]) -> Page:
        """What GitLab answers."""
        if path == "/api/v4/projects/team%2Fhandbook":
            return _json({"id": 7, "default_branch": "main", **self.about})
        home = "/api/v4/projects/7"
        if path == f"{home}/repository/tree":
            return self._list(path, query, [_entry(name, data) for name, data in self.files.items()])
        if path.startswith(f"{home}/repository/blobs/"):
            return self._blob(path.split("/")[-2])
        if path == f"{home}/issues":
            return self._list(path, query, self.issues)
        if path.startswith(f"{home}/issues/"):
            return self._list(path, query, self.comments.get(int(path.split("/")[-2]), []))
        pages = [{"slug": slug, "title": slug.title(), "format": "markdown"} for slug in self.wiki]
        if path == f"{home}/wikis":
            return self._list(path, query, pages)
        slug = unquote(path.rpartition("/")[2])
        return _json({"slug": slug, "title": slug.title(), "format": "markdown", "content": self.wiki[slug]})

    def _tree(self, name: str, *, recursive: bool) -> Page:
        prefix = "" if name == "main" else unquote(name).removeprefix("tree-") + "/"
        if name != "main" and not name.startswith("tree-"):
            return Page(status=404)
        if recursive:
            entries = [_entry(path, data) for path, data in self.files.items()]
            return _json({"sha": "1", "tree": entries[:1] if self.truncated else entries, "truncated": self.truncated})
        return _json({"sha": "1", "tree": list(self._folder(prefix.replace("~", "/"))), "truncated": False})

    def _folder(self, prefix: str) -> Iterator[dict[str, Any]]:
        folders = set()
        for path, data in self.files.items():
            if path.startswith(prefix):
                name, slash, _ = path.removeprefix(prefix).partition("/")
                if not slash:
                    yield {**_entry(path, data), "path": name}
                elif name not in folders:
                    folders.add(name)
                    sha = "tree-" + (prefix + name).replace("/", "~")
                    yield {"path": name, "type": "tree", "mode": "040000", "sha": sha}

    def _blob(self, name: str) -> Page:
        found = [data for data in self.files.values() if blob_name(data) == name]
        return Page(found[0], headers={"content-type": "application/octet-stream"}) if found else Page(status=404)

    def _list(self, path: str, query: Mapping[str, str], items: Sequence[Any]) -> Page:
        number = int(query.get("page", 1))
        shown = items[(number - 1) * self.page : number * self.page]
        headers = dict(JSON)
        if number * self.page < len(items):
            kept = "&".join(f"{name}={value}" for name, value in query.items() if name != "page")
            headers["link"] = (
                f'<{self.site.url}{path}?{kept}&page={number + 1}>; rel="next", <{self.site.url}>; rel="x"'
            )
        return Page(json.dumps(shown).encode(), headers=headers)


def github_issue(number: int, title: str, body: str = "", *, comments: int = 0, **more: Any) -> dict[str, Any]:
    """An issue as GitHub gives it."""
    return {
        "number": number, "title": title, "body": body, "state": "open", "comments": comments,
        "html_url": f"https://github.example/team/handbook/issues/{number}", "created_at": AT, "updated_at": AT,
        "user": {"login": "binh"}, "labels": [{"name": "purchasing"}], **more,
    }  # fmt: skip


def gitlab_issue(number: int, title: str, text: str = "", *, notes: int = 0, **more: Any) -> dict[str, Any]:
    """An issue as GitLab gives it."""
    return {
        "iid": number, "title": title, "description": text, "state": "opened", "user_notes_count": notes,
        "web_url": f"https://gitlab.example/team/handbook/-/issues/{number}", "created_at": AT, "updated_at": AT,
        "author": {"username": "binh"}, "labels": ["purchasing"], **more,
    }  # fmt: skip


def _entry(path: str, data: bytes) -> dict[str, Any]:
    mode = "120000" if path.endswith(".link") else "100644"
    name = blob_name(data)
    return {"path": path, "type": "blob", "mode": mode, "sha": name, "id": name, "size": len(data)}


def _json(value: object) -> Page:
    return Page(json.dumps(value).encode(), headers=JSON)
