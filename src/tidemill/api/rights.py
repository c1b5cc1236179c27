"""Each route names the right that it needs; a test holds every route to it."""

from typing import Any

from fastapi import Depends, Request

from tidemill.api.gate import caller_of
from tidemill.core.accounts import Right


class Needs:
    """Lets in callers with a right, and nobody else. A dependency of a route: `dependencies=[needs(Right.FILES)]`."""

    def __init__(self, right: Right) -> None:
        self.right = right

    async def __call__(self, request: Request) -> None:
        """Checks one request.

        Raises:
            NotPermitted: the caller does not have the right.
        """
        caller_of(request.scope).require(self.right)


def needs(right: Right) -> Any:
    """The dependency that lets in callers with this right."""
    return Depends(Needs(right))
