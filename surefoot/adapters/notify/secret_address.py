"""Resolve the secret placeholders in a receiver's address, and redact that address in texts."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from surefoot.core.errors import Rejected
from surefoot.core.policy.recovery.notify_config import SecretAddress

_MAX_FILE_BYTES = 10_000
_SHORTEST_SECRET = 4
"""Parts of an address that are shorter are no secret [characters]; longer ones are replaced wherever they stand."""
_PLAIN_SCHEMES = frozenset({"http", "https", "json", "jsons", "form", "forms", "xml", "xmls"})
"""Schemes whose address begins with the name of a host, which people may read."""
_HIDDEN = "***"


def resolve_address(address: SecretAddress, project: Path) -> str:
    """Replace the placeholders or file reference of an address by its secrets.

    Args:
        address: What the file says.
        project: Folder that relative files are in.

    Raises:
        Rejected: A variable is not set, or the file cannot be read; the message names it, and no secret.
    """
    if address.url_file is not None:
        path = project / address.url_file
        try:
            found = path.read_bytes()[:_MAX_FILE_BYTES].decode("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
            raise Rejected(f"url_file {address.url_file} cannot be read: {reason}") from None
        if not found or len(found.split()) != 1:
            raise Rejected(f"url_file {address.url_file} must hold one address")
        return found
    missing = [name for name in address.variables if not os.environ.get(name)]
    if missing:
        raise Rejected(f"environment variable {missing[0]} is not set")
    return re.sub(r"\$\{(\w+)\}", lambda found: os.environ[found[1]].strip(), address.url or "")


def redact_address(text: str, address: str) -> str:
    """Replace every part of an address in a text that may be secret: all but the scheme, and the host of a web address.

    Args:
        text: What a library says.
        address: The address with its secrets.
    """
    scheme, _, rest = address.partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2] if scheme.lower() in _PLAIN_SCHEMES else ""
    parts = {rest, *re.split(r"[/?#&=:@,+;]", rest), *rest.split("/")}
    known = {one for part in parts for one in (part, unquote(part))}
    allowed = {host, host.partition(":")[0], ""}
    for part in sorted(known - allowed, key=len, reverse=True):
        if len(part) >= _SHORTEST_SECRET:
            text = text.replace(part, _HIDDEN)
    return " ".join(text.split())
