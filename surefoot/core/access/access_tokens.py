"""Define access tokens, hash them, and authenticate a request by its token."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from surefoot.core.access.roles import EVERY_MODEL, Role
from surefoot.core.errors import TokenInvalid

TOKEN_PREFIX = "sft_"  # noqa: S105 - it lets scanners of repositories find a token that leaked
"""Begins each token."""
_LONGEST_HEADER = 200
"""Longest authorization header that is looked at [characters]."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token without its secret.

    Attributes:
        name: Names it in the journal, as `token:NAME`.
        role: What it may do.
        digest: SHA-256 of the token [hex].
        created: When it was made [Unix seconds].
        created_by: Who made it.
        expires: When it ends [Unix seconds].
        models: Models for which it holds; "*" is every model.
        revoked: When it was revoked [Unix seconds]; 0 where it was not.
        revoked_by: Who revoked it.
    """

    name: str
    role: Role
    digest: str
    created: float
    created_by: str
    expires: float
    models: Sequence[str] = field(default=(EVERY_MODEL,))
    revoked: float = 0.0
    revoked_by: str = ""

    def state(self, now: float) -> str:
        """Whether it counts: "in force", "expired" or "revoked"."""
        return "revoked" if self.revoked else "in force" if now < self.expires else "expired"

    def roles_of(self, model: str) -> frozenset[Role]:
        """Its role where it holds for this model, else nothing; "*" asks for every model."""
        return frozenset({self.role} if model in self.models or EVERY_MODEL in self.models else ())


def hash_access_token(token: str) -> str:
    """Digest by which a token is kept and found: it holds 256 random bits, so one round is enough."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def authenticate(header: str, known: Mapping[str, AccessToken], now: float) -> AccessToken:
    """Find the token of an authorization header.

    Args:
        header: The header's value.
        known: All tokens by digest.
        now: Time of the host [Unix seconds].

    Raises:
        TokenInvalid: There is none, or it is unknown, expired or revoked.
    """
    if not header:
        raise TokenInvalid("send an access token: 'Authorization: Bearer sft_...'; 'surefoot token create' makes one")
    scheme, _, given = header[:_LONGEST_HEADER].partition(" ")
    found = known.get(hash_access_token(given.strip())) if scheme.lower() == "bearer" else None
    if found is None:
        raise TokenInvalid("this access token is not known")
    if (state := found.state(now)) != "in force":
        raise TokenInvalid(f"access token {found.name} is {state}: 'surefoot token create' makes another")
    return found
