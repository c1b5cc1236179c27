"""The routes that need nothing of FastAPI, called without it.

For each request FastAPI asks its routers, one within the other, whose path it is, and resolves what the route depends
on: a third of the processor time of an answer from the cache. A route of a fixed path whose function takes the request
alone and gives the whole response needs neither. The routes themselves say which they are, so each is declared once.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_type_hints

from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from tidemill.api.rights import Needs


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """A route that is called with the request alone, once the caller's rights were checked."""

    route: BaseRoute
    needs: tuple[Needs, ...]
    endpoint: Callable[[Request], Awaitable[Response]]


class DirectRoutes:
    """An ASGI application of the direct routes among these; whoever calls it asks first whether it `has` the route."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._routes = dict(direct_routes(routes))

    def has(self, scope: Scope) -> bool:
        """Whether it answers this request."""
        return (scope["method"], scope["path"]) in self._routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Raises what its route raises."""
        found = self._routes[scope["method"], scope["path"]]
        scope["route"] = found.route
        request = Request(scope, receive, send)
        for one in found.needs:
            await one(request)
        response = await found.endpoint(request)
        await response(scope, receive, send)


def direct_routes(routes: Sequence[BaseRoute]) -> Iterator[tuple[tuple[str, str], DirectRoute]]:
    """Method and path of each direct route. Where two take the same request it is the first one's, as in FastAPI."""
    before: list[object] = []
    for context in iter_route_contexts(routes):
        endpoint, path = context.endpoint, context.path or ""
        named = [one.dependency for one in getattr(context, "dependencies", ())]
        needs = tuple(one for one in named if isinstance(one, Needs))
        if endpoint and needs and len(needs) == len(named) and "{" not in path and _takes_the_request(endpoint):
            for method in context.methods or ():
                if not any(_takes(earlier, method, path) for earlier in before):
                    yield (method, path), DirectRoute(context.original_route, needs, endpoint)
        before.append(context)


def _takes_the_request(endpoint: Callable[..., object]) -> bool:
    """Whether a route's function takes the request and nothing else, and gives a response that is sent as it is."""
    hints = get_type_hints(endpoint)
    given = hints.pop("return", None)
    parameters = inspect.signature(endpoint).parameters
    whole = isinstance(given, type) and issubclass(given, Response)
    return inspect.iscoroutinefunction(endpoint) and whole and len(parameters) == 1 and [*hints.values()] == [Request]


def _takes(route: object, method: str, path: str) -> bool:
    pattern = getattr(route, "path_regex", None)
    return pattern is not None and method in (getattr(route, "methods", None) or ()) and bool(pattern.match(path))
