"""A pull request's page as text: what a person would see on the forge."""

from tidemill.core.pull_request import Check, PullRequestState
from tidemill.forges.scripted_site import ScriptedComment, ScriptedPull

_WIDTH = 100


def page(pull: ScriptedPull) -> str:
    """The page: title, checks of the newest commit, comments on the whole, threads."""
    state = "draft" if pull.draft and pull.state is PullRequestState.OPEN else pull.state.value
    lines = [
        "=" * _WIDTH,
        f"{pull.project} #{pull.number}: {pull.title}  [{state}]",
        f"{pull.author} wants to merge {pull.source} ({pull.head[:10]}) into {pull.target} ({pull.base[:10]})"
        + (", from a fork" if pull.fork else ""),
        "=" * _WIDTH,
    ]
    if pull.body:
        lines += [pull.body, ""]
    for (commit, name), check in pull.checks.items():
        if commit == pull.head:
            lines += _check(name, check)
    lines += [line for said in pull.comments if said.thread is None for line in _comment(said, "")]
    for thread, resolved in pull.resolved.items():
        lines += _thread([said for said in pull.comments if said.thread == thread], resolved=resolved)
    return "\n".join(lines) + "\n"


def _check(name: str, check: Check) -> list[str]:
    lines = [f"check {name}: {check.state} — {check.title}", *(f"    {line}" for line in check.summary.splitlines())]
    for one in check.annotations:
        place = f"{one.position.path}:{one.position.start}"
        lines.append(f"    {one.level} {place}: {one.title}")
    return [*lines, ""]


def _thread(comments: list[ScriptedComment], *, resolved: bool) -> list[str]:
    first = comments[0]
    where = "outdated" if first.position is None else f"line {first.start}"
    if first.position is not None and first.start != first.end:
        where = f"lines {first.start} to {first.end}"
    title = f"{first.path}, {where}" + (", resolved" if resolved else "")
    return [f"--- {title} ".ljust(_WIDTH, "-"), *(line for said in comments for line in _comment(said, "    "))]


def _comment(said: ScriptedComment, indent: str) -> list[str]:
    counts = "  ".join(f"{name} {len(people)}" for name, people in said.reactions.items() if people)
    head = f"{indent}{said.author} (comment {said.id})" + (f"  [{counts}]" if counts else "")
    return [head, *(f"{indent}  | {line}" for line in said.body.splitlines()), ""]
