"""A Presidio analyzer that is asked what personal data it sees: https://microsoft.github.io/presidio/api-docs/."""

from collections.abc import Sequence

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from tidemill.core.errors import ModelFailed, TidemillError, Unavailable
from tidemill.core.guardrail import Guardrail
from tidemill.llm.guardrails.finding import Found


class _Result(BaseModel):
    entity_type: str
    start: int
    end: int
    score: float


_RESULTS = TypeAdapter(list[_Result])


class Presidio:
    """Asks the analyzer's `POST /analyze`. Where it does not answer, no text passes unread.

    Args:
        client: an HTTP client; whoever made it closes it.
        url: the analyzer's base URL.
        language: which language the analyzer is told.
        min_score: what it finds with less is left out.
    """

    def __init__(self, client: httpx.AsyncClient, url: str, *, language: str, min_score: float) -> None:
        self._client = client
        self._url = url.rstrip("/") + "/analyze"
        self._language = language
        self._min_score = min_score

    async def find(self, text: str) -> Sequence[Found]:
        """What it finds in a text.

        Raises:
            Unavailable: it can't be reached.
            ModelFailed: it answers with something else.
        """
        if not text.strip():
            return []
        body = {"text": text, "language": self._language, "score_threshold": self._min_score}
        try:
            response = await self._client.post(self._url, json=body)
        except (httpx.HTTPError, TidemillError) as error:
            raise Unavailable(
                "The Presidio analyzer of `guardrails.privacy.presidio_url` can't be reached, so that nothing passes. "
                "Start it, or take the setting out."
            ) from error
        if response.status_code != httpx.codes.OK:
            raise ModelFailed(
                f"The Presidio analyzer answered with status {response.status_code}. Its log says why; does it know "
                f"the language {self._language!r}?"
            )
        try:
            results = _RESULTS.validate_json(response.content)
        except ValidationError as error:
            raise ModelFailed(
                "The Presidio analyzer answered with something that is no list of findings. Is "
                "`guardrails.privacy.presidio_url` the address of an analyzer?"
            ) from error
        return [
            Found(Guardrail.PRIVACY, one.entity_type.lower().replace("_", "-"), one.start, one.end)
            for one in results
            if one.score >= self._min_score and 0 <= one.start < one.end <= len(text)
        ]
