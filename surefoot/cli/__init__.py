"""The command line: one verb a command, one line an error, the exit code of the error tree."""

import sys

import click
import typer
from rich.console import Console
from rich.markup import escape

from surefoot.cli import demo, operate, promote, read, serve
from surefoot.core.errors import SurefootError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Promotes MLflow model versions one provable step at a time, and takes them back the moment they slip.",
)
for module in (serve, read, promote, operate, demo):
    module.register(app)


def main() -> None:
    """Run a command; every error is one line that says what to do."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        code = app(standalone_mode=False)
    except SurefootError as error:
        errors.print(f"[red]surefoot:[/red] {escape(' '.join(str(error).split()))}")
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        errors.print("[red]surefoot:[/red] interrupted; the journal says how far things came")
        sys.exit(130)
    except click.ClickException as error:
        errors.print(f"[red]surefoot:[/red] {escape(error.format_message())}")
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
