"""What the author of a text marked it as, in English and Vietnamese.

A word such as "confidential" marks a text only where it stands as a marking: alone on a line, in brackets, in a field
("classification: …"), in capitals, or in a phrase that says so. Elsewhere it is a word like any other.
"""

import re
from collections.abc import Mapping

from tidemill.core.classification import Level

HEADER = 4000
"""Characters at a text's beginning in which it may say that it is public."""

_AROUND = r"[\s#*/_<>!=\[\](){}.:~|-]{0,20}"
_FIELD = (
    r"(?:classification|sensitivity|độ mật|mức độ(?: bảo)? mật|mức độ|phân loại)[\"'*]{0,3}\s{0,3}[:=]\s{0,3}"
    r"[\"'*]{0,3}"
)


def _said(words: str, phrases: str) -> re.Pattern[str]:
    """The words in a field, or a phrase anywhere; in a line that is in lower case."""
    return re.compile(rf"{_FIELD}(?:{words})(?!\w)|(?<!\w)(?:{phrases})(?!\w)")


def _set(words: str, anywhere: str = r"(?!)") -> re.Pattern[str]:
    """The words alone on a line or in brackets; others anywhere. In a line as it is, since capitals tell."""
    return re.compile(
        rf"^{_AROUND}(?:{words}){_AROUND}$|(?<![\w\])])[\[(](?:{words})[\])]|(?<![\w.])(?:{anywhere})(?!\w)"
    )


SAID: Mapping[Level, re.Pattern[str]] = {
    Level.SECRET: _said("top secret|secret|tuyệt mật|tối mật", "classified top secret|tài liệu (?:tuyệt|tối) mật"),
    Level.CONFIDENTIAL: _said(
        "confidential|restricted|mật|bí mật|bảo mật|riêng tư",
        r"(?:strictly|highly|company) confidential|confidential (?:and|&|information of|property of)"
        r"|this (?:document|e-?mail|message|file) is confidential|proprietary and confidential|trade secrets?"
        r"|(?:do not|not for) distribut(?:e|ion)|under (?:an )?nda|tài liệu (?:bảo |bí )?mật|văn bản mật"
        r"|bí mật (?:kinh doanh|công ty|thương mại)|không (?:được )?(?:tiết lộ|phát tán|phổ biến) ra (?:bên )?ngoài"
        r"|nghiêm cấm (?:sao chép|phát tán|tiết lộ)",
    ),
    Level.INTERNAL: _said(
        "internal|nội bộ|lưu hành nội bộ",
        r"(?:for )?internal use only|for internal use|(?:lưu hành|sử dụng) nội bộ|tài liệu nội bộ",
    ),
    Level.PUBLIC: _said(
        "public|công khai",
        r"spdx-license-identifier: ?(?!proprietary|licenseref|none|noassertion|unlicensed)[a-z][\w.+-]{0,60}"
        r"|licensed under the (?:apache|mit|bsd|mozilla|gnu|eclipse|creative commons)"
        r"|permission is hereby granted, free of charge|this program is free software"
        r"|redistribution and use in source and binary forms",
    ),
}
SET: Mapping[Level, re.Pattern[str]] = {
    Level.SECRET: _set("Top Secret|TOP SECRET|Secret|SECRET|[Tt]uyệt mật|[Tt]ối mật", "TOP SECRET|TỐI MẬT|TUYỆT MẬT"),
    Level.CONFIDENTIAL: _set(
        "(?:Strictly |STRICTLY |Company |COMPANY )?(?:[Cc]onfidential|CONFIDENTIAL)|Restricted|RESTRICTED"
        "|[Mm]ật|MẬT|[Bb]í mật|[Bb]ảo mật|BẢO MẬT|[Rr]iêng tư|RIÊNG TƯ",
        r"CONFIDENTIAL(?! ?[=:])|BÍ MẬT|(?<!BẢO )(?<!BÍ )MẬT(?! (?:KHẨU|MÃ|ĐỘ|THƯ)| ?:)",
    ),
    Level.INTERNAL: _set("Internal|INTERNAL|Internal use only|[Nn]ội bộ|NỘI BỘ"),
    Level.PUBLIC: _set("Public|PUBLIC|[Cc]ông khai|CÔNG KHAI"),
}
SIGNS: Mapping[Level, tuple[str, ...]] = {
    Level.SECRET: ("secret", "mật"),
    Level.CONFIDENTIAL: (
        "confidential", "restricted", "trade secret", "distribut", " nda", "mật", "riêng tư", "ra ngoài",
        "ra bên ngoài", "nghiêm cấm",
    ),
    Level.INTERNAL: ("internal", "nội bộ"),
    Level.PUBLIC: (
        "public", "công khai", "license", "permission is hereby", "program is free software", "redistribution and",
    ),
}  # fmt: skip
"""A line without any of a level's signs holds none of its marks: most lines have none, and that is quick to see."""


def markings(text: str, folded: str) -> dict[Level, str]:
    """The levels as which a text is marked, each with the name of its rule.

    Args:
        text: with each letter as one character (Unicode's NFC).
        folded: the same in lower case.
    """
    signs = [(level, sign) for level, signs in SIGNS.items() for sign in signs if sign in folded]
    found: dict[Level, str] = {}
    if not signs:
        return found
    place = 0
    for line, low in zip(text.split("\n"), folded.split("\n"), strict=True):
        for level, sign in signs:
            if sign not in low or level in found or (level is Level.PUBLIC and place >= HEADER):
                continue
            if SAID[level].search(low) or SET[level].search(line):
                found[level] = f"marked-{level}"
        place += len(line) + 1
    return found
