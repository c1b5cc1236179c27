"""Deliveries: real payloads parse, each kind of event is read, and only who knows the secret is believed."""

import base64
import hashlib
import hmac
import json
import lzma
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tidemill.core.errors import InvalidInput, NotAuthenticated
from tidemill.core.pull_request import EventKind, ForgeEvent, ForgeKind
from tidemill.forges.webhooks import check_signed, read_event, read_head, read_payload, verify

DATA = Path(__file__).parents[1] / "data" / "webhooks"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "not-a-real-one"
BODY = b'{"action": "opened"}'
MAC = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()
SENDER = {"login": "lan", "type": "User"}
HUB = {"repository": {"full_name": "acme/shop"}, "sender": SENDER}
PULL = {"number": 7, "merged": False, "title": "Sell", "head": {"sha": "c0ffee"}, "base": {"ref": "lax"}}
SAID = {"id": 41, "body": "Why?"}
LAB: dict[str, Any] = {"user": {"username": "lan"}, "project": {"path_with_namespace": "acme/web/shop"}}
REQUEST = {"iid": 7, "last_commit": {"id": "c0ffee"}}


def test_every_example_of_github_parses() -> None:
    editions = json.loads(lzma.decompress((DATA / "github.json.xz").read_bytes()))
    kinds = Counter(
        read_event(ForgeKind.GITHUB, "github", event, payload).kind
        for events in editions.values()
        for event, payloads in events.items()
        for payload in payloads
    )
    assert kinds == {
        EventKind.OTHER: 687,
        EventKind.OPENED: 11,
        EventKind.COMMENTED: 10,
        EventKind.THREAD_RESOLVED: 7,
        EventKind.CLOSED: 4,
        EventKind.READY: 3,
        EventKind.REOPENED: 2,
        EventKind.SYNCHRONIZED: 1,
        EventKind.THREAD_UNRESOLVED: 1,
    }


@pytest.mark.parametrize(
    ("event", "payload", "kind", "more"),
    [
        ("pull_request", {"action": "opened"}, EventKind.OPENED, {"head": "c0ffee"}),
        ("pull_request", {"action": "synchronize"}, EventKind.SYNCHRONIZED, {"head": "c0ffee"}),
        ("pull_request", {"action": "reopened"}, EventKind.REOPENED, {}),
        ("pull_request", {"action": "ready_for_review"}, EventKind.READY, {}),
        ("pull_request", {"action": "edited"}, EventKind.EDITED, {}),
        (
            "pull_request",
            {"action": "edited", "changes": {"base": {"ref": {"from": "main"}}}},
            EventKind.EDITED,
            {"target": "lax"},
        ),
        ("pull_request", {"action": "closed"}, EventKind.CLOSED, {}),
        ("pull_request", {"action": "closed", "pull_request": {**PULL, "merged": True}}, EventKind.MERGED, {}),
        (
            "pull_request_review",
            {"action": "submitted", "review": {"id": 80, "body": "No"}},
            EventKind.COMMENTED,
            {"body": "No", "review": "80", "comment": None},
        ),
        (
            "issue_comment",
            {"action": "created", "issue": {"number": 7, "pull_request": {}}, "comment": SAID},
            EventKind.COMMENTED,
            {"comment": "41", "body": "Why?", "thread": None},
        ),
        (
            "pull_request_review_comment",
            {"action": "created", "comment": SAID},
            EventKind.COMMENTED,
            {"comment": "41", "thread": "41"},
        ),
        (
            "pull_request_review_comment",
            {"action": "created", "comment": {**SAID, "in_reply_to_id": 40}},
            EventKind.REPLIED,
            {"comment": "41", "reply_to": "40", "thread": "40"},
        ),
        (
            "pull_request_review_thread",
            {"action": "resolved", "thread": {"node_id": "PRT_1", "comments": [SAID]}},
            EventKind.THREAD_RESOLVED,
            {"thread": "41", "comment": "41"},
        ),
    ],
)
def test_each_event_of_github_is_read(event: str, payload: dict[str, Any], kind: EventKind, more: Any) -> None:
    found = read_event(ForgeKind.GITHUB, "hub", event, {**HUB, "pull_request": PULL, **payload})
    assert_event(found, kind, "acme/shop", more)


@pytest.mark.parametrize(
    ("attributes", "rest", "kind", "more"),
    [
        ({"action": "open"}, {}, EventKind.OPENED, {"head": "c0ffee"}),
        ({"action": "update", "oldrev": "abc"}, {}, EventKind.SYNCHRONIZED, {"head": "c0ffee"}),
        ({"action": "reopen"}, {}, EventKind.REOPENED, {}),
        ({"action": "merge"}, {}, EventKind.MERGED, {}),
        ({"action": "close"}, {}, EventKind.CLOSED, {}),
        (
            {"action": "update"},
            {"changes": {"draft": {"previous": True, "current": False}}},
            EventKind.READY,
            {},
        ),
        (
            {"action": "update"},
            {"changes": {"title": {"previous": "Draft: Sell", "current": "Sell"}}},
            EventKind.READY,
            {},
        ),
        ({"action": "update"}, {"changes": {"title": {"previous": "a", "current": "b"}}}, EventKind.EDITED, {}),
        (
            {"action": "update"},
            {"changes": {"target_branch": {"previous": "main", "current": "lax"}}},
            EventKind.EDITED,
            {"target": "lax"},
        ),
    ],
)
def test_each_event_of_a_merge_request_is_read(attributes: Any, rest: Any, kind: EventKind, more: Any) -> None:
    payload = {**LAB, "object_kind": "merge_request", "object_attributes": {**REQUEST, **attributes}, **rest}
    assert_event(read_event(ForgeKind.GITLAB, "hub", "Merge Request Hook", payload), kind, "acme/web/shop", more)


@pytest.mark.parametrize(
    ("attributes", "kind", "more"),
    [
        ({"type": None}, EventKind.COMMENTED, {"comment": "41", "thread": None, "body": "Why?"}),
        ({"type": "DiffNote"}, EventKind.REPLIED, {"comment": "41", "thread": "d15c", "body": "Why?"}),
        (
            {"type": "DiffNote", "action": "update", "resolved_at": "2026"},
            EventKind.THREAD_RESOLVED,
            {"thread": "d15c"},
        ),
    ],
)
def test_each_note_of_gitlab_is_read(attributes: Any, kind: EventKind, more: Any) -> None:
    note = {"id": 41, "note": "Why?", "noteable_type": "MergeRequest", "discussion_id": "d15c", **attributes}
    payload = {**LAB, "object_kind": "note", "object_attributes": note, "merge_request": REQUEST}
    assert_event(read_event(ForgeKind.GITLAB, "hub", "Note Hook", payload), kind, "acme/web/shop", more)


def test_a_reaction_on_gitlab_is_read() -> None:
    award = {"id": 9, "name": "thumbsdown", "awardable_type": "Note", "awardable_id": 41}
    payload = {**LAB, "object_kind": "emoji", "event_type": "award", "object_attributes": award}
    found = read_event(ForgeKind.GITLAB, "hub", "Emoji Hook", {**payload, "merge_request": REQUEST})
    assert_event(found, EventKind.REACTED, "acme/web/shop", {"comment": "41", "reaction": "-1", "award": "9"})


@pytest.mark.parametrize(
    ("payload", "kind", "more"),
    [
        ({"action": "opened"}, EventKind.OPENED, {"head": "c0ffee"}),
        ({"action": "synchronized"}, EventKind.SYNCHRONIZED, {"head": "c0ffee"}),
        ({"action": "reopened"}, EventKind.REOPENED, {}),
        ({"action": "closed"}, EventKind.CLOSED, {}),
        ({"action": "closed", "pull_request": {**PULL, "merged": True}}, EventKind.MERGED, {}),
        ({"action": "edited", "changes": {"title": {"from": "WIP: Sell"}}}, EventKind.READY, {}),
        ({"action": "edited", "changes": {"title": {"from": "Buy"}}}, EventKind.EDITED, {}),
        ({"action": "edited", "changes": {"ref": {"from": "main"}}}, EventKind.EDITED, {"target": "lax"}),
        ({"action": "reviewed", "review": {"content": "No"}}, EventKind.COMMENTED, {"body": "No"}),
        (
            {"action": "created", "is_pull": True, "issue": {"number": 7}, "comment": SAID},
            EventKind.COMMENTED,
            {"comment": "41", "body": "Why?"},
        ),
    ],
)
def test_each_event_of_gitea_is_read(payload: dict[str, Any], kind: EventKind, more: Any) -> None:
    found = read_event(ForgeKind.GITEA, "hub", "pull_request", {**HUB, "pull_request": PULL, **payload})
    assert_event(found, kind, "acme/shop", more)


def assert_event(found: ForgeEvent, kind: EventKind, project: str, more: dict[str, Any]) -> None:
    assert found.key is not None
    assert (found.kind, found.key.project.path, found.key.number, found.actor) == (kind, project, 7, "lan")
    assert {name: getattr(found, name) for name in more} == more


@pytest.mark.parametrize("payload", [{}, {"pull_request": 7}, {"pull_request": {"number": "seven"}}, {"sender": []}])
def test_a_payload_of_another_form_is_refused_by_the_name_of_its_field(payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="The delivery"):
        read_event(ForgeKind.GITHUB, "hub", "pull_request", {"action": "opened", **payload})


@pytest.mark.parametrize(
    ("kind", "headers"),
    [
        (ForgeKind.GITHUB, {"x-hub-signature-256": f"sha256={MAC}"}),
        (ForgeKind.GITEA, {"x-gitea-signature": MAC}),
        (ForgeKind.GITEA, {"x-forgejo-signature": MAC, "x-gitea-signature": "old"}),
        (ForgeKind.GITLAB, {"x-gitlab-token": SECRET}),
    ],
)
def test_a_signature_holds_for_its_secret_and_body_alone(kind: ForgeKind, headers: dict[str, str]) -> None:
    check_signed(kind, headers)
    verify(kind, headers, BODY, SECRET, NOW)
    with pytest.raises(NotAuthenticated):
        verify(kind, headers, BODY, "another", NOW)
    if kind is not ForgeKind.GITLAB:
        with pytest.raises(NotAuthenticated):
            verify(kind, headers, BODY + b" ", SECRET, NOW)
    with pytest.raises(NotAuthenticated):
        verify(kind, dict.fromkeys(headers, "sha256=ünïcode"), BODY, SECRET, NOW)
    with pytest.raises(NotAuthenticated):
        check_signed(kind, {})


def test_gitlabs_signing_token_is_checked_with_its_time() -> None:
    secret = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()
    moment = str(int(NOW.timestamp()))
    mac = hmac.new(b"0123456789abcdef", f"id-1.{moment}.".encode() + BODY, hashlib.sha256).digest()
    headers = {
        "webhook-id": "id-1",
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,old v1,{base64.b64encode(mac).decode()}",
    }
    verify(ForgeKind.GITLAB, headers, BODY, secret, NOW)
    late = datetime(2026, 3, 1, 12, 6, tzinfo=UTC)
    for changed, now in (({"webhook-id": "id-2"}, NOW), ({}, late), ({"webhook-timestamp": "now"}, NOW)):
        with pytest.raises(NotAuthenticated):
            verify(ForgeKind.GITLAB, {**headers, **changed, "x-gitlab-token": secret}, BODY, secret, now)


def test_whose_delivery_it_is_stands_in_its_headers() -> None:
    github = {"x-github-event": "push", "x-github-delivery": "1"}
    assert read_head(github).kind is ForgeKind.GITHUB
    assert read_head({**github, "x-gitea-event": "push", "x-gitea-delivery": "2"}).id == "2"
    assert read_head({"x-gitlab-event": "Note Hook", "idempotency-key": "3"}).event == "Note Hook"
    for headers in ({}, {"x-github-event": "push"}, {**github, "x-github-delivery": "x" * 300}):
        with pytest.raises(InvalidInput):
            read_head(headers)


def test_a_body_is_json_as_it_is_or_in_a_form() -> None:
    assert read_payload(BODY, "application/json") == {"action": "opened"}
    form = urlencode({"payload": BODY.decode()}).encode()
    assert read_payload(form, "application/x-www-form-urlencoded; charset=utf-8") == {"action": "opened"}
    for body in (b"", b"[]", b"\xff", b"[" * 100_000):
        with pytest.raises(InvalidInput):
            read_payload(body, "application/json")
