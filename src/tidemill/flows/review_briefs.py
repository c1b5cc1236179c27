"""What a review that somebody asked for by hand is told beside the change, from files of its base side."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet
from tidemill.core.review_brief import ReviewBrief
from tidemill.core.review_policy import ReviewPolicy
from tidemill.forges.git_process import Git
from tidemill.forges.local_tree import read_files
from tidemill.review.guidelines import MAX_FILE_BYTES, guideline_files, pick_guidelines
from tidemill.review.policy import POLICY_FILES, read_policy


async def base_files(repo: Path, change: ChangeSet) -> dict[str, str]:
    """Those files of a local repository's base side that say how it wants to be changed, by path.

    Raises:
        Unavailable, TidemillError: git failed.
    """
    if change.base is None:
        return {}
    paths = [*POLICY_FILES, *guideline_files(await _paths(change))]
    return await read_files(Git(repo), change.base, paths, max_bytes=MAX_FILE_BYTES)


async def brief_from(files: Mapping[str, str], change: ChangeSet, language: Literal["en", "vi"]) -> ReviewBrief | None:
    """The policy and the guidelines that such files hold; `None` where there are no files.

    Args:
        files: their texts, by path.
        change: which files are changed.
        language: of the comments, where there is no policy.
    """
    if not files:
        return None
    text = next((files[path] for path in POLICY_FILES if path in files), None)
    policy = replace(ReviewPolicy(), language=language) if text is None else read_policy(text.encode())
    paths = await _paths(change)
    return ReviewBrief(policy=policy, guidelines=await asyncio.to_thread(pick_guidelines, files, policy, paths))


async def _paths(change: ChangeSet) -> list[str]:
    return [file.path for file in (await asyncio.to_thread(parse_diff, change.diff)).files]
