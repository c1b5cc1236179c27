"""Known-bad patterns in dependency manifests, Dockerfiles and workflows."""

import asyncio
from collections.abc import Mapping

from tidemill.analysis.manifests import defects, is_manifest
from tidemill.analysis.paths import PathKind, kind_of
from tidemill.core.finding import Category
from tidemill.review.engines.files import FileEngine
from tidemill.review.engines.port import Reading
from tidemill.review.placing import Remark


class ManifestsEngine(FileEngine):
    """What `analysis.manifests` finds: no pin, scripts of servers, unsafe workflows, names that look alike."""

    name = "manifests"
    version = "1"

    def reads(self, path: str) -> bool:
        """Manifests, by their names."""
        return is_manifest(path) and kind_of(path) is not PathKind.LOCK

    async def _read(self, files: Mapping[str, str]) -> Reading:
        return Reading(tuple(await asyncio.to_thread(_remarks, files)))


def _remarks(files: Mapping[str, str]) -> list[Remark]:
    return [
        Remark(
            rule=defect.rule,
            path=path,
            line=defect.line,
            severity=defect.severity,
            title=defect.title,
            message=defect.message,
            details={"cwe": 1357},
            category=Category.DEPENDENCY,
            confidence=0.6 if defect.rule == "look-alike" else 0.8,
        )
        for path, text in files.items()
        for defect in defects(path, text)
    ]
