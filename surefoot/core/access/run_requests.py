"""Define the order of a flow run, and the signed request or proof that permits it."""

import hmac
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from surefoot.core.access.derived_keys import derive_key
from surefoot.core.access.roles import Action
from surefoot.core.approvals.signed_text import read_statement_fields, split_signed_text
from surefoot.core.errors import RequestInvalid
from surefoot.core.journal.chain import canonical_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST_SIGNATURE_NAMESPACE = "request@surefoot"
"""Namespace of the SSH signatures of requests: a signature made for another purpose does not verify."""
SIGNED_PERSON_PREFIX = "signed:"
"""Begins the actor of what a person has asked for with a signed request."""
MAX_REQUEST_LIFE_S = 24 * 3600.0
"""Longest time for which a request counts [s]."""
_MAX_CLOCK_SKEW_S = 300.0
"""How far the clock of the person's host may differ [s]."""
_MIN_NONCE_LENGTH, _MAX_NONCE_LENGTH = 16, 64
_KIND = "surefoot request 1"
_PROOF_KIND = "surefoot run proof 1"


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What a flow run is about to do.

    Attributes:
        flow: "promote" or "rollback".
        model: Registered model.
        version: Version to promote, or to go back to; empty for the last proven-good one.
        mode: How to roll back; empty for what the policy says.
        force: Try again a version that has been turned away.
        reason: Why, for the record.
    """

    flow: Literal["promote", "rollback"]
    model: str
    version: str = ""
    mode: str = ""
    force: bool = False
    reason: str = ""

    @property
    def actions(self) -> tuple[Action, ...]:
        """Everything that a person must be allowed to do for it, as for the command of the same name."""
        if self.flow == "rollback":
            return (Action.ROLLBACK,)
        return (Action.PROMOTE, Action.RELEASE) if self.force else (Action.PROMOTE,)

    @property
    def way_to_ask(self) -> str:
        """What a person has to do so that it is known who asks."""
        options = ["--force"] if self.force else []
        if self.flow == "rollback":
            options += [f"--to {self.version}"] if self.version else []
            options += [f"--mode {self.mode}"] if self.mode else []
        words = " ".join([self.flow, self.model, *([self.version] if self.flow == "promote" else [])])
        signed = " ".join([words, "-m REASON", *options])
        return f"paste what 'surefoot request {signed}' prints into the field 'request', or use 'surefoot {words}'"


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A request for one flow run: everything that it asks for, so that it fits nothing else.

    Attributes:
        flow: Name of the flow.
        model: Registered model.
        version: As in the order.
        mode: As in the order.
        force: As in the order.
        reason: Why, for the record.
        expires: When it stops to count [Unix seconds of the host].
        nonce: Random text; it counts once.
        installation: Id of the installation for which it was made.
        actor: Who had it made, in a proof of the installation; empty where the signature says who.
    """

    flow: str
    model: str
    version: str
    mode: str
    force: bool
    reason: str
    expires: int
    nonce: str
    installation: str
    actor: str = ""

    @property
    def signed_bytes(self) -> bytes:
        """The bytes that a person signs: canonical JSON, so that there is one text for each request."""
        return canonical_bytes({"kind": _KIND, **asdict(self)})


@dataclass(frozen=True, slots=True)
class RunPermit:
    """What a request that counts permits.

    Attributes:
        actor: Who has signed it, as the journal names the person; empty for a run of our own.
        reason: Why, for the record.
    """

    actor: str
    reason: str


def make_request(order: RunOrder, installation: str, nonce: str, expires: int, actor: str = "") -> RunRequest:
    """Make the request for an order.

    Args:
        order: What is asked for.
        installation: Secret of the installation.
        nonce: Random text.
        expires: When it stops to count [Unix seconds of the host].
        actor: Who has it made, where it is not signed.
    """
    return RunRequest(
        **asdict(order), expires=expires, nonce=nonce, installation=_installation_id(installation), actor=actor
    )


def _installation_id(installation: str) -> str:
    """An id that tells installations apart and tells nothing of their secrets."""
    return derive_key(installation, "installation's id").hex()[:16]


def read_signed_request(body: bytes) -> tuple[RunRequest, str]:
    """Take a signed request apart: the request and its armoured signature; nothing is verified.

    Raises:
        ApprovalInvalid: It is no such text; says how it differs.
    """
    line, armour = split_signed_text(body, "request")
    return read_statement_fields(line, _KIND, RunRequest, "a request"), armour


def is_run_proof(text: str) -> bool:
    """Whether a text is meant to be a proof of the installation, rather than a signed request."""
    return f'"kind":"{_PROOF_KIND}"' in text


def make_run_proof(request: RunRequest, installation: str) -> str:
    """Prove that a process of the installation has made a request: its text, and a keyed digest of it.

    Args:
        request: The request.
        installation: Secret of the installation.
    """
    line = canonical_bytes({"kind": _PROOF_KIND, **asdict(request)})
    return f"{line.decode()}\n{_proof_digest(line, installation)}"


def read_run_proof(text: str, installation: str) -> RunRequest:
    """Verify a proof of the installation, and read its request.

    Raises:
        RequestInvalid: It was not made with the secret of this installation.
        ApprovalInvalid: Its text is not that of a request.
    """
    line, _, digest = text.replace("\r\n", "\n").strip().partition("\n")
    right = _proof_digest(line.encode("utf-8", "replace"), installation)
    if not hmac.compare_digest(right.encode(), digest.strip().encode("utf-8", "replace")):
        raise RequestInvalid("it was not made by a process of this installation")
    return read_statement_fields(line.encode(), _PROOF_KIND, RunRequest, "a request")


def _proof_digest(line: bytes, installation: str) -> str:
    return hmac.new(derive_key(installation, "proof of flow runs"), line, "sha256").hexdigest()


def find_request_problem(request: RunRequest, order: RunOrder, installation: str, now: float) -> str:
    """Why a verified request is not one for this run now; empty when it is.

    Args:
        request: The request.
        order: What the run is about to do.
        installation: Secret of the installation.
        now: Time of the host [Unix seconds].
    """
    wanted: Mapping[str, object] = asdict(order)
    said: Mapping[str, object] = asdict(request)
    for name, what in _SUBJECT.items():
        if said[name] != wanted[name]:
            return f"it is about {what} {_shown(said[name])}, and the run about {_shown(wanted[name])}"
    if request.installation != _installation_id(installation):
        return "it was made for another installation"
    if request.expires <= now:
        return "it has expired"
    if request.expires > now + MAX_REQUEST_LIFE_S + _MAX_CLOCK_SKEW_S:
        return f"it would count for longer than {MAX_REQUEST_LIFE_S / 3600:.0f} hours"
    if not _MIN_NONCE_LENGTH <= len(request.nonce) <= _MAX_NONCE_LENGTH:
        return f"its nonce has not {_MIN_NONCE_LENGTH} to {_MAX_NONCE_LENGTH} characters"
    return ""


_SUBJECT = {"flow": "flow", "model": "model", "version": "version", "mode": "mode", "force": "force ="}
"""Fields that must be those of the run, with what they are called in a message."""


def _shown(value: object) -> str:
    """A value for a message: of one line, and not long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)[:80].encode("unicode_escape").decode() or "none"
