"""Define the statement that an approver signs, and parse its signed text."""

from dataclasses import asdict, dataclass

from surefoot.core.approvals.signed_text import read_statement_fields, split_signed_text
from surefoot.core.errors import ApprovalInvalid
from surefoot.core.journal.chain import canonical_bytes

APPROVAL_SIGNATURE_NAMESPACE = "approval@surefoot"
"""Namespace of the SSH signatures: a signature made for another purpose does not verify."""
MAX_REASON_LENGTH = 500
"""Longest reason of an approval [characters]."""
_KIND = "surefoot approval 1"
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

    Args:
        body: The statement in one line, then the armoured signature.

    Raises:
        ApprovalInvalid: The text is no such text; says how it differs.
    """
    line, armour = split_signed_text(body, "approval")
    return SignedText(_read_statement(line), armour)


def _read_statement(body: bytes) -> ApprovalStatement:
    """Read a statement.

    Raises:
        ApprovalInvalid: It is no statement, has other fields, or is not written in the one way that there is.
    """
    statement = read_statement_fields(body, _KIND, ApprovalStatement, "an approval")
    if statement.decision not in {APPROVE, DENY} or len(statement.reason) > MAX_REASON_LENGTH:
        raise ApprovalInvalid("the statement neither approves nor denies, or its reason is too long")
    return statement
