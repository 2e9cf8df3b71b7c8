"""IdleMonitor is what the kernel says, since the last look."""

from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import pytest

from surefoot.gateway.inference.idle_monitor import SAMPLES_TO_RESUME, IdleMonitor


@pytest.fixture
def looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterable[tuple[int, int, int]]], list[bool]]:
    """What looks say, after so many more ticks of user, niced and idle time before each."""
    stat = tmp_path / "stat"
    all_ = [1000, 1000, 1000]

    def told() -> None:
        user, nice, idle = all_
        stat.write_text(f"cpu  {user} {nice} 10 {idle} 0 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n")

    told()
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    found = IdleMonitor(0.3)
    assert found.measure_idle()

    def said(passing: Iterable[tuple[int, int, int]]) -> list[bool]:
        made = []
        for ticks in passing:
            for place, more in enumerate(ticks):
                all_[place] += more
            told()
            made.append(found.measure_idle())
        return made

    return said


@pytest.mark.parametrize(
    ("user", "nice", "idle", "spare"),
    [(70, 0, 30, True), (71, 0, 29, False), (0, 100, 0, False), (100, 0, 0, False), (0, 0, 0, True)],
)
def test_only_what_is_idle_is_free(
    looks: Callable[[Iterable[tuple[int, int, int]]], list[bool]],
    *,
    user: int,
    nice: int,
    idle: int,
    spare: bool,
) -> None:
    """There is spare time when idle time is the demanded share of what has passed; niced time, a shadow's, is none."""
    assert looks([(user, nice, idle)]) == [spare]


def test_busy_looks_on_end_stop_it_and_one_idle_look_does_not_begin_it(
    looks: Callable[[Iterable[tuple[int, int, int]]], list[bool]],
) -> None:
    """A busy host that seems idle for a moment, now and then, is left alone; one that becomes idle is used again."""
    assert looks([(16, 0, 4)] * 2) == [False] * 2
    assert looks([(16, 0, 4), (11, 0, 9), (17, 0, 3)] * 10) == [False] * 30
    idle = looks([(5, 0, 15)] * SAMPLES_TO_RESUME)
    assert idle[-1]
    assert idle == sorted(idle)


def test_an_idle_host_that_seems_busy_for_a_moment_is_used_on(
    looks: Callable[[Iterable[tuple[int, int, int]]], list[bool]],
) -> None:
    """One busy look among idle ones, which may be the shadow itself, costs no more than that look."""
    assert looks([(10, 0, 10), (16, 0, 4), (10, 0, 10)]) == [True, False, True]


def test_where_the_kernel_says_nothing_time_is_taken_as_spare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that does not tell is one where shadows are asked."""
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "none"))
    assert IdleMonitor(0.3).measure_idle()
    (tmp_path / "stat").write_text("cpu  a b\n")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    assert IdleMonitor(0.3).measure_idle()
