"""Each sweep has its turn in `make test`, and all processes of one run choose the same tests."""

import os
import subprocess
import sys

from tests import sweeps

SHOWN = "from tests import sweeps; print([sweeps.has_turn(str(number)) for number in range(60)], *sweeps.swept(60, 1))"


def chosen(code: str = SHOWN, /, **environment: str) -> str:
    """What a process with these environment variables chooses."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SUREFOOT_SWEEP")}
    return subprocess.check_output([sys.executable, "-c", code], env={**plain, **environment}, text=True)


def test_each_sweep_has_its_turn_every_sixth_day() -> None:
    """Six days in a row choose each sweep and each number once; a whole sweep chooses all of them each day."""
    days = [chosen(SUREFOOT_SWEEP_DAY=str(day)) for day in range(20_000, 20_006)]
    turns = [[one == "True" for one in text[1 : text.index("]")].split(", ")] for text in days]
    assert [sum(turn) for turn in zip(*turns, strict=True)] == [1] * 60
    numbers = [int(one) for text in days for one in text[text.index("]") + 1 :].split()]
    assert sorted(numbers) == list(range(1, 61))
    whole = chosen(SUREFOOT_SWEEP_DAY="20000", SUREFOOT_SWEEPS="all")
    assert "False" not in whole
    assert whole.split()[-60:] == [str(number) for number in range(1, 61)]


def test_what_takes_minutes_to_install_is_left_to_a_whole_sweep() -> None:
    """On none of six days in a row has the sweep of engine `ray` its turn; a whole sweep runs it."""
    code = "from tests import sweeps; print(sweeps.has_turn('engine ray'))"
    said = [chosen(code, SUREFOOT_SWEEP_DAY=str(day)) for day in range(20_000, 20_006)]
    assert {*said, chosen(code, SUREFOOT_SWEEPS="all")} == {"False\n", "True\n"}
    assert said == ["False\n"] * 6


def test_a_process_that_is_started_after_midnight_chooses_as_the_run_did() -> None:
    """The day of a run stands in the environment that its processes inherit."""
    assert os.environ["SUREFOOT_SWEEP_DAY"].isdigit()
    assert {sweeps.has_turn(str(number)) for number in range(60)} == ({True} if sweeps.EVERYTHING else {True, False})
