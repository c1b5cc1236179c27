"""Prompts: which are in force, their versions, and what they come to when they are filled in."""

from dataclasses import replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from tidemill.api.answering import context_of
from tidemill.api.gate import caller_of
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.audit import Actor
from tidemill.core.chat import ChatRequest
from tidemill.llm.prompts.template import LARGEST, PromptTemplate
from tidemill.registry.prompts import LONGEST_NOTE, differences, filled

router = APIRouter(tags=["prompts"])

Language = Literal["en", "vi"]
READ = [needs(Right.MODELS_READ)]
MANAGE = [needs(Right.PROMPTS_MANAGE)]


class PromptShown(BaseModel):
    """One version of a prompt. `number` is 0 for the one that ships; `since` when a team's own came into force."""

    object: str = "prompt"
    name: str
    language: Language
    number: int
    version: str = Field(description="What inferences are stored with.")
    description: str
    variables: dict[str, str]
    source: str
    since: datetime | None = None


class PromptList(BaseModel):
    """The version in force of every prompt."""

    object: str = "list"
    data: list[PromptShown]


class PromptVersion(BaseModel):
    """A version that the team has set."""

    number: int
    hash: str
    active: bool
    note: str | None
    actor_id: UUID | None
    created_at: datetime


class PromptHistory(BaseModel):
    """The versions of one prompt that the team has set, newest first."""

    object: str = "list"
    data: list[PromptVersion]


class PromptSource(BaseModel):
    """A new version of a prompt."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(min_length=1, max_length=LARGEST)
    language: Language = "en"
    note: str | None = Field(None, max_length=LONGEST_NOTE)
    activate: bool = Field(True, description="Whether it comes into force at once.")


class PromptChoice(BaseModel):
    """Which version is to be in force; 0 is the one that ships."""

    model_config = ConfigDict(extra="forbid")

    number: int = Field(ge=0, le=1_000_000)
    language: Language = "en"


class PromptTest(BaseModel):
    """What a version is to be filled in with, and which model, if any, is to be asked."""

    model_config = ConfigDict(extra="forbid")

    language: Language = "en"
    number: int | None = Field(None, ge=0, le=1_000_000, description="The version in force when absent.")
    values: dict[str, Any] = Field(default_factory=dict, description="The prompt's own example where one is absent.")
    model: str | None = Field(None, min_length=1, max_length=300)
    max_tokens: int = Field(512, ge=1, le=32_768)


class PromptTested(BaseModel):
    """The messages, and what the model answered where one was asked."""

    version: str
    messages: list[dict[str, Any]]
    answer: str | None = None
    inference_id: UUID | None = None


class PromptDifference(BaseModel):
    """What differs between two versions, as a unified diff; empty for nothing."""

    diff: str


@router.get("/prompts", summary="Every prompt", dependencies=READ)
async def list_prompts(request: Request) -> PromptList:
    """The version of each that is in force, in each language."""
    found = await services_of(request).prompts.names()
    return PromptList(data=[_shown(template, since) for template, since in found])


@router.get("/prompts/{name}", summary="One prompt", dependencies=READ)
async def get_prompt(request: Request, name: str, language: Language = "en", number: int | None = None) -> PromptShown:
    """One version of a prompt, the one in force where no number is given."""
    return _shown(await services_of(request).prompts.find(name, language, number))


@router.get("/prompts/{name}/history", summary="A prompt's versions", dependencies=READ)
async def get_prompt_history(request: Request, name: str, language: Language = "en") -> PromptHistory:
    """The versions that the team has set, newest first."""
    rows = await services_of(request).prompts.history(name, language)
    return PromptHistory(
        data=[
            PromptVersion(
                number=row.number,
                hash=row.hash,
                active=row.active,
                note=row.note,
                actor_id=row.actor_id,
                created_at=row.created_at,
            )
            for row in rows
        ]
    )


@router.get("/prompts/{name}/diff", summary="What differs between two versions", dependencies=READ)
async def get_prompt_diff(
    request: Request, name: str, language: Language = "en", old: int = 0, new: int | None = None
) -> PromptDifference:
    """From the version `old`, the one that ships if not said, to `new`, the one in force if not said."""
    prompts = services_of(request).prompts
    before, after = await prompts.find(name, language, old), await prompts.find(name, language, new)
    return PromptDifference(diff=differences(before, after))


@router.put("/prompts/{name}", summary="Set a prompt", dependencies=MANAGE)
async def put_prompt(request: Request, name: str, body: PromptSource) -> PromptShown:
    """Adds a version. It declares the variables that the one that ships declares."""
    template = await services_of(request).prompts.set(
        name,
        body.language,
        body.source,
        Actor.of(caller_of(request.scope)),
        note=body.note,
        activate=body.activate,
    )
    return _shown(template)


@router.post("/prompts/{name}/activate", summary="Put a version in force", dependencies=MANAGE)
async def activate_prompt(request: Request, name: str, body: PromptChoice) -> PromptShown:
    """Goes back to an earlier version, or on to one that was set and not put in force."""
    actor = Actor.of(caller_of(request.scope))
    return _shown(await services_of(request).prompts.activate(name, body.language, body.number, actor))


@router.post("/prompts/{name}/test", summary="Try a prompt", dependencies=[needs(Right.MODELS_USE)])
async def try_prompt(request: Request, name: str, body: PromptTest) -> PromptTested:
    """Fills a version in, and asks a model with it where one is named."""
    services = services_of(request)
    template = await services.prompts.find(name, body.language, body.number)
    messages = filled(template, body.values)
    tested = PromptTested(version=template.version, messages=[dict(one) for one in messages])
    if body.model is None:
        return tested
    deployment = replace(await services.deployments.for_chat(body.model), prompt_version=template.version)
    context = context_of(request, deployment)
    chat = ChatRequest(context.deployment.model, messages, {"max_tokens": body.max_tokens}, context)
    tested.answer = (await services.chat.complete(chat)).text
    tested.inference_id = context.inference_id
    return tested


def _shown(template: PromptTemplate, since: datetime | None = None) -> PromptShown:
    return PromptShown.model_validate(
        {
            "name": template.name,
            "language": template.language,
            "number": template.number,
            "version": template.version,
            "description": template.description,
            "variables": dict(template.variables),
            "source": template.source,
            "since": since,
        }
    )
