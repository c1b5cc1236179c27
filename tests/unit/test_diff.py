"""What a person gets from a diff that git, or anything else, made."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.analysis.diff import parse_diff, unquote_path
from tidemill.core.change import ChangeKind, Diff, FileDiff, LineKind
from tidemill.core.errors import InvalidInput


def only(text: str) -> FileDiff:
    diff = parse_diff(text)
    assert len(diff.files) == 1
    return diff.files[0]


def git(header: str, body: str = "@@ -1 +1 @@\n-a\n+b\n") -> str:
    return f"diff --git {header}\n{body}"


def test_an_empty_diff_has_no_files() -> None:
    assert parse_diff("") == Diff(())
    assert parse_diff("\n \n") == Diff(())


def test_a_text_without_a_diff_is_refused_and_not_taken_for_no_change() -> None:
    with pytest.raises(InvalidInput, match="no unified diff"):
        parse_diff("hello\nthere\n")


def test_lines_get_their_numbers_on_both_sides() -> None:
    file = only("--- a/x.py\n+++ b/x.py\n@@ -3,3 +3,4 @@ def f():\n a\n-b\n+B\n+C\n d\n")
    hunk = file.hunks[0]
    assert (file.path, file.old_path, file.kind, hunk.section) == ("x.py", "x.py", ChangeKind.MODIFIED, "def f():")
    assert [(line.kind.value, line.text, line.old, line.new) for line in hunk.lines] == [
        ("context", "a", 3, 3),
        ("removed", "b", 4, None),
        ("added", "B", None, 4),
        ("added", "C", None, 5),
        ("context", "d", 5, 6),
    ]
    assert file.changed_lines == {4, 5}


def test_lines_that_look_like_headers_inside_a_hunk_are_lines() -> None:
    text = (
        "diff --git a/q.sql b/q.sql\n--- a/q.sql\n+++ b/q.sql\n"
        "@@ -1,3 +1,3 @@\n--- x\n-@@ -1 +1 @@\n-diff --git a/b b/c\n+++ y\n+@@@ -1 -1 +1 @@@\n+++ b/z\n"
        "diff --git a/r b/r\n--- a/r\n+++ b/r\n@@ -1 +1 @@\n-1\n+2\n"
    )
    diff = parse_diff(text)
    assert [file.path for file in diff.files] == ["q.sql", "r"]
    assert [line.text for line in diff.files[0].hunks[0].removed] == ["-- x", "@@ -1 +1 @@", "diff --git a/b b/c"]
    assert [line.text for line in diff.files[0].hunks[0].added] == ["++ y", "@@@ -1 -1 +1 @@@", "++ b/z"]


@pytest.mark.parametrize(
    ("header", "path", "old", "kind"),
    [
        ("a/n b/n\nnew file mode 100644\nindex 000..111\n--- /dev/null\n+++ b/n", "n", None, ChangeKind.ADDED),
        ("a/n b/n\ndeleted file mode 100755\nindex 111..000\n--- a/n\n+++ /dev/null", "n", "n", ChangeKind.DELETED),
        (
            "a/o p b/n q\nsimilarity index 90%\nrename from o p\nrename to n q\n--- a/o p\t\n+++ b/n q\t",
            "n q",
            "o p",
            ChangeKind.RENAMED,
        ),
        (
            "a/o b/n\nsimilarity index 90%\ncopy from o\ncopy to n\nindex 1..2 100644\n--- a/o\n+++ b/n",
            "n",
            "o",
            ChangeKind.COPIED,
        ),
        ("x/y x/y\n--- x/y\n+++ x/y", "x/y", "x/y", ChangeKind.MODIFIED),
        ("b/y b/y\nnew file mode 100644\n--- /dev/null\n+++ b/y", "b/y", None, ChangeKind.ADDED),
        ("i/y w/y\n--- i/y\n+++ w/y", "y", "y", ChangeKind.MODIFIED),
        ("a/x b/x b/x b/x\n--- a/x b/x\t\n+++ b/x b/x\t", "x b/x", "x b/x", ChangeKind.MODIFIED),
        ("old/y new/y\n--- old/y\n+++ new/y", "new/y", "old/y", ChangeKind.MODIFIED),
    ],
)
def test_paths_and_kinds(header: str, path: str, old: str | None, kind: ChangeKind) -> None:
    file = only(git(header))
    assert (file.path, file.old_path, file.kind, len(file.hunks)) == (path, old, kind, 1)


def test_quoted_paths_are_their_bytes_as_utf_8() -> None:
    name = '/\\304\\221\\306\\260\\341\\273\\235ng \\"x\\"\\t.py"'
    assert only(git(f'"a{name} "b{name}')).path == 'đường "x"\t.py'
    assert unquote_path('"a\\\\\\377b"') == "a\\\ufffdb"
    assert unquote_path("with space\t2024-01-01") == "with space"


def test_a_pure_rename_and_a_mode_change_have_no_hunks() -> None:
    renamed = only("diff --git a/o b/n\nsimilarity index 100%\nrename from o\nrename to n\n")
    moded = only("diff --git a/s b/s\nold mode 100644\nnew mode 100755\n")
    assert (renamed.kind, renamed.hunks) == (ChangeKind.RENAMED, ())
    assert (moded.kind, moded.old_mode, moded.new_mode) == (ChangeKind.MODE, "100644", "100755")


def test_binary_files_are_named_and_not_read() -> None:
    plain = "diff --git a/i.png b/i.png\nindex 1..2 100644\nBinary files a/i.png and b/i.png differ\n"
    patch = "diff --git a/i b/i\nindex 1..2 100644\nGIT binary patch\nliteral 3\nKcmZQ%00\n\nliteral 2\nJcmZQ%\n\n"
    bare = "Binary files old.png and new.png differ\n"
    for text, path in ((plain, "i.png"), (patch + plain, "i"), (bare, "new.png")):
        file = parse_diff(text).files[0]
        assert (file.binary, file.path, file.hunks) == (True, path, ())
    assert len(parse_diff(patch + plain).files) == 2


def test_submodules_are_marked() -> None:
    body = "@@ -1 +1 @@\n-Subproject commit 1111111\n+Subproject commit 2222222\n"
    assert only(git("a/lib b/lib\nindex 1111111..2222222 160000\n--- a/lib\n+++ b/lib", body)).submodule
    assert only("--- a/lib\n+++ b/lib\n" + body).submodule
    assert only("Submodule lib 1111111..2222222:\n  > commit title\n").submodule


def test_carriage_returns_and_missing_newlines_stay_out_of_the_text_and_are_not_lost() -> None:
    file = only("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-a\r\n+b\r\n c\n\\ No newline at end of file\n")
    assert [(line.text, line.eol) for line in file.hunks[0].lines] == [("a", "\r\n"), ("b", "\r\n"), ("c", "")]


def test_a_patch_whose_every_line_ends_with_a_carriage_return_is_read() -> None:
    text = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@ f()\n-a\n+b\n".replace("\n", "\r\n")
    assert (only(text).path, only(text).hunks[0].section) == ("x", "f()")


def test_form_feeds_and_line_separators_do_not_break_lines() -> None:
    assert only("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\x0cb\n+c\u2028d\x85e\n").hunks[0].added[0].text == "c\u2028d\x85e"


def test_a_mail_around_the_diff_is_left_out() -> None:
    text = (
        "From 1234 Mon Sep 17 00:00:00 2001\nFrom: A <a@b>\nSubject: [PATCH] x\n\nText -- y\n---\n x | 2 +-\n\n"
        "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n-- \n2.39.5\n\n"
    )
    assert len(only(text).hunks[0].lines) == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-a\n+b\n", "Line 3"),
        ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n+c\n", "Line 6"),
        ("--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n-a\n+b\n+c\n-d\n", "Line 6"),
        ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n*b\n", "Line 5"),
        ("--- a/x\n+++ b/x\n@@ -x +1 @@\n-a\n", "Line 3"),
        ("intro\n@@ -1 +1 @@\n-a\n+b\n", "Line 2"),
        ("diff --cc x\n@@@ -1 -1 +1 @@@\n", "Line 1.*combined"),
        ("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@@ -1 -1 +1 @@@\n", "Line 4.*combined"),
        ("diff --git \n@@ -1 +1 @@\n-a\n+b\n", "Line 1.*path"),
        ("--- a/x\n+++ b/x\n@@ -1,999999999 +1 @@\n-a\n", "Line 3"),
    ],
)
def test_what_is_malformed_is_refused_with_the_line(text: str, line: str) -> None:
    with pytest.raises(InvalidInput, match=f"(?s){line}"):
        parse_diff(text)


@pytest.mark.timeout(60)
def test_ten_megabytes_are_read_in_a_time_that_grows_with_length_alone() -> None:
    body = "".join(f"+line {number} of some ordinary code, as it is\n" for number in range(220_000))
    text = f"diff --git a/x b/x\n--- /dev/null\n+++ b/x\n@@ -0,0 +1,220000 @@\n{body}"
    assert len(only(text).hunks[0].added) == 220_000


def apply(old: str, file: FileDiff | None) -> str:
    """What `patch` would make of `old`."""
    if file is None:
        return old
    source = old.split("\n")
    lines = [line + "\n" for line in source[:-1]] + ([source[-1]] if source[-1] else [])
    result, at = list[str](), 0
    for hunk in file.hunks:
        start = hunk.old_start - 1 if hunk.old_count else hunk.old_start
        result += lines[at:start]
        at = start
        for line in hunk.lines:
            if line.kind is not LineKind.ADDED:
                assert lines[at] == line.text + line.eol
                at += 1
            if line.kind is not LineKind.REMOVED:
                result.append(line.text + line.eol)
    return "".join(result + lines[at:])


TEXT = st.lists(
    st.sampled_from(
        ["a", "b", "", "-- x", "++ y", "@@ -1 +1 @@", "diff --git a/x b/x", "c\r", "\x0c", "đ\u2028", "\\ No"]
    ),
    max_size=25,
).flatmap(lambda lines: st.sampled_from(["\n".join(lines), "\n".join(lines) + "\n" if lines else ""]))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=TEXT, new=TEXT, context=st.integers(0, 3))
def test_applying_what_was_read_gives_the_new_text_exactly(tmp_path: Path, old: str, new: str, context: int) -> None:
    for name, text in (("old", old), ("new", new)):
        (tmp_path / name).write_bytes(text.encode())
    command = ["git", "diff", "--no-index", "--text", f"-U{context}", "old", "new"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert done.returncode in (0, 1)
    diff = parse_diff(done.stdout.decode())
    assert apply(old, diff.files[0] if diff.files else None) == new
