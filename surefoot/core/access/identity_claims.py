"""Check the claims of an OpenID Connect identity token, and read the person that it names."""

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from surefoot.core.errors import TokenInvalid

_PERSON_PREFIX = "oidc:"
"""Begins the name of a person of the identity provider, in the file of roles and in the journal."""
_LEEWAY_S = 60.0
"""How far the clocks of both hosts may differ [s]."""
_LONGEST_LIFE_S = 24 * 3600.0
"""Longest time between issue and end of a token that is taken [s]."""
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """An OpenID Connect provider whose people may act.

    Attributes:
        issuer: Its address, as tokens name it.
        audience: What tokens must be made for.
        claim: Claim that names a person.
    """

    issuer: str
    audience: str
    claim: str = "email"


def is_identity_token(header: str) -> bool:
    """Whether an authorization header holds a JSON Web Token: three parts with dots between them."""
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and given.strip().count(".") == 2  # noqa: PLR2004 - header, claims, signature


def is_safe_provider_address(url: str) -> bool:
    """Whether an address is encrypted, or on this host."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return True
    try:
        return parts.scheme == "http" and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def read_person_from_claims(claims: Mapping[str, object], provider: IdentityProvider, now: float) -> str:
    """Name the person of a token whose signature was verified.

    Args:
        claims: The claims of the token.
        provider: Who has to have issued it.
        now: Time of the host [Unix seconds].

    Raises:
        TokenInvalid: It is of another issuer or for another audience, is over or not yet valid, or names no person.

    Source: OpenID Connect Core 1.0, section 3.1.3.7.
    """
    if claims.get("iss") != provider.issuer:
        raise TokenInvalid("this identity token is of another issuer")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if provider.audience not in audiences:
        raise TokenInvalid(f"this identity token is not for {provider.audience}")
    if len(audiences) > 1 and claims.get("azp") != provider.audience:
        raise TokenInvalid("this identity token is for several parties, and not given to this one")
    expires, issued = _time(claims, "exp"), _time(claims, "iat")
    if now > expires + _LEEWAY_S:
        raise TokenInvalid("this identity token has expired: sign in again")
    if issued > now + _LEEWAY_S or ("nbf" in claims and _time(claims, "nbf") > now + _LEEWAY_S):
        raise TokenInvalid("this identity token is not valid yet: do the clocks of both hosts agree?")
    if expires - issued > _LONGEST_LIFE_S:
        raise TokenInvalid(
            "this identity token lives for more than a day: it cannot be revoked here, so it is not taken"
        )
    name = claims.get(provider.claim)
    if not isinstance(name, str) or not name.isprintable() or not name.strip() or len(name) > _LONGEST_NAME:
        raise TokenInvalid(f"this identity token has no claim '{provider.claim}' that names a person")
    if provider.claim == "email" and claims.get("email_verified") is False:
        raise TokenInvalid("the identity provider has not verified this e-mail address")
    return _PERSON_PREFIX + name.strip()


def _time(claims: Mapping[str, object], key: str) -> float:
    """A time of a token [Unix seconds]."""
    value = claims.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TokenInvalid(f"this identity token has no time '{key}'")
    return float(value)
