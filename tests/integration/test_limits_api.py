"""Budgets, rate limits and usage in a whole hub."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, free_port, running_hub, upstream

PRICES = {"price_input": 1.0, "price_output": 1000.0}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with upstream(tmp_path_factory.mktemp("upstream")) as scripted:
        gone = f"http://127.0.0.1:{free_port()}/v1"
        endpoints = {
            "own": {"url": scripted.url},
            "priced": {"url": scripted.url, **PRICES},
            "dearer": {"url": gone, "price_input": 1.0, "price_output": 1000.0},
        }
        settings = {
            "models": {"default": "own", "endpoints": endpoints},
            "routes": {"either": {"targets": ["dearer", "priced"]}},
            "cache": {"enabled": False},
            "recovery": {"breaker_failures": 1000, "connection_wait": 0.05},  # each request tries the one that is gone
        }
        data_dir = reachable(tmp_path_factory.mktemp("hub")) / "data"
        with running_hub(data_dir, settings) as running:
            yield running


@pytest.fixture(scope="module")
def admin(hub: Hub) -> Iterator[httpx.Client]:
    with hub.client() as client:
        yield client


def done(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def member(admin: httpx.Client, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """A person, and the headers of a key of theirs."""
    user = done(admin.post("/v1/users", json={"email": f"{name}@example.org", "name": name, "role": "member"}))
    key = done(admin.post("/v1/keys", json={"name": name, "owner_id": user["id"]}))["key"]
    return user, {"authorization": f"Bearer {key}"}


def ask(client: httpx.Client, headers: dict[str, str], model: str = "priced", **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "What turns the mill?"}], **more}
    return client.post("/v1/chat/completions", json=body, headers=headers)


def test_fifty_clients_at_once_never_exceed_a_budget_and_each_answer_says_its_cost(admin: httpx.Client) -> None:
    user, headers = member(admin, "spender")
    limit = 5.5 * 0.021
    budget = done(
        admin.put("/v1/budgets", json={"scope": "user", "subject": user["id"], "period": "day", "limit_usd": limit})
    )
    assert (budget["spent_usd"], budget["left_usd"]) == (0.0, limit)
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda _: ask(admin, headers, max_tokens=20), range(50)))
    answered = [one for one in answers if one.status_code == 200]
    refused = [one for one in answers if one.status_code == 402]
    assert len(answered) + len(refused) == 50
    assert answered
    assert refused
    assert float(answered[0].headers["x-tidemill-cost-usd"]) == pytest.approx((4 + 12 * 1000) / 1e6)
    [mine] = [one for one in done(admin.get("/v1/budgets", headers=headers))["data"] if one["scope"] == "user"]
    assert mine["spent_usd"] == pytest.approx(sum(float(one.headers["x-tidemill-cost-usd"]) for one in answered))
    assert mine["spent_usd"] <= limit
    assert mine["reserved_usd"] == 0
    error = refused[0].json()["error"]
    assert (error["code"], error["type"]) == ("budget_exceeded", "invalid_request_error")
    assert "Nothing was sent. It is renewed at" in error["message"]
    assert ask(admin, headers, "own").status_code == 200  # what costs nothing is not held back
    assert admin.delete(f"/v1/budgets/{mine['id']}").status_code == 204
    assert admin.delete(f"/v1/budgets/{mine['id']}").status_code == 404


def test_fifty_clients_of_a_route_whose_first_model_fails_never_exceed_a_budget(admin: httpx.Client) -> None:
    user, headers = member(admin, "rerouted")
    limit = 5.5 * 0.021
    body = {"scope": "user", "subject": user["id"], "period": "day", "limit_usd": limit}
    done(admin.put("/v1/budgets", json=body))
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda _: ask(admin, headers, "either", max_tokens=20), range(50)))
    answered = [one for one in answers if one.status_code == 200]
    assert {one.headers["x-tidemill-model"] for one in answered} == {"priced"}
    assert any("network.connection" in one.headers.get("x-tidemill-recovery", "") for one in answered)
    refused = [one for one in answers if one.status_code != 200]
    assert {one.status_code for one in refused} <= {402, 503}
    assert 402 in {one.status_code for one in refused}
    [mine] = [one for one in done(admin.get("/v1/budgets", headers=headers))["data"] if one["scope"] == "user"]
    assert mine["spent_usd"] == pytest.approx(sum(float(one.headers["x-tidemill-cost-usd"]) for one in answered))
    assert 0 < mine["spent_usd"] <= limit
    assert mine["reserved_usd"] == 0
    report = done(admin.get("/v1/usage", params={"group_by": "user"}, headers=headers))
    assert report["total"]["cost_usd"] == pytest.approx(mine["spent_usd"])
    assert (report["total"]["requests"], report["total"]["unknown_costs"]) == (50, 0)


def test_texts_that_are_continued_together_say_what_all_of_them_cost(admin: httpx.Client) -> None:
    user, headers = member(admin, "poet")
    body = {"scope": "user", "subject": user["id"], "requests_per_minute": 60}
    done(admin.put("/v1/rate-limits", json=body))
    asked = {"model": "priced", "prompt": ["The tide", "The mill of the tide"], "max_tokens": 20}
    answer = admin.post("/v1/completions", json=asked, headers=headers)
    usage = done(answer)["usage"]
    cost = (usage["prompt_tokens"] + 1000 * usage["completion_tokens"]) / 1e6
    assert float(answer.headers["x-tidemill-cost-usd"]) == pytest.approx(cost)
    assert answer.headers["x-ratelimit-limit-requests"] == "60"
    streamed = admin.post("/v1/completions", json={**asked, "stream": True}, headers=headers)
    assert streamed.headers["x-tidemill-provider"] == "priced"
    assert streamed.headers["x-ratelimit-limit-requests"] == "60"
    assert "x-tidemill-cost-usd" not in streamed.headers


@pytest.mark.parametrize("stream", [False, True])
def test_responses_say_how_one_stands_too(admin: httpx.Client, stream: bool) -> None:
    user, headers = member(admin, f"responder-{stream}")
    body = {"scope": "user", "subject": user["id"], "requests_per_minute": 60}
    done(admin.put("/v1/rate-limits", json=body))
    asked = {"model": "own", "input": "What turns the mill?", "stream": stream}
    answer = admin.post("/v1/responses", json=asked, headers=headers)
    assert (answer.status_code, answer.headers["x-ratelimit-remaining-requests"]) == (200, "59")


def test_usage_is_one_s_own_unless_one_may_see_all(admin: httpx.Client) -> None:
    user, headers = member(admin, "reader")
    for _ in range(2):
        done(ask(admin, headers))
    own = done(admin.get("/v1/usage", params={"group_by": ["model", "user"]}, headers=headers))
    [row] = own["data"]
    assert (row["model"], row["user_id"], row["user_name"], row["requests"]) == ("priced", user["id"], "reader", 2)
    assert row["cost_usd"] > 0
    assert row["unknown_costs"] == 0
    assert own["total"]["requests"] == 2
    refused = admin.get("/v1/usage", params={"whose": "all"}, headers=headers)
    assert (refused.status_code, "usage.read_all" in refused.text) == (403, True)
    everyone = done(admin.get("/v1/usage", params={"whose": "all", "group_by": "user"}))
    assert user["id"] in {one["user_id"] for one in everyone["data"]}
    past = done(admin.get("/v1/usage", params={"from": "2020-01-01", "to": "2020-02-01T00:00:00+07:00"}))
    assert (past["data"], past["total"]["requests"]) == ([], 0)
    assert admin.get("/v1/usage", params={"from": "2020-02-01", "to": "2020-01-01"}).status_code == 400
    assert admin.get("/v1/usage", params={"group_by": "weather"}).status_code == 400
    assert admin.get("/v1/usage", params={"to": "0001-01-01"}).status_code == 400


def test_who_asks_too_fast_is_told_in_the_headers_that_clients_know(admin: httpx.Client) -> None:
    user, headers = member(admin, "hasty")
    body = {"scope": "user", "subject": user["id"], "requests_per_minute": 2, "tokens_per_minute": 100000}
    limit = done(admin.put("/v1/rate-limits", json=body))
    assert done(admin.get("/v1/rate-limits", headers=headers))["data"] == [limit]
    first = ask(admin, headers, "own")
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert float(first.headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 30
    assert first.headers["x-ratelimit-limit-tokens"] == "100000"
    streamed = ask(admin, headers, "own", stream=True)
    assert streamed.headers["x-ratelimit-remaining-requests"] == "0"
    third = ask(admin, headers, "own")
    assert third.status_code == 429
    assert 1 <= int(third.headers["retry-after"]) <= 30
    assert third.headers["x-ratelimit-remaining-requests"] == "0"
    assert third.json()["error"]["code"] == "rate_limit_exceeded"
    [row] = done(admin.get("/v1/usage", params={"group_by": "user"}, headers=headers))["data"]
    assert (row["requests"], row["errors"], row["unknown_costs"]) == (3, 1, 0)
    assert admin.delete(f"/v1/rate-limits/{limit['id']}").status_code == 204


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"scope": "all", "period": "day", "limit_usd": 0}, "limit_usd"),
        ({"scope": "all", "period": "day", "limit_usd": -3}, "limit_usd"),
        ({"scope": "all", "period": "week", "limit_usd": 1}, "period"),
        ({"scope": "team", "period": "day", "limit_usd": 1}, "subject"),
        ({"scope": "user", "subject": "an", "period": "day", "limit_usd": 1}, "subject"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(admin: httpx.Client, body: dict[str, Any], param: str) -> None:
    answer = admin.put("/v1/budgets", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_member_sets_no_limit(admin: httpx.Client) -> None:
    _, headers = member(admin, "wishful")
    body = {"scope": "all", "period": "day", "limit_usd": 1}
    for answer in (
        admin.put("/v1/budgets", json=body, headers=headers),
        admin.put("/v1/rate-limits", json={"scope": "all", "requests_per_minute": 1}, headers=headers),
    ):
        assert (answer.status_code, "limits.manage" in answer.text) == (403, True)
