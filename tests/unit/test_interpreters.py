"""Which folders an interpreter brings into the sandbox."""

from pathlib import Path

from tidemill.core.execution import Interpreter
from tidemill.sandbox.interpreters import candidates


def test_an_interpreter_in_a_home_does_not_show_what_else_is_there(tmp_path: Path) -> None:
    home = tmp_path / "home" / ".local"
    for folder in ("bin", "lib/python3.11", "share/tidemill"):
        (home / folder).mkdir(parents=True)
    (home / "bin" / "python3").write_text("")
    first = candidates([home])[Interpreter.PYTHON][0]
    assert first.path == home / "bin" / "python3"
    assert list(first.folders) == [home / "bin", home / "lib"]
