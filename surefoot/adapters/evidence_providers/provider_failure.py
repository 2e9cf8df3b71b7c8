"""Define the error of an evidence source that cannot be used now, and redact secrets from its message."""

import re
from collections.abc import Iterable
from enum import StrEnum

from surefoot.core.errors import EvidenceUnavailable

_SHORTEST_SECRET = 4
"""Texts that are shorter hide nothing when they are replaced [characters]."""
_MAX_WORDS = 200
"""Longest text of a library that is shown [characters]."""
_LOGIN = re.compile(r"://[^/@\s]*@")


class ProviderProblem(StrEnum):
    """What is wrong with a source."""

    DOWN = "down"
    SLOW = "slow"
    PARTIAL = "partial"
    UNUSABLE = "unusable"


class ProviderFailure(EvidenceUnavailable):
    """A source of evidence cannot be used now.

    Attributes:
        problem: What is wrong with it.
    """

    def __init__(self, problem: ProviderProblem, message: str) -> None:
        """Remember what is wrong; the message holds no secret."""
        super().__init__(message)
        self.problem = problem


def redact_secrets(text: str, secrets: Iterable[str]) -> str:
    """One line without secrets, and without a user and a password in an address.

    Args:
        text: What a library says.
        secrets: Texts that must not be shown.
    """
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return _LOGIN.sub("://***@", " ".join(text.split()))[:_MAX_WORDS]
