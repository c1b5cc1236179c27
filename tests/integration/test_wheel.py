"""The wheel that is published is whole, and a hub runs from it."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import PATIENCE, answers, environment, free_port, wait_for
from tidemill import __version__

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "tidemill"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tidemill` in an environment of its own that holds the wheel.

    The dependencies come from the environment of the tests by a path entry: the `.pth` files in a folder that was
    itself added so are not read, hence the editable install there is not seen.
    """
    home = tmp_path_factory.mktemp("a wheel") / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "--no-deps", str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    [packages] = home.glob("lib/python*/site-packages")
    outside = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (packages / "dependencies.pth").write_text("".join(f"{path}\n" for path in outside))
    return home / "bin" / "tidemill"


def plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("TIDEMILL_", "PYTHON", "COV"))}


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "tidemill/py.typed" in names
    assert "tidemill/store/migrations/versions/0001_foundation.py" in names
    packed = {name for name in names if not name.startswith(f"tidemill-{__version__}.dist-info/")}
    assert packed == expected
    assert f"tidemill-{__version__}.dist-info/licenses/LICENSE" in names


def test_the_installed_wheel_says_its_version_and_is_what_runs(program: Path, tmp_path: Path) -> None:
    said = subprocess.run([program, "version"], capture_output=True, text=True, env=plain_environment(), cwd=tmp_path)
    assert said.stdout == f"tidemill {__version__}\n", said.stderr
    where = [str(program.with_name("python")), "-c", "import tidemill; print(tidemill.__file__)"]
    found = subprocess.run(where, capture_output=True, text=True, env=plain_environment(), cwd=tmp_path).stdout
    assert Path(found.strip()).is_relative_to(program.parents[1])


def test_a_hub_runs_from_the_wheel(program: Path, tmp_path: Path) -> None:
    data_dir = reachable(tmp_path) / "data"
    surroundings = environment(data_dir, {})
    surroundings = {name: value for name, value in surroundings.items() if not name.startswith(("PYTHON", "COV"))}
    port = free_port()
    command = [program, "up", "--no-download", "--port", str(port)]
    process = subprocess.Popen(command, env=surroundings, cwd=tmp_path)
    try:
        wait_for(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}/health"), what="the hub")
        health = httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).json()
        assert health == {"status": "ok", "version": __version__}
        key = json.loads((data_dir / "run" / "hub.json").read_text())["key"]
        headers = {"authorization": f"Bearer {key}"}
        listed = httpx.get(f"http://127.0.0.1:{port}/v1/reviews", headers=headers, trust_env=False)
        assert listed.json() == {"object": "list", "data": []}
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
