"""Call the heartbeat URL, so that an outside monitor notices when Surefoot stops calling it."""

import httpx

from surefoot.adapters.notify.secret_address import redact_address

_TIMEOUT_S = 5.0


def call_heartbeat(address: str, client: httpx.Client | None = None) -> str:
    """Call the heartbeat URL once.

    Args:
        address: HTTP address with its secrets.
        client: Connections to use; by default new ones.

    Returns:
        Why it did not answer with success, without secrets; empty where it did.
    """
    try:
        answer = (client or httpx).get(address, timeout=_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return redact_address(f"{type(error).__name__}: {error}", address)
    return "" if answer.is_success else f"it answers with status {answer.status_code}"
