"""Define the command-line options that `up`, `doctor` and `config` share."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.cli.connect.setting_sources import ResolvedSettings
from surefoot.cli.connect.setting_table import YES
from surefoot.cli.local.stack_options import StackOptions

ProjectOption = Annotated[Path, typer.Option(help="Folder with prefect.yaml, configs/ and expectations/.")]
MlflowOption = Annotated[str | None, typer.Option(help="URL of an MLflow that exists; none is started then.")]
PrefectOption = Annotated[str | None, typer.Option(help="URL of a Prefect that exists; none is started then.")]
PoolOption = Annotated[str | None, typer.Option(help="Work pool of that Prefect, of type process, with your worker.")]
JournalOption = Annotated[
    str | None, typer.Option(help="URL of the journal's database; ${NAME} stands for an environment variable.")
]
LineageOption = Annotated[str | None, typer.Option(help="HTTP address of OpenLineage events, or file:PATH.")]
OtlpOption = Annotated[str | None, typer.Option(help="Base URL of an OpenTelemetry collector, for spans.")]
LogFormatOption = Annotated[str | None, typer.Option(help="How log lines are written: 'text' or 'json'.")]
ListenOption = Annotated[str | None, typer.Option(help="HOST:PORT at which the gateway listens.")]
TlsCertificateOption = Annotated[
    str | None, typer.Option(help="PEM file of a certificate: gateway and status page serve https with it.")
]
TlsKeyOption = Annotated[str | None, typer.Option(help="PEM file of the certificate's key.")]
PostgresOption = Annotated[
    bool | None,
    typer.Option(
        "--postgres", help="Keep the records of what is started here in an embedded PostgreSQL, not in SQLite."
    ),
]
TlsCaOption = Annotated[str | None, typer.Option(help="PEM file of the authorities that our clients trust.")]


def stack_options(resolved: ResolvedSettings) -> StackOptions:
    """The options of a stack, from the settings that the command line, the environment and surefoot.toml give."""
    return StackOptions(
        mlflow_port=resolved.number("mlflow-port"),
        prefect_port=resolved.number("prefect-port"),
        gateway_port=resolved.number("gateway-port"),
        page_port=resolved.number("page-port"),
        clock=resolved.text("clock"),
        tick=resolved.number("tick"),
        mlflow=resolved.text("mlflow"),
        prefect=resolved.text("prefect"),
        pool=resolved.text("pool"),
        journal=resolved.text("journal"),
        listen=resolved.text("listen"),
        lineage=resolved.text("lineage"),
        otlp=resolved.text("otlp"),
        log_format=resolved.text("log-format"),
        tls_certificate=resolved.text("tls-certificate"),
        tls_key=resolved.text("tls-key"),
        tls_ca=resolved.text("tls-ca"),
        postgres=resolved.text("postgres") == YES,
        sources=resolved.sources,
    )
