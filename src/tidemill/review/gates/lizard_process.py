"""Run as a program of its own: prints the functions that lizard finds in the files under a folder, as JSON.

    python -P -m tidemill.review.gates.lizard_process FOLDER

A list of `{"file", "functions": [{"name", "start", "end", "complexity"}], "error"}`; `error` says why a file could not
be read, `null` otherwise. lizard is tolerant of what does not parse, but no promise covers code that is meant to hurt:
so it runs here, under the limits that its caller sets.
"""

import json
import sys
from pathlib import Path
from typing import Any

import lizard


def main(folder: Path) -> None:
    """Writes the list to the standard output."""
    found = [_measured(path) for path in sorted(folder.rglob("*")) if path.is_file()]
    sys.stdout.write(json.dumps(found))


def _measured(path: Path) -> dict[str, Any]:
    try:
        functions = lizard.analyze_file(str(path)).function_list
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError, StopIteration) as error:
        return {"file": str(path), "functions": [], "error": f"{type(error).__name__}: {error}"[:200]}
    return {
        "file": str(path),
        "functions": [
            {
                "name": one.name,
                "start": one.start_line,
                "end": one.end_line,
                "complexity": one.cyclomatic_complexity,
            }
            for one in functions
        ],
        "error": None,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
