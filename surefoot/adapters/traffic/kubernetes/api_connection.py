"""Read and replace one Kubernetes object with the official client.

Every reason why the object cannot be reached, missing rights among them, is `GatewayUnavailable`: it says nothing
against the version that traffic should go to, and the next run repeats the change once it is mended.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yaml import YAMLError

from surefoot.adapters.traffic.kubernetes.split_object import JsonObject, SplitObject
from surefoot.core.errors import Conflict, GatewayUnavailable, OutcomeUnknown, Rejected

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, CustomObjectsApi

_CONNECT_TIMEOUT_S = 3.0
_ANSWER_TIMEOUT_S = 10.0
"""How long the API server may take to answer [s]; webhooks that look at the object have ten seconds by default."""
_FIELD_MANAGER = "surefoot"
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _TOO_MANY, _SERVER_ERRORS = 401, 403, 404, 409, 429, 500
_NOT_INSTALLED = "engine 'kubernetes' needs the Kubernetes client: pip install 'surefoot[kubernetes]'"


@dataclass(frozen=True, slots=True)
class ObjectAddress:
    """Where an object is.

    Attributes:
        namespace: Its namespace.
        name: Its name.
        context: Context of the kubeconfig; empty for the current one.
        kubeconfig: Path of the kubeconfig; empty for the usual places.
    """

    namespace: str
    name: str
    context: str = ""
    kubeconfig: str = ""


class ObjectConnection:
    """A connection to the API server, for one object."""

    def __init__(self, api: "CustomObjectsApi", kind: SplitObject, address: ObjectAddress) -> None:
        """Use `connect_to_object` instead."""
        self._api, self._kind, self._address = api, kind, address
        self._where = f"{kind.title} {address.namespace}/{address.name}"

    def read(self) -> JsonObject:
        """The object as it is now.

        Raises:
            GatewayUnavailable: It cannot be read: not there, not ours to read, or the API server does not answer.
        """
        return self._call("get", self._api.get_namespaced_custom_object)

    def replace(self, changed: JsonObject, *, dry_run: bool = False) -> JsonObject:
        """Replace the object, if it is still the one that was read.

        Args:
            changed: The whole object, with the resource version that was read.
            dry_run: Whether the API server only says whether it would take it.

        Raises:
            Conflict: It has changed since; nothing was replaced.
            Rejected: The API server does not take it: its schema or a webhook refuses.
            GatewayUnavailable: We may not, or the API server does not answer; nothing was replaced.
            OutcomeUnknown: The API server did not say whether it was replaced.
        """
        dry = {"dry_run": "All"} if dry_run else {}
        return self._call(
            "update", self._api.replace_namespaced_custom_object, body=changed, field_manager=_FIELD_MANAGER, **dry
        )

    def _call(self, verb: str, ask: Any, **arguments: Any) -> JsonObject:
        from kubernetes.client import ApiException  # noqa: PLC0415 - an extra
        from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError  # noqa: PLC0415 - of it

        place = {
            "group": self._kind.group,
            "version": self._kind.version,
            "plural": self._kind.plural,
            "namespace": self._address.namespace,
            "name": self._address.name,
        }
        try:
            told = ask(**place, **arguments, _request_timeout=(_CONNECT_TIMEOUT_S, _ANSWER_TIMEOUT_S))
        except ApiException as error:
            raise self._refusal(verb, int(error.status or 0), error.reason, error.body) from error
        except (NewConnectionError, ConnectTimeoutError) as error:
            raise GatewayUnavailable(f"the API server of {self._where} does not answer: {_line(error)}") from error
        except (HTTPError, OSError) as error:
            raise self._lost(verb, f"did not answer '{verb}': {_line(error)}") from error
        except (ValueError, LookupError) as error:  # the client decodes any bytes that it gets
            raise self._lost(verb, f"answers '{verb}' with something that is no object: {_line(error)}") from error
        if not isinstance(told, dict) or not isinstance(told.get("metadata"), dict):
            raise self._lost(verb, f"answers '{verb}' with something that is no object")
        return told

    def _lost(self, verb: str, what: str) -> Exception:
        """The error of a request that has no answer which can be used."""
        return (GatewayUnavailable if verb == "get" else OutcomeUnknown)(f"the API server of {self._where} {what}")

    def _refusal(self, verb: str, status: int, reason: object, body: object) -> Exception:
        """What an answer of the API server means."""
        where, said = self._where, _line(_message(body) or reason)
        if status == 0 and "SSL" not in str(reason):  # the client could not read the answer
            return self._lost(verb, f"answers '{verb}' with something that is no object: {_line(reason)}")
        if status == 0:
            return GatewayUnavailable(f"no trusted connection to the API server of {where}: {_line(reason)}")
        if status == _UNAUTHORIZED:
            return GatewayUnavailable(
                f"the API server does not know us (401), so {where} cannot be reached: renew the credentials of the"
                " kubeconfig"
            )
        if status == _FORBIDDEN:
            resource = f"{self._kind.plural}.{self._kind.group}"
            return GatewayUnavailable(
                f"the API server does not let us {verb} {where} (403): grant verbs get and update on {resource} of that"
                " name, see docs/engines.md"
            )
        if status == _NOT_FOUND:
            return GatewayUnavailable(
                f"the API server has no {where} (404): create it, or correct traffic.kubernetes in the policy: {said}"
            )
        if status == _CONFLICT:
            return Conflict(f"{where} has changed since it was read (409)")
        if status == _TOO_MANY or (status >= _SERVER_ERRORS and verb == "get"):
            return GatewayUnavailable(f"the API server cannot answer for {where} now ({status}): {said}")
        if status >= _SERVER_ERRORS:
            return OutcomeUnknown(f"the API server failed while it replaced {where} ({status}): {said}")
        return Rejected(f"the API server does not take the changed {where} ({status}): {said}")


@contextmanager
def connect_to_object(kind: SplitObject, address: ObjectAddress) -> Iterator[ObjectConnection]:
    """Connect with the credentials of the kubeconfig, or in a cluster with those of the pod, and close in the end.

    Raises:
        GatewayUnavailable: The client is not installed, or there are no credentials that can be used.
    """
    try:
        from kubernetes.client import CustomObjectsApi  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise GatewayUnavailable(_NOT_INSTALLED) from error
    with _client(address) as client:
        yield ObjectConnection(CustomObjectsApi(client), kind, address)


def _client(address: ObjectAddress) -> "ApiClient":
    from kubernetes import config  # noqa: PLC0415 - an extra
    from kubernetes.client import ApiClient, Configuration  # noqa: PLC0415 - of it
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415 - of it

    made = Configuration()
    # Repeats are ours to decide: the client would send a change again that was perhaps made.
    made.retries = False
    file = address.kubeconfig or os.environ.get("KUBECONFIG", "")
    usual = Path("~/.kube/config").expanduser()
    try:
        if file or usual.exists() or address.context:
            config.load_kube_config(
                file or str(usual), address.context or None, client_configuration=made, persist_config=False
            )
        else:
            config.load_incluster_config(client_configuration=made)
    except (ConfigException, OSError, YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        # What a parser says may quote the file, and so a token.
        told = isinstance(error, ConfigException | OSError)
        why = _line(error) if told else f"it is no kubeconfig: {type(error).__name__}"
        what = f"kubeconfig {file or usual}" if file or usual.exists() or address.context else "pod's account"
        raise GatewayUnavailable(
            f"engine 'kubernetes' has no credentials: {what} cannot be used ({why}): set KUBECONFIG, or"
            " correct traffic.kubernetes.context"
        ) from error
    return ApiClient(made)


def _message(body: object) -> str:
    """What an answer says, which is a JSON object with a message, or else any text."""
    try:
        told = json.loads(str(body or ""))
    except ValueError:
        return str(body or "")
    return str(told.get("message", body)) if isinstance(told, dict) else str(body)


def _line(told: object) -> str:
    """What a library or the API server says, as a short line."""
    return " ".join(str(told).split())[:300]
