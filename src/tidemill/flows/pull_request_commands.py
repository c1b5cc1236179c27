"""Obeys commands that people write in comments. Who may not push is not obeyed, and is told so once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet, Diff
from tidemill.core.errors import TidemillError
from tidemill.core.feedback import Outcome
from tidemill.core.finding import Finding
from tidemill.core.json import Json
from tidemill.core.placed_comment import PlacedComment, PlacedState
from tidemill.core.pull_request import ForgeComment, Position, PullRequest
from tidemill.core.review import ReviewState
from tidemill.core.review_policy import ReviewPolicy
from tidemill.flows.pull_request_outcomes import feedback_of
from tidemill.flows.pull_request_parts import PullRequestParts, Record, Work, settled
from tidemill.flows.pull_request_recognition import Recognition
from tidemill.flows.repository_policy import policy_of
from tidemill.flows.review_run import stored_change
from tidemill.review.commands import Command, CommandName, command_in
from tidemill.review.finding_text import suggestion_lines
from tidemill.review.markdown import code_span, escape
from tidemill.review.markers import FINDING, REPLY, marked, own_marked, with_mark
from tidemill.review.pull_request_text import commit_span, trace_lines
from tidemill.review.reports import result_from_json
from tidemill.review.wording import word
from tidemill.store.pull_requests import RunKind, RunRow
from tidemill.store.reviews import ReviewRow

DENIED = "denied"
UNKNOWN = "unknown"
SHORTEST_MARK = 6
"""Characters of a fingerprint that name a finding."""
EVERYWHERE = "repo"
_UNTOLD = timedelta(days=1)
"""How old a command may be that no forge told of. The comments of a review are as old as their drafts."""

log = logging.getLogger(__name__)


class Commands:
    """Obeys one command.

    Args:
        parts: what it is done with.
        work: the run; its event has the comment.
        ask: claims a run of a review.
    """

    def __init__(self, parts: PullRequestParts, work: Work, ask: Callable[..., Awaitable[RunRow | None]]) -> None:
        self._parts = parts
        self._work = work
        self._ask = ask

    async def obey(self) -> Record:
        """Does what the comment asks for and answers it once. `submit` has the causes of runs that are to be queued."""
        event = self._work.run.event or {}
        if "body" not in event:
            return await self._untold()
        command = command_in(str(event.get("body", "")))
        if command is None:
            return {"counts": {}}
        forge, key = self._work.forge, self._work.key
        comments = await forge.comments(key)
        asked = self._asked(event, comments)
        if asked is None:
            return {"counts": {}, "reason": "The comment was deleted."}
        if asked.own:
            return {"counts": {}, "reason": "Tidemill takes no commands from itself."}
        replies = own_marked(comments, REPLY)
        if asked.id in replies:
            return {"counts": {}, "reason": "It was answered before.", "submit": [self._cause(asked)]}
        pull_request = await forge.pull_request(key)
        policy = await policy_of(forge, pull_request)
        if not await forge.may_write(key, asked.author):
            log.warning("A command of %s on %s is not obeyed: they may not push.", asked.author, self._work)
            if DENIED not in replies:
                await self._reply(asked, word(policy.language, "denied_command"), DENIED, policy.language)
            return {"counts": {"denied": 1}, "reason": "The author may not push."}
        if command.name is None:
            if UNKNOWN not in replies:
                name = code_span(f"/tidemill {command.said}")
                text = f"{word(policy.language, 'unknown', name=name)}\n\n{_help(policy.language)}"
                await self._reply(asked, text, UNKNOWN, policy.language)
            return {"counts": {"unknown": 1}}
        scene = _Scene(asked, comments, pull_request, policy, command)
        text, submit = await self._answer(scene)
        await self._reply(asked, text, asked.id, policy.language)
        return {"counts": {str(command.name): 1}, "submit": [] if submit is None else [submit]}

    async def _untold(self) -> Record:
        """Claims a run for each command that was lately given in a thread and that nobody told of."""
        work = self._work
        comments = await work.forge.comments(work.key)
        answered = own_marked(comments, REPLY)
        causes = []
        for one in comments:
            late = one.created_at < work.run.created_at - _UNTOLD
            if one.own or one.thread is None or one.id in answered or late or command_in(one.body) is None:
                continue
            cause = f"comment:{one.id}"
            said: dict[str, Json] = {"comment": one.id, "review": None, "body": one.body}
            await self._ask(work.key, RunKind.COMMAND, cause, event=said, asked_by=one.author)
            causes.append(cause)
        reason = None if causes else "No command waits in a thread."
        return {"counts": {"commands": len(causes)}, "submit": causes, "reason": reason}

    def _asked(self, event: Mapping[str, Json], comments: Sequence[ForgeComment]) -> ForgeComment | None:
        """The comment that the command stands in. The text of a review is no comment: its event says who wrote it."""
        run = self._work.run
        if event.get("comment") is not None or run.asked_by is None:
            return next((one for one in comments if one.id == event.get("comment")), None)
        return ForgeComment(str(event["review"]), None, run.asked_by, str(event["body"]), run.created_at)

    async def _answer(self, scene: "_Scene") -> tuple[str, str | None]:
        """The text of the reply, and the cause of the run that is to be queued."""
        language = scene.policy.language
        match scene.command.name:
            case CommandName.REVIEW:
                cause = self._cause(scene.asked)
                await self._ask(self._work.key, RunKind.REVIEW, cause, asked_by=scene.asked.author)
                return word(language, "queued", head=commit_span(scene.pull_request.head)), cause
            case CommandName.IGNORE:
                return await self._ignore(scene), None
            case CommandName.EXPLAIN:
                placed = await self._named(scene)
                return (word(language, "which") if placed is None else _explained(placed, language)), None
            case CommandName.FIX:
                return await self._fix(scene), None
            case CommandName.ASK:
                return await self._question(scene), None
            case CommandName.CONFIG:
                return _config(scene.policy, scene.pull_request.target_head), None
            case _:
                return _help(language), None

    async def _ignore(self, scene: "_Scene") -> str:
        language = scene.policy.language
        finding = await self._named(scene)
        if finding is None:
            return word(language, "which")
        everywhere = EVERYWHERE in scene.command.argument.split()
        now = self._parts.clock()
        await self._parts.rows.ignore(
            self._work.key, finding.fingerprint, everywhere=everywhere, login=scene.asked.author, at=now
        )
        for placed in await self._parts.placed.of(self._work.row.id):
            if placed.finding.fingerprint == finding.fingerprint:
                source = f"comment:{scene.asked.id}"
                row = feedback_of(placed.id, Outcome.MUTED, source, self._parts, scene.asked.author)
                await self._parts.placed.add_feedback([row])
                await self._parts.placed.turn(placed.id, PlacedState.IGNORED)
                if placed.thread is not None:
                    await settled(self._work, placed.thread)
        return word(language, "ignored", where=word(language, "everywhere" if everywhere else "here"))

    async def _fix(self, scene: "_Scene") -> str:
        language = scene.policy.language
        placed = self._placed_in(scene, await self._parts.placed.of(self._work.row.id))
        if placed is None:
            return word(language, "fix_unknown")
        change, diff = await self._reviewed(scene.pull_request)
        finding = await self._finding_now(placed, scene.pull_request, change, diff)
        if finding is None:
            return word(language, "fix_gone", head=commit_span(scene.pull_request.head))
        suggestion: Any = finding.suggestion
        if suggestion is None and self._parts.mender is not None:
            try:
                suggestion = await self._parts.mender.mend(finding, change, diff, scene.policy, self._work.run.id)
            except TidemillError as error:
                if error.transient:
                    raise
                suggestion = error.message
        if suggestion is None or isinstance(suggestion, str):
            reason = suggestion or "no model is there for it."
            return word(language, "fix_none", reason=escape(reason))
        comment = next((one for one in scene.comments if one.id == placed.comment), None)
        stands = comment.position if comment is not None else None  # the forge puts it in the place of these lines
        position = stands or Position(finding.path, 0, 0)
        crlf = "\r\n" in change.files.get(finding.path, "")
        return "\n".join(suggestion_lines(suggestion, language, position, self._work.forge.kind, crlf=crlf))

    async def _finding_now(
        self, placed: PlacedComment, pull_request: PullRequest, change: ChangeSet, diff: Diff
    ) -> Finding | None:
        """A placed finding where the newest commit has it, or `None` where it is gone.

        What a model said it need not say again, and an engine that failed or did not read the file says nothing: there
        the line counts.
        """
        made = await self._review_of(pull_request)
        found = [] if made is None else await self._parts.review_rows.findings(made.id)
        for finding in await Recognition(self._parts, self._work).of(found, pull_request, change, diff):
            if finding.fingerprint == placed.finding.fingerprint:
                return finding
        engine, path = placed.finding.engine, placed.finding.path
        if made is not None and made.result is not None:
            result = result_from_json(made.result)
            asked = engine in result.engines and engine not in result.failures
            if asked and path not in result.unread.get(engine, ()):
                return None
        return moved(placed.finding, diff)

    async def _review_of(self, pull_request: PullRequest) -> ReviewRow | None:
        """The review of the newest commit, if it was made."""
        run = await self._parts.rows.latest_review(self._work.row.id)
        row = await self._parts.review_rows.get(run.id) if run is not None and run.head == pull_request.head else None
        return row if row is not None and row.state is ReviewState.DONE else None

    async def _question(self, scene: "_Scene") -> str:
        language = scene.policy.language
        if self._parts.answerer is None:
            return word(language, "asked_failed", reason="no model is there for it.")
        change, diff = await self._reviewed(scene.pull_request)
        try:
            return await self._parts.answerer.answer(scene.command.argument, change, diff, language, self._work.run.id)
        except TidemillError as error:
            if error.transient:
                raise
            return word(language, "asked_failed", reason=escape(error.message))

    async def _reviewed(self, pull_request: PullRequest) -> tuple[ChangeSet, Diff]:
        """The change as its review read it, or as the forge has it now where it was not reviewed."""
        run = await self._parts.rows.latest_review(self._work.row.id)
        row = await self._parts.review_rows.get(run.id) if run is not None and run.head == pull_request.head else None
        if row is not None and row.change_forgotten_at is None:
            data = await self._parts.blobs.get(row.change_digest)
            change, diff, _ = await asyncio.to_thread(stored_change, data)
            return change, diff
        from_forge = await self._work.forge.change(pull_request, self._parts.settings)
        return from_forge, await asyncio.to_thread(parse_diff, from_forge.diff)

    async def _named(self, scene: "_Scene") -> Finding | None:
        """The finding of the thread in which the command stands, or the one that its argument names."""
        placed = self._placed_in(scene, await self._parts.placed.of(self._work.row.id))
        if placed is not None:
            return placed.finding
        wanted = next((one for one in scene.command.argument.split() if one != EVERYWHERE), "").strip("`")
        if len(wanted) < SHORTEST_MARK:
            return None
        run = await self._parts.rows.latest_review(self._work.row.id)
        found = [] if run is None else await self._parts.review_rows.findings(run.id)
        fitting = [finding for finding in found if finding.fingerprint.startswith(wanted)]
        return fitting[0] if len(fitting) == 1 else None

    def _placed_in(self, scene: "_Scene", placed: Sequence[PlacedComment]) -> PlacedComment | None:
        """The comment of Tidemill's that the thread of the command began with."""
        thread, answered = scene.asked.thread, scene.asked.reply_to
        first = next(
            (
                one
                for one in scene.comments
                if one.own
                and (one.id == answered or (thread is not None and one.thread == thread))
                and (marked(one.body) or ("", ""))[0] == FINDING
            ),
            None,
        )
        return next((one for one in placed if first is not None and one.comment == first.id), None)

    async def _reply(self, asked: ForgeComment, text: str, name: str, language: str) -> None:
        forge = self._work.forge
        body = with_mark(text, REPLY, name, limit=forge.comment_limit, note=word(language, "cut"))
        if (self._work.run.event or {}).get("comment") is None:
            await forge.comment(self._work.key, body)
        else:
            await forge.reply(self._work.key, asked, body)

    def _cause(self, asked: ForgeComment) -> str:
        return f"review:{asked.id}"


class _Scene:
    """A command, and what stands around it."""

    def __init__(
        self,
        asked: ForgeComment,
        comments: Sequence[ForgeComment],
        pull_request: PullRequest,
        policy: ReviewPolicy,
        command: Command,
    ) -> None:
        self.asked = asked
        self.comments = comments
        self.pull_request = pull_request
        self.policy = policy
        self.command = command


def moved(finding: Finding, diff: Diff) -> Finding | None:
    """A finding of an earlier commit on the line where its quote stands now; `None` where that is no or no one line."""
    wanted = "".join(finding.quote.split())
    lines = {
        line.new
        for hunk in diff.hunks
        for line in hunk.lines
        if hunk.path == finding.path and line.new is not None and "".join(line.text.split()) == wanted
    }
    if not wanted or len(lines) != 1:
        return None
    details = {name: value for name, value in finding.details.items() if name not in {"fix", "proposal"}}
    return replace(finding, line=lines.pop(), suggestion=None, details=details, trace=())


def _help(language: str) -> str:
    lines = [word(language, "help"), ""]
    arguments = {CommandName.ASK: " QUESTION", CommandName.IGNORE: " [repo]"}
    for name in CommandName:
        usage = code_span(f"/tidemill {name}{arguments.get(name, '')}")
        lines.append(f"- {usage}: {word(language, f'help_{name}')}")
    return "\n".join(lines)


def _explained(finding: Finding, language: str) -> str:
    lines = [
        f"{code_span(f'{finding.engine}:{finding.rule}')} **{escape(finding.title)}**",
        "",
        escape(finding.message),
    ]
    known = {name: finding.details[name] for name in ("cwe", "owasp", "url", "link", "help") if name in finding.details}
    lines += ["", *[f"- {escape(name)}: {_value(value)}" for name, value in known.items()]] if known else []
    lines += ["", f"- {finding.category}, {finding.severity}, {finding.confidence:.0%}"]
    if finding.trace:
        lines += ["", f"**{word(language, 'trace')}**", "", *trace_lines(finding)]
    return "\n".join(lines)


def _value(value: Json) -> str:
    return code_span(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _config(policy: ReviewPolicy, base: str) -> str:
    lines = [word(policy.language, "config", base=commit_span(base)), "", "| | |", "| --- | --- |"]
    for field in fields(policy):
        value = getattr(policy, field.name)
        if field.name == "gates":
            lines += [f"| `gates.{one.name}` | {_setting(getattr(value, one.name))} |" for one in fields(value)]
        elif field.name != "notes":
            lines.append(f"| `{field.name}` | {_setting(value)} |")
    if policy.notes:
        lines += ["", f"**{word(policy.language, 'notes')}**", "", *[f"- {escape(note)}" for note in policy.notes]]
    return "\n".join(lines)


def _setting(value: object) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{name}: {one}" for name, one in value.items())
    elif isinstance(value, tuple | frozenset):
        value = ", ".join(sorted(map(str, value)))
    return code_span(str(value)) if value not in {"", None} else ""
