"""A process that lowers its priority has the lowest one, and says how long its time slices are."""

import os
import platform
import re

import pytest

from surefoot.models import process_priority


def measured() -> tuple[int, int, int]:
    """Niceness, policy and slice of a process that has lowered its priority."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            process_priority.lower_priority(19)
            said = (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), process_priority.time_slice_ns())
            os.write(writing, " ".join(map(str, said)).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    nice, policy, slice_ns = map(int, os.read(reading, 100).split())
    os.close(reading)
    return nice, policy, slice_ns


def test_a_low_priority_process_is_preempted_at_once() -> None:
    """It has the last place, and short slices where the kernel grants them, else the idle policy."""
    granted = tuple(map(int, re.findall(r"\d+", platform.release())[:2])) >= (6, 12)
    nice, policy, slice_ns = measured()
    assert nice == 19
    if granted and platform.machine() in process_priority._SET_ATTR:
        assert (policy, slice_ns) == (os.SCHED_BATCH, process_priority.TIME_SLICE_NS)
    else:
        assert policy == os.SCHED_IDLE


def test_on_a_machine_whose_calls_are_unknown_it_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where slices cannot be asked for, the idle policy is taken."""
    monkeypatch.setattr(process_priority, "_SET_ATTR", {})
    assert measured() == (19, os.SCHED_IDLE, 0)
