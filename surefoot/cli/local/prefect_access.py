"""Open HTTP clients for Prefect's REST interface with the configured credentials."""

import base64
import json
import os
import ssl

import httpx

from surefoot.core.errors import Rejected
from surefoot.settings import Settings

PREFECT_CREDENTIAL_VARIABLES = (
    "PREFECT_API_KEY",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_API_SSL_CERT_FILE",
    "PREFECT_API_TLS_INSECURE_SKIP_VERIFY",
    "PREFECT_CLIENT_CUSTOM_HEADERS",
)
"""Variables of the credentials and TLS options, as Prefect names them."""
_TIMEOUT_S = 10.0


def open_prefect_client(config: Settings, timeout_s: float = _TIMEOUT_S, *, keep_alive: bool = True) -> httpx.Client:
    """Open a client whose base URL is that of Prefect's REST interface.

    Args:
        config: Where Prefect is; credentials are sent to no server but a connected one.
        timeout_s: How long one request may take [s].
        keep_alive: Whether connections are kept between requests.

    Raises:
        Rejected: A file of a certificate cannot be read, or the headers are no JSON.
    """
    limits = httpx.Limits() if keep_alive else httpx.Limits(max_keepalive_connections=0)
    base = config.prefect_api
    if "prefect" not in config.connected:
        return httpx.Client(base_url=base, timeout=timeout_s, trust_env=False, limits=limits)
    return httpx.Client(
        base_url=base, timeout=timeout_s, trust_env=True, limits=limits, headers=_headers(), verify=_tls_context()
    )


def _headers() -> dict[str, str]:
    text = os.environ.get("PREFECT_CLIENT_CUSTOM_HEADERS", "")
    try:
        headers = {str(name): str(value) for name, value in (json.loads(text) if text else {}).items()}
    except (ValueError, AttributeError) as error:
        raise Rejected("PREFECT_CLIENT_CUSTOM_HEADERS is no JSON object of headers: correct it") from error
    # Prefect's own client prefers the string to the key where both are set.
    if auth := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
    elif key := os.environ.get("PREFECT_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _tls_context() -> ssl.SSLContext | bool:
    if os.environ.get("PREFECT_API_TLS_INSECURE_SKIP_VERIFY", "").lower() in {"true", "1", "yes", "on", "t", "y"}:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    file = os.environ.get("PREFECT_API_SSL_CERT_FILE")
    try:
        return ssl.create_default_context(cafile=file) if file else True
    except OSError as error:
        raise Rejected(f"PREFECT_API_SSL_CERT_FILE {file} cannot be read: {error.strerror or error}") from error
