"""Both clocks."""

import time
from pathlib import Path

import pytest

from surefoot.adapters.clock import ReplayClock, SystemClock, build_clock
from surefoot.core.errors import Rejected


def test_the_system_clock_is_the_hosts() -> None:
    """Both of its times lie between two readings of the host's clock."""
    before, clock = time.time(), build_clock("system")
    assert isinstance(clock, SystemClock)
    assert before <= clock.now() <= clock.wall() <= time.time()


def test_a_replay_clock_says_what_was_set(tmp_path: Path) -> None:
    """Every clock on the same file says the last time that was set, to the bit, in every process; wall time goes on."""
    writer, reader = ReplayClock(tmp_path / "replay" / "clock"), build_clock(f"replay:{tmp_path}/replay/clock")
    for at in (0.1 + 0.2, 1372032000.123456, 5.0):
        writer.set(at)
        assert reader.now() == writer.now() == at
    assert reader.wall() > 1e9
    assert reader.monotonic() <= writer.monotonic()
    reader.sleep(-1.0)
    assert [path.name for path in (tmp_path / "replay").iterdir()] == ["clock"]


def test_a_replay_that_was_not_started_is_rejected(tmp_path: Path) -> None:
    """A missing or torn file is a clear refusal, never a time."""
    clock = ReplayClock(tmp_path / "clock")
    with pytest.raises(Rejected, match="start the replay first"):
        clock.now()
    (tmp_path / "clock").write_bytes(b"1234")
    with pytest.raises(Rejected, match="4 bytes"):
        clock.now()


def test_what_is_no_time_is_not_set(tmp_path: Path) -> None:
    """NaN, infinity and a place that cannot be written are refused."""
    for at in (float("nan"), float("inf")):
        with pytest.raises(Rejected, match="cannot be set"):
            ReplayClock(tmp_path / "clock").set(at)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Rejected, match="cannot be written"):
        ReplayClock(tmp_path / "file" / "clock").set(1.0)


@pytest.mark.parametrize("spec", ["", "sundial", "replay", "replay:", "system:"])
def test_an_unknown_clock_is_rejected(spec: str) -> None:
    """A specification that names no clock is refused and the two that exist are named."""
    with pytest.raises(Rejected, match='say "system" or "replay:<path>"'):
        build_clock(spec)
