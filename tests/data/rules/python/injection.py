import importlib
import os
import shlex
import subprocess

import jinja2
import ldap
import ldap.filter
import yaml
from fastapi import FastAPI
from flask import Flask, render_template_string, request
from lxml import etree
from sqlalchemy import text

app = Flask(__name__)
api = FastAPI()
TABLES = {"a": "alpha"}
COLUMNS = "name, age"


def sql(db, cursor):
    name = request.args.get("name")
    query = "SELECT * FROM people WHERE name = '" + name + "'"
    cursor.execute(query)  # finds: python-sql-injection
    cursor.execute("SELECT * FROM people WHERE name = %s", (name,))
    db.session.execute(text("SELECT " + name))  # finds: python-sql-injection
    number = int(request.args["number"])
    cursor.execute(f"SELECT * FROM people LIMIT {number}")  # finds: python-sql-string
    cursor.execute(f"SELECT {COLUMNS} FROM people")
    table = TABLES[name]
    statement = "SELECT * FROM " + table
    cursor.execute(statement)


def django_view(request, connection):
    order = request.GET["order"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 ORDER BY %s" % order)  # finds: python-sql-injection
        cursor.execute("SELECT 1 WHERE a = %s", [order])


@api.get("/people/{name}")
async def fastapi_view(name: str, limit: int, cursor):
    await cursor.execute("SELECT * FROM people WHERE name = '" + name + "'")  # finds: python-sql-injection
    statement = "SELECT * FROM people LIMIT " + str(limit)
    await cursor.execute(statement)


@app.route("/ping/<host>")
def ping(host):
    os.system("ping -c 1 " + host)  # finds: python-command-injection
    subprocess.run(f"ping {host}", shell=True)  # finds: python-command-injection
    subprocess.run("ping " + shlex.quote(host), shell=True)
    subprocess.run(["ping", "-c", "1", host])
    return {}


def code():
    eval(request.form["expression"])  # finds: python-code-injection
    exec(request.get_json()["source"])  # finds: python-code-injection
    importlib.import_module(request.args["module"])  # finds: python-code-injection
    yaml.safe_load(request.data)
    return render_template_string("<p>" + request.args["name"])  # finds: python-code-injection


def template(environment: jinja2.Environment):
    environment.from_string("<p>fixed</p>").render(name=request.args["name"])
    eval("1 + 1")


def directory(connection):
    who = request.args["who"]
    connection.search_s("dc=a", ldap.SCOPE_SUBTREE, "(uid=" + who + ")")  # finds: python-ldap-injection
    safe = ldap.filter.escape_filter_chars(who)
    connection.search_s("dc=a", ldap.SCOPE_SUBTREE, "(uid=" + safe + ")")


def select(tree: etree._ElementTree):
    name = request.args["name"]
    tree.xpath("//user[name='" + name + "']")  # finds: python-xpath-injection
    tree.xpath("//user[name=$name]", name=name)


async def not_sql(task, workflow, client, pool):
    from app.jobs import execute, fetch

    await fetch(request.args["u"], client)
    await AsyncHTTPClient().fetch(request.args["u"])
    await self.fetcher.fetch(self.get_argument("u"))
    task.execute(request.json["args"])
    workflow.raw(request.args["name"])
    execute(request.json["args"])
    await pool.fetch("SELECT " + request.args["columns"])  # finds: python-sql-injection
    Person.objects.raw("SELECT " + request.args["columns"])  # finds: python-sql-injection
    get_db().execute("SELECT " + request.args["columns"])  # finds: python-sql-injection
