"""Run a Great Expectations suite on a table, or check the suite itself."""

import contextlib
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from surefoot.adapters.expectations import result_wording as words
from surefoot.adapters.expectations import suite_rules as rules
from surefoot.adapters.expectations.great_expectations import (
    SuiteEvaluationError,
    build_expectation,
    expectation_phrase,
    first_error_line,
    gx_exception_message,
    import_great_expectations,
    make_gx_batch,
)
from surefoot.adapters.expectations.unbreakable_expectations import find_unbreakable_expectations
from surefoot.core.domain import Outcome
from surefoot.core.judging.data_validation import FailedExpectation, ValidationResult
from surefoot.core.judging.evidence import MissingEvidence
from surefoot.core.judging.validation_report import ValidationReport, ValidationRow

if TYPE_CHECKING:
    import pandas as pd

_MAX_SAMPLES_PER_EXPECTATION = 5
"""Offending rows that are kept of an expectation [count]: enough to see the pattern, few enough for privacy."""


def run_suite(
    suite_path: Path,
    frame: "pd.DataFrame",
    render: Callable[[ValidationReport], str],
    report_path: Path,
    *,
    checked_at: str = "",
) -> ValidationResult | MissingEvidence:
    """Run an expectation suite on a table, and write a page with the results.

    Args:
        suite_path: The suite as Great Expectations writes it in JSON.
        frame: The rows to validate; it is not changed.
        render: Turns the report into one HTML page.
        report_path: Where the page goes; its folder is made when it is absent.
        checked_at: When the data was checked, for the page.

    Returns:
        What held and what did not; MissingEvidence with outcome ERROR when any expectation of the suite gave no answer.
    """
    try:
        name, declared = _read(suite_path)
        rows = _evaluate(name, declared, frame)
    except SuiteEvaluationError as problem:
        return MissingEvidence(Outcome.ERROR, words.replace_unencodable_text(str(problem)))
    report = ValidationReport(name, len(frame), checked_at, tuple(rows))
    broken = [(row, FailedExpectation(row.kind, row.column, row.reason, row.samples)) for row in rows if not row.held]
    return ValidationResult(
        suite=name,
        rows=len(frame),
        evaluated=len(rows),
        failed=tuple(found for row, found in broken if row.severity == "critical"),
        warnings=tuple(found for row, found in broken if row.severity != "critical"),
        report=_write(report_path, render(report)),
    )


def find_suite_problems(suite_path: Path) -> tuple[int, tuple[str, ...]]:
    """Count a suite's expectations, and describe those that are invalid or can never fail."""
    found: list[str] = []
    try:
        _, items = _read(suite_path)
    except SuiteEvaluationError as problem:
        return 0, (words.replace_unencodable_text(str(problem)),)
    gx = import_great_expectations()
    for at, item in enumerate(items):
        try:
            build_expectation(gx, at, item)
        except SuiteEvaluationError as problem:
            found.append(words.replace_unencodable_text(str(problem)))
    if not found:
        found += find_unbreakable_expectations(json.dumps(items))
    return len(items), tuple(found)


def _read(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """Name and declared expectations of a suite file."""
    try:
        text = path.read_text("utf-8")
        raw = json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_once)
    except FileNotFoundError:
        raise SuiteEvaluationError(f"expectation suite {path.name} does not exist") from None
    except OSError as error:
        raise SuiteEvaluationError(f"expectation suite {path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SuiteEvaluationError(f"expectation suite {path.name} is not valid JSON: {error}") from error
    declared = raw.get("expectations") if isinstance(raw, dict) else None
    if not isinstance(declared, list) or not all(isinstance(item, dict) for item in declared):
        raise SuiteEvaluationError(f"expectation suite {path.name} has no list of 'expectations'")
    if not declared:
        raise SuiteEvaluationError(f"expectation suite {path.name} is empty: it would accept anything")
    if problem := rules.suite_never_fails_reason(declared):
        raise SuiteEvaluationError(f"expectation suite {path.name} judges nothing: {problem}")
    return str(raw.get("name") or path.stem), declared


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number that can be compared")


def _finite(number: str) -> float:
    if not math.isfinite(float(number)):
        _refuse(number)
    return float(number)


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key '{twice}' is written twice")
    return made


def _evaluate(name: str, declared: list[dict[str, Any]], frame: "pd.DataFrame") -> list[ValidationRow]:
    """One row an expectation, in the order of the suite."""
    if frame.empty:
        raise SuiteEvaluationError(f"suite {name} was given an empty table: there is nothing to validate")
    table = frame.reset_index(drop=True)  # samples tell rows by number, whatever the caller's index says
    gx = import_great_expectations()
    for item in declared:
        build_expectation(gx, 0, item)
    if problems := find_unbreakable_expectations(json.dumps(declared)):
        raise SuiteEvaluationError(problems[0])
    wanted = [build_expectation(gx, at, rules.parse_date_columns(item, table)) for at, item in enumerate(declared)]
    suite = gx.ExpectationSuite(name=name, expectations=wanted)
    try:
        answer = make_gx_batch(gx, table).validate(suite, result_format={"result_format": "SUMMARY", **_PARTIAL})
    except Exception as error:  # the boundary to a plug-in system: expectations of owners raise what they like
        raise SuiteEvaluationError(f"suite {name} cannot be evaluated: {first_error_line(error)}") from error
    results = {result.expectation_config.meta["position"]: result for result in answer.results}
    return [_row(item, results.get(at), table) for at, item in enumerate(declared)]


_PARTIAL = {
    "partial_unexpected_count": _MAX_SAMPLES_PER_EXPECTATION
}  # COMPLETE would list every offending row of a million


def _row(item: Mapping[str, Any], result: Any, table: "pd.DataFrame") -> ValidationRow:
    """One answer as a person reads it.

    Raises:
        SuiteEvaluationError: There is no answer, or it rests on nothing.
    """
    if result is None:
        raise SuiteEvaluationError(f"{expectation_phrase(item)} was not evaluated")
    if problem := gx_exception_message(result.exception_info):
        raise SuiteEvaluationError(f"{expectation_phrase(item)} could not be evaluated: {problem}")
    kind, found = str(item["type"]), dict(result.result or {})
    # Great Expectations fills in defaults and its own batch id: only what the owner wrote is shown.
    kwargs = item.get("kwargs") or {}
    severity = str(item.get("severity") or "critical")
    if not result.success:
        return ValidationRow(
            kind, words.describe_columns(kwargs), severity, held=False, **_blame(kind, kwargs, found, table)
        )
    if _vacuous(found) or not rules.condition_selects_rows(item, table):
        if severity == "critical":
            raise SuiteEvaluationError(
                f"{expectation_phrase(item)} had no value to look at: every one is missing or filtered out"
            )
        return ValidationRow(
            kind, words.describe_columns(kwargs), severity, held=False, reason="there is no value to look at"
        )
    return ValidationRow(
        kind, words.describe_columns(kwargs), severity, held=True, reason=words.describe_expectation(kwargs)
    )


def _vacuous(found: Mapping[str, Any]) -> bool:
    """Whether a check of single values has seen none; Great Expectations calls that a success."""
    seen, missing = found.get("element_count"), found.get("missing_count", 0)
    return isinstance(seen, int) and seen == missing


def _blame(kind: str, kwargs: Mapping[str, Any], found: Mapping[str, Any], table: "pd.DataFrame") -> dict[str, Any]:
    return {"reason": words.describe_failure(kind, kwargs, found), "samples": _samples(kwargs, found, table)}


def _samples(kwargs: Mapping[str, Any], found: Mapping[str, Any], table: "pd.DataFrame") -> tuple[dict[str, Any], ...]:
    """The first offending rows, cut to the columns at fault; bare values where rows are not known."""
    at = list(found.get("partial_unexpected_index_list") or ())[:_MAX_SAMPLES_PER_EXPECTATION]
    named = [name for name in words.column_names(kwargs) if name in table.columns]
    if at and named:
        return tuple(
            {
                "row": int(row),
                **{
                    words.replace_unencodable_text(name): words.convert_to_journal_value(table[name].iloc[row])
                    for name in named
                },
            }
            for row in at
        )
    label = words.describe_columns(kwargs) or "value"
    return tuple(
        {label: words.convert_to_journal_value(value)}
        for value in list(found.get("partial_unexpected_list") or ())[:_MAX_SAMPLES_PER_EXPECTATION]
    )


def _write(path: Path, page: str) -> str:
    """Put the page in place in one move, so that a reader never opens half of it.

    Returns:
        Its path, or nothing when the disk refuses: the answer of the suite stands without its page.
    """
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(page, "utf-8")
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        return ""
    return str(path)
