"""Define the Prefect task that counts the evidence in one log file, and the runner of its workers."""

import contextlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.logging import get_run_logger

from surefoot import wiring
from surefoot.evidence_counting import EvidenceCounter
from surefoot.settings import read_settings
from tasks.stage_driver import limit_openmp_threads

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

    from surefoot.core.policy.policy_types import Scoring

_IDLE_S = 30.0
"""How long a worker keeps the processes of both versions for another part [seconds]."""
_MIN_PARTS = 2
"""Fewest parts that are spread out: a single one is counted by the look itself [count]."""


@dataclass(frozen=True, slots=True)
class _WaitingLogFiles:
    """Parts of a log that a look would have to count.

    Attributes:
        home: Folder of all state, which workers on other hosts must have as well.
        scoring: Where the policy wants them counted.
        asked_at: End of the window, one for all parts [Unix seconds].
        titles: Names of the parts, and of their files for people.
    """

    home: str
    scoring: "Scoring"
    asked_at: float
    titles: Mapping[str, str]


def find_waiting_log_files(model: str, rollout: str) -> _WaitingLogFiles | None:
    """Find log files worth counting in parallel before the replay gates are evaluated; None without files or engine.

    Args:
        model: Registered model.
        rollout: Id of its open rollout.

    Raises:
        SurefootError: The journal or the log cannot be read.
    """
    config = read_settings()
    with contextlib.closing(EvidenceCounter(config, model, rollout)) as counter:
        scoring = counter.scoring_settings()
        if scoring.engine == "local":
            return None
        if not find_spec("prefect_dask"):
            get_run_logger().warning("scoring.engine 'dask' needs 'surefoot[dask]', which is not installed here")
            return None
        asked_at = wiring.make_clock(config).now()
        titles = counter.waiting_files(asked_at)
    return _WaitingLogFiles(str(config.home), scoring, asked_at, titles) if len(titles) >= _MIN_PARTS else None


def make_task_runner(found: _WaitingLogFiles) -> "TaskRunner[Any]":
    """The workers that a policy asks for: of a cluster that runs already, or processes of this host."""
    from prefect_dask.task_runners import DaskTaskRunner  # noqa: PLC0415 - an extra that need not be installed

    if found.scoring.address:
        return DaskTaskRunner(address=found.scoring.address)
    workers = min(found.scoring.workers or os.cpu_count() or 1, len(found.titles))
    # One thread: a part is counted with both versions at once. No limit of memory: versions have one of their own.
    local = {"n_workers": workers, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    return DaskTaskRunner(cluster_kwargs={**local, "memory_limit": 0})


class _WorkerCounter:
    """The counter of this worker: the processes of both versions stay for the next part, and end when none comes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: tuple[str, str, str] | None = None
        self._counter: EvidenceCounter | None = None
        self._idle: threading.Timer | None = None

    def count(self, home: str, model: str, rollout: str, name: str, asked_at: float) -> bool:
        """Count one part."""
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            if self._counter is None or self._of != (home, model, rollout):
                self._close()
                counter = EvidenceCounter(read_settings(Path(home)), model, rollout)
                self._of, self._counter = (home, model, rollout), counter
            try:
                return self._counter.count_file(name, asked_at)
            finally:
                self._idle = threading.Timer(_IDLE_S, self.close)
                self._idle.daemon = True
                self._idle.start()

    def close(self) -> None:
        """End the processes of both versions."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._counter is not None:
            self._counter.close()
        self._of, self._counter = None, None


WORKER_COUNTER = _WorkerCounter()


@task(name="count part", task_run_name="count {title}", retries=0)
def count_file_evidence(home: str, model: str, rollout: str, name: str, title: str, asked_at: float) -> bool:
    """Count the evidence in one closed prediction-log file, and store the counts for the next gate evaluation.

    Args:
        home: Folder of all state.
        model: Registered model.
        rollout: Id of its open rollout.
        name: Name of the part.
        title: Names of its files.
        asked_at: End of the window, one for all parts [Unix seconds].

    Returns:
        Whether there was something to count: the rollout may be over, or a compaction have replaced the part.
    """
    limit_openmp_threads()
    get_run_logger().info("counting %s", title)
    # Looked up by name: Dask sends this function to a worker, whose counter is its own.
    from tasks import evidence_counting as here  # noqa: PLC0415, PLW0406 - see above

    return here.WORKER_COUNTER.count(home, model, rollout, name, asked_at)
