"""Read MLflow's credentials, and open HTTP clients for an MLflow server with them."""

import configparser
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx

MLFLOW_CREDENTIAL_VARIABLES = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
)
"""Variables of the credentials and TLS options, as MLflow names them."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who this process is for MLflow; all empty without credentials."""

    user: str = ""
    password: str = ""
    token: str = ""


def read_credentials() -> Credentials:
    """Read the credentials from the environment, then from ~/.mlflow/credentials, as MLflow's client does."""
    file = configparser.ConfigParser(interpolation=None)
    file.read(Path("~/.mlflow/credentials").expanduser(), encoding="utf-8")

    def find(name: str) -> str:
        return os.environ.get(name) or str(file.get("mlflow", name.lower(), fallback=""))

    return Credentials(
        find("MLFLOW_TRACKING_USERNAME"),
        find("MLFLOW_TRACKING_PASSWORD"),
        os.environ.get("MLFLOW_TRACKING_TOKEN", ""),
    )


def open_mlflow_http_client(timeout_s: float, *, trust_env: bool = False) -> httpx.Client:
    """Open a client for requests that do without MLflow's library, whose import costs seconds.

    Args:
        timeout_s: How long one request may take [s].
        trust_env: Whether proxies of the environment are used, as MLflow's library does.

    Raises:
        OSError: A file of a certificate cannot be read.
        configparser.Error: ~/.mlflow/credentials is broken.
    """
    known = read_credentials()
    # MLflow's client takes the user first where both are set.
    auth = httpx.BasicAuth(known.user, known.password) if known.user and known.password else None
    headers = {"Authorization": f"Bearer {known.token}"} if known.token and auth is None else {}
    return httpx.Client(timeout=timeout_s, trust_env=trust_env, headers=headers, auth=auth, verify=_tls_context())


def _tls_context() -> ssl.SSLContext | bool:
    """How certificates are checked: with httpx's own authorities where nothing else is said."""
    authority = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or os.environ.get("REQUESTS_CA_BUNDLE") or ""
    own = os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or ""
    insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in {"true", "1"}
    if not (authority or own or insecure):
        return True
    folder = Path(authority).is_dir() if authority else False
    context = ssl.create_default_context(
        cafile=None if folder or not authority else authority, capath=authority if folder else None
    )
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if own:
        context.load_cert_chain(own)
    return context
