"""Define the result of a data validation suite, with its failed expectations."""

from dataclasses import dataclass
from typing import ClassVar

from surefoot.core.judging.excluded_records import NOTHING_EXCLUDED, ExcludedRecords


@dataclass(frozen=True, slots=True)
class FailedExpectation:
    """One expectation that did not hold, with rows to look at.

    Attributes:
        kind: The expectation's type, for example "expect_column_values_to_be_between".
        column: The column it speaks of; empty for the whole table.
        reason: What was observed against what was expected.
        samples: Up to a handful of offending rows or values.
    """

    kind: str
    column: str
    reason: str
    samples: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """The answer of a data validation suite.

    Attributes:
        suite: Name of the suite.
        rows: Rows that were validated [count].
        evaluated: Expectations that gave an answer [count].
        failed: Those that did not hold.
        warnings: Those that did not hold but whose severity does not block.
        report: Path of the self-contained report; empty when none was written.
        left: What was not counted as it came.
    """

    JOURNAL_NAME: ClassVar[str] = "Validation"

    suite: str
    rows: int
    evaluated: int
    failed: tuple[FailedExpectation, ...]
    warnings: tuple[FailedExpectation, ...] = ()
    report: str = ""
    left: ExcludedRecords = NOTHING_EXCLUDED
