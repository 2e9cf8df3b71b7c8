"""Run the controller, which skips scheduled flow runs without work and marks dead runs as crashed.

The controller never acts on a model. A tick that it leaves, or that it does not come to, is run by the scheduler's
worker as it always was: with the controller gone nothing is missed, it only costs more.

A webhook of the registry ends its wait: it then has the rollouts opened that are asked for, of the models named.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from surefoot.adapters import flow_progress
from surefoot.controller.candidate_opener import CandidateOpener
from surefoot.controller.due_work import FULL_CHECK_INTERVAL_S, DueWork
from surefoot.controller.flow_forkserver import FlowForkserver
from surefoot.controller.flow_scheduler import ScheduledRun, Scheduler
from surefoot.controller.form_choices import OfferedChoicesCache
from surefoot.controller.notifier import Notifier
from surefoot.controller.work_backoff import Backoff
from surefoot.core.errors import SurefootError
from surefoot.rollout.reconcile import RUN_SILENCE_S
from surefoot.status_page.programs.wake_signal import WakeSignal

LEAD_TIME_S = 2.0
"""How long before a tick is due the controller looks [s]: the worker takes it when it is due."""
_HORIZON_S = 150.0
"""How far ahead ticks are read [s]."""
MAX_SLEEP_S = 60.0
"""How long the controller sleeps at most [s]: a person may have changed a schedule."""
MAX_RUN_START_S = 300.0
"""How long the process of a run may take to start [s]: an interpreter with all imports, on a busy machine."""
RETRY_DELAY_S = 5.0
"""How long it waits for a scheduler that does not answer [s]."""

_log = logging.getLogger(__name__)


@dataclass
class Controller:
    """Skips due runs of scheduled flows that have no work to do, and marks runs without a process as crashed.

    Attributes:
        work: Finds what is to be done.
        scheduler: Tells of the ticks.
        home: Folder of all state, for the heartbeats.
        processes: Where the processes of flow runs are forked from.
        notifier: Is told of each tick that was answered, so that it calls the heartbeat address.
        signal: Names models of which the registry has said something since the last look.
        opener: Opens the rollouts of such models, before the next tick of `reconcile`.
    """

    work: DueWork
    scheduler: Scheduler
    home: Path
    processes: FlowForkserver | None = None
    notifier: Notifier | None = None
    signal: WakeSignal | None = None
    opener: CandidateOpener | None = None
    _backoffs: dict[str, Backoff] = field(default_factory=dict)
    _offered: OfferedChoicesCache = field(default_factory=OfferedChoicesCache)
    _trouble: str = ""
    _clear: bool = False
    _next_due: float = 0.0

    def run(self, sleep: Callable[[float], None] = time.sleep, until: Callable[[], bool] = lambda: False) -> None:
        """Answer ticks until the process is ended.

        Args:
            sleep: Waits [s].
            until: Ends the loop when true.
        """
        while not until():
            if self.processes is not None:
                self.processes.ensure()
            now = time.time()
            try:
                nap = max(self.tick(now) - (time.time() - now), 0.1)
                self._offer_choices()
            except SurefootError as error:  # the worker takes this tick
                self._say(str(error))
                nap = RETRY_DELAY_S
            else:
                self._say("")
                if self.notifier is not None:
                    self.notifier.tick()
            sleep(nap)

    def tick(self, now: float) -> float:
        """Answer what is due; how long there is nothing to do then [s].

        Args:
            now: Time of the host [Unix seconds].

        Raises:
            SurefootError: The scheduler does not answer, or the journal cannot be read.
        """
        self._open_woken()
        if self._clear:
            self.scheduler.delete_skipped_runs()
            self._clear = False
            if self._next_due > now + LEAD_TIME_S:
                return self._nap(now)
        runs = self.scheduler.scheduled_runs(now + _HORIZON_S)
        due = [run for run in runs if run.waiting and run.scheduled and run.due <= now + LEAD_TIME_S]
        later = [run.due for run in runs if run.waiting and run.due > now + LEAD_TIME_S]
        self._next_due = min(later, default=now + MAX_SLEEP_S)
        if due:
            begun = [run for run in runs if not run.waiting]
            dead = self._dead(begun, now)
            self._answer(due, {run.flow for run in begun if run.id not in dead})
            self._clear = True
            return LEAD_TIME_S + 1.0
        return self._nap(now)

    def _open_woken(self) -> None:
        """Have rollouts opened that a webhook has told of; their runs start with the next tick.

        No run is started beside the schedule: it would compete with ticks for the flow's one place, and Prefect's
        SQLite then stood locked for a minute.

        Raises:
            SurefootError: The scheduler does not answer, or the journal cannot be read: the models stay named.
        """
        named = self.signal.take() if self.signal is not None else frozenset[str]()
        if not named or self.signal is None or self.opener is None:
            return
        try:
            if self.scheduler.is_paused("reconcile"):
                return
            found = self.work.find_due_work(["reconcile"])["reconcile"]
            due = {model: said for said in found for model in named if said.startswith(f"{model}: ")}
            said = "; ".join(due.values())[:500] or "nothing new"
            _log.info("a webhook names %s: %s", ", ".join(sorted(named)), said)
            if due:
                self.opener.start(due)
        except SurefootError:
            self.signal.keep(named)
            raise

    def _offer_choices(self) -> None:
        """Let people choose in Prefect's forms among what there is by now.

        Raises:
            SurefootError: The scheduler does not answer, or no policy can be read.
        """
        choices, now = self.work.known_versions(), time.monotonic()
        if choices and self._offered.is_new(choices, now):
            self.scheduler.offer_choices(choices)
            self._offered.remember(choices, now)

    def _dead(self, begun: Sequence[ScheduledRun], now: float) -> Collection[str]:
        """Runs that have begun and whose process is gone; they are ended, for until then their flow is taken to run.

        Prefect says RUNNING for ever of a run whose worker, or server, could not be told how it ended.
        """
        old = [run.id for run in begun if run.running and run.since < now - RUN_SILENCE_S]
        dead = list(self.scheduler.silent_runs(old, now - RUN_SILENCE_S)) if old else []
        dead += [run.id for run in begun if not run.running and run.since < now - MAX_RUN_START_S]
        if dead:
            _log.warning("%d runs whose process is gone are marked as crashed", len(dead))
            self.scheduler.mark_crashed(dead)
        return dead

    def _nap(self, now: float) -> float:
        """How long to sleep until a second before the next ticks are due, or until the schedules are read again [s]."""
        return max(min(MAX_SLEEP_S, self._next_due - LEAD_TIME_S / 2.0 - now), 0.1)

    def _answer(self, due: Sequence[ScheduledRun], under_way: Collection[str]) -> None:
        flows = {run.flow for run in due}
        found = self.work.find_due_work(flows - set(under_way))
        dropped: list[ScheduledRun] = []
        for flow in sorted(flows):
            mine = [run for run in due if run.flow == flow]
            chosen = self._backoffs.setdefault(flow, Backoff()).choose_due(found[flow]) if flow in found else []
            if chosen:
                _log.info("%s has work: %s", flow, "; ".join(chosen)[:500])
                dropped += mine[:-1]  # one run does it all
                if flow == "reconcile":
                    self.work.full_at = time.monotonic() + FULL_CHECK_INTERVAL_S
                continue
            dropped += mine
            if flow not in under_way:
                flow_progress.record_heartbeat(self.home, flow)
        self.scheduler.skip_runs(dropped)

    def _say(self, trouble: str) -> None:
        """Write down a trouble once, and that it is over."""
        if trouble != self._trouble:
            _log.warning("%s", trouble or f"over: {self._trouble}")
            self._trouble = trouble
