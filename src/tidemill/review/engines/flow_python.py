"""What is a source, a sink and harmless in Python, where data is followed from one function to another."""

import re
from functools import cache

from tidemill.analysis.flow import Sink
from tidemill.analysis.python_flow import PythonRules
from tidemill.analysis.syntax import Language
from tidemill.review.rules.catalog import rules_of

_VERBS = "get|post|put|patch|delete|head|options|stream"


def _bound_to(rule: str, method: str) -> str:
    """What Semgrep's rule says of the objects whose methods do harm: `$DB` of the pattern that names this method."""
    found = rules_of(frozenset({Language.PYTHON}))[rule].definition["pattern-sinks"]
    for sink in found:
        where = {
            one["metavariable-regex"]["metavariable"]: one["metavariable-regex"]["regex"]
            for one in sink.get("patterns", ())
            if "metavariable-regex" in one
        }
        if "$DB" in where and re.match(where.get("$RUN", "$^"), method):
            return str(where["$DB"])
    raise KeyError(f"No sink of {rule} names {method}.")


@cache
def python_rules() -> PythonRules:
    """The table for `python_functions`; what reaches a database is as in the rule of Semgrep."""
    database = re.sub(r"^\(\?is\)\^|\$$", "", _bound_to("python-sql-injection", "execute"))
    return PythonRules(
        sources=re.compile(
            r"(?:self\.|flask\.)?request\.(?:args|form|values|json|data|cookies|headers|files|query_string|GET|POST"
            r"|FILES|COOKIES|META|body|query|query_params|path_params|match_info|get_json|get_data)(?:\.get|\.getlist)?"
            r"|self\.get_(?:query_|body_)?arguments?"
        ),
        requests=re.compile(
            r"\b(?:\w*HttpRequest|HTTPRequest|WSGIRequest|ASGIRequest|HTTPConnection|Request|Any|object)\b"
        ),
        routes=re.compile(
            r"@[\w.]+\.(?:route|get|post|put|patch|delete|head|options|websocket|api_route)\((?=\s*(?:path\s*=\s*)?f?[\"'])"
        ),
        trusted=re.compile(
            r"(?s)(?:self|cls|db|session|request|response|background_tasks|user|current_user|settings|state)\b"
            r"|[\w*]+\s*:(?!\s*(?:str|bytes|dict|list|(?:typing\.)?Any|Optional\[str|Annotated\[(?:str|dict|list)"
            r"|(?:fastapi\.)?UploadFile)\b)|.*\b(?:Depends|Security)\b|\*"
        ),
        harmless=re.compile(
            r"(?s:(?:psycopg2?\.)?sql\.\w+(?:\(.*\)\.\w+)?)|int|float|bool|len|isinstance|(?:shlex\.)?quote"
            r"|(?:html\.|markupsafe\.)?escape|secure_filename|uuid\.UUID|UUID|(?:decimal\.)?Decimal|(?:bleach|nh3)\.clean"
            r"|os\.path\.basename|(?:hashlib\.)\w+|escape_filter_chars|(?:flask\.)?url_for|[A-Z][A-Z0-9_]+\.get"
        ),
        sinks=(
            _sink(
                "python-sql-injection",
                rf"(?is:.*{database}\.(?:execute|executemany|executescript|exec_driver_sql))",
            ),
            _sink(
                "python-command-injection",
                r"os\.(?:system|popen)|subprocess\.(?:getoutput|getstatusoutput)|asyncio\.create_subprocess_shell",
            ),
            _sink("python-command-injection", r"subprocess\.\w+", arguments=r"(?s)\(.*\bshell\s*=\s*True\b"),
            _sink(
                "python-command-injection",
                r"subprocess\.\w+",
                arguments=r"""\(\s*[\[(]\s*["'](?:/bin/|/usr/bin/)?(?:ba|z|da)?sh["']\s*,\s*["']-\w*c["']""",
            ),
            _sink("python-code-injection", r"eval|exec|(?:flask\.)?render_template_string|jinja2\.Template"),
            _sink(
                "python-ssrf",
                rf"(?:requests|httpx)\.(?:{_VERBS})|(?:[\w.]+\.)?urlopen"
                rf"|(?:requests\.[sS]ession|httpx\.(?:Async)?Client|aiohttp\.ClientSession)(?s:\(.*\))?\.(?:{_VERBS})",
            ),
            _sink("python-ssrf", r"(?:requests|httpx)\.(?:request|stream)", position=1),
            _sink("python-path-traversal", r"(?:io\.)?open|(?:flask\.)?send_file|shutil\.rmtree"),
            _sink("python-path-traversal", r"os\.(?:remove|unlink|rmdir|listdir|makedirs|mkdir|scandir)"),
            _sink(
                "python-insecure-deserialization",
                r"(?:pickle|cPickle|dill|cloudpickle|marshal)\.loads?|yaml\.unsafe_load",
            ),
            _sink(
                "python-open-redirect", r"(?:flask\.|django\.shortcuts\.)?redirect|(?:[\w.]+\.)?HttpResponseRedirect"
            ),
            _sink("python-xss", r"(?:markupsafe\.|flask\.)?Markup|(?:[\w.]+\.)?mark_safe"),
            _sink("python-xpath-injection", r"[\w.]+\.xpath"),
            _sink("python-ldap-injection", r"[\w.]+\.search_(?:ext_)?s", position=2),
        ),
    )


def _sink(rule: str, name: str, *, position: int = 0, arguments: str | None = None) -> Sink:
    return Sink(rule, re.compile(name), position, re.compile(arguments) if arguments else None)
