"""Derive the key of one purpose from the secret of the installation."""

import hashlib
import hmac


def derive_key(installation: str, purpose: str) -> bytes:
    """A key that tells nothing of the secret, nor of the keys of other purposes.

    Args:
        installation: Secret of the installation.
        purpose: What the key is for.
    """
    return hmac.new(installation.encode(), f"surefoot {purpose}".encode(), hashlib.sha256).digest()
