"""Split a signed text into its statement and SSH signature, and read the statement's fields."""

import json
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

from surefoot.core.errors import ApprovalInvalid, InvariantBroken
from surefoot.core.journal.chain import canonical_bytes

MAX_SIGNED_TEXT_BYTES = 16384
"""Most bytes of a statement and its signature together."""
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_ARMOUR_LINE_LENGTH = 76
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
_S = TypeVar("_S")


def split_signed_text(body: bytes, what: str) -> tuple[bytes, str]:
    """Take a text apart that holds a statement and its signature; nothing is verified.

    Ends of lines may be those of Windows, and blanks may follow: what is pasted into a web page comes so.

    Args:
        body: The statement in one line, then the armoured signature.
        what: What the statement is, for messages.

    Returns:
        The statement, and the signature as `ssh-keygen -Y sign` writes it.

    Raises:
        ApprovalInvalid: The text is no such text; says how it differs.
    """
    if len(body) > MAX_SIGNED_TEXT_BYTES:
        raise ApprovalInvalid(f"the text has more than {MAX_SIGNED_TEXT_BYTES:,} bytes: no {what} is as long")
    try:
        text = body.decode("utf-8").replace("\r\n", "\n").strip()
    except UnicodeDecodeError as error:
        raise ApprovalInvalid(f"the text is not UTF-8: it is no signed {what}") from error
    first, _, rest = text.partition("\n")
    lines = rest.split("\n")
    if lines[0] != _BEGIN:
        raise ApprovalInvalid(f"the text has no signature: '{_BEGIN}' must begin its second line")
    if lines[-1] != _END or lines.count(_END) != 1:
        cut = _END not in lines
        raise ApprovalInvalid("the signature is cut off" if cut else "something follows the end of the signature")
    inner = lines[1:-1]
    if not inner or any(not line or len(line) > _ARMOUR_LINE_LENGTH or set(line) - _BASE64 for line in inner):
        raise ApprovalInvalid("the signature is damaged: a line of it is not base64")
    return first.encode(), "\n".join((*lines, ""))


def read_statement_fields(body: bytes, kind: str, statement: type[_S], what: str) -> _S:
    """Read a statement from the one text that it may have: canonical JSON with its fields and its kind.

    Args:
        body: The text.
        kind: Value of its field `kind`.
        statement: Dataclass with the other fields.
        what: What it is, with its article, for messages.

    Raises:
        ApprovalInvalid: It is no statement, has other fields, or is not written in the one way that there is.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApprovalInvalid("the statement is not JSON") from error
    types = get_type_hints(statement)
    names = {"kind", *(field.name for field in fields(statement))}  # type: ignore[arg-type]
    if not isinstance(found, dict) or found.keys() != names or found.get("kind") != kind:
        raise ApprovalInvalid(f"the statement has not the fields of {what}")
    plain: dict[str, Any] = {name: value for name, value in found.items() if name != "kind"}
    wrong = next((name for name, value in plain.items() if type(value) is not types[name]), "")
    if wrong:
        raise ApprovalInvalid(f"field {wrong} of the statement has another type")
    try:
        canonical = canonical_bytes({"kind": kind, **plain})
    except InvariantBroken as error:
        raise ApprovalInvalid("a field of the statement cannot be written as canonical JSON") from error
    if canonical != body:
        raise ApprovalInvalid("the statement is not written as canonical JSON")
    return statement(**plain)
