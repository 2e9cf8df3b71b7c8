"""Queue the trace spans of requests, and send them to an OpenTelemetry collector from a thread."""

import contextlib
import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from surefoot.core.errors import Unavailable
from surefoot.core.telemetry.span import Span
from surefoot.telemetry.otlp_sender import SpanSender

_MAX_WAITING = 1000
"""Traces that may wait for the collector; more are dropped and counted [count]."""
_MAX_BATCH = 100
"""Traces that are sent in one request [count]."""
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0

_log = logging.getLogger(__name__)


@dataclass
class SpanCounts:
    """What became of the traces of one model's requests.

    Attributes:
        queued: Traces that were queued for the collector [count].
        dropped: Traces that the queue had no room for [count].
        refused: Traces that the collector has refused for good [count].
    """

    queued: int = 0
    dropped: int = 0
    refused: int = 0


_Trace = tuple[Sequence[Span], SpanCounts]
"""Spans of one request, and where it is counted."""


class SpanQueue:
    """Holds spans until a thread has sent them; adding some never waits and never fails."""

    def __init__(self, sender: SpanSender, max_waiting: int = _MAX_WAITING) -> None:
        """Start nothing yet: the first spans start the thread, in the process that they are of.

        Args:
            sender: Sends spans to the collector.
            max_waiting: Traces that may wait [count].
        """
        self._sender = sender
        self._waiting: queue.Queue[_Trace | None] = queue.Queue(max_waiting)
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def add(self, spans: Sequence[Span], counts: SpanCounts) -> None:
        """Queue the spans of one trace, or drop and count them when there is no room.

        Args:
            spans: Spans of one request.
            counts: Where it is counted.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait((spans, counts))
        except queue.Full:
            counts.dropped += 1
        else:
            counts.queued += 1

    def close(self, patience_s: float) -> None:
        """Send what waits, and stop.

        Args:
            patience_s: How long to wait for the collector [s].
        """
        self._stopped.set()
        if self._thread is not None:
            with contextlib.suppress(queue.Full):  # a thread that has something to send looks by itself
                self._waiting.put_nowait(None)
            self._thread.join(patience_s)

    def _run(self) -> None:
        while not (self._stopped.is_set() and self._waiting.empty()):
            batch = self._next_batch()
            if batch:
                self._deliver(batch)
        self._sender.close()

    def _next_batch(self) -> list[_Trace]:
        """Wait until there is something, and take it: at most a batch."""
        taken = [self._waiting.get()]
        with contextlib.suppress(queue.Empty):
            while len(taken) < _MAX_BATCH:
                taken.append(self._waiting.get_nowait())
        return [one for one in taken if one is not None]

    def _deliver(self, batch: Sequence[_Trace]) -> None:
        """Send a batch, and try again until the collector takes it: meanwhile the queue fills, and then drops."""
        pause, told = _FIRST_PAUSE_S, ""
        while True:
            try:
                refusals = self._sender.send([span for spans, _ in batch for span in spans])
            except Unavailable as error:
                if str(error) != told:
                    told = str(error)
                    _log.warning("spans of requests: the collector gives %s; sent again later", told)
            except Exception:  # noqa: BLE001 - spans that cannot be encoded must not end the thread
                _log.exception("spans of requests cannot be sent")
                return
            else:
                for _, counts in batch if refusals else ():
                    counts.refused += 1
                return
            if self._stopped.is_set():
                return
            self._stopped.wait(pause)
            pause = min(pause * 2.0, _LONGEST_PAUSE_S)
