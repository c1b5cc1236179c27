"""What the webhooks of Gitea and Forgejo tell of (https://docs.gitea.com/usage/webhooks).

The header names an event less exactly than the body does: a push to a pull request comes as `pull_request` with the
action `synchronized`, and a comment on one as `issue_comment` with `is_pull`. There is no webhook for reactions, for
threads that are resolved, or for suggestions.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tidemill.core.pull_request import EventKind, ForgeEvent, Project, PullRequestKey
from tidemill.forges.webhook_fields import Fields

_PULL_REQUEST = {
    "opened": EventKind.OPENED,
    "synchronized": EventKind.SYNCHRONIZED,
    "reopened": EventKind.REOPENED,
    "edited": EventKind.EDITED,
    "closed": EventKind.CLOSED,
}
DRAFT = re.compile(r"\s*(?:WIP:|\[WIP\])", re.IGNORECASE)
"""How a title says that it is not ready, where an administrator set no other beginnings."""


def read(forge: str, event: str, payload: Mapping[str, Any]) -> ForgeEvent:
    """See `read_event`."""
    del event
    fields = Fields(payload)
    action = fields.id("action") or ""
    if "comment" in fields and action == "created" and _on_pull_request(fields):
        number = fields.part("issue").maybe("number", int)
        comment = fields.part("comment")
        return _event(
            EventKind.COMMENTED,
            forge,
            fields,
            number or fields.part("pull_request").number("number"),
            comment=comment.id("id"),
            body=comment.maybe("body", str) or "",
        )
    if "pull_request" not in fields:
        return ForgeEvent(kind=EventKind.OTHER, key=None, actor=_actor(fields))
    number = fields.part("pull_request").number("number")
    if action == "reviewed":  # threads that it begins are not told of, only that there may be some
        body = fields.part("review").maybe("content", str) or ""
        return _event(EventKind.COMMENTED if body else EventKind.REPLIED, forge, fields, number, body=body)
    if action not in _PULL_REQUEST:
        return ForgeEvent(kind=EventKind.OTHER, key=None, actor=_actor(fields))
    told = _event(_change(action, fields), forge, fields, number)
    moved = told.kind is EventKind.EDITED and "ref" in fields.part("changes")
    return replace(told, target=fields.part("pull_request").part("base").text("ref")) if moved else told


def _change(action: str, fields: Fields) -> EventKind:
    pull, kind = fields.part("pull_request"), _PULL_REQUEST[action]
    if kind is EventKind.CLOSED and pull.flag("merged"):
        return EventKind.MERGED
    was = fields.part("changes").part("title").maybe("from", str) or ""
    if kind is EventKind.EDITED and DRAFT.match(was) and not DRAFT.match(pull.maybe("title", str) or ""):
        return EventKind.READY
    return kind


def _on_pull_request(fields: Fields) -> bool:
    return fields.flag("is_pull") or "pull_request" in fields.part("issue") or "pull_request" in fields


def _event(
    kind: EventKind, forge: str, fields: Fields, number: int, *, comment: str | None = None, body: str = ""
) -> ForgeEvent:
    return ForgeEvent(
        kind=kind,
        key=PullRequestKey(Project(forge, fields.part("repository").text("full_name")), number),
        actor=_actor(fields),
        head=fields.part("pull_request").part("head").maybe("sha", str),
        comment=comment,
        body=body,
    )


def _actor(fields: Fields) -> str:
    sender = fields.part("sender")
    return sender.maybe("login", str) or sender.maybe("username", str) or ""
