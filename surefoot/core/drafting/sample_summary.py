"""Define the summary of a sample of requests, and find the model's task: probability, class or number."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from surefoot.core.answers.class_names import convert_to_class_name

_MAX_CLASSES = 50
"""Most classes that are drafted [count]: more different labels of a text are no classes that a policy would list."""


class ColumnKind(StrEnum):
    """What the values of a column are."""

    NUMBER = "number"
    WHOLE_NUMBER = "whole number"
    TEXT = "text"
    BOOLEAN = "boolean"
    OTHER = "other"


class Task(StrEnum):
    """What a model does, as far as gates differ by it."""

    PROBABILITY = "a probability of yes or no"
    CLASS = "a class"
    NUMBER = "a number"
    UNKNOWN = "answers without labels"


@dataclass(frozen=True, slots=True)
class ColumnSummary:
    """What is known of one column of a sample.

    Attributes:
        name: Its name.
        kind: What its values are.
        missing: Share of rows without a value [0 to 1].
        distinct: Different values [count].
        low: Smallest number, or fewest characters of a text; None without values, and for other kinds.
        high: Largest number, or most characters of a text; None likewise.
        values: Every value of a text column with few of them, and the share of the rows that has it; else empty.
    """

    name: str
    kind: ColumnKind
    missing: float
    distinct: int
    low: float | None = None
    high: float | None = None
    values: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """What is known of a sample of requests.

    Attributes:
        rows: Rows [count].
        columns: The features.
        task: What the model does.
        classes: Names of the classes where the policy needs them, in alphabetical order; else empty.
        labelled: Share of rows that have a label [0 to 1].
        label_delay: Time after a request within which 95 of 100 labels are known [s]; None where nothing tells it.
        seconds: Time from the first request to the last [s]; None where the sample has no times.
    """

    rows: int
    columns: tuple[ColumnSummary, ...]
    task: Task
    classes: tuple[str, ...] = ()
    labelled: float = 0.0
    label_delay: float | None = None
    seconds: float | None = None

    @property
    def requests_per_minute(self) -> float | None:
        """Requests per minute, of all rows; None where no times tell it."""
        return self.rows / (self.seconds / 60.0) if self.seconds else None


def find_task(labels: Sequence[object], answers: Sequence[object]) -> tuple[Task, tuple[str, ...]]:
    """Find what a model does, and the classes that a policy has to name for it.

    Args:
        labels: Labels of the sample; those that are None are left out.
        answers: What a version answers to some rows; empty where none was asked.

    Law: text labels are classes; labels that are 0 and 1 are yes and no; other numbers are numbers, unless the answers
        are texts or lists of probabilities.
    """
    known = [one for one in labels if one is not None]
    if not known:
        return Task.UNKNOWN, ()
    named = sorted({convert_to_class_name(one) for one in known})
    lists = [one for one in answers if isinstance(one, list)]
    if any(isinstance(one, str) for one in known) or any(isinstance(one, str) for one in answers):
        return Task.CLASS, tuple(named) if lists and len(named) <= _MAX_CLASSES else ()
    if len(lists) == len(answers) > 0 and len(lists[0]) > 2 and len(named) <= _MAX_CLASSES:  # noqa: PLR2004 - yes and no
        return Task.CLASS, tuple(named)
    if {float(one) for one in known if isinstance(one, int | float)} <= {0.0, 1.0}:
        whole = answers and all(isinstance(one, int | float) and float(one) in {0.0, 1.0} for one in answers)
        return Task.CLASS if whole else Task.PROBABILITY, ()
    return Task.NUMBER, ()
