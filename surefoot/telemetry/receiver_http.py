"""Send one body to a telemetry receiver over HTTP, and classify its answer."""

import httpx

from surefoot.core.errors import Unavailable

_TIMEOUT_S = 10.0
"""How long a receiver may take for one answer [s]."""
_REFUSED = frozenset({400, 413, 415, 422})
"""Answers that say that this very body is not taken, so that sending it again is no use."""


def post_body(client: httpx.Client, url: str, body: bytes, content_type: str) -> str:
    """Send a body once.

    Args:
        client: Connections to use, with the headers of every request.
        url: Where to.
        body: What is sent.
        content_type: What it is.

    Returns:
        Why the receiver has refused this body for good; empty where it has taken it.

    Raises:
        Unavailable: The receiver does not answer, or cannot take anything now; the message holds no secret.
    """
    try:
        answer = client.post(url, content=body, headers={"content-type": content_type}, timeout=_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"no answer ({type(error).__name__})") from error
    if answer.is_success:
        return ""
    if answer.status_code in _REFUSED:
        return f"status {answer.status_code}"
    raise Unavailable(f"it answers with status {answer.status_code}")
