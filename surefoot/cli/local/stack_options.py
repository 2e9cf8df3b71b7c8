"""Plan a stack's settings from options, and check them against the last or the running stack."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from surefoot import wiring
from surefoot.cli.connect.secret_urls import mask_password
from surefoot.cli.postgres.postgres_choice import plan_postgres
from surefoot.core.errors import Rejected, SurefootError
from surefoot.settings import LOOPBACK_OF_ANY_HOST, OWN_WORK_POOL, Settings

_TITLES = {"mlflow": "MLflow", "prefect": "Prefect"}
_UNSAID = {"journal": "embedded", "listen": "a free port", "tls_certificate": "none"}
_TLS = {name: name.replace("-", "_") for name in ("tls-certificate", "tls-key", "tls-ca")}


@dataclass(frozen=True, slots=True)
class StackOptions:
    """Options for starting the local stack; port 0 means any free port.

    Attributes:
        mlflow_port: Port of the embedded MLflow.
        prefect_port: Port of the embedded Prefect.
        gateway_port: Port of the gateway, on 127.0.0.1.
        page_port: Port of the status page, on 127.0.0.1.
        clock: "system" or "replay:<file>".
        tick: Time between two ticks of the scheduled flows [s].
        mlflow: URL of an MLflow that exists; empty starts one here.
        prefect: URL of a Prefect that exists; empty starts one here.
        pool: Work pool of the flows.
        journal: URL of the journal's database; empty keeps that of the home folder.
        listen: HOST:PORT of the gateway.
        lineage: Where OpenLineage events go; empty for nowhere.
        otlp: Base URL of the OpenTelemetry collector; empty for none.
        log_format: "text" or "json".
        tls_certificate: PEM file of the certificate of gateway and status page; empty: they have no TLS.
        tls_key: PEM file of its key.
        tls_ca: PEM file of the authorities that it is verified against.
        postgres: Whether embedded parts keep their records in an embedded PostgreSQL.
        sources: Where values came from, by the name of the setting; what is not in it was not said.
    """

    mlflow_port: int = 0
    prefect_port: int = 0
    gateway_port: int = 0
    page_port: int = 0
    clock: str = "system"
    tick: int = 60
    mlflow: str = ""
    prefect: str = ""
    pool: str = OWN_WORK_POOL
    journal: str = ""
    listen: str = ""
    lineage: str = ""
    otlp: str = ""
    log_format: str = "text"
    tls_certificate: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    postgres: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)


def plan_settings(home: Path, project: Path, options: StackOptions, before: Settings | None) -> Settings:
    """The settings that a stack would have; ports that are not chosen yet are 0.

    Args:
        home: Folder of all state.
        project: Folder of configs/ and expectations/.
        options: What the stack shall be.
        before: The settings of the last stack of this home.

    Raises:
        Rejected: The last stack used a server that nothing names now, or kept in SQLite what shall be in PostgreSQL.
    """
    connected = tuple(name for name in _TITLES if getattr(options, name))
    for name in before.connected if before else ():
        if name not in connected and name not in options.sources:
            had = f"the last 'up' of {home} was connected to {_TITLES[name]} {getattr(before, name)}"
            raise _nothing_names(had, name)
    journal = options.journal
    if before and before.journal and not journal and "journal" not in options.sources:
        if "journal" in before.sources:
            raise _nothing_names(f"the last 'up' of {home} had the journal {mask_password(before.journal)}", "journal")
        journal = before.journal  # a person has written it into stack.json
    named = {*connected, *(["journal"] if journal else [])}
    return Settings(
        home=home,
        project=project,
        mlflow=options.mlflow or f"http://127.0.0.1:{options.mlflow_port}",
        prefect=options.prefect or f"http://127.0.0.1:{options.prefect_port}",
        gateway=_gateway_url(options),
        token=before.token if before else secrets.token_urlsafe(24),
        clock=options.clock,
        journal=journal,
        tick=options.tick,
        pool=options.pool,
        listen=options.listen,
        connected=connected,
        sources=dict(options.sources),
        lineage=options.lineage,
        otlp=options.otlp,
        log_format=options.log_format,
        page=f"{_scheme(options)}://127.0.0.1:{options.page_port}",
        tls_certificate=options.tls_certificate,
        tls_key=options.tls_key,
        tls_ca=options.tls_ca,
        postgres=plan_postgres(home, before, named, wanted=options.postgres),
    )


def _scheme(has_tls: StackOptions | Settings) -> str:
    """Scheme of the addresses of gateway and status page."""
    return "https" if has_tls.tls_certificate else "http"


def _nothing_names(had: str, name: str) -> Rejected:
    return Rejected(
        f"{had}, and nothing names it now: name it again (--{name}, surefoot.toml), or say '--{name} embedded'"
    )


def _gateway_url(options: StackOptions) -> str:
    """The gateway's address for processes of this host."""
    if not options.listen:
        return f"{_scheme(options)}://127.0.0.1:{options.gateway_port}"
    host, _, port = options.listen.rpartition(":")
    return f"{_scheme(options)}://{LOOPBACK_OF_ANY_HOST.get(host, host)}:{port}"


def set_server_ports(config: Settings, ports: Mapping[str, int]) -> Settings:
    """The settings with the ports that were found for servers that are started here."""
    schemes = dict.fromkeys(("gateway", "page"), _scheme(config))
    urls = {name: f"{schemes.get(name, 'http')}://127.0.0.1:{port}" for name, port in ports.items()}
    return replace(
        config,
        mlflow=urls.get("mlflow", config.mlflow),
        prefect=urls.get("prefect", config.prefect),
        gateway=urls.get("gateway", config.gateway),
        page=urls.get("page", config.page),
    )


def describe_setting_changes(before: Settings | None, config: Settings) -> Iterator[str]:
    """One line for each server, pool or journal that is another one than at the last `up`."""
    if before is None:
        return
    titles = {**_TITLES, "pool": "work pool", "journal": "journal", "listen": "gateway", "tls_certificate": "TLS"}
    for name, title in titles.items():
        had, has = _shown(before, name), _shown(config, name)
        if had != has:
            source = config.sources.get(name.replace("_", "-"), "nothing names another one")
            yield f"{title}: {had} before, {has} now ({source})"


def _shown(config: Settings, name: str) -> str:
    if name in _TITLES:
        return str(getattr(config, name)) if name in config.connected else "embedded"
    return mask_password(str(getattr(config, name))) or _UNSAID.get(name, "")


def check_journal_continues(before: Settings | None, config: Settings) -> None:
    """Refuse a journal that lacks entries which the journal before has.

    Raises:
        Rejected: It does; the gateway would serve what this journal knows nothing of.
    """
    if before is None or before.journal == config.journal:
        return
    old, new = _heads(before), _heads(config)
    for model, (head, _) in old.items():
        if new.get(model, (0, ""))[0] < head:
            raise Rejected(
                f"the journal of {config.home} has {head} entries of {model}, and the one that"
                f" {config.sources.get('journal', 'is embedded')} names has {new.get(model, (0, ''))[0]}: copy them,"
                " name the old one, or take another SUREFOOT_HOME"
            )


def _heads(config: Settings) -> dict[str, tuple[int, str]]:
    """Heads of a journal; nothing where it cannot be read."""
    if not config.journal and not config.postgres and not (config.home / "journal.db").exists():
        return {}
    with suppress(SurefootError), wiring.open_journal(config) as journal:
        return journal.heads()
    return {}


def check_options_match_stack(
    config: Settings, project: Path, options: StackOptions, report: Callable[[str], None] = lambda _line: None
) -> None:
    """Compare options with a stack that runs in part, and cannot follow other ones.

    Args:
        config: The stack that runs.
        project: Folder in which the command was given, or that it names.
        options: What the stack shall be.
        report: Is told what the environment or surefoot.toml says otherwise; what has died is started all the same.

    Raises:
        Rejected: The command line asks for something else.
    """
    usual = StackOptions()
    known: list[tuple[str, object, object, object]] = [
        (f"{name}-port", getattr(options, f"{name}_port"), urlsplit(getattr(config, name)).port or 80, 0)
        for name in ("mlflow", "gateway", "prefect", "page")
    ]
    known += [("clock", options.clock, config.clock, usual.clock), ("tick", options.tick, config.tick, usual.tick)]
    for name in _TITLES:
        has = getattr(config, name) if name in config.connected else ""
        known.append((name, getattr(options, name), has, None if name in options.sources else ""))
    known += [
        ("pool", options.pool, config.pool, usual.pool),
        ("journal", options.journal, config.journal, None if "journal" in options.sources else ""),
        ("listen", options.listen, config.listen, ""),
        ("postgres", options.postgres, bool(config.postgres), False),
        ("lineage", options.lineage, config.lineage, ""),
        ("otlp", options.otlp, config.otlp, ""),
        ("log-format", options.log_format, config.log_format, usual.log_format),
        *((name, getattr(options, attribute), getattr(config, attribute), "") for name, attribute in _TLS.items()),
    ]
    for name, wish, has, default in known:
        if wish in (default, has):
            continue
        empty = "nowhere" if name in {"lineage", "otlp"} else "embedded"
        is_, wished = (mask_password(str(one)) or empty for one in (has, wish))
        source = options.sources.get(name, f"--{name}")
        if source.startswith("--"):
            raise _runs_otherwise(config, source, is_, wished)
        report(f"{source} says {name} {wished}, the running stack has {is_}: 'surefoot down' and 'up' change it")
    # Else it is the folder in which the command was typed.
    if (project / "prefect.yaml").is_file() and project.resolve() != config.project.resolve():
        raise _runs_otherwise(config, "--project", config.project.resolve(), project.resolve())


def _runs_otherwise(config: Settings, option: str, has: object, wish: object) -> Rejected:
    return Rejected(
        f"a part of the stack in {config.home} is running with {option} {has}, not {wish}: leave it out to "
        "start what is missing, or 'surefoot down' first"
    )
