"""Images and sounds in a request: what they say they are, told by their first bytes."""

import binascii

from tidemill.core.errors import InvalidInput

IMAGES = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "GIF": (b"GIF87a", b"GIF89a"),
}


def check_image(url: str, param: str) -> None:
    """Goes on with a `data:` URL of a PNG, JPEG, GIF or WebP image.

    Raises:
        InvalidInput: it leads elsewhere, is not base64, or is no such image.
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


def _is_riff(data: bytes, kind: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == kind
