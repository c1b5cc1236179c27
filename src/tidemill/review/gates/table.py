"""A gate report as text and JSON. As Markdown: `tidemill.review.pull_request_text.gate_table`."""

from collections.abc import Mapping
from typing import Any

from tidemill.core.gate import Gate, GateName, GatePlace, GateReport, GateState
from tidemill.core.json import JsonObject

_MARKS = {GateState.PASSED: "passed", GateState.FAILED: "FAILED", GateState.NOT_MEASURED: "not measured"}


def gates_text(report: GateReport) -> list[str]:
    """A table for a terminal, and under each gate that fails the places; nothing in it moves a cursor."""
    rows = [(gate.name.value, gate.threshold, _state(gate), _said(gate)) for gate in report.gates]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    lines = ["Gates:"]
    for gate, row in zip(report.gates, rows, strict=True):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        lines.append(f"  {'  '.join(cells)}  {row[3]}".rstrip())
        if not gate.holds:
            lines += [f"      {_line(place.where)}  {_line(place.text)}" for place in gate.places]
            lines += [f"      and {gate.more} more"] if gate.more else []
    return lines


def _state(gate: Gate) -> str:
    required = gate.required and gate.state is GateState.NOT_MEASURED
    return "NOT MEASURED, required" if required else _MARKS[gate.state]


def _said(gate: Gate) -> str:
    return _line("; ".join(part for part in (gate.measured, gate.reason) if part))


def _line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def gates_json(report: GateReport) -> JsonObject:
    """The report, field by field; `holds` says whether it lets the change pass."""
    return {
        "holds": report.holds,
        "gates": [
            {
                "name": gate.name.value,
                "state": gate.state.value,
                "holds": gate.holds,
                "required": gate.required,
                "threshold": gate.threshold,
                "measured": gate.measured,
                "reason": gate.reason,
                "places": [{"path": one.path, "line": one.line, "text": one.text} for one in gate.places],
                "more": gate.more,
            }
            for gate in report.gates
        ],
    }


def gates_from_json(document: Mapping[str, Any]) -> GateReport:
    """What `gates_json` wrote."""
    return GateReport(
        tuple(
            Gate(
                name=GateName(gate["name"]),
                state=GateState(gate["state"]),
                threshold=gate["threshold"],
                measured=gate["measured"],
                reason=gate["reason"],
                places=tuple(GatePlace(**one) for one in gate["places"]),
                required=gate["required"],
                more=gate["more"],
            )
            for gate in document["gates"]
        )
    )
