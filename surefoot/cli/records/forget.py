"""Define the command `forget`, which removes the records of one unit, such as a customer."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from surefoot import wiring
from surefoot.adapters.predictions.erasure.erasure_record import ErasureProgressReport
from surefoot.cli.access.permission import open_allowed_ports
from surefoot.cli.local.prefect_artifacts import replace_in_prefect_artifacts
from surefoot.cli.printing.console import console, print_json
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.core.access.roles import Action
from surefoot.core.erasure.erasure_events import UnitForgotten, describe_erasure
from surefoot.core.errors import Rejected
from surefoot.core.journal.events import as_json
from surefoot.core.operator_reason import clean_reason
from surefoot.erasure import ForgetRequest, ServerTextReplacer, forget_unit
from surefoot.settings import read_settings


def forget(
    model: ModelArgument,
    unit: Annotated[str, typer.Option(help="The unit whose records are removed, as callers send it.")] = "",
    request: Annotated[list[str] | None, typer.Option(help="Id of a request to remove; may be repeated.")] = None,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for the record; do not name the person.")] = "",
    pseudonymise: Annotated[
        bool, typer.Option("--pseudonymise", help="Give pseudonyms to records that an incident holds.")
    ] = False,
    skip_servers: Annotated[
        bool, typer.Option("--skip-servers", help="Leave the pages in MLflow and Prefect as they are.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Remove a person's records: log, labels, kept answers, lists, traces; finish what a killed call has begun."""
    named = tuple(dict.fromkeys(request or ()))
    if (unit or named) and not reason.strip():
        raise Rejected("say why with -m REASON: the journal keeps it; do not name the person in it")
    why = clean_reason(reason).text
    for name in (unit, *named):
        if name and name in why:
            raise Rejected("the reason names the unit or a request, and the journal keeps it for ever: leave it out")
    wanted = ForgetRequest(unit, named, why, pseudonymise) if unit or named else None
    config = read_settings()
    with open_allowed_ports(Action.FORGET, model) as ports, _progress(quiet=json_) as report:
        servers: dict[str, ServerTextReplacer] = {
            "pages in Prefect": partial(replace_in_prefect_artifacts, config),
            "pages in MLflow": partial(wiring.replace_in_mlflow_runs, config, model),
        }
        done = forget_unit(config, ports, model, wanted, report, {} if skip_servers else servers)
    if json_:
        print_json({"model": model, "erasures": [as_json(one) for one in done]})
        return
    for one in done:
        _tell(one)
    policy = wiring.read_policies(config).get(model)
    if done and policy is not None and policy.evidence is not None:
        note = (
            "note: a row that the sources of 'evidence' in the policy still have may be imported again: remove it there"
        )
        console.print(note, markup=False)
    if not done:
        console.print(f"no erasure of {model} was left unfinished; name a --unit or a --request", markup=False)


def _tell(event: UnitForgotten) -> None:
    console.print(describe_erasure(event), markup=False)
    if event.quoted_by:
        entries = ", ".join(map(str, event.quoted_by))
        console.print(f"not removed: journal entries {entries} quote it, and an entry cannot be changed", markup=False)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[ErasureProgressReport]:
    """Give what shows a bar a place on standard error; it shows nothing where that is no terminal."""
    shown = Console(stderr=True)
    if quiet or not shown.is_terminal:
        yield lambda _place, _done, _total: None
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=shown) as bar:
        tasks = {}

        def report(place: str, done: int, total: int) -> None:
            if place not in tasks:
                tasks[place] = bar.add_task(place, total=total)
            bar.update(tasks[place], completed=done, total=total)

        yield report


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(forget)
