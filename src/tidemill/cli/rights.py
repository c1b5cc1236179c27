"""`tidemill rights`: the table of who may do what."""

from typing import Annotated

import typer
from fastapi import FastAPI

from tidemill.api.app import add_routes
from tidemill.api.rights import route_rights
from tidemill.cli.output import Json, print_json, print_table
from tidemill.core.accounts import RIGHTS, Right, Role


def rights(
    routes: Annotated[bool, typer.Option("--routes", help="Show which route needs which right.")] = False,
    as_json: Json = False,
) -> None:
    """Show what each role may do, or which route needs what."""
    app = FastAPI(openapi_url=None)
    add_routes(app)
    shown = [one for one in route_rights(app.routes) if not one.path.startswith("/api/")]
    if as_json:
        print_json(
            {
                "roles": {role: sorted(RIGHTS[role]) for role in Role},
                "routes": [{"method": one.method, "path": one.path, "rights": list(one.rights)} for one in shown],
            }
        )
    elif routes:
        needed = [(one.method, one.path, " ".join(one.rights) or "everyone") for one in shown]
        print_table(["method", "path", "right"], needed, empty="")
    else:
        rows = [(right, *("yes" if right in RIGHTS[role] else "–" for role in Role)) for right in Right]
        print_table(["right", *Role], rows, empty="")
