"""Which credentials are found, and that none is ever shown. They are put together here, so that none stands here."""

import random
import string
import zlib

import pytest

from tidemill.analysis.secrets import checksum_fits, find_secrets, mask, shannon_entropy
from tidemill.core.finding import Severity

LETTERS = string.ascii_letters
ALNUM = string.ascii_letters + string.digits


def made(alphabet: str, length: int) -> str:
    """Random characters, the same in every run."""
    return "".join(random.Random(length).choices(alphabet, k=length))


KNOWN = {
    "aws-access-key-id": "AKI" + "A" + made("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
    "github-token": "ghp" + "_" + made(ALNUM, 36),
    "github-fine-grained-token": "github" + "_pat_" + made(ALNUM, 22) + "_" + made(ALNUM, 59),
    "gitlab-token": "glp" + "at-" + made(ALNUM, 20),
    "slack-token": "xox" + "b-" + made(string.digits, 12) + "-" + made(ALNUM, 24),
    "stripe-key": "sk" + "_live_" + made(ALNUM, 24),
    "google-api-key": "AIz" + "a" + made(ALNUM, 35),
    "google-oauth-secret": "GOC" + "SPX-" + made(ALNUM, 28),
    "anthropic-key": "sk" + "-ant-api03-" + made(ALNUM, 93),
    "openai-key": "sk" + "-proj-" + made(ALNUM, 64),
    "npm-token": "npm" + "_" + made(ALNUM, 36),
    "pypi-token": "pypi" + "-AgEIcHlwaS5vcmc" + made(ALNUM, 80),
    "hugging-face-token": "hf" + "_" + made(LETTERS, 34),
    "sendgrid-key": "S" + "G." + made(ALNUM, 22) + "." + made(ALNUM, 43),
    "twilio-key": "S" + "K" + made("0123456789abcdef", 32),
    "digitalocean-token": "dop" + "_v1_" + made("0123456789abcdef", 64),
    "telegram-token": made("123456789", 9) + ":A" + "A" + made(ALNUM, 33),
    "json-web-token": "ey" + "J" + made(ALNUM, 20) + ".ey" + "J" + made(ALNUM, 40) + "." + made(ALNUM, 43),
}


@pytest.mark.parametrize("rule", KNOWN)
@pytest.mark.parametrize("line", ["key = '{}'", "{}", "+ send({}, 1)", "// {}", 'x: "{}",'])
def test_a_vendors_form_is_found_wherever_it_stands(rule: str, line: str) -> None:
    text = line.format(KNOWN[rule])
    found = [match for match in find_secrets(text) if match.rule == rule]
    assert [text[match.start : match.end] for match in found] == [KNOWN[rule]]


@pytest.mark.parametrize("rule", KNOWN)
def test_masking_leaves_four_characters_at_most(rule: str) -> None:
    masked = mask(f"a = '{KNOWN[rule]}' # why\nb")
    assert masked == f"a = '{KNOWN[rule][:4]}…' # why\nb"
    assert find_secrets(masked.split("\n", maxsplit=1)[0]) == []


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("-----BEGIN RSA " + "PRIVATE KEY-----", "private-key"),
        ("-----BEGIN " + "PRIVATE KEY-----", "private-key"),
        (f"AWS_SECRET_ACCESS_KEY={made(ALNUM + '/+', 40)}", "aws-secret-access-key"),
        (f'aws_secret_access_key = "{made(ALNUM, 40)}"', "aws-secret-access-key"),
        ("postgres://app:" + "k3vin-R0cks" + "@db.internal/x", "password-in-url"),
        ("https://hooks.slack.com/services/" + made(ALNUM, 44), "slack-webhook"),
        (f"AccountKey={made(ALNUM, 86)}==;", "azure-storage-key"),
        ('password = "hunter' + '2!x"', "password-literal"),
        ("DB_PASSWORD: 'Winter" + "2024!'", "password-literal"),
        ('"client_secret": "' + made(ALNUM, 32) + '"', "credential-literal"),
        (f"api_key: str = '{made('0123456789abcdef', 40)}'", "credential-literal"),
        (f"export API_TOKEN={made(ALNUM, 40)}", "credential-literal"),
        (f"    auth-key: {made(ALNUM, 30)}", "credential-literal"),
    ],
)
def test_other_credentials_are_found(line: str, rule: str) -> None:
    assert [match.rule for match in find_secrets(line)] == [rule]


@pytest.mark.parametrize(
    "line",
    [
        'password = "changeme"',
        'password = "<your password>"',
        'password = "your-password-123"',
        'password: "${DB_PASSWORD}"',
        'password = "{{ vault.db }}"',
        'password = os.environ["DB_PASSWORD_2"]',
        "password = getpass.getpass()",
        'PASSWORD_FIELD = "userPassword2"',
        'token_url = "https://login.acme.org/oauth2/v2.0/token"',
        'token = "access_token"',
        'secret_name = "prod/db/main-2024-key"',
        'api_key = "test-key-0123456789abcd"',
        'api_key = "xxxxxxxxxxxxxxxxxxxx11"',
        'API_KEY = "EXAMPLE-1234-5678-90ab-cdef"',
        'monkey = "a9f8e7d6c5b4a39281706f5e4d3c2b1a"',
        "AKIA" + "IOSFODNN7" + "EXAMPLE",
        "ghp_" + "x" * 36,
        "sk-" + "a" * 40,
        "task-" + "scheduler-with-a-very-long-name-that-goes-on-and-on",
        "postgres://user:password@localhost/x",
        "redis://localhost:6379/0",
        "https://user@host.org/path:80@x",
        "http://a.b/c:d e@f",
        '"integrity": "sha512-' + made(ALNUM, 86) + '=="',
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----",
        "const tokenizer = 'bert-base-uncased-v2-large'",
        "token = tokens[index + 12]",
        "password: passwordSchema,",
        'label = "Password"',
        "",
        "secret=",
    ],
)
def test_what_only_looks_like_a_credential_is_let_be(line: str) -> None:
    assert find_secrets(line) == []


def test_where_two_rules_see_the_same_text_the_vendors_form_wins() -> None:
    line = f'api_key = "{KNOWN["stripe-key"]}"'
    assert [(match.rule, match.severity) for match in find_secrets(line)] == [("stripe-key", Severity.CRITICAL)]


def test_several_credentials_of_a_line_come_in_its_order() -> None:
    line = f"{KNOWN['npm-token']} {KNOWN['github-token']}"
    assert [match.rule for match in find_secrets(line)] == ["npm-token", "github-token"]


def test_a_match_does_not_hold_the_credential() -> None:
    assert KNOWN["npm-token"] not in repr(find_secrets(KNOWN["npm-token"]))


def test_entropy_is_bits_for_each_character() -> None:
    assert shannon_entropy("") == 0
    assert shannon_entropy("aaaa") == 0
    assert shannon_entropy("abcd") == 2


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "part", ["password=", "eyJ", "://a:", "token: str = '", "aws secret ", "a" * 7, "-----BEGIN A "]
)
def test_time_grows_with_length_alone_however_the_line_is_made(part: str) -> None:
    line = part * (200_000 // len(part))
    assert all(match.end <= len(line) for match in find_secrets(line))


def test_a_tokens_own_checksum_tells_a_real_one_from_one_that_is_made_up() -> None:
    body = "aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0"
    digits, number = "", zlib.crc32(body.encode())
    letters = string.digits + string.ascii_uppercase + string.ascii_lowercase
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = letters[digit] + digits
    assert checksum_fits("github-token", "ghp" + "_" + body + digits) is True
    assert checksum_fits("npm-token", "npm" + "_" + body + "000000") is False
    assert checksum_fits("stripe-key", "sk" + "_live_" + body) is None
