"""Count log parts on a Dask worker, pin_to_core the worker to one core, and read its processor time."""

import resource

from bench.evaluating.process_cost import pin_to_core
from tasks import evidence_counting


def count_on_worker(home: str, model: str, rollout: str, part: str, asked_at: float) -> bool:
    """Count a part, as the task of the flow does."""
    return evidence_counting.WORKER_COUNTER.count(home, model, rollout, part, asked_at)


def close_version_processes() -> None:
    """End the processes of both versions, so that their time is counted and the next turn starts them again."""
    evidence_counting.WORKER_COUNTER.close()


def pin_worker(core: int) -> None:
    """Keep this worker and what it starts on one core."""
    pin_to_core(core)


def read_processor_time() -> float:
    """Processor time of this process and of its children that have ended [s]."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
