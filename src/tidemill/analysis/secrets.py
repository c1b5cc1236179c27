"""Finds credentials in a line of text: by the form that a vendor gives them, and by name and randomness.

Every pattern begins with fixed text and has bounded repetition, so time grows with the line's length alone.
"""

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tidemill.core.finding import Severity


@dataclass(frozen=True, slots=True)
class SecretMatch:
    """A credential at `text[start:end]`. It never holds the credential itself."""

    rule: str
    title: str
    start: int
    end: int
    severity: Severity


@dataclass(frozen=True, slots=True)
class _Rule:
    """A vendor's form. The credential is the group `secret`, or the whole match where there is none.

    A line without any of the `needles` is not searched: most lines have none, and that is quick to see.
    """

    name: str
    title: str
    needles: tuple[str, ...]
    pattern: re.Pattern[str]
    severity: Severity
    min_entropy: float


def _rule(
    name: str, title: str, needles: str, pattern: str, severity: Severity = Severity.CRITICAL, entropy: float = 3.0
) -> _Rule:
    return _Rule(name, title, tuple(needles.split(" ")), re.compile(pattern, re.ASCII), severity, entropy)


_START = r"(?<![A-Za-z0-9_-])"
_END = r"(?![A-Za-z0-9_-])"

RULES: tuple[_Rule, ...] = (
    _rule(
        "private-key",
        "a private key",
        "-----BEGIN",
        r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----",
        entropy=0,
    ),
    _rule(
        "aws-access-key-id",
        "an AWS access key id",
        "AKIA ASIA",
        _START + r"(?:AKIA|ASIA)[A-Z2-7]{16}" + _END,
        Severity.HIGH,
    ),
    _rule(
        "aws-secret-access-key",
        "an AWS secret access key",
        "aws AWS Aws",
        r"(?i:aws)[\w.\- ]{0,30}(?i:secret|sk)[\w.\- ]{0,30}[\"']?\s{0,3}[=:]{1,2}>?\s{0,3}[\"']?"
        r"(?P<secret>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
        entropy=3.5,
    ),
    _rule(
        "github-token", "a GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", _START + r"gh[pousr]_[A-Za-z0-9]{36,251}" + _END
    ),
    _rule(
        "github-fine-grained-token",
        "a GitHub fine-grained token",
        "github_pat_",
        _START + r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}" + _END,
    ),
    _rule(
        "gitlab-token",
        "a GitLab token",
        "gl",
        _START + r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent)-[A-Za-z0-9_-]{20,300}" + _END,
    ),
    _rule("slack-token", "a Slack token", "xox", _START + r"xox[abeoprs]-[A-Za-z0-9-]{10,250}" + _END),
    _rule("slack-app-token", "a Slack app token", "xapp-", _START + r"xapp-\d-[A-Za-z0-9-]{20,250}" + _END),
    _rule(
        "slack-webhook",
        "a Slack webhook address",
        "hooks.slack.com",
        r"https://hooks\.slack\.com/(?:services|workflows)/(?P<secret>[A-Za-z0-9+/]{30,100})",
        Severity.HIGH,
    ),
    _rule("stripe-key", "a Stripe live key", "_live_", _START + r"(?:sk|rk)_live_[A-Za-z0-9]{16,250}" + _END),
    _rule("google-api-key", "a Google API key", "AIza", _START + r"AIza[A-Za-z0-9_-]{35}" + _END, Severity.HIGH),
    _rule(
        "google-oauth-secret", "a Google OAuth client secret", "GOCSPX-", _START + r"GOCSPX-[A-Za-z0-9_-]{28}" + _END
    ),
    _rule(
        "anthropic-key",
        "an Anthropic API key",
        "sk-ant-",
        _START + r"sk-ant-[a-z0-9]{2,10}-[A-Za-z0-9_-]{40,200}" + _END,
    ),
    _rule(
        "openai-key",
        "an OpenAI API key",
        "sk-",
        _START + r"sk-(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,250}|[A-Za-z0-9]{32,64})" + _END,
        entropy=3.5,
    ),
    _rule("npm-token", "an npm token", "npm_", _START + r"npm_[A-Za-z0-9]{36}" + _END),
    _rule("pypi-token", "a PyPI token", "pypi-AgE", _START + r"pypi-AgE[A-Za-z0-9_-]{50,400}" + _END),
    _rule(
        "hugging-face-token",
        "a Hugging Face token",
        "hf_ api_org_",
        _START + r"(?:hf|api_org)_[A-Za-z]{34}" + _END,
        entropy=3.5,
    ),
    _rule("sendgrid-key", "a SendGrid key", "SG.", _START + r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}" + _END),
    _rule("twilio-key", "a Twilio API key", "SK", _START + r"SK[0-9a-f]{32}" + _END, Severity.HIGH),
    _rule("digitalocean-token", "a DigitalOcean token", "_v1_", _START + r"do[opr]_v1_[0-9a-f]{64}" + _END),
    _rule("telegram-token", "a Telegram bot token", ":AA", _START + r"\d{8,10}:AA[A-Za-z0-9_-]{33}" + _END),
    _rule(
        "azure-storage-key",
        "an Azure storage key",
        "AccountKey",
        r"AccountKey\s{0,2}=\s{0,2}(?P<secret>[A-Za-z0-9+/]{86}==)",
        entropy=4,
    ),
    _rule(
        "json-web-token",
        "a JSON web token",
        "eyJ",
        _START + r"eyJ[A-Za-z0-9_-]{10,4000}\.eyJ[A-Za-z0-9_-]{10,8000}\.[A-Za-z0-9_-]{20,2000}",
        Severity.HIGH,
    ),
    _rule("docker-token", "a Docker Hub token", "dckr_pat_", _START + r"dckr_pat_[A-Za-z0-9_-]{27}" + _END),
    _rule("vault-token", "a Vault token", "hvs. hvb.", _START + r"hv[sb]\.[A-Za-z0-9_-]{24,250}" + _END),
    _rule(
        "shopify-token", "a Shopify token", "shpat_ shpca_ shppa_", _START + r"shp(?:at|ca|pa)_[a-fA-F0-9]{32}" + _END
    ),
    _rule("databricks-token", "a Databricks token", "dapi", _START + r"dapi[a-f0-9]{32}(?:-\d)?" + _END),
    _rule("postman-key", "a Postman key", "PMAK-", _START + r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}" + _END),
    _rule("linear-key", "a Linear key", "lin_api_", _START + r"lin_api_[A-Za-z0-9]{40}" + _END),
    _rule("atlassian-token", "an Atlassian token", "ATATT3", _START + r"ATATT3[A-Za-z0-9_=-]{100,300}"),
    _rule("age-key", "an age private key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{58}" + _END),
    _rule("putty-key", "a private key", "PuTTY-User-Key-File", r"PuTTY-User-Key-File-[23]: ", entropy=0),
    _rule(
        "password-in-url",
        "a password in a URL",
        "://",
        r"://[^\s/:@\"'`<>{}$]{0,100}:(?P<secret>[^\s/@\"'`<>{}$]{4,200})@[A-Za-z0-9\[]",
        Severity.HIGH,
        entropy=1.5,
    ),
)

_NAMES = (
    r"passw(?:or)?d|passphrase|pwd|secret|token|credential|api[_-]?key|auth[_-]?key|access[_-]?key|private[_-]?key"
    r"|signing[_-]?key|encryption[_-]?key"
)
NAME_NEEDLES = ("passw", "passphrase", "pwd", "secret", "token", "credential", "key")
_QUOTED = re.compile(
    rf"(?P<name>{_NAMES})(?P<tail>[\w-]{{0,40}})[\"'\]]{{0,2}}\s{{0,8}}(?::\s{{0,2}}[A-Za-z]{{1,20}}\s{{0,8}})?(?:=>|:=|==?|:)\s{{0,8}}"
    r"[rbuf]{0,2}(?P<quote>[\"'`])(?P<secret>[^\"'`\s]{6,300})(?P=quote)",
    re.IGNORECASE,
)
"""`name = "literal"`, `"name": "literal"`, `name: str = "literal"`, `name: 'literal'`."""
_BARE = re.compile(
    rf"^[\s+-]{{0,20}}(?:export\s{{1,4}})?[\w.-]{{0,60}}?(?P<name>{_NAMES})(?P<tail>[\w-]{{0,40}})\s{{0,4}}[=:]\s{{0,4}}"
    r"(?P<secret>[A-Za-z0-9+/=_-]{16,300})\s{0,20}$",
    re.IGNORECASE,
)
"""`NAME=value` of an `.env` file, `name: value` of YAML."""
_NO_CREDENTIAL = re.compile(
    r"url|uri|name|type|field|path|file|label|header|endpoint|param|hint|prefix|regex|pattern|length|size|expir|ttl|algo"
    r"|env|message|error|help|title|text|column|table|count|limit|class|role|scope|policy|format|placeholder|kind|hash",
    re.IGNORECASE,
)
"""`token_url`, `password_field` and the like name something about a credential."""
_PLACEHOLDER = re.compile(
    r"change[_-]?me|example|sample|dummy|placeholder|your[_-]|yours|redacted|replace|insert[_-]|fixture|mock|fake"
    r"|(?:^|[^a-z])(?:test|testing|todo|fixme|demo|foo|bar|baz|none|null|undefined|default|dev|local)(?:[^a-z]|$)"
    r"|password|passw0rd|secret|token|api[_-]?key|x{4}|\*{3}|\.{3}|_here|^<.*>$|^\[.*\]$|^\{.*\}$|\$\{|\$\(|\{\{|%\(|^%|^\$"
    r"|^@|://|123456|abcdef|^(?:postgres|root|admin|user|guest|pass|letmein|qwerty)\d{0,3}$",
    re.IGNORECASE,
)
_VENDOR_PLACEHOLDER = re.compile(r"EXAMPLE|[Xx]{6}|0{8}|1234567890|\.{3}|\*{3}")
_PASSWORD_NAME = re.compile(r"passw|pwd|passphrase", re.IGNORECASE)
_MIN_RANDOM_ENTROPY = 3.5
_MIN_HEX_ENTROPY = 3.0
_MIN_PASSWORD_ENTROPY = 2.3
_MIN_RANDOM_LENGTH = 16
_LONGEST_LINE = 200_000
"""Characters of a line that are read: a minified bundle of megabytes on one line is no place to be thorough."""
_OVERLAP = 15_000
"""Longer than any credential, so that one at the edge of a piece is whole in the next."""


def shannon_entropy(text: str) -> float:
    """Bits per character, from the frequencies of the text's own characters. 0 for an empty text."""
    total = len(text)
    return -sum(count / total * math.log2(count / total) for count in Counter(text).values())


def find_secrets(line_text: str) -> list[SecretMatch]:
    """The credentials in one line, leftmost first. Where two rules see the same text, the vendor's own form wins."""
    return _without_overlaps(_all_in(line_text[:_LONGEST_LINE]))


def _all_in(line: str) -> list[SecretMatch]:
    return [*_by_form(line), *_by_name(line)]


def _without_overlaps(matches: list[SecretMatch]) -> list[SecretMatch]:
    found: list[SecretMatch] = []
    for match in matches:
        if all(match.end <= other.start or other.end <= match.start for other in found):
            found.append(match)
    return sorted(found, key=lambda match: match.start)


def mask(text: str) -> str:
    """The text with each credential replaced by its first characters and `…`."""
    parts, at = [], 0
    for match in secrets_in(text):
        secret = text[match.start : match.end]
        parts += [text[at : match.start], secret[: 4 if len(secret) >= 16 else 1], "…"]
        at = match.end
    return "".join([*parts, text[at:]])


_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECKED = frozenset({"github-token", "npm-token"})


def checksum_fits(rule: str, secret: str) -> bool | None:
    """Whether a token's own checksum is right; `None` where its form has none.

    Tokens of GitHub and npm of 30 random characters end in the CRC-32 of these, in base 62
    (https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/).
    """
    prefix, _, body = secret.partition("_")
    if rule not in _CHECKED or not prefix or len(body) != 36:
        return None
    number, digits = zlib.crc32(body[:30].encode()), ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits.rjust(6, "0") == body[30:]


def _by_form(line: str) -> Iterator[SecretMatch]:
    for rule in RULES:
        if not any(needle in line for needle in rule.needles):
            continue
        for match in rule.pattern.finditer(line):
            group = "secret" if "secret" in rule.pattern.groupindex else 0
            secret = match.group(group)
            if shannon_entropy(secret) < rule.min_entropy or _VENDOR_PLACEHOLDER.search(secret):
                continue
            if rule.name == "password-in-url" and _PLACEHOLDER.search(secret):
                continue
            yield SecretMatch(rule.name, rule.title, match.start(group), match.end(group), rule.severity)


def _by_name(line: str) -> Iterator[SecretMatch]:
    lowered = line.lower()
    if not ("=" in line or ":" in line) or not any(needle in lowered for needle in NAME_NEEDLES):
        return
    for pattern in (_QUOTED, _BARE):
        if pattern is _QUOTED and not ("'" in line or '"' in line or "`" in line):
            continue
        for match in pattern.finditer(line) if pattern is _QUOTED else filter(None, [_BARE.match(line)]):
            secret, name = match["secret"], match["name"]
            if _NO_CREDENTIAL.search(match["tail"]) or _PLACEHOLDER.search(secret):
                continue
            if pattern is _QUOTED and _PASSWORD_NAME.match(name) and _is_password(secret):
                yield SecretMatch(
                    "password-literal", "a password", match.start("secret"), match.end("secret"), Severity.HIGH
                )
            elif _is_random(secret):
                yield SecretMatch(
                    "credential-literal", "a credential", match.start("secret"), match.end("secret"), Severity.HIGH
                )


def _is_password(text: str) -> bool:
    """Not a word or an identifier, which name a field: two kinds of characters, not counting `_`, `-`, `.`."""
    kinds = (
        any(character.islower() for character in text),
        any(character.isupper() for character in text),
        any(character.isdigit() for character in text),
        any(not character.isalnum() and character not in "_-./" for character in text),
    )
    return sum(kinds) >= 2 and (shannon_entropy(text) >= _MIN_PASSWORD_ENTROPY and not _is_identifier(text))


def _is_random(text: str) -> bool:
    """Long, of high entropy, and with the digits that words lack."""
    digits = sum(character.isdigit() for character in text)
    least = _MIN_HEX_ENTROPY if re.fullmatch(r"[0-9a-fA-F]+", text) else _MIN_RANDOM_ENTROPY
    return (
        len(text) >= _MIN_RANDOM_LENGTH
        and digits >= 2
        and digits < len(text)
        and shannon_entropy(text) >= least
        and not re.fullmatch(r"[a-z]+(?:[_.-][a-z]+)*[_.-]?\d{1,4}", text)
    )


def _is_identifier(text: str) -> bool:
    """`userPassword`, `NEW_VALUE`, `Foo.Bar`: words in camel case, or joined, without digits."""
    return re.fullmatch(r"[A-Za-z]?[a-z]*(?:[A-Z][a-z]+|[_.-][A-Za-z]+)*", text) is not None or (
        re.fullmatch(r"[A-Z]+(?:[_-][A-Z]+)*", text) is not None
    )


def secrets_in(text: str, *, overlapping: bool = False) -> list[SecretMatch]:
    """The credentials anywhere in a text of many lines, with their places in it.

    Without `overlapping`, what two rules see is there once, as in `find_secrets`.
    """
    lowered = text.lower()
    by_form = [needle for rule in RULES for needle in rule.needles if needle in text]
    by_name = [needle for needle in NAME_NEEDLES if needle in lowered]
    if not by_form and not by_name:
        return []
    found: list[SecretMatch] = []
    start = 0
    for line, low in zip(text.split("\n"), lowered.split("\n"), strict=False):
        formed = any(needle in line for needle in by_form)
        named = ("=" in line or ":" in line) and any(needle in low for needle in by_name)
        if formed or named:
            for first, piece in _pieces(line):
                matches = _all_in(piece) if overlapping else find_secrets(piece)
                found += _placed(matches, start + first, found if first else [])
        start += len(line) + 1
    return found


def secret_rules(text: str) -> tuple[str, ...]:
    """The names of the rules that find a credential anywhere in a text of many lines, each once."""
    return tuple(dict.fromkeys(match.rule for match in secrets_in(text)))


def _placed(matches: list[SecretMatch], offset: int, before: list[SecretMatch]) -> list[SecretMatch]:
    """Matches of a piece, at their places in the text, without those that the piece before has seen whole."""
    seen = before[-1].end if before else 0
    moved = (replace(match, start=match.start + offset, end=match.end + offset) for match in matches)
    return [match for match in moved if match.start >= seen]


def _pieces(line: str) -> Iterator[tuple[int, str]]:
    """The whole line, however long, in overlapping pieces that are read to their end, each with its place."""
    for start in range(0, max(1, len(line)), _LONGEST_LINE - _OVERLAP):
        yield start, line[start : start + _LONGEST_LINE]
