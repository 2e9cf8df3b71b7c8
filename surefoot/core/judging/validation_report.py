"""Define the content of the report on one data validation."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ValidationRow:
    """One expectation as a person reads it, whether it held or not.

    Attributes:
        kind: The expectation's type.
        column: The column it speaks of; empty for the whole table.
        severity: "critical" blocks a promotion, "warning" and "info" do not.
        held: Whether it held.
        reason: What was demanded when it held, what was found instead when it did not.
        samples: Up to five offending rows: the row's number and the values at fault; JSON values only.
    """

    kind: str
    column: str
    severity: str
    held: bool
    reason: str
    samples: tuple[dict[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """Everything that a page about one data validation shows.

    Attributes:
        suite: Name of the suite.
        rows: Rows that were validated [count].
        checked_at: When, as text for people; empty when unknown.
        expectations: One row an expectation, in the order of the suite.
    """

    suite: str
    rows: int
    checked_at: str
    expectations: tuple[ValidationRow, ...]
