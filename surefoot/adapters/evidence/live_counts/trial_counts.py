"""Group the counts of a query result by slice, traffic share, period and arm, as Python integers."""

from collections import defaultdict

TrialCounts = dict[tuple[float, int], dict[str, dict[int, int]]]
"""(share, epoch) -> side -> level -> trials."""


def group_trial_counts(found: list[tuple[object, ...]]) -> dict[object, TrialCounts]:
    """Fold (slice, share, epoch, side, level, trials) rows."""
    made: dict[object, TrialCounts] = defaultdict(lambda: defaultdict(lambda: {"candidate": {}, "champion": {}}))
    for slice_, share, epoch, side, level, n in found:
        made[slice_][float(str(share)), parse_count(epoch)][str(side)][parse_count(level)] = parse_count(n)
    return made


def parse_count(value: object) -> int:
    """A count that a query gave."""
    return int(str(value))
