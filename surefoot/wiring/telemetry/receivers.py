"""List the telemetry receivers (of lineage events or spans) that the settings name, and open a sender to each."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit

from surefoot.adapters.telemetry.delivery_positions import DeliveryPositions
from surefoot.adapters.telemetry.lineage_sender import FILE_SCHEME, FileLineageSender, HttpLineageSender
from surefoot.core.telemetry.journal_runs import RunChange
from surefoot.core.telemetry.lineage_events import LineageNamespaces, lineage_event
from surefoot.core.telemetry.rollout_spans import rollout_span
from surefoot.core.telemetry.span import Span
from surefoot.settings import Settings
from surefoot.telemetry.otlp_sender import SpanSender

_NAMESPACE = "OPENLINEAGE_NAMESPACE"
"""OpenLineage's variable for the namespace of jobs."""
_SERVICE = "surefoot"


class _TelemetryKind(StrEnum):
    """What a receiver takes."""

    LINEAGE = "lineage"
    SPANS = "spans"


@dataclass(frozen=True, slots=True)
class TelemetryReceiver:
    """A receiver of what the journal says.

    Attributes:
        kind: What it takes.
        address: Where it is.
    """

    kind: _TelemetryKind
    address: str

    @property
    def key(self) -> str:
        """What it is remembered as: another address is another receiver."""
        return f"{self.kind.value} {hashlib.sha256(self.address.encode()).hexdigest()[:16]}"

    @property
    def from_start(self) -> bool:
        """Whether it gets the past too: a catalogue of lineage wants it, a store of traces refuses what is old."""
        return self.kind is _TelemetryKind.LINEAGE


class TelemetrySender(Protocol):
    """Makes items of what began or ended, and sends them."""

    def render(self, change: RunChange) -> object | None:
        """The item of what began or ended; None where the receiver gets none."""
        ...

    def send(self, items: Sequence[object], /) -> list[str]:
        """Send items in order; why each of those was refused that the receiver will never take."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


def list_telemetry_receivers(config: Settings) -> list[TelemetryReceiver]:
    """Receivers that the settings name."""
    named = {_TelemetryKind.LINEAGE: config.lineage, _TelemetryKind.SPANS: config.otlp}
    return [TelemetryReceiver(kind, address) for kind, address in named.items() if address]


def open_telemetry_sender(
    config: Settings, receiver: TelemetryReceiver, positions: DeliveryPositions
) -> TelemetrySender:
    """Open the connection to a receiver.

    Args:
        config: Where everything is.
        receiver: The receiver.
        positions: Knows the ids of flow runs.
    """
    if receiver.kind is _TelemetryKind.SPANS:
        return _SpanReceiver(SpanSender(receiver.address, _SERVICE))
    names = LineageNamespaces(os.environ.get(_NAMESPACE) or "surefoot", _registry(config), positions.flow_run)
    if receiver.address.startswith(FILE_SCHEME):
        return _LineageReceiver(FileLineageSender(config.project / receiver.address.removeprefix(FILE_SCHEME)), names)
    return _LineageReceiver(HttpLineageSender(receiver.address), names)


def _registry(config: Settings) -> str:
    """Namespace of the registry's data sets: an embedded one has no address that lasts."""
    return f"mlflow://{urlsplit(config.mlflow).netloc}" if "mlflow" in config.connected else "mlflow"


class _LineageReceiver:
    """Sends OpenLineage events."""

    def __init__(self, sender: HttpLineageSender | FileLineageSender, names: LineageNamespaces) -> None:
        self._sender, self._names = sender, names

    def render(self, change: RunChange) -> object | None:
        """The event of what began or ended."""
        return lineage_event(change, self._names)

    def send(self, items: Sequence[object], /) -> list[str]:
        """Send events."""
        return self._sender.send([one for one in items if isinstance(one, dict)])

    def close(self) -> None:
        """Close every connection."""
        self._sender.close()


class _SpanReceiver:
    """Sends spans."""

    def __init__(self, sender: SpanSender) -> None:
        self._sender = sender

    def render(self, change: RunChange) -> object | None:
        """The span of what has ended."""
        return rollout_span(change)

    def send(self, items: Sequence[object], /) -> list[str]:
        """Send spans."""
        return self._sender.send([one for one in items if isinstance(one, Span)])

    def close(self) -> None:
        """Close every connection."""
        self._sender.close()
