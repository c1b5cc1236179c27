"""Reads how a repository wants its changes: from the branch that they are to be merged into, as it is now.

Never from the change, and not from the commit where it began either: its author chooses that, an old one if need be.
"""

import asyncio
from collections.abc import Sequence

from tidemill.core.guidelines import Guidelines
from tidemill.core.pull_request import PullRequest
from tidemill.core.review_policy import ReviewPolicy
from tidemill.forges.port import Forge
from tidemill.review.guidelines import MAX_FILE_BYTES, guideline_files, pick_guidelines
from tidemill.review.policy import POLICY_FILES, read_policy

AT_ONCE = 4
"""Files that are asked for at the same time."""


async def policy_of(forge: Forge, pull_request: PullRequest) -> ReviewPolicy:
    """The policy of the branch that a pull request is to be merged into."""
    for path in POLICY_FILES:
        data = await forge.file(pull_request, path, pull_request.target_head)
        if data is not None:
            return read_policy(data)
    return read_policy(None)


async def guidelines_of(
    forge: Forge, pull_request: PullRequest, policy: ReviewPolicy, paths: Sequence[str]
) -> Guidelines:
    """What that branch says about changing these files."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def text_of(path: str) -> tuple[str, str] | None:
        async with gate:
            data = await forge.file(pull_request, path, pull_request.target_head)
        return None if data is None else (path, data[:MAX_FILE_BYTES].decode("utf-8", "replace"))

    found = await asyncio.gather(*map(text_of, guideline_files(paths)))
    return pick_guidelines(dict(one for one in found if one is not None), policy, paths)
