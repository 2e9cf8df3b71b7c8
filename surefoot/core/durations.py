"""Format durations and frequencies for people to read."""

import math

MINUTE_S, HOUR_S, DAY_S, YEAR_S = 60, 3600, 86400, 31_557_600
"""Lengths of the units that people count in [seconds]."""
DURATION_UNITS = ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min"), (1, "s"))
MIN_DURATION_SHOWN_IN_YEARS_S = 2 * YEAR_S
"""From here on only years are told [seconds]."""


def format_duration(seconds: float) -> str:
    """A length of time in its two largest units, such as "45 s", "5 min", "1 d 12 h" or "3 years".

    Args:
        seconds: The length [seconds]; what is below 0 counts as 0.

    Law: differs from the length by at most half of the smaller of the two units.
    """
    if math.isnan(seconds) or math.isinf(seconds):
        return "no end of time"
    seconds = max(seconds, 0.0)
    if seconds < 0.9995:  # noqa: PLR2004 - what is not rounded to a whole second
        return f"{seconds * 1000.0:.0f} ms" if seconds * 1000.0 >= 0.5 else ("0 s" if seconds == 0.0 else "under 1 ms")  # noqa: PLR2004 - a half rounds up
    if seconds < 10.0:  # noqa: PLR2004 - one decimal says more than a second there
        return f"{round(seconds, 1):g} s"
    if seconds >= MIN_DURATION_SHOWN_IN_YEARS_S:
        return f"{seconds / YEAR_S:,.0f} years"
    step = HOUR_S if seconds >= DAY_S else MINUTE_S if seconds >= HOUR_S else 1
    left = round(seconds / step) * step
    parts: list[str] = []
    for size, unit in DURATION_UNITS:
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts)


def format_estimated_duration(seconds: float) -> str:
    """An estimated length of time in one unit, of which there are at least two, such as "40 h" or "132 d".

    Args:
        seconds: The length [seconds].
    """
    for size, unit in DURATION_UNITS:
        if MIN_DURATION_SHOWN_IN_YEARS_S > seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return format_duration(seconds)


def format_frequency(per_year: float) -> str:
    """How often something happens, in the smallest unit in which it happens at least once, such as "about 2 a day".

    Args:
        per_year: Mean number of times [count per year].
    """
    if math.isnan(per_year) or math.isinf(per_year):
        return "without end"
    if per_year <= 0.0:
        return "never"
    if per_year < 0.67:  # noqa: PLR2004 - rounds to two years
        return f"about one in {1.0 / per_year:,.0f} years"
    said = f"about {per_year:,.0f} a year"
    for size, unit in ((YEAR_S / 12, "month"), (7 * DAY_S, "week"), (DAY_S, "day"), (HOUR_S, "hour")):
        if per_year * size / YEAR_S < 0.95:  # noqa: PLR2004 - rounds to one
            break
        said = f"about {per_year * size / YEAR_S:,.0f} a{'n' if unit == 'hour' else ''} {unit}"
    return said
