"""What mends findings of reviews, and where it tries that out."""

from collections.abc import Sequence
from pathlib import Path

from tidemill.app.executor import Sandbox, SandboxExecutor, trees_in
from tidemill.app.sandbox import limits_of
from tidemill.llm.prompts.shipped import Prompts
from tidemill.review.asking import Asking
from tidemill.review.engines import Engine
from tidemill.review.refiner import Refiner
from tidemill.review.trying import Trying
from tidemill.settings import Settings


def refiner_of(
    settings: Settings, engines: Sequence[Engine], asking: Asking, prompts: Prompts, sandbox: Sandbox, scratch: Path
) -> Refiner:
    """Finds lines that mend findings; formatters and tests run in the sandbox over copies of heads.

    Args:
        settings: the sandbox's limits, and where the copies of repositories are.
        engines: those of reviews.
        asking: puts questions to the model.
        prompts: has the prompts that deployments name.
        sandbox: runs what the repository names.
        scratch: heads are laid out under it.
    """
    trees = trees_in(settings.cache_dir / "pull-requests", scratch)
    return Refiner(asking, prompts, Trying(engines, SandboxExecutor(sandbox, limits_of(settings.sandbox), trees)))
