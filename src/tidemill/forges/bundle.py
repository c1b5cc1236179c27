"""A git bundle: a whole repository in one file."""

import subprocess
from pathlib import Path

from tidemill.core.errors import Configuration, InvalidInput


def clone_bundle(bundle: Path, folder: Path) -> Path:
    """Clones a bundle into a new folder and returns it.

    Raises:
        InvalidInput: the file is missing or no bundle.
        Configuration: there is no git.
    """
    if not bundle.is_file():
        raise InvalidInput(f"There is no bundle at {bundle}.")
    command = ["git", "-c", "core.hooksPath=/dev/null", "clone", "--quiet", "--", str(bundle.absolute()), str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise Configuration(
            "There is no `git` on this machine. Install it with the system's package manager."
        ) from error
    if done.returncode != 0:
        raise InvalidInput(f"The bundle {bundle} can't be cloned: {done.stderr.strip()}")
    return folder
