"""Render the report on one data validation as a self-contained HTML page."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from surefoot.core.judging.validation_report import ValidationReport, ValidationRow


def render_validation_page(report: ValidationReport) -> str:
    """One self-contained HTML page about a validation.

    Law: every text of the report is escaped; the page names no address outside itself.
    """
    rows = report.expectations
    return _template().render(
        report=report,
        blocking=[row for row in rows if not row.held and row.severity == "critical"],
        warned=[row for row in rows if not row.held and row.severity != "critical"],
        kept=[row for row in rows if row.held],
        title=_human,
        headings=_headings,
    )


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("validation.html")


def _human(kind: str) -> str:
    """An expectation's type as a few words."""
    return kind.removeprefix("expect_").replace("_", " ")


def _headings(row: ValidationRow) -> list[str]:
    """Column headings of a row's samples, in the order in which they first occur."""
    return list(dict.fromkeys(key for sample in row.samples for key in sample))
