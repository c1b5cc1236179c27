"""A body can narrow what its key may see, and widens it only for a key that may ask for others."""

import pytest

from tidemill.api.generate import level_for
from tidemill.core.accounts import RIGHTS, Caller, Role
from tidemill.core.classification import Level
from tidemill.core.errors import InvalidInput
from tidemill.core.ids import new_id
from tidemill.settings.knowledge import AnswerSettings

SETTINGS = AnswerSettings(access_levels={"manager": Level.CONFIDENTIAL})


def caller(role, level):
    return Caller(new_id(), role, RIGHTS[role], level)


@pytest.mark.parametrize(
    ("role", "level", "named", "expected"),
    [
        (Role.MEMBER, Level.CONFIDENTIAL, None, Level.CONFIDENTIAL),
        (Role.MEMBER, Level.CONFIDENTIAL, "public", Level.PUBLIC),
        (Role.MEMBER, Level.CONFIDENTIAL, "employee", Level.INTERNAL),
        (Role.MEMBER, Level.INTERNAL, "secret", Level.INTERNAL),
        (Role.MAINTAINER, Level.INTERNAL, "manager", Level.INTERNAL),
        (Role.ADMIN, Level.INTERNAL, "manager", Level.CONFIDENTIAL),
    ],
)
def test_an_access_level_narrows_and_widens_only_for_others(role, level, named, expected):
    assert level_for(caller(role, level), named, SETTINGS) is expected


def test_an_unknown_access_level_is_told_with_those_that_there_are():
    with pytest.raises(InvalidInput, match="employee, manager"):
        level_for(caller(Role.ADMIN, Level.SECRET), "emperor", SETTINGS)
