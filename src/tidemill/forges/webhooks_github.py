"""What GitHub's webhooks tell of (https://docs.github.com/webhooks/webhook-events-and-payloads).

A thread is named by the id of its first comment, as in answers to it.

GitHub has no webhook for reactions, and none that says that a suggestion was applied: the first are read with the
comments, the second is found in the code.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tidemill.core.pull_request import EventKind, ForgeEvent, Project, PullRequestKey
from tidemill.forges.webhook_fields import Fields

_PULL_REQUEST = {
    "opened": EventKind.OPENED,
    "synchronize": EventKind.SYNCHRONIZED,
    "reopened": EventKind.REOPENED,
    "ready_for_review": EventKind.READY,
    "edited": EventKind.EDITED,
    "merged": EventKind.MERGED,
    "closed": EventKind.CLOSED,
}
_THREAD = {"resolved": EventKind.THREAD_RESOLVED, "unresolved": EventKind.THREAD_UNRESOLVED}


def read(forge: str, event: str, payload: Mapping[str, Any]) -> ForgeEvent:
    """See `read_event`."""
    fields = Fields(payload)
    action = fields.id("action") or ""
    if event == "pull_request":
        return _pull_request(forge, action, fields)
    if event == "issue_comment" and action == "created" and "pull_request" in fields.part("issue"):
        number = fields.part("issue").number("number")
        return _event(EventKind.COMMENTED, forge, fields, number, fields.part("comment"))
    if event == "pull_request_review_comment" and action == "created":
        comment = fields.part("comment")
        kind = EventKind.REPLIED if "in_reply_to_id" in comment else EventKind.COMMENTED
        return _event(kind, forge, fields, fields.part("pull_request").number("number"), comment, inline=True)
    if event == "pull_request_review" and action == "submitted" and fields.part("review").id("body"):
        said = _event(EventKind.COMMENTED, forge, fields, fields.part("pull_request").number("number"), None)
        return replace(said, review=fields.part("review").id("id"))
    if event == "pull_request_review_thread" and action in _THREAD:
        return _thread(forge, _THREAD[action], fields)
    return _other(fields)


def _pull_request(forge: str, action: str, fields: Fields) -> ForgeEvent:
    if action not in _PULL_REQUEST:
        return _other(fields)
    kind, pull = _PULL_REQUEST[action], fields.part("pull_request")
    if kind is EventKind.CLOSED and pull.flag("merged"):
        kind = EventKind.MERGED
    event = _event(kind, forge, fields, pull.number("number"), None)
    moved = kind is EventKind.EDITED and "base" in fields.part("changes")
    return replace(event, target=pull.part("base").text("ref")) if moved else event


def _thread(forge: str, kind: EventKind, fields: Fields) -> ForgeEvent:
    thread = fields.part("thread")
    sender = fields.part("sender")
    return ForgeEvent(
        kind=kind,
        key=_key(forge, fields, fields.part("pull_request").number("number")),
        actor=sender.maybe("login", str) or "",
        by_bot=sender.maybe("type", str) == "Bot",
        head=fields.part("pull_request").part("head").maybe("sha", str),
        comment=thread.first("comments").id("id"),
        thread=thread.first("comments").id("id"),
        installation=fields.part("installation").maybe("id", int),
    )


def _event(
    kind: EventKind, forge: str, fields: Fields, number: int, comment: Fields | None, *, inline: bool = False
) -> ForgeEvent:
    sender = fields.part("sender")
    said = comment if comment is not None else fields.part("review")
    return ForgeEvent(
        kind=kind,
        key=_key(forge, fields, number),
        actor=sender.maybe("login", str) or "",
        by_bot=sender.maybe("type", str) == "Bot",
        head=fields.part("pull_request").part("head").maybe("sha", str),
        comment=None if comment is None else comment.id("id"),
        reply_to=None if comment is None else comment.id("in_reply_to_id"),
        thread=(comment.id("in_reply_to_id") or comment.id("id")) if inline and comment is not None else None,
        body=said.maybe("body", str) or "",
        installation=fields.part("installation").maybe("id", int),
    )


def _other(fields: Fields) -> ForgeEvent:
    sender = fields.part("sender")
    return ForgeEvent(
        kind=EventKind.OTHER,
        key=None,
        actor=sender.maybe("login", str) or "",
        by_bot=sender.maybe("type", str) == "Bot",
        installation=fields.part("installation").maybe("id", int),
    )


def _key(forge: str, fields: Fields, number: int) -> PullRequestKey:
    return PullRequestKey(Project(forge, fields.part("repository").text("full_name")), number)
