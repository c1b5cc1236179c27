"""Signing in through an OpenID Connect issuer: the way there and the way back, both by redirect."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from tidemill.accounts.oidc import LIFETIME, Answer, OidcSignIn
from tidemill.api.auth import origin_of
from tidemill.api.origin import SESSION
from tidemill.api.services import services_of
from tidemill.core.errors import InvalidInput, NotFound

TICKET = "tidemill_sign_in"
CALLBACK = "/v1/auth/oidc/callback"
REDIRECT = {303: {"description": "A redirect."}}

router = APIRouter(tags=["sign-in"])


@router.get(
    "/auth/oidc/start",
    status_code=303,
    summary="Sign in through the organisation's issuer",
    response_class=Response,
    responses=REDIRECT,  # type: ignore[arg-type]
)
async def start(
    request: Request, return_to: Annotated[str, Query(description="A path of this hub to arrive at.")] = "/"
) -> Response:
    """Sends the browser to the issuer, from where it comes back signed in. Needs no key."""
    oidc, origin = _oidc(request), origin_of(request)
    started = await oidc.start(return_to=return_to, redirect_uri=_redirect_uri(request))
    response = RedirectResponse(started.url, status_code=303)
    origin.set_cookie(request.scope, response, TICKET, started.ticket, seconds=int(LIFETIME.total_seconds()))
    return response


@router.get(
    "/auth/oidc/callback",
    status_code=303,
    summary="Come back from the issuer",
    response_class=Response,
    responses=REDIRECT,  # type: ignore[arg-type]
)
async def callback(
    request: Request,
    state: str | None = None,
    code: str | None = None,
    error: str | None = None,
    iss: str | None = None,
) -> Response:
    """Where the issuer sends the browser back to. Begins a session, and goes on to the path that was asked for."""
    oidc, origin = _oidc(request), origin_of(request)
    made, path = await oidc.finish(
        Answer(state, code, error, iss),
        ticket=origin.cookie(request.scope, TICKET),
        redirect_uri=_redirect_uri(request),
        instead_of=origin.cookie(request.scope, SESSION),
    )
    response = RedirectResponse(path, status_code=303)
    origin.set_cookie(request.scope, response, SESSION, made.token)
    origin.set_cookie(request.scope, response, TICKET, "")
    return response


def _oidc(request: Request) -> OidcSignIn:
    oidc = services_of(request).entrance.oidc
    if oidc is None:
        raise NotFound("No issuer is set up here, so people sign in with a password. `auth.oidc.issuer` names one.")
    return oidc


def _redirect_uri(request: Request) -> str:
    base = origin_of(request).base(request.scope)
    if not base:
        raise InvalidInput("The request names no host to come back to. Set `auth.public_url`.")
    return base + CALLBACK
