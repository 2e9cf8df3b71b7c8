"""A process that `up` has started is known again, and is taken for no other one."""

import os
import subprocess
import sys

import psutil
import pytest

from surefoot.cli.local.processes import compute_process_start_time, find_running_process, identify_process, is_alive


@pytest.mark.parametrize("step", [-3600.0, -1.0, 1.0, 86_400.0])
def test_a_clock_that_is_set_makes_no_process_another_one(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """Whether the clock is set by a second, an hour or a day: a process that runs is found, and its start is told."""
    known = identify_process(os.getpid())
    boot, began = psutil.boot_time(), compute_process_start_time(known)
    for name in ("psutil._psplatform.boot_time", "psutil.boot_time"):
        monkeypatch.setattr(name, lambda: boot + step)
    assert is_alive(known)
    assert [process.pid for process in find_running_process(known)] == [os.getpid()]
    assert compute_process_start_time(known) == pytest.approx(began + step, abs=0.1)


def test_another_process_of_the_same_number_is_not_taken_for_it() -> None:
    """A number whose process was started at another time, earlier or later, names no process that is known."""
    pid, started = identify_process(os.getpid())
    assert not is_alive((pid, started - 0.5))
    assert not is_alive((pid, started + 0.5))


def test_what_an_earlier_edition_wrote_down_is_found() -> None:
    """Earlier editions wrote the time of day of the start: that still finds the process, and no other one."""
    born = psutil.Process().create_time()
    assert is_alive((os.getpid(), born + 1.0))
    assert not is_alive((os.getpid(), born - 3600.0))
    assert compute_process_start_time((os.getpid(), born)) == born


def test_a_process_that_has_ended_is_not_alive() -> None:
    """Neither a process that waits for its parent to notice nor one that is gone is alive."""
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        known = identify_process(child.pid)
        assert is_alive(known)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(known)
        assert find_running_process(known) == []
    assert not is_alive(known)
