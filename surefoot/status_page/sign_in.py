"""Check and sign the links, session cookies and form tokens of people who sign in to the status page."""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass

SESSION_COOKIE = "surefoot_page"
"""Name of the cookie."""
LINK_LIFE_S = 600.0
"""How long a link that signs in can be used [s]."""
SESSION_LIFE_S = 12 * 3600.0
"""How long a person stays signed in [s]."""
_LONGEST = 1024
"""Longest text that is looked at [characters]."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person who is signed in.

    Attributes:
        name: As the journal names them.
        until: Until when [Unix seconds].
    """

    name: str
    until: float


def _mac(secret: str, purpose: str, payload: str) -> str:
    key = hashlib.sha256(f"surefoot status page {purpose}\0{secret}".encode()).digest()
    return hmac.new(key, payload.encode(), hashlib.sha256).hexdigest()


def _issue(secret: str, purpose: str, person: Person) -> str:
    plain = json.dumps({"name": person.name, "until": person.until}).encode()
    payload = base64.urlsafe_b64encode(plain).decode().rstrip("=")
    return f"{payload}.{_mac(secret, purpose, payload)}"


def _read(secret: str, purpose: str, text: str, now: float) -> Person | None:
    payload, dot, mac = text[:_LONGEST].partition(".")
    if not dot or not hmac.compare_digest(mac.encode(), _mac(secret, purpose, payload).encode()):
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        person = Person(str(found["name"]), float(found["until"]))
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None
    return person if now < person.until else None


def make_link_key(secret: str, name: str, now: float) -> str:
    """Make the key of a link that signs a person in.

    Args:
        secret: The secret of this installation.
        name: The person, as the journal shall name them.
        now: Time of the host [Unix seconds].
    """
    return _issue(secret, "link", Person(name, now + LINK_LIFE_S))


def make_session_cookie(secret: str, key: str, now: float) -> str | None:
    """Give the cookie for the key of a link; None where it is forged or too old."""
    person = _read(secret, "link", key, now)
    return None if person is None else _issue(secret, "session", Person(person.name, now + SESSION_LIFE_S))


def find_signed_in_person(secret: str, cookie: str, now: float) -> Person | None:
    """Find out who a cookie stands for; None where it is forged or too old."""
    return _read(secret, "session", cookie, now)


def form_token(secret: str, cookie: str) -> str:
    """Make the token that a form of this session must carry, so that no other site can send it."""
    return _mac(secret, "form", cookie)


def is_valid_form_token(secret: str, cookie: str, token: str) -> bool:
    """Whether a form was made for this session."""
    return hmac.compare_digest(token.encode(), form_token(secret, cookie).encode())
