"""What a scripted forge's webhooks deliver: the payloads of the forge that it plays, as far as anybody reads them."""

from collections.abc import Mapping
from typing import Any

from tidemill.core.pull_request import EventKind, ForgeKind, PullRequestState
from tidemill.forges.scripted_site import Occurrence, ScriptedComment, ScriptedPull

Payload = tuple[str, dict[str, Any]]
"""The event's name, and the body."""

_GITHUB = {
    EventKind.OPENED: "opened",
    EventKind.SYNCHRONIZED: "synchronize",
    EventKind.REOPENED: "reopened",
    EventKind.READY: "ready_for_review",
    EventKind.EDITED: "edited",
    EventKind.MERGED: "closed",
    EventKind.CLOSED: "closed",
}
_GITLAB = {
    EventKind.OPENED: "open",
    EventKind.SYNCHRONIZED: "update",
    EventKind.REOPENED: "reopen",
    EventKind.READY: "update",
    EventKind.EDITED: "update",
    EventKind.MERGED: "merge",
    EventKind.CLOSED: "close",
}
_GITEA = {**_GITHUB, EventKind.SYNCHRONIZED: "synchronized", EventKind.READY: "edited"}


def payload_of(kind: ForgeKind, occurrence: Occurrence) -> Payload | None:
    """What this forge delivers of it; `None` where it has no webhook for that."""
    return {ForgeKind.GITHUB: _github, ForgeKind.GITLAB: _gitlab, ForgeKind.GITEA: _gitea}[kind](occurrence)


def _github(one: Occurrence) -> Payload | None:
    pull, said = one.pull, one.comment
    about = {
        "repository": {"full_name": pull.project},
        "sender": {"login": one.actor, "type": "Bot" if one.actor.endswith("[bot]") else "User"},
    }
    whole = {**about, "pull_request": github_pull(pull)}
    if one.kind in _GITHUB:
        changes: dict[str, Any] = {"changes": {"base": {"ref": {"from": ""}}}} if one.target else {}
        return "pull_request", {**whole, "action": _GITHUB[one.kind], "number": pull.number, **changes}
    if said is None:
        return None
    match one.kind:
        case EventKind.COMMENTED if said.thread is None:
            issue = {"number": pull.number, "pull_request": {"url": "…"}}
            return "issue_comment", {**about, "action": "created", "issue": issue, "comment": github_comment(said)}
        case EventKind.COMMENTED | EventKind.REPLIED:
            return "pull_request_review_comment", {**whole, "action": "created", "comment": github_comment(said)}
        case EventKind.THREAD_RESOLVED | EventKind.THREAD_UNRESOLVED:
            thread = {"node_id": said.thread, "comments": [github_comment(said)]}
            action = one.kind.removeprefix("thread_")
            return "pull_request_review_thread", {**whole, "action": action, "thread": thread}
    return None


def github_pull(pull: ScriptedPull) -> dict[str, Any]:
    """A pull request in GitHub's form."""
    return {
        "number": pull.number,
        "title": pull.title,
        "body": pull.body or None,
        "user": {"login": pull.author},
        "state": "open" if pull.state is PullRequestState.OPEN else "closed",
        "merged": pull.state is PullRequestState.MERGED,
        "merge_commit_sha": pull.merge_commit,
        "draft": pull.draft,
        "html_url": f"/{pull.project}/pull/{pull.number}",
        "head": {
            "sha": pull.head,
            "ref": pull.source,
            "repo": {"full_name": f"{pull.author}/fork" if pull.fork else pull.project},
        },
        "base": {"sha": pull.base, "ref": pull.target, "repo": {"full_name": pull.project}},
        "labels": [{"name": label} for label in pull.labels],
    }


def github_comment(said: ScriptedComment) -> dict[str, Any]:
    """A comment in GitHub's form."""
    made: dict[str, Any] = {
        "id": said.id,
        "body": said.body,
        "user": {"login": said.author},
        "created_at": said.created_at.isoformat(),
    }
    if said.thread is not None:
        made |= {"path": said.path, "line": said.end, "start_line": said.start, "commit_id": said.commit}
    if said.reply_to is not None:
        made["in_reply_to_id"] = said.reply_to
    return made


def _gitlab(one: Occurrence) -> Payload | None:
    pull, said = one.pull, one.comment
    about = {"user": {"username": one.actor}, "project": {"path_with_namespace": pull.project}}
    request = {"iid": pull.number, "title": pull.title, "last_commit": {"id": pull.head}}
    if one.kind in _GITLAB:
        attributes: dict[str, Any] = {**request, "action": _GITLAB[one.kind]}
        changes: Mapping[str, Any] = {}
        if one.kind is EventKind.SYNCHRONIZED:
            attributes["oldrev"] = one.before
        elif one.kind is EventKind.READY:
            changes = {"draft": {"previous": True, "current": False}}
        elif one.target is not None:
            changes = {"target_branch": {"previous": "", "current": one.target}}
        elif one.kind is EventKind.EDITED:
            changes = {"title": {"previous": "", "current": pull.title}}
        body = {**about, "object_kind": "merge_request", "object_attributes": attributes, "changes": changes}
        return "Merge Request Hook", body
    if said is None:
        return None
    if one.kind in {EventKind.COMMENTED, EventKind.REPLIED}:
        note = {
            "id": said.id,
            "note": said.body,
            "noteable_type": "MergeRequest",
            "type": None if said.thread is None else "DiffNote",
            "discussion_id": said.thread or f"note-{said.id}",
            "action": "create",
            "system": False,
        }
        return "Note Hook", {**about, "object_kind": "note", "object_attributes": note, "merge_request": request}
    if one.kind is EventKind.REACTED:
        names = {"+1": "thumbsup", "-1": "thumbsdown"}
        award = {
            "id": one.award,
            "name": names.get(one.reaction or "", one.reaction),
            "awardable_type": "Note",
            "awardable_id": said.id,
        }
        body = {**about, "object_kind": "emoji", "event_type": "award", "object_attributes": award}
        return "Emoji Hook", {**body, "merge_request": request, "note": {"discussion_id": said.thread}}
    return None


def _gitea(one: Occurrence) -> Payload | None:
    pull, said = one.pull, one.comment
    about = {"repository": {"full_name": pull.project}, "sender": {"login": one.actor}}
    whole = {**about, "pull_request": github_pull(pull)}
    if one.kind in _GITEA:
        changes = {"title": {"from": f"WIP: {pull.title}"}} if one.kind is EventKind.READY else {}
        changes |= {"ref": {"from": ""}} if one.target else {}
        return "pull_request", {**whole, "action": _GITEA[one.kind], "number": pull.number, "changes": changes}
    if said is None or one.kind not in {EventKind.COMMENTED, EventKind.REPLIED}:
        return None
    if said.thread is None or said.reply_to is not None:
        issue = {"number": pull.number, "pull_request": {"merged": False}}
        body = {**about, "action": "created", "is_pull": True, "issue": issue, "comment": github_comment(said)}
        return "issue_comment", body
    review = {"type": "pull_request_review_comment", "content": ""}
    return "pull_request_comment", {**whole, "action": "reviewed", "review": review}
