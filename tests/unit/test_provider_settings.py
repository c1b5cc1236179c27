"""Settings of providers, routes and tasks say at once what is wrong with them, and on what."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tidemill.core.chat import Usage
from tidemill.core.deployment import Fallback, Strategy, Target, Task
from tidemill.core.errors import Configuration
from tidemill.core.provider import Price, ProviderKind
from tidemill.settings import Settings, load_settings

OPENAI: dict[str, Any] = {"kind": "openai", "api_key_env": "OPENAI_API_KEY"}


def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **sections: Any) -> Settings:
    (tmp_path / "tidemill.yaml").write_text(yaml.safe_dump(sections), "utf-8")
    monkeypatch.delenv("TIDEMILL_CONFIG", raising=False)
    return load_settings(data_dir=tmp_path)


def test_a_provider_has_its_public_address_and_what_is_known_of_its_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"gpt-small": {"input": 1, "output": 4, "cached": 0.25, "context_tokens": 128000}, "gpt-new": {}}
    settings = load(tmp_path, monkeypatch, providers={"openai": {**OPENAI, "models": known}})
    provider = settings.providers["openai"].provider("openai")
    assert provider.kind is ProviderKind.OPENAI
    assert provider.base_urls == ("https://api.openai.com/v1",)
    assert provider.key_env == "OPENAI_API_KEY"
    assert provider.configured
    assert provider.models["gpt-small"].price == Price(1, 4, 0.25)
    assert provider.models["gpt-small"].context_tokens == 128000
    assert provider.models["gpt-new"].price is None


def test_a_price_of_nothing_is_a_price_and_a_missing_one_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"free": {"input": 0, "output": 0}, "unknown": {"context_tokens": 10}}
    models = load(tmp_path, monkeypatch, providers={"openai": {**OPENAI, "models": known}}).providers["openai"]
    found = models.provider("openai").models
    assert found["free"].price is not None
    assert found["free"].price.of(Usage(prompt_tokens=5, completion_tokens=5)) == 0
    assert found["unknown"].price is None


def test_an_endpoint_can_have_a_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://gpu-box:8000/v1"
    endpoints = {"big": {"url": url, "price_input": 0.5, "price_output": 2}, "bigger": {"url": url}}
    found = load(tmp_path, monkeypatch, models={"endpoints": endpoints}).models.endpoints
    assert found["big"].price == Price(0.5, 2)
    assert found["bigger"].price is None
    with pytest.raises(Configuration, match="needs both `price_input` and `price_output`"):
        load(tmp_path, monkeypatch, models={"endpoints": {"big": {"url": url, "price_output": 2}}})
    with pytest.raises(Configuration, match="less than or equal to 10000"):
        load(tmp_path, monkeypatch, models={"endpoints": {"big": {"url": url, "price_input": 1, "price_output": 2e4}}})


def test_a_route_has_targets_a_strategy_and_fallbacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = ["openai/gpt-small", {"model": "default-coder", "weight": 3, "max_complexity": 0.4}]
    routes = {"coder": {"targets": targets, "strategy": "by_complexity", "fallbacks": ["local", "template"]}}
    tasks = {"review.comment": {"model": "coder"}, "chat": {"model": "openai/gpt-small"}}
    settings = load(tmp_path, monkeypatch, providers={"openai": OPENAI}, routes=routes, tasks=tasks)
    route = settings.routes["coder"].route("coder")
    assert route.targets == (Target("openai/gpt-small"), Target("default-coder", 3, 0.4))
    assert route.strategy is Strategy.BY_COMPLEXITY
    assert route.fallbacks == (Fallback.LOCAL, Fallback.TEMPLATE)
    assert settings.tasks[Task.REVIEW_COMMENT].model == "coder"


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        ({"kind": "openai"}, r"`providers.p`: openai asks for a key, and none is named.*`api_key_env`"),
        ({"kind": "anthropic"}, "anthropic asks for a key"),
        ({"kind": "gemini"}, "gemini asks for a key"),
        ({"kind": "grok"}, "grok asks for a key"),
        ({"kind": "openrouter"}, "openrouter asks for a key"),
        ({"kind": "oepnai", "api_key_env": "K"}, "providers.p.kind"),
        ({"api_key_env": "K"}, "providers.p.kind"),
        ({"kind": "ollama"}, "ollama has no public address. Give `base_url`"),
        ({"kind": "openai_compatible"}, "has no public address"),
        ({**OPENAI, "api_key_file": "/k"}, "give one of"),
        ({**OPENAI, "api_key": "sk-not-to-be-shown"}, "`providers.p.api_key` is not a setting"),
        ({**OPENAI, "base_url": "api.openai.com"}, "must be an address that begins with http"),
        ({**OPENAI, "base_url": "https://me:sk-not-to-be-shown@x.com"}, "no user and no password"),
        ({**OPENAI, "base_url": "https://x.com/v1?key=sk-not-to-be-shown"}, r"must hold no \?"),
        ({**OPENAI, "base_url": "https://x.com", "base_urls": ["https://y.com"]}, "not both"),
        ({**OPENAI, "base_urls": ["https://x.com", "https://x.com/"]}, "one address twice"),
        ({**OPENAI, "models": {"m": {"input": -1, "output": 1}}}, "providers.p.models.m.input"),
        ({**OPENAI, "models": {"m": {"input": float("nan"), "output": 1}}}, "providers.p.models.m.input"),
        ({**OPENAI, "models": {"m": {"input": 1}}}, "needs both `input` and `output`"),
        ({**OPENAI, "models": {"m": {"cached": 1}}}, "needs both `input` and `output`"),
        ({**OPENAI, "models": {"m": {"context_tokens": 0}}}, "context_tokens"),
        ({**OPENAI, "models": {"": {}}}, "can't name a provider's model"),
        ({**OPENAI, "timeout": 0}, "providers.p.timeout"),
    ],
)
def test_what_is_wrong_with_a_provider_is_named(
    provider: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Configuration, match=said) as raised:
        load(tmp_path, monkeypatch, providers={"p": provider})
    assert "not-to-be-shown" not in raised.value.message


@pytest.mark.parametrize("name", ["OpenAI", "local", "a/b", "", "a b", "x" * 65, "-a"])
def test_a_provider_has_a_name_that_requests_can_use(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Configuration, match="can't name a provider"):
        load(tmp_path, monkeypatch, providers={name: OPENAI})


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ({"targets": []}, "routes.r.targets"),
        ({}, "routes.r.targets"),
        ({"targets": ["r"]}, "the route 'r' names itself"),
        ({"targets": ["a", "other"]}, "the route 'r' names the route 'other'"),
        ({"targets": ["a", "a"]}, "names a model twice"),
        ({"targets": ["a", {"model": "a", "weight": 2}]}, "names a model twice"),
        ({"targets": ["a"], "strategy": "cheapest"}, "routes.r.strategy"),
        ({"targets": ["a"], "fallbacks": ["pray"]}, "routes.r.fallbacks"),
        ({"targets": ["a"], "fallbacks": ["local", "local"]}, "names one twice"),
        ({"targets": [{"model": "a", "weight": 0}]}, "routes.r.targets"),
        ({"targets": [{"model": "a", "max_complexity": 2}]}, "routes.r.targets"),
        ({"targets": [{"model": "a", "min_budget_usd": -1}]}, "routes.r.targets"),
    ],
)
def test_what_is_wrong_with_a_route_is_named(
    route: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Configuration, match=said):
        load(tmp_path, monkeypatch, routes={"r": route, "other": {"targets": ["b"]}})


@pytest.mark.parametrize("name", ["default", "load", "status", "a/b", "a:b", "a b", "", "x" * 101])
def test_a_route_has_a_name_that_means_nothing_else(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Configuration, match="can't name a route"):
        load(tmp_path, monkeypatch, routes={name: {"targets": ["a"]}})


def test_a_name_means_one_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {"endpoints": {"big": {"url": "http://gpu-box/v1"}}, "files": {"small": "/m.gguf"}}
    with pytest.raises(Configuration, match=r"'big' stands in `providers` and in `models\.endpoints`"):
        load(tmp_path, monkeypatch, providers={"big": OPENAI}, models=models)
    for name in ("big", "small"):
        with pytest.raises(Configuration, match=f"'{name}' stands in `routes` and among the models"):
            load(tmp_path, monkeypatch, routes={name: {"targets": ["a"]}}, models=models)


def test_a_task_is_one_that_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Configuration, match="tasks"):
        load(tmp_path, monkeypatch, tasks={"dance": {"model": "a"}})
    with pytest.raises(Configuration, match=r"`embeddings\.default` names the embedding model"):
        load(tmp_path, monkeypatch, tasks={"embed": {"model": "a"}})
    with pytest.raises(Configuration, match=r"tasks\.chat\.model"):
        load(tmp_path, monkeypatch, tasks={"chat": {}})


@pytest.mark.parametrize("allowed", ["0.0.0.0/0", "::/0", "10.0.0.1/8", "http://x", "a b", "", "10.0.0.0/33"])
def test_not_everything_can_be_allowed(allowed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Configuration, match=r"outbound\.allow"):
        load(tmp_path, monkeypatch, outbound={"allow": [allowed]})


def test_hosts_addresses_and_networks_can_be_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = ["gpu-box", "gpu.lab.internal", "10.1.0.0/16", "192.168.7.7", "fd12::/32"]
    assert load(tmp_path, monkeypatch, outbound={"allow": allowed}).outbound.allow == allowed
