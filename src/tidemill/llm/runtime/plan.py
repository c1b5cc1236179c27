"""What a local model's child is to load: from the settings, the catalog and the adapters that there are."""

from collections.abc import Sequence
from pathlib import Path

from tidemill.core.errors import Configuration, InvalidInput
from tidemill.llm.catalog import DEFAULT, ModelEntry, SourceKind, available_cores, find_model, list_models
from tidemill.llm.gguf import read_header
from tidemill.llm.hub_files import hub_file
from tidemill.llm.runtime.adapters import Adapter, Adapters
from tidemill.llm.runtime.process import ChildPlan
from tidemill.llm.runtime.supervised import log_name
from tidemill.settings import Settings

NGRAM = "ngram"
"""In place of a model's name: drafts come from what the text repeats."""


def check_names(settings: Settings) -> None:
    """Raises where a setting speaks of a model that there is not, since it would be without effect.

    Raises:
        Configuration: with the setting and the name.
    """
    models = settings.models
    known = {entry.name for entry in list_models(settings)} | {DEFAULT}
    spoken_of = {
        "pinned": models.pinned,
        "draft": [*models.draft, *(name for name in models.draft.values() if name != NGRAM)],
        "mmproj": models.mmproj,
        "adapters": [adapter.base for adapter in models.adapters.values()],
    }
    for setting, names in spoken_of.items():
        for name in names:
            if name not in known and hub_file(name) is None:
                raise Configuration(
                    f"`models.{setting}` names {name!r}, and there is no such model. Mend the settings."
                )


def base_entry(settings: Settings, name: str) -> ModelEntry:
    """The local model whose child answers for a name: itself, or the base of an adapter.

    Raises:
        ModelNotFound: none of that name, or its file is not there.
        InvalidInput: it is an endpoint, not a local model.
    """
    entry = find_model(settings, name)
    if entry.adapter is not None:
        entry = find_model(settings, entry.adapter.base)
    if entry.kind is SourceKind.ENDPOINT or entry.path is None:
        raise InvalidInput(f"{entry.name} is served elsewhere; only local models are loaded here.", param="model")
    return entry


def plan_for(settings: Settings, entry: ModelEntry, logs: Path, adapters: Sequence[Adapter] | None = None) -> ChildPlan:
    """The plan for a local model, with all of its adapters, or with those that are given.

    Raises:
        ModelNotFound: the model that drafts for it is not there.
        Configuration: its projector is not one, or the list of adapters can't be read.
    """
    models = settings.models
    path = _file(entry)
    drafter = models.draft.get(entry.name)
    mmproj = models.mmproj.get(entry.name)
    if mmproj is not None:
        projector_senses(mmproj)
    return ChildPlan(
        name=entry.name,
        path=path,
        context_tokens=models.context_tokens,
        slots=models.slots,
        threads=models.threads or available_cores(),
        log=logs / log_name(entry.name),
        start_timeout=models.start_timeout,
        max_queue=models.max_queue,
        gpu_layers=models.gpu_layers,
        adapters=tuple(Adapters(settings).of(entry.name) if adapters is None else adapters),
        mmproj=mmproj,
        draft=None if drafter in {None, NGRAM} else _file(base_entry(settings, str(drafter))),
        ngram=drafter == NGRAM,
    )


def projector_senses(path: Path) -> tuple[str, ...]:
    """What a projector (mmproj) makes tokens of: `vision`, `audio` or both.

    Raises:
        Configuration: the file can't be read, or is no projector.
    """
    header = read_header(path)
    senses = tuple(sense for sense in ("vision", "audio") if header.values.get(f"clip.has_{sense}_encoder") is True)
    if header.architecture != "clip" or not senses:
        raise Configuration(f"{path} is no projector for images or sound. Mend `models.mmproj`.")
    return senses


def _file(entry: ModelEntry) -> Path:
    if entry.path is None:
        raise InvalidInput(f"{entry.name} is served elsewhere and has no file.", param="model")
    return entry.path.resolve()
