"""Compare a champion's latest days with its past to compute warning signals.

A day is one observation: its requests share weather, campaigns and customers. The null is not "nothing changes": a
signal alarms only where the change is larger than a margin that seasons stay within, by more than the days' own spread,
correlation from day to day included.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from surefoot.core.champion_watch.day_counts import FIXED_POINT_SCALE, BoundedLabelValue, DayCounts
from surefoot.core.domain import Outcome
from surefoot.core.stats.distributions import student_upper_quantile

RECENT_DAYS = (7, 14)
"""Lengths of the latest windows that are compared: whole weeks, so that each weekday counts the same [days]."""
PAST_DAYS = 56
"""Days before them that are the past [days]."""
_GAP_DAYS = max(RECENT_DAYS)
"""Latest days that are no part of the past, whatever window is compared: a fresh change is not usual [days]."""
MIN_PAST_DAYS = 28
"""Fewest days with data that make a past [days]."""
_DISJOINT = 0.97
"""Distance beyond which two distributions have next to nothing in common: an alarm, however much a column moves."""
_MIN_CHUNKS = 4
"""Fewest weeks of the past that tell how far a week of a column lies from the others [count]."""
_MAX_CORRELATION = 0.9
_HOLIDAYS = 3
"""Highest, and lowest, days of a window that do not count: a holiday of three days is no change [days]."""
_MIDDLE_SPREAD = {7: 1.22, 14: 1.09}
"""Standard deviation of the mean of the middle days of a window beside that of the mean of all, of normal days."""
_WEEK = 7
_YEAR_WEEKS = 52.0
_SMALLEST_SHARE = 0.001
"""Shares below are taken for this one where a change is compared with them: one failure of many is no alarm."""
_LOOKS_PER_WEEK = 3.0
"""What looking each day costs beside looking once a window, as a multiple of independent looks: windows overlap."""


class SignalKind(StrEnum):
    """What a signal measures."""

    BASE_RATE = "base rate"
    CALIBRATION = "calibration"
    ERRORS = "error rate"
    LATENCY = "latency"
    VALUE = "business value"
    PREDICTION = "prediction drift"
    INPUT = "input drift"


_EARLY = frozenset({SignalKind.PREDICTION, SignalKind.INPUT})
"""Signals that need no labels: they may come before harm is measured, and before it is known to be harm."""
_MARGINS = {
    SignalKind.BASE_RATE: 0.6,
    SignalKind.CALIBRATION: 0.5,
    SignalKind.ERRORS: 1.0,
    SignalKind.LATENCY: 2.0,
    SignalKind.VALUE: 0.6,
    SignalKind.PREDICTION: 0.3,
    SignalKind.INPUT: 0.3,
}
"""Changes that are no alarm: of a share p in parts of p (1 - p) of the past, of calibration in parts of its past value,
of columns as total variation distance; of a value, p is where its mean lies between its bounds."""


@dataclass(frozen=True, slots=True)
class SignalReading:
    """One signal at one evaluation.

    Attributes:
        name: What is followed, such as "base rate" or "input drift of seats".
        kind: What it follows.
        outcome: FAIL is an alarm, NO_DATA a past that is too short; PASS otherwise.
        days: Length of the window that is compared [days].
        recent: Its value in the latest days; of a column the distance from the past.
        usual: Its value in the past; of a column how far a week of the past lies from the others.
        change: How far the two are apart, on the scale of `limit`.
        limit: Change that is an alarm: what this signal can detect.
        early: Whether it needs no labels.
    """

    name: str
    kind: SignalKind
    outcome: Outcome
    days: int = 0
    recent: float = 0.0
    usual: float = 0.0
    change: float = 0.0
    limit: float = 0.0
    early: bool = False

    @property
    def is_share(self) -> bool:
        """Whether its values are shares of requests."""
        return self.kind not in _EARLY and self.kind not in {SignalKind.CALIBRATION, SignalKind.VALUE}

    @property
    def sentence(self) -> str:
        """What it says, for people."""
        if self.outcome is Outcome.NO_DATA:
            return f"{self.name}: fewer than {MIN_PAST_DAYS} days of the past are known"
        if self.kind in _EARLY:
            how = f"the last {self.days} days lie {self.recent:.2f} from the days before (of 1; usual {self.usual:.2f})"
            return f"{self.name}: {how}; {self.limit:.2f} is an alarm"
        if self.kind is SignalKind.CALIBRATION:
            how = f"{self.recent:.2f} times as many came true as the answers say in the last {self.days} days"
            return f"{self.name}: {how}, {self.usual:.2f} times before; a change of {self.limit:.2f} is an alarm"
        if self.kind is SignalKind.VALUE:
            how = f"{self.recent:.4g} a request in the last {self.days} days, {self.usual:.4g} before"
            return f"{self.name}: {how}; a change for the worse of {self.limit:.3g} is an alarm"
        how = f"{self.recent:.2%} in the last {self.days} days, {self.usual:.2%} before"
        return f"{self.name}: {how}; a change of {100.0 * self.limit:.2f} points is an alarm"


def compute_comparison_alpha(per_year: float, signals: int) -> float:
    """Level of one comparison, so that all comparisons of a year give so many false alarms.

    Args:
        per_year: False alarms that are accepted [count per year].
        signals: Signals that are followed [count].

    Returns:
        Probability of a false alarm of one comparison.
    """
    looks = sum(_YEAR_WEEKS * _WEEK / days for days in RECENT_DAYS) * _LOOKS_PER_WEEK
    return per_year / (looks * max(signals, 1))


def compute_champion_signals(
    days: Sequence[DayCounts], until: int, matured: int, per_year: float, value: BoundedLabelValue | None = None
) -> tuple[SignalReading, ...]:
    """Compute every signal at one evaluation.

    Args:
        days: Counts of days, in any order; a day that is missing had no request.
        until: The last whole day.
        matured: The last day all of whose labels have had their time.
        per_year: False alarms that are accepted, of all signals together [count per year].
        value: The value that comes with the labels; None where the policy names none.
    """
    known = {one.day: one for one in days if one.requests}
    columns = sorted({name for one in known.values() for name in one.columns})
    level = compute_comparison_alpha(per_year, len(_RATES) + len(columns) + (value is not None))
    made = [
        _read_rate(known, kind, last, level)
        for kind, last in ((k, matured if k in _LABELLED else until) for k in _RATES)
    ]
    if value is not None:
        made.append(_read_value(known, value, matured, level))
    for name in columns:
        kind = SignalKind.PREDICTION if name == "prediction" else SignalKind.INPUT
        made.append(_read_column(known, name, kind, until, level))
    return tuple(made)


def _base_rate(day: DayCounts) -> float | None:
    if not day.labelled or not 0 <= day.labels <= day.labelled * FIXED_POINT_SCALE:
        return None  # labels that are no shares have no base rate
    return day.labels / FIXED_POINT_SCALE / day.labelled


def _calibration(day: DayCounts) -> float | None:
    if day.expected < FIXED_POINT_SCALE or not 0 <= day.expected <= day.scored * FIXED_POINT_SCALE:
        return None  # less than one is expected, or the answers are no probabilities
    return day.came / day.expected


def _errors(day: DayCounts) -> float | None:
    return day.failed / day.tried if day.tried else None


def _latency(day: DayCounts) -> float | None:
    return day.slow / day.timed if day.timed else None


def _value(day: DayCounts) -> float | None:
    return day.value / FIXED_POINT_SCALE / day.valued if day.valued else None


_RATES: dict[SignalKind, Callable[[DayCounts], float | None]] = {
    SignalKind.BASE_RATE: _base_rate,
    SignalKind.CALIBRATION: _calibration,
    SignalKind.ERRORS: _errors,
    SignalKind.LATENCY: _latency,
}
_LABELLED = frozenset({SignalKind.BASE_RATE, SignalKind.CALIBRATION})


def _read_value(known: dict[int, DayCounts], value: BoundedLabelValue, last: int, level: float) -> SignalReading:
    """Compare the mean value of a request of the latest days with that of the past, in the value's own unit."""
    found = _read_rate(known, SignalKind.VALUE, last, level, -1.0 if value.higher_is_better else 1.0)
    if found.outcome is Outcome.NO_DATA:
        return found
    width = value.cap - value.floor
    recent, usual = (value.floor + width * share for share in (found.recent, found.usual))
    return replace(found, recent=recent, usual=usual, change=width * found.change, limit=width * found.limit)


def _read_rate(
    known: dict[int, DayCounts], kind: SignalKind, last: int, level: float, worse: float | None = None
) -> SignalReading:
    """Compare a daily value of the latest days with that of the past.

    Args:
        known: Counts by day.
        kind: What is compared.
        last: The last day that is compared.
        level: Probability of a false alarm of one comparison.
        worse: Sign of a change that is harm; None where either is.
    """
    value = _value if kind is SignalKind.VALUE else _RATES[kind]
    found: list[SignalReading] = []
    for length in RECENT_DAYS:
        recent = _values(known, value, last - length + 1, last)
        past = _values(known, value, last - _GAP_DAYS - PAST_DAYS + 1, last - _GAP_DAYS)
        if len(recent) < length // 2 or len(past) < MIN_PAST_DAYS:
            continue
        now, usual = (_middle(side[:, 1], _HOLIDAYS / length) for side in (recent, past))
        spread, inflation = _spread(past)
        error = _MIDDLE_SPREAD[length] * spread * math.sqrt(inflation * (1.0 / len(recent) + 1.0 / len(past)))
        scale = usual if kind is SignalKind.CALIBRATION else max(usual * (1.0 - usual), _SMALLEST_SHARE)
        limit = _MARGINS[kind] * scale + student_upper_quantile(level / 2.0, len(past) - 1.0) * error
        outcome = Outcome.FAIL if _harm(now - usual, worse) > limit else Outcome.PASS
        found.append(SignalReading(kind.value, kind, outcome, length, now, usual, now - usual, limit))
    if not found:
        return SignalReading(kind.value, kind, Outcome.NO_DATA)
    return max(found, key=lambda one: _harm(one.change, worse) / one.limit)


def _harm(change: float, worse: float | None) -> float:
    """How far a change goes in the direction that is harm; either is where no sign is given."""
    return abs(change) if worse is None else change * worse


def _values(
    known: dict[int, DayCounts], value: Callable[[DayCounts], float | None], first: int, last: int
) -> NDArray[np.float64]:
    """Days and their values, shape (n, 2)."""
    pairs = [(day, value(known[day])) for day in range(first, last + 1) if day in known]
    return np.array([pair for pair in pairs if pair[1] is not None], dtype=float).reshape(-1, 2)


def _middle(values: NDArray[np.float64], cut: float) -> float:
    """Mean of the middle values, without a share at each end [0 to 0.5)."""
    some = np.sort(values)
    out = min(int(len(some) * cut + 1e-9), (len(some) - 1) // 2)
    return float(some[out : len(some) - out].mean())


def _spread(past: NDArray[np.float64]) -> tuple[float, float]:
    """Standard deviation of a day, weekdays apart, and what correlation from day to day makes of a mean's variance."""
    rest = past[:, 1].copy()
    for weekday in range(_WEEK):
        own = past[:, 0] % _WEEK == weekday
        if own.sum() > 1:
            rest[own] -= rest[own].mean()
        elif own.any():
            rest[own] -= rest.mean()
    at = past[:, 0] - past[:, 0].mean()
    rest -= at * float((at * rest).sum() / max((at**2).sum(), 1.0))  # a season's slope is no spread of days
    spread = float(np.sqrt((rest**2).sum() / max(len(rest) - _WEEK - 1, 1)))
    if spread == 0.0:
        return 0.0, 1.0
    together = np.diff(past[:, 0]) == 1
    correlation = float((rest[1:] * rest[:-1])[together].sum() / (rest**2).sum()) if together.any() else 0.0
    correlation = min(max(correlation + (1.0 + 4.0 * max(correlation, 0.0)) / len(rest), 0.0), _MAX_CORRELATION)
    return spread, (1.0 + correlation) / (1.0 - correlation)


def _read_column(known: dict[int, DayCounts], name: str, kind: SignalKind, last: int, level: float) -> SignalReading:
    """Compare the distribution of a column in the latest week with that of the past."""
    label = kind.value if kind is SignalKind.PREDICTION else f"{kind.value} of {name}"
    recent = _bins(known, name, last - _WEEK + 1, last)
    chunks = [
        _bins(known, name, last - _GAP_DAYS - (number + 1) * _WEEK + 1, last - _GAP_DAYS - number * _WEEK)
        for number in range(PAST_DAYS // _WEEK)
    ]
    filled = [chunk for chunk in chunks if chunk is not None]
    if recent is None or len(filled) < _MIN_CHUNKS:
        return SignalReading(label, kind, Outcome.NO_DATA, early=True)
    past = np.sum(filled, axis=0)
    usual = np.array([_distance(chunk, past - chunk) for chunk in filled])
    mean, spread = float(usual.mean()), float(usual.std(ddof=1))
    reach = student_upper_quantile(level, len(filled) - 1.0) * spread * math.sqrt(1.0 + 1.0 / len(filled))
    limit = min(mean + max(_MARGINS[kind], reach), _DISJOINT)
    apart = _distance(recent, past)
    outcome = Outcome.FAIL if apart > limit else Outcome.PASS
    return SignalReading(label, kind, outcome, _WEEK, apart, mean, apart, limit, early=True)


def _bins(known: dict[int, DayCounts], name: str, first: int, last: int) -> NDArray[np.float64] | None:
    """Requests of some days by the place of their value; None without a request."""
    found = [known[day].columns[name] for day in range(first, last + 1) if day in known and name in known[day].columns]
    if not found:
        return None
    total = np.sum([np.array(one, dtype=float) for one in found], axis=0)
    return total if total.sum() else None


def _distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Distance of two columns, 0 to 1: of their values in total variation, or of their shares without a value."""
    gone = abs(float(one[-1] / max(one.sum(), 1.0) - other[-1] / max(other.sum(), 1.0)))
    mine, theirs = one[:-1], other[:-1]
    if not mine.sum() or not theirs.sum():
        return gone
    return max(float(np.abs(mine / mine.sum() - theirs / theirs.sum()).sum() / 2.0), gone)
