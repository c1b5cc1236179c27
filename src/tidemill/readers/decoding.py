"""Bytes to text."""

import codecs
import re

from charset_normalizer import from_bytes

from tidemill.readers.port import Unreadable

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 65_536
_NEAR_END = 4
_VIETNAMESE = re.compile("[ăâđêôơưĂÂĐÊÔƠƯ]")


def decoded(data: bytes, path: str) -> str:
    """The text of bytes: UTF-8 where they are that, else as their marks say, else as they most probably are.

    Raises:
        Unreadable: no encoding makes a text of them.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start > len(data) - _NEAR_END and error.start > 0:
            return data[: error.start].decode("utf-8")  # cut off in the midst of a character
    best = from_bytes(data[:_SAMPLE]).best()
    if best is None or best.encoding is None:
        raise Unreadable(f"{path} is no text in any encoding that is known. Save it as UTF-8.", "wrong_encoding")
    text = data.decode(best.encoding, "replace")
    if not _VIETNAMESE.search(text):
        return text
    # Vietnamese in windows-1258 writes its tones as characters of their own, which NFC joins to their vowels.
    return data.decode("cp1258", "replace") if best.encoding == "cp1252" else text
