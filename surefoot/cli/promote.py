"""promote: opens the rollout here, lets Prefect run it, and follows it on the screen."""

import time
from typing import Annotated

import httpx
import typer

from surefoot import bootstrap
from surefoot.bootstrap import Settings
from surefoot.cli import show
from surefoot.cli.read import Json, Model
from surefoot.cli.show import console
from surefoot.core.model import Stage
from surefoot.core.state import Ledger, fold
from surefoot.rollout import Ports, drive, open_promotion


def promote(
    model: Model,
    version: Annotated[str, typer.Argument(help="Version to promote.")],
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for the record.")] = "asked for by hand",
    force: Annotated[bool, typer.Option(help="Try again a version that has been turned away.")] = False,
    here: Annotated[bool, typer.Option("--here", help="Run in this process instead of Prefect.")] = False,
    json_: Json = False,
) -> int:
    """Promote a version through every stage; a rollout that is already open is joined and resumed.

    Returns when the version bakes (exit 0) or the rollout has ended otherwise (exit 1).
    """
    config = bootstrap.settings()
    ports = bootstrap.ports(config, show.actor())
    head = len(ports.journal.read(model))
    rollout = open_promotion(ports, bootstrap.request(config, model, version, reason, force=force))
    run = None if here else _flow_run(config, model, version)
    if run and not json_:
        console.print(f"flow run {config.prefect}/runs/flow-run/{run}")
    ledger = _follow(ports, model, rollout, head, quiet=json_) if run else _drive(ports, model, head, quiet=json_)
    stage = ledger.rollouts[rollout].stage
    if json_:
        show.emit(
            {"rollout": rollout, "stage": stage.value, "reason": ledger.rollouts[rollout].reason, "flow_run": run}
        )
    return 0 if stage in {Stage.BAKING, Stage.PROMOTED} else 1


def _over(ledger: Ledger) -> bool:
    """Whether nothing is left to watch: the rollout has ended, or bakes for days."""
    return ledger.rollout is None or (ledger.rollout.stage is Stage.BAKING and ledger.rollout.ending is None)


def _flow_run(config: Settings, model: str, version: str) -> str | None:
    """Start the promote deployment; None when Prefect does not answer."""
    try:
        with httpx.Client(base_url=f"{config.prefect}/api", timeout=10.0, trust_env=False) as api:
            found = api.get("/deployments/name/promote/promote")
            if not found.is_success:
                return None
            body = {"parameters": {"model": model, "version": version}, "state": {"type": "SCHEDULED"}}
            made = api.post(f"/deployments/{found.json()['id']}/create_flow_run", json=body)
            return str(made.json()["id"]) if made.is_success else None
    except httpx.HTTPError:
        console.print("[yellow]Prefect does not answer: running here[/yellow]", style=None)
        return None


def _drive(ports: Ports, model: str, head: int, *, quiet: bool) -> Ledger:
    """Run the rollout in this process, printing every entry."""
    shown = head

    def seen(ledger: Ledger, _action: object) -> None:
        nonlocal shown
        if not quiet and ledger.head > shown:
            show.history(ports.journal.read(model, after=shown), everything=False)
        shown = max(shown, ledger.head)

    return drive(ports, model, until=_over, seen=seen)


def _follow(ports: Ports, model: str, rollout: str, head: int, *, quiet: bool) -> Ledger:
    """Print what the flow run journals until the rollout bakes or ends."""
    ledger = fold(model, ports.journal.read(model))
    if not quiet:
        show.history(ports.journal.read(model, after=head), everything=False)
    while ledger.open == rollout and not _over(ledger):
        fresh = ports.journal.read(model, after=ledger.head)
        if not fresh:
            time.sleep(0.3)
            continue
        if not quiet:
            show.history(fresh, everything=False)
        ledger = fold(model, fresh, ledger)
    return ledger


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(promote)
