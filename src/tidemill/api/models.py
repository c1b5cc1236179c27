"""The models that can be asked, and the local ones' coming and going."""

from pathlib import Path
from typing import TypeVar

from fastapi import APIRouter, Request
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from tidemill.api.errors import invalid
from tidemill.api.gate import caller_of
from tidemill.api.knowledge_chat import KNOWLEDGE
from tidemill.api.request_body import json_body
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.audit import Actor
from tidemill.core.errors import InvalidInput
from tidemill.core.json import Json
from tidemill.llm.catalog import SourceKind
from tidemill.llm.embedding_catalog import EmbeddingModel, Engine
from tidemill.llm.runtime.adapters import Adapter
from tidemill.llm.runtime.ledger import Space
from tidemill.llm.runtime.status import RuntimeStatus
from tidemill.registry.deployments import Named

Body = TypeVar("Body", bound=BaseModel)
router = APIRouter(tags=["models"])


class Model(BaseModel):
    """A model, in OpenAI's shape."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str


class ModelList(BaseModel):
    """The models that can be asked now."""

    object: str = "list"
    data: list[Model]


class ModelToLoad(BaseModel):
    """A request about one local model. `model_id` is another name for `model`."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=200, validation_alias=AliasChoices("model", "model_id"))


class LoadRequest(ModelToLoad):
    """A local model to load. `pin` keeps it from being unloaded until the hub ends, or with `false` no longer."""

    pin: bool | None = None


class NewAdapter(BaseModel):
    """A LoRA adapter to register: its file is in the folder `adapters` of the data folder."""

    model_config = ConfigDict(extra="forbid")

    base: str = Field(min_length=1, max_length=200)
    name: str = Field(min_length=1, max_length=64)
    path: str = Field(min_length=1, max_length=1000)
    scale: float = Field(1.0, ge=-100, le=100, allow_inf_nan=False)


class AdapterInfo(BaseModel):
    """A LoRA adapter; requests ask for it as `id`."""

    id: str
    object: str = "adapter"
    name: str
    base: str
    scale: float


class AdapterList(BaseModel):
    """Every LoRA adapter, of the settings and registered."""

    object: str = "list"
    data: list[AdapterInfo]


class Slots(BaseModel):
    """Requests that a local model decodes at once, and now."""

    total: int
    busy: int


class TokensPerSecond(BaseModel):
    """Of the last requests; nothing before the first."""

    prefill: float | None
    decode: float | None


class ModelStatus(BaseModel):
    """How a local model's process stands. Memory in bytes; times as ISO 8601.

    `memory_bytes` is what the process has resident; `memory_measured_bytes`, its share where pages belong to several
    processes, counts against the budget.
    """

    model: str
    state: str
    pid: int | None
    memory_bytes: int | None
    memory_estimated_bytes: int | None
    memory_measured_bytes: int | None
    vram_bytes: int | None
    slots: Slots
    queue_length: int
    in_flight: int
    tokens_per_second: TokensPerSecond
    adapters: list[str]
    capabilities: list[str]
    pinned: bool
    idle_seconds: float | None
    keep_alive_until: str | None
    restarts: int
    started_at: str | None


class Memory(BaseModel):
    """Memory for local models, in bytes. `budget` is absent where all that is free may be taken."""

    budget_bytes: int | None
    used_bytes: int
    free_bytes: int


class ModelStatusList(BaseModel):
    """Every local model that was asked for, and the memory for them. `vram` is absent without a GPU."""

    object: str = "list"
    data: list[ModelStatus]
    memory: Memory
    vram: Memory | None


@router.get("/models", summary="List the models", dependencies=[needs(Right.MODELS_READ)])
async def list_models(request: Request) -> ModelList:
    """The models that can be asked now."""
    services = services_of(request)
    found = {one.name: _model(one) for one in services.deployments.names()}
    found |= {model.name: _embedding_model(model) for model in services.embedding_deployments.models()}
    found[KNOWLEDGE] = Model(id=KNOWLEDGE, owned_by="tidemill")
    return ModelList(data=list(found.values()))


@router.get("/models/status", summary="How the local models stand", dependencies=[needs(Right.MODELS_READ)])
async def model_status(request: Request) -> ModelStatusList:
    """Every local model that this hub was asked for: its process, memory, slots, queue and pace."""
    return await _statuses(request)


@router.post(
    "/models/load",
    summary="Load a local model",
    dependencies=[needs(Right.MODELS_MANAGE)],
    openapi_extra=json_body(LoadRequest.model_json_schema()),
)
async def load_model(request: Request) -> ModelStatusList:
    """Loads a local model and answers when it is ready. Needs the right `models.manage`."""
    body = await _parsed(request, LoadRequest)
    base = _local(request, body.model)
    runtime = services_of(request).runtime
    if body.pin is not None:
        runtime.pin(base, pinned=body.pin)
    await runtime.ensure(body.model)
    await _record(request, "model.loaded", body.model, pinned=body.pin)
    return await _statuses(request, base)


@router.post(
    "/models/unload",
    summary="Unload a local model",
    dependencies=[needs(Right.MODELS_MANAGE)],
    openapi_extra=json_body(ModelToLoad.model_json_schema()),
)
async def unload_model(request: Request) -> ModelStatusList:
    """Ends a local model's process, once its answers are read, and so frees its memory. Needs `models.manage`."""
    body = await _parsed(request, ModelToLoad)
    base = _local(request, body.model)
    await services_of(request).runtime.unload(base)
    await _record(request, "model.unloaded", base)
    return await _statuses(request, base)


@router.get("/models/adapters", summary="List the LoRA adapters", dependencies=[needs(Right.MODELS_READ)])
async def list_adapters(request: Request) -> AdapterList:
    """Every LoRA adapter, of the settings and registered."""
    return AdapterList(data=[_adapter(one) for one in services_of(request).runtime.adapters()])


@router.post(
    "/models/adapters",
    summary="Register a LoRA adapter",
    dependencies=[needs(Right.MODELS_MANAGE)],
    openapi_extra=json_body(NewAdapter.model_json_schema()),
)
async def add_adapter(request: Request) -> AdapterInfo:
    """Registers an adapter for a local model. Where that runs, a process with it takes over without a pause."""
    body = await _parsed(request, NewAdapter)
    adapter = Adapter(body.name, _local(request, body.base), Path(body.path), body.scale)
    added = await services_of(request).runtime.add_adapter(adapter)
    await _record(request, "adapter.added", added.model)
    return _adapter(added)


@router.delete("/models/adapters/{name}", summary="Forget a LoRA adapter", dependencies=[needs(Right.MODELS_MANAGE)])
async def remove_adapter(request: Request, name: str) -> AdapterList:
    """Forgets a registered adapter; its file stays."""
    await services_of(request).runtime.remove_adapter(name)
    await _record(request, "adapter.removed", name)
    return await list_adapters(request)


@router.get("/models/{model:path}", summary="One model", dependencies=[needs(Right.MODELS_READ)])
async def get_model(request: Request, model: str) -> Model:
    """One model that can be asked now."""
    services = services_of(request)
    embedding = next((one for one in services.embedding_deployments.models() if one.name == model), None)
    if model == KNOWLEDGE:
        return Model(id=KNOWLEDGE, owned_by="tidemill")
    return _embedding_model(embedding) if embedding else _model(services.deployments.name(model))


async def _record(request: Request, action: str, name: str, **details: Json) -> None:
    actor = Actor.of(caller_of(request.scope))
    await services_of(request).accounts.audit.record(actor, action, action.partition(".")[0], name, **details)


async def _parsed(request: Request, model: type[Body]) -> Body:
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        raise invalid(error) from error


def _local(request: Request, name: str) -> str:
    """The local model whose process answers for a name."""
    entry = services_of(request).deployments.model(name)
    if entry.kind is SourceKind.ENDPOINT:
        raise InvalidInput(f"{entry.name} is served elsewhere; only local models are loaded here.", param="model")
    return entry.adapter.base if entry.adapter is not None else entry.name


def _embedding_model(model: EmbeddingModel) -> Model:
    return Model(id=model.name, owned_by="tidemill" if model.engine is not Engine.ENDPOINT else "endpoint")


def _model(named: Named) -> Model:
    return Model(id=named.name, owned_by=named.owned_by)


def _adapter(adapter: Adapter) -> AdapterInfo:
    return AdapterInfo(id=adapter.model, name=adapter.name, base=adapter.base, scale=adapter.scale)


async def _statuses(request: Request, only: str | None = None) -> ModelStatusList:
    runtime = services_of(request).runtime
    await runtime.read()
    return ModelStatusList(
        data=[_status(one) for one in runtime.status() if only in {None, one.model}],
        memory=_memory(runtime.memory),
        vram=_memory(runtime.vram) if runtime.vram is not None else None,
    )


def _memory(space: Space) -> Memory:
    return Memory(budget_bytes=space.budget, used_bytes=space.used, free_bytes=max(0, space.free))


def _status(status: RuntimeStatus) -> ModelStatus:
    return ModelStatus(
        model=status.model,
        state=str(status.state),
        pid=status.pid,
        memory_bytes=status.rss_bytes,
        memory_estimated_bytes=status.estimated_bytes,
        memory_measured_bytes=status.measured_bytes,
        vram_bytes=status.vram_bytes,
        slots=Slots(total=status.slots, busy=status.busy),
        queue_length=status.queue,
        in_flight=status.in_flight,
        tokens_per_second=TokensPerSecond(prefill=status.pace.prefill, decode=status.pace.decode),
        adapters=list(status.adapters),
        capabilities=list(status.capabilities),
        pinned=status.pinned,
        idle_seconds=status.idle_seconds,
        keep_alive_until=status.keep_alive_until.isoformat() if status.keep_alive_until else None,
        restarts=status.restarts,
        started_at=status.started_at.isoformat() if status.started_at else None,
    )
