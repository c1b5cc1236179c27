"""Known-bad patterns in files that say what a project is built from: Python's, npm's, Go's and Maven's manifests,
Dockerfiles, and workflows of GitHub. Line by line, and no more than the line shows: no name is looked up anywhere."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from tidemill.core.finding import Severity


@dataclass(frozen=True, slots=True)
class ManifestDefect:
    """What is wrong in one line."""

    rule: str
    line: int
    severity: Severity
    title: str
    message: str


@dataclass(frozen=True, slots=True)
class _Pattern:
    rule: str
    severity: Severity
    title: str
    message: str
    pattern: re.Pattern[str]


def _pattern(rule: str, severity: Severity, title: str, pattern: str, message: str) -> _Pattern:
    return _Pattern(rule, severity, title, message, re.compile(pattern))


_PIPED = _pattern(
    "script-from-network",
    Severity.HIGH,
    "Script of a server run unseen",
    r"\b(?:curl|wget)\b[^|;&\n]{0,500}\|\s{0,5}(?:sudo\s{1,5})?(?:-E\s{1,5})?(?:ba|z|da)?sh\b"
    r"|\b(?:ba|z)?sh\b\s{1,5}(?:-c\s{1,5})?[\"']?(?:<\(|\$\()\s{0,5}(?:curl|wget)\b",
    "Whoever holds the server decides what runs here. Fetch a fixed version, check its digest, then run it.",
)
_UNVERIFIED = _pattern(
    "unverified-download",
    Severity.HIGH,
    "Download that is not verified",
    r"\bcurl\b[^|;&\n]{0,200}\s(?:-k|--insecure)\b|\bwget\b[^|;&\n]{0,200}--no-check-certificate\b"
    r"|--trusted-host\b|\bnpm\s{1,5}config\s{1,5}set\s{1,5}strict-ssl\s{1,5}false\b",
    "The server's certificate is not checked, so whoever is between can put something else in its place.",
)
_PLAIN = _pattern(
    "plain-http-source",
    Severity.MEDIUM,
    "Package fetched without TLS",
    r"(?:git\+|--(?:extra-)?index-url[ =]|--find-links[ =]|-[if] |\"|')http://(?!localhost|127\.0\.0\.1)",
    "Whoever is between can put something else in its place. Use https.",
)
_PYTHON = (
    _pattern(
        "extra-index",
        Severity.MEDIUM,
        "Second index for packages",
        r"--extra-index-url\b",
        "pip takes the highest version from any index, so anybody can publish a private package's name elsewhere and "
        "win. Use one index (`--index-url`) that holds both, or pins with hashes.",
    ),
    _pattern(
        "unpinned-git",
        Severity.MEDIUM,
        "Repository without a commit",
        r"git\+(?:https|ssh|http|git)://[^\s@#\"']{1,300}(?:@(?![0-9a-f]{40}\b)[^\s#\"']{1,100})?(?:[#\s\"';]|$)",
        "What the branch or tag points to can change at any time. Name a commit (40 digits).",
    ),
    _PLAIN,
    _UNVERIFIED,
)
_NPM = (
    _pattern(
        "unpinned-git",
        Severity.MEDIUM,
        "Repository without a commit",
        r"\"(?:git\+(?:https|ssh|http)://|git://|github:|gitlab:|bitbucket:)[^\"#]{1,300}(?:#(?![0-9a-f]{40}\")[^\"]{0,100})?\"",
        "What the branch or tag points to can change at any time. Name a commit (40 digits).",
    ),
    _pattern(
        "any-version",
        Severity.MEDIUM,
        "Dependency of any version",
        r"^\s{0,20}\"[@\w./-]{1,200}\"\s{0,3}:\s{0,3}\"(?:\*|latest|x|>=?\s{0,2}0(?:\.0){0,2})\"",
        "The next install takes whatever is newest. Name a version or a range.",
    ),
    _pattern(
        "install-script",
        Severity.MEDIUM,
        "Script that runs at install",
        r"^\s{0,20}\"(?:pre|post)?install\"\s{0,3}:\s{0,3}\"[^\"]{0,300}(?:curl|wget|node\s{1,3}-e|eval|base64|https?://)",
        "This runs on every machine that installs the package. Ship what it fetches, or fetch it by hand.",
    ),
    _PLAIN,
)
_DOCKER = (
    _pattern(
        "latest-tag",
        Severity.LOW,
        "Image of any version",
        r"(?i)^\s{0,8}FROM\s{1,8}(?:--platform=\S{1,60}\s{1,8})?(?!scratch\b)[\w./-]{1,200}(?::latest)?(?:\s|$)",
        "The next build takes whatever is newest. Name a version, better a digest (`@sha256:…`).",
    ),
    _pattern(
        "remote-add",
        Severity.MEDIUM,
        "File of a server added unchecked",
        r"(?i)^\s{0,8}ADD\s{1,8}(?!--checksum)https?://",
        "Whoever holds the server decides what comes. Use `ADD --checksum=sha256:…`.",
    ),
    _PIPED,
    _UNVERIFIED,
    _PYTHON[0],
)
_WORKFLOW = (
    _pattern(
        "unpinned-action",
        Severity.MEDIUM,
        "Action without a commit",
        r"^\s{0,40}-?\s{0,8}uses:\s{0,8}[\"']?(?!\./|docker://|actions/|github/)[\w.-]{1,100}/[\w./-]{1,200}@(?![0-9a-f]{40}\b)",
        "Whoever holds the action can move its tag and then runs in this repository, with its secrets. Name a commit "
        "(40 digits).",
    ),
    _pattern(
        "script-injection",
        Severity.HIGH,
        "Text of a stranger in a script",
        r"^(?!\s{0,40}(?:if|name|[A-Z][A-Z0-9_]{0,60}):).{0,300}\$\{\{\s{0,5}github\.(?:head_ref|event\.(?:issue|pull_request|comment|review|discussion)"
        r"\.(?:title|body|head\.ref|head\.label)|event\.head_commit\.message)",
        "A title, text or branch name becomes part of a script, so whoever writes it runs commands here. Pass it by "
        "an environment variable.",
    ),
    _PIPED,
    _UNVERIFIED,
)
_GO = (
    _pattern(
        "replaced-module",
        Severity.LOW,
        "Module replaced by another",
        r"^\s{0,8}(?:replace\s{1,8})?[\w./-]{1,200}(?:\s{1,4}v\S{1,60})?\s{1,4}=>\s{1,4}(?!\.)[\w./-]{1,200}",
        "The code that is built is not the one that the name says. Make sure that the other module is yours.",
    ),
)
_MAVEN = (
    _pattern(
        "any-version",
        Severity.MEDIUM,
        "Dependency of any version",
        r"<version>\s{0,5}(?:LATEST|RELEASE|\[[^\]]{0,40},\s{0,3}\))\s{0,5}</version>",
        "The next build takes whatever is newest. Name a version.",
    ),
    _pattern(
        "plain-http-source",
        Severity.HIGH,
        "Packages fetched without TLS",
        r"<url>\s{0,5}http://(?!localhost|127\.0\.0\.1|www\.apache\.org/licenses|maven\.apache\.org/(?:POM|xsd))",
        "Whoever is between can put something else in its place. Use https.",
    ),
)

POPULAR_PYTHON = frozenset(
    [
        "requests",
        "numpy",
        "pandas",
        "urllib3",
        "boto3",
        "django",
        "flask",
        "fastapi",
        "pydantic",
        "cryptography",
        "setuptools",
        "pyyaml",
        "pillow",
        "scipy",
        "matplotlib",
        "sqlalchemy",
        "jinja2",
        "click",
        "pytest",
        "tensorflow",
        "torch",
        "selenium",
        "beautifulsoup4",
        "colorama",
        "python-dateutil",
        "certifi",
        "idna",
        "charset-normalizer",
        "aiohttp",
        "httpx",
        "redis",
        "celery",
        "psycopg2",
        "openai",
        "transformers",
        "scikit-learn",
        "paramiko",
    ]
)
POPULAR_NPM = frozenset(
    [
        "react",
        "react-dom",
        "express",
        "lodash",
        "axios",
        "chalk",
        "commander",
        "debug",
        "moment",
        "typescript",
        "webpack",
        "eslint",
        "jest",
        "next",
        "vue",
        "angular",
        "jquery",
        "dotenv",
        "cross-env",
        "mongoose",
        "socket.io",
        "uuid",
        "async",
        "request",
        "body-parser",
        "nodemon",
        "prettier",
        "puppeteer",
        "electron",
        "discord.js",
        "ethers",
        "web3",
    ]
)
KNOWN_GOOD = frozenset({"preact", "request", "axis", "colour"})
_REQUIREMENT = re.compile(
    r"^\s{0,8}[\"']?([A-Za-z0-9][\w.-]{2,60})\s{0,3}(?:\[[^\]]{0,80}\])?\s{0,3}(?:[=<>~!;,\"']|$)"
)
_NPM_NAME = re.compile(r"^\s{0,20}\"([a-z][\w.-]{2,60})\"\s{0,3}:\s{0,3}\"[~^<>=\d*v]")


def defects(path: str, text: str) -> list[ManifestDefect]:
    """What is wrong in a manifest; nothing for a file that is none."""
    found = _kind(path)
    return [] if found is None else list(found(text))


def is_manifest(path: str) -> bool:
    """Whether a file of this name is one that `defects` reads."""
    return _kind(path) is not None


def _kind(path: str) -> Callable[[str], Iterator[ManifestDefect]] | None:
    pure = PurePosixPath(path)
    name = pure.name.lower()
    if name == "package.json":
        return _npm
    if re.fullmatch(r"(?:[\w.-]*-)?(?:requirements|constraints)[\w.-]*\.(?:txt|in)", name) or (
        pure.parent.name == "requirements" and name.endswith((".txt", ".in"))
    ):
        return _requirements
    if name in ("pyproject.toml", "setup.py", "setup.cfg", "pipfile"):
        return lambda text: _matches(text, _PYTHON, "#")
    if name == "go.mod":
        return lambda text: _matches(text, _GO, "//")
    if name == "pom.xml":
        return lambda text: _matches(text, _MAVEN, "<!--")
    if name in ("dockerfile", "containerfile") or name.startswith("dockerfile.") or name.endswith(".dockerfile"):
        return _docker
    if re.search(r"(?:^|/)\.(?:github|gitea|forgejo)/(?:workflows|actions)/.+\.ya?ml$", path):
        return _workflow
    if name.endswith((".sh", ".bash")) or name == "makefile":
        return lambda text: _matches(text, (_PIPED, _UNVERIFIED), "#")
    return None


def _matches(text: str, patterns: tuple[_Pattern, ...], comment: str) -> Iterator[ManifestDefect]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith(comment):
            continue
        for one in patterns:
            if one.pattern.search(line[:2000]):
                yield ManifestDefect(one.rule, number, one.severity, one.title, one.message)


def _requirements(text: str) -> Iterator[ManifestDefect]:
    yield from _matches(text, _PYTHON, "#")
    yield from _look_alikes(text, _REQUIREMENT, POPULAR_PYTHON)


def _npm(text: str) -> Iterator[ManifestDefect]:
    yield from _matches(text, _NPM, "//")
    yield from _look_alikes(text, _NPM_NAME, POPULAR_NPM)


def _docker(text: str) -> Iterator[ManifestDefect]:
    stages = {name.lower() for name in re.findall(r"(?im)^\s*FROM\s.+?\sAS\s+(\S+)", text)}
    lines = text.split("\n")
    for defect in _matches(text, _DOCKER, "#"):
        image = re.match(r"(?i)\s*FROM\s+(?:--platform=\S+\s+)?(\S+)", lines[defect.line - 1])
        if defect.rule == "latest-tag" and image is not None and image[1].lower() in stages:
            continue
        yield defect


def _workflow(text: str) -> Iterator[ManifestDefect]:
    yield from _matches(text, _WORKFLOW, "#")
    if not re.search(r"(?m)^(?:on|['\"]on['\"]):.*\bpull_request_target\b|^\s+pull_request_target\s*:?", text):
        return
    checkout = False
    for number, line in enumerate(text.split("\n"), 1):
        checkout = "actions/checkout" in line or (checkout and not re.match(r"\s*- ", line))
        if checkout and re.search(r"\bref:.*(?:head\.(?:sha|ref)|head_ref|pull/)", line):
            yield ManifestDefect(
                "target-checkout",
                number,
                Severity.CRITICAL,
                "A stranger's code run with secrets",
                "`pull_request_target` runs with this repository's secrets, and here it checks out the code of "
                "whoever opened the pull request. Use `pull_request`, or do not check out its head.",
            )


def _look_alikes(text: str, pattern: re.Pattern[str], popular: frozenset[str]) -> Iterator[ManifestDefect]:
    for number, line in enumerate(text.split("\n"), 1):
        match = pattern.match(line[:500])
        name = match[1].lower().replace("_", "-") if match else ""
        if not name or name in popular or name in KNOWN_GOOD:
            continue
        if (near := next((one for one in sorted(popular) if _is_one_slip(name, one)), None)) is not None:
            yield ManifestDefect(
                "look-alike",
                number,
                Severity.HIGH,
                "Package whose name looks like another's",
                f"`{name}` is one slip away from `{near}`, which many know. Make sure that it is the one you mean: "
                "such names are used to spread bad code.",
            )


def _is_one_slip(name: str, known: str) -> bool:
    """One letter more, less, other or two swapped, in a name of at least five letters."""
    if len(known) < 5 or abs(len(name) - len(known)) > 1 or name == known:
        return False
    at = next((i for i, (a, b) in enumerate(zip(name, known, strict=False)) if a != b), min(len(name), len(known)))
    rest, other = name[at:], known[at:]
    return (
        rest[1:] == other
        or rest == other[1:]
        or rest[1:] == other[1:]
        or (rest[:2] == other[:2][::-1] and rest[2:] == other[2:])
    )
