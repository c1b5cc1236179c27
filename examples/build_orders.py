"""Builds `orders.bundle`, a small repository to review, from the patches in `orders/`.

    python examples/build_orders.py [BUNDLE]

The same patches give the same commits on every machine: author, committer and date come from the patch, and git's
own settings are left out. Prints the id of the newest commit.
"""

import os
import subprocess
import sys
import tempfile
from email import message_from_bytes, policy
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATCHES = HERE / "orders"
BUNDLE = HERE / "orders.bundle"


def build(bundle: Path) -> str:
    """Writes the bundle, with `main` and `HEAD`, and returns the id of its newest commit.

    Raises:
        subprocess.CalledProcessError: git is older than 2.32, or a patch does not apply.
    """
    with tempfile.TemporaryDirectory(prefix="orders-") as folder:
        repository = Path(folder)
        git(repository, "init", "--quiet", "--template=", "--object-format=sha1", "--initial-branch=main")
        for patch in sorted(PATCHES.glob("*.patch")):
            author = message_from_bytes(patch.read_bytes(), policy=policy.default)["From"].addresses[0]
            committer = {"GIT_COMMITTER_NAME": author.display_name, "GIT_COMMITTER_EMAIL": author.addr_spec}
            git(repository, "am", "--quiet", "--committer-date-is-author-date", str(patch), **committer)
        git(repository, "-c", "pack.threads=1", "bundle", "create", "--quiet", str(bundle.absolute()), "HEAD", "main")
        return git(repository, "rev-parse", "main").strip()


def git(repository: Path, *arguments: str, **environment: str) -> str:
    """What git prints, run without the machine's and the person's settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    clean |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        ["git", *arguments], cwd=repository, env=clean | environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


if __name__ == "__main__":
    sys.stdout.write(build(Path(sys.argv[1]) if len(sys.argv) > 1 else BUNDLE) + "\n")
