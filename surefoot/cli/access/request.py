"""Define the `request` commands, which print signed requests to promote or roll back through Prefect."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from surefoot import wiring
from surefoot.adapters.approvals.ssh_keygen import find_default_key, sign_statement
from surefoot.cli.printing.console import console
from surefoot.cli.read_only import ModelArgument
from surefoot.core.access.run_requests import REQUEST_SIGNATURE_NAMESPACE, RunOrder
from surefoot.core.errors import Rejected
from surefoot.core.operator_reason import clean_reason
from surefoot.core.policy.scalars import parse_duration
from surefoot.settings import read_settings

_ReasonOption = Annotated[str, typer.Option("--reason", "-m", help="Why, for the record.")]
_KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key",
        help="Private SSH key, or the public one of a key in an agent; SUREFOOT_SIGNING_KEY or ~/.ssh/id_* without.",
    ),
]
_ExpiresOption = Annotated[str, typer.Option("--expires", help="For how long it counts, such as 1h; at most 24h.")]
_WriteOption = Annotated[
    Path | None, typer.Option("--write", help="Write the request to this file, to be signed elsewhere; sign nothing.")
]

app = typer.Typer(help="Sign a request for a flow run that is started from Prefect's form.", no_args_is_help=True)


@app.command()
def promote(
    model: ModelArgument,
    version: Annotated[str, typer.Argument(help="Version to promote.")],
    reason: _ReasonOption,
    force: Annotated[bool, typer.Option("--force", help="Try again a version that has been turned away.")] = False,
    key: _KeyOption = None,
    expires: _ExpiresOption = "1h",
    write: _WriteOption = None,
) -> None:
    """Print a signed request for the field 'request' of the deployment promote; it counts once."""
    order = RunOrder("promote", model, version, force=force, reason=clean_reason(reason).text)
    _sign(order, key, expires, write)


@app.command()
def rollback(
    model: ModelArgument,
    reason: _ReasonOption,
    to: Annotated[str, typer.Option("--to", help="Proven-good version to go back to; the last one without.")] = "",
    mode: Annotated[
        Literal["immediate", "stepped"] | None,
        typer.Option("--mode", help="At once or step by step; what the policy says without."),
    ] = None,
    key: _KeyOption = None,
    expires: _ExpiresOption = "1h",
    write: _WriteOption = None,
) -> None:
    """Print a signed request for the field 'request' of the deployment rollback; it counts once."""
    _sign(RunOrder("rollback", model, to, mode or "", reason=clean_reason(reason).text), key, expires, write)


def _sign(order: RunOrder, key: Path | None, expires: str, write: Path | None) -> None:
    """Print the signed request of an order, or write what is to be signed.

    Raises:
        Rejected: There is no key, the key does not sign, or the time is none.
    """
    try:
        life = parse_duration(expires)
    except ValueError as error:
        raise Rejected(f"--expires {expires[:40]}: a time such as 30m or 1h") from error
    request = wiring.build_request_to_sign(order, read_settings(), life)
    if write is not None:
        try:
            write.write_bytes(request.signed_bytes)
        except OSError as error:
            raise Rejected(f"{write} cannot be written: {error.strerror}") from error
        console.print(
            f"sign it with: ssh-keygen -Y sign -n {REQUEST_SIGNATURE_NAMESPACE} -f KEY {write}\n"
            "then paste what this prints:"
            f" (cat {write}; echo; cat {write}.sig)",
            markup=False,
            soft_wrap=True,
        )
        return
    chosen = key or find_default_key()
    if chosen is None:
        raise Rejected("there is no SSH key to sign with: name one with --key, or set SUREFOOT_SIGNING_KEY")
    armour = sign_statement(request.signed_bytes, chosen, REQUEST_SIGNATURE_NAMESPACE)
    typer.echo(f"{request.signed_bytes.decode()}\n{armour}", nl=False)


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="request")
