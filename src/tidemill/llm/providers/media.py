"""Images and sounds in a message, as the providers want them: their type, and their bytes."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.core.errors import InvalidInput

DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,", re.IGNORECASE)
SOUNDS = {"wav": "audio/wav", "mp3": "audio/mp3"}


@dataclass(frozen=True, slots=True)
class Medium:
    """A file in a message.

    Attributes:
        type: its media type, such as `image/png`.
        base64: its bytes.
    """

    type: str
    base64: str

    @property
    def data(self) -> bytes:
        """Its bytes."""
        try:
            return base64.b64decode(self.base64, validate=True)
        except binascii.Error as error:
            raise InvalidInput("A file in `messages` is no base64.", param="messages") from error


def image_of(part: Mapping[str, Any], where: str) -> Medium:
    """The image of a part of type `image_url`.

    Raises:
        InvalidInput: it is no `data:` URL: nothing is fetched for a request.
    """
    url = str((part.get("image_url") or {}).get("url", ""))
    found = DATA_URL.match(url)
    if found is None:
        raise InvalidInput(f"`{where}` has an image that is no `data:` URL with base64. Send the file.", param=where)
    return Medium(found[1].lower(), url[found.end() :])


def sound_of(part: Mapping[str, Any], where: str) -> Medium:
    """The sound of a part of type `input_audio`."""
    sound = part.get("input_audio") or {}
    kind = SOUNDS.get(str(sound.get("format")))
    if kind is None:
        raise InvalidInput(f"`{where}` has a sound that is neither `wav` nor `mp3`.", param=where)
    return Medium(kind, str(sound.get("data", "")))
