"""Bundle the ports that one use case works with, and the actor on whose behalf it acts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from surefoot.core.domain import Version
from surefoot.core.errors import InvariantBroken
from surefoot.core.ports import Clock, DataLayer, EvidenceSource, Journal, Registry, Traffic
from surefoot.core.record.events import Event, encode_event
from surefoot.core.record.state import Ledger, fold_entries
from surefoot.core.watching.day_counts import DayCounts, LabelValue


def _untried(_model: str, _version: Version) -> str:
    return ""


def _no_days(
    _model: str, _champion: str, _maturity: float, _ignored: Sequence[str], _until: int, _value: LabelValue | None
) -> Sequence[DayCounts]:
    return ()


def _no_standby(_model: str, _generation: int, _standby: Version | None) -> None:
    return


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
    count_days: Callable[[str, str, float, Sequence[str], int, LabelValue | None], Sequence[DayCounts]] = _no_days
    """Counts the latest days of a model: (model, champion, maturity of labels, ignored columns, last day, value)."""
    set_standby: Callable[[str, int, Version | None], None] = _no_standby
    """Names the version that answers what the champion fails: (model, generation of the split, version or None)."""
    data_layer: DataLayer | None = None
    """The tables that versions write; None where no table is touched."""

    @property
    def tables(self) -> DataLayer:
        """The tables that versions write.

        Raises:
            InvariantBroken: These ports were opened without them.
        """
        if self.data_layer is None:
            raise InvariantBroken("these ports were opened without a data layer")
        return self.data_layer

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
