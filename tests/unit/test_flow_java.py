"""Data that goes from one Java method to another."""

import re
import time

import pytest

from tidemill.review.engines import FlowEngine

SERVLET = """\
package web;

import data.*;
import javax.servlet.http.*;

public class Front extends HttpServlet {
    private Store store;
    private Base base;

    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws Exception {
        String id = request.getParameter("id");
%s
    }
}
"""
STORE = """\
package data;

import java.sql.*;
import java.util.*;

public class Store extends Base {
    private Connection connection;
    private String where;

    public Store() {
    }

    public Store(String where) {
        this.where = where;
    }

    public void setWhere(String where) {
        this.where = where;
    }

    public void find(String id) throws SQLException {
        connection.createStatement().executeQuery("select * from t where id = '" + id + "'");
    }

    public void find(String id, int limit) throws SQLException {
        PreparedStatement statement = connection.prepareStatement("select * from t where id = ? limit " + limit);
        statement.setString(1, id);
        statement.executeQuery();
    }

    public void kept() throws SQLException {
        connection.createStatement().executeQuery("select * from t where " + where);
    }

    public static String quoted(String text) {
        return "'" + text + "'";
    }

    public void all(List<String> ids) throws SQLException {
        for (String id : ids) {
            find(id);
        }
    }

    public void counted(long id) throws SQLException {
        connection.createStatement().executeQuery("select * from t where id = " + id);
    }
}
"""
BASE = """\
package data;

import java.io.*;

public abstract class Base {
    protected File file(String name) {
        return new File("/srv", name);
    }

    public abstract void find(String id) throws Exception;
}
"""


async def found(files: dict[str, str]) -> list[tuple[str, str, int]]:
    return [(one.rule, one.path, one.line) for one in (await FlowEngine().read(files)).remarks]


def front(*statements: str) -> dict[str, str]:
    body = "\n".join(f"        {one}" for one in statements)
    return {"web/Front.java": SERVLET % body, "data/Store.java": STORE, "data/Base.java": BASE}


STORED = ("java-sql-injection", "data/Store.java", 22)


@pytest.mark.parametrize(
    "statements",
    [
        ("store.find(id);",),
        ("this.store.find(id.trim());",),
        ("new Store().find(id);",),
        ("var other = new Store();", "other.find(id);"),
        ("Base other = new Store();", "other.find(id);"),
        ("base.find(id);",),
        ("if (id instanceof String text) {", "    store.find(text);", "}"),
        ("store.find(Store.quoted(id));",),
        ('store.find("a".concat(id));',),
        ('store.find(String.format("%s-%s", "a", id));',),
        ('store.find(String.join(",", "a", id));',),
        ("StringBuilder text = new StringBuilder();", 'text.append("a").append(id);', "store.find(text.toString());"),
        ("java.util.List<String> ids = new java.util.ArrayList<>();", "ids.add(id);", "store.all(ids);"),
        (
            "java.util.Map<String, String> map = new java.util.HashMap<>();",
            'map.put("a", id);',
            'store.find(map.get("a"));',
        ),
        ("String[] ids = new String[1];", "ids[0] = id;", "store.find(ids[0]);"),
        ("java.util.List<String> ids = java.util.List.of(id);", "ids.forEach(one -> store.find(one));"),
        ("java.util.List<String> ids = java.util.List.of(id);", "ids.forEach(store::find);"),
        ("org.json.JSONObject sent = new org.json.JSONObject(id);", 'store.find(sent.getString("a"));'),
        ("new Thread(new Runnable() {", "    public void run() {", "        store.find(id);", "    }", "}).start();"),
        ("String text = switch (id.length()) {", '    case 1 -> "a";', "    default -> id;", "};", "store.find(text);"),
        ('String text = id.isEmpty() ? "a" : id;', "store.find(text);"),
        ("for (Cookie one : request.getCookies()) {", "    store.find(one.getValue());", "}"),
        ("try (var in = request.getReader()) {", "    store.find(in.readLine());", "}"),
    ],
)
async def test_what_a_client_sends_is_followed_into_a_method_of_another_file(statements: tuple[str, ...]) -> None:
    assert await found(front(*statements)) == [STORED]


@pytest.mark.parametrize(
    "statements",
    [
        ("store.find(id, 3);",),
        ('store.find("a");',),
        ("store.find(String.valueOf(Integer.parseInt(id)));",),
        ("store.counted(Long.parseLong(id));",),
        ("int number = Integer.valueOf(id);", 'store.find("" + number);'),
        ("store.find(java.util.UUID.fromString(id).toString());",),
        ("store.find(Kind.valueOf(id).name());",),
        ('store.find(id.replaceAll("[^a-z]", ""));',),
        ('store.find(id.replace("\'", "\'\'"));',),
        ('store.find(id.equals("a") ? "a" : "b");',),
        ("store.find(names.get(id));",),
        ("org.json.JSONObject sent = new org.json.JSONObject(id);", 'store.find("" + sent.getInt("a"));'),
        ("new java.io.File(Store.quoted(id.substring(id.lastIndexOf('/') + 1)));",),
        ("int last = id.lastIndexOf('/');", "new java.io.File(Store.quoted(id.substring(last + 1)));"),
        ("new java.io.File(Store.quoted(id.replace('/', '_')));",),
        ("store.find(String.valueOf(id.length()));",),
        ("store.find(request.getContextPath());",),
        ('id = "a";', "store.find(id);"),
        ("other.find(id);",),
        ("store.find(ESAPI.encoder().encodeForSQL(codec, id));",),
        (
            "java.util.List<String> ids = java.util.List.of(id);",
            'ids.stream().map(one -> one.length()).forEach(n -> store.find("" + n));',
        ),
    ],
)
async def test_what_is_harmless_or_goes_elsewhere_is_not_told(statements: tuple[str, ...]) -> None:
    assert await found(front(*statements)) == []


@pytest.mark.parametrize(
    "statements",
    [
        ("new Store(id).kept();",),
        ("Store one = new Store(id);", "one.kept();"),
        ("Store one = new Store();", "one.setWhere(id);", "one.kept();"),
    ],
)
async def test_a_field_that_a_constructor_or_a_setter_fills_is_followed(statements: tuple[str, ...]) -> None:
    assert await found(front(*statements)) == [("java-sql-injection", "data/Store.java", 32)]
    assert await found(front(*(one.replace("(id)", '("a")') for one in statements))) == []


async def test_a_field_is_followed_for_its_own_object_and_name_alone() -> None:
    query = """\
package data;

public class Query {
    private String text;
    private String label;

    public Query(String text, String label) {
        this.text = text;
        this.label = label;
    }

    public String getText() {
        return text;
    }

    public String getLabel() {
        return label;
    }
}
"""
    files = {**front('store.find(new Query("a", id).getText());'), "data/Query.java": query}
    assert await found(files) == []
    files = {**front('store.find(new Query("a", id).getLabel());'), "data/Query.java": query}
    assert await found(files) == [STORED]
    handed = """\
package data;

public class Finder {
    static void run(Store store, Query query) throws Exception {
        store.find(query.getText());
    }
}
"""
    files |= {"data/Finder.java": handed} | front('Finder.run(store, new Query(id, "a"));')
    assert await found(files) == [STORED]
    files |= front('Finder.run(store, new Query("a", id));')
    assert await found(files) == []


async def test_records_and_lombok_have_the_fields_that_nobody_wrote_methods_for() -> None:
    for query in (
        "public record Query(String text, String label) {\n}",
        "@Data\npublic class Query {\n    private String text;\n    private String label;\n}",
    ):
        reads = ("store.find(query.text());", "store.find(query.getText());")
        files = front('Query query = new Query(id, "a");', *reads) | {"data/Query.java": "package data;\n\n" + query}
        assert await found(files) == [STORED]
        files |= front('Query query = new Query("a", id);', *reads)
        assert await found(files) == []


async def test_methods_of_superclasses_and_static_imports_are_known() -> None:
    part = """\
package data;

import static data.Store.quoted;

import jakarta.servlet.http.HttpServletRequest;

public class Part extends Base {
    public void find(String id) {
    }

    void show(HttpServletRequest request) {
        file(quoted(request.getParameter("a")));
        super.file("a");
    }
}
"""
    assert await found({"data/Part.java": part, "data/Store.java": STORE, "data/Base.java": BASE}) == [
        ("java-path-traversal", "data/Base.java", 7)
    ]


async def test_an_interface_is_followed_where_one_class_alone_has_its_method() -> None:
    port = "package data;\n\npublic interface Port {\n    void ask(String text) throws Exception;\n}\n"
    one = """\
package data;

class %s implements Port {
    private java.sql.Connection connection;

    @Override
    public void ask(String text) throws Exception {
        connection.prepareStatement("select " + text);
    }
}
"""
    files = {**front("Port port = ports();", "port.ask(id);"), "data/Port.java": port, "data/One.java": one % "One"}
    assert await found(files) == [("java-sql-injection", "data/One.java", 8)]
    assert await found({**files, "data/Two.java": one % "Two"}) == []


async def test_the_type_of_what_an_interface_returns_is_known_whoever_implements_it() -> None:
    maker = """\
package data;

public interface Maker {
    Store store(String name);

    int number(String text);
}
"""
    makers = """\
package data;

abstract class %s implements Maker {
    public int number(String text) {
        return 1;
    }
}
"""
    files = {"data/Maker.java": maker, "data/One.java": makers % "One", "data/Two.java": makers % "Two"}
    assert await found({**front("Maker maker = makers();", 'maker.store("a").find(id);'), **files}) == [STORED]
    assert await found({**front("Maker maker = makers();", 'store.find("" + maker.number(id));'), **files}) == []


SPRING = """\
package web;

import java.util.*;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.web.bind.annotation.*;

@RestController
public class Users {
    private final Repository repository;

    Users(Repository repository) {
        this.repository = repository;
    }

    @GetMapping("/a")
    List<String> named(@RequestParam String name) {
        return repository.named(name);
    }

    @GetMapping("/b/{id}")
    List<String> numbered(@PathVariable long id, @RequestParam Optional<Integer> page, @RequestParam Kind kind) {
        repository.named("" + page.get());
        repository.named(kind.name());
        return repository.named(String.valueOf(id));
    }

    @PostMapping("/c")
    List<String> sent(@RequestBody Form form) {
        repository.bound(form.getName());
        repository.named("" + form.getAge());
        return repository.named(form.getName());
    }

    List<String> inner(String name) {
        return repository.named(name);
    }
}

enum Kind { A, B }

class Form {
    private String name;
    private int age;

    String getName() {
        return name;
    }

    int getAge() {
        return age;
    }
}

class Repository {
    private JdbcTemplate jdbc;

    List<String> named(String name) {
        String sql = "select name from users where name = '" + name + "'";
        return jdbc.queryForList(sql, String.class);
    }

    List<String> bound(String name) {
        return jdbc.queryForList("select name from users where name = ?", String.class, name);
    }
}
"""


async def test_parameters_of_spring_controllers_come_from_outside_where_their_type_lets_them() -> None:
    reading = await FlowEngine().read({"web/Users.java": SPRING})
    assert [(one.trace[0].line, one.line) for one in reading.remarks] == [(16, 59), (28, 59)]


JERSEY = """\
package web;

import jakarta.ws.rs.*;
import jakarta.ws.rs.core.*;
import java.io.*;

@Path("/files")
public class Files {
    @QueryParam("folder")
    private String folder;
    private final Disk disk = new Disk();

    @GET
    public Response get(@PathParam("name") String name, @QueryParam("line") int line) throws Exception {
        disk.opened("" + line);
        disk.opened(org.apache.commons.io.FilenameUtils.getName(name));
        return Response.ok(disk.opened(name)).build();
    }

    @DELETE
    public void remove(@Context UriInfo info) throws Exception {
        disk.opened(folder);
        disk.opened(info.getQueryParameters().getFirst("a"));
    }
}

class Disk {
    InputStream opened(String name) throws IOException {
        return new FileInputStream("/srv/" + name);
    }
}
"""


async def test_parameters_and_fields_of_jax_rs_resources_come_from_outside() -> None:
    reading = await FlowEngine().read({"web/Files.java": JERSEY})
    assert {one.rule for one in reading.remarks} == {"java-path-traversal"}
    assert sorted(one.trace[0].line for one in reading.remarks) == [10, 14, 23]


SINKS = """\
package data;

import java.io.*;
import java.net.URL;
import java.nio.file.*;
import javax.naming.directory.*;
import javax.persistence.EntityManager;
import javax.script.*;
import javax.servlet.http.*;
import javax.xml.xpath.*;
import org.springframework.expression.spel.standard.SpelExpressionParser;
import org.springframework.web.client.RestTemplate;

public class Sinks {
    static EntityManager manager;
    static DirContext directory;
    static RestTemplate rest;

    static void one(String a, HttpServletResponse response, InputStream in) throws Exception {
%s
    }
}
"""


@pytest.mark.parametrize(
    ("rule", "harmful", "harmless"),
    [
        (
            "java-sql-injection",
            'manager.createQuery("from A where b = " + a)',
            'manager.createQuery("from A").setParameter("b", a)',
        ),
        (
            "java-command-injection",
            "Runtime.getRuntime().exec(a)",
            'Runtime.getRuntime().exec(new String[] {"git", a})',
        ),
        ("java-command-injection", 'new ProcessBuilder("sh", "-c", a)', 'new ProcessBuilder("git", "log", a)'),
        ("java-code-injection", 'new ScriptEngineManager().getEngineByName("js").eval(a)', "new Engine().eval(a)"),
        ("java-code-injection", "new SpelExpressionParser().parseExpression(a)", "new Parser().parseExpression(a)"),
        ("java-path-traversal", 'new File("/srv", a)', 'new File("/srv", new File(a).getName())'),
        ("java-path-traversal", 'Paths.get("/srv", a)', 'Paths.get("/srv").resolve(Paths.get("/srv").getFileName())'),
        ("java-path-traversal", 'Path.of("/srv").resolve(a)', 'Path.of("/srv").startsWith(a)'),
        ("java-ssrf", 'new URL("https://" + a + "/b")', 'new URL("https://a.example/" + a)'),
        (
            "java-ssrf",
            "rest.getForObject(a, String.class)",
            'rest.getForObject("https://a.example/{b}", String.class, a)',
        ),
        ("java-open-redirect", "response.sendRedirect(a)", 'response.sendRedirect("/b?c=" + a)'),
        ("java-open-redirect", 'response.setHeader("Location", a)', 'response.setHeader("X-A", a)'),
        ("java-xss", 'response.getWriter().println("<p>" + a)', 'new PrintWriter("file").println(a)'),
        (
            "java-xss",
            'PrintWriter out = response.getWriter(); out.printf("<p>%%s", a)',
            "response.getWriter().println(org.springframework.web.util.HtmlUtils.htmlEscape(a))",
        ),
        (
            "java-insecure-deserialization",
            "new ObjectInputStream(in)",
            'new ObjectOutputStream(new FileOutputStream("a")).writeObject(a)',
        ),
        (
            "java-xpath-injection",
            'XPathFactory.newInstance().newXPath().compile("//a[" + a + "]")',
            'XPathFactory.newInstance().newXPath().compile("//a").evaluate(a)',
        ),
        (
            "java-ldap-injection",
            'directory.search("ou=a", "(uid=" + a + ")", null)',
            'directory.search("ou=a", "(uid={0})", new Object[] {a}, null)',
        ),
    ],
)
async def test_sinks_are_told_and_their_safe_forms_are_not(rule: str, harmful: str, harmless: str) -> None:
    call = "Sinks.one(id, response, request.getInputStream());"
    for code, rules in ((harmful, [rule]), (harmless, [])):
        files = {**front(call), "data/Sinks.java": SINKS % f"        {code};".replace("%%", "%")}
        assert [name for name, _, _ in await found(files)] == rules, code


async def test_a_text_before_it_that_names_the_host_holds_across_methods() -> None:
    client = """\
package data;

import java.net.URL;

public class Client {
    private String host;

    public Object get(String address) throws Exception {
        return new URL(address).getContent();
    }

    public Object asked(String path) throws Exception {
        StringBuilder text = new StringBuilder(host);
        text.append(path);
        return get(text.toString());
    }

    public Object bare(String address) throws Exception {
        StringBuilder text = new StringBuilder();
        text.append(address).append("/a");
        return get(text.toString());
    }
}
"""
    uri = "org.springframework.web.util.UriComponentsBuilder.fromHttpUrl(host)"
    safe = (
        'get("https://a.example/" + id)',
        "asked(id)",
        'get(String.format("https://a.example/%s", id))',
        'get(String.format(Locale.ROOT, "%s/a/%s", host, id))',
        'get("https://a.example/%s".formatted(id))',
        f'get({uri}.path("/a").queryParam("b", id).toUriString())',
    )
    for call in safe:
        files = {**front(f"new Client().{call};"), "data/Client.java": client}
        assert await found(files) == [], call
    harmful = ("get(id)", 'get("http://" + id)', "bare(id)", 'get("" + id + "/a")', 'get("https://%s/a".formatted(id))')
    for call in (*harmful, 'get(String.format("%s/a", id))'):
        files = {**front(f"new Client().{call};"), "data/Client.java": client}
        assert await found(files) == [("java-ssrf", "data/Client.java", 9)], call


async def test_what_a_controller_returns_can_be_a_page_or_a_redirect() -> None:
    text = """\
package web;

import org.springframework.stereotype.Controller;
import org.springframework.web.bind.annotation.*;

@Controller
class Pages {
    @GetMapping("/a")
    String moved(@RequestParam String to) {
        return "redirect:" + same(to);
    }

    @GetMapping("/b")
    String here(@RequestParam String to) {
        return "redirect:/items/" + same(to);
    }

    @GetMapping("/c")
    @ResponseBody
    String shown(@RequestParam String name) {
        return "Hello " + same(name);
    }

    @GetMapping(path = "/d", produces = "application/json")
    @ResponseBody
    String told(@RequestParam String name) {
        return same(name);
    }

    private String same(String text) {
        return text;
    }
}
"""
    assert await found({"web/Pages.java": text}) == [
        ("java-open-redirect", "web/Pages.java", 10),
        ("java-xss", "web/Pages.java", 21),
    ]


async def test_an_escaper_of_the_programs_own_and_plain_text_make_no_page() -> None:
    text = """\
package web;

import java.io.PrintWriter;
import javax.servlet.http.*;

public class Shown extends HttpServlet {
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws Exception {
        show(response.getWriter(), request.getParameter("a"));
        show(response.getWriter(), escaped(request.getParameter("b")));
    }

    static void show(PrintWriter out, String text) {
        out.println(text);
    }

    static String escaped(String text) {
        return text == null ? null : text.replace("&", "&amp;").replace("<", "&lt;");
    }
}
"""
    reading = await FlowEngine().read({"web/Shown.java": text})
    assert [(one.trace[0].line, one.line) for one in reading.remarks] == [(8, 13)]
    told = text.replace("        show(", '        response.setContentType("text/plain");\n        show(', 1)
    assert await found({"web/Shown.java": told}) == []


async def test_a_type_of_the_same_name_in_another_package_is_no_sink_and_no_source() -> None:
    store = """\
package data;

import %s;

public class Store {
    private Connection connection;

    public void find(String id) throws Exception {
        connection.prepareStatement(id);
    }
}
"""
    files = front("store.find(id);")
    for packages, told in (("java.sql.Connection", 1), ("java.sql.*", 1), ("own.sql.Connection", 0), ("own.sql.*", 0)):
        assert len(await found(files | {"data/Store.java": store % packages})) == told, packages
    files["web/Front.java"] = files["web/Front.java"].replace("javax.servlet.http.*", "own.http.HttpServletRequest")
    assert await found(files) == []


async def test_what_nobody_sends_is_not_read() -> None:
    assert await found({"data/Store.java": STORE}) == []


@pytest.mark.parametrize(
    "text",
    [
        "class A { void a(javax.servlet.http.HttpServletRequest r) { a(" + "(" * 3000 + "r" + ")" * 3000 + "); } }",
        "class A { void a(javax.servlet.http.HttpServletRequest r) { x" + ".a(r)" * 3000 + "; } }",
        "class A { void a(javax.servlet.http.HttpServletRequest r) { String s = " + "f(" * 3000 + ")" * 3000 + "; } }",
        "class A { void a(javax.servlet.http.HttpServletRequest r) { String s = " + '"a" + ' * 5000 + "r; } }",
        "class A { void a(javax.servlet.http.HttpServletRequest r) {" + "if (r) {" * 3000 + "}" * 3000 + "} }",
        "class A { void a(javax.servlet.http.HttpServletRequest r) { " + "a(x -> " * 1000 + "r" + ")" * 1000 + "; } }",
        "class A { Object a = " + "new Object() { Object a = " * 400 + "HttpServletRequest" + "; }" * 400 + "; }",
        "class A {" * 2000 + "HttpServletRequest r;" + "}" * 2000,
        "class A extends A { A a; HttpServletRequest b(A a) { return a.b(a).b(this).a.a.a.b(b(a)); } }",
        "class A extends B { } class B extends C { } class C extends A { void c(HttpServletRequest r) { c(r); d(); } }",
        "interface A extends B { } interface B extends A { void b(HttpServletRequest r); }",
        "import a.A; import b.A; import static A.*; import *; package a; class { void (HttpServletRequest r) { ; } }",
        "import static a.B.c; class A { HttpServletRequest r; A c() { return c().c().c(); } record R(R r) { R { } } }",
        "@@@ HttpServletRequest }}}} ((( class A { void a( { \" ' /* ",
        "class A { List<" * 500 + "HttpServletRequest" + ">" * 500 + " a; }",
        "class \udcff { void é\x00(HttpServletRequest r) { é(r); } }",
        "HttpServletRequest " + "x" * 500_000,
        "".join(f"class A{n} extends A{n - 1} {{ void a(A{n} a) {{ a.b(null); }} }}" for n in range(3000))
        + "class A { void b(HttpServletRequest r) { } }",
        "class A { String a(@RequestParam String s) { return a(s" + " + s" * 100_000 + "); } }",
        "class A { void a(HttpServletRequest r) { " + "r.a(r);" * 50_000 + " } }",
        "class A { A(A a) { this(a); } A() { this(new A(new A())); } void b(@RequestParam A a) { b(new A(a)); } }",
    ],
)  # fmt: skip
@pytest.mark.unmeasured
async def test_hostile_files_are_read_in_little_time_and_without_an_error(text: str) -> None:
    begun = time.monotonic()
    assert (await FlowEngine().read({"A.java": text})).remarks == ()
    assert time.monotonic() - begun < 20


async def test_a_method_that_is_nested_too_deeply_is_named_and_the_others_are_followed() -> None:
    deep = "class Deep { void a(String s) { b" + "(b" * 3000 + ")" * 3000 + "; } }"
    reading = await FlowEngine().read({**front("store.find(id);"), "Deep.java": deep})
    assert [(one.rule, one.path, one.line) for one in reading.remarks] == [STORED]
    assert reading.unread == {"Deep.java"}


@pytest.mark.parametrize("depth", [300, 6000])
@pytest.mark.parametrize(
    "declaration",
    [
        "class Deep { void f(%s x) { g(x); } }",
        "class Deep { %s x; void f(String s) { f(x); } }",
        "class Deep extends %s { void f() { } }",
        "class Deep implements %s { }",
        "class Deep { %s f() { %s x = (%s) y; return new %s(); } }",
        "record Deep(%s x) { }",
        "class Deep { void f(Object o) { if (o instanceof %s x) { f(x); } } }",
        "class Deep<T extends %s> { void f(%s... x) { f((%s y) -> y); } }",
    ],
)
@pytest.mark.parametrize("opened", ["List<", "List<? extends ", "@A(x = @B("])
async def test_types_within_types_end_no_reading(opened: str, declaration: str, depth: int) -> None:
    deep = opened * depth + "A" + (">" if "<" in opened else "))") * depth
    files = {**front("store.find(id);"), "Deep.java": "// @RequestParam\n" + declaration.replace("%s", deep)}
    assert await found(files) == [STORED]


@pytest.mark.parametrize(
    "deep",
    [
        "class A { " * 2000 + "void f() { }" + "}" * 2000,
        "class A { void f() { " + "class B { void g() { " * 2000 + "} }" * 2000 + "} }",
        "@A(" * 5000 + "1" + ")" * 5000 + " class A { void f(@B(" + "{" * 5000 + "}" * 5000 + ") String x) { } }",
        "class A { int a = " + "f(" * 5000 + ")" * 5000 + "; void f() { } }",
        "".join(f"class O{n} extends O{n + 1}.I {{ class I extends X {{ }} }}" for n in range(1000)),
    ],
)
async def test_declarations_within_declarations_end_no_reading(deep: str) -> None:
    assert await found({**front("store.find(id);"), "Deep.java": "// @RequestParam\n" + deep}) == [STORED]


@pytest.mark.parametrize(
    "text",
    [
        "{import p#.*;} class A {{T# f#;} void a() {{f#.b();}} }",
        "{import static p#.*;} class A { void a() {{b#();}} }",
        "class A {{void a(T# s) { a(s); a(b); }} }",
        "class A {{String f#;} void a(String s) {{f# = s; a(f#);}} }",
        "class B {{int f#;}} class A { void a() {{new B();}} }",
        "class A { void a(String s) {{if (!OK.contains(s)) return; a(s);}} }",
    ],
)
@pytest.mark.unmeasured
async def test_what_is_declared_and_used_often_is_read_in_little_time(text: str) -> None:
    def repeated(part: re.Match[str]) -> str:
        return "".join(part[1].replace("#", str(number)) for number in range(2000))

    begun = time.monotonic()
    many = re.sub(r"\{(?=\S)((?:[^{}]|\{ [^{}]*\})*)\}", repeated, text)
    await found({"A.java": "// @RequestParam\n" + many})
    assert time.monotonic() - begun < 15


CHECKED = """\
package data;

import java.nio.file.*;
import java.sql.*;
import java.util.*;
import java.util.regex.Pattern;

public class Store {
    static final Set<String> OK = Set.of("a", "b");
    static final Map<String, String> NAMES = Map.of("a", "b");
    static final Pattern PLAIN = Pattern.compile("[a-z0-9_-]+");
    static final Pattern ANY = Pattern.compile("[a-z'].*");
    private Connection connection;
    private Path base;

    public void find(String id) throws SQLException {
        connection.createStatement().executeQuery("select * from t order by " + id);
    }

    public void careful(String id) throws SQLException {
%s
        connection.createStatement().executeQuery("select * from t order by " + id);
    }

    static boolean valid(String text) {
        return text != null && OK.contains(text);
    }

    static void check(String text) {
        if (!valid(text)) {
            throw new IllegalArgumentException(text);
        }
    }

    static void log(String text) {
        if (!valid(text)) {
            return;
        }
    }

    public void open(String name) throws Exception {
        Path path = base.resolve(name).normalize();
        if (!path.startsWith(base)) {
            throw new IllegalArgumentException(name);
        }
        new java.io.FileInputStream(path.toFile());
    }

    public java.io.File file(String name) throws Exception {
        java.io.File file = new java.io.File("/srv", name);
        if (!file.getCanonicalPath().startsWith(root)) throw new IllegalArgumentException(name);
        return file;
    }

    public void openLoose(String name) throws Exception {
        Path path = base.resolve(name);
        if (!path.startsWith(base)) return;
        new java.io.FileInputStream(path.toFile());
    }

    public void openAny(String name) throws Exception {
        Path path = base.resolve(name);
        new java.io.FileInputStream(path.toFile());
    }
}
"""
CALLER = "package web; import data.*; import java.util.*; class Front {\n void a(%s) throws Exception {\n%s\n }\n}\n"
REQUEST = "javax.servlet.http.HttpServletRequest request, Store store"
GIVEN = 'String id = request.getParameter("id");\n'


async def reached(*statements: str, called: str = "careful") -> list[str]:
    """The rules of what is found where the callee has these statements."""
    files = {
        "data/Store.java": CHECKED % "\n".join(statements),
        "web/Front.java": CALLER % (REQUEST, GIVEN + f"store.{called}(id);"),
    }
    return [one[0] for one in await found(files)]


@pytest.mark.parametrize(
    "statements",
    [
        ("if (!OK.contains(id)) throw new IllegalArgumentException();",),
        ("if (!OK.contains(id)) {", "    return;", "}"),
        ("if (id == null || !OK.contains(id)) return;",),
        ("if (OK.contains(id) == false) return;",),
        ('if (!Set.of("a").contains(id)) return;',),
        ('if (!List.of("a").contains(id)) return;',),
        ('if (!Arrays.asList("a").contains(id.toLowerCase())) return;',),
        ("if (!NAMES.containsKey(id)) return;",),
        ("if (!NAMES.keySet().contains(id)) return;",),
        ("if (OK.contains(id)) { find(id); }", "id = null;"),
        ("if (OK.contains(id)) { find(id); } else { throw new Error(); }",),
        ("if (!OK.contains(id)) { log(id); } else { find(id); }", "id = null;"),
        ('if (!OK.contains(id)) id = "a";',),
        ('id = OK.contains(id) ? id : "a";',),
        ('String to = !OK.contains(id) ? "a" : id;', "id = to;"),
        ('if (!id.matches("[a-z]+")) throw new Error();',),
        ('if (!id.matches("^\\\\w{1,9}(-[A-Z0-9_]+)?$")) return;',),
        ("if (!PLAIN.matcher(id).matches()) return;",),
        ('if (!Pattern.compile("^[a-z]+$").matcher(id).find()) return;',),
        ('if (!Pattern.matches("[a-z]+", id)) return;',),
        ('if ("a".equals(id) || id.equals("b")) { find(id); }', "id = null;"),
        ('switch (id) { case "a": break; default: throw new Error(); }',),
        ('switch (id) { case "a", "b" -> find(id); default -> { return; } }',),
        ("id = Optional.of(id).filter(OK::contains).get();",),
        ("id = Optional.of(id).filter(one -> OK.contains(one)).get();",),
        ("check(id);",),
        ("try { check(id); } catch (Exception e) { return; }",),
        ("if (!valid(id)) return;",),
        ("if (!Store.valid(id)) { throw new Error(); }",),
        ("for (String one : List.of(id)) { if (!OK.contains(one)) continue; find(one); }", "id = null;"),
    ],
)
async def test_what_was_held_against_a_list_or_a_plain_pattern_is_harmless(statements: tuple[str, ...]) -> None:
    assert await reached(*statements) == []


@pytest.mark.parametrize(
    "statements",
    [
        ('if (!id.contains("x")) return;',),
        ('if (!id.matches(".*")) return;',),
        ('if (!id.matches("[^;]+")) return;',),
        ('if (!id.matches("[a-z \'/]+")) return;',),
        ('if (!id.matches("[+-9]+")) return;',),
        ("if (!ANY.matcher(id).matches()) return;",),
        ("if (!PLAIN.matcher(id).find()) return;",),
        ("if (!OK.contains(id)) log(id);",),
        ("if (OK.contains(id)) return;",),
        ("if (!OK.contains(other)) return;",),
        ("if (!OK.contains(id) && other) return;",),
        ("if (OK.contains(id) || other) { find(id); }", "id = null;"),
        ("if (other) { if (!OK.contains(id)) return; }",),
        ("if (OK.contains(id)) { log(id); }",),
        ("Set<String> seen = new HashSet<>();", "seen.add(id);", "if (!seen.contains(id)) return;"),
        ('if ("a".equals(id)) return;',),
        ('switch (id) { case "a": break; default: log(id); }',),
        ('switch (id) { case "a": return; }',),
        ("try { check(id); } catch (Exception e) { log(id); }",),
        ("log(id);",),
        ("if (valid(id)) return;",),
        ('id = OK.contains(id) ? "a" : id;',),
    ],
)
async def test_what_no_check_holds_back_is_told(statements: tuple[str, ...]) -> None:
    assert set(await reached(*statements)) == {"java-sql-injection"}


async def test_a_path_that_is_held_against_its_folder_is_harmless() -> None:
    assert await reached(called="open") == []
    assert await reached(called="file") == []
    assert set(await reached(called="openLoose")) == {"java-path-traversal"}
    assert set(await reached(called="openAny")) == {"java-path-traversal"}


@pytest.mark.parametrize(
    ("statements", "rules"),
    [
        ("if (!Store.OK.contains(id)) return;\nstore.find(id);", []),
        ("if (Store.OK.contains(id)) store.find(id);", []),
        ('store.find(Store.OK.contains(id) ? id : "a");', []),
        ('if (!Set.of("a").contains(request.getParameter("b"))) return;\nstore.find(request.getParameter("b"));', []),
        ('if (!Store.OK.contains(id)) return;\nstore.find(request.getParameter("b"));', ["java-sql-injection"]),
    ],
)
async def test_a_check_before_the_call_counts_as_well(statements: str, rules: list[str]) -> None:
    files = {"data/Store.java": CHECKED % "", "web/Front.java": CALLER % (REQUEST, GIVEN + statements)}
    assert [one[0] for one in await found(files)] == rules


async def test_what_is_written_as_json_makes_no_page() -> None:
    page = """\
package web;
import java.util.Map;
import javax.servlet.http.*;
class Page {
    static void write(HttpServletResponse response, String text) throws Exception {
        response.getWriter().write(%s);
    }
}
class Front extends HttpServlet {
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws Exception {
        Page.write(response, request.getParameter("a"));
    }
}
"""
    imports = "import com.google.gson.Gson; import com.fasterxml.jackson.databind.ObjectMapper;"
    for written, rules in (
        ("text", ["java-xss"]),
        ('new Gson().toJson(Map.of("a", text))', []),
        ("new ObjectMapper().writeValueAsString(text)", []),
    ):
        files = {"Page.java": (page % written).replace("import java", imports + "import java", 1)}
        assert [one[0] for one in await found(files)] == rules
