"""Leisure is what the kernel says, since the last look."""

from pathlib import Path

import pytest

from surefoot.gateway.leisure import Leisure


def told(user: int, nice: int, idle: int) -> str:
    """The kernel's words after so many ticks of each kind."""
    return f"cpu  {user} {nice} 10 {idle} 0 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n"


@pytest.mark.parametrize(
    ("user", "nice", "idle", "leisure"),
    [(70, 0, 30, True), (71, 0, 29, False), (0, 100, 0, False), (100, 0, 0, False), (0, 0, 0, True)],
)
def test_only_what_is_idle_is_free(tmp_path: Path, *, user: int, nice: int, idle: int, leisure: bool) -> None:
    """There is leisure when idle time is the demanded share of what has passed; niced time, a shadow's, is none."""
    stat = tmp_path / "stat"
    stat.write_text(told(1000, 1000, 1000))
    found = Leisure(0.3, stat)
    assert found.look()
    stat.write_text(told(1000 + user, 1000 + nice, 1000 + idle))
    assert found.look() is leisure


def test_where_the_kernel_says_nothing_there_is_leisure(tmp_path: Path) -> None:
    """A host that does not tell is one where shadows are asked."""
    assert Leisure(0.3, tmp_path / "none").look()
    (tmp_path / "odd").write_text("cpu  a b\n")
    assert Leisure(0.3, tmp_path / "odd").look()
