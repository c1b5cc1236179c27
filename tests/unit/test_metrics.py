"""Metrics: their names, what they count, that no client can add series, and that Prometheus' own tools read them."""

import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tidemill.core.chat import Usage
from tidemill.core.context import InferenceContext
from tidemill.core.deployment import Deployment, Route, Target, Task
from tidemill.core.guardrail import Action, Direction, Guardrail, GuardrailEvent
from tidemill.core.ids import new_id
from tidemill.core.inference import Inference, InferenceStatus
from tidemill.core.served import Served
from tidemill.telemetry.exposition import Family, pack, render, unpack
from tidemill.telemetry.metrics import LOOKUPS, MOST_NAMES, InstallationMetrics, Metrics

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not here (Debian's package prometheus has it)"
)
EXEMPT = "active_providers_count"
"""A gauge whose name Prometheus' conventions keep for histograms; kept, since dashboards know it."""
SERVED = Served("openai", "openai/mini", "mini-1", cost_usd=0.25)


def metrics(known=lambda name: True):
    return Metrics(known=known, provider_of=lambda name: name.partition("/")[0])


def inference(served=SERVED, **more):
    deployment = more.pop("deployment", Deployment(Task.CHAT, "openai/mini", "1"))
    context = InferenceContext(new_id(), deployment, "0" * 32)
    values = {
        "context": context,
        "request_hash": "0" * 64,
        "status": InferenceStatus.OK,
        "usage": Usage(10, 4, 2),
        "latency_ms": 1500.0,
        "first_token_ms": 100.0,
        "streamed": True,
        "finish_reason": "stop",
        "error_code": None,
        "cost_usd": served.cost_usd if served else None,
        "cache_tier": None,
        "created_at": datetime(2026, 3, 1, tzinfo=UTC),
        "served": served,
    }
    return Inference(**{**values, **more})


def samples(found, name):
    """Each sample of this name, as its labels' values and its value."""
    return {
        tuple(labels.values()): value
        for family in found.families()
        for sample, labels, value in family.samples
        if sample == name
    }


def declared():
    """Every metric of ours: its name, kind, labels and text."""
    for registry in (metrics().registry, InstallationMetrics().registry):
        for collector in dict.fromkeys(registry._collector_to_names):
            if hasattr(collector, "_labelnames"):
                name = collector._name + ("_total" if collector._type == "counter" else "")
                yield name, collector._type, collector._labelnames, collector._documentation


def test_the_names_that_dashboards_know_are_there_with_their_labels():
    found = {name: (kind, labels) for name, kind, labels, _ in declared()}
    who = ("provider", "model")
    assert found["generation_requests_total"] == ("counter", (*who, "status"))
    assert found["generation_duration_seconds"] == ("histogram", who)
    assert found["generation_tokens_total"] == ("counter", (*who, "type"))
    assert found["generation_cost_total"] == ("counter", who)
    assert found["active_providers_count"] == ("gauge", ())
    assert found["cache_hit_rate"] == ("gauge", ())


def test_the_documents_table_is_the_registry():
    text = (ROOT / "docs" / "observability.md").read_text("utf-8")
    table = text.partition("| metric | kind |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = []
    for name, kind, labels, said in declared():
        shown = ", ".join(f"`{label}`" for label in labels) or "none"
        rows.append(f"| `{name}` | {kind} | {shown} | {said} |")
    assert sorted(table) == sorted(rows)


def test_an_answer_counts_for_who_gave_it():
    counted = metrics()
    counted.observe_inference(inference())
    who = ("openai", "openai/mini")
    assert samples(counted, "generation_requests_total") == {(*who, "success"): 1}
    assert samples(counted, "generation_tokens_total") == {(*who, "input"): 10, (*who, "output"): 4}
    assert samples(counted, "generation_cost_total") == {who: 0.25}
    assert samples(counted, "generation_duration_seconds_sum") == {who: 1.5}
    assert samples(counted, "tidemill_generation_cost_unknown_total") == {}
    assert samples(counted, "tidemill_inference_first_token_seconds_sum") == {("chat", "openai/mini"): 0.1}


def test_an_unknown_cost_is_counted_apart_and_never_as_nothing():
    counted = metrics()
    counted.observe_inference(inference(replace(SERVED, cost_usd=None)))
    assert samples(counted, "generation_cost_total") == {}
    assert samples(counted, "tidemill_generation_cost_unknown_total") == {("openai", "openai/mini"): 1}


def test_an_answer_of_a_route_tells_of_the_failures_before_it():
    counted = metrics()
    route = Deployment(Task.CHAT, "fast", "1", route=Route("fast", (Target("openai/mini"),)))
    served = replace(SERVED, recovery=("overload.high", "overload.high", "network.dns"), fallback="template")
    counted.observe_inference(inference(served, deployment=route))
    assert samples(counted, "tidemill_recoveries_total") == {("overload.high",): 2, ("network.dns",): 1}
    assert samples(counted, "tidemill_fallbacks_total") == {("template",): 1}
    assert samples(counted, "tidemill_inferences_total") == {("chat", "fast", "ok", "none"): 1}


@pytest.mark.parametrize(
    ("deployment", "who"),
    [
        (Deployment(Task.CHAT, "openai/mini", "1"), ("openai", "openai/mini")),
        (Deployment(Task.CHAT, "fast", "1", route=Route("fast", ())), ("none", "fast")),
    ],
)
def test_where_nobody_answered_who_was_asked_for_counts(deployment, who):
    counted = metrics()
    failed = inference(None, deployment=deployment, status=InferenceStatus.ERROR, error_code="unavailable")
    counted.observe_inference(failed)
    assert samples(counted, "generation_requests_total") == {(*who, "error"): 1}
    assert samples(counted, "tidemill_generation_cost_unknown_total") == {}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("budget_exceeded", "budget"),
        ("price_unknown", "budget"),
        ("rate_limit_exceeded", "rate_limit"),
        ("too_many_requests", "rate_limit"),
        ("content_policy_violation", "guardrail"),
        ("permission_denied", "classification"),
        ("context_length_exceeded", "context"),
    ],
)
def test_what_the_hub_refused_is_counted_by_why(code, reason):
    counted = metrics()
    counted.observe_inference(inference(None, status=InferenceStatus.ERROR, error_code=code))
    assert samples(counted, "tidemill_refusals_total") == {(reason,): 1}


def test_embeddings_are_no_generation():
    counted = metrics()
    counted.observe_inference(inference(deployment=Deployment(Task.EMBED, "e5", "1")))
    assert samples(counted, "generation_requests_total") == {}
    assert samples(counted, "tidemill_inferences_total") == {("embed", "e5", "ok", "none"): 1}


def test_a_client_that_makes_up_names_adds_no_series():
    counted = metrics(known=lambda name: name == "openai/mini")
    for number in range(100):
        made_up = Deployment(Task.CHAT, f"openai/{number}", "1")
        counted.observe_inference(inference(replace(SERVED, model=f"openai/{number}"), deployment=made_up))
        counted.observe_attempt(provider="openai", model=f"openai/{number}", outcome="ok", seconds=1)
    counted.observe_inference(inference())
    assert set(samples(counted, "generation_requests_total")) == {
        ("openai", "other", "success"), ("openai", "openai/mini", "success")}  # fmt: skip
    assert samples(counted, "tidemill_attempts_total") == {("openai", "other", "ok"): 100}


def test_the_number_of_names_is_bounded_whatever_is_known():
    counted = metrics()
    for number in range(MOST_NAMES + 50):
        counted.observe_attempt(provider="x", model=f"m{number}", outcome="ok", seconds=1)
    found = samples(counted, "tidemill_attempts_total")
    assert len(found) == MOST_NAMES + 1
    assert found["x", "other", "ok"] == 50


def test_the_hit_rate_is_of_the_last_lookups():
    counted = metrics()
    for _ in range(LOOKUPS):
        counted.observe_cache(tier="none", hit=False)
    for _ in range(LOOKUPS // 4):
        counted.observe_cache(tier="l1", hit=True)
    assert samples(counted, "cache_hit_rate") == {(): 0.25}
    assert samples(counted, "tidemill_cache_lookups_total") == {("none", "miss"): LOOKUPS, ("l1", "hit"): LOOKUPS // 4}


def test_a_model_that_was_unloaded_is_gone():
    counted = metrics()
    counted.set_models({"a": 5, "b": 6}, {"a": 1, "b": 0})
    counted.set_models({"b": 7}, {"b": 2})
    assert samples(counted, "tidemill_model_memory_bytes") == {("b",): 7}
    assert samples(counted, "tidemill_queue_depth") == {("b",): 2}


def test_a_page_has_each_head_once_and_the_samples_of_every_process():
    first, second = metrics(), metrics()
    for counted, times in ((first, 1), (second, 2)):
        for _ in range(times):
            counted.observe_attempt(provider="openai", model="m", outcome="ok", seconds=1)
    page = render({"hub-0": first.families(), "worker-1": unpack(pack(second.families()))}).decode()
    heads = re.findall(r"^# (?:HELP|TYPE) \S+", page, re.MULTILINE)
    assert len(heads) == len(set(heads))
    found = dict(re.findall(r'^tidemill_attempts_total\{.*process="(.+?)"\} (.+)$', page, re.MULTILINE))
    assert found == {"hub-0": "1", "worker-1": "2"}
    assert all('process="' in line for line in page.splitlines() if not line.startswith("#"))


def test_values_and_labels_are_written_as_prometheus_reads_them():
    values = {'q"\\\n': math.inf, "n": math.nan, "f": 0.1, "-": -math.inf, "big": 1e300}
    odd = [("x", {"a": label}, value) for label, value in values.items()]
    page = render({"hub-0": [Family("x", "gauge", "One\nof \\ them.", odd)]}).decode()
    assert page.splitlines() == [
        "# HELP x One\\nof \\\\ them.",
        "# TYPE x gauge",
        'x{a="q\\"\\\\\\n",process="hub-0"} +Inf',
        'x{a="n",process="hub-0"} NaN',
        'x{a="f",process="hub-0"} 0.1',
        'x{a="-",process="hub-0"} -Inf',
        'x{a="big",process="hub-0"} 1e+300',
    ]


def test_processes_of_two_versions_that_disagree_do_not_break_the_page():
    own, other = Family("x", "gauge", "Ours.", [("x", {}, 1)]), Family("x", "counter", "Theirs.", [("x", {}, 2)])
    assert render({"hub-0": [own], "hub-1": [other]}).decode().splitlines() == [
        "# HELP x Ours.", "# TYPE x gauge", 'x{process="hub-0"} 1']  # fmt: skip


def found_by_guardrail(count=1):
    return GuardrailEvent(
        new_id(), new_id(), None, "chat", Guardrail.SECRETS, Direction.INPUT, Action.MASK, ["github-token"], count,
        datetime(2026, 3, 1, tzinfo=UTC),
    )  # fmt: skip


def test_what_guardrails_found_is_counted_by_finding():
    counted = metrics()
    counted.observe_guardrail(found_by_guardrail(2))
    counted.observe_guardrail(found_by_guardrail(3))
    assert samples(counted, "tidemill_guardrail_hits_total") == {("secrets", "input", "mask"): 5}


def everything():
    """A page on which every metric has a sample."""
    counted, installation = metrics(), InstallationMetrics()
    counted.describe("hub")
    served = replace(SERVED, recovery=("overload.high",), fallback="local")
    counted.observe_inference(inference(served))
    counted.observe_inference(inference(replace(served, cost_usd=None)))
    counted.observe_inference(inference(None, status=InferenceStatus.ERROR, error_code="budget_exceeded"))
    counted.observe_attempt(provider="openai", model="m", outcome="ok", seconds=1)
    counted.observe_request(method="GET", route="/health", status=200, seconds=0.1)
    counted.observe_guardrail(found_by_guardrail())
    counted.observe_cache(tier="l1", hit=True)
    counted.observe_review("done")
    counted.observe_engine_failure("semgrep")
    counted.observe_pull_request("review", "done")
    counted.observe_comments("posted", 2)
    counted.observe_sync("done")
    counted.set_models({"m": 1}, {"m": 0})
    shared = installation.set(providers=2, work={("job", "done"): 1}, resting={("openai", ""): True})
    return {"hub-0": counted.families(), "worker-1": counted.families(), "installation": shared}


def test_every_metric_can_have_a_sample():
    page = render(everything()).decode()
    for name, *_ in declared():
        assert re.search(rf"^{name}(_bucket)?\{{", page, re.MULTILINE), name


@needs_promtool
def test_promtool_finds_nothing_but_the_name_that_is_kept():
    told = subprocess.run(["promtool", "check", "metrics"], input=render(everything()), capture_output=True)
    lines = (told.stdout + told.stderr).decode().splitlines()
    assert [line for line in lines if not line.startswith(f"{EXEMPT} ")] == []
    assert any('"_count" suffix' in line for line in lines)


@needs_promtool
def test_promtool_accepts_the_rules_and_the_configuration(tmp_path):
    folder = tmp_path / "prometheus"
    shutil.copytree(RULES.parent, folder)
    (folder / "tidemill.key").write_text("a-key")
    for command in (["rules", "rules.yml"], ["config", "prometheus.yml"]):
        told = subprocess.run(["promtool", "check", *command], cwd=folder, capture_output=True, text=True)
        assert told.returncode == 0, told.stdout + told.stderr
        assert "SUCCESS" in told.stdout


ERRORS = """
rule_files: [{rules}]
evaluation_interval: 30s
tests:
  - interval: 30s
    input_series:
      - series: generation_requests_total{{provider="openai",model="m",status="success",process="hub-0"}}
        values: 0+8x40
      - series: generation_requests_total{{provider="openai",model="m",status="error",process="worker-1"}}
        values: 0+2x40
      - series: active_providers_count{{process="installation"}}
        values: 0x40
      - series: tidemill_refusals_total{{reason="budget",process="hub-0"}}
        values: 0x20 0+1x20
    alert_rule_test:
      - eval_time: 15m
        alertname: HighErrorRate
        exp_alerts:
          - exp_labels: {{severity: warning}}
            exp_annotations:
              summary: Many requests for an answer fail
              description: 20% of the requests of the last 5 minutes ended with an error.
      - eval_time: 5m
        alertname: NoProvider
        exp_alerts:
          - exp_labels: {{severity: critical}}
            exp_annotations:
              summary: No provider of models can be asked
              description: Each one rests or is disabled. `tidemill providers list` says why.
      - eval_time: 9m
        alertname: BudgetSpent
        exp_alerts: []
"""


@needs_promtool
def test_the_rules_fire_when_they_should(tmp_path):
    file = tmp_path / "test.yml"
    file.write_text(ERRORS.format(rules=RULES))
    told = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


WORD = re.compile(r"\b(?:tidemill|generation|cache|active|process)_[a-z_]+\b")
OF_PROMETHEUS = {"process_resident_memory_bytes", "process_start_time_seconds"}


def expressions():
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]
    for panel in json.loads((ROOT / "deploy" / "grafana" / "tidemill.json").read_text("utf-8"))["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def test_the_rules_and_the_dashboard_ask_for_metrics_that_exist():
    known = {name for name, *_ in declared()} | OF_PROMETHEUS
    for expression in expressions():
        for name in WORD.findall(re.sub(r"tidemill:\S+|\{[^}]*\}", "", expression)):
            assert name.removesuffix("_bucket") in known, expression


def test_each_panel_of_the_dashboard_has_a_place_of_its_own():
    panels = json.loads((ROOT / "deploy" / "grafana" / "tidemill.json").read_text("utf-8"))["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(panels) == len({panel["id"] for panel in panels})
