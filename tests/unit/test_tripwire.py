"""The fuse blows on outright failure, once, and on nothing less."""

from hypothesis import given
from hypothesis import strategies as st

from surefoot.gateway.inference.tripwire import PROCESS_END_WINDOW_S, TripLimits, Tripwire


@given(st.lists(st.booleans(), max_size=200), st.integers(2, 30))
def test_it_blows_exactly_when_so_many_fail_in_a_row(outcomes: list[bool], limit: int) -> None:
    """Whatever the order, it blows at the first run of failures that is long enough, and never again."""
    wire = Tripwire(TripLimits(failures=limit))
    blown, streak, due = 0, 0, False
    for failed in outcomes:
        if failed:
            streak += 1
            due = due or streak == limit
            blown += bool(wire.record_failure("RuntimeError: no"))
        else:
            streak = 0
            wire.record_answer()
    assert blown == due


def test_it_says_how_often_and_with_what() -> None:
    """The reason that is journalled names the count and the last error."""
    wire = Tripwire(TripLimits(failures=2))
    assert wire.record_failure("KeyError: 'x'") == ""
    assert wire.record_failure("KeyError: 'y'") == "failed 2 requests in a row, the last with KeyError: 'y'"


def test_processes_that_end_often_enough_blow_it() -> None:
    """Three ends within the window blow it; three over a longer time do not."""
    now = 0.0
    wire = Tripwire(TripLimits(deaths=3), 0, lambda: now)
    said = []
    for number in range(1, 4):
        now += PROCESS_END_WINDOW_S
        said.append(wire.record_process_ends(number))
    assert said == ["", "", ""]
    now += 1.0
    assert wire.record_process_ends(4) == ""
    now += 1.0
    assert wire.record_process_ends(5) == "its process has ended 3 times within 2 s"
    assert wire.record_process_ends(9) == ""


def test_ends_of_an_earlier_route_do_not_count() -> None:
    """A fuse that is set anew blows on what happens from then on."""
    wire = Tripwire(TripLimits(deaths=2), 7, lambda: 0.0)
    assert wire.record_process_ends(7) == ""
    assert wire.record_process_ends(8) == ""
    assert wire.record_process_ends(9) != ""
