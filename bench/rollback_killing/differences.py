"""Compare the gateway, the tables and MLflow with the journal after a rollback."""

from collections.abc import Sequence

from surefoot import wiring
from surefoot.adapters import flow_progress
from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import decode_event
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.recovery.data_layer import parse_data_source
from surefoot.core.tables.data_events import DataCheckpointed, DataRestored
from surefoot.rollout import Ports
from surefoot.settings import Settings

CHAMPION, TAKEN_BACK = "1", "2"


def find_differences(config: Settings, model: str, since: int) -> list[str]:
    """What is not as it should be after one rollback of version 2 to version 1; empty when all is.

    Args:
        config: Where the stack is.
        model: Registered model.
        since: Sequence of the last entry before the rollback was asked for.

    Raises:
        SurefootError: Journal, gateway or registry do not answer.
    """
    with wiring.open_ports(config, "bench", 5.0) as ports:
        entries = ports.journal.read(model, after=since)
        ledger = ports.ledger(model)
        if found := _journal(ledger, entries):
            return found
        return [*_route(ports, ledger), *_aliases(config, model), *_tables(ports, ledger, entries)]


def find_mlflow_differences(config: Settings, model: str, since: int) -> list[str]:
    """What MLflow's runs do not show of the rollback yet; whatever is missing is drawn, and told all the same.

    Args:
        config: Where the stack is.
        model: Registered model.
        since: Sequence of the last entry before the rollback was asked for.

    Raises:
        SurefootError: The journal or MLflow do not answer.
    """
    with wiring.open_journal(config) as journal:
        end = next((e.seq for e in journal.read(model, after=since) if e.kind == "RolloutEnded"), 0)
    if not end or flow_progress.last_entry_shown_in_mlflow(config.home, model) < end:
        return ["MLflow was not made to show the end of the rollback"]
    drawn = wiring.write_journal_to_mlflow(config, model, upto=end)
    return [f"{drawn} MLflow runs or pages did not show what the journal says"] if drawn else []


def _journal(ledger: Ledger, entries: Sequence[Entry]) -> list[str]:
    """What the journal itself says against a rollback that is over."""
    found = []
    events = [decode_event(entry.kind, entry.data) for entry in entries]
    opened = sum(entry.kind == "RolloutOpened" for entry in entries)
    if opened != 1:
        found.append(f"{opened} rollouts were opened, not 1")
    last = next(reversed(tuple(ledger.rollouts.values())))
    if last.opened.kind != RolloutKind.ROLLBACK or last.stage is not Stage.FAST_ROLLED_BACK:
        found.append(f"the last rollout is {last.opened.kind} and {last.stage}, not FastRolledBack")
    if ledger.open or ledger.intent:
        found.append(f"rollout {ledger.open} is open, intent {ledger.intent}")
    if ledger.champion is None or ledger.champion.number != CHAMPION:
        found.append(f"the champion is {ledger.champion}, not version {CHAMPION}")
    found += [f"drift: {drift.what} {drift.seen}" for drift in ledger.drifts.values()]
    found += [f"table {due.name} waits: {due.refused or 'to be restored'}" for due in ledger.data.due.values()]
    restored = sum(isinstance(event, DataRestored) for event in events)
    if restored > 1:
        found.append(f"a table was restored {restored} times")
    return found


def _route(ports: Ports, ledger: Ledger) -> list[str]:
    if ledger.split is None or not ports.traffic.settled(ledger.model, ledger.split):
        return [f"the gateway serves {ports.traffic.live(ledger.model)}, the journal says {ledger.split}"]
    if ledger.split.candidate is not None or ledger.split.champion.number != CHAMPION:
        return [f"the route in force is {ledger.split}"]
    return []


def _aliases(config: Settings, model: str) -> list[str]:
    found = wiring.make_registry(config, 5.0).aliases(model)
    return [] if found == {"champion": CHAMPION} else [f"the aliases are {found}"]


def _tables(ports: Ports, ledger: Ledger, entries: Sequence[Entry]) -> list[str]:
    """Tables whose content is not that of the checkpoint before the last promotion."""
    found = []
    events = [decode_event(e.kind, e.data) for e in ports.journal.read(ledger.model) if e.seq < entries[0].seq]
    for kept in {e.name: e for e in events if isinstance(e, DataCheckpointed)}.values():
        holds = ports.tables.digest(ledger.model, parse_data_source(dict(kept.source)))
        if holds.digest != kept.checkpoint.content.digest:
            found.append(f"table {kept.name} holds {holds.digest}, the checkpoint {kept.checkpoint.content.digest}")
    return found
