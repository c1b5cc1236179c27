"""Images and sounds in a request: what they say they are, told by their first bytes."""

import binascii
import struct

from tidemill.core.errors import InvalidInput, TooLarge

IMAGES = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "GIF": (b"GIF87a", b"GIF89a"),
}
MAX_PIXELS = 50_000_000
"""Some kilobytes can say that they are billions of pixels, for which whoever decodes them takes the memory."""
SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG's segments that say its size: https://www.w3.org/Graphics/JPEG/itu-t81.pdf, table B.1."""


def check_image(url: str, param: str) -> None:
    """Goes on with a `data:` URL of a PNG, JPEG, GIF or WebP image.

    Raises:
        InvalidInput: it leads elsewhere, is not base64, or is no such image.
        TooLarge: it has too many pixels.
    """
    head, comma, data = url.partition(",")
    if not head.lower().startswith("data:"):
        raise InvalidInput(
            f"`{param}` is no `data:` URL. The hub fetches nothing; send the image itself, as "
            "`data:image/png;base64,…`.",
            param=param,
        )
    if not comma or not head.lower().endswith(";base64"):
        raise InvalidInput(f"`{param}` is not base64: write `data:image/png;base64,…`.", param=param)
    image = _decoded(data, param)
    if not any(image.startswith(start) for starts in IMAGES.values() for start in starts) and not _is_riff(
        image, b"WEBP"
    ):
        raise InvalidInput(f"`{param}` is not an image: it begins as no PNG, JPEG, GIF or WebP does.", param=param)
    width, height = _size(image)
    if width * height > MAX_PIXELS:
        raise TooLarge(
            f"`{param}` has {width:,} × {height:,} pixels, and the hub takes {MAX_PIXELS:,} at most. Make it smaller.",
            param=param,
        )


def check_sound(data: str, form: str, param: str) -> None:
    """Goes on with base64 of a WAV or MP3 file, as `form` (`wav`, `mp3`) says.

    Raises:
        InvalidInput: it is not base64, or no such file.
    """
    sound = _decoded(data, param)
    is_mp3 = sound.startswith(b"ID3") or (len(sound) > 1 and sound[0] == 0xFF and sound[1] & 0xE0 == 0xE0)
    if not (_is_riff(sound, b"WAVE") if form == "wav" else is_mp3):
        raise InvalidInput(
            f"`{param}` is not what `format` says: it begins as no {form.upper()} file does.", param=param
        )


def _decoded(data: str, param: str) -> bytes:
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except ValueError as error:
        raise InvalidInput(f"`{param}` is not base64.", param=param) from error


def _size(image: bytes) -> tuple[int, int]:
    """Width and height as the head says; zeros where it says none. A WebP image has 16,383 pixels a side at most.

    References: https://www.w3.org/TR/png-3/#11IHDR, https://www.w3.org/Graphics/GIF/spec-gif89a.txt.
    """
    if image.startswith(b"\x89PNG") and image[12:16] == b"IHDR" and len(image) >= 24:
        width, height = struct.unpack_from(">II", image, 16)
        return width, height
    if image.startswith(b"GIF") and len(image) >= 10:
        width, height = struct.unpack_from("<HH", image, 6)
        return width, height
    return _jpeg_size(image) if image.startswith(b"\xff\xd8") else (0, 0)


def _jpeg_size(image: bytes) -> tuple[int, int]:
    place = 2
    while place + 9 <= len(image) and image[place] == 0xFF:
        marker = image[place + 1]
        if marker in SIZES:
            height, width = struct.unpack_from(">HH", image, place + 5)
            return width, height
        (length,) = struct.unpack_from(">H", image, place + 2)
        place += 1 if marker == 0xFF else 2 + length
    return 0, 0


def _is_riff(data: bytes, kind: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == kind
