"""What GitLab's webhooks tell of (https://docs.gitlab.com/user/project/integrations/webhook_events/).

GitLab has no webhook for a thread that is resolved, and none that says that a suggestion was applied: the first is read
with the comments, the second is found in the code.
"""

import re
from collections.abc import Mapping
from typing import Any

from tidemill.core.pull_request import EventKind, ForgeEvent, Project, PullRequestKey
from tidemill.forges.webhook_fields import Fields

_MERGE_REQUEST = {
    "open": EventKind.OPENED,
    "reopen": EventKind.REOPENED,
    "merge": EventKind.MERGED,
    "close": EventKind.CLOSED,
}
REACTIONS = {"thumbsup": "+1", "thumbsdown": "-1"}
_DRAFT = re.compile(r"\s*(?:\[draft\]|draft:|\(draft\))", re.IGNORECASE)
_BOT = re.compile(r"(?:project|group)_\d+_bot(?:_\w+)?")
"""The names of the users behind a project's or a group's access tokens."""


def read(forge: str, event: str, payload: Mapping[str, Any]) -> ForgeEvent:
    """See `read_event`. What a delivery is stands in its body; system hooks name it otherwise in their header."""
    del event
    fields = Fields(payload)
    attributes = fields.part("object_attributes")
    match fields.maybe("object_kind", str):
        case "merge_request":
            return _event(_change(attributes, fields), forge, fields, attributes)
        case "note" if attributes.maybe("noteable_type", str) == "MergeRequest" and not attributes.flag("system"):
            return _note(forge, fields, attributes)
        case "emoji" if fields.maybe("event_type", str) == "award" and "merge_request" in fields:
            return _emoji(forge, fields, attributes)
    return ForgeEvent(kind=EventKind.OTHER, key=None, actor=_actor(fields))


def _change(attributes: Fields, fields: Fields) -> EventKind:
    action = attributes.maybe("action", str) or ""
    if action != "update":
        return _MERGE_REQUEST.get(action, EventKind.OTHER)
    if "oldrev" in attributes:
        return EventKind.SYNCHRONIZED
    changes = fields.part("changes")
    draft, title = changes.part("draft"), changes.part("title")
    was, now = title.maybe("previous", str) or "", title.maybe("current", str) or ""
    if (draft.flag("previous") and not draft.flag("current")) or (_DRAFT.match(was) and not _DRAFT.match(now)):
        return EventKind.READY
    edited = any(name in changes for name in ("title", "description", "target_branch"))
    return EventKind.EDITED if edited else EventKind.OTHER


def _event(kind: EventKind, forge: str, fields: Fields, merge_request: Fields) -> ForgeEvent:
    actor = _actor(fields)
    if kind is EventKind.OTHER:
        return ForgeEvent(kind=kind, key=None, actor=actor)
    return ForgeEvent(
        kind=kind,
        key=_key(forge, fields, merge_request),
        actor=actor,
        by_bot=_BOT.fullmatch(actor) is not None,
        head=merge_request.part("last_commit").maybe("id", str),
        target=fields.part("changes").part("target_branch").maybe("current", str) if kind is EventKind.EDITED else None,
    )


def _note(forge: str, fields: Fields, note: Fields) -> ForgeEvent:
    """A note of a thread is an answer, or the thread's beginning: GitLab does not say which."""
    threaded = note.maybe("type", str) in {"DiffNote", "DiscussionNote"}
    kind = EventKind.REPLIED if threaded else EventKind.COMMENTED
    if (note.maybe("action", str) or "create") != "create":
        resolved = threaded and "resolved_at" in note
        kind = EventKind.THREAD_RESOLVED if resolved else EventKind.OTHER
    actor = _actor(fields)
    merge_request = fields.part("merge_request")
    return ForgeEvent(
        kind=kind,
        key=_key(forge, fields, merge_request),
        actor=actor,
        by_bot=_BOT.fullmatch(actor) is not None,
        head=merge_request.part("last_commit").maybe("id", str),
        comment=note.id("id"),
        thread=note.id("discussion_id") if threaded else None,
        body=note.maybe("note", str) or "",
    )


def _emoji(forge: str, fields: Fields, award: Fields) -> ForgeEvent:
    actor = _actor(fields)
    name = award.text("name")
    on_note = award.maybe("awardable_type", str) == "Note"
    return ForgeEvent(
        kind=EventKind.REACTED,
        key=_key(forge, fields, fields.part("merge_request")),
        actor=actor,
        by_bot=_BOT.fullmatch(actor) is not None,
        comment=award.id("awardable_id") if on_note else None,
        thread=fields.part("note").id("discussion_id"),
        reaction=REACTIONS.get(name, name),
        award=award.id("id"),
    )


def _actor(fields: Fields) -> str:
    return fields.part("user").maybe("username", str) or fields.id("user_username") or ""


def _key(forge: str, fields: Fields, merge_request: Fields) -> PullRequestKey:
    path = fields.part("project").text("path_with_namespace")
    return PullRequestKey(Project(forge, path), merge_request.number("iid"))
