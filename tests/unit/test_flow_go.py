"""Data that goes from one Go function to another."""

import pytest

from tidemill.review.engines import FlowEngine


async def found(files: dict[str, str]) -> list[tuple[str, str, int]]:
    return [(one.rule, one.path, one.line) for one in (await FlowEngine().read(files)).remarks]


STORE = """\
package store

import (
	"database/sql"
	"fmt"
)

type Store struct{ db *sql.DB }

func NewStore(db *sql.DB) *Store { return &Store{db: db} }

func (s *Store) Find(name string) (*sql.Rows, error) {
	query := fmt.Sprintf("SELECT * FROM people WHERE name = '%s'", name)
	return s.db.Query(query)
}

func (s *Store) FindSafely(name string) (*sql.Rows, error) {
	return s.db.Query("SELECT * FROM people WHERE name = $1", name)
}

func (s *Store) FindByNumber(number int) (*sql.Rows, error) {
	return s.db.Query(fmt.Sprintf("SELECT * FROM people LIMIT %v", number))
}
"""

SERVER = """\
package main

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"

	data "example.org/app/internal/store"
)

var valid = regexp.MustCompile("^[a-z]+$")

type Finder interface {
	Find(name string) (*sql.Rows, error)
}

type person struct {
	Name   string
	Number int
}

type base struct{ store *data.Store }

type Server struct {
	base
	finder Finder
}

func (s *Server) show(w http.ResponseWriter, r *http.Request) {
	CALL
}
"""


@pytest.mark.parametrize(
    "call",
    [
        's.store.Find(r.URL.Query().Get("name"))',
        's.base.store.Find(r.FormValue("name"))',
        's.finder.Find(r.PathValue("name"))',
        'rows, err := s.store.Find(r.Header.Get("X-Name"))\n\t_, _ = rows, err',
        'local := data.NewStore(nil)\n\tlocal.Find(r.FormValue("name"))',
        'local := &data.Store{}\n\tlocal.Find(r.FormValue("name"))',
        'var local data.Store\n\tlocal.Find(r.FormValue("name"))',
        "var in person\n\tjson.NewDecoder(r.Body).Decode(&in)\n\ts.store.Find(in.Name)",
        "body, _ := io.ReadAll(r.Body)\n\tvar in person\n\tjson.Unmarshal(body, &in)\n\ts.store.Find(in.Name)",
        'func() { s.store.Find(r.FormValue("name")) }()',
        'find := func(name string) { s.store.Find(name) }\n\tfind(r.FormValue("name"))',
        'name := r.FormValue("name")\n\tif name == "" {\n\t\tname = "anybody"\n\t}\n\ts.store.Find(name)',
        'all := append(names, r.FormValue("a"))\n\tfor _, one := range all {\n\t\ts.store.Find(one)\n\t}',
        'all := map[string]string{}\n\tall["a"] = r.FormValue("a")\n\ts.store.Find(all["a"])',
        'if true {\n\t} else if name := r.FormValue("a"); name != "" {\n\t\ts.store.Find(name)\n\t}',
        'switch name := r.FormValue("a"); name {\n\tcase "":\n\tdefault:\n\t\ts.store.Find(name)\n\t}',
        "var query strings.Builder\n\tquery.WriteString(r.Referer())\n\ts.store.Find(query.String())",
        'var query bytes.Buffer\n\tfmt.Fprintf(&query, "a %s", r.UserAgent())\n\ts.store.Find(query.String())',
        'in := person{Name: r.FormValue("a")}\n\ts.store.Find(in.Name)',
        'in := &person{}\n\tin.Name = r.FormValue("a")\n\ts.store.Find(in.Name)',
        'defer s.store.Find(r.FormValue("a"))',
        'name := r.FormValue("a")\n\tif !valid.MatchString(name) {\n\t\tlog(name)\n\t}\n\ts.store.Find(name)',
        'name := r.FormValue("a")\n\tif !strings.HasPrefix(name, "x") {\n\t\treturn\n\t}\n\ts.store.Find(name)',
        "for _, c := range r.Cookies() {\n\t\ts.store.Find(c.Value)\n\t}",
    ],
)
async def test_a_value_of_a_request_is_followed_into_a_method_of_another_package(call: str) -> None:
    web = SERVER.replace("CALL", call).replace('"strconv"', '"bytes"\n\t"fmt"\n\t"io"\n\t"strings"')
    files = {"internal/store/store.go": STORE, "cmd/server/main.go": web}
    assert await found(files) == [("go-sql-injection", "internal/store/store.go", 14)]


@pytest.mark.parametrize(
    "call",
    [
        's.store.FindSafely(r.FormValue("name"))',
        's.store.Find("anybody")',
        "s.store.Find(s.name(r))",
        'number, _ := strconv.Atoi(r.FormValue("n"))\n\ts.store.Find(strconv.Itoa(number))',
        "var in person\n\tjson.NewDecoder(r.Body).Decode(&in)\n\ts.store.FindByNumber(in.Number)",
        'if _, err := s.store.FindSafely(r.FormValue("a")); err != nil {\n\t\ts.store.Find(err.Error())\n\t}',
        'in := person{Name: r.FormValue("a")}\n\tin.Name = "a"\n\ts.store.Find(in.Name)',
        'in := struct{ A, B string }{}\n\tin.A = r.FormValue("a")\n\ts.store.Find(in.B)',
        'other := map[string]string{"a": "b"}\n\ts.store.Find(other[r.FormValue("a")])',
        'r2, _ := http.NewRequest("GET", "/", nil)\n\ts.store.Find(r2.Header.Get("a"))',
        's.other.Find(r.FormValue("name"))',
        'name := r.FormValue("a")\n\tif !valid.MatchString(name) {\n\t\treturn\n\t}\n\ts.store.Find(name)',
        'name := r.FormValue("a")\n\tif _, ok := all[name]; !ok {\n\t\treturn\n\t}\n\ts.store.Find(name)',
        'name := r.FormValue("a")\n\tx, ok := all[name]\n\tif !ok {\n\t\treturn\n\t}\n\ts.store.Find(name)',
        'user, _ := users.Load(r.FormValue("name"))\n\ts.store.Find(user.Name)',
        's.store.Find(r.Context().Value("user").(string))',
        's.store.Find(uuid.MustParse(r.FormValue("id")).String())',
    ],
)
async def test_numbers_parameters_and_what_comes_from_elsewhere_are_clean(call: str) -> None:
    web = SERVER.replace("CALL", call).replace('"strconv"', '"strconv"\n\n\t"github.com/google/uuid"')
    files = {"internal/store/store.go": STORE, "cmd/server/main.go": web}
    assert await found(files) == []


async def test_an_interface_is_followed_to_the_one_type_that_has_its_methods_not_to_one_of_several() -> None:
    web = SERVER.replace("CALL", 's.finder.Find(r.FormValue("name"))')
    other = STORE.replace("Store", "Cache").replace("NewCache", "newCache")
    files = {"internal/store/store.go": STORE, "cmd/server/main.go": web}
    assert len(await found(files)) == 1
    assert await found({**files, "internal/store/cache.go": other}) == []
    assert len(await found({**files, "internal/store/cache_test.go": other})) == 1


async def test_files_of_one_folder_are_one_package_and_helpers_get_the_request_of_a_handler() -> None:
    helpers = """\
package web

import "net/http"

func name(req *http.Request) string {
	return req.URL.Query().Get("name")
}

func asked(req *http.Request) string {
	return req.Header.Get("X-Name")
}
"""
    sink = 'package web\n\nimport "os"\n\nfunc read(name string) {\n\tos.ReadFile("/srv/" + name)\n}\n'
    web = """\
package web

import "net/http"

func show(w http.ResponseWriter, r *http.Request) {
	read(name(r))
}

func ask(client *http.Client) {
	req, _ := http.NewRequest("GET", "https://a.example", nil)
	read(asked(req))
}
"""
    files = {"web/a.go": helpers, "web/b.go": sink, "web/c.go": web}
    reading = await FlowEngine().read(files)
    assert [(one.rule, one.path, one.line) for one in reading.remarks] == [("go-path-traversal", "web/b.go", 6)]
    assert [(step.path, step.line) for step in reading.remarks[0].trace] == [
        *(("web/a.go", 6), ("web/c.go", 6), ("web/b.go", 5), ("web/b.go", 6))
    ]


RUN = 'import "os/exec"\n\nfunc Run(command string) { exec.Command("sh", "-c", command).Run() }\n'


@pytest.mark.parametrize(
    ("imports", "handler"),
    [
        (
            "net/http",
            'func f() { http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { X(r.FormValue("a")) }) }',
        ),
        (
            "net/http",
            'func f() http.HandlerFunc { return func(w http.ResponseWriter, r *http.Request) { X(r.FormValue("a")) } }',
        ),
        ("github.com/gin-gonic/gin", 'func f(c *gin.Context) { X(c.Query("a")) }'),
        ("github.com/gin-gonic/gin", 'func f(c *gin.Context) { X(c.Param("a")) }'),
        ("github.com/gin-gonic/gin", 'func f(c *gin.Context) { X(c.DefaultPostForm("a", "b")) }'),
        ("github.com/gin-gonic/gin", "func f(c *gin.Context) { var in T; c.ShouldBindJSON(&in); X(in.A) }"),
        (
            "github.com/gin-gonic/gin",
            "func f(c *gin.Context) { in := new(T); if err := c.Bind(in); err != nil { return }; X(in.A) }",
        ),
        ("github.com/gin-gonic/gin", 'func f(c *gin.Context) { X(c.Request.URL.Query().Get("a")) }'),
        ("github.com/gin-gonic/gin", 'type C struct { *gin.Context }; func f(c C) { X(c.PostForm("a")) }'),
        ("github.com/labstack/echo/v4", 'func f(c echo.Context) error { X(c.QueryParam("a")); return nil }'),
        ("github.com/labstack/echo/v4", 'func f(c echo.Context) error { X(c.Request().Header.Get("a")); return nil }'),
        ("github.com/labstack/echo/v4", "func f(c echo.Context) error { in := &T{}; c.Bind(in); X(in.A); return nil }"),
        ("github.com/gofiber/fiber/v2", 'func f(c *fiber.Ctx) error { X(c.Params("a")); return nil }'),
        (
            "github.com/gofiber/fiber/v2",
            "func f(c *fiber.Ctx) error { var in T; c.BodyParser(&in); X(in.A); return nil }",
        ),
        ("github.com/go-chi/chi/v5", 'func f(w http.ResponseWriter, r *http.Request) { X(chi.URLParam(r, "a")) }'),
        ("github.com/gorilla/mux", 'func f(w http.ResponseWriter, r *http.Request) { X(mux.Vars(r)["a"]) }'),
    ],
)
async def test_requests_of_the_frameworks_are_sources(imports: str, handler: str) -> None:
    web = (
        f'package web\n\nimport (\n"net/http"\n"{imports}"\n"a.example/app/run"\n)\n\ntype T struct {{ A string }}\n\n'
    )
    run = f"package run\n\n{RUN}"
    files = {"run/run.go": run, "web/web.go": web + handler.replace("X(", "run.Run(")}
    assert await found(files) == [("go-command-injection", "run/run.go", 5)]
    assert await found({"run/run.go": run, "web/web.go": web + handler.replace("X(", "println(")}) == []
    own = (web + handler.replace("X(", "run.Run(")).replace(imports, "a.example/own/thing").replace('"net/http"', "")
    assert await found({"run/run.go": run, "web/web.go": own}) == []


async def test_numbers_of_what_a_framework_binds_are_clean() -> None:
    web = """\
package web

import (
	"fmt"

	"github.com/gin-gonic/gin"
	"a.example/app/run"
)

type in struct{ N int }

func f(c *gin.Context) {
	var got in
	c.BindJSON(&got)
	run.Run(fmt.Sprintf("ls %v", got.N))
}
"""
    assert await found({"run/run.go": f"package run\n\n{RUN}", "web/web.go": web}) == []


WEB = """\
package web

import (
	"database/sql"
	"fmt"
	"html"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"github.com/antchfx/xmlquery"
	"github.com/go-ldap/ldap/v3"
	"github.com/jinzhu/gorm"
	"github.com/lib/pq"
)

func sink(w http.ResponseWriter, r *http.Request, x string, db *gorm.DB, raw *sql.DB, api Querier) {
	CALL
}

func show(w http.ResponseWriter, r *http.Request) {
	sink(w, r, r.FormValue("x"), nil, nil, nil)
}
"""


@pytest.mark.parametrize(
    ("rule", "call"),
    [
        ("sql-injection", 'raw.Exec("DELETE FROM a WHERE b = " + x)'),
        ("sql-injection", 'raw.QueryContext(r.Context(), "SELECT "+x)'),
        ("sql-injection", 'tx, _ := raw.Begin()\n\ttx.QueryRow("SELECT " + x)'),
        ("sql-injection", 'db.Where("name = \'" + x + "\'").Find(nil)'),
        ("sql-injection", "db.Model(nil).Order(x)"),
        ("sql-injection", "s.db.Query(x)"),
        ("sql-injection", "s.pool.Query(ctx, x)"),
        ("sql-injection", "raw.Query(html.EscapeString(x))"),
        ("command-injection", "exec.Command(x)"),
        ("command-injection", 'exec.CommandContext(r.Context(), "/bin/bash", "-lc", "ls "+x)'),
        ("code-injection", 'template.New("page").Parse(x)'),
        ("xss", 'fmt.Fprintf(w, "<h1>%s</h1>", x)'),
        ("xss", "w.Write([]byte(x))"),
        ("xss", 'io.WriteString(w, "<p>"+x)'),
        ("xss", "template.HTML(x)"),
        ("ssrf", "http.Get(x)"),
        ("ssrf", 'http.Get("http://" + x + "/status")'),
        ("ssrf", 'req, _ := http.NewRequest("GET", fmt.Sprintf("https://%s/a", x), nil)\n\t_ = req'),
        ("path-traversal", 'os.ReadFile(filepath.Join("/srv", x))'),
        ("path-traversal", "os.Open(path.Clean(x))"),
        ("path-traversal", "http.ServeFile(w, r, x)"),
        ("xpath-injection", 'xmlquery.Find(nil, "//a[.=\'"+x+"\']")'),
        ("ldap-injection", 'ldap.NewSearchRequest("dc=a", 2, 0, 0, 0, false, "(uid="+x+")", nil, nil)'),
        ("ldap-injection", 'search := ldap.SearchRequest{Filter: "(uid=" + x + ")"}\n\t_ = search'),
        ("open-redirect", "http.Redirect(w, r, x, 302)"),
        ("open-redirect", 'w.Header().Set("Location", x)'),
    ],
)
async def test_the_sinks_are_those_of_the_rules(rule: str, call: str) -> None:
    files = {"web/web.go": WEB.replace("CALL", call)}
    assert [one for one, _, _ in await found(files)] == [f"go-{rule}"]


@pytest.mark.parametrize(
    "call",
    [
        'raw.Exec("DELETE FROM a WHERE b = $1", x)',
        'raw.Query("SELECT " + pq.QuoteIdentifier(x))',
        'statement, _ := raw.Prepare("SELECT $1")\n\tstatement.Query(x)',
        'db.Where("name = ?", x).Find(nil)',
        "db.Where(&User{Name: x}).Find(nil)",
        'db.Where(map[string]any{"name": x}).Find(nil)',
        "values, _ := url.ParseQuery(x)\n\tvalues.Query(x)",
        "s.search.Query(x)",
        'exec.Command("git", "log", x)',
        'exec.Command("sh", "-c", "ls \\"$1\\"", "sh", x)',
        'fmt.Fprintf(w, "<h1>%s</h1>", html.EscapeString(x))',
        'fmt.Fprintf(w, "<h1>%d</h1>", x)',
        'fmt.Fprintf(w, "not found: %s", x)',
        'w.Header().Set("Content-Type", "application/json")\n\tfmt.Fprintf(w, "%s", x)',
        'fmt.Fprintf(os.Stderr, "<h1>%s</h1>", x)',
        'http.Get("https://api.example/people/" + x)',
        'http.Get(fmt.Sprintf("%s/people/%s", base, x))',
        'address := base + "/people/"\n\taddress += x\n\thttp.Get(address)',
        'http.Get("https://" + url.PathEscape(x))',
        'http.Redirect(w, r, "/people/"+x, 302)',
        "http.Redirect(w, r, r.URL.Path, 302)",
        'os.ReadFile(filepath.Join("/srv", filepath.Base(x)))',
        'os.ReadFile(filepath.Join("/srv", path.Clean("/"+x)))',
        "os.ReadFile(x.(int))",
        'xmlquery.Find(nil, "//a")',
        'ldap.NewSearchRequest("dc=a", 2, 0, 0, 0, false, "(uid="+ldap.EscapeFilter(x)+")", nil, nil)',
        'w.Header().Set("X-Name", x)',
        'w.Write([]byte(`{"name": "` + x + `"}`))',
        "os.Stat(r.URL.Path)",
    ],
)
async def test_what_is_escaped_or_decides_nothing_is_clean(call: str) -> None:
    assert await found({"web/web.go": WEB.replace("CALL", call)}) == []
