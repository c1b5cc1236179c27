"""Signing in and out, sessions, and tokens for machines."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tidemill.api.gate import caller_of
from tidemill.api.origin import SESSION, RequestOrigin
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Caller, Right, Role, Session, User
from tidemill.core.errors import NotFound

NO_STORE = "no-store"
"""For answers that hold a token, which no cache on the way may keep (RFC 6749 §5.1)."""

router = APIRouter(tags=["sign-in"])


class Credentials(BaseModel):
    """What a person signs in with."""

    model_config = ConfigDict(extra="forbid")

    email: str = Field(max_length=1000)
    password: SecretStr


class PasswordChange(BaseModel):
    """The password that a person has, and the one that it becomes."""

    model_config = ConfigDict(extra="forbid")

    old_password: SecretStr
    new_password: SecretStr = Field(description="12 characters or more; no rules beside.")


class TokenRequest(BaseModel):
    """What a token is wanted for."""

    model_config = ConfigDict(extra="forbid")

    scopes: list[Right] | None = Field(None, description="The rights to which it is narrowed; all of yours if absent.")


class SignedInUser(BaseModel):
    """Who is signed in."""

    id: UUID
    email: str | None
    name: str | None
    role: Role


class SignedIn(BaseModel):
    """A session, with what its pages send along when they change something."""

    id: UUID
    object: Literal["session"] = "session"
    user: SignedInUser
    csrf_token: str = Field(description="To be sent in the header `X-CSRF-Token` of requests that change something.")
    created_at: datetime
    expires_at: datetime = Field(description="When the session ends if it is not used again.")


class SessionInfo(BaseModel):
    """One of a person's sessions."""

    id: UUID
    object: Literal["session"] = "session"
    created_at: datetime
    seen_at: datetime = Field(description="Its last use, up to a minute behind.")
    expires_at: datetime
    current: bool = Field(description="Whether this request came with it.")


class SessionList(BaseModel):
    """A person's live sessions, newest first."""

    object: Literal["list"] = "list"
    data: list[SessionInfo]


class AccessToken(BaseModel):
    """A token for machines; send it as `Authorization: Bearer TOKEN`."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme
    expires_in: int = Field(description="Seconds.")
    scopes: list[Right]


@router.post("/auth/sign-in", summary="Sign in with a password")
async def sign_in(request: Request, response: Response, body: Credentials) -> SignedIn:
    """Begins a session, whose token goes into a cookie. Needs no key. After failures it answers 429 for a while."""
    origin = origin_of(request)
    made = await services_of(request).entrance.sign_in.with_password(
        body.email,
        body.password.get_secret_value(),
        address=origin.address(request.scope),
        instead_of=origin.cookie(request.scope, SESSION),
    )
    origin.set_cookie(request.scope, response, SESSION, made.token)
    response.headers["cache-control"] = NO_STORE
    return _signed_in(request, made.user, made.session, made.token)


@router.post(
    "/auth/sign-out", status_code=204, summary="Sign out", dependencies=[needs(Right.ACCOUNT)], response_class=Response
)
async def sign_out(request: Request) -> Response:
    """Ends the session that the request came with."""
    caller = caller_of(request.scope)
    user_id, session_id = _in_session(caller)
    await services_of(request).entrance.sessions.end(session_id, caller, user_id)
    response = Response(status_code=204)
    origin_of(request).set_cookie(request.scope, response, SESSION, "")
    return response


@router.get("/auth/session", summary="Who is signed in", dependencies=[needs(Right.ACCOUNT)])
async def get_session(request: Request, response: Response) -> SignedIn:
    """The session that the request came with, its person, and its token for requests that change something."""
    services = services_of(request)
    token = origin_of(request).cookie(request.scope, SESSION)
    user_id, session_id = _in_session(caller_of(request.scope))
    if token is None:
        raise NotFound(NO_SESSION)
    user = await services.accounts.people.get(user_id)
    session = await services.entrance.sessions.get(session_id)
    response.headers["cache-control"] = NO_STORE
    return _signed_in(request, user, session, token)


@router.get("/auth/sessions", summary="Your sessions", dependencies=[needs(Right.ACCOUNT)])
async def list_sessions(request: Request) -> SessionList:
    """The live sessions of the person who asks; none for a key that belongs to nobody."""
    sessions, caller = services_of(request).entrance.sessions, caller_of(request.scope)
    found = await sessions.of(caller.user_id) if caller.user_id else []
    return SessionList(
        data=[
            SessionInfo(
                id=one.id,
                created_at=one.created_at,
                seen_at=one.seen_at,
                expires_at=sessions.end_of(one),
                current=one.id == caller.session_id,
            )
            for one in found
        ]
    )


@router.delete(
    "/auth/sessions/{session_id}",
    status_code=204,
    summary="End a session",
    dependencies=[needs(Right.ACCOUNT)],
    response_class=Response,
)
async def end_session(request: Request, session_id: UUID) -> Response:
    """Ends one of your own sessions, wherever it is."""
    caller = caller_of(request.scope)
    if caller.user_id is None:
        raise NotFound(NO_SESSION)
    await services_of(request).entrance.sessions.end(session_id, caller, caller.user_id)
    return Response(status_code=204)


@router.post(
    "/auth/password",
    status_code=204,
    summary="Change your password",
    dependencies=[needs(Right.ACCOUNT)],
    response_class=Response,
)
async def change_password(request: Request, body: PasswordChange) -> Response:
    """Needs the old one, and a session. Every other session of yours ends."""
    await services_of(request).entrance.sign_in.change_password(
        caller_of(request.scope),
        body.old_password.get_secret_value(),
        body.new_password.get_secret_value(),
        address=origin_of(request).address(request.scope),
    )
    return Response(status_code=204)


@router.post("/auth/token", summary="Get a token for a machine", dependencies=[needs(Right.ACCOUNT)])
async def issue_token(request: Request, response: Response, body: TokenRequest | None = None) -> AccessToken:
    """A token of an hour at most with your rights, or some of them. It ends with the key or session that got it."""
    made = await services_of(request).entrance.tokens.issue(caller_of(request.scope), body.scopes if body else None)
    response.headers["cache-control"] = NO_STORE
    return AccessToken(access_token=made.token, expires_in=made.expires_in, scopes=sorted(made.scopes))


NO_SESSION = "This request came with no session of a person. POST /v1/auth/sign-in begins one."


def origin_of(request: Request) -> RequestOrigin:
    """What says where this request comes from."""
    origin = request.app.state.origin
    assert isinstance(origin, RequestOrigin)  # noqa: S101 - create_app has set it
    return origin


def _in_session(caller: Caller) -> tuple[UUID, UUID]:
    """The person and the session; a token that the session got is not the session."""
    if caller.user_id is None or caller.session_id is None or caller.expires_at is not None:
        raise NotFound(NO_SESSION)
    return caller.user_id, caller.session_id


def _signed_in(request: Request, user: User, session: Session, token: str) -> SignedIn:
    sessions = services_of(request).entrance.sessions
    return SignedIn(
        id=session.id,
        user=SignedInUser(id=user.id, email=user.email, name=user.name, role=user.role),
        csrf_token=sessions.csrf_token(token),
        created_at=session.created_at,
        expires_at=sessions.end_of(session),
    )
