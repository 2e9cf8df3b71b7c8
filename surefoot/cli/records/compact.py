"""Define the command `compact`, which converts the prediction log to Parquet."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from surefoot import wiring
from surefoot.cli.printing.console import console, print_json
from surefoot.cli.read_only import JsonOption
from surefoot.core.errors import NotFound
from surefoot.settings import read_settings


def compact(
    model: Annotated[str | None, typer.Argument(help="Registered model; all without a name.")] = None,
    keep: Annotated[
        int | None, typer.Option(help="Days that a record is kept at least; without it as the policy says.", min=1)
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Turn closed segments of the prediction log into Parquet, and remove what is too old; `reconcile` does so too."""
    config = read_settings()
    known = wiring.list_logged_models(config)
    if model and model not in known:
        raise NotFound(f"nothing of {model} has been logged; logged: {', '.join(known) or 'none'}")
    found = []
    for name in [model] if model else known:
        done = wiring.compact_model_log(config, name, keep)
        found.append(asdict(done))
        if not json_:
            console.print(f"[bold]{escape(name)}[/bold]  {done.describe() or 'nothing to do'}")
    if json_:
        print_json({"models": found})


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compact)
