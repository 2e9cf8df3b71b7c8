"""Verify the signatures of identity tokens with the keys that their provider publishes."""

import threading
import time
from collections.abc import Mapping

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from surefoot.core.access.identity_claims import IdentityProvider, is_safe_provider_address
from surefoot.core.errors import TokenInvalid, Unavailable

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
"""Signatures by public keys alone: a key that the provider publishes must not be taken as a shared secret."""
_LONGEST_TOKEN = 8192
_FRESH_S, _KEPT_S = 3600.0, 24 * 3600.0
"""Age at which keys are fetched again, and how long they count while the provider does not answer [s]."""
_AGAIN_S = 30.0
"""Shortest time between two questions to a provider [s]."""
_TIMEOUT_S = 3.0
_MAX_ANSWER_BYTES = 1_000_000


class IdentityTokens:
    """Keeps the keys of one provider, and verifies tokens with them."""

    def __init__(self, provider: IdentityProvider) -> None:
        """Ask nothing yet.

        Args:
            provider: Whose tokens are verified.
        """
        self._provider = provider
        self._keys: KeySet | None = None
        self._fetched, self._asked = -_KEPT_S, -_AGAIN_S
        self._problem = ""
        self._lock = threading.Lock()

    def claims(self, header: str) -> Mapping[str, object]:
        """The claims of a token, once its signature is verified.

        Args:
            header: Value of the authorization header.

        Raises:
            TokenInvalid: It is no token, or not signed by the provider.
            Unavailable: The provider does not answer, and its keys are not known.
        """
        given = header.partition(" ")[2].strip()
        if len(given) > _LONGEST_TOKEN:
            raise TokenInvalid(f"this identity token is longer than {_LONGEST_TOKEN} characters")
        keys = self._known_keys(fresh_s=_FRESH_S)
        try:
            return jwt.decode(given, keys, algorithms=_ALGORITHMS).claims
        except (JoseError, ValueError, TypeError, KeyError, RecursionError, AssertionError):
            pass
        newer = self._known_keys(fresh_s=0.0)  # the provider may have changed its keys since
        if newer is keys:
            raise TokenInvalid("this identity token is not signed by its provider")
        try:
            return jwt.decode(given, newer, algorithms=_ALGORITHMS).claims
        except (JoseError, ValueError, TypeError, KeyError, RecursionError, AssertionError):
            raise TokenInvalid("this identity token is not signed by its provider") from None

    def _known_keys(self, fresh_s: float) -> KeySet:
        """The provider's keys; older ones where it does not answer.

        Args:
            fresh_s: Age up to which they are not fetched again [s].
        """
        with self._lock:
            now = time.monotonic()
            if now - self._fetched > fresh_s and now - self._asked >= _AGAIN_S:
                self._asked = now
                try:
                    self._keys, self._fetched, self._problem = self._fetch(), now, ""
                except (httpx.HTTPError, JoseError, ValueError, TypeError, KeyError) as error:
                    self._problem = f"{type(error).__name__}: {error}"[:200]
            if self._keys is None or now - self._fetched > _KEPT_S:
                raise Unavailable(
                    f"the identity provider {self._provider.issuer} does not tell its keys"
                    f" ({self._problem or 'not asked yet'}); an access token of surefoot works without it"
                )
            return self._keys

    def _fetch(self) -> KeySet:
        """Ask the provider where its keys are, and for them.

        Raises:
            ValueError: It names another issuer, or another address than an encrypted one.
        """
        issuer = self._provider.issuer
        with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False) as client:
            told = _object(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
            if told.get("issuer") != issuer:
                raise ValueError(f"it calls itself {str(told.get('issuer'))[:100]}")
            where = str(told["jwks_uri"])
            if not is_safe_provider_address(where):
                raise ValueError("its keys are at an address that is not encrypted")
            return KeySet.import_key_set(_object(client, where))  # type: ignore[arg-type]


def _object(client: httpx.Client, url: str) -> Mapping[str, object]:
    """A JSON object from an address."""
    answer = client.get(url).raise_for_status()
    if len(answer.content) > _MAX_ANSWER_BYTES:
        raise ValueError("its answer is too long")
    found = answer.json()
    if not isinstance(found, dict):
        raise TypeError("its answer is no JSON object")
    return found
