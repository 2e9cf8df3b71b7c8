"""Define the daily counts of a champion's requests, labels and values, in fixed-point numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

DAY_S = 86_400.0
"""Length of a day [seconds]."""
FIXED_POINT_SCALE = 1_000_000
"""Parts of one in which labels and scores are added up, so that sums are whole numbers and add up in any order."""


@dataclass(frozen=True, slots=True)
class BoundedLabelValue:
    """A bounded value that comes with labels, such as revenue up to a cap.

    Attributes:
        column: Field of the label that holds it; "label" is the label itself.
        floor: Value below which less does not count [unit of the value].
        cap: Value above which more does not count [unit of the value].
        higher_is_better: Whether a smaller mean is harm.
    """

    column: str
    floor: float
    cap: float
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class DayCounts:
    """Counts of the requests that one day brought; all labels are those known when it was counted.

    Attributes:
        day: Days since 1970-01-01 UTC.
        requests: Requests [count].
        tried: Those that the champion of today was asked [count].
        failed: Those among these that it did not answer [count].
        slow: Those among the timed that took longer than nine of ten did in the days before [count].
        timed: Those of the champion whose time is known [count].
        labelled: Requests with a label that counts and is a number [count].
        labels: Sum of their labels [millionths].
        scored: Those of the labelled that the champion of today has answered with a number [count].
        came: Sum of the labels of these [millionths].
        expected: Sum of the answers to these [millionths].
        columns: Requests by the place of their value, for each column: fixed cuts, or the most frequent texts; the last
            place is for requests without a value.
        valued: Requests of the champion whose value is known: one without a label in time has brought none [count].
        value: Sum of their values, as parts of the way from the floor to the cap [millionths].
    """

    day: int
    requests: int
    tried: int = 0
    failed: int = 0
    slow: int = 0
    timed: int = 0
    labelled: int = 0
    labels: int = 0
    scored: int = 0
    came: int = 0
    expected: int = 0
    columns: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    valued: int = 0
    value: int = 0
