"""A process that steps aside is behind all others, and says whether it holds the processor for long."""

import os
import platform
import re

import pytest

from surefoot.models import scheduling


def told() -> tuple[int, int, int]:
    """Niceness, policy and slice of a process that has stepped aside."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            scheduling.lower_priority(19)
            said = (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), scheduling.time_slice_ns())
            os.write(writing, " ".join(map(str, said)).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    nice, policy, slice_ns = map(int, os.read(reading, 100).split())
    os.close(reading)
    return nice, policy, slice_ns


def test_it_is_last_and_holds_nobody_up() -> None:
    """It has the last place, and short slices where the kernel grants them, else the idle policy."""
    granted = tuple(map(int, re.findall(r"\d+", platform.release())[:2])) >= (6, 12)
    nice, policy, slice_ns = told()
    assert nice == 19
    if granted and platform.machine() in scheduling._SET_ATTR:
        assert (policy, slice_ns) == (os.SCHED_BATCH, scheduling.SLICE_NS)
    else:
        assert policy == os.SCHED_IDLE


def test_on_a_machine_whose_calls_are_unknown_it_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where slices cannot be asked for, the idle policy is taken."""
    monkeypatch.setattr(scheduling, "_SET_ATTR", {})
    assert told() == (19, os.SCHED_IDLE, 0)
