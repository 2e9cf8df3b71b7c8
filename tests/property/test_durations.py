"""Laws of durations as people write them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.durations import (
    DURATION_UNITS,
    MIN_DURATION_SHOWN_IN_YEARS_S,
    format_duration,
    format_estimated_duration,
    format_frequency,
)

SIZES = {**{unit: size for size, unit in DURATION_UNITS}, "ms": 0.001, "years": 31_557_600}


def read(text: str) -> float:
    """Seconds of a duration in words."""
    return sum(float(n.replace(",", "")) * SIZES[unit] for n, unit in re.findall(r"([\d.,]+) (\w+)", text))


@given(st.floats(0.001, 3e9))
def test_a_duration_is_told_in_at_most_two_units_and_close_to_what_it_is(seconds: float) -> None:
    """A length in words differs by at most 2 % (a third for years and milliseconds), and has one or two units."""
    said = format_duration(seconds)
    assert len(said.split(" ")) in {2, 4}
    assert "0.0" not in said
    allowed = 0.34 if seconds >= MIN_DURATION_SHOWN_IN_YEARS_S or seconds < 0.01 else 0.051
    assert read(said) == pytest.approx(seconds, rel=allowed)


@given(st.sampled_from(DURATION_UNITS), st.integers(1, 59))
def test_what_a_policy_writes_is_told_as_it_stands(unit: tuple[int, str], n: int) -> None:
    """Whole numbers of a unit come back in the same number of seconds."""
    assert read(format_duration(n * unit[0])) == n * unit[0]


@given(st.floats(2.0, 3e9))
def test_an_estimate_has_one_unit(seconds: float) -> None:
    """An estimated length is one number and one unit, within a third."""
    said = format_estimated_duration(seconds)
    assert len(said.split(" ")) == 2
    assert read(said) == pytest.approx(seconds, rel=0.34)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 s"),
        (0.25, "250 ms"),
        (480.0, "8 min"),
        (90.0, "1 min 30 s"),
        (86400.0, "1 d"),
        (3599.9, "1 h"),
        (129_600.0, "1 d 12 h"),
        (6e9, "190 years"),
        (float("inf"), "no end of time"),
    ],
)
def test_durations_as_people_write_them(seconds: float, said: str) -> None:
    """Eight minutes are `8 min`, not 0.00555556 days, and a day is `1 d`, not 1440 minutes."""
    assert format_duration(seconds) == said


@given(st.floats(1e-6, 1e7))
def test_how_often_is_a_number_to_picture(per_year: float) -> None:
    """How often something happens is said with a number from 1, and close to what it is."""
    said = format_frequency(per_year)
    if "one in" in said:
        assert float(re.findall(r"[\d,]+", said)[0].replace(",", "")) == pytest.approx(1.0 / per_year, rel=0.34)
        return
    n = float(re.findall(r"[\d,]+", said)[0].replace(",", ""))
    size = {"year": 1.0, "month": 12.0, "week": 52.18, "day": 365.25, "hour": 8766.0}[said.split(" ")[-1]]
    assert n >= 1.0
    assert n * size == pytest.approx(per_year, rel=0.5)


@pytest.mark.parametrize(
    ("per_year", "said"),
    [
        (0.26, "about one in 4 years"),
        (880.0, "about 2 a day"),
        (104.0, "about 2 a week"),
        (5260.0, "about 14 a day"),
        (0.0, "never"),
    ],
)
def test_how_often_in_the_unit_of_people(per_year: float, said: str) -> None:
    """880 a year is about two a day."""
    assert format_frequency(per_year) == said
