"""Record in the journal that the gateway cut off a candidate's traffic."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from pathlib import Path

import orjson

from surefoot.core.naming.model_names import model_file_name
from surefoot.gateway.control.reports.gateway_journal import GatewayJournal
from surefoot.models.blocking_calls import run_in_daemon_thread

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0


class CutReporter:
    """Reports of one model in one worker; all its methods belong to the event loop."""

    def __init__(self, model: str, root: Path, journal: GatewayJournal) -> None:
        """Start with nothing to report.

        Args:
            model: The registered model.
            root: The gateway's state directory.
            journal: Where cuts are recorded.
        """
        self._model = model
        self._journal = journal
        self._note = root / "alarms" / f"{model_file_name(model)}.json"
        self._tasks: set[asyncio.Task[None]] = set()

    def report_cut(self, rollout: str, reason: str) -> None:
        """Report that the candidate was cut; a note on disk outlives this worker."""
        with contextlib.suppress(OSError):  # a worker that ends before that leaves the note to the next one
            self._note.parent.mkdir(exist_ok=True)
            self._note.write_bytes(orjson.dumps({"rollout": rollout, "reason": reason}))
        self.run_in_background(self._report(rollout, reason))

    def resume(self) -> None:
        """Repeat a report that an earlier worker could not finish."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = orjson.loads(self._note.read_bytes())
            self.run_in_background(self._report(str(note["rollout"]), str(note["reason"])))

    def run_in_background(self, work: Coroutine[None, None, None]) -> None:
        """Run a coroutine as a task of its own."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report(self, rollout: str, reason: str) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                await run_in_daemon_thread(lambda: self._journal.record_cut(self._model, rollout, reason))
                self._note.unlink(missing_ok=True)
            except Exception as error:  # noqa: BLE001 - last resort: the cut must not go unrecorded
                _log.error("%s: the cut is not journalled yet: %s", self._model, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2.0, _LONGEST_PAUSE_S)
            else:
                return
