"""Detect passwords in URLs, and mask them before people see them."""

import re
from urllib.parse import parse_qsl, urlsplit

import sqlalchemy as sa

_MASK = "***"
_SECRET_KEYS = frozenset({"password", "passwd", "pwd", "token", "sslpassword", "api_key"})
"""Keys in the query of a URL whose value is a secret."""
_WEB = ("http://", "https://")
_USER_PART = re.compile(r"(://[^:/@]*):.*@")
"""User and password; a password in plain text may hold any character, so all up to the last `@` is taken for it."""
_QUERY_PART = re.compile(rf"\b({'|'.join(sorted(_SECRET_KEYS))})=[^&#\s]*", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{\w+\}")


def mask_password(url: str) -> str:
    """The URL with its password replaced by asterisks; a reference such as `${NAME}` is no secret and stays."""
    if not has_password(url):
        return url
    return _QUERY_PART.sub(rf"\1={_MASK}", _USER_PART.sub(rf"\1:{_MASK}@", url))


def has_password(url: str) -> bool:
    """Whether a URL holds a password in plain text, before its host or in its query."""
    plain = _REFERENCE.sub("", url)
    try:
        parts = urlsplit(plain)
        password = parts.password if plain.startswith(_WEB) or "://" not in plain else sa.make_url(plain).password
        query = parse_qsl(parts.query)
    except (ValueError, sa.exc.ArgumentError):  # it is no URL: what stands before an `@` may be a secret
        return "@" in plain
    return bool(password) or any(key.lower() in _SECRET_KEYS and value for key, value in query)
