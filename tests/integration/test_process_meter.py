"""A process measures what its model takes, without what it waited for a processor where that is its place."""

import os
import time
from pathlib import Path

from surefoot.models.process_meter import ProcessMeter
from surefoot.models.process_priority import lower_priority


def test_waits_for_a_processor_are_no_time_of_the_model(tmp_path: Path) -> None:
    """The second number of the kernel's statistics, the wait in nanoseconds, is subtracted from the clock."""
    (tmp_path / "schedstat").write_text("123 5000000000 7\n")
    waiting = os.open(tmp_path / "schedstat", os.O_RDONLY)
    try:
        before = time.perf_counter()
        found = ProcessMeter(-1, waiting).model_time()
        assert before <= found + 5.0 <= time.perf_counter()
    finally:
        os.close(waiting)


def measured(*, low: bool) -> tuple[bool, bool, bool]:
    """Whether a new process subtracts its waits, knows its memory, and has a clock that does not go back."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            if low:
                lower_priority(19)
            meter = ProcessMeter.open()
            began = meter.model_time()
            said = (meter.waiting >= 0, meter.resident_memory() > 1.0, meter.model_time() >= began)
            os.write(writing, bytes(said))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    subtracts, remembers, forward = os.read(reading, 10)
    os.close(reading)
    return bool(subtracts), bool(remembers), bool(forward)


def test_only_a_process_of_low_priority_subtracts_its_waits() -> None:
    """A shadow is made to wait for all others; of any other process a wait is a part of what its callers see."""
    known = Path("/proc/self/schedstat").exists()
    assert measured(low=True) == (known, True, True)
    assert measured(low=False) == (False, True, True)
