"""Teams, whose members see one another's reviews, and departments."""

from datetime import datetime
from typing import Literal, cast
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from tidemill.accounts.teams import TeamChanges
from tidemill.api.gate import caller_of
from tidemill.api.pages import After, Limit, Page, ends
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import LONGEST_NAME, Department, Right, Team
from tidemill.core.audit import Actor

router = APIRouter(tags=["teams"])


class TeamShown(BaseModel):
    """A team."""

    id: UUID
    object: Literal["team"] = "team"
    name: str
    department_id: UUID | None
    created_at: datetime


class TeamPage(Page[TeamShown]):
    """A part of the teams, oldest first."""


class TeamRequest(BaseModel):
    """A team to make."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    department_id: UUID | None = None


class TeamPatch(BaseModel):
    """What is to change of a team. What is absent stays; `department_id: null` takes it out of any department."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, min_length=1, max_length=LONGEST_NAME)
    department_id: UUID | None = None

    def changes(self) -> TeamChanges:
        """What was given; of null, only a department's."""
        given = self.model_dump(exclude_unset=True)
        kept = {name: value for name, value in given.items() if value is not None or name == "department_id"}
        return cast(TeamChanges, kept)


class Member(BaseModel):
    """A person in a team."""

    id: UUID
    object: Literal["team.member"] = "team.member"


class MemberPage(Page[Member]):
    """A part of a team's members."""


class DepartmentShown(BaseModel):
    """A department."""

    id: UUID
    object: Literal["department"] = "department"
    name: str
    created_at: datetime


class DepartmentPage(Page[DepartmentShown]):
    """A part of the departments, oldest first."""


class DepartmentRequest(BaseModel):
    """A department to make, or its new name."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=LONGEST_NAME)


@router.get("/teams", summary="List teams", dependencies=[needs(Right.PEOPLE_READ)])
async def list_teams(request: Request, limit: Limit = 20, after: After = None) -> TeamPage:
    """The teams, oldest first."""
    found = await services_of(request).accounts.teams.page(limit=limit + 1, after=after)
    return TeamPage(data=[_team(team) for team in found[:limit]], **ends(found, limit))


@router.post("/teams", summary="Make a team", dependencies=[needs(Right.TEAMS_MANAGE)])
async def create_team(request: Request, body: TeamRequest) -> TeamShown:
    """Makes a team of nobody."""
    actor = Actor.of(caller_of(request.scope))
    return _team(await services_of(request).accounts.teams.add(body.name, actor, department_id=body.department_id))


@router.get("/teams/{team_id}", summary="One team", dependencies=[needs(Right.PEOPLE_READ)])
async def get_team(request: Request, team_id: UUID) -> TeamShown:
    """One team."""
    return _team(await services_of(request).accounts.teams.get(team_id))


@router.patch("/teams/{team_id}", summary="Change a team", dependencies=[needs(Right.TEAMS_MANAGE)])
async def change_team(request: Request, team_id: UUID, body: TeamPatch) -> TeamShown:
    """Renames a team, or moves it to another department."""
    actor = Actor.of(caller_of(request.scope))
    return _team(await services_of(request).accounts.teams.change(team_id, body.changes(), actor))


@router.delete("/teams/{team_id}", status_code=204, summary="Delete a team", dependencies=[needs(Right.TEAMS_MANAGE)])
async def delete_team(request: Request, team_id: UUID) -> Response:
    """Deletes a team; its people stay."""
    await services_of(request).accounts.teams.remove(team_id, Actor.of(caller_of(request.scope)))
    return Response(status_code=204)


@router.get("/teams/{team_id}/members", summary="A team's members", dependencies=[needs(Right.PEOPLE_READ)])
async def list_members(request: Request, team_id: UUID, limit: Limit = 20, after: After = None) -> MemberPage:
    """The ids of the people in a team."""
    found = await services_of(request).accounts.teams.members(team_id, limit=limit + 1, after=after)
    members = [Member(id=one) for one in found]
    return MemberPage(data=members[:limit], **ends(members, limit))


@router.put(
    "/teams/{team_id}/members/{user_id}",
    status_code=204,
    summary="Put a person into a team",
    dependencies=[needs(Right.TEAMS_MANAGE)],
)
async def add_member(request: Request, team_id: UUID, user_id: UUID) -> Response:
    """From now on the person and the team's others see one another's reviews."""
    await services_of(request).accounts.teams.add_member(team_id, user_id, Actor.of(caller_of(request.scope)))
    return Response(status_code=204)


@router.delete(
    "/teams/{team_id}/members/{user_id}",
    status_code=204,
    summary="Take a person out of a team",
    dependencies=[needs(Right.TEAMS_MANAGE)],
)
async def remove_member(request: Request, team_id: UUID, user_id: UUID) -> Response:
    """Takes a person out of a team."""
    await services_of(request).accounts.teams.remove_member(team_id, user_id, Actor.of(caller_of(request.scope)))
    return Response(status_code=204)


@router.get("/departments", summary="List departments", dependencies=[needs(Right.PEOPLE_READ)])
async def list_departments(request: Request, limit: Limit = 20, after: After = None) -> DepartmentPage:
    """The departments, oldest first."""
    found = await services_of(request).accounts.teams.departments(limit=limit + 1, after=after)
    return DepartmentPage(data=[_department(one) for one in found[:limit]], **ends(found, limit))


@router.post("/departments", summary="Make a department", dependencies=[needs(Right.TEAMS_MANAGE)])
async def create_department(request: Request, body: DepartmentRequest) -> DepartmentShown:
    """Makes a department."""
    actor = Actor.of(caller_of(request.scope))
    return _department(await services_of(request).accounts.teams.add_department(body.name, actor))


@router.get("/departments/{department_id}", summary="One department", dependencies=[needs(Right.PEOPLE_READ)])
async def get_department(request: Request, department_id: UUID) -> DepartmentShown:
    """One department."""
    return _department(await services_of(request).accounts.teams.department(department_id))


@router.patch("/departments/{department_id}", summary="Rename a department", dependencies=[needs(Right.TEAMS_MANAGE)])
async def rename_department(request: Request, department_id: UUID, body: DepartmentRequest) -> DepartmentShown:
    """Gives a department another name."""
    actor = Actor.of(caller_of(request.scope))
    return _department(await services_of(request).accounts.teams.rename_department(department_id, body.name, actor))


@router.delete(
    "/departments/{department_id}",
    status_code=204,
    summary="Delete a department",
    dependencies=[needs(Right.TEAMS_MANAGE)],
)
async def delete_department(request: Request, department_id: UUID) -> Response:
    """Deletes a department to which nobody belongs."""
    await services_of(request).accounts.teams.remove_department(department_id, Actor.of(caller_of(request.scope)))
    return Response(status_code=204)


def _team(team: Team) -> TeamShown:
    return TeamShown(id=team.id, name=team.name, department_id=team.department_id, created_at=team.created_at)


def _department(department: Department) -> DepartmentShown:
    return DepartmentShown(id=department.id, name=department.name, created_at=department.created_at)
