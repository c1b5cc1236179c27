"""Data that goes from a request in one Python function to where it does harm in another, also in another file."""

import asyncio
import re
from collections.abc import Mapping
from functools import cache

from tidemill.analysis.paths import PathKind, kind_of
from tidemill.analysis.python_flow import Flow, FlowRules, Place, Sink, flows_between
from tidemill.analysis.syntax import Language
from tidemill.core.finding import Severity, TraceStep
from tidemill.review.engines.files import FileEngine
from tidemill.review.engines.port import Reading
from tidemill.review.placing import Remark, lines_of
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
def _rules() -> FlowRules:
    database = re.sub(r"^\(\?is\)\^|\$$", "", _bound_to("python-sql-injection", "execute"))
    return FlowRules(
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


class FlowEngine(FileEngine):
    """Rules of Semgrep's that follow data, across the functions and files that are read together."""

    name = "flow"
    version = "4"
    together = True

    def reads(self, path: str) -> bool:
        """Python files."""
        return path.endswith(".py")

    async def read(self, files: Mapping[str, str]) -> Reading:
        """See `TreeEngine.read`. Nothing is kept: what is found in a file hangs on the others."""
        return await self._read(files)

    async def _read(self, files: Mapping[str, str]) -> Reading:
        return await asyncio.to_thread(_reading, files)


def _reading(files: Mapping[str, str]) -> Reading:
    lines: dict[str, list[str]] = {}
    unread: set[Place] = set()
    broken: set[str] = set()
    flows = flows_between(files, _rules(), unread, broken)
    places = sorted((one.path, one.line) for one in unread)
    notes = (f"flow did not follow the function at {path}:{line}: it is nested too deeply." for path, line in places)
    remarks = tuple(_remark(flow, files, lines) for flow in flows)
    return Reading(remarks, tuple(notes), frozenset({*broken, *(path for path, _ in places)}))


def _remark(flow: Flow, files: Mapping[str, str], lines: dict[str, list[str]]) -> Remark:
    rule, sink = rules_of(frozenset({Language.PYTHON}))[flow.kind], flow.way[-1]
    trace = []
    for number, place in enumerate(flow.way):
        text = lines.setdefault(place.path, lines_of(files[place.path]))[place.line - 1]
        role = "source" if number == 0 else "sink" if number == len(flow.way) - 1 else "step"
        trace.append(TraceStep(role, place.path, place.line, text.strip()))
    return Remark(
        rule=rule.id,
        path=sink.path,
        line=sink.line,
        severity=Severity.LOW if kind_of(sink.path) is PathKind.TEST else rule.severity,
        title=rule.title,
        message=rule.message,
        details={"cwe": rule.cwe},
        category=rule.category,
        confidence=round(rule.confidence * 0.85, 2),
        trace=tuple(trace),
    )
