"""The metrics of several processes in one page, in Prometheus' text format.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format, version 0.0.4.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
EXACT = 2**53
"""Up to here a float holds every whole number."""
PROCESS = "process"
"""The label that says which process a sample is of."""

Sample = tuple[str, Mapping[str, str], float]
"""A sample's name, its labels, and its value."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all of its samples. `kind` is Prometheus' `TYPE`."""

    name: str
    kind: str
    text: str
    samples: Sequence[Sample] = field(default_factory=list)


def families_of(registry: CollectorRegistry) -> list[Family]:
    """What a registry holds now, without the times at which counters were made: they are restarts, not work."""
    found = []
    for metric in registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        samples = [
            (sample.name, sample.labels, sample.value)
            for sample in metric.samples
            if not sample.name.endswith("_created")
        ]
        found.append(Family(name, metric.type, metric.documentation, samples))
    return found


def pack(families: Iterable[Family]) -> str:
    """Families as a process leaves them for the others: JSON, without those that have no samples."""
    rows = [[one.name, one.kind, one.text, one.samples] for one in families if one.samples]
    return json.dumps(rows, separators=(",", ":"))


def unpack(text: str) -> list[Family]:
    """What `pack` made, also of a process of another version."""
    return [
        Family(name, kind, said, [(sample, labels, value) for sample, labels, value in samples])
        for name, kind, said, samples in json.loads(text)
    ]


def render(processes: Mapping[str, Sequence[Family]]) -> bytes:
    """One page: each metric's HELP and TYPE once, and under it the samples of every process, which a label names.

    Where processes of two versions give one name two types, the first one's counts.
    """
    heads: dict[str, Family] = {}
    lines: dict[str, list[str]] = {}
    for process, families in processes.items():
        for family in families:
            head = heads.setdefault(family.name, family)
            if head.kind != family.kind:
                continue
            lines.setdefault(family.name, []).extend(_line(sample, process) for sample in family.samples)
    page = []
    for name, head in heads.items():
        text = head.text.replace("\\", r"\\").replace("\n", r"\n")
        page += [f"# HELP {name} {text}", f"# TYPE {name} {head.kind}", *lines.get(name, ())]
    return ("\n".join(page) + "\n").encode()


def _line(sample: Sample, process: str) -> str:
    name, labels, value = sample
    said = ",".join(f'{label}="{_escaped(text)}"' for label, text in {**labels, PROCESS: process}.items())
    return f"{name}{{{said}}} {_number(value)}"


def _number(value: float) -> str:
    """As Go's `ParseFloat` reads it, which Prometheus uses."""
    if value == math.inf or value == -math.inf:
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return repr(int(value)) if value == int(value) and abs(value) < EXACT else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
