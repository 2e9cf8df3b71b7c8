"""Check PagerDuty addresses, and send messages there as events, with one alert for each incident."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

_HOST = "events.pagerduty.com"
_ADDRESS = re.compile(r"pagerduty://(?P<key>[A-Za-z0-9_-]{1,64})(?:@(?P<host>[A-Za-z0-9.-]+(?::\d{1,5})?))?/?")
_KEY_LENGTH = 32
_SEVERITIES = {"failure": "critical", "warning": "warning", "info": "info"}
_LONGEST_SUMMARY = 1024
_TIMEOUT_S = 8.0
_CLOSES = "closed"
"""Topic of the message that an incident was closed: it resolves the alert."""


@dataclass(frozen=True, slots=True)
class PagerDutyService:
    """Where events go.

    Attributes:
        url: Address of the Events API.
        routing_key: Key of the integration, which is a secret.
    """

    url: str
    routing_key: str


def read_pagerduty_address(address: str) -> PagerDutyService | None:
    """Read `pagerduty://KEY` or `pagerduty://KEY@HOST`; None where it is neither.

    Args:
        address: The address with its secret. Another host is that of another region, or a proxy of one's own.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        return None
    host = found["host"] or _HOST
    scheme = "http" if _is_loopback(host) else "https"
    return PagerDutyService(f"{scheme}://{host}/v2/enqueue", found["key"])


def find_pagerduty_address_problem(written: str, *, secret: bool) -> str:
    """Why an address cannot stand in the file as it is written; empty where it can.

    Args:
        written: The address as the file holds it, where it holds no placeholder; otherwise with its values.
        secret: Whether it may hold a secret, because that is not in the file.
    """
    service = read_pagerduty_address(written)
    if service is None:
        return "is no address of kind pagerduty: pagerduty://${KEY}, with the integration key of an Events API v2"
    if not secret:
        return "holds a secret: write ${NAME} for it, and set the environment variable NAME, or use url_file"
    if len(service.routing_key) != _KEY_LENGTH:
        return f"has a key of {len(service.routing_key)} characters: an integration key has {_KEY_LENGTH}"
    return ""


def _build_events(message: Mapping[str, Any], routing_key: str) -> list[dict[str, object]]:
    """The events of one message: all about an incident have its id as key, and its closing resolves the alert.

    Args:
        message: With `id`, `title`, `body`, `type`, `incident`, `topic` and `over`.
        routing_key: Key of the integration.
    """
    incident = message["incident"]
    resolved: dict[str, object] = {"routing_key": routing_key, "event_action": "resolve", "dedup_key": incident}
    if incident and message["topic"] == _CLOSES:
        return [resolved]
    opened: dict[str, object] = {
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": incident or message["id"],
        "client": "Surefoot",
        "payload": {
            "summary": message["title"][:_LONGEST_SUMMARY],
            "source": "surefoot",
            "severity": _SEVERITIES[message["type"]],
            "custom_details": {"text": message["body"], "message": message["id"], "topic": message["topic"]},
        },
    }
    # One that comes late, after a failure, must not open the alert of a closed incident for ever.
    return [opened, resolved] if incident and message["over"] else [opened]


def send_event(service: PagerDutyService, message: Mapping[str, Any]) -> str:
    """Send one message; why it was not taken, or nothing."""
    for event in _build_events(message, service.routing_key):
        try:
            answer = httpx.post(service.url, json=event, timeout=_TIMEOUT_S)
        except httpx.HTTPError as error:
            return f"PagerDuty does not answer ({type(error).__name__})"
        if not answer.is_success:
            return f"PagerDuty answers {answer.status_code}: {answer.text[:200]}"
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition(":")[0]).is_loopback
    except ValueError:
        return False
