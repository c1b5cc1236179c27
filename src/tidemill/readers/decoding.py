"""Bytes to text."""

import codecs
import re
import unicodedata

from charset_normalizer import from_bytes

from tidemill.analysis.languages import language_of
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
_MOSTLY = 0.7
_TONE = "[\u0300\u0301\u0303\u0309\u0323]"
_TONES = re.compile(f"[aăâeêioôơuưyAĂÂEÊIOÔƠUƯY]{_TONE}")
_STRAY_TONES = re.compile(f"(?<![aăâeêioôơuưyAĂÂEÊIOÔƠUƯY]){_TONE}")
_LATIN = re.compile(r"cp125[0-9]|cp775|cp85\d|cp437|iso8859_\d+|latin_1|mac_\w+|hp_roman8|cp1140|cp500|cp037")
_WESTERN = frozenset({"en", "de", "fr", "es", "pt", "it", "nl", "sv", "da", "no", "nb", "nn", "fi", "ca", "gl", "is"})

_INSTEAD = {"mac_cyrillic": "cp1251", "mac_greek": "cp1253", "mac_latin2": "cp1250", "mac_turkish": "cp1254"}
"""What was written long ago on a Mac differs little from what was on Windows, and is far rarer."""


def decoded(data: bytes, path: str) -> str:
    """The text of bytes: UTF-8 where they are that, else as their marks say, else as they most probably are.

    Raises:
        Unreadable: no encoding makes a text of them.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    if wide := wide_encoding(data[:_SAMPLE]):
        return data.decode(wide, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start > len(data) - _NEAR_END and error.start > 0:
            return data[: error.start].decode("utf-8")  # cut off in the midst of a character
    sample = data[:_SAMPLE]
    if _is_vietnamese(sample):
        return data.decode("cp1258", "replace")
    best = from_bytes(sample).best()
    if best is None:
        raise Unreadable(f"{path} is no text in any encoding that is known. Save it as UTF-8.", "wrong_encoding")
    # Among the alphabets of Latin letters the letters alone hardly tell; the language that comes of it does.
    if _LATIN.fullmatch(best.encoding) and language_of(sample.decode("cp1252", "replace")) in _WESTERN:
        return data.decode("cp1252", "replace")
    return data.decode(_INSTEAD.get(best.encoding, best.encoding), "replace")


def wide_encoding(sample: bytes) -> str | None:
    """UTF-16 without a mark, where every other byte is mostly zero, as it is of Latin text; `None` of anything else."""
    half = max(len(sample) // 2, 1)
    if sample[1::2].count(0) > half * _MOSTLY:
        return "utf-16-le"
    return "utf-16-be" if sample[::2].count(0) > half * _MOSTLY else None


def _is_vietnamese(sample: bytes) -> bool:
    """windows-1258 writes tones as characters of their own, after their vowels; NFC joins them."""
    text = sample.decode("cp1258", "replace")
    if not _TONES.search(text) or _STRAY_TONES.search(text):
        return False
    return language_of(unicodedata.normalize("NFC", text)) == "vi"
