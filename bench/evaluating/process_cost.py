"""Measure the processor time, wall time and memory of a process with its children, and pin_to_core it to one core."""

import os
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

_SAMPLED_EACH_S = 0.5


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of some work.

    Attributes:
        wall: Time by the clock [s].
        cpu: Processor time of this process and of its children that have ended [s].
        peak: Largest memory of all processes together, as their proportional shares (PSS) [MB].
    """

    wall: float
    cpu: float
    peak: float


def measure(work: Callable[[], object]) -> Cost:
    """Do some work that ends all processes that it starts."""
    done, peak = threading.Event(), [0.0]

    def watch() -> None:
        own = psutil.Process()
        while not done.is_set():
            peak[0] = max(peak[0], _memory(own))
            done.wait(_SAMPLED_EACH_S)

    thread = threading.Thread(target=watch)
    thread.start()
    began, cpu = time.monotonic(), _cpu()
    try:
        work()
    finally:
        took, used = time.monotonic() - began, _cpu() - cpu
        done.set()
        thread.join()
    return Cost(took, used, peak[0])


def _cpu() -> float:
    """Processor time until now [s]."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _memory(own: psutil.Process) -> float:
    """Memory of a process and its children [MB]."""
    total = 0
    for process in (own, *own.children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 2**20


def pin_to_core(core: int | None) -> None:
    """Keep this process and what it starts on one core; None frees it."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1) if core is None else {core})
