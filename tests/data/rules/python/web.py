import html
import os
import urllib.request
from pathlib import Path

import defusedxml.ElementTree
import requests
from django.http import HttpResponse
from django.shortcuts import redirect as go
from flask import Flask, Markup, Response, jsonify, redirect, request, send_file, send_from_directory, session, url_for
from lxml import etree
from werkzeug.utils import secure_filename

app = Flask(__name__)
HOSTS = {"a": "https://a.example"}


@app.route("/hello")
def hello():
    name = request.args.get("name", "")
    return "<h1>" + name + "</h1>"  # finds: python-xss


@app.route("/safe")
def safe():
    name = html.escape(request.args.get("name", ""))
    return "<h1>" + name + "</h1>"


@app.route("/data")
def data():
    return jsonify(request.args)


def django_page(request):
    return HttpResponse("Hello " + request.GET["name"])  # finds: python-xss


def marked():
    return Markup(request.args["text"])  # finds: python-xss


def fetch():
    requests.get(request.args["url"], timeout=3)  # finds: python-ssrf
    urllib.request.urlopen("http://" + request.args["host"])  # finds: python-ssrf
    requests.get("https://api.example/search", params={"q": request.args["q"]}, timeout=3)
    requests.get(HOSTS[request.args["host"]], timeout=3)
    redis_client.get(request.args["key"])
    session.get(request.args["key"])
    request.session.get(request.args["key"])
    http_session.get(request.args["url"])  # finds: python-ssrf


def files(root: Path):
    name = request.args["name"]
    open("/srv/files/" + name)  # finds: python-path-traversal
    os.remove(os.path.join("/srv", name))  # finds: python-path-traversal
    open(os.path.join("/srv", secure_filename(name)))
    open("/srv/files/fixed.txt")
    (root / name).read_text()  # finds: python-path-traversal
    return send_file(name)  # finds: python-path-traversal


def leave():
    return redirect(request.args["next"])  # finds: python-open-redirect


def leave_django(request):
    return go(request.GET.get("next"))  # finds: python-open-redirect


@app.route("/stay", methods=["POST"])
def stay():
    return redirect(url_for("hello", tab=request.form["tab"]))


@app.route("/shown")
def shown():
    return render_page(f"{request.args['page']}.md", "a" + request.args["b"])


@app.route("/sent")
def sent():
    return send_from_directory("/srv/files", request.args["file"])


@app.route("/order/<pk>")
def order(pk):
    return render_order(pk)


@app.route("/page/<pk>")
def page_as_json(pk):
    page = Page.get(pk)
    return page.to_json()


@app.route("/answer", methods=["POST"])
def answer():
    body, status = answered(request.get_json())
    return body, status


@app.route("/named/<name>")
def named(name):
    return name  # finds: python-xss


@app.route("/echo")
def echo():
    return request.args.get("text"), 400  # finds: python-xss


@app.route("/echoed")
def echoed():
    text = f"<p>{request.args['text']}</p>"
    return text  # finds: python-xss


@app.route("/events")
def events():
    return Response(request.args["text"], mimetype="text/plain")


def stay_below():
    return redirect(f"/people/{request.args['name']}")


def leave_by_slashes():
    return redirect(f"/{request.args['name']}")  # finds: python-open-redirect


def remember():
    session["role"] = request.form["role"]  # finds: python-trust-boundary
    session["colour"] = "red"
    session["user_id"] = int(request.form["id"])


def begin(response: Response):
    response.set_cookie("sessionid", request.args["sid"], secure=True, httponly=True)  # finds: python-session-fixation
    response.set_cookie("colour", request.args["colour"])


def read():
    etree.fromstring(request.data)  # finds: python-xxe-request
    defusedxml.ElementTree.fromstring(request.data)
    etree.XMLParser(resolve_entities=True)  # finds: python-xxe
    etree.XMLParser(resolve_entities=False)
