"""The hub keeps what its OpenAPI document says, whatever is sent to it."""

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from tests.conftest import reachable
from tests.support.hubs import Hub, running_hub, scripted_settings, upstream, wait_for

pytestmark = pytest.mark.unmeasured

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ABOUT_ITSELF = {"GET /openapi.json", "GET /docs"}
EXAMPLES = 25
NAMED = {
    "POST /v1/alerts/test",
    "POST /v1/batches",
    "POST /v1/chat/completions",
    "POST /v1/completions",
    "POST /v1/embeddings",
    "POST /v1/jobs",
    "POST /v1/responses",
    "POST /v1/models/adapters",
    "POST /v1/models/load",
    "POST /v1/models/unload",
    "POST /v1/providers",
    "POST /v1/reviews",
    "POST /v1/users",
    "PUT /v1/budgets",
}
"""Operations on a name, an address or a diff, which data made up at random does not hit; besides those whose path
names a thing."""
OF_PEOPLE = {
    "GET /v1/auth/oidc/callback",
    "GET /v1/auth/oidc/start",
    "GET /v1/auth/session",
    "GET /v1/me/export",
    "POST /v1/auth/password",
    "POST /v1/auth/sign-in",
    "POST /v1/auth/sign-out",
}
"""Operations of a person, such as one in a browser, whom the key of an installation is not."""
SIGNED = {"POST /webhook/pull-request"}
"""Operations of a forge, which signs what it sends: no key lets anybody in."""
METHODS = {"get", "post", "put", "patch", "delete"}
bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
once = settings(bounded, max_examples=1)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with upstream(tmp_path_factory.mktemp("upstream")) as scripted:
        data_dir = reachable(tmp_path_factory.mktemp("hub")) / "data"
        with running_hub(data_dir, scripted_settings(scripted.url)) as running:
            yield running


@pytest.fixture(scope="module")
def document(hub: Hub) -> dict[str, Any]:
    with hub.client() as client:
        found: dict[str, Any] = client.get("/openapi.json").json()
    return found


@pytest.fixture(scope="module")
def review(hub: Hub) -> str:
    """A finished review's id."""
    with hub.client() as client:
        made = client.post("/v1/reviews", json={"diff": "", "model": False}).json()["id"]
        wait_for(lambda: client.get(f"/v1/reviews/{made}").json()["state"] == "done", what="the review's end")
    return str(made)


def operations(document: dict[str, Any]) -> dict[str, APIOperation]:
    schema = schemathesis.openapi.from_dict(document)
    schema.config.generation.update(with_security_parameters=False)  # the key alone says who asks
    found = (result.ok() for result in schema.get_all_operations())
    return {operation.label: operation for operation in found}


def drive(hub: Hub, operation: APIOperation, mode: GenerationMode, **fixed: Any) -> list[int]:
    """The statuses that the operation answered to generated data, each answer checked.

    Where the document gives examples of what it takes, they are sent first.
    """
    statuses: list[int] = []

    def send(case: Case) -> None:
        answer = case.call(base_url=hub.url, headers={"authorization": f"Bearer {hub.key}"}, timeout=60)
        statuses.append(answer.status_code)
        check(case, answer)

    if mode is GenerationMode.POSITIVE and not fixed:
        for example in operation.get_strategies_from_examples():
            once(given(case=example)(send))()
    each = bounded(given(case=operation.as_strategy(generation_mode=mode, **fixed))(send))

    with suppress(Unsatisfiable):  # negative data for an operation that takes none
        each()
    return statuses


def check(case: Case, answer: Response) -> None:
    shown = f"{case.as_curl_command()}\n{answer.status_code} {answer.text[:500]}"
    assert answer.status_code < 500, shown
    if answer.status_code >= 400:
        assert set(answer.json()) == {"error"}, shown
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}, shown
        assert error["message"], shown
    case.validate_response(answer, checks=[content_type_conformance, response_schema_conformance])


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_data_makes_an_operation_fail_or_answer_in_another_shape_than_it_says(
    hub: Hub, document: dict[str, Any], mode: GenerationMode
) -> None:
    statuses = {label: drive(hub, operation, mode) for label, operation in operations(document).items()}
    driven = {label for label, answered in statuses.items() if answered}
    if mode is GenerationMode.POSITIVE:
        assert driven == set(statuses)
        missed = {label for label, answered in statuses.items() if not {200, 202, 204} & set(answered)} - OF_PEOPLE
        missed -= SIGNED
        assert {label for label in missed if "{" not in label} <= NAMED
    else:
        found = operations(document)
        takers = {label for label in statuses if label.startswith("POST ") and found[label].body}
        assert driven >= takers | {"GET /v1/reviews"}
    with hub.client() as client:
        assert client.get("/ready").status_code == 200
        for limits in ("budgets", "rate-limits"):  # those that were made up would hold for what is asked next
            for limit in client.get(f"/v1/{limits}").json()["data"]:
                assert client.delete(f"/v1/{limits}/{limit['id']}").status_code == 204


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/v1/reviews/{review_id}", GenerationMode.POSITIVE),
        ("/v1/reviews/{review_id}/events", GenerationMode.POSITIVE),
        ("/v1/reviews/{review_id}/events", GenerationMode.NEGATIVE),
    ],
)
def test_a_review_that_is_there_is_shown_and_its_stream_ends(
    hub: Hub, document: dict[str, Any], review: str, path: str, mode: GenerationMode
) -> None:
    operation = operations(document)[f"GET {path}"]
    statuses = drive(hub, operation, mode, path_parameters={"review_id": review})
    if mode is GenerationMode.POSITIVE:
        assert set(statuses) == {200}


def test_the_document_lists_each_route_once_under_v1(document: dict[str, Any]) -> None:
    assert {"/v1/chat/completions", "/v1/models", "/v1/reviews", "/health", "/ready"} <= set(document["paths"])
    assert [path for path in document["paths"] if path.startswith("/api/")] == ["/api/generate"]  # its own, not a twin


def test_every_operation_says_what_it_is_for(document: dict[str, Any]) -> None:
    unsaid = [
        f"{method} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in METHODS and not (operation.get("summary") and operation.get("description"))
    ]
    assert not unsaid


def test_every_route_that_the_pages_name_is_in_the_document(document: dict[str, Any]) -> None:
    there = {
        f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path)}"
        for path, operations in document["paths"].items()
        for method in operations
    }
    named = {
        f"{method} {re.sub(r'{[^}]*}', '{}', path.rstrip('./'))}": page.name
        for page in PAGES
        for method, path in re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) (/[\w/{}.-]+)", page.read_text("utf-8"))
    }
    assert named
    assert {route: page for route, page in named.items() if route not in there | ABOUT_ITSELF} == {}


AWKWARD = [
    pytest.param(b'{"\\ud800": 1}', id="a lone surrogate as a name"),
    pytest.param(b'{"model": "\\ud800"}', id="a lone surrogate as a value"),
    pytest.param(b'{"model": "scripted", "messages": [{"role": "user", "content": "\\udfff"}]}', id="in a message"),
    pytest.param(b'{"model": "\\u0000"}', id="a NUL as a value"),
    pytest.param(b'{"\\u0000": 1}', id="a NUL as a name"),
    pytest.param(b'{"diff": "\\u0000", "model": false}', id="a NUL as a diff"),
    pytest.param(b'{"diff": "", "model": false, "title": "\\u0000"}', id="a NUL as a title"),
    pytest.param(b'{"diff": "", "model": false, "files": {"\\u0000": "\\u0000"}}', id="a NUL as a file"),
    pytest.param(b'{"diff": "", "model": false, "files": {"\\ud800": "x"}}', id="a lone surrogate as a path"),
    pytest.param(b'{"diff": "\\ud83d", "model": false}', id="a lone surrogate as a diff"),
    pytest.param(b"[" * 100_000, id="deep nesting"),
    pytest.param(b'{"a":' * 100_000, id="deep nesting of objects"),
    pytest.param(b"1" * 100_000, id="a huge integer"),
    pytest.param(b'{"model": ' + b"1" * 100_000 + b"}", id="a huge integer as a value"),
    pytest.param(b"\xff\xfe\x00", id="no UTF-8"),
    pytest.param(b"\xef\xbb\xbf{}", id="a byte order mark"),
    pytest.param(b"null", id="null"),
    pytest.param(b'"text"', id="a text"),
    pytest.param(b'{"model": NaN}', id="NaN"),
]


ASKED = [
    "alerts/test",
    "batches",
    "chat/completions",
    "completions",
    "jobs",
    "models/load",
    "models/unload",
    "responses",
    "reviews",
]


@pytest.mark.parametrize("path", [f"/v1/{route}" for route in ASKED])
@pytest.mark.parametrize("body", AWKWARD)
def test_json_that_programs_choke_on_is_told_what_is_wrong(hub: Hub, path: str, body: bytes) -> None:
    with hub.client() as client:
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
    if answer.status_code != 202:
        assert 400 <= answer.status_code < 500, answer.text
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "field",
    [
        '"temperature": NaN',
        '"top_p": NaN',
        '"temperature": Infinity',
        '"temperature": 1e999',
        '"seed": 9223372036854775808',
        '"seed": 1e400',
        '"max_tokens": 99999999999999999999999999',
        '"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"default": NaN}}}',
        '"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"maximum": 1e999}}}',
        '"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"default": -1e999}}}',
        '"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"\\ud800": 1}}}',
        '"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"$ref": "file:///etc/passwd"}}}',
        '"response_format": {"type": "json_schema"}',
        '"metadata": {"\\u0000": "\\u0000"}',
        '"user": "\\ud800"',
    ],
)
def test_numbers_and_schemas_that_no_model_can_use_are_refused_or_answered(hub: Hub, field: str) -> None:
    body = f'{{"model": "scripted", "messages": [{{"role": "user", "content": "x"}}], {field}}}'
    with hub.client() as client:
        answer = client.post("/v1/chat/completions", content=body.encode())
    assert answer.status_code in {200, 400}, answer.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/reviews/00000000-0000-0000-0000-000000000000", 404),
        ("/v1/reviews/{00000000-0000-0000-0000-000000000000}", 404),
        ("/v1/reviews/urn:uuid:00000000-0000-0000-0000-000000000000", 404),
        ("/v1/reviews/00000000000000000000000000000000/events", 404),
        ("/v1/reviews/%00", 400),
        ("/v1/reviews/%ff%fe", 400),
        ("/v1/reviews/" + "0" * 5000, 400),
        ("/v1/models/%00", 404),
        ("/v1/models/%ff", 404),
        ("/v1/models/..%2f..%2fetc%2fpasswd", 404),
        ("/v1/models/" + "m" * 5000, 404),
        ("/v1/reviews?limit=99999999999999999999999999", 400),
        ("/v1/reviews?limit=%00", 400),
        ("/v1/reviews?limit=1e2", 400),
        ("/v1/%ff%00", 404),
    ],
)
def test_names_that_can_not_be_are_not_found(hub: Hub, path: str, status: int) -> None:
    with hub.client() as client:
        answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "headers",
    [
        {"last-event-id": "-1"},
        {"last-event-id": "9" * 400},
        {"last-event-id": b"\xff"},
        {"last-event-id": ""},
        {"traceparent": "00-" + "g" * 32 + "-x-01"},
        {"traceparent": b"\xff\xfe"},
        {"accept": b"\xff/\xff"},
        {"content-type": b"\xff"},
        {"authorization": b"Bearer \xff\xfe"},
        {"authorization": "Bearer " + secrets.token_hex(5000)},
        {"x-forwarded-for": "a" * 10_000},
    ],
)
@pytest.mark.parametrize("route", ["GET /v1/reviews/{}/events", "POST /v1/chat/completions", "POST /v1/reviews"])
def test_headers_from_anywhere_do_no_harm(hub: Hub, review: str, route: str, headers: dict[str, Any]) -> None:
    method, path = route.split()
    body = {
        "POST /v1/chat/completions": {"model": "scripted", "messages": [{"role": "user", "content": "x"}]},
        "POST /v1/reviews": {"diff": "", "model": False},
    }.get(route)
    sent = {"authorization": f"Bearer {hub.key}", "content-type": "application/json", **headers}
    answer = httpx.request(
        method,
        hub.url + path.format(review),
        headers=sent,
        content=json.dumps(body) if body else None,
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


class HalfCharacters(BaseHTTPRequestHandler):
    """A model's server that cuts its text between the halves of a surrogate pair."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        halves = ["\ud83c", "\udf0a"]
        if asked.get("stream"):
            choices = [[{"index": 0, "delta": {"content": half}, "finish_reason": None}] for half in halves]
            choices.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
            answer = "".join(f"data: {json.dumps({'choices': one})}\n\n" for one in choices) + "data: [DONE]\n\n"
        else:
            message = {"role": "assistant", "content": halves[0]}
            answer = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if asked.get("stream") else "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def test_half_a_character_from_a_model_reaches_its_client_as_it_came(tmp_path: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), HalfCharacters)
    Thread(target=server.serve_forever, daemon=True).start()
    asked = {"model": "scripted", "messages": [{"role": "user", "content": "x"}]}
    try:
        settings = scripted_settings(f"http://127.0.0.1:{server.server_port}/v1")
        with running_hub(reachable(tmp_path) / "data", settings) as other, other.client() as client:
            whole = client.post("/v1/chat/completions", json=asked)
            assert whole.status_code == 200, whole.text
            assert json.loads(whole.text)["choices"][0]["message"]["content"] == "\ud83c"
            streamed = client.post("/v1/chat/completions", json={**asked, "stream": True}).text
            events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
            said = [choice["delta"].get("content") for event in events for choice in event["choices"]]
            assert said == ["\ud83c", "\udf0a", None]
            assert streamed.rstrip().endswith("[DONE]")
    finally:
        server.shutdown()
        server.server_close()
