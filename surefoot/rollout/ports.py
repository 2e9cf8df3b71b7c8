"""Bundle the ports and the actor that one use case works with."""

from collections.abc import Callable
from dataclasses import dataclass

from surefoot.core.domain import Version
from surefoot.core.ports import Clock, EvidenceSource, Journal, Registry, Traffic
from surefoot.core.record.events import Event, encode_event
from surefoot.core.record.state import Ledger, fold_entries


def _untried(_model: str, _version: Version) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside world, and who acts on it."""

    journal: Journal
    registry: Registry
    traffic: Traffic
    evidence_source: EvidenceSource
    clock: Clock
    actor: str
    trial: Callable[[str, Version], str] = _untried
    """Why a version cannot be served here, in one line; empty when it can, or when nothing is loaded here."""

    def ledger(self, model: str) -> Ledger:
        """Fold the model's journal."""
        return fold_entries(model, self.journal.read(model))

    def append(self, ledger: Ledger, event: Event) -> Ledger:
        """Append one event and fold it in.

        Raises:
            StaleLedger: Another process has appended since the ledger was read.
        """
        kind, data = encode_event(event)
        entry = self.journal.append(ledger.model, ledger.head, self.clock.now(), self.actor, kind, data)
        return fold_entries(ledger.model, (entry,), ledger)
