"""Send what the journal says to one telemetry receiver, at least once and in order."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.adapters.telemetry.delivery_positions import DeliveryPositions, ReceiverState
from surefoot.core.errors import SurefootError, Unavailable
from surefoot.core.telemetry.journal_runs import JournalRuns
from surefoot.settings import Settings
from surefoot.wiring.adapters import open_journal
from surefoot.wiring.telemetry.receivers import (
    TelemetryReceiver,
    TelemetrySender,
    list_telemetry_receivers,
    open_telemetry_sender,
)

_MAX_BATCH = 256
"""Items that are sent before it is written down how far the receiver has come [count]."""


@dataclass
class _Progress:
    """How far the journal of a model was read for a receiver."""

    runs: JournalRuns
    seq: int


class JournalDelivery:
    """Delivers the journals of all models to one receiver.

    The journal itself is the queue: nothing of it expires, and what a kill interrupts is sent again, as the same items.
    """

    def __init__(
        self,
        name: str,
        journal: SqlJournal,
        positions: DeliveryPositions,
        sender: TelemetrySender,
        *,
        from_start: bool,
    ) -> None:
        """Read nothing yet.

        Args:
            name: What the receiver is remembered as.
            journal: The journal.
            positions: How far receivers have come.
            sender: Makes an item of what began or ended, and sends it.
            from_start: Whether what was journalled before the receiver was known is delivered too.
        """
        self._name, self._journal, self._positions = name, journal, positions
        self._sender, self._from_start = sender, from_start
        self._progress: dict[str, _Progress] = {}

    def deliver(self) -> int:
        """Send everything that is new; how many items that was.

        Raises:
            Unavailable: The receiver takes nothing now; the next call goes on where it stopped.
            SurefootError: The journal or the positions cannot be used.
        """
        heads = {model: seq for model, (seq, _) in self._journal.heads().items()}
        known = self._positions.positions(self._name)
        if not known and not self._from_start:
            # The row of no model says that the receiver is known: a model that is journalled later is new to it.
            self._positions.advance(self._name, {"": 0, **heads})
            return 0
        sent = 0
        for model, head in heads.items():
            progress = self._progress.get(model)
            if progress is None or progress.seq < head:
                sent += self._deliver_model(model, known.get(model, 0), head)
        return sent

    def _deliver_model(self, model: str, delivered: int, head: int) -> int:
        """Send what is new of one model, and write down how far that is after each batch."""
        progress = self._progress.pop(model, _Progress(JournalRuns(), 0))
        entries = [entry for entry in self._journal.read(model, after=progress.seq) if entry.seq <= head]
        batch: list[object] = []
        sent = 0
        for entry, changes in progress.runs.changes(entries):
            if entry.seq > delivered:
                batch += [item for change in changes if (item := self._sender.render(change)) is not None]
            if len(batch) >= _MAX_BATCH or (batch and entry.seq == head):
                sent += self._send(batch)
                self._positions.advance(self._name, {model: entry.seq})
                batch = []
        if batch:
            sent += self._send(batch)
        if head > delivered:
            self._positions.advance(self._name, {model: head})
        self._progress[model] = _Progress(
            progress.runs, head
        )  # after a failure the journal is read again from its start
        return sent

    def _send(self, batch: list[object]) -> int:
        refusals = self._sender.send(batch)
        self._positions.record_delivery(self._name, refusals)
        return len(batch)


@contextmanager
def open_delivery(config: Settings, receiver: TelemetryReceiver) -> Iterator[Callable[[], str]]:
    """Give the function that delivers to a receiver what is due, and tells why nothing could be delivered.

    Args:
        config: Where everything is.
        receiver: The receiver; its connections are closed at the end.
    """
    positions = DeliveryPositions(config.journal_url)
    sender = open_telemetry_sender(config, receiver, positions)
    try:
        with open_journal(config) as journal:
            delivery = JournalDelivery(receiver.key, journal, positions, sender, from_start=receiver.from_start)
            yield lambda: _deliver_due(receiver.key, delivery, positions)
    finally:
        sender.close()
        positions.close()


def _deliver_due(key: str, delivery: JournalDelivery, positions: DeliveryPositions) -> str:
    """Deliver what is new, unless the receiver has failed a moment ago; why nothing could be delivered."""
    state = positions.state(key)
    if state.due > time.time():
        return state.problem
    try:
        delivery.deliver()
    except Unavailable as error:
        positions.record_failure(key, str(error), time.time())
        return str(error)
    positions.record_delivery(key, [])
    return ""


def list_receiver_states(config: Settings) -> list[tuple[TelemetryReceiver, ReceiverState]]:
    """How each receiver that the settings name answers.

    Raises:
        SurefootError: The positions cannot be read.
    """
    receivers = list_telemetry_receivers(config)
    if not receivers:
        return []
    positions = DeliveryPositions(config.journal_url)
    try:
        return [(one, positions.state(one.key)) for one in receivers]
    finally:
        positions.close()


def remember_flow_run(config: Settings, actor: str, name: str) -> None:
    """Keep the id of a flow run for lineage events; a failure is no reason to stop the flow.

    Args:
        config: Where everything is.
        actor: Actor of the journal entries that it writes.
        name: Its id.
    """
    if not config.lineage or not name:
        return
    positions = DeliveryPositions(config.journal_url)
    try:
        positions.remember_flow_run(actor, name, time.time())
    except SurefootError:
        return  # the event says nothing of the flow run then
    finally:
        positions.close()
