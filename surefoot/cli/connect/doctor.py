"""Define the command `doctor`, which checks a set-up and names every fault."""

from pathlib import Path

import typer
from rich.markup import escape

from surefoot.cli.connect.doctor_report import Finding, FindingLevel, run_setup_checks
from surefoot.cli.connect.options import (
    JournalOption,
    ListenOption,
    MlflowOption,
    PoolOption,
    PostgresOption,
    PrefectOption,
    ProjectOption,
    TlsCaOption,
    TlsCertificateOption,
    TlsKeyOption,
    stack_options,
)
from surefoot.cli.connect.setting_sources import list_unused_variables, resolve_settings
from surefoot.cli.local import stack
from surefoot.cli.local.stack_options import StackOptions, plan_settings
from surefoot.cli.printing.console import console, print_json
from surefoot.cli.read_only import JsonOption
from surefoot.core.errors import Rejected
from surefoot.settings import Settings, home_folder, read_settings

_COLOURS = {FindingLevel.OK: "green", FindingLevel.NOTE: "yellow", FindingLevel.FAULT: "red"}


def doctor(
    project: ProjectOption = Path(),
    mlflow: MlflowOption = None,
    prefect: PrefectOption = None,
    pool: PoolOption = None,
    journal: JournalOption = None,
    postgres: PostgresOption = None,
    listen: ListenOption = None,
    tls_certificate: TlsCertificateOption = None,
    tls_key: TlsKeyOption = None,
    tls_ca: TlsCaOption = None,
    json_: JsonOption = False,
) -> int:
    """Check folders, ports, journal, MLflow, Prefect, credentials and rights; exits with 2 on a fault.

    Without options, of a stack that runs, what it uses; else what `up` would use.
    """
    tls = {"tls-certificate": tls_certificate, "tls-key": tls_key, "tls-ca": tls_ca}
    given: dict[str, object] = {
        "mlflow": mlflow,
        "prefect": prefect,
        "pool": pool,
        "journal": journal,
        "listen": listen,
        **tls,
    }
    given["postgres"] = postgres or None
    resolved = resolve_settings(project.absolute(), given)
    config, running = _subject(home_folder(), project.absolute(), stack_options(resolved), chosen=any(given.values()))
    found = list(run_setup_checks(config, running))
    found += [Finding("environment", FindingLevel.NOTE, line) for line in list_unused_variables(resolved)]
    faults = sum(one.level is FindingLevel.FAULT for one in found)
    if json_:
        lines = [{"part": one.part, "level": one.level.value, "text": one.text} for one in found]
        print_json({"ok": not faults, "findings": lines})
    else:
        for one in found:
            console.print(f"[{_COLOURS[one.level]}]{one.level:5}[/] {escape(one.text)}")
    return Rejected.exit_code if faults else 0


def _subject(home: Path, project: Path, options: StackOptions, *, chosen: bool) -> tuple[Settings, frozenset[str]]:
    """What is looked at: a stack that runs, unless the command line asks for another one."""
    try:
        before = read_settings(home)
    except Rejected:
        return plan_settings(home, project, options, None), frozenset()
    running = frozenset(name for name, lives in stack.check_running_services(before).items() if lives)
    if running and not chosen:
        return before, running
    planned = plan_settings(home, project, options, before)
    # What runs elsewhere than planned says nothing of the plan.
    return planned, frozenset(one for one in running if getattr(planned, one, "") == getattr(before, one, ""))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)
