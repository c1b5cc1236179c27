"""The models that can be asked, and the local ones' coming and going."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.errors import InvalidInput
from tidemill.llm.catalog import ModelEntry, SourceKind

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


class NamedModel(BaseModel):
    """A request about one local model."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=200)


class ModelStatus(BaseModel):
    """How a local model's process stands. Memory in bytes; times as ISO 8601."""

    model: str
    state: str
    pid: int | None = None
    memory_bytes: int | None = None
    restarts: int = 0
    started_at: str | None = None


class ModelStatusList(BaseModel):
    """Every local model that was loaded."""

    object: str = "list"
    data: list[ModelStatus]


@router.get("/models", summary="List the models", dependencies=[needs(Right.MODELS_READ)])
async def list_models(request: Request) -> ModelList:
    """The models that can be asked now."""
    return ModelList(data=[_model(entry) for entry in services_of(request).deployments.models()])


@router.get("/models/status", summary="How the local models stand", dependencies=[needs(Right.MODELS_READ)])
async def model_status(request: Request) -> ModelStatusList:
    """Every local model that this hub has loaded, with its process and memory."""
    return ModelStatusList(data=_statuses(request))


@router.post("/models/load", summary="Load a local model", dependencies=[needs(Right.MODELS_MANAGE)])
async def load_model(request: Request, body: NamedModel) -> ModelStatusList:
    """Loads a local model and answers when it is ready. Needs the right `models.manage`."""
    name = _local(request, body)
    await services_of(request).runtime.ensure(name)
    return ModelStatusList(data=[status for status in _statuses(request) if status.model == name])


@router.post("/models/unload", summary="Unload a local model", dependencies=[needs(Right.MODELS_MANAGE)])
async def unload_model(request: Request, body: NamedModel) -> ModelStatusList:
    """Ends a local model's process and so frees its memory. Needs the right `models.manage`."""
    name = _local(request, body)
    await services_of(request).runtime.unload(name)
    return ModelStatusList(data=[status for status in _statuses(request) if status.model == name])


@router.get("/models/{model:path}", summary="One model", dependencies=[needs(Right.MODELS_READ)])
async def get_model(request: Request, model: str) -> Model:
    """One model that can be asked now."""
    return _model(services_of(request).deployments.model(model))


def _local(request: Request, body: NamedModel) -> str:
    entry = services_of(request).deployments.model(body.model)
    if entry.kind is SourceKind.ENDPOINT:
        raise InvalidInput(f"{entry.name} is served elsewhere; only local models are loaded here.", param="model")
    return entry.name


def _model(entry: ModelEntry) -> Model:
    return Model(id=entry.name, owned_by="tidemill" if entry.kind is not SourceKind.ENDPOINT else "endpoint")


def _statuses(request: Request) -> list[ModelStatus]:
    def shown(status: Any) -> ModelStatus:
        return ModelStatus(
            model=status.model,
            state=str(status.state),
            pid=status.pid,
            memory_bytes=status.rss_bytes,
            restarts=status.restarts,
            started_at=status.started_at.isoformat() if status.started_at else None,
        )

    return [shown(status) for status in services_of(request).runtime.status()]
