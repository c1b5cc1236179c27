"""Data that goes from one function of JavaScript or TypeScript to another."""

import time

import pytest

from tidemill.review.engines import FlowEngine


async def found(files: dict[str, str]) -> list[tuple[str, str, int]]:
    return [(one.rule, one.path, one.line) for one in (await FlowEngine().read(files)).remarks]


DATABASE = """\
const mysql = require("mysql");
const pool = mysql.createPool({});
async function query(text, values) {
  return pool.query(text, values);
}
module.exports = { query, byName: (name) => query("SELECT * FROM a WHERE n = '" + name + "'") };
"""


async def test_a_request_reaches_a_query_through_another_file_and_parameters_of_the_query_are_harmless() -> None:
    web = """\
const express = require("express");
const db = require("./db");
const app = express();
app.get("/a", async (req, res) => {
  res.json(await db.byName(req.query.name));
});
app.get("/b", async (req, res) => {
  await db.query("SELECT * FROM a WHERE n = ?", [req.query.name]);
  await db.byName(parseInt(req.query.name, 10));
  await db.byName("fixed");
});
"""
    reading = await FlowEngine().read({"src/db.js": DATABASE, "src/web.js": web})
    [one] = reading.remarks
    assert one.rule == "javascript-sql-injection"
    assert [(step.path, step.line) for step in one.trace] == [
        ("src/web.js", 5),
        ("src/db.js", 6),
        ("src/db.js", 3),
        ("src/db.js", 4),
    ]
    assert not reading.notes


TOOLS = """\
import { exec, execFile } from "node:child_process";
import fs from "fs/promises";
export function run(command) {
  exec("ls " + command);
}
export function listed(command) {
  execFile("ls", [command]);
}
export const read = async (name) => fs.readFile(`/srv/${name}`);
export default function evaluate(text) {
  return eval(text);
}
"""


@pytest.mark.parametrize(
    ("imported", "call", "line"),
    [
        ('import { run } from "./tools.js";', "run(req.query.a)", 4),
        ('import { run as start } from "./tools";', "start(req.params.a)", 4),
        ('import * as tools from "./tools";', "tools.run(req.body.a)", 4),
        ('import evaluate from "./tools";', "evaluate(req.body.a)", 11),
        ('import { read } from "@/lib/tools";', "await read(req.params.name)", 9),
        ('import { read } from "./barrel";', "await read(req.params.name)", 9),
        ('const { run } = require("./tools");', "run(`${req.cookies.a}`)", 4),
        ('const tools = require("./tools");', "tools.default(req.body)", 11),
        ('const tools = await import("./tools");', "tools.run(req.body)", 4),
        ('import { listed } from "./tools";', "listed(req.query.a)", 0),
        ('import { run } from "./other";', "run(req.query.a)", 0),
        ('import { run } from "tools";', "run(req.query.a)", 0),
    ],
)
async def test_names_are_followed_through_imports(imported: str, call: str, line: int) -> None:
    web = f"{imported}\nexport async function handle(req, res) {{\n  {call};\n}}\n"
    files = {"app/lib/tools.ts": TOOLS, "app/lib/web.ts": web, "app/lib/barrel/index.ts": 'export * from "../tools";\n'}
    assert [one[1:] for one in await found(files)] == ([("app/lib/tools.ts", line)] if line else [])


async def test_what_compilers_write_is_followed() -> None:
    tools = """\
"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.run = void 0;
const child_process_1 = require("child_process");
function run(command) { (0, child_process_1.exec)(command); }
exports.run = run;
"""
    barrel = 'var __exportStar = 1;\n__exportStar(require("./tools"), exports);\n'
    named = """\
var _tools = _interopRequireDefault(require("./tools"));
Object.defineProperty(exports, "start", {
  enumerable: true,
  get: function () {
    return _tools.run;
  },
});
"""
    web = """\
const a = require("./barrel");
const b = require("./named");
exports.handle = function (req, res) {
  (0, a.run)(req.query.a);
  (0, b.start)(req.query.b);
};
"""
    reading = await FlowEngine().read({"tools.js": tools, "barrel.js": barrel, "named.js": named, "web.js": web})
    assert [(one.trace[0].line, one.line) for one in reading.remarks] == [(4, 5), (5, 5)]


CONTROLLER = """\
import { Body, Controller, Get, Param, ParseIntPipe, Post, Query } from "@nestjs/common";
import { UsersService } from "./users.service";
import { UserDto } from "./user.dto";

@Controller("users")
export class UsersController {
  constructor(private readonly users: UsersService) {}

  @Get(":id")
  one(@Param("id") id: string, @Query("limit") limit: number) {
    return this.users.one(id);
  }

  @Get("number/:id")
  number(@Param("id", ParseIntPipe) id, @Query("limit") limit: number) {
    this.users.one(id);
    return this.users.one(limit);
  }

  @Post()
  add(@Body() user: UserDto) {
    return this.users.add({ name: user.name, table: "people" });
  }
}
"""
SERVICE = """\
import { DataSource } from "typeorm";

export class Base {
  protected run(text: string) {
    return this.dataSource.query(text);
  }
}

export class UsersService extends Base {
  constructor(private readonly dataSource: DataSource) {
    super();
  }

  one(id: string) {
    return this.run(`SELECT * FROM people WHERE id = ${id}`);
  }

  add({ name, table }: { name: string; table: string }) {
    this.dataSource.query("INSERT INTO " + table + " (name) VALUES ($1)", [name]);
    return this.log(name);
  }

  log(name: string) {
    return this.dataSource.query("INSERT INTO log VALUES ('" + name + "')");
  }
}
"""


async def test_nest_fills_parameters_and_injects_services() -> None:
    reading = await FlowEngine().read({"src/users.controller.ts": CONTROLLER, "src/users.service.ts": SERVICE})
    assert [(one.trace[0].line, one.line) for one in reading.remarks] == [(10, 5), (21, 24)]


async def test_a_type_that_is_declared_says_what_is_a_database_and_what_an_event_of_a_cloud_function() -> None:
    store = """\
import { Repository, DataSource as Source } from "typeorm";
import { EventBus } from "@nestjs/cqrs";
export class Store {
  constructor(@InjectRepository(User) private repo: Repository<User>, private source: Source, private bus: EventBus) {}
  one(id: string) { return this.repo.query(`SELECT * FROM a WHERE id = ${id}`); }
  two(id: string) { return this.source.query(`SELECT * FROM a WHERE id = ${id}`); }
  none(id: string) { return this.bus.query(`SELECT * FROM a WHERE id = ${id}`); }
  call(id: string, then: Function) { then(id); }
}
"""
    web = """\
import { APIGatewayProxyEvent, SQSEvent } from "aws-lambda";
import { Store } from "./store";
const store = new Store();
export const handler = async (event: APIGatewayProxyEvent) => {
  const { id } = JSON.parse(event.body ?? "{}");
  await store.one(id);
  await store.two(event.pathParameters.id);
  await store.none(id);
  await store.call(id, log);
};
export const other = async (event: SQSEvent) => store.one(event.body);
"""
    reading = await FlowEngine().read({"store.ts": store, "web.ts": web})
    assert [(one.trace[0].line, one.line) for one in reading.remarks] == [(5, 5), (7, 6)]


async def test_objects_of_classes_are_followed_where_they_are_made() -> None:
    store = """\
const { Pool } = require("pg");
class Store {
  constructor(db) { this.db = db; }
  find(name) { return this.db.query(`SELECT * FROM a WHERE n = '${name}'`); }
  static all(order) { return new Pool().query("SELECT * FROM a ORDER BY " + order); }
}
function Old() {}
Old.prototype.find = function (name) { return this.check(name); };
Old.prototype.check = function (name) { return db.query("SELECT " + name); };
module.exports = { Store, Old };
"""
    web = """\
const { Store, Old } = require("./store");
class Service {
  constructor() { this.store = new Store(db); }
  find(name) { return this.store.find(name); }
}
const service = new Service();
async function show(req, res) {
  const store = new Store(db);
  await store.find(req.query.a);
  await new Store(db).find(req.query.b);
  await service.find(req.query.c);
  await Store.all(req.query.d);
  await new Old().find(req.query.e);
  await other.find(req.query.f);
}
"""
    reading = await FlowEngine().read({"store.js": store, "web.js": web})
    assert sorted((one.trace[0].line, one.line) for one in reading.remarks) == [
        (9, 4),
        (10, 4),
        (11, 4),
        (12, 5),
        (13, 9),
    ]


@pytest.mark.parametrize(
    ("handler", "followed"),
    [
        ("app.get('/', (req, res) => run(req.query.a))", True),
        ("router.post('/', auth, async (request, reply) => { await run(request.body.a); })", True),
        ("fastify.get('/', async (request) => { const { a } = request.params; run(a); })", True),
        ("app.route({ method: 'GET', handler: (request, reply) => run(request.query.a) })", True),
        ("router.get('/', async (ctx, next) => { run(ctx.query.a); })", True),
        ("router.get('/', async (ctx) => { run(ctx.request.body.a); })", True),
        ("app.get('/', (c) => run(c.req.query('a')))", True),
        ("exports.handler = async (event) => run(event.queryStringParameters.a)", True),
        ("exports.handler = async (event) => run(JSON.parse(event.body).a)", True),
        ("exports.handler = async ({ body }) => run(body)", False),
        ("app.use((req, res, next) => { run(req.headers['x-a']); })", True),
        ("app.use((req, res, next) => { run(req.headers.host); })", True),
        ("app.get('/', ({ query }, res) => run(query.a))", True),
        ("app.get('/', (req, res) => { const { query: { a = 1 } } = req; run(a); })", True),
        ("app.get('/', (req, res) => { [req.query.a].map((one) => run(one)); })", True),
        ("app.get('/', (req, res) => load().then((one) => run(one)))", False),
        ("app.get('/', (req, res) => Promise.resolve(req.query.a).then(run))", True),
        ("app.get('/', (req, res) => { for (const one of req.body.all) run(one); })", True),
        ("app.get('/', (req, res) => { let a; a ??= req.query.a ?? ''; run(a.trim()); })", True),
        ("app.get('/', (req, res) => { const o = { a: req.query.a, b: 'fixed' }; run(o.b); })", False),
        ("app.get('/', (req, res) => { const o = { a: req.query.a, b: 'fixed' }; run(o.a); })", True),
        ("app.get('/', (req, res) => run(req.query.a === 'b' ? 'c' : 'd'))", False),
        ("app.get('/', (req, res) => run(+req.query.a))", False),
        ("app.get('/', (req, res) => run(NAMES[req.query.a]))", False),
        ("app.get('/', async (req, res) => run(await names.find(req.query.a)))", False),
        ("app.get('/', (req, res) => { const a = req.query.a; if (!KNOWN.includes(a)) return; run(a); })", False),
        ("app.get('/', (req, res) => { const a = req.query.a; if (!/^a+$/.test(a)) throw 1; run(a); })", False),
        ("app.get('/', (req, res) => { const a = req.query.a; if (!/a/.test(a)) throw 1; run(a); })", True),
        ("app.get('/', (req, res) => { const a = req.query.a; if (!KNOWN.includes(a)) log(a); run(a); })", True),
        ("app.get('/', (req, res) => { const a = req.query.a; run(KNOWN.has(a) ? a : 'b'); })", False),
        ("app.get('/', (req, res) => run(sql`SELECT ${req.query.a}`))", False),
        ("function ask() { const req = http.request({}); run(req.headers.a); }", False),
        ("function ask(request) { run(request.headers.a); }", False),
        ("all.map((id) => run(id)); function a(req, res) { const id = req.query.a; all.map((id) => run(id)); }", False),
    ],
)
async def test_handlers_of_each_framework(handler: str, followed: bool) -> None:
    text = f"const {{ exec }} = require('child_process');\nfunction run(command) {{\n  exec(command);\n}}\n{handler};\n"
    assert await found({"a.js": text}) == ([("javascript-command-injection", "a.js", 3)] if followed else [])


async def test_requests_of_next_and_of_the_programs_own_types() -> None:
    text = """\
import { exec } from "child_process";
import { NextApiRequest, NextRequest } from "next";
function run(command: string, count: number) {
  exec(command);
  exec(`${count}`);
}
export async function GET(request: NextRequest) {
  run(request.nextUrl.searchParams.get("a"), 1);
  const { searchParams } = new URL(request.url);
  run(searchParams.get("b"), 1);
}
export async function POST(request: Request) {
  const body = await request.json();
  run(body.a, 1);
}
export default function handle(req: NextApiRequest, res: NextApiResponse) {
  run(req.query.a as string, 1);
  run("fixed", req.query.b as any);
}
function search(request: Search, query: string) {
  run(request.query, 1);
}
"""
    reading = await FlowEngine().read({"app/route.ts": text})
    assert [(one.trace[0].line, one.line) for one in reading.remarks] == [(8, 4), (9, 4), (13, 4), (17, 4)]


CLIENT = """\
const axios = require("axios");
const BASE = "https://api.example";
exports.ask = (url) => axios.get(url);
exports.user = (id) => axios.get(`${BASE}/users/${id}`);
exports.fixed = (path) => fetch("https://api.example/" + path);
exports.host = (host) => fetch(`https://${host}/status`);
exports.path = (id) => "/people/" + id;
exports.options = (o) => axios({ url: o.url, data: o.data });
"""


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ("client.ask(req.query.a)", 3),
        ("client.ask('https://' + req.query.a)", 3),
        ("client.ask(`https://api.example/${req.query.a}`)", 0),
        ("client.ask(client.path(req.query.a))", 0),
        ("client.user(req.query.a)", 0),
        ("client.fixed(req.query.a)", 0),
        ("client.host(req.query.a)", 6),
        ("client.options({ url: req.query.a })", 8),
        ("client.options({ url: 'https://a.example', data: req.body })", 0),
        ("client.ask(encodeURIComponent(req.query.a))", 0),
    ],
)
async def test_an_address_counts_only_where_its_host_can_be_chosen(call: str, line: int) -> None:
    web = f'const client = require("./client");\napp.get("/", async (req, res) => {{\n  await {call};\n}});\n'
    assert await found({"client.js": CLIENT, "web.js": web}) == (
        [("javascript-ssrf", "client.js", line)] if line else []
    )


async def test_each_kind_of_sink() -> None:
    sinks = {
        "javascript-command-injection": "cp.spawn('sh', ['-c', v])",
        "javascript-code-injection": "new Function('a', v)",
        "javascript-path-traversal": "fs.createReadStream(path.join('/srv', v))",
        "javascript-open-redirect": "res.redirect(302, v)",
        "javascript-xss": "res.status(404).send(`<p>${v}</p>`)",
        "javascript-xpath-injection": "xpath.select('//a[b=' + v + ']', doc)",
        "javascript-ldap-injection": "client.search('dc=a', { filter: '(uid=' + v + ')' })",
        "javascript-insecure-deserialization": "serialize.unserialize(v)",
        "javascript-sql-injection": "db.query({ text: 'SELECT ' + v })",
    }
    harmless = [
        "cp.spawn('ls', ['-c', v])",
        "fs.readFile(path.join('/srv', path.basename(v)))",
        "res.redirect('/people/' + v)",
        "res.send({ v })",
        "res.json(v)",
        "db.query({ text: 'SELECT $1', values: [v] })",
        "db.query('SELECT ' + mysql.escape(v))",
        "res.sendFile(v, { root: '/srv' })",
    ]
    lines = "".join(f"  {code};\n" for code in (*sinks.values(), *harmless))
    text = f"function all(res, v) {{\n{lines}}}\nexports.show = (req, res) => {{\n  all(res, req.query.v);\n}};\n"
    head = "const cp = require('child_process'), fs = require('fs'), path = require('path'); "
    assert await found({"a.js": head + text}) == [(kind, "a.js", line + 2) for line, kind in enumerate(sinks)]


@pytest.mark.parametrize(
    ("escaped", "harms"),
    [
        ("v", "query run show ask read"),
        ("parseInt(v, 10)", ""),
        ("encodeURIComponent(v)", "query run"),
        ("encodeURI(v)", "query run ask read"),
        ("escapeHtml(v)", "query run ask read"),
        ("xss(v)", "query run ask read"),
        ("he.encode(v)", "query run ask read"),
        ("sanitize(v)", "query run ask read"),
        ("own.escapeHtml(v)", "query run ask read"),
        ("own.clean(v)", "query run show ask read"),
        ("own.sign(v)", "query run show ask read"),
        ("own.hash(v)", ""),
        ("mysql.escape(v)", "run show ask read"),
        ("pool.escapeLiteral(v)", "run show ask read"),
        ("quote([v])", "query show ask read"),
        ("path.basename(v)", "query run show ask"),
    ],
)
async def test_an_escaper_takes_away_its_own_kind_of_harm(escaped: str, harms: str) -> None:
    sinks = """\
exports.query = (v) => pool.query("SELECT 1 WHERE a = " + v);
exports.run = (v) => require("child_process").exec("ls " + v);
exports.show = (res, v) => res.send(`<p>${v}</p>`);
exports.ask = (v) => fetch("https://" + v);
exports.read = (v) => require("fs").readFileSync("/srv/" + v);
"""
    own = """\
const crypto = require("crypto");
exports.clean = (v) => v.trim();
exports.sign = (v) => `${v}.1`;
exports.escapeHtml = (v) => v.split("<").join("");
exports.hash = (v) => crypto.createHash("sha256").update(v).digest("hex");
"""
    web = f"""\
const sinks = require("./sinks"), own = require("./own"), mysql = require("mysql"), he = require("he");
const path = require("path"), sanitize = require("sanitizer"), xss = require("xss");
const {{ quote }} = require("shell-quote"), escapeHtml = require("escape-html");
app.get("/", (req, res) => {{
  const v = req.query.v;
  const safe = {escaped};
  sinks.query(safe); sinks.run(safe); sinks.show(res, safe); sinks.ask(safe); sinks.read(safe);
}});
"""
    names = {1: "query", 2: "run", 3: "show", 4: "ask", 5: "read"}
    remarks = await found({"sinks.js": sinks, "own.js": own, "web.js": web})
    assert " ".join(names[line] for _, _, line in sorted(remarks, key=lambda one: one[2])) == harms


@pytest.mark.parametrize(
    ("built", "followed"),
    [
        ("const w = []; w.push('n = ' + f.name); return w.join(' and ');", True),
        ("const w = ['a = 1']; if (f.name) { w.push(`n = ${f.name}`); } return w.join(' and ');", True),
        ("const w = new Set(); w.add('a = 1').add(`n = ${f.name}`); return [...w].join(' and ');", True),
        ("const o = { all: [] }; o.all.unshift(`n = ${f.name}`); return o.all.join(' and ');", True),
        ("const w = []; Object.keys(f).forEach((k) => w.push(`${k} = 1`)); return w.join(' and ');", True),
        ("const w = [], v = []; w.push('n = $1'); v.push(f.name); return w.join(' and ');", False),
        ("const w = [], v = []; w.push(`n = $${v.push(f.name)}`); return w.join(' and ');", False),
        ("const w = [], v = []; v.push(f.name); w.push('n = $' + v.length); return w.join(' and ');", False),
        ("const w = new Set().add(`n = ${f.name}`); return [...w].join(' and ');", True),
        ("const made = orders.add(f); return made.id;", False),
        ("cache.set('a', f.name); return cache.get('b');", False),
        ("const o = { name: f.name }; return Object.keys(o).map((k, i) => `${k} = $${i + 1}`).join(' and ');", False),
        ("return COLUMNS.filter((c) => c in f).map((k, i) => `${k} = $${i + 1}`).join(' and ');", False),
        ("return Object.keys(f).filter((k) => COLUMNS.includes(k)).map((k) => `${k} = 1`).join(' and ');", False),
        ("return Object.keys(f).filter((k) => f[k] > 1).map((k) => `${k} = 1`).join(' and ');", True),
    ],
)
async def test_what_is_put_into_a_list_is_followed(built: str, followed: bool) -> None:
    find = f"const COLUMNS = ['name'];\nfunction where(f) {{ {built} }}\n"
    find += "exports.find = (f) => pool.query(\n  `SELECT 1 WHERE ${where(f)}`);\n"
    web = 'const { find } = require("./find");\napp.get("/", (req, res) => find(req.query));\n'
    assert await found({"find.js": find, "web.js": web}) == (
        [("javascript-sql-injection", "find.js", 3)] if followed else []
    )


async def test_headers_that_no_link_sets_reach_a_query_but_no_page_redirect_or_address() -> None:
    web = """\
const { byName } = require("./db");
const show = (res, text) => res.send(`<p>${text}</p>`);
const leave = (res, to) => res.redirect(to);
app.get("/", async (req, res) => {
  await byName(req.headers["x-forwarded-for"]);
  await byName(req.get("User-Agent"));
  await byName(req.headers.authorization);
  show(res, req.headers["user-agent"]);
  leave(res, req.get("X-Forwarded-Host"));
  show(res, req.get("X-Name"));
});
"""
    reading = await FlowEngine().read({"db.js": DATABASE, "web.js": web})
    assert sorted((one.trace[0].line, one.rule) for one in reading.remarks) == [
        (5, "javascript-sql-injection"),
        (6, "javascript-sql-injection"),
        (7, "javascript-sql-injection"),
        (10, "javascript-xss"),
    ]


async def test_a_page_that_is_answered_is_a_text_not_an_object() -> None:
    text = """\
const page = (name) => `<h1>${name}</h1>`;
const found = (name) => ({ name });
app.get("/", (req, res) => {
  res.send(page(req.query.name));
  res.send(found(req.query.name));
  res.send(page(escapeHtml(req.query.name)));
});
"""
    assert await found({"a.js": text}) == [("javascript-xss", "a.js", 4)]


@pytest.mark.parametrize(
    ("answer", "followed"),
    [
        ("res.send(text);", True),
        ("res.type('text/plain').send(text);", False),
        ("res.status(404).type('json').send(text);", False),
        ("res.type('html').send(text);", True),
        ("res.set('Content-Type', 'text/plain'); res.send(text);", False),
        ("res.set('Content-Type', 'text/html'); res.send(text);", True),
        ("res.set('X-Kind', 'text'); res.send(text);", True),
        ("res.writeHead(200, { 'Content-Type': 'application/json' }); res.end(text);", False),
        ("if (all) { res.type('txt'); return res.send(text); } res.send(text);", True),
        ("if (all) { res.type('txt'); } else { res.type('json'); } res.send(text);", True),
    ],
)
async def test_an_answer_that_is_said_to_be_no_page_is_harmless(answer: str, followed: bool) -> None:
    text = f"function show(res, name) {{ const text = `<p>${{name}}`; {answer} }}\n"
    web = "app.get('/', (req, res) => {\n  show(res, req.query.name);\n});\n"
    assert await found({"a.js": text + web}) == ([("javascript-xss", "a.js", 1)] if followed else [])


@pytest.mark.parametrize(
    ("code", "harms"),
    [
        ("const e = (s) => s.replace(/&/g, '&amp;').replace(/</g, '&lt;'); const v = e(f);", "run read"),
        ("const e = (s) => s.replace(/[&<>]/g, (c) => MAP[c]); const v = e(f);", "run read"),
        ("const v = f.replaceAll('<', '');", "run read"),
        ("const v = f.replace('<', '');", "run show read"),
        ("const v = f.replace(/<script>/g, '');", "run show read"),
        ("const v = f.replace(/[^a-z0-9_-]/gi, '');", ""),
        ("const v = path.resolve('/srv', f); if (!v.startsWith('/srv/')) throw new Error(f);", "run show"),
        ("const v = '/srv/' + f; if (!v.startsWith('/srv/')) throw new Error(f);", "run show read"),
        ("let v = ''; const p = path.resolve('/srv', f); if (p.startsWith('/srv/')) v = p;", "run show"),
        ("const ok = (s) => /^[a-z]+$/.test(s); const v = f; if (!ok(v)) return;", ""),
        ("function ok(all, s) { return all && KNOWN.has(s); } const v = f; if (!ok(1, v)) return;", ""),
        ("const ok = (s) => /^[a-z]+$/.test(s) || s.length > 5; const v = f; if (!ok(v)) return;", "run show read"),
        ("const v = [f].map((one, index) => index).join(',');", ""),
        ("const v = [f].reduce((before, one) => before + one, '');", "run show read"),
    ],
)
async def test_what_makes_a_value_harmless_for_some_kinds(code: str, harms: str) -> None:
    text = f"""\
const fs = require("fs"), path = require("path"), cp = require("child_process");
const use = (f, res) => {{
  const all = (v) => {{
    cp.exec("ls " + v);
    res.send("<p>" + v);
    fs.readFileSync(v);
  }};
  {code}
  all(v);
}};
app.get("/", (req, res) => {{
  use(req.query.f, res);
}});
"""
    names = {4: "run", 5: "show", 6: "read"}
    remarks = await found({"a.js": text})
    assert " ".join(names[line] for _, _, line in sorted(remarks, key=lambda one: one[2])) == harms


async def test_fields_of_objects_that_are_given_and_that_come_back_are_told_apart() -> None:
    text = """\
const { exec } = require("child_process");
function run(options) {
  exec(options.program);
}
async function made(name) {
  if (!name) return null;
  return { name, table: "people", ...read() };
}
app.get("/", async (req, res) => {
  run({ program: "ls", arguments: req.query.a });
  run({ program: req.query.b });
  const { table } = await made(req.query.c);
  run({ program: table });
  const one = await made(req.query.d);
  run({ program: one.table });
  run({ program: one.name });
  const local = { program: "ls" };
  run(local);
  local.program = req.query.e;
  run(local);
});
"""
    reading = await FlowEngine().read({"a.js": text})
    assert sorted((one.trace[0].line, one.line) for one in reading.remarks) == [(11, 3), (14, 3), (19, 3)]


async def test_a_value_that_was_held_against_a_list_is_harmless_where_it_passed() -> None:
    text = """const { exec } = require("child_process");
function run(command) {
  exec(command);
}
function handle(req, res) {
  const a = req.query.a;
  const known = typeof a === "string" && NAMES.includes(a);
  if (known) {
    run(a);
  } else {
    run(a);
  }
  if (!NAMES.includes(req.query.b)) {
    return res.end();
  }
  run(req.query.b);
  if (NAMES.includes(a) || res.locals.all) {
    run(a);
  }
}
"""
    reading = await FlowEngine().read({"a.js": text})
    assert [[step.line for step in one.trace] for one in reading.remarks] == [[6, 11, 2, 3]]


async def test_what_a_link_brings_reaches_a_page_and_no_server() -> None:
    show = """\
export function show(element, text) {
  element.innerHTML = text;
}
export function plain(element, text) {
  element.textContent = text;
}
export const leave = (next) => {
  window.location.href = next;
};
export const load = (url) => fetch(url);
"""
    page = """\
import { show, plain, leave, load } from "./show";
import DOMPurify from "dompurify";
show(document.body, decodeURIComponent(location.hash.slice(1)));
plain(document.body, location.hash);
show(document.body, DOMPurify.sanitize(location.hash));
leave(new URLSearchParams(location.search).get("next"));
leave("/home" + location.search);
load(location.hash.slice(1));
function own(location) {
  show(document.body, location.hash);
}
"""
    assert await found({"show.js": show, "page.js": page}) == [
        ("javascript-dom-xss", "show.js", 2),
        ("javascript-dom-redirect", "show.js", 8),
    ]


async def test_a_name_that_may_mean_several_things_is_not_followed() -> None:
    text = """\
const { exec } = require("child_process");
let run = (command) => exec(command);
run = (command) => log(command);
function handle(req, res, exec) {
  run(req.query.a);
  exec(req.query.a);
  const eval = parse;
  check(eval, req.query.a);
}
function check(read, text) {
  read(text);
}
"""
    assert await found({"a.js": text}) == []


@pytest.mark.parametrize(
    "text",
    [
        "run(" * 3000 + "req.query.a" + ")" * 3000,
        "a" + ".b(req.query.x)" * 5_000,
        "x = " + " + ".join(["req.query.a"] * 10_000),
        "{" * 5000 + "run(req.query.a)" + "}" * 5000,
        "a(() => " * 2000 + "req.query.a" + ")" * 2000,
        "exports.a = " * 8000 + "req.query.a",
        "req.query" + "[0]" * 20_000,
        "if (req.query.a) {} else " * 5_000,
        "`${" * 1500 + "req.query.a" + "}`" * 1500,
        "x = {...x, " * 1500 + "a: req.query.a" + "}" * 1500,
        "x.a = req.query.a; x = y; y = x; " * 4_000,
        "function (((( req.query.a \0\ud800 export import from 'x' class extends",
        "class A extends A { a() { super.a(req.query.a); this.b.c(); } b = this.b; } const c = c; c.d(req.query.a);",
        "const {a: {b: {c: [d, ...e]}}, ...f} = req; export { x as y, y as x } from './a'; export * from './a';",
    ],
    ids=range(14),
)
@pytest.mark.unmeasured
async def test_hostile_code_is_read_in_time(text: str) -> None:
    before = time.process_time()
    call = "export function run(a) { eval(a); run(a); }\n"
    files = {"a.js": f"{call}export function b(req, res) {{ {text} }}", "b.ts": f'import {{ run }} from "./a";\n{text}'}
    await FlowEngine().read({**files, "c.tsx": 'export * from "./c"; import x from "./b"; x(req.query.a)'})
    assert time.process_time() - before < 20


@pytest.mark.unmeasured
async def test_a_file_that_exports_hundreds_again_and_an_object_of_hundreds_of_fields_are_read_in_time() -> None:
    many = 600
    files = {f"m{one}.ts": f"export const f{one} = (x) => eval(x);\n" for one in range(many)}
    files["index.ts"] = "".join(f'export * from "./m{one}";\n' for one in range(many))
    calls = "".join(f"  all.f{one}(req.query.a);\n" for one in range(many))
    files["web.ts"] = f'import * as all from "./index";\nexport const h = (req, res) => {{\n{calls}}};\n'
    filled = "".join(f"  o.f{one} = req.body.a{one};\n" for one in range(many))
    fields = ", ".join(f"f{one}: o.f{one}" for one in range(many))
    made = f"function made(req) {{\n  const o = {{}};\n{filled}  return {{ {fields}, own: 1 }};\n}}\n"
    read = "".join(f"  run(made(req).f{one});\n" for one in range(many))
    copies = f"{made}function run(x) {{\n  eval(x);\n}}\nexports.h = (req, res) => {{\n{read}}};\n"
    before = time.process_time()
    assert len(await found(files)) == many
    assert await found({"a.js": copies})
    assert time.process_time() - before < 8


async def test_modules_that_import_one_another_are_followed() -> None:
    a = 'import { b } from "./b";\nexport const run = (x) => b(x);\nexport * from "./b";\n'
    b = 'import { run } from "./a";\nexport const b = (x) => (x ? run(x.y) : eval(x));\nexport * from "./a";\n'
    web = 'import { run, no } from "./a";\nexport const show = (req, res) => { no(req.query.a); run(req.query.a); };\n'
    assert await found({"a.ts": a, "b.ts": b, "web.ts": web}) == [("javascript-code-injection", "b.ts", 2)]


async def test_a_file_that_does_not_parse_whole_is_read_as_far_as_it_does() -> None:
    text = "function run(x) {\n  eval(x);\n}\nexports.show = (req, res) => { run(req.query.a); };\nconst = = 5 {;\n"
    reading = await FlowEngine().read({"a.js": text})
    assert [(one.rule, one.line) for one in reading.remarks] == [("javascript-code-injection", 2)]
    assert "a.js" in reading.unread


async def test_a_function_that_is_nested_too_deeply_is_named_and_the_others_are_followed() -> None:
    deep = "function deep(req, res) { run(" + "[" * 300 + "req.query.a" + "]" * 300 + "); }\n"
    text = f"function run(x) {{\n  eval(x);\n}}\n{deep}exports.show = (req, res) => {{ run(req.query.a); }};\n"
    reading = await FlowEngine().read({"a.js": text})
    assert [(one.trace[0].line, one.line) for one in reading.remarks] == [(5, 2)]
    (note,) = reading.notes
    assert note.startswith("flow did not follow the function at a.js:4: it is nested too deeply")
    assert reading.unread == {"a.js"}
