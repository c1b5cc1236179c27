"""The options of a request, taken one by one, so that none that a provider does not know is dropped in silence."""

import json
from collections.abc import Mapping
from typing import Any

from tidemill.core.chat import ModelRequest
from tidemill.core.errors import InvalidInput
from tidemill.core.json import Json

WISHES = ("seed", "temperature", "top_p", "logprobs", "top_logprobs")
"""Options that the hub's own deployments set where a model takes them, and that a client's request insists on."""
NOTHING: Mapping[str, tuple[Json, ...]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "logit_bias": ({},),
    "parallel_tool_calls": (True,),
    "store": (False,),
    "metadata": ({},),
    "modalities": (["text"],),
    "service_tier": ("auto",),
    "tools": ([],),
}
"""Values that ask for what comes anyway."""


class Options:
    """What is left of a request's options. An option that is `None`, or asks for what comes anyway, is not there.

    Args:
        request: whose options they are.
        api: the API's name, for the error about those that are left.
    """

    def __init__(self, request: ModelRequest, api: str) -> None:
        self._left = {name: value for name, value in request.options.items() if not _asks_for_nothing(name, value)}
        self._sampling = request.context.deployment.sampling if request.context is not None else {}
        self._model = request.model
        self._api = api

    def take(self, name: str) -> Any:
        """An option's value; `None` where it is not there."""
        return self._left.pop(name, None)

    def take_wish(self, name: str) -> Any:
        """The same, unless it is the hub's own wish, which a model that does not know it need not heed."""
        value = self._left.pop(name, None)
        return None if value == self._sampling.get(name) else value

    def end(self) -> None:
        """Goes on only where nothing is left.

        Raises:
            InvalidInput: an option that the API has no counterpart for is left.
        """
        for name in WISHES:
            if name in self._left and self._left[name] == self._sampling.get(name):
                del self._left[name]
        if self._left:
            raise self.refusal(min(self._left))

    def refusal(self, name: str, why: str = "has no counterpart for it") -> InvalidInput:
        """For an option that can't be passed on."""
        return InvalidInput(
            f"`{name}` can't be given to the model {self._model}: {self._api} {why}. Leave it out, or ask another "
            "model.",
            param=name,
        )


def object_of(text: object, where: str) -> dict[str, Any]:
    """A JSON object that came as a text, as tools' arguments do.

    Raises:
        InvalidInput: it is none.
    """
    try:
        found = json.loads(text if isinstance(text, str) and text.strip() else "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidInput(f"The `arguments` of a tool call in `{where}` are no JSON object.", param=where)
    return found


def stop_texts(value: Any) -> list[str]:
    """`stop`, which is a text or a list of them."""
    return [value] if isinstance(value, str) else list(value or ())


def _asks_for_nothing(name: str, value: Json) -> bool:
    return value is None or value in NOTHING.get(name, ())
