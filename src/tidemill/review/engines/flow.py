"""Data that goes from a request in one function to where it does harm in another, also in another file."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

from tidemill.analysis.flow import Flow, Function, Place, flows_of
from tidemill.analysis.go_flow import go_functions
from tidemill.analysis.java_flow import java_functions
from tidemill.analysis.javascript_flow import javascript_functions
from tidemill.analysis.paths import PathKind, kind_of
from tidemill.analysis.python_flow import python_functions
from tidemill.analysis.syntax import Language, language_of
from tidemill.core.finding import Severity, TraceStep
from tidemill.review.engines.files import FileEngine
from tidemill.review.engines.flow_go import go_rules
from tidemill.review.engines.flow_java import java_rules
from tidemill.review.engines.flow_javascript import javascript_rules
from tidemill.review.engines.flow_python import python_rules
from tidemill.review.engines.port import Reading
from tidemill.review.placing import Remark, lines_of
from tidemill.review.rules.catalog import rules_of


def _python(files: Mapping[str, str], unread: set[Place], broken: set[str]) -> list[Function]:
    return python_functions(files, python_rules(), unread, broken)


def _go(files: Mapping[str, str], unread: set[Place], broken: set[str]) -> list[Function]:
    return go_functions(files, go_rules(), unread, broken)


def _java(files: Mapping[str, str], unread: set[Place], broken: set[str]) -> list[Function]:
    return java_functions(files, java_rules(), unread, broken)


def _javascript(files: Mapping[str, str], unread: set[Place], broken: set[str]) -> list[Function]:
    return javascript_functions(files, javascript_rules(), unread, broken)


_READERS: Mapping[Callable[[Mapping[str, str], set[Place], set[str]], list[Function]], frozenset[str]] = {
    _python: frozenset({".py"}),
    _go: frozenset({".go"}),
    _java: frozenset({".java"}),
    _javascript: frozenset({".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts"}),
}
"""What tells of the functions of files, and the suffixes of those that it reads together."""
_TOO_DEEP = "it is nested too deeply, or too much comes together in it"
_SUFFIXES = frozenset().union(*_READERS.values())


class FlowEngine(FileEngine):
    """Rules of Semgrep's that follow data, across the functions and files that are read together."""

    name = "flow"
    version = "7"
    together = True

    def reads(self, path: str) -> bool:
        """Files of the languages whose data is followed."""
        return PurePosixPath(path).suffix.lower() in _SUFFIXES

    async def read(self, files: Mapping[str, str]) -> Reading:
        """See `TreeEngine.read`. Nothing is kept: what is found in a file hangs on the others."""
        return await self._read(files)

    async def _read(self, files: Mapping[str, str]) -> Reading:
        return await asyncio.to_thread(_reading, files)


def _reading(files: Mapping[str, str]) -> Reading:
    unread: set[Place] = set()
    broken: set[str] = set()
    flows: list[Flow] = []
    notes: list[str] = []
    for functions, suffixes in _READERS.items():
        own = {path: text for path, text in files.items() if PurePosixPath(path).suffix.lower() in suffixes}
        try:
            flows += flows_of(functions(own, unread, broken), unread)
        except RecursionError:  # what one language's code is nested like hides nothing of the others
            broken.update(own)
            notes.append(f"flow followed nothing in files of {', '.join(sorted(suffixes))}: one is nested too deeply.")
    places = sorted((one.path, one.line) for one in unread)
    notes += [f"flow did not follow the function at {path}:{line}: {_TOO_DEEP}." for path, line in places]
    lines = {path: lines_of(files[path]) for path in {place.path for flow in flows for place in flow.way}}
    remarks = tuple(_remark(flow, lines) for flow in flows)
    return Reading(remarks, tuple(notes), frozenset({*broken, *(path for path, _ in places)}))


def _remark(flow: Flow, lines: Mapping[str, Sequence[str]]) -> Remark:
    sink = flow.way[-1]
    language = language_of(sink.path)
    rule = rules_of(frozenset({language} if language else Language))[flow.kind]
    trace = []
    for number, place in enumerate(flow.way):
        text = lines[place.path][place.line - 1]
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
