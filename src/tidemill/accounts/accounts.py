"""All services about who may do what, as routes and commands are given them."""

from dataclasses import dataclass

from tidemill.accounts.api_keys import ApiKeys
from tidemill.accounts.audit import Audit
from tidemill.accounts.people import People
from tidemill.accounts.teams import Teams


@dataclass(frozen=True, slots=True)
class Accounts:
    """People, teams and keys, and the log that hears of each change to them."""

    people: People
    teams: Teams
    keys: ApiKeys
    audit: Audit
