"""Define the command `fallback`, which shows what answers when no version can, and tries it on recent requests."""

from typing import Annotated

import typer

from surefoot import wiring
from surefoot.adapters.config.fallback_table import read_fallback
from surefoot.adapters.config.policy_file import read_policy
from surefoot.cli.actor import current_actor
from surefoot.cli.printing.console import console, print_json
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.cli.timeouts import REGISTRY_TIMEOUT_S
from surefoot.core.errors import Rejected
from surefoot.core.record.event_sentences import describe_event
from surefoot.core.record.events import as_json
from surefoot.rollout import drill
from surefoot.settings import read_settings


def fallback(
    model: ModelArgument,
    drill_: Annotated[
        bool, typer.Option("--drill", help="Ask it recent rows of the log, and journal whether its answers will do.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Say what callers get when no version can answer, and when that was tried last; --drill tries it now."""
    config = read_settings()
    _, policy = read_policy(config.configs / f"{model}.yaml")
    found = read_fallback(config.project, policy)
    if found is None:
        raise Rejected(f"the policy of {model} has no fallback: a request that no version can answer is refused")
    with wiring.open_ports(config, current_actor(), REGISTRY_TIMEOUT_S) as ports:
        tried = drill(ports, model) if drill_ else None
        if drill_ and tried is None:
            raise Rejected(f"{model} has no champion yet: there are no answers to compare with")
        last = tried or (ledger.drilled[0] if (ledger := ports.ledger(model)).drilled else None)
    if json_:
        shown = {"kind": found.kind, "keys": list(found.columns), "rows": len(found.answers), "digest": found.digest}
        print_json({**shown, "default": found.json, "drill": as_json(last) if last else None})
    else:
        keys = f", {len(found.answers):,} rows by {', '.join(found.columns)}" if found.columns else ""
        console.print(f"{found.kind}{keys}; else {found.json}", markup=False)
        console.print(describe_event(last) if last else "it was never tried: --drill does that", markup=False)
    if tried is not None and tried.problem:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(fallback)
