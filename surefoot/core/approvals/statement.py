"""Define the statement that an approver signs, and parse its signed text."""

import json
from dataclasses import asdict, dataclass, fields
from typing import get_type_hints

from surefoot.core.errors import ApprovalInvalid, InvariantBroken
from surefoot.core.journal.chain import canonical_bytes

NAMESPACE = "approval@surefoot"
"""Namespace of the SSH signatures: a signature made for another purpose does not verify."""
MAX_SIGNED_LENGTH = 16384
"""Most bytes of a statement and its signature together."""
MAX_REASON_LENGTH = 500
"""Longest reason of an approval [characters]."""
_KIND = "surefoot approval 1"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_ARMOUR_LINE_LENGTH = 76
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
APPROVE, DENY = "approve", "deny"


@dataclass(frozen=True, slots=True)
class ApprovalStatement:
    """What an approver signs: everything that the decision is about, so that it fits nothing else.

    Attributes:
        decision: APPROVE or DENY.
        model: Registered model.
        rollout: Id of the rollout.
        version: Number of the candidate.
        artifact: SHA-256 of the candidate's artifact.
        policy: SHA-256 of the rollout's policy.
        evidence: SHA-256 of the verdicts that the approver has seen.
        head: Last journal entry that the approver has seen.
        step: Index into the policy's approve steps.
        expires: When the statement stops to count [Unix seconds, of the policies' clock].
        nonce: Random text.
        reason: Why; may be empty.
    """

    decision: str
    model: str
    rollout: str
    version: str
    artifact: str
    policy: str
    evidence: str
    head: int
    step: int
    expires: int
    nonce: str
    reason: str = ""

    @property
    def signed_bytes(self) -> bytes:
        """The bytes that are signed: canonical JSON, so that there is one text for each statement."""
        return canonical_bytes({"kind": _KIND, **asdict(self)})


@dataclass(frozen=True, slots=True)
class SignedText:
    """A statement and its signature, taken apart and not verified.

    Attributes:
        statement: The statement.
        armour: The SSH signature as `ssh-keygen -Y sign` writes it.
    """

    statement: ApprovalStatement
    armour: str

    @property
    def text(self) -> str:
        """Both as one text: what `read_signed_text` reads."""
        return f"{self.statement.signed_bytes.decode()}\n{self.armour}"


def read_signed_text(body: bytes) -> SignedText:
    """Take a text apart that holds a statement and its signature; nothing is verified.

    Ends of lines may be those of Windows, and blanks may follow: what is pasted into a web page comes so.

    Args:
        body: The statement in one line, then the armoured signature.

    Raises:
        ApprovalInvalid: The text is no such text; says how it differs.
    """
    if len(body) > MAX_SIGNED_LENGTH:
        raise ApprovalInvalid(f"the text has more than {MAX_SIGNED_LENGTH:,} bytes: no approval is as long")
    try:
        text = body.decode("utf-8").replace("\r\n", "\n").strip()
    except UnicodeDecodeError as error:
        raise ApprovalInvalid("the text is not UTF-8: it is no signed approval") from error
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
    return SignedText(read_statement(first.encode()), "\n".join((*lines, "")))


def read_statement(body: bytes) -> ApprovalStatement:
    """Read a statement.

    Raises:
        ApprovalInvalid: It is no statement, has other fields, or is not written in the one way that there is.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApprovalInvalid("the statement is not JSON") from error
    names = {"kind", *(field.name for field in fields(ApprovalStatement))}
    if not isinstance(found, dict) or found.keys() != names or found.pop("kind") != _KIND:
        raise ApprovalInvalid("the statement has not the fields of an approval")
    types = get_type_hints(ApprovalStatement)
    wrong = next((name for name, value in found.items() if type(value) is not types[name]), "")
    if wrong:
        raise ApprovalInvalid(f"field {wrong} of the statement has another type")
    statement = ApprovalStatement(**found)
    try:
        canonical = statement.signed_bytes
    except InvariantBroken as error:
        raise ApprovalInvalid("a field of the statement cannot be written as canonical JSON") from error
    if canonical != body:
        raise ApprovalInvalid("the statement is not written as canonical JSON")
    if statement.decision not in {APPROVE, DENY} or len(statement.reason) > MAX_REASON_LENGTH:
        raise ApprovalInvalid("the statement neither approves nor denies, or its reason is too long")
    return statement
