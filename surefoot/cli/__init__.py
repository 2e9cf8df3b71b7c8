"""Build the command-line interface, which loads only the run command's module and prints each error as one line."""

import io
import os
import signal
import sys
import tempfile
import traceback
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, TextIO, cast

import typer
from rich.console import Console
from rich.markup import escape

from surefoot.cli.postgres.postgres_choice import explain_journal_error
from surefoot.cli.printing.lossy_stream import LossyStream
from surefoot.cli.shared.emergency_arguments import EMERGENCY_COMMANDS, clean_malformed_options
from surefoot.core.errors import InvariantBroken, SurefootError

MODULES = {
    "init": "local.project_folder",
    "draft": "local.draft",
    "up": "servers",
    "down": "servers",
    "doctor": "connect.doctor",
    "config": "connect.config",
    "gateway": "servers",
    "controller": "servers",
    "status": "status",
    "page": "page",
    "token": "access.tokens",
    "request": "access.request",
    "webhook": "access.webhook",
    "lint": "read_only",
    "plan": "read_only",
    "schema": "read_only",
    "history": "read_only",
    "verify": "read_only",
    "promote": "promote",
    "approve": "decisions.approve",
    "deny": "decisions.approve",
    "pause": "decisions.hold",
    "resume": "decisions.hold",
    "freeze": "decisions.hold",
    "unfreeze": "decisions.hold",
    "abort": "emergency",
    "rollback": "emergency",
    "kill": "emergency",
    "repair": "emergency",
    "data": "served.data",
    "versions": "served.versions",
    "scorecard": "records.scorecard",
    "card": "records.card",
    "release": "served.versions",
    "exposure": "served.exposure",
    "correct": "served.exposure",
    "fallback": "served.fallback",
    "backtest": "backtest",
    "record": "records.record",
    "evidence": "served.evidence",
    "observe": "served.observe",
    "spread": "spread",
    "watch": "served.watch",
    "compact": "records.compact",
    "forget": "records.forget",
    "incident": "incident",
    "playbook": "playbook",
    "notify": "served.notify",
    "drill": "served.drill",
    "demo": "demo.demo_command",
}
"""The module of each command, in the order of the help: a command loads its own module and no other one."""


def _print_version(asked: bool) -> None:
    """Print the version and end, when asked for it."""
    if asked:
        typer.echo(f"surefoot {version('surefoot')}")
        raise typer.Exit


def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version."),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def build_app(command: str = "") -> typer.Typer:
    """Make the command line.

    Args:
        command: The command that is run; without it, or with one that is not known, every command is there.
    """
    made = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Promotes MLflow model versions one provable step at a time, and takes them back the moment they slip.",
    )
    made.callback()(_options)  # without it an app of one command would take no name of a command
    wanted = [MODULES[command]] if command in MODULES else dict.fromkeys(MODULES.values())
    for name in wanted:
        import_module(f"surefoot.cli.{name}").register(made)
    return made


_STATE_CHANGING_COMMANDS = (
    *EMERGENCY_COMMANDS,
    "repair",
    "release",
    "data",
    "promote",
    "approve",
    "deny",
    "pause",
    "resume",
    "freeze",
    "unfreeze",
    "up",
    "down",
    "init",
    "draft",
    "compact",
    "forget",
    "record",
    "incident",
    "playbook",
    "token",
    "webhook",
    "notify",
    "drill",
    "demo",
)
"""Commands that change something: they go on when their output cannot be written."""
_MAX_ERROR_LENGTH = 280
"""Most of an error that is shown [characters]."""
# Typer carries its own copy of Click: its errors are found through the one name that is public.
_ClickUsageError: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


def _shorten_error(message: str) -> str:
    """One line that a person reads; libraries put whole stories into their errors."""
    line = " ".join(message.split())
    return line if len(line) <= _MAX_ERROR_LENGTH else f"{line[: _MAX_ERROR_LENGTH - 1]}…"


def _keep_traceback() -> str:
    """Write the traceback of the error in hand to a file; the words that name the file, or nothing without room."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="surefoot-", suffix=".log", delete=False) as kept:
            kept.write(traceback.format_exc())
    except OSError:
        return ""
    return f"; the details are in {kept.name}"


def _help_line(error: Exception) -> str:
    """The command line that explains the command that was used wrongly."""
    context, words = getattr(error, "ctx", None), ["--help"]
    while context is not None and context.parent is not None:
        words.insert(0, str(context.info_name))
        context = context.parent
    return " ".join(["surefoot", *words])


def main() -> None:
    """Run a command; every error is one line that says what to do."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    if sys.argv[1] in EMERGENCY_COMMANDS:
        sys.argv[2:] = clean_malformed_options(sys.argv[2:])
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a connection that breaks must not stop an emergency half-way
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal cannot show must not stop a command
    if sys.argv[1] in _STATE_CHANGING_COMMANDS:
        sys.stdout, sys.stderr = (cast("TextIO", LossyStream(stream)) for stream in (sys.stdout, sys.stderr))
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        code = build_app(sys.argv[1])(standalone_mode=False)
    except SurefootError as error:
        errors.print(f"[red]surefoot:[/red] {escape(_shorten_error(explain_journal_error(error)))}")
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        errors.print("[red]surefoot:[/red] interrupted; the journal says how far things came")
        sys.exit(130)
    except _ClickUsageError as error:
        said = " ".join(getattr(error, "format_message", error.__str__)().split())
        stop = "" if said.endswith((".", "?")) else "."
        errors.print(f"[red]surefoot:[/red] {escape(said)}{stop} Try '{_help_line(error)}'.")
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open until this process ends
        sys.exit(141)
    except Exception as error:  # noqa: BLE001 - last resort: a person gets one line, never a traceback
        where = _keep_traceback()
        what = escape(_shorten_error(f"{type(error).__name__}: {error}"))
        errors.print(f"[red]surefoot:[/red] a bug of ours, or a broken installation: {what}{where}")
        sys.exit(InvariantBroken.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
