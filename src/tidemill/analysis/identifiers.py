"""Whether a number is what it looks like: check digits and structures of cards, accounts, people and telephones."""

import re

CARD_LENGTHS = {
    "4": (16, 19), "51": (16,), "52": (16,), "53": (16,), "54": (16,), "55": (16,), "34": (15,), "37": (15,),
    "36": (14,), "38": (14,), "30": (14,), "6011": (16, 19), "65": (16, 19), "35": (16,), "62": (16, 19),
    "9704": (16, 19), **{str(prefix): (16,) for prefix in range(2221, 2721)},
}  # fmt: skip
"""Digits of a card's number by its first ones: ISO/IEC 7812; 9704 is Vietnam's NAPAS."""
LONGEST_PREFIX = 4

IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "ES": 24, "FI": 18, "FO": 18, "FR": 27,
    "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MD": 24,
    "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26, "UA": 29,
    "VG": 24, "XK": 20,
}  # fmt: skip
"""Characters of an account's number by country: the IBAN registry of SWIFT (ISO 13616)."""

PROVINCES = frozenset({
    1, 2, 4, 6, 8, 10, 11, 12, 14, 15, 17, 19, 20, 22, 24, 25, 26, 27, 30, 31, 33, 34, 35, 36, 37, 38, 40, 42, 44,
    45, 46, 48, 49, 51, 52, 54, 56, 58, 60, 62, 64, 66, 67, 68, 70, 72, 74, 75, 77, 79, 80, 82, 83, 84, 86, 87, 89,
    91, 92, 93, 94, 95, 96,
})  # fmt: skip
"""Of Vietnam, as the first three digits of a citizen's number name them (circular 59/2021/TT-BCA)."""
CENTURIES = "0123"
"""The fourth digit: born in the 20th century (0 man, 1 woman) or in the 21st (2, 3)."""
YEARS = {"0": (10, 99), "1": (10, 99), "2": (0, 35), "3": (0, 35)}
"""The fifth and sixth: the year of birth within that century, of people who may be alive or will be soon."""
TAX_WEIGHTS = (31, 29, 23, 19, 17, 13, 7, 5, 3)
"""Of the first nine digits of a Vietnamese tax code; the tenth is 10 less their sum mod 11 (105/2020/TT-BTC)."""

COUNTRIES = {
    "1": (10, 10), "7": (10, 10), "20": (10, 10), "27": (9, 9), "31": (9, 9), "32": (8, 9), "33": (9, 9),
    "34": (9, 9), "39": (9, 11), "41": (9, 9), "44": (10, 10), "45": (8, 8), "46": (7, 9), "47": (8, 8), "48": (9, 9),
    "49": (8, 11), "52": (10, 10), "55": (10, 11), "60": (8, 10), "61": (9, 9), "62": (9, 12), "63": (10, 10),
    "64": (8, 10), "65": (8, 8), "66": (8, 9), "81": (9, 10), "82": (8, 10), "84": (9, 10), "86": (10, 11),
    "90": (10, 10), "91": (10, 10), "351": (9, 9), "352": (6, 9), "353": (7, 9), "358": (6, 10), "420": (9, 9),
    "852": (8, 8), "853": (8, 8), "855": (8, 9), "856": (8, 10), "886": (8, 9), "971": (8, 9), "972": (8, 9),
}  # fmt: skip
"""Fewest and most digits after the country's code (ITU-T E.164)."""
VIETNAM = re.compile(r"(?:3[2-9]|5[25689]|7[06-9]|8[1-9]|9[0-46-9])\d{7}|2\d{9}")
"""After the trunk's 0: a mobile number of nine digits, or a landline of ten (national numbering plan since 2018)."""
NORTH_AMERICA = re.compile(r"(?:\(([2-9]\d{2})\) ?|([2-9]\d{2})([-.]))([2-9]\d{2})(?(3)\3|[-. ])(\d{4})")
NORTH_AMERICA_REST = re.compile(r"[2-9]\d{2}[2-9]\d{6}")
DECIMAL = re.compile(r"\+\d+\.\d{1,2}")
"""A number with a sign and a fraction, and no telephone's."""
NOT_DIGITS = re.compile(r"\D")


def is_card_number(text: str) -> bool:
    """Whether its first digits and length are a card's, and its check digit holds (Luhn, ISO/IEC 7812-1)."""
    digits = NOT_DIGITS.sub("", text)
    lengths = next((CARD_LENGTHS[digits[:n]] for n in range(LONGEST_PREFIX, 0, -1) if digits[:n] in CARD_LENGTHS), ())
    return len(digits) in lengths and len(set(digits)) > 1 and _luhn(digits)


def iban_is_valid(text: str) -> bool:
    """Whether its country is known, its length is that country's, and its check digits hold (ISO 7064, mod 97-10)."""
    iban = text.replace(" ", "")
    if IBAN_LENGTHS.get(iban[:2]) != len(iban):
        return False
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


def is_citizen_number(text: str) -> bool:
    """Whether it is built as a Vietnamese citizen's: a province, a century and sex, a year, six digits."""
    digits = NOT_DIGITS.sub("", text)
    if len(digits) != 12 or int(digits[:3]) not in PROVINCES or digits[3] not in CENTURIES:
        return False
    first, last = YEARS[digits[3]]
    return first <= int(digits[4:6]) <= last and len(set(digits[6:])) > 1


def is_tax_code(text: str) -> bool:
    """Whether its check digit is a Vietnamese tax code's: ten digits, and three more for a branch."""
    digits = NOT_DIGITS.sub("", text)
    if len(digits) not in (10, 13) or len(set(digits[:10])) == 1:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(digits, TAX_WEIGHTS, strict=False))
    return 10 - total % 11 == int(digits[9])


def is_phone_number(text: str) -> bool:
    """Whether it is a telephone's: with its country's code, or as Vietnam or North America write it at home."""
    digits = NOT_DIGITS.sub("", text)
    if text.startswith(("+", "00", "(+")) and not DECIMAL.fullmatch(text):
        return _international(digits.removeprefix("00") if text.startswith("00") else digits, text)
    if digits.startswith("0"):
        return not text.startswith(("0.", "0-")) and VIETNAM.fullmatch(digits[1:]) is not None
    return NORTH_AMERICA.fullmatch(text) is not None


def _international(digits: str, text: str) -> bool:
    for length in (1, 2, 3):
        limits = COUNTRIES.get(digits[:length])
        if limits is not None:
            rest = digits[length:].removeprefix("0") if "(0)" in text else digits[length:]
            if digits[:length] == "84":
                return VIETNAM.fullmatch(rest.removeprefix("0")) is not None
            if digits[:length] == "1" and not NORTH_AMERICA_REST.fullmatch(rest):
                return False
            return limits[0] <= len(rest) <= limits[1] and len(set(rest)) > 1
    return False


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
