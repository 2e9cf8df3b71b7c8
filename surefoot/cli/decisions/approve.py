"""Define the commands `approve` and `deny`, which record a signed decision."""

import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.prompt import Confirm

from surefoot import wiring
from surefoot.adapters.approvals.ssh_keygen import find_default_key, sign_statement
from surefoot.cli.access.permission import require_allowed_actor
from surefoot.cli.printing.approval_output import approval_json, print_approval_view
from surefoot.cli.printing.console import console, print_json
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.cli.shared.timeouts import REGISTRY_TIMEOUT_S
from surefoot.core.access.roles import Action
from surefoot.core.approvals.approval_events import ApprovalDenied, ApprovalGiven
from surefoot.core.approvals.approval_statement import APPROVE, DENY, MAX_REASON_LENGTH, SignedText
from surefoot.core.approvals.signed_text import MAX_SIGNED_TEXT_BYTES
from surefoot.core.errors import Rejected, SurefootError
from surefoot.core.operator_reason import clean_reason
from surefoot.rollout import ApprovalView, Ports, approval_view, record_signed_decision
from surefoot.settings import Settings, read_settings

_KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key",
        help="Private SSH key, or the public one of a key in an agent; SUREFOOT_SIGNING_KEY or ~/.ssh/id_* without.",
    ),
]
_ReasonOption = Annotated[str, typer.Option("--reason", "-m", help="Why, for the record.")]
_YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Sign without asking: the evidence was looked at.")]
_WriteOption = Annotated[
    Path | None, typer.Option("--write", help="Write the statement to this file, to be signed elsewhere; sign nothing.")
]
_SignedOption = Annotated[
    Path | None,
    typer.Option(
        "--signed", help="Hand in a statement that was signed elsewhere: FILE with FILE.sig, both in one file, or -."
    ),
]


def approve(
    model: ModelArgument,
    reason: _ReasonOption = "",
    key: _KeyOption = None,
    yes: _YesOption = False,
    write: _WriteOption = None,
    signed: _SignedOption = None,
    json_: JsonOption = False,
) -> None:
    """Show what an approval is about, sign it with an SSH key, and record it; the rollout goes on once enough have."""
    _decide(model, APPROVE, reason, key, write, signed, yes=yes, json_=json_)


def deny(
    model: ModelArgument,
    reason: _ReasonOption = "",
    key: _KeyOption = None,
    yes: _YesOption = False,
    write: _WriteOption = None,
    signed: _SignedOption = None,
    json_: JsonOption = False,
) -> None:
    """Deny what a rollout waits for, with a signed statement; it ends or holds, as its policy says."""
    _decide(model, DENY, reason, key, write, signed, yes=yes, json_=json_)


def _decide(
    model: str,
    decision: str,
    reason: str,
    key: Path | None,
    write: Path | None,
    signed: Path | None,
    *,
    yes: bool,
    json_: bool,
) -> None:
    config = read_settings()
    actor = require_allowed_actor(config, Action(decision), model)
    with wiring.open_ports(config, actor, REGISTRY_TIMEOUT_S) as ports:
        if signed is not None:
            _tell(ports, model, record_signed_decision(ports, model, _read_signed(signed)), {}, json_=json_)
            return
        view = approval_view(ports.ledger(model))
        said = _show(config, view, quiet=json_)
        why = clean_reason(reason).text[:MAX_REASON_LENGTH] if reason.strip() else ""
        statement = view.statement(decision, secrets.token_hex(16), ports.clock.now(), why)
        if write is not None:
            write.write_bytes(statement.signed_bytes)
            console.print(
                f"sign it with: ssh-keygen -Y sign -n approval@surefoot -f KEY {write}\nthen: surefoot {decision}"
                f" {model} --signed {write}",
                markup=False,
            )
            return
        chosen = key or find_default_key()
        if chosen is None:
            raise Rejected("there is no SSH key to sign with: name one with --key, or set SUREFOOT_SIGNING_KEY")
        if not yes and not _confirmed(decision, chosen):
            raise Rejected("nothing was signed")
        text = SignedText(statement, sign_statement(statement.signed_bytes, chosen)).text
        _tell(ports, model, record_signed_decision(ports, model, text.encode()), said, json_=json_)


def _show(config: Settings, view: ApprovalView, *, quiet: bool) -> dict[str, object]:
    """Print what is to be approved; the same as JSON."""
    changes, why = None, ""
    try:
        changes = wiring.read_version_changes(config, view.policy.model, view.rollout.opened)
    except SurefootError as error:  # an approval needs no MLflow
        why = str(error)
    if not quiet:
        print_approval_view(view, changes, why)
    return approval_json(view, changes)


def _confirmed(decision: str, key: Path) -> bool:
    """Ask a person at a terminal.

    Raises:
        Rejected: There is no person to ask.
    """
    if not sys.stdin.isatty():
        raise Rejected(f"nothing was signed: no terminal to ask; --yes signs the {decision} statement without asking")
    return Confirm.ask(f"{decision} this, signed with {key}?", console=console, default=False)


def _read_signed(file: Path) -> bytes:
    """A statement and its signature, which may be in a second file.

    Raises:
        Rejected: There is no such file.
    """
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(MAX_SIGNED_TEXT_BYTES + 1)
        body = _first_bytes(file)
        beside = Path(f"{file}.sig")
        if b"SSH SIGNATURE" not in body and beside.is_file():
            return body.rstrip(b"\n") + b"\n" + _first_bytes(beside)
    except OSError as error:
        raise Rejected(f"{file} cannot be read: {error.strerror}") from error
    return body


def _first_bytes(file: Path) -> bytes:
    """A file, or so much of it that it is too long for a signed statement."""
    with file.open("rb") as content:
        return content.read(MAX_SIGNED_TEXT_BYTES + 1)


def _tell(
    ports: Ports, model: str, event: ApprovalGiven | ApprovalDenied, said: dict[str, object], *, json_: bool
) -> None:
    """Print what was recorded, and what is still missing."""
    rollout = ports.ledger(model).rollouts[event.rollout]
    decision = APPROVE if isinstance(event, ApprovalGiven) else DENY
    people = rollout.approvals.people()
    if json_:
        print_json({**said, "decision": decision, "person": event.signed.person, "approved": list(people)})
        return
    done = "approved" if decision == APPROVE else "denied"
    console.print(f"{done} by {event.signed.person} with key {event.signed.key}", markup=False)
    if decision == APPROVE:
        console.print(
            f"approved so far: {', '.join(people)}; 'surefoot status {model}' shows how it goes on", markup=False
        )


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(approve)
    app.command()(deny)
