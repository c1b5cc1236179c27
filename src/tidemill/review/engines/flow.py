"""Data that goes from a request in one Python function to where it does harm in another, also in another file."""

import asyncio
import re
from collections.abc import Mapping

from tidemill.analysis.paths import PathKind, kind_of
from tidemill.analysis.python_flow import Flow, FlowRules, Place, flows_between
from tidemill.analysis.syntax import Language
from tidemill.core.finding import Severity, TraceStep
from tidemill.review.engines.files import FileEngine
from tidemill.review.engines.port import Reading
from tidemill.review.placing import Remark, lines_of
from tidemill.review.rules.catalog import rules_of

_RULES = FlowRules(
    sources=re.compile(
        r"(?:self\.|flask\.)?request\.(?:args|form|values|json|data|cookies|headers|files|query_string|GET|POST|FILES"
        r"|COOKIES|META|body|query|query_params|path_params|match_info|get_json|get_data)(?:\.get|\.getlist)?"
        r"|self\.get_(?:query_|body_)?arguments?"
    ),
    harmless=re.compile(
        r"(?s:(?:psycopg2?\.)?sql\.\w+(?:\(.*\)\.\w+)?)|int|float|bool|len|isinstance|(?:shlex\.)?quote|(?:html\.|markupsafe\.)?escape|secure_filename|uuid\.UUID|UUID"
        r"|os\.path\.basename|(?:hashlib\.)\w+|escape_filter_chars|(?:\w+\.)?(?:validate|sanitize|clean)\w*"
    ),
    sinks=(
        ("python-sql-injection", re.compile(r"[\w.()]+\.(?:execute|executemany|executescript|exec_driver_sql)"), 0),
        ("python-command-injection", re.compile(r"os\.system|os\.popen|subprocess\.(?:getoutput|getstatusoutput)"), 0),
        ("python-code-injection", re.compile(r"eval|exec|(?:flask\.)?render_template_string"), 0),
        ("python-ssrf", re.compile(r"(?:requests|httpx)\.(?:get|post|put|patch|delete|head)|(?:[\w.]+\.)?urlopen"), 0),
        ("python-path-traversal", re.compile(r"open|(?:flask\.)?send_file|os\.(?:remove|unlink|rmdir|listdir)"), 0),
        ("python-insecure-deserialization", re.compile(r"(?:pickle|dill|marshal)\.loads?|yaml\.unsafe_load"), 0),
        ("python-open-redirect", re.compile(r"(?:flask\.)?redirect|HttpResponseRedirect"), 0),
        ("python-xss", re.compile(r"(?:markupsafe\.|flask\.)?Markup|mark_safe"), 0),
        ("python-xpath-injection", re.compile(r"[\w.]+\.xpath"), 0),
        ("python-ldap-injection", re.compile(r"[\w.]+\.search_(?:ext_)?s"), 2),
    ),
)


class FlowEngine(FileEngine):
    """Rules of Semgrep's that follow data, across the functions and files that are read together."""

    name = "flow"
    version = "3"
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
    flows = flows_between(files, _RULES, unread, broken)
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
