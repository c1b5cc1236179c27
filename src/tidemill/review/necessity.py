"""The necessity models that there are: the shipped one, and those that were trained here on feedback.

A model is a file named by its version, which is a digest of what it holds. `current` names the one in use; without it,
or without a folder, that is the shipped one.
"""

import json
import os
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from tidemill.analysis.necessity import NecessityModel, model_from_json, model_json
from tidemill.core.errors import InvalidInput, NotFound

_CURRENT = "current"
FOLDER = "review-necessity"
"""In the data folder."""


@lru_cache(maxsize=1)
def shipped_model() -> NecessityModel:
    """The one that comes with Tidemill."""
    return model_from_json(json.loads(files("tidemill.review").joinpath("necessity.json").read_text("utf-8")))


class NecessityModels:
    """The models in a folder, and which of them is in use.

    Args:
        folder: made when the first model is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def current(self) -> NecessityModel:
        """The model in use.

        Raises:
            InvalidInput: its file was changed, or is from another version of Tidemill.
            NotFound: the file is gone.
        """
        try:
            version = (self._folder / _CURRENT).read_text("ascii").strip()
        except FileNotFoundError:
            return shipped_model()
        return self.get(version)

    def get(self, version: str) -> NecessityModel:
        """A model by its version.

        Raises:
            InvalidInput, NotFound: as `current`.
        """
        if version == shipped_model().version:
            return shipped_model()
        path = self._path(version)
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise NotFound(
                f"There is no necessity model {version}. `tidemill necessity show` names those that there are."
            ) from None
        except ValueError as error:
            raise InvalidInput(f"The necessity model in {path} can't be read ({error}). Delete the file.") from error
        return model_from_json(document)

    def all(self) -> Sequence[NecessityModel]:
        """The shipped one first, then those of the folder, oldest first."""
        kept = sorted(self._folder.glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        return [shipped_model(), *(self.get(path.stem) for path in kept)]

    def keep(self, model: NecessityModel) -> None:
        """Writes a model to its file; it is not in use by that."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _write(self._path(model.version), json.dumps(model_json(model), indent=2, ensure_ascii=False) + "\n")

    def use(self, version: str) -> NecessityModel:
        """Puts a model in use that is there.

        Raises:
            InvalidInput, NotFound: as `current`.
        """
        model = self.get(version)
        self._folder.mkdir(parents=True, exist_ok=True)
        _write(self._folder / _CURRENT, version + "\n")
        return model

    def _path(self, version: str) -> Path:
        if not (version.isascii() and version.isalnum()):
            raise InvalidInput(
                f"{version[:40]!r} can't be the version of a necessity model: it has digits and letters."
            )
        return self._folder / f"{version}.json"


def _write(path: Path, text: str) -> None:
    """Whole or not at all, whoever reads it meanwhile."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, "utf-8")
    part.replace(path)
