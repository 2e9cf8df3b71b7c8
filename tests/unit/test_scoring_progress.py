"""People who wait for a replay see how far it is and how fast, and programs see nothing of it."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.incremental_replay import IncrementalReplay
from surefoot.adapters.replay.scoring_progress import ScoringProgress
from surefoot.cli.printing import progress_bar
from surefoot.cli.printing.progress_bar import replay_progress_bar
from tests.unit.test_stored_evidence import ERRORS, PER_FILE, SLICED, House

STEPS = st.lists(st.lists(st.integers(0, 90), max_size=5), max_size=5)


@given(STEPS)
def test_progress_only_grows_and_ends_at_the_whole(file_groups: list[list[int]]) -> None:
    """Whatever is asked again or was counted wrongly before: what is told grows from 0 to the total, and not beyond."""
    told: list[tuple[int, int]] = []
    progress = ScoringProgress(lambda done, total: told.append((done, total)))
    progress.begin(50 * len(file_groups))
    for batches in file_groups:
        progress.begin_file_group(50)
        for rows in batches:
            progress.advance(rows)
    progress.end()
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {total for _, total in told} == ({50 * len(file_groups)} if file_groups else set())
    assert not file_groups or (told[0][0], told[-1][0]) == (0, 50 * len(file_groups))


def test_a_look_tells_how_far_it_is(tmp_path: Path) -> None:
    """A first look counts all requests for both versions, one file group at a time; later looks count none."""
    house = House(tmp_path)
    for compacted in (True, True, False):
        house.add(compacted=compacted)
    told: list[tuple[int, int]] = []
    replay = IncrementalReplay(
        PredictionLog(house.root),
        lambda _model, version: house.models[version.digest],
        house.home / "evidence",
        lambda done, total: told.append((done, total)),
    )
    replay.paired_loss_evidence(SLICED)
    whole = 2 * 3 * PER_FILE
    assert told == [(0, whole), *((done, whole) for done, _ in told[1:])]
    assert {2 * PER_FILE, 4 * PER_FILE, whole} <= {done for done, _ in told}
    told.clear()
    replay.paired_loss_evidence(SLICED)
    replay.failure_evidence(ERRORS)
    assert all(total < whole for _, total in told)
    replay.close()


def _shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, quiet: bool) -> str:
    """What is written while a pass runs."""
    written = io.StringIO()

    def console(**_: object) -> Console:
        return Console(file=written, force_terminal=terminal, width=120)

    monkeypatch.setattr(progress_bar, "Console", console)
    with replay_progress_bar(quiet=quiet) as report:
        for done in (0, 1_500, 3_000):
            report(done, 3_000)
        report(0, 10)  # a pass that an error ends
    return written.getvalue()


def test_a_person_at_a_terminal_sees_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar says how many rows of how many; it is gone when the pass is over."""
    assert "of 3,000 rows" in _shown(monkeypatch, terminal=True, quiet=False)


@pytest.mark.parametrize(("terminal", "quiet"), [(False, False), (True, True)])
def test_a_program_sees_no_bar(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, quiet: bool) -> None:
    """Nothing is written where standard error is no terminal, and with `--json`."""
    assert _shown(monkeypatch, terminal=terminal, quiet=quiet) == ""
