"""Define the command `config`, which prints each setting and its value's source."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

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
)
from surefoot.cli.connect.secret_urls import mask_password
from surefoot.cli.connect.setting_sources import ResolvedSettings, list_unused_variables, resolve_settings
from surefoot.cli.connect.setting_table import EMBEDDED_SERVICE, NO, SETTINGS, YES, render_settings_table
from surefoot.cli.local import stack
from surefoot.cli.postgres.postgres_choice import with_embedded_postgres
from surefoot.cli.printing.console import console, print_json, print_table
from surefoot.cli.read_only import JsonOption
from surefoot.core.errors import Rejected
from surefoot.settings import Settings, home_folder, read_settings

_DEFAULT = "default"


def config(
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
    table: Annotated[bool, typer.Option("--table", help="Print the table of all settings, in Markdown.")] = False,
) -> None:
    """Print each setting and where its value came from.

    Of a stack that runs, what it uses; else what `up` would use.
    """
    if table:
        print(render_settings_table())  # noqa: T201 - for a file
        return
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
    running = _running_stack()
    wanted = {name: str(value) for name, value in resolved.values.items()}
    in_force = wanted if running is None else _values(running, wanted)
    sources: dict[str, str] = {
        name: (resolved if running is None else running).sources.get(name, _DEFAULT) for name in in_force
    }
    in_force, sources = with_embedded_postgres(home_folder(), in_force, sources)
    notes = list_unused_variables(resolved) + (
        [] if running is None else _differences(_values(running, wanted), resolved)
    )
    shown = {name: mask_password(value) for name, value in in_force.items()}
    if json_:
        settings = {name: {"value": value, "source": sources[name]} for name, value in shown.items()}
        print_json({"settings": settings, "running": running is not None, "home": str(home_folder()), "notes": notes})
        return
    shown_table = Table(box=None, pad_edge=False)
    for title in ("setting", "value", "from"):
        shown_table.add_column(title)
    for name, value in shown.items():
        shown_table.add_row(name, value, sources[name])
    print_table(shown_table)
    kind = "a stack that runs" if running is not None else "what 'surefoot up' would use"
    console.print(f"home folder {home_folder()}: {kind}", markup=False)
    for note in notes:
        console.print(note, markup=False)


def _running_stack() -> Settings | None:
    try:
        found = read_settings(home_folder())
    except Rejected:
        return None
    return found if any(stack.check_running_services(found).values()) else None


def _values(running: Settings, wanted: dict[str, str]) -> dict[str, str]:
    """The settings of a stack that runs, named as in surefoot.toml."""
    has = {
        **{
            name: getattr(running, name) if name in running.connected else EMBEDDED_SERVICE
            for name in ("mlflow", "prefect")
        },
        "pool": running.pool,
        "journal": running.journal or EMBEDDED_SERVICE,
        "postgres": YES if running.postgres else NO,
        "listen": running.listen or "{}:{}".format(*running.listen_address),
        "clock": running.clock,
        "tls-certificate": running.tls_certificate,
        "tls-key": running.tls_key,
        "tls-ca": running.tls_ca,
        "tick": str(running.tick),
        "lineage": running.lineage,
        "otlp": running.otlp,
        "log-format": running.log_format,
    }
    return {one.name: has.get(one.name, wanted[one.name]) for one in SETTINGS}


def _differences(in_force: dict[str, str], resolved: ResolvedSettings) -> list[str]:
    """What the command line, the environment or surefoot.toml says and a stack that runs has not."""
    return [
        f"{source} says {name} {mask_password(str(resolved.values[name]))}; the running stack has"
        f" {mask_password(in_force[name])}: 'surefoot down' and 'up' change it"
        for name, source in resolved.sources.items()
        if str(resolved.values[name]) != in_force[name]
    ]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(config)
