"""What a request asks, as JSON: what its row stores, and what makes two requests the same."""

from collections.abc import Mapping

from tidemill.core.chat import ModelRequest, TextRequest
from tidemill.core.ids import digest
from tidemill.core.json import Json, JsonObject


def asked_of(request: ModelRequest) -> dict[str, Json]:
    """What was asked: an image or a sound by its digest, which stands for it as well. The model is not part of it."""
    if isinstance(request, TextRequest):
        suffix = {} if request.suffix is None else {"suffix": request.suffix}
        return {"prompt": request.prompt, **suffix, **request.options}
    return {"messages": [_without_media(message) for message in request.messages], **request.options}


def _without_media(message: JsonObject) -> JsonObject:
    parts = message.get("content")
    if not isinstance(parts, list):
        return message
    return {**message, "content": [_by_digest(part) for part in parts]}


def _by_digest(part: Json) -> Json:
    if not isinstance(part, Mapping):
        return part
    for kind, field in (("image_url", "url"), ("input_audio", "data")):
        medium = part.get(kind)
        data = medium.get(field) if isinstance(medium, Mapping) else None
        if isinstance(medium, Mapping) and isinstance(data, str):
            return {**part, kind: {**medium, field: f"sha256:{digest(data)}"}}
    return part
