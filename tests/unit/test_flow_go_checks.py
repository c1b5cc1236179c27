"""Values that Go's code holds against what it allows before it uses them."""

import pytest

from tidemill.review.engines import FlowEngine

STORE = """\
package web

import (
	"database/sql"
	"os"
)

var db *sql.DB

func find(n string) { db.Query("SELECT * FROM people ORDER BY " + n) }

func read(n string) { os.ReadFile(n) }
"""

WEB = """\
package web

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const descending = "desc"

var allowed = map[string]bool{"asc": true, "desc": true}
var columns = map[string]string{"asc": "ASC"}
var plain = regexp.MustCompile("^[a-z]+$")
var changing = "asc"
var ErrWrong = errors.New("wrong")

type Server struct{ root string }

HELPERS

func (s *Server) show(w http.ResponseWriter, r *http.Request) error {
	n, other := r.FormValue("n"), r.FormValue("other")
	CALL
	return nil
}
"""


async def kinds(call: str, helpers: str = "") -> list[str]:
    web = WEB.replace("CALL", call.replace("\n", "\n\t")).replace("HELPERS", helpers)
    reading = await FlowEngine().read({"web/store.go": STORE, "web/web.go": web})
    assert not reading.unread
    return [one.rule for one in reading.remarks]


CLEAN = [
    "if !allowed[n] { return nil }\nfind(n)",
    "if !allowed[strings.ToLower(n)] { return nil }\nfind(n)",
    "if allowed[n] { find(n) }",
    "if ok := allowed[n]; !ok { return nil }\nfind(n)",
    "if _, ok := columns[n]; !ok { return nil }\nfind(n)",
    "_, ok := columns[n]\nif ok { find(n) }",
    'if columns[n] == "" { return nil }\nfind(n)',
    "if !allowed[n] { panic(n) }\nfind(n)",
    'if !allowed[n] { n = "asc" }\nfind(n)',
    'switch n {\ncase "asc", descending:\ndefault: return nil\n}\nfind(n)',
    'switch n {\ncase "asc":\ncase "desc":\ndefault: n = "asc"\n}\nfind(n)',
    'switch n {\ncase "asc": find(n)\n}',
    'switch strings.ToUpper(n) {\ncase "ASC": find(n)\n}',
    'switch {\ncase n == "asc", n == "desc":\ndefault: return nil\n}\nfind(n)',
    "switch {\ncase !allowed[n]: return nil\n}\nfind(n)",
    'if n != "asc" && n != "desc" { n = "asc" }\nfind(n)',
    'if n != "asc" && n != descending { return nil }\nfind(n)',
    'if n == "asc" || n == "desc" { find(n) }',
    'if n == "asc" { find(n) } else if n == "desc" { find(n) } else { return nil }\nfind(n)',
    'if n == "asc" { n = "ASC" } else { n = "DESC" }\nfind(n)',
    'if !(n == "asc" || n == "desc") { return nil }\nfind(n)',
    "if len(n) > 3 || !plain.MatchString(n) { return nil }\nfind(n)",
    'if n != "" && !plain.MatchString(n) { return nil }\nfind(n)',
    "ok := plain.MatchString(n)\nif !ok { return nil }\nfind(n)",
    'if ok, _ := regexp.MatchString("^[a-z]+$", n); !ok { return nil }\nfind(n)',
    'if !slices.Contains([]string{"asc"}, n) { return nil }\nfind(n)',
    'if !strings.EqualFold(n, "asc") { return nil }\nfind(n)',
    "for _, one := range []string{n, other} {\nif !allowed[one] { continue }\nfind(one)\n}",
    'p := filepath.Join("/srv", n)\nif !strings.HasPrefix(p, "/srv/") { return nil }\nread(p)',
    "p := filepath.Join(s.root, n)\nif strings.HasPrefix(p, s.root + string(filepath.Separator)) { read(p) }",
    "p := filepath.Clean(n)\nif !strings.HasPrefix(p, s.root) { return nil }\nread(p)",
    'p, err := filepath.Abs(n)\nif err != nil || !strings.HasPrefix(p, "/srv/") { return nil }\nread(p)',
    'if strings.Contains(n, "..") { return nil }\nread(n)',
    'if strings.ContainsAny(n, "/\\\\") { return nil }\nread(n)',
    "if strings.ContainsRune(n, '/') { return nil }\nread(n)",
    "if !filepath.IsLocal(n) { return nil }\nread(n)",
]

FOUND = [
    "if !allowed[n] { find(other) }\nfind(n)",
    "if !allowed[n] { return nil }\nfind(other)",
    "if allowed[n] { return nil }\nfind(n)",
    "if allowed[n] { fmt.Println(n) }\nfind(n)",
    "if other == other { if !allowed[n] { return nil } }\nfind(n)",
    "if !allowed[n] { return nil }\nn = r.FormValue(`m`)\nfind(n)",
    "ok := allowed[n]\nn = other\nif !ok { return nil }\nfind(n)",
    "ok := true\nif len(n) > 3 { ok = allowed[n] }\nif !ok { return nil }\nfind(n)",
    "func() { if !allowed[n] { return } }()\nfind(n)",
    "if !allowed[n] && len(n) > 3 { return nil }\nfind(n)",
    "if allowed[n] || len(n) > 3 { find(n) }",
    'switch n {\ncase "asc":\ncase "desc": return nil\n}\nfind(n)',
    'switch n {\ncase "asc":\ndefault: fmt.Println(n)\n}\nfind(n)',
    'switch n {\ncase "asc":\ndefault: break\n}\nfind(n)',
    'switch n {\ncase "asc":\ndefault: if len(n) > 3 { break }\nn = "a"\n}\nfind(n)',
    'switch n {\ncase "asc", changing:\ndefault: return nil\n}\nfind(n)',
    'switch n {\ncase "asc":\ndefault: n = other\n}\nfind(n)',
    'switch n {\ncase "b": fallthrough\ncase "asc": find(n)\ndefault: return nil\n}\nfind(n)',
    'if n != "asc" && n != changing { return nil }\nfind(n)',
    "if n != other { return nil }\nfind(n)",
    'if n == "asc" || n == "desc" { return nil }\nfind(n)',
    'if n != "asc" { n = "asc" + other }\nfind(n)',
    'if n != "asc" && len(n) > 3 { return nil }\nfind(n)',
    'if n == "asc" { n = "ASC" } else if n == "desc" { n = "DESC" }\nfind(n)',
    'if !strings.HasPrefix(n, "/srv/") { return nil }\nread(n)',
    'p := "/srv/" + n\nif !strings.HasPrefix(p, "/srv/") { return nil }\nread(p)',
    'p := filepath.Join("/srv", n)\nif !strings.HasPrefix(p, "/srv") { return nil }\nread(p)',
    'p := filepath.Join("/srv", n)\nif len(p) > 9 { p = n }\nif !strings.HasPrefix(p, "/srv/") { return nil }\nread(p)',
    'p := filepath.Join("/srv", n)\nif !strings.HasPrefix(p, "/srv/") { return nil }\nfind(p)',
    'if strings.Contains(n, "..") { return nil }\nfind(n)',
    'if strings.Contains(n, "\\\\") { return nil }\nread(n)',
    'if !strings.Contains(n, "..") { return nil }\nread(n)',
    'if strings.Contains(n, "x") { return nil }\nread(n)',
    "if !filepath.IsLocal(n) { return nil }\nfind(n)",
    'if !slices.Contains(strings.Split(n, ","), "asc") { return nil }\nfind(n)',
]


@pytest.mark.parametrize("call", CLEAN)
async def test_a_value_is_clean_where_it_was_held_against_what_is_allowed(call: str) -> None:
    assert await kinds(call) == []


@pytest.mark.parametrize("call", FOUND)
async def test_a_check_that_lets_other_values_through_changes_nothing(call: str) -> None:
    found = await kinds(call)
    assert set(found) == {"go-path-traversal" if "read(" in call else "go-sql-injection"}


async def test_a_path_that_is_checked_is_still_no_part_of_a_query() -> None:
    assert await kinds('if strings.Contains(n, "..") { return nil }\nread(n)\nfind(n)') == ["go-sql-injection"]


CHECKS = """\
func check(n string) error {
	if !plain.MatchString(n) {
		return fmt.Errorf("wrong: %s", n)
	}
	return nil
}

func valid(n string) bool { return n != "" && allowed[n] }

func wrong(n string) bool { return !plain.MatchString(n) }

func oneOf(n string) bool {
	switch n {
	case "asc", "desc":
		return true
	}
	return false
}

func second(length int, n string) error {
	if length > 10 {
		return ErrWrong
	}
	if err := check(n); err != nil {
		return err
	}
	return nil
}

func third(n string) error { return second(1, n) }

func (s *Server) inside(n string) error {
	if strings.Contains(n, "..") {
		return &wrongPath{n}
	}
	return nil
}

type wrongPath struct{ path string }

func refuse(n string) error { return &wrongPath{n} }

func split(n string) (string, error) {
	if !plain.MatchString(n) {
		return "", errors.New("wrong")
	}
	return "x", nil
}

func sixth(n string) error {
	_, err := split(n)
	return err
}

func lookup(n string) (int, bool) {
	switch n {
	case "asc":
		return 1, true
	default:
		return 0, false
	}
}

func fourth(n string) error {
	if valid(n) {
		return nil
	}
	return refuse(n)
}
"""

LOOSE = """\
func log(n string) error {
	if !plain.MatchString(n) {
		fmt.Println(n)
	}
	return nil
}

func short(n string) bool { return len(n) < 9 || plain.MatchString(n) }

func either(n string) error {
	if len(n) < 9 {
		return nil
	}
	return refuse(n)
}

func refuse(n string) error {
	if !plain.MatchString(n) {
		return ErrWrong
	}
	return other()
}

func later(n string) error {
	n = strings.TrimSpace(n)
	if !plain.MatchString(n) {
		return ErrWrong
	}
	return nil
}

func reversed(n string) error {
	err := other()
	if plain.MatchString(n) {
		return nil
	}
	if err != nil {
		return err
	} else {
		return err
	}
}

func around(n string) bool { return around(n) }

func inner(n string) bool {
	func() bool { return plain.MatchString(n) }()
	return true
}

func given(n string, err error) error {
	if !plain.MatchString(n) {
		return err
	}
	return nil
}
"""


@pytest.mark.parametrize(
    "call",
    [
        "if err := check(n); err != nil { return err }\nfind(n)",
        "err := check(n)\nif err != nil { return err }\nfind(n)",
        "if check(n) == nil { find(n) }",
        "var err error\nif err = check(n); err != nil { return err }\nfind(n)",
        "if !valid(n) { return nil }\nfind(n)",
        "if ok := valid(n); ok { find(n) }",
        "if wrong(n) { return nil }\nfind(n)",
        "if !oneOf(n) { return nil }\nfind(n)",
        "if err := second(1, n); err != nil { return err }\nfind(n)",
        "if err := third(n); err != nil { return err }\nfind(n)",
        "if err := fourth(n); err != nil { return err }\nfind(n)",
        "if err := s.inside(n); err != nil { return err }\nread(n)",
        "_, err := split(n)\nif err != nil { return err }\nfind(n)",
        "if err := sixth(n); err != nil { return err }\nfind(n)",
        "if _, ok := lookup(n); !ok { return nil }\nfind(n)",
    ],
)
async def test_a_value_is_clean_where_a_function_that_is_read_checked_it(call: str) -> None:
    assert await kinds(call, CHECKS) == []


@pytest.mark.parametrize(
    ("call", "helpers"),
    [
        ("if err := s.inside(n); err != nil { return err }\nfind(n)", CHECKS),
        ("if err := check(n); err != nil { fmt.Println(err) }\nfind(n)", CHECKS),
        ("if err := check(other); err != nil { return err }\nfind(n)", CHECKS),
        ("err := check(n)\nerr = s.inside(other)\nif err != nil { return err }\nfind(n)", CHECKS),
        ("err := check(n)\nn = other\nif err != nil { return err }\nfind(n)", CHECKS),
        ("if !wrong(n) { return nil }\nfind(n)", CHECKS),
        ("x, err := split(n)\nif x == nil { return err }\nfind(n)", CHECKS),
        ("if _, ok := lookup(n); ok { return nil }\nfind(n)", CHECKS),
        ("if err := check(n); err == nil { return err }\nfind(n)", CHECKS),
        ("if err := log(n); err != nil { return err }\nfind(n)", LOOSE),
        ("if !short(n) { return nil }\nfind(n)", LOOSE),
        ("if err := either(n); err != nil { return err }\nfind(n)", LOOSE),
        ("if err := later(n); err != nil { return err }\nfind(n)", LOOSE),
        ("if err := reversed(n); err != nil { return err }\nfind(n)", LOOSE),
        ("if !around(n) { return nil }\nfind(n)", LOOSE),
        ("if !inner(n) { return nil }\nfind(n)", LOOSE),
        ("if err := given(n, nil); err != nil { return err }\nfind(n)", LOOSE),
        ("if !unknown(n) { return nil }\nfind(n)", LOOSE),
    ],
)
async def test_a_function_that_lets_other_values_through_is_no_check(call: str, helpers: str) -> None:
    found = await kinds(call, helpers)
    assert set(found) == {"go-sql-injection"}


async def test_a_function_of_several_systems_checks_where_each_of_them_does() -> None:
    handler = 'package web\n\nimport "net/http"\n\nfunc show(w http.ResponseWriter, r *http.Request) {\n'
    handler += '\tn := r.FormValue("n")\n\tif !valid(n) {\n\t\treturn\n\t}\n\tfind(n)\n}\n'
    strict = 'package web\n\nfunc valid(n string) bool { return n == "a" }\n'
    loose = "package web\n\nfunc valid(n string) bool { return true }\n"
    files = {"web/a.go": handler, "web/store.go": STORE, "web/valid_linux.go": strict}
    assert not (await FlowEngine().read({**files, "web/valid_windows.go": strict})).remarks
    assert (await FlowEngine().read({**files, "web/valid_windows.go": loose})).remarks
