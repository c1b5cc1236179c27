"""What a scripted forge holds: pull requests over real git repositories, and everything that is said on them.

People do to it what they do to a forge: they open, push, comment, react, resolve and merge. Whoever listens is told, as
a forge tells by webhooks. Nothing in it knows what Tidemill is; `ScriptedForge` and the scripted server speak for it.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tidemill.core.change import Diff
from tidemill.core.clock import Clock, system_clock
from tidemill.core.errors import InvalidInput, NotFound
from tidemill.core.pull_request import (
    Check,
    EventKind,
    ForgeComment,
    ForgeEvent,
    Position,
    Project,
    PullRequest,
    PullRequestKey,
    PullRequestState,
)
from tidemill.forges.port import Refused
from tidemill.forges.scripted_git import ScriptedRepository

COMMENT_LIMIT = 65_536
FIRST_ID = 3_000_000_000
"""GitHub's comments have outgrown 32 bits, too."""
_SUGGESTION = re.compile(r"^(`{3,})suggestion(?::-(\d+)\+(\d+))?\n(?:(.*?)\n)??\1$", re.DOTALL | re.MULTILINE)
"""Its lines are those of the comment, as on GitHub, or counted from the comment's last one, as on GitLab."""


@dataclass(slots=True)
class ScriptedComment:
    """One comment. `start` and `end` are `None` where it is not inline, or stands on the newest diff no more."""

    id: int
    author: str
    body: str
    created_at: datetime
    thread: str | None = None
    path: str | None = None
    start: int | None = None
    end: int | None = None
    commit: str | None = None
    reply_to: int | None = None
    reactions: dict[str, set[str]] = field(default_factory=dict)

    @property
    def position(self) -> Position | None:
        """Where it stands now."""
        if self.path is None or self.start is None or self.end is None:
            return None
        return Position(self.path, self.start, self.end)


@dataclass(slots=True)
class ScriptedPull:
    """One pull request. `refused` names what its forge lets nobody but people do, such as `comment_inline`."""

    project: str
    number: int
    title: str
    body: str
    author: str
    source: str
    target: str
    base: str
    head: str
    created_at: datetime
    fork: bool = False
    draft: bool = False
    state: PullRequestState = PullRequestState.OPEN
    merge_commit: str | None = None
    labels: tuple[str, ...] = ()
    comments: list[ScriptedComment] = field(default_factory=list)
    resolved: dict[str, bool] = field(default_factory=dict)
    checks: dict[tuple[str, str], Check] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)


@dataclass(slots=True)
class ScriptedProject:
    """One repository, who may push to it, and its issues by number, each with title and text."""

    path: str
    repository: ScriptedRepository
    writers: set[str]
    default: str = "main"
    pulls: dict[int, ScriptedPull] = field(default_factory=dict)
    issues: dict[int, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that happened, with all that a webhook tells of it."""

    kind: EventKind
    pull: ScriptedPull
    actor: str
    comment: ScriptedComment | None = None
    reaction: str | None = None
    award: int | None = None
    before: str | None = None
    target: str | None = None

    def event(self, forge: str) -> ForgeEvent:
        """As it is once a webhook's delivery was read."""
        said = self.comment
        return ForgeEvent(
            kind=self.kind,
            key=PullRequestKey(Project(forge, self.pull.project), self.pull.number),
            actor=self.actor,
            head=self.pull.head,
            comment=None if said is None else str(said.id),
            reply_to=None if said is None or said.reply_to is None else str(said.reply_to),
            thread=None if said is None else said.thread,
            body="" if said is None else said.body,
            reaction=self.reaction,
            award=None if self.award is None else str(self.award),
            target=self.target,
        )


Listener = Callable[[Occurrence], Awaitable[None]]


class ScriptedSite:
    """A forge's projects and pull requests, in memory, with repositories in a folder.

    Args:
        folder: where the repositories are put.
        clock: gives times.
    """

    def __init__(self, folder: Path, clock: Clock = system_clock) -> None:
        self.projects: dict[str, ScriptedProject] = {}
        self.listeners: list[Listener] = []
        self.clock = clock
        self._folder = folder
        self._last_id = FIRST_ID
        self._diffs: dict[tuple[str, str, str], Diff] = {}

    async def add_project(self, path: str, source: Path, *, writers: set[str] | None = None) -> ScriptedProject:
        """A project with the branches of a repository or a bundle. `maintainer` may push, and whom else you name."""
        repository = await ScriptedRepository.clone(source, self._folder / f"{path}.git")
        project = ScriptedProject(path, repository, {"maintainer"} | (writers or set()))
        self.projects[path] = project
        return project

    def project(self, path: str) -> ScriptedProject:
        """The project of a path, or `NotFound`."""
        if path not in self.projects:
            raise NotFound(f"The scripted forge has no project {path!r}.")
        return self.projects[path]

    def pull(self, path: str, number: int) -> ScriptedPull:
        """The pull request of a number, or `NotFound`."""
        pulls = self.project(path).pulls
        if number not in pulls:
            raise NotFound(f"The scripted project {path} has no pull request {number}.")
        return pulls[number]

    def issue(self, path: str, number: int) -> tuple[str, str]:
        """Title and text of the issue of a number, or `NotFound`."""
        issues = self.project(path).issues
        if number not in issues:
            raise NotFound(f"The scripted project {path} has no issue {number}.")
        return issues[number]

    def comment(self, pull: ScriptedPull, comment_id: int) -> ScriptedComment:
        """The comment of an id, or `NotFound`."""
        for comment in pull.comments:
            if comment.id == comment_id:
                return comment
        raise NotFound(f"Pull request {pull.number} has no comment {comment_id}.")

    # What people do.

    async def open(
        self,
        path: str,
        source: str,
        target: str = "main",
        *,
        title: str = "",
        body: str = "",
        author: str = "author",
        fork: bool = False,
        draft: bool = False,
        labels: tuple[str, ...] = (),
    ) -> ScriptedPull:
        """Opens a pull request from a branch of the project's repository; from a fork's, where `fork` says so."""
        project = self.project(path)
        repository = project.repository
        head = await repository.commit_of(f"refs/heads/{source}")
        base = await repository.merge_base(await repository.commit_of(f"refs/heads/{target}"), head)
        pull = ScriptedPull(
            path,
            len(project.pulls) + 1,
            title or source,
            body,
            author,
            source,
            target,
            base,
            head,
            self.clock(),
            fork=fork,
            draft=draft,
            labels=labels,
        )
        await self._refs(pull)
        project.pulls[pull.number] = pull
        await self._tell(Occurrence(EventKind.OPENED, pull, author))
        return pull

    async def push(
        self,
        pull: ScriptedPull,
        files: Mapping[str, bytes | None] | None = None,
        *,
        commit: str | None = None,
        message: str = "Change",
        author: str | None = None,
        onto: str | None = None,
    ) -> str:
        """Brings the pull request forward: by a new commit with these files, or to a commit that is there already.

        `onto` is the new commit's parent; where it is not the head, that is a force-push. Returns the new head.
        """
        await self._push(pull, files, commit, message, author or pull.author, onto)
        return pull.head

    async def say(self, pull: ScriptedPull, author: str, body: str, reply_to: int | None = None) -> ScriptedComment:
        """Writes a comment on the whole, or an answer to an inline one in its thread."""
        _check_length(body)
        said = ScriptedComment(self._new_id(), author, body, self.clock())
        kind = EventKind.COMMENTED
        if reply_to is not None:
            first = self.comment(pull, reply_to)
            if first.thread is not None:
                said.thread, said.path, said.commit = first.thread, first.path, first.commit
                said.start, said.end = first.start, first.end
                said.reply_to, kind = first.reply_to or first.id, EventKind.REPLIED
        pull.comments.append(said)
        await self._tell(Occurrence(kind, pull, author, said))
        return said

    async def say_inline(
        self, pull: ScriptedPull, author: str, body: str, position: Position, commit: str | None = None
    ) -> ScriptedComment:
        """Begins a thread on lines of the diff.

        Raises:
            Refused: the lines are not in one hunk of the diff, or the commit is not of this pull request.
        """
        _check_length(body)
        if commit is not None and commit != pull.head:
            raise Refused(f"{commit} is not the newest commit of pull request {pull.number}.")
        if not await self.in_diff(pull, position):
            raise Refused(
                f"Lines {position.start} to {position.end} of {position.path} are not part of the diff of pull "
                f"request {pull.number}."
            )
        said = ScriptedComment(self._new_id(), author, body, self.clock())
        said.thread, said.path, said.commit = f"thread-{said.id}", position.path, pull.head
        said.start, said.end = position.start, position.end
        pull.comments.append(said)
        pull.resolved[said.thread] = False
        await self._tell(Occurrence(EventKind.COMMENTED, pull, author, said))
        return said

    def edit(self, pull: ScriptedPull, comment_id: int, body: str) -> ScriptedComment:
        """Puts another text in place of a comment's."""
        _check_length(body)
        said = self.comment(pull, comment_id)
        said.body = body
        return said

    async def react(self, pull: ScriptedPull, comment_id: int, author: str, name: str) -> None:
        """Adds a reaction, such as `+1`."""
        said = self.comment(pull, comment_id)
        said.reactions.setdefault(name, set()).add(author)
        await self._tell(Occurrence(EventKind.REACTED, pull, author, said, reaction=name, award=self._new_id()))

    async def resolve(self, pull: ScriptedPull, thread: str, actor: str, *, resolved: bool = True) -> None:
        """Resolves a thread, or takes that back."""
        if thread not in pull.resolved:
            raise NotFound(f"Pull request {pull.number} has no thread {thread!r}.")
        if pull.resolved[thread] == resolved:
            return
        pull.resolved[thread] = resolved
        kind = EventKind.THREAD_RESOLVED if resolved else EventKind.THREAD_UNRESOLVED
        first = next(comment for comment in pull.comments if comment.thread == thread)
        await self._tell(Occurrence(kind, pull, actor, first))

    async def apply_suggestion(self, pull: ScriptedPull, comment_id: int, actor: str) -> str:
        """Commits what a comment suggests, as the button does, and resolves its thread; returns the new head."""
        said = self.comment(pull, comment_id)
        found = _SUGGESTION.search(said.body)
        if found is None or said.position is None or said.thread is None:
            raise InvalidInput(f"Comment {comment_id} suggests nothing that still applies.")
        place = said.position
        text = await self.project(pull.project).repository.file(pull.head, place.path)
        lines = (text or b"").decode("utf-8", "surrogateescape").splitlines(keepends=True)
        start, end = place.start, place.end
        if found[2] is not None:
            start, end = place.end - int(found[2]), place.end + int(found[3])
        new = [f"{line}\n" for line in found[4].split("\n")] if found[4] is not None else []
        if new and lines[end - 1].endswith("\r\n"):
            new[-1] = new[-1].removesuffix("\n") + "\r\n"
        lines[start - 1 : end] = new
        data = "".join(lines).encode("utf-8", "surrogateescape")
        await self._push(pull, {place.path: data}, None, "Apply suggestion", actor, None)
        pull.resolved[said.thread] = True
        await self._tell(Occurrence(EventKind.SUGGESTION_APPLIED, pull, actor, said))
        return pull.head

    async def merge(self, pull: ScriptedPull, actor: str = "maintainer") -> str:
        """Merges it; returns the merge's commit."""
        repository = self.project(pull.project).repository
        message = f"Merge pull request #{pull.number} from {pull.source}"
        pull.merge_commit = await repository.merge(
            pull.target, pull.head, message=message, author=actor, at=self.clock()
        )
        pull.state = PullRequestState.MERGED
        await self._tell(Occurrence(EventKind.MERGED, pull, actor))
        return pull.merge_commit

    async def close(self, pull: ScriptedPull, actor: str = "author") -> None:
        """Closes it unmerged."""
        pull.state = PullRequestState.CLOSED
        await self._tell(Occurrence(EventKind.CLOSED, pull, actor))

    async def reopen(self, pull: ScriptedPull, actor: str = "author") -> None:
        """Opens it again."""
        pull.state = PullRequestState.OPEN
        await self._tell(Occurrence(EventKind.REOPENED, pull, actor))

    async def ready(self, pull: ScriptedPull, actor: str = "author") -> None:
        """Says of a draft that it is ready."""
        pull.draft = False
        await self._tell(Occurrence(EventKind.READY, pull, actor))

    async def rename(self, pull: ScriptedPull, title: str, actor: str = "author") -> None:
        """Gives it another title."""
        pull.title = title
        await self._tell(Occurrence(EventKind.EDITED, pull, actor))

    async def retarget(self, pull: ScriptedPull, target: str, actor: str = "author") -> None:
        """Has it merged into another branch."""
        tip = await self.tip(pull.project, target)
        pull.base = await self.project(pull.project).repository.merge_base(tip, pull.head)
        pull.target = target
        await self._tell(Occurrence(EventKind.EDITED, pull, actor, target=target))

    # What is asked of it.

    async def tip(self, project: str, branch: str) -> str:
        """The newest commit of a branch. Raises `NotFound` where there is none."""
        return await self.project(project).repository.commit_of(f"refs/heads/{branch}")

    async def target_head(self, pull: ScriptedPull) -> str:
        """The newest commit of the branch that it is to be merged into."""
        return await self.tip(pull.project, pull.target)

    async def in_diff(self, pull: ScriptedPull, position: Position) -> bool:
        """Whether the lines stand together in one hunk of the diff, on its new side."""
        wanted = set(range(position.start, position.end + 1))
        files = (await self.diff(pull)).files
        hunks = [hunk for file in files if file.path == position.path for hunk in file.hunks]
        return bool(wanted) and any(wanted <= {line.new for line in hunk.lines} for hunk in hunks)

    async def diff(self, pull: ScriptedPull) -> Diff:
        """What it changes."""
        key = (pull.project, pull.base, pull.head)
        if key not in self._diffs:
            self._diffs[key] = await self.project(pull.project).repository.diff(pull.base, pull.head)
        return self._diffs[key]

    async def value(self, pull: ScriptedPull, forge: str) -> PullRequest:
        """The pull request as a value."""
        return PullRequest(
            key=PullRequestKey(Project(forge, pull.project), pull.number),
            title=pull.title,
            body=pull.body,
            author=pull.author,
            state=pull.state,
            base=pull.base,
            head=pull.head,
            target=pull.target,
            target_head=await self.target_head(pull),
            to_default=pull.target == self.project(pull.project).default,
            source=pull.source,
            fork=pull.fork,
            draft=pull.draft,
            url=f"https://forge.example/{pull.project}/pulls/{pull.number}",
            merge_commit=pull.merge_commit,
            labels=pull.labels,
        )

    def comment_value(self, pull: ScriptedPull, said: ScriptedComment, account: str) -> ForgeComment:
        """A comment as a value, as `account` sees it."""
        return ForgeComment(
            id=str(said.id),
            thread=said.thread,
            author=said.author,
            body=said.body,
            created_at=said.created_at,
            position=said.position,
            path=said.path,
            reply_to=None if said.reply_to is None else str(said.reply_to),
            resolved=said.thread is not None and pull.resolved[said.thread],
            own=said.author == account,
            reactions={name: len(people) for name, people in said.reactions.items()},
        )

    async def _push(
        self,
        pull: ScriptedPull,
        files: Mapping[str, bytes | None] | None,
        commit: str | None,
        message: str,
        author: str,
        onto: str | None,
    ) -> None:
        repository = self.project(pull.project).repository
        before = pull.head
        if files is not None:
            head = await repository.commit(
                pull.source, files, message=message, author=author, at=self.clock(), parent=onto or pull.head
            )
        else:
            head = await repository.commit_of(commit or f"refs/heads/{pull.source}")
            await repository.point(f"refs/heads/{pull.source}", head)
        pull.head = head
        tip = await repository.commit_of(f"refs/heads/{pull.target}")
        pull.base = await repository.merge_base(tip, head)
        await self._refs(pull)
        await self._move_comments(pull, before)
        await self._tell(Occurrence(EventKind.SYNCHRONIZED, pull, author, before=before))

    async def _move_comments(self, pull: ScriptedPull, before: str) -> None:
        """Comments keep to their lines; one whose lines changed, or left the diff, is outdated."""
        repository = self.project(pull.project).repository
        for said in pull.comments:
            place = said.position
            if place is None:
                continue
            moved = _moved(place, await repository.diff(before, pull.head, context=0, path=place.path))
            if moved is not None and not await self.in_diff(pull, moved):
                moved = None
            said.start, said.end = (None, None) if moved is None else (moved.start, moved.end)

    async def _refs(self, pull: ScriptedPull) -> None:
        repository = self.project(pull.project).repository
        for form in ("refs/pull/{}/head", "refs/merge-requests/{}/head"):
            await repository.point(form.format(pull.number), pull.head)

    async def _tell(self, occurrence: Occurrence) -> None:
        for listener in self.listeners:
            await listener(occurrence)

    def _new_id(self) -> int:
        self._last_id += 1
        return self._last_id


def _check_length(body: str) -> None:
    if len(body) > COMMENT_LIMIT:
        raise Refused(f"A comment has at most {COMMENT_LIMIT:,} characters, and this one has {len(body):,}.")
    if not body.strip():
        raise Refused("A comment can't be empty.")


def _moved(place: Position, diff: Diff) -> Position | None:
    """Where lines stand after a change of their file; `None` where it changed one of them."""
    shift = 0
    for hunk in (hunk for file in diff.files for hunk in file.hunks):
        if hunk.old_count == 0:  # lines that are put in after `old_start`
            if place.start <= hunk.old_start < place.end:
                return None
            if hunk.old_start < place.start:
                shift += hunk.new_count
            continue
        last = hunk.old_start + hunk.old_count - 1
        if hunk.old_start <= place.end and last >= place.start:
            return None
        if last < place.start:
            shift += hunk.new_count - hunk.old_count
    return Position(place.path, place.start + shift, place.end + shift)
