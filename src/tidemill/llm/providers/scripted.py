"""What the scripted provider is told to do: fail in a given way, so often, for this model; or answer."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal, Protocol

from tidemill.core.errors import InvalidInput
from tidemill.core.failure import Failure
from tidemill.core.json import Json

TEXT = "This is a scripted answer, and it says the same every time."
MARK = "!"
"""What stands between a model's name and the fault that it asks for, as in `any!overload.high`."""
MOST_NOTED = 200
"""Requests that are kept as they came; all are counted."""
WAITS = {Failure.RATE_LIMIT_LIGHT: 5.0, Failure.RATE_LIMIT_MEDIUM: 60.0, Failure.RATE_LIMIT_HEAVY: 600.0}
"""Seconds that a limited client is told to wait where the order does not say: how grave a limit is follows from it."""


class Trouble(StrEnum):
    """What a provider can do wrong beside refusing."""

    HANG = "hang"
    """No answer at all, and the connection stays open."""
    BREAK_OFF = "break_off"
    """The connection closes in the middle of the answer."""
    NO_END = "no_end"
    """A stream ends in order, and without its last events."""
    MALFORMED = "malformed"
    """An answer, or a stream's event, is cut in the middle of its JSON."""
    ERROR_IN_OK = "error_in_ok"
    """Status 200, and an error where the answer should be; in a stream, after half of it."""
    HUGE = "huge"
    """A hundred megabytes."""
    SLOW = "slow"
    """A pause before each of the answer's events."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool that the answer calls; `arguments` is JSON, as a text."""

    name: str
    arguments: str = "{}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. A `finish` in the wire's own words takes the place of the usual one."""

    text: str = TEXT
    calls: tuple[Call, ...] = ()
    finish: str | None = None
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as far as every wire says the same.

    Attributes:
        kind: `chat`, `text` or `embed`.
        model: without the mark and the fault.
        key: what the client proved itself with; empty where it did not.
        offers: whether the answer may call tools.
        wants_json: whether it is to be JSON.
        texts: what is to be embedded, or the texts that were sent.
    """

    kind: Literal["chat", "text", "embed"]
    model: str
    key: str
    stream: bool
    body: Mapping[str, Any]
    texts: Sequence[str] = ()
    offers: bool = False
    wants_json: bool = False

    @property
    def tokens(self) -> int:
        """What stands between white space in the texts that were sent."""
        return sum(len(text.split()) for text in self.texts)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A status that is no 200, with what goes with it."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class Wire(Protocol):
    """One provider's format, from the server's side."""

    name: str

    def refusal(self, leaf: Failure, asked: Asked, wait: float | None) -> Refusal:
        """The error with which the provider says this."""
        ...

    def filtered(self, leaf: Failure) -> Answer | None:
        """The answer with which the provider says this, where it does so with status 200."""
        ...

    def whole(self, asked: Asked, answer: Answer) -> Mapping[str, Any]:
        """An answer in one piece."""
        ...

    def events(self, asked: Asked, answer: Answer) -> list[bytes]:
        """The same as server-sent events."""
        ...

    def error_event(self, refusal: Refusal) -> bytes:
        """An error in the middle of a stream."""
        ...

    def embeddings(self, asked: Asked, vectors: Sequence[Sequence[float]]) -> Mapping[str, Any]:
        """One vector for each text."""
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to be done, to the next requests that it is for.

    Attributes:
        fault: a `Failure` or a `Trouble`; without one, what is answered.
        times: to how many requests; 0 for all that follow.
        model: only where this one is asked.
        wire: only where it is asked through this one: `openai`, `anthropic` or `gemini`.
        retry_after: seconds that the client is told to wait, with a leaf.
        error: with `error_in_ok`, the error.
        pause: with `slow`, seconds before each event.
        answer: what is answered.
    """

    fault: Failure | Trouble | None = None
    times: int = 1
    model: str | None = None
    wire: str | None = None
    retry_after: float | None = None
    error: Failure = Failure.OVERLOAD_OVERLOADED
    pause: float = 0.05
    answer: Answer = Answer()

    @property
    def wait(self) -> float | None:
        """Seconds that the client is told to wait."""
        if self.retry_after is not None or not isinstance(self.fault, Failure):
            return self.retry_after
        return WAITS.get(self.fault)


class Script:
    """The orders, and what was asked."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forgets orders, keys and requests."""
        self._orders: list[Order] = []
        self._key: tuple[str, Failure] | None = None
        self._usual = Answer()
        self.total = 0
        self.counts: dict[str, int] = {}
        self.noted: deque[dict[str, Json]] = deque(maxlen=MOST_NOTED)

    def add(self, said: object) -> None:
        """Takes one order, or a list of them, as JSON has them; see `docs/providers.md`.

        Raises:
            InvalidInput: it is none.
        """
        for one in said if isinstance(said, list) else [said]:
            if not isinstance(one, dict):
                raise InvalidInput("An order is a JSON object.")
            self._add(dict(one))

    def _add(self, said: dict[str, Any]) -> None:
        key = said.pop("accept_key", None)
        fault = fault_of(said.pop("leaf", None))
        if key is not None:
            self._key = (str(key), fault if isinstance(fault, Failure) else Failure.AUTH_EXPIRED)
            return
        calls = said.pop("calls", None)
        answer = Answer(
            text=said.pop("text", self._usual.text),
            calls=self._usual.calls if calls is None else tuple(Call(**call) for call in calls),
            finish=said.pop("finish", None),
            cached_tokens=said.pop("cached_tokens", self._usual.cached_tokens),
        )
        if "error" in said:
            said["error"] = Failure(said["error"])
        try:
            order = Order(fault=fault, answer=answer, **said)
        except TypeError as error:
            raise InvalidInput(f"An order has a field that there is not ({error}).") from error
        if fault is None and "times" not in said and order.model is None and order.wire is None:
            self._usual = answer
        else:
            self._orders.append(order)

    def next(self, wire: Wire, asked: Asked, named: str | None, request_id: str | None = None) -> Order:
        """What is to be done to a request; it is noted.

        Args:
            wire: through which it came.
            asked: the request.
            named: the fault that the model's name asks for.
            request_id: the client's own name for the request.
        """
        order = self._for(wire, asked, named)
        self.total += 1
        label = f"{wire.name}/{asked.model}"
        self.counts[label] = self.counts.get(label, 0) + 1
        self.noted.append(
            {
                "wire": wire.name,
                "kind": asked.kind,
                "model": asked.model,
                "key": asked.key,
                "request_id": request_id,
                "stream": asked.stream,
                "fault": None if order.fault is None else order.fault.value,
                "body": dict(asked.body),
            }
        )
        return order

    def _for(self, wire: Wire, asked: Asked, named: str | None) -> Order:
        if self._key is not None and asked.key != self._key[0]:
            return Order(self._key[1])
        if named is not None:
            return Order(fault_of(named), answer=self._usual)
        for place, order in enumerate(self._orders):
            if order.model in (None, asked.model) and order.wire in (None, wire.name):
                if order.times == 1:
                    del self._orders[place]
                elif order.times > 1:
                    self._orders[place] = replace(order, times=order.times - 1)
                return order
        return Order(answer=self._usual)

    def state(self) -> dict[str, Json]:
        """What is still to be done."""
        orders: list[Json] = [_plain(asdict(order)) for order in self._orders]
        return {"orders": orders, "accept_key": self._key is not None}


def fault_of(name: object) -> Failure | Trouble | None:
    """A fault by its name.

    Raises:
        InvalidInput: there is none of that name, or none that a server can make.
    """
    if name is None:
        return None
    if name == Failure.NETWORK_DNS:
        raise InvalidInput(
            "No server can make its own name unknown: give the provider a base URL such as "
            "`http://nowhere.invalid/v1`, before or instead of this server's."
        )
    if name in set(Failure):
        return Failure(str(name))
    if name in set(Trouble):
        return Trouble(str(name))
    names = ", ".join([*(leaf for leaf in Failure if leaf != Failure.NETWORK_DNS), *Trouble])
    raise InvalidInput(f"There is no fault of the name {str(name)[:64]}. There are: {names}.")


def split_model(name: str) -> tuple[str, str | None]:
    """A model's name, and the fault that follows a mark in it."""
    model, mark, fault = name.partition(MARK)
    return model, fault if mark else None


def seconds_text(wait: float) -> str:
    """Seconds for a `Retry-After`, which has whole ones."""
    return str(math.ceil(wait))


def words_of(text: str) -> list[str]:
    """Words with the space before them; joined they are the text."""
    first, *others = text.split(" ")
    return [first, *(f" {word}" for word in others)] if text else []


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
