"""Data that goes from one Python function to another."""

import pytest

from tidemill.analysis import flow as analysis_flow
from tidemill.review.engines import FlowEngine
from tidemill.review.engines import flow as engine


async def found(files: dict[str, str]) -> list[tuple[str, str, int]]:
    return [(one.rule, one.path, one.line) for one in (await FlowEngine().read(files)).remarks]


async def test_a_function_that_passes_its_arguments_on_to_itself_in_another_order_is_followed() -> None:
    text = """\
from urllib.request import urlopen


def ask(url, referer=None):
    page = urlopen(url)
    if page.status == 302:
        return ask(referer, url)
    return page


def view(request):
    return ask("https://a.example", request.args["u"])
"""
    assert await found({"a.py": text}) == [("python-ssrf", "a.py", 5)]


SINKS = """\
import subprocess

import requests
from subprocess import Popen


def shell(command):
    subprocess.run(command, shell=True)


def listed(command):
    Popen(["sh", "-c", command])


def asked(url):
    with requests.Session() as session:
        return session.get(url)


def plain(command):
    subprocess.run(["git", "log", command])


def queued(task, name):
    task.execute(name)
"""


async def test_shells_and_sessions_are_sinks_in_other_files_too_and_plain_commands_and_tasks_are_not() -> None:
    calls = ("shell", "listed", "asked", "plain")
    web = "from flask import request\nfrom pkg.tools import *\nfrom pkg import tools\n\n\ndef view(task):\n"
    web += "".join(f'    tools.{name}(request.args["a"])\n' for name in calls)
    web += '    tools.queued(task, request.args["a"])\n'
    assert await found({"pkg/tools.py": SINKS, "pkg/web.py": web}) == [
        ("python-command-injection", "pkg/tools.py", 8),
        ("python-command-injection", "pkg/tools.py", 12),
        ("python-ssrf", "pkg/tools.py", 17),
    ]


async def test_a_name_alone_makes_nothing_harmless() -> None:
    text = """\
import os


def cleanup(x):
    return x


def run(command):
    os.system(command)


def view(request):
    run(cleanup(request.args["a"]))


def view_number(request):
    run(int(request.args["a"]))
"""
    assert await found({"a.py": text}) == [("python-command-injection", "a.py", 9)]


async def test_parameters_of_a_route_come_from_outside_where_their_type_lets_them() -> None:
    text = """\
import os


def run(command):
    os.system(command)


@app.route("/a/<name>")
def a(name):
    run(name)


@api.get("/b/{name}")
async def b(name: str, limit: int):
    run(name)


@api.get("/c")
def c(limit: int, service=Depends(served)):
    run(limit)
    run(service)


@cached("/d")
def d(name):
    run(name)
"""
    reading = await FlowEngine().read({"a.py": text})
    assert [(one.trace[0].line, one.line) for one in reading.remarks] == [(9, 5), (14, 5)]


async def test_a_request_of_the_programs_own_type_is_no_source() -> None:
    text = """\
import os


def run(command):
    os.system(command)


def search(request: Search):
    run(request.query)


def view(request: Request):
    run(request.query)
"""
    reading = await FlowEngine().read({"a.py": text})
    assert [one.trace[0].line for one in reading.remarks] == [13]


async def test_a_function_in_which_too_much_comes_together_is_named_and_the_others_are_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(analysis_flow, "_MOST_ORIGINS", 5000)
    names = [f"a{number}" for number in range(100)]
    body = f"    x = {' + '.join(names)}\n" + "    x = x\n" * 100
    much = f"def much({', '.join(names)}):\n{body}    return x\n"
    files = {"much.py": much, "run.py": "def run(c):\n    eval(c)\n", "web.py": "from run import run\n\n\n"}
    files["web.py"] += "def view(request):\n    return run(request.args['c'])\n"
    reading = await FlowEngine().read(files)
    assert [(one.path, one.line) for one in reading.remarks] == [("run.py", 2)]
    (note,) = reading.notes
    assert note.startswith("flow did not follow the function at much.py:1:")
    assert reading.unread == {"much.py"}


async def test_a_language_that_can_not_be_followed_hides_nothing_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def deep(*_: object) -> list[object]:
        raise RecursionError

    readers = {deep if ".go" in suffixes else read: suffixes for read, suffixes in engine._READERS.items()}
    monkeypatch.setattr(engine, "_READERS", readers)
    text = "def run(c):\n    eval(c)\n\n\ndef view(request):\n    return run(request.args['c'])\n"
    reading = await FlowEngine().read({"a.go": "package a\n", "a.py": text})
    assert [(one.path, one.line) for one in reading.remarks] == [("a.py", 2)]
    assert reading.notes == ("flow followed nothing in files of .go: one is nested too deeply.",)
    assert reading.unread == {"a.go"}


CHECKS = [
    "if n not in {'a', 'b'}:\n        raise ValueError(n)",
    "if n not in ('a', 'b') or m:\n        abort(400)",
    "if not (n in SORTS and m):\n        return None",
    "known = ['a', 'b']\n    if n not in known:\n        return None",
    "if n != 'a':\n        n = 'b'",
    "if not n.isalnum():\n        flask.abort(404)",
    "if not re.fullmatch(r'[a-z_]+', n):\n        raise ValueError",
    "n = n if n in config.SORTS else 'a'",
    "n = 'a' if n not in SORTS.keys() else n",
]
NO_CHECKS = [
    "if n in SORTS:\n        raise ValueError(n)",
    "if n not in SORTS:\n        log(n)",
    "if n not in SORTS and m:\n        return None",
    "if n not in request.args['all']:\n        return None",
    "if n not in {'a', f'{m}'}:\n        return None",
    "if 'a' not in n:\n        return None",
    "if not re.fullmatch(r'[a-z ]+', n):\n        raise ValueError",
    "if not re.match(r'[a-z]+', n):\n        raise ValueError",
    "if n not in SORTS:\n        abort(400)\n    else:\n        log(n)",
    "n = n if n not in SORTS else 'a'",
]


@pytest.mark.parametrize("code", CHECKS)
async def test_a_name_that_was_held_against_a_list_or_a_pattern_is_harmless(code: str) -> None:
    assert await found(checked(code)) == []


@pytest.mark.parametrize("code", NO_CHECKS)
async def test_a_condition_that_lets_anything_through_makes_nothing_harmless(code: str) -> None:
    assert await found(checked(code)) == [("python-sql-injection", "db.py", 2)]


@pytest.mark.parametrize("nested", ["n in SORTS", "m or n in SORTS", "not n in SORTS", "n == 'a' and n in SORTS"])
async def test_a_name_is_harmless_where_a_condition_holds_and_not_behind_it(nested: str) -> None:
    inside = checked(f"if {nested}:\n        find(n)\n        n = 'a'\n    else:\n        n = 'a'")
    harmless = nested in ("n in SORTS", "n == 'a' and n in SORTS")
    assert await found(inside) == ([] if harmless else [("python-sql-injection", "db.py", 2)])
    behind = checked(f"if {nested}:\n        log(n)")
    assert await found(behind) == [("python-sql-injection", "db.py", 2)]


def checked(code: str) -> dict[str, str]:
    view = (
        f"from db import find\n\n\ndef view(request, m):\n    n = request.args['n']\n    {code}\n    return find(n)\n"
    )
    return {"web.py": view, "db.py": "def find(n):\n    db.execute('select 1 order by ' + n)\n"}
