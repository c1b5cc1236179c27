"""The one error tree.

    TidemillError                    500  something in Tidemill itself is wrong
    ├── InvalidInput                 400  the request or the file can't be used as it is
    │   └── ContextTooLong           400  more tokens than the model's context holds
    │   └── ContentRefused           400  a guardrail, or a provider's filter, does not let it pass
    ├── NotAuthenticated             401  no key, or not a valid one
    ├── BudgetExceeded               402  a budget does not hold what this may cost
    │   └── PriceUnknown             402  nobody can say whether it does, since the model's price is not known
    ├── NotPermitted                 403  a valid key that may not do this
    ├── NotFound                     404  the thing that was named does not exist
    │   └── ModelNotFound            404  no model of this name is installed or configured
    ├── Conflict                     409  the state of the thing does not allow it
    ├── TooLarge                     413  over a stated limit
    ├── TooManyRequests              429  a queue is full or a pace is exceeded (transient)
    │   └── RateLimited              429  someone asks faster than a rate limit allows (transient)
    ├── Configuration                500  a setting, a missing program, a full disk: the operator mends it
    │   └── DataFolderNewer          500  the data was written by a later Tidemill
    ├── ModelFailed                  502  the model answered with something unusable
    └── Unavailable                  503  it may work later (transient)
        ├── AllFailed                503  no provider and no fallback could answer
        ├── StreamInterrupted        503  an answer broke off after a part of it was sent
        └── DeadlineExceeded         504  there was no time left to go on

Each error is classified once, where the outside world is touched. Its message is one or two sentences for a
person: what went wrong, on what, and what to do.
"""

from typing import ClassVar
from uuid import UUID

from tidemill.core.failure import Failure
from tidemill.core.limits import RateStanding
from tidemill.core.served import Served


class TidemillError(Exception):
    """Base of every error that Tidemill raises on purpose.

    Args:
        message: what went wrong, on what, and what to do; shown to the person as it is.
        param: the name of the request field at fault, where there is one.
        failure: where a provider failed, how: the recovery tree says what to do about it.
        retry_after: seconds after which a new try may work, where whoever refused said so.

    Attributes:
        cost_usd: what was spent until it failed; `None` where that is not known.
        served: who was asked last, and what had failed before, where anybody was asked.
        inference_id: of the row that says so, where one was written.
    """

    status: ClassVar[int] = 500
    transient: ClassVar[bool] = False
    code: ClassVar[str] = "internal_error"
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        failure: Failure | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.failure = failure
        self.retry_after = retry_after
        self.cost_usd: float | None = 0.0
        self.served: Served | None = None
        self.inference_id: UUID | None = None


class InvalidInput(TidemillError):
    """The request, the file or the argument can't be used as it is."""

    status = 400
    code = "invalid_request"
    exit_code = 2


class ContextTooLong(InvalidInput):
    """The prompt has more tokens than the model's context holds.

    Args:
        prompt_tokens: tokens in the prompt.
        context_tokens: tokens that the model's context holds.
        param: the name of the request field at fault.
        what: what is too long, in words.
    """

    code = "context_length_exceeded"

    def __init__(
        self, *, prompt_tokens: int, context_tokens: int, param: str = "messages", what: str = "the messages"
    ) -> None:
        have = "have" if what.endswith("s") else "has"
        super().__init__(
            f"This model's context holds {context_tokens} tokens, and {what} {have} {prompt_tokens}. "
            f"Shorten {what}, or use a model with a longer context.",
            param=param,
            failure=Failure.CONTENT_LENGTH,
        )
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class ContentRefused(InvalidInput):
    """A guardrail, or a provider's filter, does not let the request or the answer pass."""

    code = "content_policy_violation"


class BudgetExceeded(TidemillError):
    """A budget does not hold what the request may cost; nothing was sent. Trying again does not help."""

    status = 402
    code = "budget_exceeded"
    exit_code = 3


class PriceUnknown(BudgetExceeded):
    """A budget applies, and the model's price is not known, so that nobody can say whether it holds the request."""

    code = "price_unknown"


class NotAuthenticated(TidemillError):
    """No key, or not a valid one. The same answer for unknown, revoked and malformed keys."""

    status = 401
    code = "invalid_api_key"
    exit_code = 3


class NotPermitted(TidemillError):
    """A valid key that may not do this."""

    status = 403
    code = "permission_denied"
    exit_code = 3


class NotFound(TidemillError):
    """The thing that was named does not exist, or the caller may not know of it."""

    status = 404
    code = "not_found"
    exit_code = 4


class ModelNotFound(NotFound):
    """No model of this name is installed or configured."""

    code = "model_not_found"


class Conflict(TidemillError):
    """The state of the thing does not allow what was asked."""

    status = 409
    code = "conflict"
    exit_code = 5


class TooLarge(TidemillError):
    """Over a stated limit; the message says both numbers."""

    status = 413
    code = "too_large"
    exit_code = 2


class TooManyRequests(TidemillError):
    """A queue is full, or someone asks faster than they may. `retry_after` is sent as `Retry-After`."""

    status = 429
    transient = True
    code = "too_many_requests"
    exit_code = 7

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        failure: Failure | None = None,
        retry_after: float | None = 1,
    ) -> None:
        super().__init__(message, param=param, failure=failure, retry_after=retry_after)


class RateLimited(TooManyRequests):
    """Someone asks faster than a rate limit allows.

    Args:
        standing: how they stand with their limits.
    """

    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after: float, standing: RateStanding) -> None:
        super().__init__(message, retry_after=retry_after)
        self.standing = standing


class Configuration(TidemillError):
    """A setting, a missing program or the machine itself: the operator mends it."""

    code = "configuration"
    exit_code = 6


class DataFolderNewer(Configuration):
    """The data folder or database was written by a later version of Tidemill."""

    code = "data_newer"


class ModelFailed(TidemillError):
    """The model, or the server that runs it, answered with something unusable."""

    status = 502
    code = "model_failed"
    exit_code = 7


class Unavailable(TidemillError):
    """It may work later: a server that is starting, overloaded or gone."""

    status = 503
    transient = True
    code = "unavailable"
    exit_code = 7


class AllFailed(Unavailable):
    """No provider of the route answered, and no fallback did."""

    code = "all_providers_failed"


class StreamInterrupted(Unavailable):
    """An answer broke off after a part of it had been passed on, so that nobody else could give it any more."""

    code = "stream_interrupted"


class DeadlineExceeded(Unavailable):
    """The request's deadline left no time to go on."""

    status = 504
    code = "deadline_exceeded"
