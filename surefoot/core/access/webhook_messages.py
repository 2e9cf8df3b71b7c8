"""Verify and read the webhooks that MLflow sends about changed aliases, and derive their secrets."""

import base64
import hashlib
import hmac
import json
import re
from dataclasses import dataclass

from surefoot.core.access.derived_keys import derive_key
from surefoot.core.errors import MessageInvalid
from surefoot.core.naming.model_names import is_model_name

WEBHOOK_PATH = "/webhooks/mlflow"
"""Path of the receiver at the status page's address."""
DELIVERY_HEADER = "x-mlflow-delivery-id"
TIMESTAMP_HEADER = "x-mlflow-timestamp"
SIGNATURE_HEADER = "x-mlflow-signature"
MAX_WEBHOOK_BODY_BYTES = 65_536
"""Longest body that is read [bytes]; MLflow's have some hundred."""
WEBHOOK_TIME_TOLERANCE_S = 300.0
"""How far a webhook's time may be from ours [s]; MLflow keeps the time of the first attempt when it tries again."""
WEBHOOK_EVENTS = (("model_version_alias", "created"), ("model_version_alias", "deleted"))
"""Entity and action of the events that are asked for; MLflow tells of no other change that asks for a rollout."""
_EXAMPLE_MODEL = "example_model"
"""Model of MLflow's own test messages, which nothing else marks as such."""
_DELIVERY = re.compile(r"[0-9A-Za-z_-]{8,64}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class VerifiedWebhook:
    """A webhook whose signature is right.

    Attributes:
        delivery: Id of the delivery, the same for each attempt of it.
        model: Registered model; empty for a test message and for events that were not asked for.
    """

    delivery: str
    model: str


def derive_webhook_secret(installation: str) -> str:
    """Derive the secret of webhooks from that of the installation."""
    return derive_key(installation, "webhook").hex()


def derive_secret_storage_key(installation: str) -> str:
    """Derive the Fernet key with which the embedded MLflow keeps secrets of webhooks."""
    return base64.urlsafe_b64encode(derive_key(installation, "MLflow's stored secrets")).decode()


def sign_webhook(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """Sign a webhook as MLflow does."""
    whole = f"{delivery}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.new(secret.encode(), whole, hashlib.sha256).digest()).decode()}"


def verify_webhook(
    secret: str, delivery: str, timestamp: str, signature: str, body: bytes, now: float
) -> VerifiedWebhook:
    """Check who sent a webhook and when, then read it.

    Args:
        secret: What it was signed with.
        delivery: Header with the delivery's id.
        timestamp: Header with the time of sending [Unix seconds].
        signature: Header with the signature.
        body: The raw body.
        now: Time of the host [Unix seconds].

    Raises:
        MessageInvalid: It is malformed, forged or stale.
    """
    if not (_DELIVERY.fullmatch(delivery) and _TIMESTAMP.fullmatch(timestamp)):
        raise MessageInvalid(f"the webhook has no {DELIVERY_HEADER} and {TIMESTAMP_HEADER} as MLflow sends them")
    right = sign_webhook(secret, delivery, timestamp, body)
    if not hmac.compare_digest(signature.encode("utf-8", "replace"), right.encode()):
        raise MessageInvalid("the webhook's signature is wrong: 'surefoot webhook' shows the secret that is asked for")
    if abs(now - float(timestamp)) > WEBHOOK_TIME_TOLERANCE_S:
        raise MessageInvalid(
            f"the webhook is more than {WEBHOOK_TIME_TOLERANCE_S:.0f} s old, or the clocks differ as much"
        )
    return VerifiedWebhook(delivery, _read_model(body))


def _read_model(body: bytes) -> str:
    """The model of an event that was asked for; empty for any other.

    Raises:
        MessageInvalid: The body is no event of MLflow.
    """
    try:
        plain = json.loads(body)
        event = (plain["entity"], plain["action"])
        model = plain["data"]["name"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MessageInvalid("the webhook's body is no event of MLflow") from error
    if not isinstance(model, str) or not is_model_name(model):
        raise MessageInvalid("the webhook names no registered model")
    return model if event in WEBHOOK_EVENTS and model != _EXAMPLE_MODEL else ""
