"""Providers are known at once and everywhere, their keys lie in no row, and what is wrong with them is said."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NOON
from tests.support.http_server import Seen, http_server
from tidemill.accounts.audit import Audit
from tidemill.core.audit import COMMAND
from tidemill.core.deployment import Task
from tidemill.core.errors import Configuration, Conflict, InvalidInput, ModelNotFound, NotFound, TidemillError
from tidemill.core.failure import Failure
from tidemill.core.provider import FREE, Price, ProviderKind
from tidemill.llm.prompts.shipped import ShippedPrompts
from tidemill.outbound import Outbound
from tidemill.protection.secrets import Secrets
from tidemill.registry.deployments import Deployments
from tidemill.registry.provider_json import provider_json
from tidemill.registry.provider_registry import ProviderRegistry
from tidemill.registry.providers import Providers, leaves_the_network
from tidemill.settings import Settings
from tidemill.settings.providers import ProviderSettings
from tidemill.store.audit import AuditRepository
from tidemill.store.database import Pool
from tidemill.store.key_ring import open_key_file
from tidemill.store.provider_states import Failed, ProviderStateRepository
from tidemill.store.providers import ProviderRepository
from tidemill.store.secrets import SecretRepository

KEY = "sk-heron-4711-not-to-be-found"
OPENAI: dict[str, Any] = {"kind": "openai", "api_key_env": "P_TEST_KEY"}
OWN: dict[str, Any] = {"kind": "vllm", "base_url": "http://127.0.0.1:9/v1", "allow_private": True}


async def resolve(host: str) -> Sequence[str]:
    found = {"api.openai.com": "93.184.216.34", "inner.example": "10.0.0.9", "api.anthropic.com": "93.184.216.35"}
    if host not in found:
        raise OSError("no such name")
    return [found[host]]


def made(pool: Pool, folder: Path, **sections: Any) -> ProviderRegistry:
    """The service, as a process of its own would have it."""
    endpoints = {"models": {"default": "near", "endpoints": {"near": {"url": "http://gpu-box:8000/v1", "model": "m"}}}}
    settings = Settings.model_validate({"data_dir": folder / "data", **endpoints, **sections})
    audit = Audit(AuditRepository(pool), derive=lambda purpose: "00" * 32, clock=lambda: NOON)
    secrets = Secrets(SecretRepository(pool), open_key_file(settings), audit=audit, clock=lambda: NOON)
    known = Providers(settings, ProviderRepository(pool), secrets)
    return ProviderRegistry(
        known,
        ProviderRepository(pool),
        ProviderStateRepository(pool),
        secrets,
        Outbound(settings.outbound.allow, resolve=resolve),
        routes=settings.routes,
        tasks=settings.tasks,
        audit=audit,
        clock=lambda: NOON,
    )


@pytest.fixture
def registry(pool: Pool, tmp_path: Path) -> ProviderRegistry:
    return made(pool, tmp_path)


async def dumped(pool: Pool) -> str:
    text = ""
    async with pool.connection() as connection:
        for table in ("providers", "provider_states", "secrets", "audit_log"):
            text += repr(await (await connection.execute(f"SELECT * FROM {table}")).fetchall())
    return text


async def actions(pool: Pool) -> list[str]:
    async with pool.connection() as connection:
        rows = await (await connection.execute("SELECT action FROM audit_log ORDER BY seq")).fetchall()
    return [str(row["action"]) for row in rows]


async def test_a_provider_that_is_added_is_known_here_at_once_and_elsewhere_after_a_refresh(
    registry: ProviderRegistry, pool: Pool, tmp_path: Path
) -> None:
    other = made(pool, tmp_path)
    fields = {"kind": "openai", "models": {"gpt-x": {"input": 1.25, "output": 10, "cached": 0.125}}, "timeout": 12.5}
    await registry.add("openai", fields, COMMAND, key=f" {KEY}\n")
    found = registry.known.find("openai/gpt-x")
    assert found is not None
    assert found[1] == "gpt-x"
    assert other.known.find("openai/gpt-x") is None
    await other.known.refresh()
    provider = other.known.get("openai")
    assert provider == found[0]
    assert provider.kind is ProviderKind.OPENAI
    assert provider.base_urls == ("https://api.openai.com/v1",)
    assert provider.models["gpt-x"].price == Price(1.25, 10, 0.125)
    assert provider.timeout == 12.5
    assert await other.known.key(provider) == KEY
    assert await actions(pool) == ["provider.added", "secret.set"]


async def test_a_key_is_in_no_row_no_log_no_error_and_not_shown(
    registry: ProviderRegistry, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await registry.add("openai", {"kind": "openai"}, COMMAND, key=KEY)
    provider = registry.known.get("openai")
    await registry.known.key(provider)
    shown = provider_json(provider, (await registry.health())["openai"])
    assert shown["key"] == {"place": "secret", "name": "provider.openai"}
    said = [repr(provider), repr(shown), caplog.text, await dumped(pool)]
    for bad in (f"{KEY} {KEY}", f"{KEY}\u00e9", KEY * 1000, f"{KEY}\n{KEY}"):
        with pytest.raises(InvalidInput) as raised:
            await registry.change("openai", {}, COMMAND, key=bad)
        said.append(raised.value.message)
    assert KEY not in "".join(said)


async def test_a_new_key_is_used_at_once_and_a_removed_provider_leaves_none(
    registry: ProviderRegistry, pool: Pool
) -> None:
    await registry.add("openai", {"kind": "openai"}, COMMAND, key=KEY)
    assert await registry.known.key(registry.known.get("openai")) == KEY
    await registry.change("openai", {}, COMMAND, key="sk-new")
    assert await registry.known.key(registry.known.get("openai")) == "sk-new"
    await registry.disable("openai", COMMAND)
    await registry.remove("openai", COMMAND)
    assert registry.known.all() == []
    async with pool.connection() as connection:
        for table in ("providers", "provider_states", "secrets"):
            assert await (await connection.execute(f"SELECT 1 FROM {table}")).fetchone() is None
    with pytest.raises(NotFound, match="no provider 'openai'"):
        await registry.remove("openai", COMMAND)


async def test_a_key_is_not_sent_elsewhere_by_changing_the_address(registry: ProviderRegistry) -> None:
    await registry.add("openai", {"kind": "openai"}, COMMAND, key=KEY)
    for field in ({"base_urls": ["https://thief.example/v1"]}, {"base_url": "http://api.openai.com/v1"}):
        with pytest.raises(InvalidInput, match=r"was given for https://api\.openai\.com/v1, and is not sent elsewhere"):
            await registry.change("openai", field, COMMAND)
    assert registry.known.get("openai").base_urls == ("https://api.openai.com/v1",)
    changed = await registry.change("openai", {"base_url": "https://gateway.example/v1"}, COMMAND, key="sk-for-it")
    assert changed.base_urls == ("https://gateway.example/v1",)
    assert await registry.known.key(changed) == "sk-for-it"


def moved(file: Path, to: Path) -> Path:
    return file.rename(to)


async def test_a_key_is_not_sent_elsewhere_where_the_new_one_could_not_be_stored(
    registry: ProviderRegistry, pool: Pool, tmp_path: Path
) -> None:
    await registry.add("openai", {"kind": "openai"}, COMMAND, key=KEY)
    settings = Settings.model_validate({"data_dir": tmp_path / "data"})
    file = Path(open_key_file(settings).where)
    aside = moved(file, file.with_suffix(".aside"))
    with pytest.raises(Configuration, match="key file"):
        await registry.change("openai", {"base_url": "https://gateway.example/v1"}, COMMAND, key="sk-for-it")
    moved(aside, file)
    other = made(pool, tmp_path)
    await other.known.refresh()
    assert await other.known.key(other.known.get("openai")) == KEY
    assert other.known.get("openai").base_urls == ("https://api.openai.com/v1",)


async def test_a_change_replaces_what_it_names_and_nothing_else(registry: ProviderRegistry, pool: Pool) -> None:
    models = {"m": {"input": 1, "output": 2}}
    await registry.add("own", {**OWN, "models": models, "timeout": 5}, COMMAND)
    await registry.change("own", {"models": {"n": {"context_tokens": 9}}, "outside": True}, COMMAND)
    found = registry.known.get("own")
    assert list(found.models) == ["n"]
    assert found.outside is True
    assert found.timeout == 5
    assert found.allow_private
    before = await actions(pool)
    await registry.change("own", {"timeout": 5}, COMMAND)
    assert await actions(pool) == before  # nothing changed, and nothing is said of it


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("openai", {"kind": "openai"}, "openai asks for a key, and none was given"),
    ("openai", {"kind": "openai", "api_key_env": ""}, "openai asks for a key, and none was given"),
    ("OpenAI", OPENAI, "can't name a provider"),
    ("local", OPENAI, "can't name a provider"),
    ("p", {"kind": "nothing", "api_key_env": "K"}, "`kind` can't be used"),
    ("p", {"kind": "vllm"}, "vllm has no public address"),
    ("p", {**OPENAI, "base_url": "api.openai.com"}, "begins with http:// or https://"),
    ("p", {**OPENAI, "base_url": "https://user:pw@api.openai.com"}, "no user and no password"),
    ("p", {"kind": "vllm", "base_url": "http://127.0.0.1:8000/v1"}, "loopback address"),
    ("p", {"kind": "vllm", "base_url": "http://0x7f.1/v1"}, "loopback address"),
    ("p", {**OPENAI, "base_url": "https://inner.example/v1"}, "private address"),
    ("p", {**OWN, "base_url": "http://169.254.169.254/v1"}, "metadata service"),
    ("p", {**OWN, "base_url": "http://metadata.google.internal/v1"}, "metadata service"),
    ("p", {**OPENAI, "models": {"m": {"input": -1, "output": 1}}}, "models.m.input"),
    ("p", {**OPENAI, "models": {"m": {"input": 1}}}, "needs both `input` and `output`"),
    ("p", {**OPENAI, "price": 1}, "`price` can't be used"),
]


async def test_a_provider_that_can_not_be_is_refused_and_nothing_is_kept(
    registry: ProviderRegistry, pool: Pool
) -> None:
    for name, fields, said in REFUSED:
        with pytest.raises(InvalidInput, match=said):
            await registry.add(name, fields, COMMAND)
    assert await ProviderRepository(pool).all() == []


async def test_a_name_is_given_once_and_settings_win(registry: ProviderRegistry, pool: Pool, tmp_path: Path) -> None:
    await registry.add("openai", {"kind": "openai"}, COMMAND, key=KEY)
    with pytest.raises(Conflict, match="There is a provider 'openai'"):
        await registry.add("openai", {"kind": "openai"}, COMMAND, key="sk-other")
    assert await registry.known.key(registry.known.get("openai")) == KEY
    other = made(pool, tmp_path, providers={"openai": {**OPENAI, "base_url": "https://gateway.example/v1"}})
    await other.known.refresh()
    assert [one.configured for one in other.known.all()] == [True]
    assert other.known.get("openai").base_urls == ("https://gateway.example/v1",)
    for work in (other.change("openai", {"timeout": 3}, COMMAND), other.remove("openai", COMMAND),
                 other.add("openai", OPENAI, COMMAND)):  # fmt: skip
        with pytest.raises(Conflict, match=r"stands in the settings, under `providers\.openai`"):
            await work


async def test_a_provider_that_a_route_or_a_task_names_stays(
    registry: ProviderRegistry, pool: Pool, tmp_path: Path
) -> None:
    await registry.add("own", OWN, COMMAND)
    for section in ({"routes": {"fast": {"targets": ["own/m"]}}}, {"tasks": {"review.comment": {"model": "own/m"}}}):
        other = made(pool, tmp_path, **section)
        await other.known.refresh()
        with pytest.raises(Conflict, match=r"named in `(routes\.fast\.targets|tasks\.review\.comment\.model)`"):
            await other.remove("own", COMMAND)


async def test_a_key_in_the_environment_or_a_file_is_read_anew(
    registry: ProviderRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    await registry.add("one", OPENAI, COMMAND)
    await registry.add("two", {"kind": "anthropic", "api_key_file": str(file)}, COMMAND)
    await registry.add("three", OWN, COMMAND)
    one, two, three = (registry.known.get(name) for name in ("one", "two", "three"))
    monkeypatch.delenv("P_TEST_KEY", raising=False)
    with pytest.raises(Configuration, match="environment variable P_TEST_KEY, which is not set or empty"):
        await registry.known.key(one)
    with pytest.raises(Configuration, match=f"file {file}, which can't be read: No such file"):
        await registry.known.key(two)
    for key in ("sk-first", "sk-second"):
        monkeypatch.setenv("P_TEST_KEY", key)
        file.write_text(f"{key}\n")
        assert await registry.known.key(one) == key
        assert await registry.known.key(two) == key
    assert await registry.known.key(three) is None
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(Configuration, match="it is no text"):
        await registry.known.key(two)
    file.write_text("two lines\nof it")
    with pytest.raises(Configuration, match="what is there is no key") as raised:
        await registry.known.key(two)
    assert "of it" not in raised.value.message


async def test_facts_say_who_serves_a_name_what_it_costs_and_whether_texts_leave(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://api.example.com/v1"
    endpoints = {
        "near": {"url": "http://gpu-box:8000/v1"},
        "far": {"url": url, "model": "big"},
        "priced": {"url": url, "price_input": 1, "price_output": 2},
        "trusted": {"url": url, "outside": False},
    }
    known = {"gpt-x": {"input": 1, "output": 4, "context_tokens": 9, "max_output_tokens": 3}, "new": {}}
    providers = {
        "openai": {**OPENAI, "models": known},
        "own": OWN,
        "gateway": {"kind": "openai_compatible", "base_url": "http://10.0.0.1/v1", "allow_private": True},
        "cloud": {"kind": "ollama", "base_url": "https://ollama.example.com/v1"},
    }
    models = {"default": "near", "endpoints": endpoints}
    facts = made(pool, tmp_path, models=models, providers=providers).known.facts
    assert facts("default").name == "near"
    assert (facts("near").provider, facts("near").price, facts("near").outside) == ("near", FREE, False)
    assert (facts("far").model, facts("far").price, facts("far").outside) == ("big", None, True)
    assert facts("far").version == f"endpoint:{url}#big"
    assert facts("priced").price == Price(1, 2)
    assert (facts("trusted").price, facts("trusted").outside) == (None, False)
    paid = facts("openai/gpt-x")
    assert (paid.name, paid.provider, paid.model) == ("openai/gpt-x", "openai", "gpt-x")
    assert (paid.price, paid.context_tokens, paid.max_output_tokens) == (Price(1, 4), 9, 3)
    assert paid.outside
    assert not paid.local
    assert facts("openai/new").price is None
    assert facts("openai/never/heard:of").price is None
    assert (facts("own/m").price, facts("own/m").outside) == (FREE, False)
    assert (facts("gateway/m").price, facts("gateway/m").outside) == (None, False)
    assert facts("cloud/m").price is None
    for unknown in ("nothing", "nobody/m", "openai/", "near/x", "openai/a b", "openai/a\nb", "openai/" + 201 * "x"):
        with pytest.raises(ModelNotFound):
            facts(unknown)


async def test_a_local_model_costs_nothing_and_stays_on_the_machine(pool: Pool, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    known = made(pool, tmp_path, models={"files": {"mine": file}, "context_tokens": 2048}).known
    found = known.facts("mine")
    assert (found.provider, found.local, found.outside, found.price) == ("local", True, False, FREE)
    assert found.version.startswith("sha256:")
    assert found.context_tokens == 2048


def test_a_provider_is_outside_where_one_of_its_addresses_is() -> None:
    urls = ["http://10.0.0.1/v1", "https://api.example.com/v1"]
    mixed = ProviderSettings.model_validate({"kind": "vllm", "base_urls": urls, "allow_private": True})
    assert leaves_the_network(mixed.provider("p"))
    inside = ProviderSettings.model_validate({"kind": "vllm", "base_urls": urls[:1], "allow_private": True})
    assert not leaves_the_network(inside.provider("p"))


async def test_a_name_is_looked_up_in_one_order(pool: Pool, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    models = {"files": {"openai/gpt-x": file}}
    routes = {"qwen2.5-coder-0.5b-instruct-q4_k_m": {"targets": ["openai/gpt-y"]}}
    registry = made(pool, tmp_path, models=models, providers={"openai": OPENAI}, routes=routes)
    assert registry.known.find("openai/gpt-x") is None
    assert registry.known.facts("openai/gpt-x").local
    found = deployments(registry, tmp_path, models=models, providers={"openai": OPENAI}, routes=routes)
    assert (await found.for_chat("openai/gpt-x")).model_version.startswith("sha256:")
    assert (await found.for_chat("qwen2.5-coder-0.5b-instruct-q4_k_m")).route is not None


def deployments(registry: ProviderRegistry, folder: Path, **sections: Any) -> Deployments:
    settings = Settings.model_validate({"data_dir": folder / "data", **sections})
    return Deployments(settings, ShippedPrompts(), registry.known)


NEAR = {"default": "near", "endpoints": {"near": {"url": "http://gpu-box:8000/v1"}}}


async def test_routes_and_providers_models_are_deployed_by_name_and_listed(pool: Pool, tmp_path: Path) -> None:
    sections: dict[str, Any] = {
        "models": NEAR,
        "providers": {"openai": {**OPENAI, "models": {"gpt-x": {}}}},
        "routes": {"coder": {"targets": ["near", "openai/gpt-x"]}},
    }
    found = deployments(made(pool, tmp_path, **sections), tmp_path, **sections)
    found.check()
    direct = await found.for_chat("openai/gpt-x")
    assert (direct.model, direct.route) == ("openai/gpt-x", None)
    assert direct.model_version == "openai:https://api.openai.com/v1#gpt-x"
    routed = await found.for_text("coder")
    assert routed.task is Task.COMPLETE
    assert routed.route is not None
    assert [target.model for target in routed.route.targets] == ["near", "openai/gpt-x"]
    assert routed.model_version.startswith("route:")
    listed = {one.name: one.owned_by for one in found.names()}
    assert listed == {"coder": "route", "near": "endpoint", "openai/gpt-x": "openai"}
    assert found.name("openai/other").owned_by == "openai"
    assert found.name("default").name == "near"
    with pytest.raises(ModelNotFound, match="no provider is called 'nobody'"):
        await found.for_chat("nobody/m")


async def test_a_route_that_changes_is_another_version(pool: Pool, tmp_path: Path) -> None:
    versions = []
    for route in (
        {"targets": ["near", "openai/a"]},
        {"targets": ["openai/a", "near"]},
        {"targets": ["near", "openai/a"], "strategy": "fastest"},
        {"targets": ["near", "openai/a"], "fallbacks": ["template"]},
        {"targets": ["near", {"model": "openai/a", "weight": 2}]},
    ):
        sections: dict[str, Any] = {"models": NEAR, "providers": {"openai": OPENAI}, "routes": {"r": route}}
        versions.append(
            (await deployments(made(pool, tmp_path, **sections), tmp_path, **sections).for_chat("r")).config_hash
        )
    assert len(set(versions)) == len(versions)


async def test_tasks_are_served_by_what_the_settings_name(pool: Pool, tmp_path: Path) -> None:
    sections: dict[str, Any] = {
        "models": NEAR,
        "providers": {"openai": OPENAI},
        "routes": {"coder": {"targets": ["openai/a", "near"]}},
        "tasks": {
            "review.comment": {"model": "coder"},
            "chat": {"model": "openai/a"},
            "conversation.title": {"model": "openai/small"},
        },
    }
    found = deployments(made(pool, tmp_path, **sections), tmp_path, **sections)
    review, vietnamese = (await found.for_review()).comment, await found.for_review("vi")
    assert vietnamese.necessity is None, "asked only where a model is named for it"
    for one in (vietnamese.comment, vietnamese.doubt, vietnamese.refine):
        assert one is not None
        assert "/vi/" in str(one.prompt_version)
    assert (review.task, review.model) == (Task.REVIEW_COMMENT, "coder")
    assert review.route is not None
    assert review.prompt_version
    assert (await found.for_chat("default")).model == "openai/a"
    assert (await found.for_chat("near")).model == "near"
    assert (await found.for_text("default")).model == "near"
    chat = await found.for_chat("near")
    assert (await found.for_side(Task.CONVERSATION_TITLE, chat)).model == "openai/small"
    assert await found.for_side(Task.CONVERSATION_SUMMARY, chat) is chat


async def test_the_default_model_may_be_a_route_or_a_providers(pool: Pool, tmp_path: Path) -> None:
    for default, routed in (("coder", True), ("openai/a", False)):
        sections: dict[str, Any] = {
            "models": {**NEAR, "default": default},
            "providers": {"openai": OPENAI},
            "routes": {"coder": {"targets": ["openai/a", "near"]}},
        }
        found = deployments(made(pool, tmp_path, **sections), tmp_path, **sections)
        for deployment in (await found.for_chat("default"), (await found.for_review()).comment):
            assert (deployment.model, deployment.route is not None) == (default, routed)
        assert found.name("default").name == default


async def test_a_route_holds_what_each_of_its_models_can(pool: Pool, tmp_path: Path) -> None:
    sections: dict[str, Any] = {
        "models": NEAR,
        "providers": {"openai": {**OPENAI, "models": {"a": {"context_tokens": 9000}, "b": {"context_tokens": 700}}}},
        "routes": {"known": {"targets": ["openai/a", "openai/b"]}, "unknown": {"targets": ["openai/a", "near"]}},
    }
    found = deployments(made(pool, tmp_path, **sections), tmp_path, **sections)
    assert found.context_tokens("known") == 700
    assert found.context_tokens("openai/a") == 9000
    assert found.context_tokens("unknown") is None
    assert found.context_tokens("nothing") is None


UNKNOWN = [
    ({"routes": {"r": {"targets": ["near", "nothing"]}}}, r"`routes\.r\.targets` names the model 'nothing'"),
    ({"routes": {"r": {"targets": ["nobody/m"]}}}, r"`routes\.r\.targets` names the model 'nobody/m'"),
    ({"tasks": {"chat": {"model": "nothing"}}}, r"`tasks\.chat\.model` names the model 'nothing'"),
]


async def test_an_unknown_target_is_told_when_the_hub_starts(pool: Pool, tmp_path: Path) -> None:
    for section, said in UNKNOWN:
        sections: dict[str, Any] = {"models": NEAR, **section}
        with pytest.raises(Configuration, match=said):
            deployments(made(pool, tmp_path, **sections), tmp_path, **sections).check()


async def test_a_target_that_is_not_fetched_yet_is_no_mistake(pool: Pool, tmp_path: Path) -> None:
    targets = ["qwen2.5-coder-0.5b-instruct-q4_k_m", "Qwen/X-GGUF:x.gguf", "near"]
    sections: dict[str, Any] = {"models": NEAR, "routes": {"r": {"targets": targets}}}
    deployments(made(pool, tmp_path, **sections), tmp_path, **sections).check()


async def test_an_address_in_the_settings_that_may_not_be_asked_is_told_at_the_start(
    pool: Pool, tmp_path: Path
) -> None:
    for url in ("http://127.0.0.1:1/v1", "http://169.254.169.254/v1", "http://metadata/v1"):
        registry = made(pool, tmp_path, providers={"p": {"kind": "vllm", "base_url": url}})
        with pytest.raises(Configuration, match=r"`providers\.p` can't be used"):
            await registry.check_settings()
    await made(pool, tmp_path, providers={"p": {"kind": "vllm", "base_url": "http://some-name/v1"}}).check_settings()


async def test_a_key_in_the_settings_that_is_not_there_is_told_at_the_start(
    pool: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("P_TEST_KEY", raising=False)
    await made(pool, tmp_path, providers={"openai": OPENAI}).check_settings()
    assert "environment variable P_TEST_KEY, which is not set or empty. Until then requests to it fail." in caplog.text


async def test_health_says_who_is_disabled_resting_failing_and_ready(registry: ProviderRegistry, pool: Pool) -> None:
    for name in ("a", "b", "c", "d"):
        await registry.add(name, OWN, COMMAND)
    states = ProviderStateRepository(pool)
    later = NOON.replace(hour=13)
    await registry.disable("a", COMMAND, "the bill  is\nunpaid")
    failed = Failed("b", "", "quota.daily", NOON, later, 99, later)
    await states.add_failure(failed)
    await states.add_failure(Failed("c", "m", "unknown", NOON, None, 99, later))
    await states.write_latencies([("c", "m", 120.0), ("c", "n", 80.0)], NOON)
    health = await registry.health()
    assert {name: one.state for name, one in health.items()} == {
        "a": "disabled", "b": "resting", "c": "failing", "d": "ready", "near": "ready",
    }  # fmt: skip
    assert health["a"].whole is not None
    assert health["a"].whole.disabled_reason == "the bill is unpaid"
    assert health["c"].latency_ms == 100
    await registry.enable("a", COMMAND)
    await registry.enable("b", COMMAND)
    health = await registry.health()
    assert {health[name].state for name in ("a", "b")} == {"ready"}
    with pytest.raises(NotFound):
        await registry.disable("nobody", COMMAND)


LISTS = {
    "openai": {"object": "list", "data": [{"id": "a"}, {"id": "b"}]},
    "anthropic": {"data": [{"id": "a", "type": "model"}], "has_more": False},
    "gemini": {"models": [{"name": "models/a"}]},
}


ASKED = [
    ("openai", "/v1", "/v1/models", "authorization", f"Bearer {KEY}"),
    ("anthropic", "", "/v1/models?limit=1000", "x-api-key", KEY),
    ("gemini", "", "/v1beta/models?pageSize=1000", "x-goog-api-key", KEY),
]


async def test_trying_a_provider_asks_for_its_models_as_its_kind_does(registry: ProviderRegistry) -> None:
    for kind, suffix, path, header, value in ASKED:
        async with http_server(lambda _, kind=kind: (200, LISTS[kind])) as server:
            fields = {"kind": kind, "base_url": f"{server.url}{suffix}", "allow_private": True, "models": {"z": {}}}
            await registry.add(kind, fields, COMMAND, key=KEY)
            found = await registry.test(kind)
        assert found.ok
        assert found.latency_ms > 0
        assert "a" in found.models
        assert "does not list z" in found.said
        assert server.seen[0].path == path
        assert server.seen[0].headers[header] == value


async def test_a_server_without_a_list_is_asked_for_one_token(registry: ProviderRegistry) -> None:
    def answer(seen: Seen) -> tuple[int, Any]:
        return (200, {"choices": [{"message": {}}]}) if seen.method == "POST" else (404, {"error": "no"})

    async with http_server(answer) as server:
        await registry.add("own", {**OWN, "base_url": f"{server.url}/v1", "models": {"m": {}}}, COMMAND)
        found = await registry.test("own")
    assert found.ok
    assert found.said == "It lists no models, and m answers."
    assert b'"max_tokens":1' in server.seen[1].body.replace(b" ", b"")


FAILING: list[tuple[int, Any, Failure, str]] = [
    (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, Failure.AUTH_INVALID, "answered 401"),
    (403, {"error": {"message": "no"}}, Failure.AUTH_PERMISSION, "answered 403"),
    (429, {"error": {"message": "slow down"}}, Failure.RATE_LIMIT_LIGHT, "slow down"),
    (500, b"<html>oops</html>", Failure.UNKNOWN, "answered 500"),
    (200, b"<html>hello</html>", Failure.UNKNOWN, "does not speak the API of openai"),
    (200, {"error": {"message": "what"}}, Failure.UNKNOWN, "does not speak the API of openai"),
    (302, b"", Failure.UNKNOWN, "answered 302"),
    (404, {"detail": "Not Found"}, Failure.UNKNOWN, "answered 404"),
]


async def test_a_provider_that_fails_is_no_error_of_who_tries_it_and_its_key_is_not_told(
    registry: ProviderRegistry,
) -> None:
    answers = iter(FAILING)
    async with http_server(lambda _: next(answers)[:2]) as server:
        fields = {"kind": "openai", "base_url": f"{server.url}/v1", "allow_private": True}
        await registry.add("p", fields, COMMAND, key=KEY)
        for _, _, failure, said in FAILING:
            found = await registry.test("p")
            assert not found.ok
            assert found.failure is failure
            assert said in found.said
            assert KEY not in found.said


async def test_a_provider_that_is_down_unknown_or_without_its_key_says_so(
    registry: ProviderRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("P_TEST_KEY", raising=False)
    async with http_server(lambda _: (200, {})) as server:
        url = f"{server.url}/v1"
    await registry.add("down", {**OWN, "base_url": url}, COMMAND)
    await registry.add("unknown", {**OWN, "base_url": "http://nowhere.example/v1"}, COMMAND)
    await registry.add("keyless", OPENAI, COMMAND)
    down = await registry.test("down")
    assert down.failure is Failure.NETWORK_CONNECTION
    assert down.said == f"The server at {url} can't be reached, or broke the connection."
    assert (await registry.test("unknown")).failure is Failure.NETWORK_DNS
    keyless = await registry.test("keyless")
    assert keyless.failure is Failure.AUTH_INVALID
    assert "P_TEST_KEY" in keyless.said
    with pytest.raises(NotFound):
        await registry.test("nobody")


async def test_a_secret_that_is_gone_says_how_to_set_it(registry: ProviderRegistry, pool: Pool) -> None:
    await registry.add("openai", {"kind": "openai"}, COMMAND, key=KEY)
    async with pool.connection() as connection:
        await connection.execute("DELETE FROM secrets")
    await registry.known.refresh()
    with pytest.raises(TidemillError, match=r"tidemill secrets set provider\.openai"):
        await registry.known.key(registry.known.get("openai"))
    await registry.remove("openai", COMMAND)
    assert registry.known.all() == []
