"""Report to the journal when a standby or fallback starts or stops answering.

Each worker has a note on disk while its callers get such answers. The worker whose note is the last one that is not
over reports the end. A note outlives its worker: the next worker takes it over. The beginning is reported again while
the time lasts, so that a report of another worker's end cannot hide it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import orjson

from surefoot.core.naming.model_names import model_file_name
from surefoot.core.traffic_split_json import decode_version, encode_version
from surefoot.gateway.control.reports.gateway_journal import GatewayJournal
from surefoot.gateway.control.shared_routes import SharedRouteTable
from surefoot.gateway.inference.failover.fallback_answers import FailoverPeriod, FailoverRecord
from surefoot.models.blocking_calls import run_in_daemon_thread

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0


class FallbackReporter:
    """Reports of standby or fallback answers of one model in one worker; all its methods belong to the event loop."""

    def __init__(
        self,
        model: str,
        root: Path,
        answers: FailoverRecord,
        journal: GatewayJournal,
        route_table: SharedRouteTable,
        quiet_s: float,
    ) -> None:
        """Start with nothing to report.

        Args:
            model: The registered model.
            root: The gateway's state directory.
            answers: What the rung has answered in this worker.
            journal: Where it is recorded.
            route_table: Says which workers live.
            quiet_s: A time is over when the rung has answered nothing for so long [s].
        """
        self._model, self._answers, self._journal, self._rung = model, answers, journal, answers.rung
        self._folder = root / "alarms"
        self._route_table = route_table
        self._quiet_s = quiet_s
        self._told_at: float | None = None
        self._task: asyncio.Task[None] | None = None

    def resume_reports(self) -> None:
        """Take over the notes of this slot's earlier worker, and of workers that live no more."""
        others = {*self._route_table.live_workers()} - {self._route_table.slot}
        for slot, note in self._notes():
            if slot in others:
                continue
            with contextlib.suppress(KeyError, ValueError):
                champion = decode_version("champion", note["champion"])
                named = note.get("standby")
                standby = None if named is None else decode_version("standby", named)
                kind, reason = str(note["kind"]), str(note["reason"])
                period = FailoverPeriod(champion, kind, reason, time.monotonic(), standby=standby)
                self._answers.period = self._answers.period or period
                self._write_note(self._answers.period, over=False)
            if slot != self._route_table.slot:
                self._note(slot).unlink(missing_ok=True)

    def report_when_due(self) -> None:
        """Begin a report when one is due; it costs one comparison while the champion answers everything."""
        period = self._answers.period
        if period is None or (self._task is not None and not self._task.done()):
            return
        now = time.monotonic()
        if self._told_at is None:
            instead = "FALLBACK answers" if period.standby is None else f"answers of STANDBY {period.standby.number}"
            _log.critical("%s: callers get %s: %s", self._model, instead, period.reason)
            self._start(self._begin(period), now)
        elif period.is_over(now, self._quiet_s):
            self._answers.period = None
            self._start(self._end(period), None)
        elif now - self._told_at >= self._quiet_s:
            self._start(self._begin(period), now)

    def _start(self, report: "asyncio._CoroutineLike[None]", told_at: float | None) -> None:
        self._told_at = told_at
        self._task = asyncio.get_running_loop().create_task(report)

    async def _begin(self, period: FailoverPeriod) -> None:
        self._write_note(period, over=False)
        record = self._journal.record_fallback_began
        await self._repeat(partial(record, self._model, period.champion, period.kind, period.reason, period.standby))

    async def _end(self, period: FailoverPeriod) -> None:
        champion = period.recovered or period.champion
        _log.warning("%s: version %s answers again: no %s answers any more", self._model, champion.number, self._rung)
        self._write_note(period, over=True)
        live = {*self._route_table.live_workers()}
        if all(slot not in live or note.get("over") for slot, note in self._notes()):
            await self._repeat(partial(self._journal.record_fallback_ended, self._model, champion, self._rung))
        if self._answers.period is None:
            self._note(self._route_table.slot).unlink(missing_ok=True)

    async def _repeat(self, record: Callable[[], None]) -> None:
        """Repeat a report until the journal has it."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                await run_in_daemon_thread(record)
            except Exception as error:  # noqa: BLE001 - last resort: it must not go unrecorded
                _log.error("%s: answers of another rung are not journalled yet: %s", self._model, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2.0, _LONGEST_PAUSE_S)
            else:
                return

    def _note(self, slot: int) -> Path:
        return self._folder / f"{model_file_name(self._model)}.{self._rung}.{slot}.json"

    def _write_note(self, period: FailoverPeriod, *, over: bool) -> None:
        standby = None if period.standby is None else encode_version(period.standby)
        champion, kind = encode_version(period.champion), period.kind
        told = {"champion": champion, "kind": kind, "reason": period.reason, "standby": standby}
        with contextlib.suppress(OSError):  # a full disk: a worker that ends now leaves no note
            self._folder.mkdir(exist_ok=True)
            draft = self._note(self._route_table.slot).with_suffix(".tmp")
            draft.write_bytes(orjson.dumps({**told, "over": over}))
            draft.replace(self._note(self._route_table.slot))

    def _notes(self) -> Iterator[tuple[int, Mapping[str, object]]]:
        """Iterate over slot and note of every worker."""
        prefix = f"{model_file_name(self._model)}.{self._rung}."
        for path in sorted(self._folder.glob("*.json")):
            slot = path.stem.removeprefix(prefix)
            if path.stem.startswith(prefix) and slot.isdigit():
                with contextlib.suppress(OSError, ValueError):
                    note = orjson.loads(path.read_bytes())
                    if isinstance(note, dict):
                        yield int(slot), note
