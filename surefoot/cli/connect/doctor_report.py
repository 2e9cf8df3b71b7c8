"""Run every check of a stack's set-up, report each finding, and refuse a set-up with faults."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from surefoot import wiring
from surefoot.adapters.approvals.approval_files_check import list_missing_approval_tools
from surefoot.adapters.approvals.ssh_keygen import KEYGEN_MISSING_MESSAGE
from surefoot.adapters.journal.journal_check import check_journal_database
from surefoot.adapters.journal.sql_journal import JOURNAL_TABLES
from surefoot.adapters.mlflow.server.server_check import check_mlflow_server, check_model_rights
from surefoot.adapters.notify.outbox import OUTBOX_TABLES
from surefoot.adapters.signing.signing_keys import MISSING_SIGNING_LIBRARY_MESSAGE, missing_signing_library_notes
from surefoot.cli.connect.host_checks import (
    check_clock,
    check_flows,
    check_home,
    check_listen_address,
    check_page_certificate,
    check_policies,
)
from surefoot.cli.connect.prefect_checks import check_deployments, check_prefect_server, check_work_pool
from surefoot.cli.postgres.postgres_place import check_place
from surefoot.column_encryption import KeyLocation
from surefoot.core.errors import Rejected, SurefootError
from surefoot.core.serving_engines.engine_choice import EngineChoice
from surefoot.settings import Settings
from surefoot.tls_files import TlsFiles, check_tls_files

_JOURNAL_TABLES = (*JOURNAL_TABLES.tables, *OUTBOX_TABLES.tables)
"""Tables of the journal's database."""


class FindingLevel(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        part: What was looked at, such as project, journal, mlflow, rights or pool.
        level: How much it matters.
        text: What was found; of a fault, what is wrong, where, and what to do.
        later: Whether a stack can be started all the same, and the fault be mended afterwards.
    """

    part: str
    level: FindingLevel
    text: str
    later: bool = False


def run_setup_checks(config: Settings, running: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """Look at everything that a stack needs; nothing is started or changed.

    Args:
        config: The settings that it has, or would have.
        running: Parts that are processes of the stack and run, which hold their ports.
    """
    flows = _finding("project", lambda: check_flows(config.project))
    yield flows
    if flows.level is FindingLevel.OK:
        yield replace(_finding("policies", lambda: check_policies(config.project)), later=True)
    if any(list_missing_approval_tools(policy) for policy in wiring.read_policies(config).values()):
        yield Finding("approvals", FindingLevel.NOTE, KEYGEN_MISSING_MESSAGE)
    if any(missing_signing_library_notes(policy) for policy in wiring.read_policies(config).values()):
        yield Finding("signatures", FindingLevel.NOTE, MISSING_SIGNING_LIBRARY_MESSAGE)
    yield from _engines(config)
    yield from _column_keys(config)
    yield _finding("home", lambda: check_home(config.home))
    if "gateway" in running:
        yield Finding("gateway", FindingLevel.OK, f"gateway at {config.gateway}, started by Surefoot")
    elif config.listen:
        yield _finding("gateway", lambda: check_listen_address(config))
    yield from _tls(config.tls, config)
    if config.uses_postgres and "postgres" not in running:
        yield _finding("postgres", lambda: check_place(config.home))
    if config.postgres and not config.journal and "postgres" not in running:
        yield Finding("journal", FindingLevel.OK, f"journal: in the PostgreSQL of {config.home}")
    else:
        yield _finding("journal", lambda: f"journal: {check_journal_database(config.journal_url, _JOURNAL_TABLES)}")
    yield from _mlflow(config, running)
    yield from _prefect(config, running)


def _tls(tls: TlsFiles | None, config: Settings) -> Iterator[Finding]:
    """The certificate of gateway and status page, where they have one."""
    if tls is None:
        return
    found = _finding("tls", lambda: check_tls_files(tls))
    yield found
    if found.level is FindingLevel.OK and (note := check_page_certificate(config, tls)):
        yield Finding("tls", FindingLevel.NOTE, note)


def _column_keys(config: Settings) -> Iterator[Finding]:
    """The keys of encrypted columns, of each policy that has some; they may come afterwards."""
    for model, policy in sorted(wiring.read_policies(config).items()):
        if policy.log.encrypted:
            place = KeyLocation(policy.log_policy.key_variable, policy.log_policy.key_file)

            def look(model: str = model, place: KeyLocation = place) -> str:
                place.read()
                return f"model {model}: keys of encrypted columns in {place}"

            yield replace(_finding("keys", look), later=True)


def _engines(config: Settings) -> Iterator[Finding]:
    """What serves each model, where that is no part of a stack; it may be mended afterwards."""
    for model, policy in sorted(wiring.read_policies(config).items()):

        def look(model: str = model, choice: EngineChoice = policy.traffic.engine_choice) -> str:
            return wiring.check_engine(config, choice, model)

        found = replace(_finding("engine", look), later=True)
        if found.text:
            yield found


def _mlflow(config: Settings, running: frozenset[str]) -> Iterator[Finding]:
    connected = "mlflow" in config.connected
    if not connected and "mlflow" not in running:
        yield Finding("mlflow", FindingLevel.OK, f"MLflow: embedded, 'surefoot up' starts it in {config.home}")
        return

    def server() -> str:
        found = check_mlflow_server(config.mlflow)
        check_clock(found.date, f"MLflow at {config.mlflow}")
        return f"MLflow {found.version} at {config.mlflow}{_whose(connected=connected)}"

    first = _finding("mlflow", server)
    yield first
    if first.level is FindingLevel.OK:
        for model in sorted(wiring.read_policies(config)):
            yield _finding("rights", lambda model=model: _rights(config, model))  # type: ignore[misc]


def _rights(config: Settings, model: str) -> str:
    if check_model_rights(config.mlflow, model):
        return f"model {model}: aliases may be set and removed, versions tagged"
    return f"model {model} is not registered yet: rights on it are not known"


def _prefect(config: Settings, running: frozenset[str]) -> Iterator[Finding]:
    connected = "prefect" in config.connected
    if connected or "prefect" in running:

        def server() -> str:
            found = check_prefect_server(config)
            check_clock(found.date, f"Prefect at {config.prefect}")
            return f"Prefect {found.version} at {config.prefect}{_whose(connected=connected)}"

        first = _finding("prefect", server)
        yield first
        if first.level is FindingLevel.FAULT:
            return
    else:
        yield Finding("prefect", FindingLevel.OK, f"Prefect: embedded, 'surefoot up' starts it in {config.home}")
    notes: list[str] = []

    def pool() -> str:
        text, note = check_work_pool(config)
        notes.extend([note] if note else [])
        if connected:
            check_deployments(config)
        return text

    yield _finding("pool", pool)
    yield from (Finding("pool", FindingLevel.NOTE, note) for note in notes)


def _whose(*, connected: bool) -> str:
    return " (connected)" if connected else ", started by Surefoot"


def _finding(part: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(part, FindingLevel.OK, check())
    except SurefootError as error:
        return Finding(part, FindingLevel.FAULT, " ".join(str(error).split()))


def refuse_faulty_setup(config: Settings, report: Callable[[str], None]) -> None:
    """Refuse to start a stack with a fault.

    Args:
        config: The settings that it would have.
        report: Is told every fault when there are several, and every note.

    Raises:
        Rejected: There is a fault; nothing was started.
    """
    found = list(run_setup_checks(config))
    faults = [one.text for one in found if one.level is FindingLevel.FAULT and not one.later]
    for one in found:
        if one.level is not FindingLevel.OK and one.text not in faults:
            report(one.text)
    if len(faults) == 1:
        raise Rejected(faults[0])
    if faults:
        for fault in faults:
            report(f"fault: {fault}")
        raise Rejected(f"{len(faults)} faults, named above: nothing was started; 'surefoot doctor' looks again")
