"""Render the report on one data validation as a self-contained HTML page."""

from surefoot.core.judging.validation_report import ValidationReport, ValidationRow
from surefoot.reports.page_templates import load_page_template


def render_validation_page(report: ValidationReport) -> str:
    """One self-contained HTML page about a validation.

    Law: every text of the report is escaped; the page names no address outside itself.
    """
    rows = report.expectations
    return load_page_template("validation.html").render(
        report=report,
        blocking=[row for row in rows if not row.held and row.severity == "critical"],
        warned=[row for row in rows if not row.held and row.severity != "critical"],
        kept=[row for row in rows if row.held],
        title=_human,
        headings=_headings,
    )


def _human(kind: str) -> str:
    """An expectation's type as a few words."""
    return kind.removeprefix("expect_").replace("_", " ")


def _headings(row: ValidationRow) -> list[str]:
    """Column headings of a row's samples, in the order in which they first occur."""
    return list(dict.fromkeys(key for sample in row.samples for key in sample))
