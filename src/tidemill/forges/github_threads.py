"""The comments of a pull request on GitHub, read by GraphQL, which alone says what threads are resolved.

A thread is named by the id of its first comment, as webhooks and answers name it; GitHub's own id of it serves to
resolve it alone.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import AwareDatetime, BaseModel, Field

from tidemill.core.errors import NotFound, NotPermitted, TooManyRequests, Unavailable
from tidemill.core.json import Json
from tidemill.core.pull_request import ForgeComment, Position, PullRequestKey

_REACTIONS = {"THUMBS_UP": "+1", "THUMBS_DOWN": "-1"}
_SECONDARY_WAIT = 60.0
_COMMENT = (
    "fullDatabaseId body createdAt viewerDidAuthor author { login __typename } "
    "reactionGroups { content reactors { totalCount } }"
)
_PAGE = "pageInfo { hasNextPage endCursor }"
COMMENTS = (
    "query($owner: String!, $name: String!, $number: Int!, $after: String) { repository(owner: $owner, name: $name) { "
    f"pullRequest(number: $number) {{ page: comments(first: 100, after: $after) {{ {_PAGE} nodes {{ {_COMMENT} }} }} "
    "} } }"
)
THREADS = (
    "query($owner: String!, $name: String!, $number: Int!, $after: String) { repository(owner: $owner, name: $name) { "
    f"pullRequest(number: $number) {{ page: reviewThreads(first: 50, after: $after) {{ {_PAGE} nodes {{ id isResolved "
    f"path line startLine diffSide comments(first: 50) {{ {_PAGE} nodes {{ {_COMMENT} }} }} }} }} }} }} }}"
)
REST_OF_THREAD = (
    "query($id: ID!, $after: String) { node(id: $id) { ... on PullRequestReviewThread { "
    f"page: comments(first: 100, after: $after) {{ {_PAGE} nodes {{ {_COMMENT} }} }} }} }} }}"
)
RESOLVE = "mutation($id: ID!) { resolveReviewThread(input: {threadId: $id}) { thread { id isResolved } } }"

Ask = Callable[[str, Mapping[str, Json]], Awaitable[Mapping[str, Any]]]
"""Sends a query with its variables; gives what stands under `data`."""


class GraphError(BaseModel):
    """One error of an answer, which comes with the status 200."""

    message: str = ""
    type: str | None = None


class GraphAnswer(BaseModel):
    """An answer to a query."""

    data: dict[str, Any] | None = None
    errors: list[GraphError] = Field(default_factory=list)

    def checked(self, forge: str) -> Mapping[str, Any]:
        """The data.

        Raises:
            TooManyRequests, NotFound, NotPermitted, Unavailable: there is an error.
        """
        if self.errors:
            first = self.errors[0]
            said = f"The forge {forge} answered a query with an error: {first.message[:300]}"
            if first.type == "RATE_LIMITED" or "rate limit" in first.message.lower():
                raise TooManyRequests(said, retry_after=_SECONDARY_WAIT)
            kinds = {"NOT_FOUND": NotFound, "FORBIDDEN": NotPermitted, "INSUFFICIENT_SCOPES": NotPermitted}
            raise kinds.get(first.type or "", Unavailable)(said)
        return self.data or {}


class _Author(BaseModel):
    login: str
    typename: str = Field("User", alias="__typename")


class _Count(BaseModel):
    total: int = Field(0, alias="totalCount")


class _Reactions(BaseModel):
    content: str
    reactors: _Count


class _Comment(BaseModel):
    id: int = Field(alias="fullDatabaseId")  # a text: comments' numbers have outgrown GraphQL's own
    body: str
    created_at: AwareDatetime = Field(alias="createdAt")
    own: bool = Field(False, alias="viewerDidAuthor")
    author: _Author | None = None
    reactions: list[_Reactions] = Field(default_factory=list, alias="reactionGroups")


class _PageInfo(BaseModel):
    more: bool = Field(alias="hasNextPage")
    end: str | None = Field(None, alias="endCursor")


class _Comments(BaseModel):
    info: _PageInfo = Field(alias="pageInfo")
    nodes: list[_Comment]


class _Thread(BaseModel):
    id: str
    resolved: bool = Field(alias="isResolved")
    path: str
    line: int | None = None
    start: int | None = Field(None, alias="startLine")
    side: str = Field("RIGHT", alias="diffSide")
    comments: _Comments


class _Threads(BaseModel):
    info: _PageInfo = Field(alias="pageInfo")
    nodes: list[_Thread]


class Threads:
    """Reads and resolves through GraphQL.

    Args:
        ask: sends a query.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def comments(self, key: PullRequestKey) -> list[ForgeComment]:
        """Every comment, oldest first."""
        found: list[ForgeComment] = []
        after: str | None = None
        while True:
            page = _Comments.model_validate(await self._page(COMMENTS, key, after))
            found += [_value(one) for one in page.nodes]
            after = page.info.end
            if not page.info.more:
                break
        for thread in await self._threads(key):
            found += await self._of_thread(thread)
        return sorted(found, key=lambda comment: (comment.created_at, int(comment.id)))

    async def resolve(self, key: PullRequestKey, first: str) -> None:
        """Resolves the thread that a comment begins.

        Raises:
            NotFound: there is none.
        """
        for thread in await self._threads(key):
            if thread.comments.nodes and str(thread.comments.nodes[0].id) == first:
                if not thread.resolved:
                    await self._ask(RESOLVE, {"id": thread.id})
                return
        raise NotFound(f"Pull request {key.number} of {key.project.path} has no thread that comment {first} begins.")

    async def _threads(self, key: PullRequestKey) -> list[_Thread]:
        found: list[_Thread] = []
        after: str | None = None
        while True:
            page = _Threads.model_validate(await self._page(THREADS, key, after))
            found += page.nodes
            after = page.info.end
            if not page.info.more:
                return found

    async def _of_thread(self, thread: _Thread) -> list[ForgeComment]:
        nodes, info = list(thread.comments.nodes), thread.comments.info
        while info.more:
            data = await self._ask(REST_OF_THREAD, {"id": thread.id, "after": info.end})
            page = _Comments.model_validate((data.get("node") or {}).get("page"))
            nodes, info = nodes + page.nodes, page.info
        if not nodes:
            return []
        position = None
        if thread.line is not None and thread.side == "RIGHT":
            position = Position(thread.path, thread.start or thread.line, thread.line)
        first = str(nodes[0].id)
        return [_value(one, first, thread, position) for one in nodes]

    async def _page(self, query: str, key: PullRequestKey, after: str | None) -> Any:
        owner, _, name = key.project.path.partition("/")
        data = await self._ask(query, {"owner": owner, "name": name, "number": key.number, "after": after})
        pull = (data.get("repository") or {}).get("pullRequest")
        if pull is None:
            raise NotFound(f"There is no pull request {key.number} of {key.project.path}, or not for this token.")
        return pull["page"]


def _value(
    one: _Comment, first: str | None = None, thread: _Thread | None = None, position: Position | None = None
) -> ForgeComment:
    author = one.author
    login = "" if author is None else author.login + ("[bot]" if author.typename == "Bot" else "")
    counts = {_REACTIONS.get(group.content, group.content.lower()): group.reactors.total for group in one.reactions}
    return ForgeComment(
        id=str(one.id),
        thread=first,
        author=login,
        body=one.body,
        created_at=one.created_at,
        position=position,
        path=None if thread is None else thread.path,
        reply_to=None if first is None or first == str(one.id) else first,
        resolved=thread is not None and thread.resolved,
        own=one.own,
        reactions={name: count for name, count in counts.items() if count},
    )
