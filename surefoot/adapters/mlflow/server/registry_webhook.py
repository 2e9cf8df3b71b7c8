"""Register a webhook by which MLflow reports alias changes to Surefoot."""

from collections.abc import Mapping, Sequence
from configparser import Error as ConfigError
from typing import Any

import httpx

from surefoot.adapters.mlflow.server.http_access import open_mlflow_http_client
from surefoot.core.access.webhook_messages import WEBHOOK_EVENTS
from surefoot.core.errors import RegistryUnavailable, Rejected

WEBHOOK_NAME = "surefoot"
"""Name of the webhook; one of that name is replaced."""
_TIMEOUT_S = 30.0
_PATH = "/api/2.0/mlflow/webhooks"


def register_webhook(server: str, receiver: str, secret: str) -> str:
    """Create the webhook, or put it right where another address or secret was registered.

    Args:
        server: Base URL of the MLflow server.
        receiver: URL to which it shall send.
        secret: What it shall sign with.

    Returns:
        Id of the webhook.

    Raises:
        Rejected: MLflow refuses it, or is a release without webhooks.
        RegistryUnavailable: MLflow does not answer.
    """
    events = [{"entity": entity.upper(), "action": action.upper()} for entity, action in WEBHOOK_EVENTS]
    body = {"name": WEBHOOK_NAME, "url": receiver, "events": events, "secret": secret, "status": "ACTIVE"}
    try:
        with open_mlflow_http_client(_TIMEOUT_S) as client:
            for old in _registered(client, server):
                _answer(client.delete(f"{server}{_PATH}/{old}"), receiver)
            made = _answer(client.post(f"{server}{_PATH}", json=body), receiver)
    except httpx.HTTPError as error:
        raise RegistryUnavailable(f"MLflow {server} does not answer: {error!r}") from error
    except (OSError, ConfigError) as error:
        raise Rejected(f"MLflow {server} cannot be asked: {error}") from error
    return str(made["webhook"]["webhook_id"])


def _registered(client: httpx.Client, server: str) -> Sequence[str]:
    """Ids of the webhooks of our name."""
    found: list[str] = []
    page = ""
    while True:
        answer = _answer(client.get(f"{server}{_PATH}", params={"page_token": page} if page else {}), "")
        found += [one["webhook_id"] for one in answer.get("webhooks", ()) if one.get("name") == WEBHOOK_NAME]
        page = str(answer.get("next_page_token", ""))
        if not page:
            return found


def _answer(answer: httpx.Response, receiver: str) -> Mapping[str, Any]:
    """The JSON of an answer.

    Raises:
        Rejected: MLflow refuses.
        RegistryUnavailable: It has failed.
    """
    if answer.is_success:
        found: Mapping[str, Any] = answer.json() if answer.content else {}
        return found
    said = " ".join(answer.text.split())[:200]
    if answer.is_server_error:
        raise RegistryUnavailable(f"MLflow does not keep the webhook ({answer.status_code} {said})")
    raise Rejected(
        f"MLflow refuses the webhook to {receiver} ({answer.status_code} {said}): docs/settings.md says what the"
        " server must allow"
    )
