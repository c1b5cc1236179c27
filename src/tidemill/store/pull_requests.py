"""The rows of pull requests, and of what is done for each."""

import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, LiteralString
from uuid import UUID

from tidemill.core.json import Json
from tidemill.core.pull_request import Project, PullRequest, PullRequestKey, PullRequestState
from tidemill.store.database import Pool


class RunKind(StrEnum):
    """What is done for a pull request."""

    REVIEW = "review"
    COMMAND = "command"
    OUTCOMES = "outcomes"


class RunState(StrEnum):
    """How far a run has come."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    """For its forge, until `again_at`."""
    DONE = "done"
    SKIPPED = "skipped"
    """There was nothing to do; `reason` says why."""
    SUPERSEDED = "superseded"
    """A newer commit took its commit's place before anything was written."""
    FAILED = "failed"


UNFINISHED = frozenset({RunState.QUEUED, RunState.RUNNING, RunState.WAITING})


@dataclass(frozen=True, slots=True)
class PullRequestRow:
    """A pull request as it was last seen. What only an event told of has empty fields until a forge is asked."""

    id: UUID
    key: PullRequestKey
    title: str
    author: str
    state: PullRequestState
    base: str
    head: str
    target: str
    source: str
    fork: bool
    draft: bool
    url: str
    merge_commit: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RunRow:
    """One piece of work for a pull request.

    Attributes:
        id: of the row; of a review's run, also the review's.
        cause: what it is for: the same cause makes one run. `head:<commit>`, `comment:<id>`, `hand:<id>`, `merge:…`.
        head: the commit; empty until it is known.
        event: what happened, as far as the run needs it; taken away at its end.
        attempt: how often it was put off.
        asked_by: the login of who asked by a command.
        counts: what was written: `posted`, `standing`, `folded`, `resolved`, `failed`, …; from the time that a review's
            check is said to be running, `checked` is that check's name.
    """

    id: UUID
    pull_request_id: UUID
    kind: RunKind
    cause: str
    head: str
    state: RunState
    created_at: datetime
    event: Mapping[str, Json] | None = None
    attempt: int = 0
    again_at: datetime | None = None
    reason: str | None = None
    asked_by: str | None = None
    counts: Mapping[str, Json] = field(default_factory=dict)
    finished_at: datetime | None = None

    @property
    def subject(self) -> str:
        """Of its workflow: each attempt has one of its own."""
        return f"{self.id}:{self.attempt}"


class PullRequestRepository:
    """Pull requests and their runs. Every write can be repeated without effect."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def alone(self, pull_request_id: UUID) -> AbstractAsyncContextManager[bool]:
        """Whether nobody else writes on this pull request; nobody does while the block runs."""
        return self._pool.alone(pull_request_id.int % 2**63)

    async def known(self, row_id: UUID, key: PullRequestKey, now: datetime) -> PullRequestRow:
        """The row of a pull request, made with this id where there is none."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "INSERT INTO pull_requests (id, forge, project, number, created_at, updated_at) "
                "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (forge, project, number) DO UPDATE "
                "SET number = excluded.number RETURNING *",
                (row_id, key.project.forge, key.project.path, key.number, now, now),
            )
            row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - inserted or there
        return _pull_request(row)

    async def seen(self, row_id: UUID, seen: PullRequest, asked_at: datetime) -> None:
        """Stores a pull request as its forge has it, unless an answer to a later question is there already.

        Args:
            row_id: whose row.
            seen: the answer.
            asked_at: when the forge was asked: a slow answer may come after that to a later question.
        """
        await self._execute(
            "UPDATE pull_requests SET title = %s, author = %s, state = %s, base = %s, head = %s, target = %s, "
            "source = %s, fork = %s, draft = %s, url = %s, merge_commit = %s, updated_at = %s "
            "WHERE id = %s AND (updated_at <= %s OR head = '')",
            (
                seen.title.replace("\0", ""),
                seen.author,
                seen.state,
                seen.base,
                seen.head,
                seen.target,
                seen.source,
                seen.fork,
                seen.draft,
                seen.url,
                seen.merge_commit,
                asked_at,
                row_id,
                asked_at,
            ),
        )

    async def get(self, row_id: UUID) -> PullRequestRow | None:
        """One pull request, or `None`."""
        return await self._one("SELECT * FROM pull_requests WHERE id = %s", (row_id,))

    async def find(self, key: PullRequestKey) -> PullRequestRow | None:
        """One pull request by its key, or `None`."""
        return await self._one(
            "SELECT * FROM pull_requests WHERE forge = %s AND project = %s AND number = %s",
            (key.project.forge, key.project.path, key.number),
        )

    async def latest(self, *, limit: int, forge: str | None = None, project: str | None = None) -> list[PullRequestRow]:
        """Those that something happened to last."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT * FROM pull_requests WHERE (%(forge)s::text IS NULL OR forge = %(forge)s) "
                "AND (%(project)s::text IS NULL OR project = %(project)s) "
                "ORDER BY updated_at DESC, id DESC LIMIT %(limit)s",
                {"forge": forge, "project": project, "limit": limit},
            )
            return [_pull_request(row) for row in await cursor.fetchall()]

    async def claim(self, run: RunRow) -> RunRow | None:
        """Writes a new run for its cause; `None` where there is one already.

        One that was skipped or superseded begins anew, as its next attempt.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "INSERT INTO pull_request_runs AS r (id, pull_request_id, kind, cause, head, event, state, asked_by, "
                "created_at) VALUES (%s, %s, %s, %s, %s, %s, 'queued', %s, %s) "
                "ON CONFLICT (pull_request_id, cause) DO UPDATE SET state = 'queued', attempt = r.attempt + 1, "
                "reason = NULL, again_at = NULL, finished_at = NULL, event = excluded.event, "
                "created_at = excluded.created_at WHERE r.state IN ('skipped', 'superseded') RETURNING *",
                (
                    run.id,
                    run.pull_request_id,
                    run.kind,
                    run.cause,
                    run.head,
                    None if run.event is None else json.dumps(run.event),
                    run.asked_by,
                    run.created_at,
                ),
            )
            row = await cursor.fetchone()
        return _run(row) if row else None

    async def run(self, run_id: UUID) -> RunRow | None:
        """One run, or `None`."""
        runs = await self._runs("SELECT * FROM pull_request_runs WHERE id = %s", (run_id,))
        return runs[0] if runs else None

    async def run_of(self, pull_request_id: UUID, cause: str) -> RunRow | None:
        """The run of a cause, or `None`."""
        runs = await self._runs(
            "SELECT * FROM pull_request_runs WHERE pull_request_id = %s AND cause = %s", (pull_request_id, cause)
        )
        return runs[0] if runs else None

    async def runs(self, pull_request_id: UUID) -> list[RunRow]:
        """The runs of a pull request, oldest first."""
        return await self._runs(
            "SELECT * FROM pull_request_runs WHERE pull_request_id = %s ORDER BY created_at, id", (pull_request_id,)
        )

    async def latest_review(self, pull_request_id: UUID) -> RunRow | None:
        """The newest review that was not superseded or skipped, or `None`."""
        runs = await self._runs(
            "SELECT * FROM pull_request_runs WHERE pull_request_id = %s AND kind = 'review' "
            "AND state NOT IN ('superseded', 'skipped') ORDER BY created_at DESC, id DESC LIMIT 1",
            (pull_request_id,),
        )
        return runs[0] if runs else None

    async def was_reviewed(self, pull_request_id: UUID, head: str) -> bool:
        """Whether a review of this head was made, well or not, or is under way: no other begins by itself."""
        runs = await self._runs(
            "SELECT * FROM pull_request_runs WHERE pull_request_id = %s AND kind = 'review' AND head = %s "
            "AND state NOT IN ('superseded', 'skipped') LIMIT 1",
            (pull_request_id, head),
        )
        return bool(runs)

    async def start(self, run: RunRow) -> None:
        """Marks a run as running."""
        await self._execute(
            "UPDATE pull_request_runs SET state = 'running', again_at = NULL "
            "WHERE id = %s AND attempt = %s AND state IN ('queued', 'waiting')",
            (run.id, run.attempt),
        )

    async def begin(self, run: RunRow, head: str, now: datetime) -> list[RunRow] | None:
        """Notes which head a review is of. Unfinished reviews of other heads are superseded by it.

        Returns those; `None`, and none is, where the run itself was superseded or ended meanwhile.
        """
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("SELECT FROM pull_requests WHERE id = %s FOR UPDATE", (run.pull_request_id,))
            cursor = await connection.execute(
                "UPDATE pull_request_runs SET head = %s WHERE id = %s AND attempt = %s AND state = 'running'",
                (head, run.id, run.attempt),
            )
            if cursor.rowcount == 0:
                return None
            cursor = await connection.execute(
                "UPDATE pull_request_runs SET state = 'superseded', finished_at = %s, event = NULL, "
                "reason = 'A newer commit took its place.' WHERE pull_request_id = %s AND kind = 'review' "
                "AND id <> %s AND head NOT IN (%s, '') AND state IN ('queued', 'running', 'waiting') RETURNING *",
                (now, run.pull_request_id, run.id, head),
            )
            return [_run(row) for row in await cursor.fetchall()]

    async def checks(self, run: RunRow, name: str) -> bool:
        """Notes the name of the check that a review writes; false where it was superseded or ended meanwhile."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE pull_request_runs SET counts = %s WHERE id = %s AND attempt = %s AND state = 'running'",
                (json.dumps({"checked": name}), run.id, run.attempt),
            )
            return cursor.rowcount > 0

    async def others_of_check(self, project: Project, run_id: UUID, head: str, name: str) -> frozenset[RunState]:
        """How far other reviews have come that write, or have written, the check of this name on this commit.

        Of a review that ended before it could note its check's name, it may be this one.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT DISTINCT r.state FROM pull_request_runs AS r JOIN pull_requests AS p "
                "ON p.id = r.pull_request_id WHERE p.forge = %s AND p.project = %s AND r.kind = 'review' "
                "AND r.id <> %s AND r.head = %s AND r.state NOT IN ('superseded', 'skipped') "
                "AND (r.counts ->> 'checked' = %s OR r.counts ->> 'checked' IS NULL AND r.finished_at IS NOT NULL)",
                (project.forge, project.path, run_id, head, name),
            )
            return frozenset(RunState(str(row["state"])) for row in await cursor.fetchall())

    async def unclosed_checks(self, since: datetime, until: datetime) -> list[RunRow]:
        """Reviews that ended without a verdict between two times, and whose check may still be said to be running.

        Some of them, another time others: those of a forge that is away keep nobody from the rest.
        """
        return await self._runs(
            "SELECT * FROM pull_request_runs WHERE state IN ('superseded', 'skipped') "
            "AND counts ->> 'checked' IS NOT NULL AND finished_at BETWEEN %s AND %s ORDER BY random() LIMIT 20",
            (since, until),
        )

    async def check_closed(self, run_id: UUID) -> None:
        """Notes that the check of a review that ended without a verdict needs nothing more."""
        await self._execute(
            "UPDATE pull_request_runs SET counts = (counts::jsonb - 'checked')::json "
            "WHERE id = %s AND state IN ('superseded', 'skipped')",
            (run_id,),
        )

    async def put_off(self, run_id: UUID, attempt: int, until: datetime, reason: str) -> None:
        """Has a run begin again at a time, as its next attempt."""
        await self._execute(
            "UPDATE pull_request_runs SET state = 'waiting', attempt = %s, again_at = %s, reason = %s "
            "WHERE id = %s AND attempt < %s AND state IN ('queued', 'running', 'waiting')",
            (attempt, until, reason, run_id, attempt),
        )

    async def end(
        self,
        run_id: UUID,
        state: RunState,
        now: datetime,
        *,
        reason: str | None = None,
        counts: Mapping[str, Json] | None = None,
    ) -> bool:
        """Ends a run; false where it had ended. What a person wrote to ask for it goes."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE pull_request_runs SET state = %s, finished_at = %s, reason = %s, "
                "counts = coalesce(%s, counts), event = NULL, again_at = NULL "
                "WHERE id = %s AND state IN ('queued', 'running', 'waiting')",
                (state, now, reason, None if counts is None else json.dumps(counts), run_id),
            )
            return cursor.rowcount > 0

    async def due(self, now: datetime) -> list[RunRow]:
        """Runs that waited for their forge long enough."""
        return await self._runs(
            "SELECT * FROM pull_request_runs WHERE state = 'waiting' AND again_at <= %s ORDER BY again_at LIMIT 100",
            (now,),
        )

    async def unfinished(self) -> list[RunRow]:
        """Runs that are queued or running, oldest first."""
        return await self._runs(
            "SELECT * FROM pull_request_runs WHERE state IN ('queued', 'running') ORDER BY created_at, id", ()
        )

    async def ignore(
        self, key: PullRequestKey, fingerprint: str, *, everywhere: bool, login: str, at: datetime
    ) -> None:
        """Remembers that a finding is not to be told of, on this pull request or in the whole project."""
        await self._execute(
            "INSERT INTO ignored_findings (forge, project, number, fingerprint, login, at) "
            "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (key.project.forge, key.project.path, None if everywhere else key.number, fingerprint, login, at),
        )

    async def ignored(self, key: PullRequestKey) -> frozenset[str]:
        """Fingerprints of which this pull request is not to be told."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT fingerprint FROM ignored_findings WHERE forge = %s AND project = %s "
                "AND (number IS NULL OR number = %s)",
                (key.project.forge, key.project.path, key.number),
            )
            return frozenset(str(row["fingerprint"]) for row in await cursor.fetchall())

    async def old_runs(self, before: datetime) -> list[RunRow]:
        """Runs that ended before a time, of pull requests that are no longer open; some of them."""
        return await self._runs(
            "SELECT r.* FROM pull_request_runs AS r JOIN pull_requests AS p ON p.id = r.pull_request_id "
            "WHERE r.finished_at < %s AND p.state <> 'open' LIMIT 1000",
            (before,),
        )

    async def forget_login(self, forge: str, login: str) -> int:
        """Takes one person's login out of all that is stored of a forge; returns how many rows had it."""
        met = 0
        async with self._pool.connection() as connection, connection.transaction():
            for statement in ERASE_LOGIN:
                met += (await connection.execute(statement, {"forge": forge, "login": login})).rowcount
        return met

    async def _one(self, query: LiteralString, parameters: tuple[object, ...]) -> PullRequestRow | None:
        async with self._pool.connection() as connection:
            row = await (await connection.execute(query, parameters)).fetchone()
        return _pull_request(row) if row else None

    async def _runs(self, query: LiteralString, parameters: tuple[object, ...]) -> list[RunRow]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, parameters)
            return [_run(row) for row in await cursor.fetchall()]

    async def _execute(self, query: LiteralString, parameters: tuple[object, ...]) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(query, parameters)


async def forget_logins(pool: Pool, before: datetime) -> int:
    """Takes the logins out of what ended before a time; returns how many rows had one."""
    return sum([await _executed(pool, statement, before) for statement in FORGET_LOGINS])


FORGET_LOGINS: tuple[LiteralString, ...] = (
    "UPDATE pull_requests SET author = '' WHERE author <> '' AND state <> 'open' AND updated_at < %s",
    "UPDATE pull_request_runs SET asked_by = NULL WHERE asked_by IS NOT NULL AND finished_at < %s",
    "UPDATE ignored_findings SET login = NULL WHERE login IS NOT NULL AND at < %s",
    "UPDATE comment_feedback SET login = NULL WHERE login IS NOT NULL AND at < %s",
)
_OF_FORGE: LiteralString = "pull_request_id IN (SELECT id FROM pull_requests WHERE forge = %(forge)s)"
ERASE_LOGIN: tuple[LiteralString, ...] = (
    "UPDATE pull_requests SET author = '' WHERE author = %(login)s AND forge = %(forge)s",
    f"UPDATE pull_request_runs SET asked_by = NULL, event = NULL WHERE asked_by = %(login)s AND {_OF_FORGE}",  # noqa: S608 - constants
    "UPDATE ignored_findings SET login = NULL WHERE login = %(login)s AND forge = %(forge)s",
    (
        "UPDATE comment_feedback SET login = NULL WHERE login = %(login)s AND placed_id IN "  # noqa: S608 - constants
        f"(SELECT id FROM placed_comments WHERE {_OF_FORGE})"
    ),
)


async def _executed(pool: Pool, statement: LiteralString, before: datetime) -> int:
    async with pool.connection() as connection:
        return (await connection.execute(statement, (before,))).rowcount


def _pull_request(row: Mapping[str, Any]) -> PullRequestRow:
    names = ("id", "title", "author", "base", "head", "target", "source", "fork", "draft", "url", "merge_commit",
             "created_at", "updated_at")  # fmt: skip
    return PullRequestRow(
        key=PullRequestKey(Project(row["forge"], row["project"]), row["number"]),
        state=PullRequestState(row["state"]),
        **{name: row[name] for name in names},
    )


def _run(row: Mapping[str, Any]) -> RunRow:
    return RunRow(**{**row, "kind": RunKind(row["kind"]), "state": RunState(row["state"])})
