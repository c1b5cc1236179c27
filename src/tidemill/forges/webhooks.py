"""Deliveries of webhooks: which forge's they are, whether it sent them, and what they tell of."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from tidemill.core.errors import InvalidInput, NotAuthenticated
from tidemill.core.pull_request import ForgeEvent, ForgeKind
from tidemill.forges import webhooks_gitea, webhooks_github, webhooks_gitlab

LARGEST_DELIVERY = 25_000_000
"""Bytes. GitHub's own cap; the others send less."""
SIGNED_SECONDS = 300.0
"""How far the time that a signature covers may be from now."""
_SIGNING_PREFIX = "whsec_"
_READERS = {
    ForgeKind.GITHUB: webhooks_github.read,
    ForgeKind.GITLAB: webhooks_gitlab.read,
    ForgeKind.GITEA: webhooks_gitea.read,
}


@dataclass(frozen=True, slots=True)
class DeliveryHead:
    """What a delivery's headers say of it.

    Attributes:
        kind: whose form it has.
        id: the forge's id of the delivery; the same for a redelivery.
        event: the forge's name of the event.
    """

    kind: ForgeKind
    id: str
    event: str


def read_head(headers: Mapping[str, str]) -> DeliveryHead:
    """What kind of forge sent this, from its headers, whose names are in lower case.

    Gitea sends GitHub's headers beside its own, so it is looked for first.

    Raises:
        InvalidInput: they are no forge's.
    """
    for kind, names, events in (
        (ForgeKind.GITEA, ("x-gitea-delivery", "x-forgejo-delivery"), ("x-gitea-event", "x-forgejo-event")),
        (ForgeKind.GITLAB, ("idempotency-key", "x-gitlab-event-uuid"), ("x-gitlab-event",)),
        (ForgeKind.GITHUB, ("x-github-delivery",), ("x-github-event",)),
    ):
        event = next((headers[name] for name in events if headers.get(name)), None)
        if event is None:
            continue
        delivery = next((headers[name] for name in names if headers.get(name)), None)
        if delivery is None or not _plain(delivery) or not _plain(event):
            raise InvalidInput(f"The delivery has no usable id: a {kind} sends one in the header {names[0]}.")
        return DeliveryHead(kind, delivery, event)
    raise InvalidInput(
        "The request is no delivery that is known here: it has none of the headers X-GitHub-Event, X-Gitlab-Event "
        "and X-Gitea-Event."
    )


def check_signed(kind: ForgeKind, headers: Mapping[str, str]) -> None:
    """Goes on where there is a signature to check; before anything of the body is read.

    Raises:
        NotAuthenticated: there is none.
    """
    names = {
        ForgeKind.GITHUB: ("x-hub-signature-256",),
        ForgeKind.GITLAB: ("webhook-signature", "x-gitlab-token"),
        ForgeKind.GITEA: ("x-forgejo-signature", "x-gitea-signature"),
    }[kind]
    if not any(headers.get(name) for name in names):
        raise NotAuthenticated(
            f"The delivery is not signed (no header {names[-1]}). Set the same secret at the forge and in Tidemill."
        )


def verify(kind: ForgeKind, headers: Mapping[str, str], body: bytes, secret: str, now: datetime) -> None:
    """Goes on where whoever sent the body knows the secret. Compares in constant time.

    GitHub and Gitea sign the raw body. GitLab sends the secret itself; where a signing token is set there, it signs
    as https://www.standardwebhooks.com says, and that is what is checked then.

    Raises:
        NotAuthenticated: they do not, or the signature is of another time than now.
    """
    if kind is ForgeKind.GITLAB:
        valid = _gitlab(headers, body, secret, now)
    else:
        mac = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        if kind is ForgeKind.GITHUB:
            given, wanted = headers.get("x-hub-signature-256", ""), f"sha256={mac}"
        else:
            given, wanted = headers.get("x-forgejo-signature") or headers.get("x-gitea-signature", ""), mac
        valid = hmac.compare_digest(given.encode(), wanted.encode())
    if not valid:
        raise NotAuthenticated(
            "The delivery's signature is wrong. Set the same secret at the forge and in Tidemill, and let nothing "
            "between the two change the body."
        )


def _gitlab(headers: Mapping[str, str], body: bytes, secret: str, now: datetime) -> bool:
    signatures = headers.get("webhook-signature")
    if signatures is None:
        return hmac.compare_digest(headers.get("x-gitlab-token", "").encode(), secret.encode())
    moment, delivery = headers.get("webhook-timestamp", ""), headers.get("webhook-id", "")
    if not moment.isascii() or not moment.isdigit() or abs(int(moment[:12]) - now.timestamp()) > SIGNED_SECONDS:
        return False
    key = secret.encode()
    if secret.startswith(_SIGNING_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_SIGNING_PREFIX), validate=True)
        except binascii.Error:
            return False
    mac = hmac.new(key, f"{delivery}.{moment}.".encode() + body, hashlib.sha256).digest()
    wanted = b"v1," + base64.b64encode(mac)
    return any(hmac.compare_digest(one.encode(), wanted) for one in signatures.split())


def read_payload(body: bytes, content_type: str) -> Mapping[str, Any]:
    """The payload, sent as JSON or as the field `payload` of a form.

    Raises:
        InvalidInput: it is neither.
    """
    if content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
        body = fields.get("payload", [""])[0].encode()
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("The delivery's body is not JSON.") from error
    if not isinstance(payload, dict):
        raise InvalidInput("The delivery's body is not a JSON object.")
    return payload


def read_event(kind: ForgeKind, forge: str, event: str, payload: Mapping[str, Any]) -> ForgeEvent:
    """What a delivery tells of.

    Args:
        kind: whose form it has.
        forge: the forge's name in the settings.
        event: the forge's name of the event, from the delivery's head.
        payload: the body.

    Raises:
        InvalidInput: it is not what this forge sends for such an event.
    """
    return _READERS[kind](forge, event, payload)


def _plain(text: str) -> bool:
    return len(text) <= 200 and text.isascii() and text.isprintable()
