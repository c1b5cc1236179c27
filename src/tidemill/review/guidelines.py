"""Picks what a repository says of how it wants to be changed: what concerns the changed files, within a budget.

What is read is data for a prompt, never a command: whoever shows it to a model puts it between fences and says so.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from tidemill.analysis.patterns import path_pattern
from tidemill.analysis.token_count import about_tokens
from tidemill.core.guidelines import Guideline, Guidelines
from tidemill.core.pull_request import ForgeKind
from tidemill.core.review_policy import ReviewPolicy
from tidemill.review.code_owners import is_gitlab_form, owners_files, owners_of

AGENTS_FILE = "AGENTS.md"
CONTRIBUTING_FILES = (
    "CONTRIBUTING.md",
    ".github/CONTRIBUTING.md",
    "docs/CONTRIBUTING.md",
    "CONTRIBUTING",
    "CONTRIBUTING.rst",
    "CONTRIBUTING.txt",
)
BUDGET = 600
"""Tokens: what a small model can read beside a hunk."""
MAX_FILE_BYTES = 200_000
_MOST_FOLDERS = 40
_FENCE = re.compile(r"^ {0,3}(```+|~~~+)")
_HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*$")
_ABOUT_CODE = re.compile(
    r"\b(?:style|convention|naming|format|lint|error|exception|test|security|secret|type|api|review|log|comment|"
    r"architecture|layer|import|depend|performance|migration|sql|async|must|never|always|avoid|prefer|should)",
    re.IGNORECASE,
)
_NOT_ABOUT_CODE = re.compile(
    r"\b(?:licen[cs]e|code of conduct|sponsor|donat|getting help|community|release process|contact|"
    r"contributor agreement|cla|fork|install|set.?up|prerequisite)",
    re.IGNORECASE,
)
_LEAST = 1.0
"""Of a section's weight; a section under it is about something else than code."""


def guideline_files(paths: Sequence[str], *, forge: ForgeKind | None = None) -> tuple[str, ...]:
    """Which files to read, on the side that the change is to be merged into, for `pick_guidelines`.

    Args:
        paths: the changed files; the `AGENTS.md` of each folder above one counts for what is below it.
        forge: whose places for CODEOWNERS; all places where it is not known.
    """
    folders: dict[str, None] = {"": None}
    for path in paths:
        for folder in PurePosixPath(path).parents:
            if str(folder) != "." and len(folders) < _MOST_FOLDERS:
                folders[f"{folder}/"] = None
    agents = [f"{folder}{AGENTS_FILE}" for folder in folders]
    return (*agents, *CONTRIBUTING_FILES, *owners_files(forge))


def pick_guidelines(
    files: Mapping[str, str],
    policy: ReviewPolicy,
    paths: Sequence[str],
    *,
    budget: int = BUDGET,
    forge: ForgeKind | None = None,
) -> Guidelines:
    """What concerns the changed files, what concerns them most first, within a budget of tokens.

    The policy's instructions go first, then the `AGENTS.md` nearest to the files, then sections of CONTRIBUTING that
    are about code. A section that the budget does not hold is left out whole, and named.

    Args:
        files: the texts of those of `guideline_files` that exist, by path.
        policy: with its instructions by pattern.
        paths: the changed files.
        budget: tokens of all that is chosen, by estimate.
        forge: whose rules for CODEOWNERS; where it is not known, GitLab's for a file in `.gitlab` or with sections.
    """
    chosen: list[Guideline] = []
    left_out: list[str] = []
    left = budget
    for guideline in (*_instructions(policy, paths), *_agents(files, paths), *_contributing(files, paths)):
        cost = about_tokens(guideline.title) + about_tokens(guideline.text)
        if cost <= left:
            chosen.append(guideline)
            left -= cost
        else:
            left_out.append(f"{guideline.source}: {guideline.title}" if guideline.title else guideline.source)
    return Guidelines(tuple(chosen), tuple(left_out), _owners(files, paths, forge))


def _instructions(policy: ReviewPolicy, paths: Sequence[str]) -> Iterator[Guideline]:
    """What names the fewest of the changed files first: it was written for them."""
    found = []
    for text, instruction in policy.instructions.items():
        pattern = path_pattern(text)
        matched = tuple(path for path in paths if pattern.matches(path))
        if matched:
            about = () if len(matched) == len(paths) else matched
            found.append(Guideline(f".tidemill.yml (instructions: {text})", "", instruction, about))
    yield from sorted(found, key=lambda one: len(one.paths) or len(paths))


def _agents(files: Mapping[str, str], paths: Sequence[str]) -> Iterator[Guideline]:
    """The deepest file first: what is nearer to the code knows more of it."""
    sources = [path for path in files if PurePosixPath(path).name == AGENTS_FILE]
    for source in sorted(sources, key=lambda path: (-path.count("/"), path)):
        folder = source.removesuffix(AGENTS_FILE)
        below = tuple(path for path in paths if path.startswith(folder))
        if below:
            about = () if len(below) == len(paths) else below
            yield from _ranked(source, files[source], below, about, least=0.0)


def _contributing(files: Mapping[str, str], paths: Sequence[str]) -> Iterator[Guideline]:
    source = next((name for name in CONTRIBUTING_FILES if name in files), None)
    if source is not None:
        yield from _ranked(source, files[source], paths, (), least=_LEAST)


def _ranked(
    source: str, text: str, paths: Sequence[str], about: tuple[str, ...], *, least: float
) -> Iterator[Guideline]:
    weighed = [(_weight(title, body, paths), title, body) for title, body in sections(text)]
    for weight, title, body in sorted(weighed, key=lambda one: -one[0]):  # stable: their own order within a weight
        if weight >= least:
            yield Guideline(source, title, body, about)


def _weight(title: str, body: str, paths: Sequence[str]) -> float:
    """How much a section has to do with these files: it names them, their folder or kind, or speaks of code."""
    text = f"{title}\n{body}"
    if _NOT_ABOUT_CODE.search(title):
        return -1.0
    folders = {part for path in paths for part in PurePosixPath(path).parts[:-1] if len(part) > 2}
    names = {PurePosixPath(path).name for path in paths}
    kinds = {PurePosixPath(path).suffix for path in paths if PurePosixPath(path).suffix}
    named = sum(
        bool(re.search(rf"(?<![\w.-]){re.escape(word)}(?![\w-])", text)) for word in sorted(folders | names)[:50]
    )
    named += sum(bool(re.search(rf"\*?{re.escape(kind)}\b", text)) for kind in kinds)
    spoken = len(_ABOUT_CODE.findall(title)) + min(len(_ABOUT_CODE.findall(body[:4000])), 4) / 4
    return 2.0 * min(named, 3) + spoken


def sections(text: str) -> list[tuple[str, str]]:
    """Markdown's sections as (heading, text), in order; what stands before the first heading has none."""
    found: list[tuple[str, list[str]]] = [("", [])]
    fence: str | None = None
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if mark is not None:
            if fence is None:
                fence = mark[1]
            elif mark[1].startswith(fence) and not line.strip(" `~"):
                fence = None
        heading = _HEADING.match(line) if fence is None else None
        if heading is not None:
            found.append((heading[1], []))
        else:
            found[-1][1].append(line)
    bodies = ((title, "\n".join(lines).strip()) for title, lines in found)
    return [(title, body) for title, body in bodies if body]


def _owners(files: Mapping[str, str], paths: Sequence[str], forge: ForgeKind | None) -> Mapping[str, tuple[str, ...]]:
    place = next((place for place in owners_files(forge) if place in files), None)
    if place is None:
        return {}
    likely = place.startswith(".gitlab/") or is_gitlab_form(files[place])
    return owners_of(files[place], paths, gitlab=forge is ForgeKind.GITLAB or (forge is None and likely))
