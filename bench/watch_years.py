"""Simulate years of a champion's days, with seasons, holidays, drifting columns and faults."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.core.champion_watch.day_counts import FIXED_POINT_SCALE, BoundedLabelValue, DayCounts

_PLACES = 10
_COLUMNS = ("prediction", "weather", "price", "origin", "seats", "age", "distance")
BASKET_VALUE = BoundedLabelValue("label", 0.0, 100.0)
"""What a request brings: a value that comes with its label, up to 100."""
FAULT_DAY = 200
"""Day of the simulated series on which a fault begins."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong from FAULT_DAY on.

    Attributes:
        times: What the base rate of the labels is multiplied with, up to 95 %.
        answers: What the model's answers are multiplied with, while labels stay as they were.
        broken: Column that has one value only.
        value: What the value of a request is multiplied with.
    """

    times: float = 1.0
    answers: float = 1.0
    broken: str = ""
    value: float = 1.0


def simulate_years(seed: int, days: int, fault: Fault | None = None) -> Iterator[DayCounts]:
    """Days of one model, no two of which are alike, and nothing is wrong unless a fault is given.

    Args:
        seed: Seed.
        days: How many [count].
        fault: What goes wrong from FAULT_DAY on.
    """
    rng = np.random.default_rng(seed)
    base, volume = rng.uniform(-4.0, -0.8), rng.uniform(500, 5_000)
    season, phase, week = rng.uniform(0.0, 0.3), rng.uniform(0.0, 365.0), rng.normal(0.0, 0.15, 7)
    correlation, noise = rng.uniform(0.2, 0.7), rng.uniform(0.03, 0.15)
    holidays = {int(first) + k for first in rng.integers(0, 365, 6) for k in range(int(rng.integers(1, 4)))}
    share = rng.uniform(0.005, 0.02)
    shapes = {name: rng.dirichlet(np.full(_PLACES, 2.0)) for name in _COLUMNS}
    tilt = {name: rng.uniform(0.0, 1.2 if name == "weather" else 0.25) for name in _COLUMNS}
    trend = {name: rng.uniform(-0.3, 0.3) for name in _COLUMNS}
    money = np.random.default_rng([seed, 1])  # of its own: the rest of a series does not depend on it
    usual, market = float(np.exp(money.uniform(-4.0, -1.0))), 0.0
    state, moods = 0.0, dict.fromkeys(_COLUMNS, 0.0)
    for day in range(days):
        state = correlation * state + rng.normal(0.0, noise)
        year = np.sin(2.0 * np.pi * (day - phase) / 365.0)
        wrong = fault is not None and day >= FAULT_DAY
        odds = base + season * year + week[day % 7] + state + 0.4 * (day % 365 in holidays)
        n = max(int(rng.poisson(volume * np.exp(0.2 * year + 0.1 * week[day % 7]))), 1)
        rate, seen = 1.0 / (1.0 + np.exp(-odds)), 1.0 / (1.0 + np.exp(-(odds - 0.5 * state)))
        if fault is not None and wrong:
            rate, seen = min(fault.times * rate, 0.95), min(fault.answers * fault.times * seen, 0.95)
        told = int(rng.binomial(n, 0.95))
        units = max(told // 5, 1)  # a unit's requests come true alike
        true = int(rng.binomial(units, rate)) * (told / units)
        columns = {}
        for name in _COLUMNS:
            moods[name] = 0.6 * moods[name] + rng.normal(0.0, 0.25 if name == "weather" else 0.05)
            slope = tilt[name] * year + moods[name] + trend[name] * day / 365.0
            columns[name] = _day(rng, shapes[name], slope, n)
            if wrong and fault is not None and name == fault.broken:
                columns[name] = (n, *([0] * _PLACES))
        market = 0.5 * market + money.normal(0.0, 0.1)
        brought = usual * np.exp(0.2 * year + market) * np.exp(money.normal(0.0, 2.0 / np.sqrt(n)))
        brought *= fault.value if fault is not None and wrong else 1.0
        yield DayCounts(
            day,
            n,
            tried=n,
            failed=int(rng.binomial(n, share * np.exp(rng.normal(0.0, 0.2)))),
            slow=int(rng.binomial(n, 1.0 / (1.0 + np.exp(2.2 - rng.normal(0.0, 0.3) - 0.2 * year)))),
            timed=n,
            labelled=told,
            labels=round(true * FIXED_POINT_SCALE),
            scored=told,
            came=round(true * FIXED_POINT_SCALE),
            expected=round(seen * told * FIXED_POINT_SCALE),
            columns=columns,
            valued=n,
            value=round(min(float(brought), 1.0) * n * FIXED_POINT_SCALE),
        )


def _day(rng: np.random.Generator, shape: NDArray[np.float64], slope: float, n: int) -> tuple[int, ...]:
    """Requests by place, and none without a value."""
    tilted = shape * np.exp(slope * np.linspace(-1.0, 1.0, _PLACES))
    return (*(int(count) for count in rng.multinomial(n, tilted / tilted.sum())), 0)
