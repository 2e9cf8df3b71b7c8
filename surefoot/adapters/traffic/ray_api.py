"""Read and change the applications of Ray Serve through the REST API of a Ray cluster."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from surefoot.core.errors import GatewayUnavailable, OutcomeUnknown, Rejected

JsonObject = dict[str, Any]
_PATH = "/api/serve/applications/"
_TIMEOUT = httpx.Timeout(20.0, connect=2.0)
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_KEPT = ("proxy_location", "http_options", "grpc_options", "target_capacity")
"""What Ray Serve is told beside its applications, and is told again as it was."""
_DECLARATIVE = "declarative"
_TOKEN, _TOKEN_FILE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_OWN_TOKEN_FILE = ".ray/auth_token"  # noqa: S105 - where Ray keeps it
_MAX_SAID = 200


@dataclass(frozen=True, slots=True)
class ServeState:
    """What Ray Serve says of itself at one moment.

    Attributes:
        applications: Every application by name: its `status`, `message` and `deployed_app_config`.
        rest: What it says beside them.
    """

    applications: Mapping[str, JsonObject]
    rest: JsonObject

    def config(self, name: str) -> JsonObject | None:
        """How an application was deployed; None where there is none that was deployed through this API."""
        found = self.applications.get(name, {})
        made: JsonObject | None = found.get("deployed_app_config")
        return made if found.get("source", _DECLARATIVE) == _DECLARATIVE else None

    def status(self, name: str) -> str:
        """State of an application, such as RUNNING; empty without one."""
        return str(self.applications.get(name, {}).get("status", ""))

    def deployment(self, name: str, deployment: str) -> JsonObject:
        """What Ray Serve says of one deployment of an application; empty without one."""
        found: JsonObject = (self.applications.get(name, {}).get("deployments") or {}).get(deployment) or {}
        return found

    def message(self, name: str) -> str:
        """What Ray Serve says about the state of an application and its deployments, the cause last."""
        found = self.applications.get(name, {})
        parts = [found, *dict(found.get("deployments") or {}).values()]
        return "\n".join(str(part.get("message") or "") for part in parts)


class RayServeApi:
    """The REST API of one Ray cluster.

    Attributes:
        address: Where its dashboard listens.
    """

    def __init__(self, address: str) -> None:
        """Remember where; nothing is contacted yet."""
        self.address = address.rstrip("/")

    def read(self) -> ServeState:
        """Every application of Ray Serve.

        Raises:
            GatewayUnavailable: The API does not answer, or Ray Serve does not run.
            Rejected: It refuses us.
        """
        try:
            reply = self._ask("GET")
        except httpx.HTTPError as error:
            raise GatewayUnavailable(f"Ray at {self.address} does not answer: {error!r}") from error
        self._check(reply)
        try:
            found = reply.json()
            applications = {str(name): dict(one) for name, one in found["applications"].items()}
            running = bool(found["controller_info"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise GatewayUnavailable(
                f"Ray at {self.address} tells applications that cannot be read: {error!r}"
            ) from error
        if not running:
            raise GatewayUnavailable(f"Ray at {self.address} does not run Ray Serve: start it there with 'serve start'")
        return ServeState(applications, found)

    def write(self, before: ServeState, changed: Mapping[str, JsonObject | None]) -> None:
        """Deploy applications, and keep every other one as it is.

        Args:
            before: What was read just now.
            changed: How applications are to be deployed, by name; None removes one.

        Raises:
            GatewayUnavailable: The API does not answer; nothing changed.
            OutcomeUnknown: It did not say whether it took the change.
            Rejected: It refuses the change, or us.
        """
        kept = {name: before.config(name) for name in before.applications}
        wanted = [one for one in {**kept, **changed}.values() if one is not None]
        body = {key: before.rest[key] for key in _KEPT if before.rest.get(key) is not None} | {"applications": wanted}
        try:
            reply = self._ask("PUT", body)
        except _NEVER_SENT as error:
            raise GatewayUnavailable(f"Ray at {self.address} does not answer: {error!r}") from error
        except httpx.HTTPError as error:
            raise OutcomeUnknown(f"Ray at {self.address} did not say whether it took the change: {error!r}") from error
        if reply.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise OutcomeUnknown(f"Ray at {self.address} did not say whether it took the change: {_said(reply)}")
        self._check(reply)

    def _ask(self, method: str, body: JsonObject | None = None) -> httpx.Response:
        """Ask without the proxies of the environment: a rollback must not depend on one."""
        token = _find_token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with httpx.Client(trust_env=False, timeout=_TIMEOUT, headers=headers) as client:
            return client.request(method, self.address + _PATH, json=body)

    def _check(self, reply: httpx.Response) -> None:
        """Raise what an answer means that is no success."""
        if reply.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise Rejected(
                f"Ray at {self.address} refuses this process ({reply.status_code}): set {_TOKEN} or {_TOKEN_FILE} to"
                " the cluster's token"
            )
        if reply.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise GatewayUnavailable(f"Ray at {self.address} answers {reply.status_code}: {_said(reply)}")
        if reply.status_code != httpx.codes.OK:
            raise Rejected(f"Ray at {self.address} refuses ({reply.status_code}): {_said(reply)}")


def _find_token() -> str:
    """The token of the cluster, where Ray itself looks for it; empty without one."""
    if token := os.environ.get(_TOKEN):
        return token.strip()
    file = Path(os.environ.get(_TOKEN_FILE) or Path.home() / _OWN_TOKEN_FILE)
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _said(reply: httpx.Response) -> str:
    """What an answer says, in one line."""
    return " ".join(reply.text.split())[:_MAX_SAID]
