"""Check an MLflow server before use: its version, and the right to change a model on it."""

import configparser
import re
from dataclasses import dataclass
from typing import Any

import httpx

from surefoot.adapters.mlflow.server.http_access import open_mlflow_http_client, read_credentials
from surefoot.core.errors import RegistryUnavailable, Rejected

_TIMEOUT_S = 15.0
_SUPPORTED_MAJOR = 3
"""Logged models, from which versions are downloaded, came with MLflow 3."""
_NO_VERSION = "2147483647"
"""Number of a version that no model has: writing to it changes nothing, and is refused where the right is missing."""
_NO_ALIAS = "surefoot/doctor"
"""A name that no alias can have: removing it changes nothing, tells no webhook, and is refused like any other one."""
_API = "/api/2.0/mlflow"


@dataclass(frozen=True, slots=True)
class MlflowServerInfo:
    """A server that can be used.

    Attributes:
        version: Release of MLflow.
        date: Its HTTP header Date; empty without one.
    """

    version: str
    date: str = ""


def check_mlflow_server(uri: str, timeout_s: float = _TIMEOUT_S) -> MlflowServerInfo:
    """Ask a server for its version, and for one registered model.

    Args:
        uri: Base URL.
        timeout_s: How long one request may take [s].

    Raises:
        RegistryUnavailable: Nothing answers there, or it is out of order.
        Rejected: It is no MLflow, of a release that is not supported, or refuses us.
    """
    listed = _ask(uri, "GET", f"{_API}/registered-models/search", timeout_s, params={"max_results": "1"})
    told = _ask(uri, "GET", "/version", timeout_s)
    version = told.text.strip()
    wrong = f"{uri} answers, but not as MLflow"
    if not listed.is_success or not _is_object(listed):
        raise Rejected(f"{wrong} ({listed.status_code} for {_API}/registered-models/search): correct the address")
    if not re.match(r"\d+\.\d+(\.\w+)*$", version):
        raise Rejected(f"{wrong} (no version at /version): correct the address; a path before /api belongs to it")
    if int(version.partition(".")[0]) != _SUPPORTED_MAJOR:
        age = "old" if int(version.partition(".")[0]) < _SUPPORTED_MAJOR else "new"
        raise Rejected(
            f"MLflow at {uri} is {version}, which is too {age}: Surefoot works with MLflow {_SUPPORTED_MAJOR}.x"
        )
    return MlflowServerInfo(version, told.headers.get("date", ""))


def check_model_rights(uri: str, model: str, timeout_s: float = _TIMEOUT_S) -> bool:
    """Check that we may set and remove the aliases of a model and tag its versions; nothing is changed.

    Args:
        uri: Base URL.
        model: Registered model.
        timeout_s: How long one request may take [s].

    Returns:
        False where the model is not registered yet, so that its rights are not known.

    Raises:
        RegistryUnavailable: MLflow does not answer.
        Rejected: A right is missing.
    """
    found = _ask(uri, "GET", f"{_API}/registered-models/get", timeout_s, params={"name": model})
    if found.status_code == httpx.codes.NOT_FOUND:
        return False
    user = read_credentials().user or "this process"
    if found.status_code == httpx.codes.FORBIDDEN:
        raise Rejected(f"MLflow at {uri} does not let {user} read model {model} (403): grant MANAGE on it")
    # In this order: who may remove an alias may set one too.
    attempts = (
        ("move aliases of", "POST", "registered-models/alias", {"alias": "surefoot-doctor", "version": _NO_VERSION}),
        ("tag versions of", "POST", "model-versions/set-tag", {"key": "k", "value": "v", "version": _NO_VERSION}),
        ("remove aliases of", "DELETE", "registered-models/alias", {"alias": _NO_ALIAS}),
    )
    for right, method, path, body in attempts:
        answer = _ask(uri, method, f"{_API}/{path}", timeout_s, json={"name": model, **body})
        if answer.status_code == httpx.codes.FORBIDDEN:
            raise Rejected(f"MLflow at {uri} does not let {user} {right} model {model} (403): grant MANAGE on it")
    return True


def _ask(uri: str, method: str, path: str, timeout_s: float, **what: Any) -> httpx.Response:
    try:
        with open_mlflow_http_client(timeout_s, trust_env=True) as client:
            answer = client.request(method, f"{uri}{path}", **what)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        said = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in said:
            raise Rejected(
                f"the certificate of MLflow at {uri} is not trusted: set MLFLOW_TRACKING_SERVER_CERT_PATH to the"
                " file of its authority"
            ) from error
        raise RegistryUnavailable(
            f"nothing answers as MLflow at {uri} ({said}): start it, or correct the address"
        ) from error
    except OSError as error:
        raise Rejected(f"a certificate that MLFLOW_TRACKING_*_CERT_PATH names cannot be read: {error}") from error
    except configparser.Error as error:
        raise Rejected("~/.mlflow/credentials is broken: it needs a section [mlflow]") from error
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise _refused_credentials(uri, timeout_s)
    if answer.status_code == httpx.codes.FORBIDDEN and method == "GET" and "registered-models/get" not in path:
        said = " ".join(answer.text.split())[:80]
        raise Rejected(
            f"MLflow at {uri} refuses us (403: {said}): it may need this host name among its --allowed-hosts"
        )
    if answer.is_server_error:
        raise RegistryUnavailable(f"MLflow at {uri} is out of order ({answer.status_code}): see its log")
    return answer


def _refused_credentials(uri: str, timeout_s: float) -> Rejected:
    """Why a server has answered 401: MLflow answers one question without credentials, other servers do not."""
    variables = "MLFLOW_TRACKING_USERNAME and _PASSWORD, or _TOKEN"
    try:
        with open_mlflow_http_client(timeout_s, trust_env=True) as client:
            is_mlflow = client.get(f"{uri}/health").text.strip() == "OK"
    except httpx.HTTPError:
        is_mlflow = False
    known = read_credentials()
    who = f"user '{known.user}'" if known.user and known.password else "the token" if known.token else ""
    if not is_mlflow:
        return Rejected(f"{uri} answers 401, but not as MLflow: correct the address, or {variables}")
    if who:
        return Rejected(f"MLflow at {uri} refuses {who} (401): correct {variables}")
    return Rejected(f"MLflow at {uri} asks for credentials (401): set {variables}")


def _is_object(answer: httpx.Response) -> bool:
    try:
        return isinstance(answer.json(), dict)
    except ValueError:
        return False
