"""Define the command `promote`, which opens a rollout and shows its progress."""

import time
import uuid
from typing import Annotated

import httpx
import typer
from rich.console import Console

from surefoot import wiring
from surefoot.cli.access.permission import require_allowed_actor
from surefoot.cli.local.prefect_access import open_prefect_client
from surefoot.cli.printing.console import console, print_json
from surefoot.cli.printing.journal_output import entry_json, print_history
from surefoot.cli.printing.progress_bar import replay_progress_bar
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.cli.shared.actor import current_actor
from surefoot.cli.shared.timeouts import REGISTRY_TIMEOUT_S
from surefoot.core.access.roles import Action
from surefoot.core.access.run_requests import RunOrder
from surefoot.core.domain import Stage
from surefoot.core.errors import Rejected, Unavailable
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.rollout import Ports, drive_rollout, open_promotion, try_promotion
from surefoot.settings import Settings, read_settings

_DEFAULT_REASON = "asked for by hand"
_PREFECT_TIMEOUT_S = 30.0
"""How long to ask a busy Prefect for a flow run [seconds]; after that the rollout runs here."""


def promote(
    model: ModelArgument,
    version: Annotated[str, typer.Argument(help="Version to promote.")],
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for the record.")] = _DEFAULT_REASON,
    force: Annotated[bool, typer.Option(help="Try again a version that has been turned away.")] = False,
    ticket: Annotated[
        str, typer.Option("--ticket", help="Change ticket; the version's tag surefoot.ticket without.")
    ] = "",
    override_freeze: Annotated[
        bool, typer.Option("--override-freeze", help="Go on in spite of freezes; needs --reason, which is recorded.")
    ] = False,
    here: Annotated[
        bool, typer.Option("--here", help="Run in this process instead of Prefect; only then is no Prefect needed.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Judge on logged requests alone, up to the first live one; change nothing."),
    ] = False,
    json_: JsonOption = False,
) -> int:
    """Promote a version through every stage; a rollout that is already open is joined and resumed.

    Returns when the version bakes (exit 0) or the rollout has ended otherwise (exit 1).
    """
    config = read_settings()
    if dry_run:
        return _try(config, model, version, reason, force=force, ticket=ticket, quiet=json_)
    if override_freeze and reason == _DEFAULT_REASON:
        raise Rejected("--override-freeze needs a reason: say it with --reason")
    actor = require_allowed_actor(config, Action.PROMOTE, model)
    if override_freeze:
        require_allowed_actor(config, Action.OVERRIDE_FREEZE, model)
    if force:
        require_allowed_actor(config, Action.RELEASE, model)
    with (
        replay_progress_bar(quiet=json_) as report,
        wiring.open_ports(config, actor, REGISTRY_TIMEOUT_S, report) as ports,
    ):
        head = len(ports.journal.read(model))
        if not here and (why := _prefect_problem(config)):
            # Nothing would look at the version after its promotion: the looks of a bake are flow runs.
            raise Unavailable(
                f"version {version} of {model} is not promoted, for Prefect starts no flow run ({why}): 'surefoot up'"
                " starts Prefect; --here promotes in this process, and a rollback needs no Prefect"
            )
        more = {"force": force, "override_freeze": override_freeze}
        asked = wiring.promotion_request(config, model, version, reason, ticket=ticket, **more)
        rollout = open_promotion(ports, asked)
        run = None if here else _flow_run(config, actor, model, version)
        if run and not json_:
            console.print(f"flow run {config.prefect_pages}/runs/flow-run/{run}")
        try:
            ledger = (
                _follow(ports, model, rollout, head, quiet=json_) if run else _drive(ports, model, head, quiet=json_)
            )
        except KeyboardInterrupt:
            # Only the watching has ended: who presses Ctrl-C at three in the morning must know that.
            goes_on = f"flow run {run} goes on" if run else "'reconcile' resumes it within a tick"
            Console(stderr=True, soft_wrap=True).print(
                f"surefoot: rollout {rollout} of {model} is still open: {goes_on}; 'surefoot abort {model}' stops it,"
                f" 'surefoot status {model}' shows it",
                markup=False,
            )
            return 130
        stage = ledger.rollouts[rollout].stage
        if json_:
            print_json(
                {"rollout": rollout, "stage": stage.value, "reason": ledger.rollouts[rollout].reason, "flow_run": run}
            )
        return 0 if stage in {Stage.BAKING, Stage.PROMOTED} else 1


def _try(config: Settings, model: str, version: str, reason: str, *, force: bool, ticket: str, quiet: bool) -> int:
    """Judge a version without traffic, print what would be journalled, and say what would follow."""
    asked = wiring.promotion_request(config, model, version, reason, ticket=ticket, force=force)
    with (
        replay_progress_bar(quiet=quiet) as report,
        wiring.open_ports(config, current_actor(), REGISTRY_TIMEOUT_S, report) as ports,
    ):
        found = try_promotion(
            ports, model, asked, lambda entry: None if quiet else print_history([entry], everything=False)
        )
    rollout = found.rollout
    if found.would_go_on:
        said = f"version {version} passes: a promotion would go on to {rollout.stage}"
    elif rollout.ending:
        said = f"version {version} would end as {rollout.ending.terminal_stage}: {rollout.ending.reason}"
    else:
        said = f"version {version} is not decided yet ({rollout.stage}): {found.why_it_waits}"
    if quiet:
        entries = [entry_json(entry) for entry in found.entries]
        print_json({"passes": found.would_go_on, "stage": rollout.stage, "said": said, "entries": entries})
    else:
        console.print(f"dry run: {said}; nothing was journalled, and no request or alias has moved", markup=False)
    return 0 if found.would_go_on else 1


def _over(ledger: Ledger) -> bool:
    """Whether nothing is left to watch: the rollout has ended, or bakes for days."""
    return ledger.rollout is None or (ledger.rollout.stage is Stage.BAKING and ledger.rollout.ending is None)


def _prefect_problem(config: Settings) -> str:
    """Why Prefect starts no flow run now; empty where it would start one."""
    try:
        with open_prefect_client(config, _PREFECT_TIMEOUT_S) as api:
            found = api.get("/deployments/name/promote/promote")
    except httpx.HTTPError as error:
        return str(error) or repr(error)
    busy = found.status_code == httpx.codes.SERVICE_UNAVAILABLE  # it answers soon: the run is asked for again then
    return "" if found.is_success or busy else f"{found.status_code} {found.text[:100]}"


def _flow_run(config: Settings, actor: str, model: str, version: str) -> str | None:
    """Start the promote deployment; None when Prefect does not answer."""
    proof = wiring.prove_run_request(config, RunOrder("promote", model, version), actor)
    # One key for all attempts: a request whose answer was lost must not start a second run.
    body = {"parameters": {"model": model, "version": version, **proof}, "idempotency_key": uuid.uuid4().hex}
    deadline = time.monotonic() + _PREFECT_TIMEOUT_S
    why = "no answer"
    while time.monotonic() < deadline:
        try:
            with open_prefect_client(config) as api:
                found = api.get("/deployments/name/promote/promote").raise_for_status()
                made = api.post(f"/deployments/{found.json()['id']}/create_flow_run", json=body).raise_for_status()
                return str(made.json()["id"])
        except httpx.HTTPStatusError as error:
            why = f"{error.response.status_code} {error.response.text[:100]}"
            if error.response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break  # only this one says "busy, ask again"
        except httpx.ConnectError as error:
            why = str(error)
            break
        except httpx.HTTPError as error:
            why = repr(error)
        time.sleep(0.3)
    Console(stderr=True).print(f"Prefect starts no flow run ({why}): running here", markup=False)
    return None


def _drive(ports: Ports, model: str, head: int, *, quiet: bool) -> Ledger:
    """Run the rollout in this process, printing every entry."""
    shown = head

    def show_new(ledger: Ledger, _action: object) -> None:
        nonlocal shown
        if not quiet and ledger.head > shown:
            print_history(ports.journal.read(model, after=shown), everything=False)
        shown = max(shown, ledger.head)

    show_new(ports.ledger(model), None)  # a rollout that ended when it was opened takes no step any more
    ledger = drive_rollout(ports, model, until=_over, on_step=show_new)
    show_new(ledger, None)
    return ledger


def _follow(ports: Ports, model: str, rollout: str, head: int, *, quiet: bool) -> Ledger:
    """Print what the flow run journals until the rollout bakes or ends."""
    ledger = fold_entries(model, ports.journal.read(model))
    if not quiet:
        print_history(ports.journal.read(model, after=head), everything=False)
    while ledger.open == rollout and not _over(ledger):
        fresh = ports.journal.read(model, after=ledger.head)
        if not fresh:
            time.sleep(0.3)
            continue
        if not quiet:
            print_history(fresh, everything=False)
        ledger = fold_entries(model, fresh, ledger)
    return ledger


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(promote)
