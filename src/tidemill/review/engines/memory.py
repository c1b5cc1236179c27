"""What engines found of the latest changes, so that a second review of the same head runs none of them."""

from collections import OrderedDict

from tidemill.core.change import ChangeSet, Diff
from tidemill.core.ids import digest
from tidemill.review.engines.port import Engine, EngineResult

REMEMBERED_RESULTS = 120


class EngineMemory:
    """Runs engines, and answers from memory what one of the same version has found of the same change.

    A result with notes is not kept: a note may be of that run alone, such as of a rule that took too long.
    """

    def __init__(self) -> None:
        self._results: OrderedDict[str, EngineResult] = OrderedDict()

    async def run(self, engine: Engine, change: ChangeSet, diff: Diff, name: str) -> EngineResult:
        """See `Engine.run`; `name` is what `name_of` gives for the change and the diff."""
        key = digest(engine.name, engine.version, name)
        if key in self._results:
            self._results.move_to_end(key)
            return self._results[key]
        result = await engine.run(change, diff)
        if not result.notes:
            self._results[key] = result
            if len(self._results) > REMEMBERED_RESULTS:
                self._results.popitem(last=False)
        return result


def name_of(change: ChangeSet, diff: Diff) -> str:
    """A digest of all that engines read."""
    sides = (change.files, change.before, change.around, change.attributes)
    parts = [digest(*(part for one in sorted(side.items()) for part in one)) for side in sides]
    return digest(change.diff, *parts, *(file.path for file in diff.files))
