"""Pull requests as every forge has them, what is said on them, and what happens to them.

GitLab's merge requests are pull requests here; a `thread` is what GitHub calls a review thread and GitLab a discussion.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class ForgeKind(StrEnum):
    """Whose API a forge speaks."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"
    SCRIPTED = "scripted"


_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)+", re.ASCII)


def is_project_path(text: str) -> bool:
    """Whether a text is a project's path, and stands for no other: in an address `acme/../evil` leads to `evil`."""
    return _PATH.fullmatch(text) is not None and not {".", ".."} & set(text.split("/"))


@dataclass(frozen=True, slots=True)
class Project:
    """A repository on a forge.

    Attributes:
        forge: the forge's name in the settings, such as `github`.
        path: `owner/name`; on GitLab with groups in front.
    """

    forge: str
    path: str


@dataclass(frozen=True, slots=True)
class PullRequestKey:
    """Which pull request: `number` is what people write after `#` (GitLab: the iid, after `!`)."""

    project: Project
    number: int


class PullRequestState(StrEnum):
    """Whether a pull request can still change."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request as it stands now.

    Attributes:
        base: the commit that the change is compared with: where the branches part (the merge base).
        head: the newest commit of the change.
        target: the branch that it is to be merged into.
        target_head: the newest commit of that branch. What the repository wants of changes is read there: where the
            branches part is for the author to choose.
        to_default: whether that is the repository's default branch.
        source: the branch that it comes from.
        fork: whether it comes from another repository, whose authors have no rights here.
        draft: whether its author says that it is not ready.
        merge_commit: the commit that merged it, once it is merged.
    """

    key: PullRequestKey
    title: str
    body: str
    author: str
    state: PullRequestState
    base: str
    head: str
    target: str
    target_head: str
    to_default: bool
    source: str
    fork: bool
    draft: bool
    url: str
    merge_commit: str | None = None
    labels: tuple[str, ...] = ()


class EventKind(StrEnum):
    """What happened on a forge. What else a forge tells of is `OTHER`, and nothing is done about it."""

    OPENED = "opened"
    SYNCHRONIZED = "synchronized"
    REOPENED = "reopened"
    READY = "ready"
    EDITED = "edited"
    MERGED = "merged"
    CLOSED = "closed"
    COMMENTED = "commented"
    REPLIED = "replied"
    REACTED = "reacted"
    SUGGESTION_APPLIED = "suggestion_applied"
    THREAD_RESOLVED = "thread_resolved"
    THREAD_UNRESOLVED = "thread_unresolved"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ForgeEvent:
    """One delivery of a webhook, read.

    Attributes:
        kind: what happened.
        key: the pull request that it happened to; `None` where it is about none.
        actor: the login of who did it; empty where the forge does not say.
        by_bot: whether the forge says that it was a program.
        head: the pull request's newest commit, where the event says so.
        comment: the forge's id of the comment that was written, answered or reacted to.
        review: the forge's id of the review whose text `body` is: such a text is no comment, and can't be answered.
        reply_to: the id of the comment that a reply answers.
        thread: the forge's id of the thread.
        body: the text of the comment.
        reaction: `+1`, `-1`, or another name that the forge gives.
        award: the forge's id of the reaction.
        target: the branch that the pull request is now to be merged into, where the event says that this changed.
        installation: GitHub's id of the App's installation.
    """

    kind: EventKind
    key: PullRequestKey | None
    actor: str = ""
    by_bot: bool = False
    head: str | None = None
    comment: str | None = None
    review: str | None = None
    reply_to: str | None = None
    thread: str | None = None
    body: str = ""
    reaction: str | None = None
    award: str | None = None
    installation: int | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where an inline comment stands: lines `start`…`end` (1-based, inclusive) of the new side of the head commit."""

    path: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ForgeComment:
    """A comment on a pull request, as the forge has it.

    Attributes:
        id: the forge's id.
        thread: the id of its thread; `None` for a comment on the pull request as a whole.
        author: the login.
        body: Markdown.
        position: of an inline comment that still stands on the newest diff; else `None`.
        path: the file of an inline comment, wherever it stands.
        reply_to: the id of the comment that it answers.
        resolved: whether its thread was resolved.
        own: whether Tidemill's account wrote it.
        reactions: how many of each name (`+1`, `-1`, …).
    """

    id: str
    thread: str | None
    author: str
    body: str
    created_at: datetime
    position: Position | None = None
    path: str | None = None
    reply_to: str | None = None
    resolved: bool = False
    own: bool = False
    reactions: Mapping[str, int] = field(default_factory=dict)


class CheckState(StrEnum):
    """How a check of a commit stands."""

    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    NEUTRAL = "neutral"


class AnnotationLevel(StrEnum):
    """How loud an annotation is, as GitHub names it."""

    NOTICE = "notice"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Annotation:
    """A remark of a check on lines of the new side."""

    position: Position
    level: AnnotationLevel
    title: str
    message: str


@dataclass(frozen=True, slots=True)
class Check:
    """A check run of a commit: GitHub's check run; elsewhere the commit's status, which has no annotations.

    Attributes:
        name: two checks of one name on one commit are the same check.
        summary: Markdown.
        link: where more is to be read.
    """

    name: str
    commit: str
    state: CheckState
    title: str
    summary: str
    annotations: tuple[Annotation, ...] = ()
    link: str | None = None
