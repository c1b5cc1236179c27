"""What `POST /v1/reviews` is given by strangers: every answer is a review or says what is wrong, and none is a 500."""

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, running_hub, scripted_settings, wait_for

LIMIT = 10_000_000
CODE = "import os\n\n\ndef run(name):\n    os.system('ls ' + name)\n"
TOKEN = "AKIA" + "QWERTYUIOPASDFGH"


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reachable(tmp_path_factory.mktemp("some roots"))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, roots: Path) -> Iterator[Hub]:
    data_dir = reachable(tmp_path_factory.mktemp("hub")) / "data"
    settings = scripted_settings(
        "http://127.0.0.1:9/v1",
        max_request_bytes=40_000_000,
        review={"roots": [str(roots)], "max_diff_bytes": LIMIT},
    )
    with running_hub(data_dir, settings) as running:
        yield running


@pytest.fixture
def client(hub: Hub) -> Iterator[httpx.Client]:
    with hub.client() as opened:
        yield opened


@pytest.fixture(scope="module")
def repository(roots: Path) -> Path:
    """Two commits; the second one changes every way in which a file can be changed."""
    folder = roots / "a repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for name, content in {
        "old.py": CODE,
        "crlf.py": CODE.replace("\n", "\r\n"),
        "bare.py": CODE.rstrip("\n"),
        "run.sh": "echo\n",
        "gone.py": CODE + "# gone\n",
        "picture.bin": b"\x00\x01\x02",
        "latin.py": "# caf\xe9\n".encode("latin-1"),
    }.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    commit(folder, "One")
    git(folder, "mv", "old.py", "new name.py")
    (folder / "gone.py").unlink()
    (folder / "run.sh").chmod(0o755)
    (folder / "picture.bin").write_bytes(b"\x00\x03")
    (folder / "latin.py").write_bytes(f"# caf\xe9\nkey = '{TOKEN}'\n".encode("latin-1"))
    (folder / "crlf.py").write_bytes((CODE + "os.system(CODE)\n").replace("\n", "\r\n").encode())
    (folder / "bare.py").write_bytes((CODE + "os.system(CODE)").encode())
    late = b"#" * 9000 + b"\n" + f"key = '{TOKEN}\x00'\n".encode()
    (folder / "late.cfg").write_bytes(late)
    (folder / "link").symlink_to("/etc/passwd")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    commit(folder, "Change in every way \N{WATER WAVE}")
    return folder


def git(folder: Path, *arguments: str) -> str:
    names = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *names, "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path, title: str) -> None:
    git(folder, "add", "-A", "--", ".", ":!module")
    git(folder, "commit", "-q", "-m", title)


def ask(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/v1/reviews", json={"model": False, **body})


def refusal(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return str(error["message"])


def review(client: httpx.Client, **body: Any) -> dict[str, Any]:
    """The ended review of what is accepted."""
    answer = ask(client, **body)
    assert answer.status_code == 202, answer.text
    path = f"/v1/reviews/{answer.json()['id']}"
    assert answer.headers["location"] == path
    found: dict[str, Any] = wait_for(
        lambda: (now := client.get(path).json())["state"] in {"done", "failed"} and now, what="the review's end"
    )
    return found


def diff_of(path: str, text: str) -> str:
    lines = text.removesuffix("\n").split("\n")
    body = "".join(f"+{line}\n" for line in lines)
    head = f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n"
    return f"{head}@@ -0,0 +1,{len(lines)} @@\n{body}"


def found_by(reviewed: dict[str, Any]) -> set[tuple[str, str]]:
    return {(finding["engine"], finding["path"]) for finding in reviewed["findings"]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "either `repository` or `diff`"),
        ({"diff": "", "repository": "/x"}, "either `repository` or `diff`"),
        ({"diff": None, "repository": None}, "either `repository` or `diff`"),
        ({"repository": "/x", "files": {"a": "b"}}, "`files`"),
        ({"diff": "", "revision": "HEAD"}, "`revision`"),
        ({"diff": 3}, "diff"),
        ({"diff": ["x"]}, "diff"),
        ({"diff": "Hello"}, "unified diff"),
        ({"diff": "@@ -1 +1 @@\n"}, "diff"),
        ({"diff": "--- a\n+++ b\n@@ -1,99999999999 +1 @@\n"}, "diff"),
        ({"diff": "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n x\n"}, "line"),
        ({"diff": "", "files": {"a": 1}}, "files"),
        ({"diff": "", "files": []}, "files"),
        ({"diff": "", "title": "t" * 1001}, "title"),
        ({"diff": "", "model": "perhaps"}, "model"),
        ({"diff": "", "colour": "blue"}, "colour"),
        ({"repository": "r" * 5000}, "repository"),
    ],
)
def test_a_body_that_can_not_be_used_is_told_why(client: httpx.Client, body: dict[str, Any], says: str) -> None:
    assert says in refusal(ask(client, **body), 400)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"diff": "\xff\xfe"}',
        b'\xff\xfe{"diff": ""}',
        b'{"diff": "' + b"\x00" + b'"}',
        b"\x00",
    ],
)
def test_bytes_that_are_no_json_are_refused(client: httpx.Client, body: bytes) -> None:
    refusal(client.post("/v1/reviews", content=body, headers={"content-type": "application/json"}), 400)


def test_a_repository_outside_the_roots_is_refused_in_the_same_words_whether_it_exists(
    client: httpx.Client, roots: Path, tmp_path: Path
) -> None:
    git(tmp_path, "init", "-q")
    (roots / "way out").symlink_to(tmp_path)
    said = set()
    for path in [
        tmp_path,
        tmp_path / "nothing",
        "/",
        "/root",
        "relative",
        "~",
        "",
        roots / "way out",
        f"{roots}/../..",
        f"{roots}x",
        "/proc/self/cwd",
        "file:///etc",
        f"{roots}/\x00",
        "/\ud7ff",
    ]:
        message = refusal(ask(client, repository=str(path)), 403)
        said.add(re.sub(r"repository '.*' is", "repository PATH is", message))
    assert len(said) == 1


def test_a_repository_under_the_roots_is_reviewed(client: httpx.Client, repository: Path) -> None:
    reviewed = review(client, repository=str(repository))
    assert reviewed["state"] == "done", reviewed["error"]
    assert reviewed["title"] == "Change in every way \N{WATER WAVE}"
    assert {("bandit", "crlf.py"), ("bandit", "bare.py"), ("secrets", "latin.py"), ("secrets", "late.cfg")} <= found_by(
        reviewed
    )
    skipped = {one["path"]: one["reason"] for one in reviewed["result"]["skipped"]}
    assert skipped.items() >= {
        "gone.py": "deleted file",
        "module": "submodule",
        "new name.py": "only renamed",
        "picture.bin": "binary file",
        "run.sh": "only its mode changed",
    }.items()  # fmt: skip


def test_the_policy_of_the_base_side_holds_whether_it_is_sent_or_read(client: httpx.Client, roots: Path) -> None:
    policy = "disabled: [B605]\nseverities: {F401: critical}\nignore: [gen/]\nbogus: 1\n"
    sent = review(client, diff=diff_of("a.py", CODE), files={"a.py": CODE}, guidelines={".tidemill.yml": policy})
    folder = roots / "with a policy"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / ".tidemill.yml").write_text(policy)
    commit(folder, "Say how")
    (folder / ".tidemill.yml").write_text("disabled: [F401]\n")
    (folder / "a.py").write_text(CODE.replace("os.system", "os.popen") + "import json\n")
    (folder / "gen").mkdir()
    (folder / "gen" / "b.py").write_text("import json\n")
    commit(folder, "Change")
    read = review(client, repository=str(folder))
    for reviewed in (sent, read):
        assert reviewed["state"] == "done", reviewed["error"]
        assert not [one for one in reviewed["result"]["findings"] if one["rule"] == "B605"]
        assert any(note.startswith(".tidemill.yml, line 4: there is no key `bogus`") for note in notes_of(reviewed))
    assert {(one["path"], one["severity"]) for one in read["result"]["findings"] if one["rule"] == "F401"} == {
        ("a.py", "critical")
    }
    assert {"path": "gen/b.py", "reason": "ignored by .tidemill.yml (gen/)"} in read["result"]["skipped"]


def notes_of(reviewed: dict[str, Any]) -> list[str]:
    notes: list[str] = reviewed["result"]["notes"]
    return notes


@pytest.mark.parametrize("revision", ["HEAD~1", "HEAD~1..HEAD", "HEAD~1...HEAD", "main"])
def test_a_revision_is_reviewed(client: httpx.Client, repository: Path, revision: str) -> None:
    assert review(client, repository=str(repository), revision=revision)["state"] == "done"


@pytest.mark.parametrize(
    ("revision", "status"),
    [
        ("nothing", 404),
        ("f" * 40, 404),
        ("--output=/tmp/x", 404),
        ("HEAD;id", 404),
        ("a..b", 404),
        ("", 400),
        ("HEAD\x00", 400),
        ("HEAD\n", 400),
        ("x" * 501, 400),
    ],
)
def test_a_revision_that_is_not_there_is_said(
    client: httpx.Client, repository: Path, revision: str, status: int
) -> None:
    refusal(ask(client, repository=str(repository), revision=revision), status)


def test_a_folder_under_the_roots_that_is_no_repository_is_said(client: httpx.Client, roots: Path) -> None:
    (roots / "plain").mkdir()
    assert "no git repository" in refusal(ask(client, repository=str(roots / "plain")), 400)
    assert "no git repository" in refusal(ask(client, repository=str(roots / "nothing")), 400)


@pytest.mark.parametrize(
    ("diff", "files", "engines"),
    [
        pytest.param("", {}, set(), id="empty"),
        pytest.param(diff_of("a.py", CODE), {"a.py": CODE}, {("bandit", "a.py")}, id="a new file"),
        pytest.param(
            diff_of("a.py", CODE.replace("\n", "\r\n")), {"a.py": CODE.replace("\n", "\r\n")}, {("bandit", "a.py")},
            id="lines that end in CRLF",
        ),
        pytest.param(
            diff_of("a.py", CODE).replace("\n", "\r\n"), {"a.py": CODE}, {("bandit", "a.py")}, id="a diff in CRLF"
        ),
        pytest.param(
            diff_of("a.py", CODE) + "\\ No newline at end of file\n", {"a.py": CODE.rstrip()}, {("bandit", "a.py")},
            id="no newline at the end",
        ),
        pytest.param(
            "diff --git a/p.png b/p.png\nindex 1111111..2222222 100644\nBinary files a/p.png and b/p.png differ\n",
            {}, set(), id="binary",
        ),
        pytest.param(
            "diff --git a/p.png b/p.png\nindex 1111111..2222222 100644\nGIT binary patch\nliteral 3\nKcmZQzWMT#Y01f~L\n"
            "\nliteral 0\nHcmV?d00001\n\n", {}, set(), id="a binary patch",
        ),
        pytest.param(
            "diff --git a/a.py b/b.py\nsimilarity index 100%\nrename from a.py\nrename to b.py\n", {}, set(),
            id="rename",
        ),
        pytest.param("diff --git a/a.sh b/a.sh\nold mode 100644\nnew mode 100755\n", {}, set(), id="mode"),
        pytest.param(
            "diff --git a/lib b/lib\nindex 1111111..2222222 160000\n--- a/lib\n+++ b/lib\n@@ -1 +1 @@\n"
            f"-Subproject commit {'1' * 40}\n+Subproject commit {'2' * 40}\n", {}, set(), id="submodule",
        ),
        pytest.param(
            diff_of("a.txt", f"key = '{TOKEN}' \x00\x1b[31m"), {"\x00": "\x00"}, {("secrets", "a.txt")}, id="NUL"
        ),
        pytest.param(
            diff_of('"b/\\303\\251.txt"', f"key = '{TOKEN}'").replace('a/"b/', '"a/').replace('b/"b/', '"b/'), {},
            {("secrets", "\xe9.txt")}, id="a quoted path",
        ),
        pytest.param(diff_of("a.py", "def f(:\n"), {"a.py": "def f(:\n"}, {("ruff", "a.py")}, id="a syntax error"),
        pytest.param(diff_of("a.py", CODE), {"a.py": "other = 1\n"}, set(), id="files that do not fit the diff"),
        pytest.param(diff_of("a.py", CODE), {"../../b.py": CODE, "/etc/c.py": CODE}, set(), id="files not in the diff"),
    ],
)  # fmt: skip
def test_every_kind_of_change_is_reviewed(
    client: httpx.Client, diff: str, files: dict[str, str], engines: set[tuple[str, str]]
) -> None:
    reviewed = review(client, diff=diff, files=files)
    assert reviewed["state"] == "done", reviewed["error"]
    assert found_by(reviewed) >= engines
    if not engines:
        assert found_by(reviewed) == set()


@pytest.mark.parametrize(
    "path", ["../../outside.py", "/etc/outside.py", "a/../../outside.py", "C:/outside.py", "..\\o.py"]
)
def test_a_path_that_leads_out_of_the_repository_is_noted_and_hides_nothing_of_the_others(
    client: httpx.Client, path: str
) -> None:
    reviewed = review(client, diff=diff_of(path, CODE) + diff_of("b.py", CODE), files={path: CODE, "b.py": CODE})
    assert reviewed["state"] == "done", reviewed["error"]
    assert any("no path inside a repository" in note for note in notes_of(reviewed)), notes_of(reviewed)
    assert {one["path"] for one in reviewed["findings"] if one["engine"] in {"bandit", "ruff", "semgrep"}} == {"b.py"}


def test_a_diff_over_the_limit_is_refused_with_both_numbers(client: httpx.Client) -> None:
    diff = diff_of("a.txt", "x" * 99 + "\n" + ("x" * 99 + "\n") * 120_000)
    message = refusal(ask(client, diff=diff), 413)
    assert f"{len(diff):,}" in message
    assert f"{LIMIT:,}" in message


def test_a_file_over_the_limit_is_refused_with_both_numbers(client: httpx.Client) -> None:
    message = refusal(ask(client, diff=diff_of("a.py", CODE), files={"a.py": "#" * 1_000_001}), 413)
    assert "1,000,001" in message
    assert "1,000,000" in message


def test_a_commit_over_the_limit_is_refused_with_both_numbers(client: httpx.Client, roots: Path) -> None:
    folder = roots / "large"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.txt").write_text(("x" * 99 + "\n") * 120_000)
    commit(folder, "Much")
    message = refusal(ask(client, repository=str(folder)), 413)
    assert f"{LIMIT:,}" in message
    assert "12,1" in message


@pytest.mark.unmeasured
def test_a_large_diff_under_the_limit_is_reviewed(client: httpx.Client) -> None:
    text = "".join(f"value_{n} = {n}\n" for n in range(100_000))
    reviewed = review(client, diff=diff_of("a.txt", text))
    assert reviewed["state"] == "done", reviewed["error"]


def test_what_was_accepted_can_be_listed_and_followed(client: httpx.Client) -> None:
    made = review(client, diff=diff_of("a.py", CODE), files={"a.py": CODE}, title="A title \x00 \N{WATER WAVE}")
    assert made["title"] == "A title \N{REPLACEMENT CHARACTER} \N{WATER WAVE}"
    listed = client.get("/v1/reviews", params={"limit": 1}).json()["data"]
    assert [one["id"] for one in listed] == [made["id"]]
    events = client.get(f"/v1/reviews/{made['id']}/events").text
    assert [line for line in events.splitlines() if line.startswith("event: ")][-1] == "event: finished"
    assert json.loads(events.strip().splitlines()[-1].removeprefix("data: "))["findings"] == len(made["findings"])


def test_many_reviews_of_a_repository_at_once_are_all_accepted(client: httpx.Client, repository: Path) -> None:
    """git often ends before its standard input is looked at."""
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: ask(client, repository=str(repository), revision="nothing"), range(40)))
    assert {answer.status_code for answer in answers} == {404}
