"""Which functions Go's calls mean, and what hostile code costs."""

import time

import pytest

from tidemill.review.engines import FlowEngine

RUN = 'import "os/exec"\n\nfunc Run(command string) { exec.Command("sh", "-c", command).Run() }\n'


async def found(files: dict[str, str]) -> list[tuple[str, str, int]]:
    return [(one.rule, one.path, one.line) for one in (await FlowEngine().read(files)).remarks]


async def test_functions_of_several_systems_variable_arguments_and_type_arguments_are_followed() -> None:
    run = """\
package run

import "os/exec"

func All(dir string, commands ...string) {
	for _, one := range commands {
		start(one)
	}
}

func First[T any](all ...T) T { return all[0] }
"""
    start = 'package run\n\nimport "os/exec"\n\nfunc start(name string) { exec.Command(name).Run() }\n'
    web = """\
package web

import (
	"net/http"

	"a.example/app/run"
)

func show(w http.ResponseWriter, r *http.Request) {
	run.All(r.FormValue("dir"), "ls", run.First[string](r.FormValue("a")))
}

func hide(w http.ResponseWriter, r *http.Request) {
	run.All(r.FormValue("dir"), "ls", "who")
}
"""
    files = {"run/run.go": run, "run/start_linux.go": start, "run/start_darwin.go": start, "web/web.go": web}
    reading = await FlowEngine().read(files)
    assert [(one.rule, one.path, one.line, one.trace[0].line) for one in reading.remarks] == [
        ("go-command-injection", "run/start_linux.go", 5, 10),
    ]


async def test_an_import_means_the_folder_of_the_module_and_no_other_of_its_name() -> None:
    run = f"package run\n\n{RUN}"
    web = """\
package web

import (
	"net/http"
	"IMPORT"
)

func f(w http.ResponseWriter, r *http.Request) { run.Run(r.FormValue("a")) }
"""
    other = 'package other\n\nimport (\n\t"MODULE/web"\n\t"MODULE/other"\n)\n'

    async def count(imported: str, module: str = "a.example/app", **more: str) -> int:
        files = {
            "run/run.go": run,
            "web/web.go": web.replace("IMPORT", imported),
            "other/o.go": other.replace("MODULE", module),
        }
        return len(await found({**files, **{f"{name}/run/run.go": text for name, text in more.items()}}))

    assert await count("a.example/app/run") == 1
    assert await count("b.example/lib/run") == 0
    assert await count("b.example/app/v2/internal/run", "b.example/app/v2", internal=run) == 1
    assert await count("run") == 0
    assert await found({"os/run.go": run, "web/web.go": web.replace("IMPORT", "os").replace("run.Run", "os.Run")}) == []


async def test_values_go_through_results_receivers_and_closures_of_other_files() -> None:
    model = """\
package model

type Person struct {
	Name string
	Age  int
}

func (p Person) Greeting() string { return "hello " + p.Name }

func Split(text string) (first string, count int, err error) {
	first = text
	return
}

func Wrong(text string) (string, error) { return "", fmt.Errorf("no %s", text) }
"""
    web = f"""\
package web

import (
	"net/http"
	"os/exec"

	"a.example/app/model"
)

{RUN.partition("func")[1]}{RUN.partition("func")[2]}
func greet(w http.ResponseWriter, r *http.Request) {{
	person := model.Person{{Name: r.FormValue("a")}}
	Run(person.Greeting())
}}

func split(w http.ResponseWriter, r *http.Request) {{
	first, count, err := model.Split(r.FormValue("a"))
	Run(first)
}}

func wrong(w http.ResponseWriter, r *http.Request) {{
	text, err := model.Wrong(r.FormValue("a"))
	Run(text)
}}
"""
    reading = await FlowEngine().read({"model/model.go": model, "web/web.go": web})
    assert [one.trace[0].line for one in reading.remarks] == [13, 18]


@pytest.mark.parametrize(
    "text",
    [
        "a := " + "f(" * 3000 + ")" * 3000,
        "a := " + "(" * 3000 + ")" * 3000,
        "a" + ".b()" * 3000,
        "a := r.FormValue(`x`)" + ' + "a" + x' * 5000,
        "if x { " * 1500 + "}" * 1500,
        "if x {} " + "else if x {} " * 2000,
        "f(" + "x, " * 15000 + "x)",
        'fmt.Sprintf("' + "%0" * 20000 + "0" * 100000 + '", x)',
        "x" * 400_000 + ".Query(x)",
        'db.Query("' + "<" * 400_000,
        "var " + ", ".join(f"a{number}" for number in range(5000)) + " = f()",
        "func() { " * 1500 + "}()" * 1500,
        "\0\ud800 := \x1b",
        "a.b.c = T{" + "x: T{" * 2000,
        "for { x := x; x = f(x) }\n" * 1000,
    ],
)
async def test_hostile_code_takes_seconds_and_raises_nothing(text: str) -> None:
    web = (
        'package web\n\nimport (\n"net/http"\n"fmt"\n)\n\nfunc f(w http.ResponseWriter, r *http.Request, x string) {\n'
        + text
        + "\n}\n"
    )
    began = time.process_time()
    reading = await FlowEngine().read({"a/web.go": web, "b/web.go": web})
    assert time.process_time() - began < 10
    assert all(one.rule.startswith("go-") for one in reading.remarks)


DEEP = [
    "a := " + "(" * 3000 + "x" + ")" * 3000,
    "a := " + "func() { b := " * 3000 + "1" + " }" * 3000,
    "a := x" + ".b" * 3000,
    "a := x" + "[0]" * 3000,
    "a := x" + ".b()" * 3000,
    "a := x" + ".(T)" * 3000,
    "a := 1" + " - 1" * 3000,
    "a := " + "x + (" * 3000 + "x" + ")" * 3000,
    "a := " + "&" * 3000 + "x",
    "a := " + "T{{" * 3000 + "}}" * 3000,
    "a := " + "g[int](" * 3000 + "x" + ")" * 3000,
    "if x == `a`" + " && x == `a`" * 3000 + " {}",
    "if " + "x == `a` && (x != `a` || " * 1500 + "x" + ")" * 1500 + " {}",
    "if " + "!" * 3000 + "x {}",
    "if " + "f(" * 3000 + "x" + ")" * 3000 + " {}",
    "if x == `a` {" * 3000 + "}" * 3000,
    "switch x { case `a`: " * 3000 + "}" * 3000,
    "switch " + "string(" * 3000 + "x" + ")" * 3000 + " {}",
    "for {" * 3000 + "}" * 3000,
]
FLAT = [
    "var a " + "[]" * 6000 + "string",
    "var a " + "map[string]" * 6000 + "string",
    "var a " + "map[" * 6000 + "string" + "]string" * 6000,
    "a := x" + " + x" * 3000,
    "if x == `a` {}" + " else if x == `a` {}" * 3000,
]


@pytest.mark.parametrize(("text", "read"), [*((one, False) for one in DEEP), *((one, True) for one in FLAT)])
async def test_of_code_that_is_nested_too_deeply_the_file_is_named_and_all_else_is_read(text: str, read: bool) -> None:
    other = "func open(n string) { os.Open(n) }\n\n"
    other += 'func show(w http.ResponseWriter, r *http.Request) { open(r.FormValue("a")) }\n'
    head = 'package web\n\nimport (\n"net/http"\n"os"\n)\n\n'
    deep = f"{head}func f(x string) {{\n{text}\n}}\n\n{other}"
    reading = await FlowEngine().read({"a/web.go": deep, "b/web.go": head + other})
    assert reading.unread == (frozenset() if read else {"a/web.go"})
    found = {one.path for one in reading.remarks}
    assert "b/web.go" in found
    assert not read or "a/web.go" in found


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"x.f{one}=y; x=T{{}}\n" for one in range(8000)),
        "if x == y {}" + "".join(f" else if v{one} := x; v{one} != `` {{}}" for one in range(10_000)),
        "".join(f"a{one} := x\nif !m[a{one}] {{ return }}\n" for one in range(5000)),
    ],
)
async def test_long_code_takes_time_as_it_is_long(text: str) -> None:
    web = f'package web\n\nimport "net/http"\n\nfunc f(r *http.Request, x T, y string) {{\n{text}\n}}\n'
    began = time.process_time()
    assert not (await FlowEngine().read({"a/web.go": web})).unread
    assert time.process_time() - began < 8


async def test_functions_types_and_packages_that_go_round_in_circles_end() -> None:
    web = """\
package a

import (
	"net/http"
	"os"

	"x.example/m/b"
)

type T struct { *T; I; U }
type U struct { T }
type I interface { I; J; Again(x string) }
type J interface { I }
type K = K
type L L

var v = w
var w = v

func (t T) Again(x string) { t.Again(x); t.I.Again(x); v.Again(x); os.Remove(x) }

func again(x, y string) { if x != "" { again(y, x); b.Back(x) }; os.Open(x) }

func show(w http.ResponseWriter, r *http.Request) {
	again("", r.FormValue("y"))
	var t T
	t.U.T.Again(r.FormValue("z"))
	var k K
	var l L
	k.x(l)
}
"""
    back = 'package b\n\nimport "x.example/m/a"\n\nfunc Back(x string) { a.Again(x) }\n'
    files = {"a/a.go": web, "b/b.go": back}
    assert await found(files) == [("go-path-traversal", "a/a.go", 20), ("go-path-traversal", "a/a.go", 22)]


async def test_a_file_that_does_not_parse_is_read_as_far_as_it_does_and_named() -> None:
    web = """\
package a

import (
	"net/http"
	"os"
)

func remove(x string) { os.Remove(x) }

func show(w http.ResponseWriter, r *http.Request) { remove(r.FormValue("y")) }

func broken( {{{
"""
    reading = await FlowEngine().read({"a/a.go": web, "b.go": ""})
    assert [(one.rule, one.line) for one in reading.remarks] == [("go-path-traversal", 8)]
    assert reading.unread == {"a/a.go"}
