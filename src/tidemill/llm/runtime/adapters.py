"""LoRA adapters of local models: named in the settings, or registered at run time in a file of the data folder.

A request asks for one as `base:adapter`. An adapter is a GGUF file as llama.cpp reads it: `general.type` is `adapter`,
`adapter.type` is `lora`, and each tensor `NAME` that it changes has `NAME.lora_a` and `NAME.lora_b`
(https://github.com/ggml-org/llama.cpp/blob/master/src/llama-adapter.cpp).
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tidemill.core.errors import Configuration, Conflict, InvalidInput, NotFound
from tidemill.llm.gguf import read_shapes
from tidemill.settings import Settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
EMBEDDING = "token_embd.weight"
"""The one tensor whose factors llama.cpp takes the other way round."""
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Adapter:
    """One LoRA adapter: the name of the model that it changes, its GGUF file, and how strongly it acts."""

    name: str
    base: str
    path: Path
    scale: float = 1.0

    @property
    def model(self) -> str:
        """The name under which requests ask for it."""
        return f"{self.base}:{self.name}"


class Adapters:
    """Every adapter that there is. Reads its file anew each time, since other processes register adapters, too."""

    def __init__(self, settings: Settings) -> None:
        self._configured = {
            name: Adapter(name, given.base, given.path, given.scale) for name, given in settings.models.adapters.items()
        }
        self._folder = settings.data_dir / "adapters"
        self._file = self._folder / "adapters.json"

    @property
    def folder(self) -> Path:
        """Where the files of registered adapters must be."""
        return self._folder

    def all(self) -> list[Adapter]:
        """Those of the settings first, each kind in the order in which it came.

        Raises:
            Configuration: the file of the registered ones can't be read.
        """
        registered = [one for one in self._registered().values() if one.name not in self._configured]
        return [*self._configured.values(), *registered]

    def of(self, base: str) -> tuple[Adapter, ...]:
        """The adapters of one model, whose files are there."""
        return tuple(one for one in self.all() if one.base == base and one.path.is_file())

    def check_new(self, adapter: Adapter) -> Adapter:
        """The adapter with its whole path, if it may be registered. `adapter.path` is taken from the adapters' folder.

        Raises:
            InvalidInput: its name, its scale or its path can't be used.
            Conflict: another adapter has the name.
        """
        if not NAME.fullmatch(adapter.name):
            raise InvalidInput(
                "An adapter's name has 1 to 64 letters, digits, dots, dashes or underscores, and begins with a letter "
                "or digit.",
                param="name",
            )
        path = _within(self._folder.resolve(), adapter.path)
        if path is None:
            raise InvalidInput(
                f"There is no file {adapter.path} in {self._folder}. Put the adapter's GGUF file there.", param="path"
            )
        complete = Adapter(adapter.name, adapter.base, path, adapter.scale)
        known = next((one for one in self.all() if one.name == adapter.name), None)
        if known is not None and known != complete:
            raise Conflict(f"There is an adapter {adapter.name} of {known.base} already. Remove it, or choose a name.")
        return complete

    def add(self, adapter: Adapter) -> None:
        """Registers an adapter that `check_new` returned."""
        with self._changing() as registered:
            registered[adapter.name] = adapter

    def remove(self, name: str) -> Adapter:
        """Forgets a registered adapter; its file stays.

        Raises:
            NotFound: none of that name is registered.
            Conflict: it stands in the settings.
        """
        if name in self._configured:
            raise Conflict(f"The adapter {name} stands in the settings. Take it out of `models.adapters`.")
        with self._changing() as registered:
            if name not in registered:
                raise NotFound(f"There is no adapter {name!r}. These exist: {', '.join(registered) or 'none'}.")
            return registered.pop(name)

    def _registered(self) -> dict[str, Adapter]:
        try:
            rows = json.loads(self._file.read_text("utf-8"))
            return {
                name: Adapter(name, str(row["base"]), self._folder / str(row["path"]), float(row["scale"]))
                for name, row in rows.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Configuration(
                f"{self._file}, which names the adapters, can't be read ({type(error).__name__}). Mend or remove it."
            ) from error

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Adapter]]:
        """What is registered, alone; written back at the end of the block."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Configuration(f"The folder {self._folder} can't be written: {error.strerror}.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            registered = self._registered()
            yield registered
            self._write(registered)
        finally:
            os.close(lock)

    def _write(self, registered: Mapping[str, Adapter]) -> None:
        root = self._folder.resolve()
        rows = {
            one.name: {"base": one.base, "path": str(one.path.resolve().relative_to(root)), "scale": one.scale}
            for one in registered.values()
        }
        fresh = self._file.with_suffix(".new")
        try:
            fresh.write_text(json.dumps(rows, indent=2), "utf-8")
            fresh.replace(self._file)
        except OSError as error:
            raise Configuration(f"{self._file} can't be written: {error.strerror}.") from error


def _within(root: Path, path: Path) -> Path | None:
    """The file at a path in a folder; `None` where there is none, or the path leads out of the folder."""
    try:
        whole = (root / path).resolve()
        return whole if whole.is_relative_to(root) and whole.is_file() else None
    except (OSError, ValueError):  # longer than a path may be, or with a NUL in it
        return None


def check_fits(adapter: Adapter, base: Path) -> None:
    """Raises where llama.cpp would refuse the adapter, before anything is started.

    Raises:
        InvalidInput: the file is no LoRA adapter, or one for another base.
        Configuration: the base's file can't be read.
    """
    try:
        header, shapes = read_shapes(adapter.path)
    except Configuration as error:
        raise InvalidInput(f"The adapter {adapter.name} can't be used. {error.message}", param="path") from error
    kind = header.values.get("general.type"), header.values.get("adapter.type")
    if kind != ("adapter", "lora") or not isinstance(header.values.get("adapter.lora.alpha"), float):
        raise InvalidInput(
            f"{adapter.path.name} is no LoRA adapter: its head does not say `general.type=adapter`, "
            "`adapter.type=lora` and `adapter.lora.alpha`.",
            param="path",
        )
    target, weights = read_shapes(base)
    if header.architecture != target.architecture:
        raise _misfit(adapter, f"it is for the architecture {header.architecture!r}, not {target.architecture!r}")
    pairs = {name.removesuffix(end) for name in shapes for end in (".lora_a", ".lora_b") if name.endswith(end)}
    if not pairs or len(shapes) != 2 * len(pairs):
        raise _misfit(adapter, "its tensors are not pairs of `.lora_a` and `.lora_b`")
    for name in sorted(pairs):
        fault = _fault(name, shapes.get(f"{name}.lora_a"), shapes.get(f"{name}.lora_b"), weights.get(name))
        if fault is not None:
            raise _misfit(adapter, fault)


def _fault(name: str, first: Shape | None, second: Shape | None, weight: Shape | None) -> str | None:
    """What is wrong with one pair of factors; `None` where it fits the weight that it changes."""
    if weight is None:
        return f"the model has no tensor {name}"
    if first is None or second is None or len(first) != 2 or len(second) != 2 or len(weight) < 2:
        return f"{name} has no two factors"
    if name == EMBEDDING:
        fits = weight[0] == second[1] and weight[1] == first[1]
    else:
        fits = weight[0] == first[0] and weight[1] == second[1] and first[1] == second[0]
    return None if fits else f"{name} is {weight[0]} x {weight[1]} there, and the factors are {first} and {second}"


def _misfit(adapter: Adapter, why: str) -> InvalidInput:
    return InvalidInput(f"The adapter {adapter.name} does not fit {adapter.base}: {why}.", param="path")
