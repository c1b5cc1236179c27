"""Which endpoints are outside of the team's own network, and which texts may be sent there."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from tidemill.analysis.addresses import is_inside, url_host
from tidemill.core.classification import Classified, Level, Use, UseLimits
from tidemill.core.errors import NotPermitted
from tidemill.settings import ServerSettings

Classify = Callable[[Sequence[str]], Classified]
"""The level of texts that go one way together."""

LARGE = 50_000
"""Characters from which on texts are read in a thread, so that no other request waits."""


def is_outside(endpoint: ServerSettings) -> bool:
    """Whether texts leave the team's own network for it: as the setting says, else by its host's name or address."""
    if endpoint.outside is not None:
        return endpoint.outside
    return not is_inside(url_host(endpoint.url))


async def classified(texts: Sequence[str], classify: Classify) -> Classified:
    """The texts' level, off the event loop where they are long."""
    if sum(map(len, texts)) <= LARGE:
        return classify(texts)
    return await asyncio.to_thread(classify, texts)


class OutsideLimit:
    """Holds back texts whose level may not leave.

    Args:
        endpoints: the models behind a URL; every other model is local.
        limits: the highest level that may be sent outside.
        classify: gives the level.
        section: where the settings have the endpoints.
        leaves: says of any other name, such as `provider/model`, whether texts leave for it.
    """

    def __init__(
        self,
        endpoints: Mapping[str, ServerSettings],
        *,
        limits: UseLimits,
        classify: Classify,
        section: str = "models.endpoints",
        leaves: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._outside = frozenset(name for name, endpoint in endpoints.items() if is_outside(endpoint))
        self._limits = limits
        self._classify = classify
        self._section = section
        self._endpoints = frozenset(endpoints)
        self._leaves = leaves

    def covers(self, model: str) -> bool:
        """Whether the model is outside, so that what it is asked has to be checked."""
        return model in self._outside if model in self._endpoints else self._leaves(model)

    def allows(self, model: str, level: Level) -> bool:
        """Whether texts that are known to be of this level may be sent to this model."""
        return not self.covers(model) or self._limits.allow(level, Use.OUTSIDE)

    async def check(self, model: str, texts: Sequence[str]) -> None:
        """Goes on only where these texts may be sent to this model.

        Raises:
            NotPermitted: their level is too high. It names the rules that say so, and nothing of the texts.
        """
        if not self.covers(model):
            return
        found = await classified(texts, self._classify)
        if self._limits.allow(found.level, Use.OUTSIDE):
            return
        why = f" (found by {', '.join(found.rules)})" if found.rules else ""
        raise NotPermitted(
            f"The model {model} is outside, and this text is {found.level}{why}: texts above {self._limits.outside} "
            "are not sent outside. Take out what is sensitive, or ask a model of your own. "
            f"If {model} is inside your network, an admin can set {self._setting(model)}."
        )

    def _setting(self, model: str) -> str:
        if model in self._endpoints:
            return f"`{self._section}.{model}.outside: false`"
        return f"`outside` of the provider {model.partition('/')[0]} to false"
