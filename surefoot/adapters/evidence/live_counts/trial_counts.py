"""Group the counts of trials in a SQL result by slice, time period and arm."""

from collections import defaultdict

_TrialCounts = dict[tuple[float, int], dict[str, dict[int, int]]]
"""(share, epoch) -> side -> level -> trials."""


def group_trial_counts(found: list[tuple[object, ...]]) -> dict[object, _TrialCounts]:
    """Group query rows of (slice, traffic share, time period, arm, level, number of trials)."""
    made: dict[object, _TrialCounts] = defaultdict(lambda: defaultdict(lambda: {"candidate": {}, "champion": {}}))
    for slice_, share, epoch, side, level, n in found:
        made[slice_][float(str(share)), parse_count(epoch)][str(side)][parse_count(level)] = parse_count(n)
    return made


def parse_count(value: object) -> int:
    """Convert a count in a query result to an integer."""
    return int(str(value))
