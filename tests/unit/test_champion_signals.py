"""A champion's own past tells when its labels, failures, times or columns have changed, and seasons do not."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.watch_years import FAULT_DAY, Fault, simulate_years
from surefoot.core.champion_watch.day_counts import FIXED_POINT_SCALE, BoundedLabelValue, DayCounts
from surefoot.core.champion_watch.early_signals import (
    MIN_PAST_DAYS,
    PAST_DAYS,
    RECENT_DAYS,
    SignalKind,
    SignalReading,
    compute_champion_signals,
    compute_comparison_alpha,
)
from surefoot.core.domain import Outcome

PER_YEAR = 0.1
BEFORE = PAST_DAYS + max(RECENT_DAYS)


def day(number: int, *, late: int = 20, failed: int = 0, slow: int = 10, expected: int = 0) -> DayCounts:
    """A day of a hundred requests, of which as many come true as the answers say unless told otherwise."""
    came, columns = late * FIXED_POINT_SCALE, {"price": (50, 50, 0)}
    return DayCounts(
        number, 100, 100, failed, slow, 100, 100, came, 100, came, (expected or late) * FIXED_POINT_SCALE, columns
    )


def alarms(days: Iterable[DayCounts], until: int) -> set[SignalKind]:
    """Kinds of the alarms of one look."""
    found = compute_champion_signals(list(days), until, until, PER_YEAR)
    return {one.kind for one in found if one.outcome is Outcome.FAIL}


def reading(days: Iterable[DayCounts], until: int, kind: SignalKind) -> SignalReading:
    """One signal of a look."""
    return next(one for one in compute_champion_signals(list(days), until, until, PER_YEAR) if one.kind is kind)


def noisy(number: int) -> DayCounts:
    """A usual day, a little different from its neighbours."""
    return day(number, late=20 + number % 3, failed=number % 2, slow=10 + number % 4, expected=20 + number % 2)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (SignalKind.BASE_RATE, {"labels": 80 * FIXED_POINT_SCALE}),
        (SignalKind.CALIBRATION, {"expected": 8 * FIXED_POINT_SCALE}),
        (SignalKind.ERRORS, {"failed": 20}),
        (SignalKind.LATENCY, {"slow": 80}),
        (SignalKind.INPUT, {"columns": {"price": (0, 0, 100)}}),
    ],
)
def test_a_change_that_lasts_a_week_alarms_by_its_own_signal(kind: SignalKind, change: dict[str, object]) -> None:
    """Four times the labels, answers that miss, failures, slow answers and a column without values: each its alarm."""
    days = [noisy(number) for number in range(BEFORE)]
    until = BEFORE + 6
    after = [replace(noisy(number), **change) for number in range(BEFORE, until + 1)]  # type: ignore[arg-type] # fields of it
    assert alarms(days, BEFORE - 1) == set()
    assert kind in alarms([*days, *after], until)
    found = reading([*days, *after], until, kind)
    assert "is an alarm" in found.sentence
    assert found.early == (kind is SignalKind.INPUT)


def test_a_change_within_the_margin_is_no_alarm_however_sure_it_is() -> None:
    """A base rate that is nearly half as large again, day after day without any spread, is what a season may bring."""
    days = [day(number, late=20 if number < BEFORE else 29) for number in range(BEFORE + 14)]
    assert alarms(days, BEFORE + 13) == set()
    more = [day(number, late=20 if number < BEFORE else 30) for number in range(BEFORE + 14)]
    assert alarms(more, BEFORE + 13) == {SignalKind.BASE_RATE}


def test_weekends_are_no_change() -> None:
    """Weekdays that differ by far say nothing: whole weeks are compared."""
    days = [day(number, late=5 if number % 7 < 2 else 40) for number in range(BEFORE + 30)]
    assert all(not alarms(days, until) for until in range(BEFORE, BEFORE + 30))


def test_a_holiday_is_no_alarm() -> None:
    """Three days of three times the base rate pass without an alarm."""
    days = [day(number, late=60 if 80 <= number < 83 else 18 + number % 5) for number in range(110)]
    assert all(SignalKind.BASE_RATE not in alarms(days, until) for until in range(80, 95))


def test_a_short_past_is_said_and_is_no_pass_and_no_alarm() -> None:
    """Before there are enough days nothing is judged: every signal says NO_DATA, and how many days it needs."""
    days = [noisy(number) for number in range(MIN_PAST_DAYS)]
    found = compute_champion_signals(days, MIN_PAST_DAYS - 1, MIN_PAST_DAYS - 1, PER_YEAR)
    assert {one.outcome for one in found} == {Outcome.NO_DATA}
    assert all(str(MIN_PAST_DAYS) in one.sentence for one in found)
    assert {one.outcome for one in compute_champion_signals([], 10, 10, PER_YEAR)} == {Outcome.NO_DATA}


def test_labels_that_wait_are_not_taken_for_a_change() -> None:
    """Days whose labels have not had their time are left out of the base rate and of calibration."""
    days = [noisy(number) for number in range(BEFORE + 7)]
    young = [replace(one, labels=0, labelled=10, scored=10) if one.day >= BEFORE else one for one in days]
    found = compute_champion_signals(young, BEFORE + 6, BEFORE - 1, PER_YEAR)
    assert all(
        one.outcome is Outcome.PASS for one in found if one.kind in {SignalKind.BASE_RATE, SignalKind.CALIBRATION}
    )


def test_a_column_that_moves_by_itself_alarms_later() -> None:
    """The limit of a column grows with how far its own weeks lie apart; a quiet one keeps the smallest limit."""

    def of(number: int) -> DayCounts:
        wild = (90, 10, 0) if number // 7 % 2 else (10, 90, 0)
        return replace(noisy(number), columns={"quiet": (50, 50, 0), "wild": wild})

    found = {
        one.name: one
        for one in compute_champion_signals([of(n) for n in range(BEFORE)], BEFORE - 1, BEFORE - 1, PER_YEAR)
    }
    assert found["input drift of wild"].limit > 2 * found["input drift of quiet"].limit
    assert found["input drift of wild"].outcome is Outcome.PASS


def test_values_that_were_never_there_alarm_however_much_a_column_moves() -> None:
    """A column whose weeks have little in common still alarms when a week has nothing in common with any of them."""

    def of(number: int) -> DayCounts:
        wild = (90, 10, 0) if number // 7 % 2 else (10, 90, 0)
        return replace(noisy(number), columns={"wild": (0, 0, 100) if number >= BEFORE else wild})

    found = compute_champion_signals([of(n) for n in range(BEFORE + 7)], BEFORE + 6, BEFORE + 6, PER_YEAR)
    assert [one.name for one in found if one.outcome is Outcome.FAIL] == ["input drift of wild"]


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(BEFORE)), st.integers(0, 3))
def test_days_may_come_in_any_order(order: list[int], seed: int) -> None:
    """Law: what is read does not depend on the order of the days."""
    days = list(simulate_years(seed, BEFORE))
    shuffled = [days[place] for place in order]
    assert compute_champion_signals(shuffled, BEFORE - 1, BEFORE - 1, PER_YEAR) == compute_champion_signals(
        days, BEFORE - 1, BEFORE - 1, PER_YEAR
    )


@given(st.floats(0.01, 12.0), st.integers(1, 500))
def test_a_smaller_budget_or_more_signals_make_each_comparison_stricter(per_year: float, signals: int) -> None:
    """Law: the level grows with the budget, shrinks with the signals, and is a probability."""
    level = compute_comparison_alpha(per_year, signals)
    assert 0.0 < level < 1.0
    assert compute_comparison_alpha(per_year / 2.0, signals) < level
    assert compute_comparison_alpha(per_year, signals + 1) < level


@pytest.mark.parametrize("fault", [Fault(times=4.0), Fault(answers=1.0 / 3.0), Fault(broken="seats")])
def test_a_fault_in_a_simulated_year_alarms_within_two_weeks(fault: Fault) -> None:
    """A fourfold base rate, answers that do not follow it and a broken column alarm; the bench has a hundred."""
    days = list(simulate_years(7, FAULT_DAY + 14, fault))
    assert not any(alarms(days[: until + 1], until) for until in range(FAULT_DAY - 20, FAULT_DAY))
    assert any(alarms(days[: until + 1], until) for until in range(FAULT_DAY, FAULT_DAY + 14))


@pytest.mark.parametrize("better", [True, False])
def test_a_value_alarms_in_the_direction_that_is_harm(*, better: bool) -> None:
    """Requests that bring a tenth alarm where more is better, and those that bring four times where less is better."""
    value = BoundedLabelValue("label", -10.0, 90.0, higher_is_better=better)

    def brought(number: int, mean: float) -> DayCounts:
        share = (mean + number % 3 - 1.0 + 10.0) / 100.0
        return replace(noisy(number), valued=100, value=round(share * 100 * FIXED_POINT_SCALE))

    for mean, harm in ((2.0, better), (80.0, not better)):
        days = [brought(number, 20.0 if number < BEFORE else mean) for number in range(BEFORE + 14)]
        found = compute_champion_signals(days, BEFORE + 13, BEFORE + 13, PER_YEAR, value)
        (one,) = (signal for signal in found if signal.kind is SignalKind.VALUE)
        assert (one.outcome is Outcome.FAIL) is harm
        assert one.recent == pytest.approx(mean, abs=1.0)
        assert one.usual == pytest.approx(20.0, abs=1.0)
        assert f"{one.recent:.4g} a request in the last" in one.sentence
    assert not [
        one
        for one in compute_champion_signals(days, BEFORE + 13, BEFORE + 13, PER_YEAR)
        if one.kind is SignalKind.VALUE
    ]
