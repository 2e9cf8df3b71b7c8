"""Great Expectations as a gate: whatever it could not judge is an error, never a pass and never a bad batch."""

import contextlib
import json
import logging
import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from surefoot.adapters.expectations import suite_rules as rules
from surefoot.adapters.expectations import wording as words
from surefoot.core.domain import Outcome
from surefoot.core.judging.evidence import Expectation, Missing, Validation
from surefoot.core.judging.validation_report import ValidationReport, ValidationRow

if TYPE_CHECKING:
    import pandas as pd

SAMPLES = 5
"""Offending rows that are kept of an expectation [count]: enough to see the pattern, few enough for privacy."""


class _CannotJudgeError(Exception):
    """The suite gives no answer; the message is the sentence for the person."""


def run_suite(
    suite_path: Path,
    frame: "pd.DataFrame",
    render: Callable[[ValidationReport], str],
    report_path: Path,
    *,
    checked_at: str = "",
) -> Validation | Missing:
    """Hold a table against an expectation suite and write a page about it.

    Args:
        suite_path: The suite as Great Expectations writes it in JSON.
        frame: The rows to validate; it is not changed.
        render: Turns the report into one HTML page.
        report_path: Where the page goes; its folder is made when it is absent.
        checked_at: When the data was checked, for the page.

    Returns:
        What held and what did not; Missing with outcome ERROR when any expectation of the suite gave no answer.
    """
    try:
        name, declared = _read(suite_path)
        rows = _evaluate(name, declared, frame)
    except _CannotJudgeError as problem:
        return Missing(Outcome.ERROR, words.encodable(str(problem)))
    report = ValidationReport(name, len(frame), checked_at, tuple(rows))
    broken = [(row, Expectation(row.kind, row.column, row.reason, row.samples)) for row in rows if not row.held]
    return Validation(
        suite=name,
        rows=len(frame),
        evaluated=len(rows),
        failed=tuple(found for row, found in broken if row.severity == "critical"),
        warnings=tuple(found for row, found in broken if row.severity != "critical"),
        report=_write(report_path, render(report)),
    )


def suite_problems(suite_path: Path) -> tuple[int, tuple[str, ...]]:
    """How many expectations a suite declares, and what is wrong with each of them that is no check."""
    found: list[str] = []
    try:
        _, items = _read(suite_path)
    except _CannotJudgeError as problem:
        return 0, (words.encodable(str(problem)),)
    gx = _great_expectations()
    for at, item in enumerate(items):
        try:
            _load(gx, at, item)
        except _CannotJudgeError as problem:
            found.append(words.encodable(str(problem)))
    return len(items), tuple(found)


def _read(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """Name and declared expectations of a suite file."""
    try:
        raw = json.loads(path.read_text("utf-8"), parse_constant=_refuse, object_pairs_hook=_once)
    except FileNotFoundError:
        raise _CannotJudgeError(f"expectation suite {path.name} does not exist") from None
    except OSError as error:
        raise _CannotJudgeError(f"expectation suite {path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _CannotJudgeError(f"expectation suite {path.name} is not valid JSON: {error}") from error
    declared = raw.get("expectations") if isinstance(raw, dict) else None
    if not isinstance(declared, list) or not all(isinstance(item, dict) for item in declared):
        raise _CannotJudgeError(f"expectation suite {path.name} has no list of 'expectations'")
    if not declared:
        raise _CannotJudgeError(f"expectation suite {path.name} is empty: it would accept anything")
    if problem := rules.suite_never_fails(declared):
        raise _CannotJudgeError(f"expectation suite {path.name} judges nothing: {problem}")
    return str(raw.get("name") or path.stem), declared


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number that can be compared")


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key '{twice}' is written twice")
    return made


def _great_expectations() -> ModuleType:
    """Import it late (5.5 CPU seconds) and tell it not to phone home."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    noise = logging.getLogger("great_expectations")
    if noise.level == logging.NOTSET:  # at INFO its import alone writes hundreds of lines
        noise.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports sre_constants; nobody here can change that
        import great_expectations as gx  # noqa: PLC0415 - lazily, see above
    return gx


def _evaluate(name: str, declared: list[dict[str, Any]], frame: "pd.DataFrame") -> list[ValidationRow]:
    """One row an expectation, in the order of the suite."""
    if frame.empty:
        raise _CannotJudgeError(f"suite {name} was given an empty table: there is nothing to validate")
    table = frame.reset_index(drop=True)  # samples tell rows by number, whatever the caller's index says
    gx = _great_expectations()
    wanted = [_load(gx, at, rules.with_moments(item, table)) for at, item in enumerate(declared)]
    suite = gx.ExpectationSuite(name=name, expectations=wanted)
    try:
        answer = _batch(gx, table).validate(suite, result_format={"result_format": "SUMMARY", **_PARTIAL})
    except Exception as error:  # the boundary to a plug-in system: expectations of owners raise what they like
        raise _CannotJudgeError(f"suite {name} cannot be evaluated: {_first_line(error)}") from error
    results = {result.expectation_config.meta["position"]: result for result in answer.results}
    return [_row(item, results.get(at), table) for at, item in enumerate(declared)]


_PARTIAL = {"partial_unexpected_count": SAMPLES}  # COMPLETE would list every offending row of a million


def _load(gx: ModuleType, position: int, item: dict[str, Any]) -> Any:
    """Build one expectation; the suite itself would only log one that it does not know, and skip it."""
    configuration = gx.expectations.expectation_configuration.ExpectationConfiguration
    kind = item.get("type")
    if not isinstance(kind, str):
        raise _CannotJudgeError(f"expectation {position + 1} of the suite has no type")
    if problem := rules.condition_problem(item) or rules.never_fails(item):
        raise _CannotJudgeError(f"{_named(item)} is no check: {problem}")
    # Results come back in another order; the position leads back to what was declared.
    wanted = {"kwargs": {}, **item, "meta": {"position": position}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # conditions on rows are texts in a JSON file
            return configuration(**wanted).to_domain_obj()
    except gx.exceptions.ExpectationNotFoundError:
        raise _CannotJudgeError(
            f"{_named(item)} is unknown to Great Expectations {gx.__version__}; it would be skipped in silence"
        ) from None
    except (gx.exceptions.GreatExpectationsError, ValueError, TypeError) as error:
        said = "; ".join(line.strip() for line in str(error).splitlines()[:3])
        raise _CannotJudgeError(f"{_named(item)} is not a valid expectation: {said}") from error


def _batch(gx: ModuleType, table: "pd.DataFrame") -> Any:
    """The table as Great Expectations wants it, in a context that keeps everything in memory."""
    from great_expectations.data_context.types.base import (  # noqa: PLC0415 - lazily, like the package
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    source = gx.get_context(mode="ephemeral", project_config=config).data_sources.add_pandas("rows")
    whole = source.add_dataframe_asset("table").add_batch_definition_whole_dataframe("all")
    return whole.get_batch({"dataframe": table})


def _row(item: Mapping[str, Any], result: Any, table: "pd.DataFrame") -> ValidationRow:
    """One answer as a person reads it.

    Raises:
        _CannotJudgeError: There is no answer, or it rests on nothing.
    """
    if result is None:
        raise _CannotJudgeError(f"{_named(item)} was not evaluated")
    raised = _raised(result.exception_info)
    if raised:
        raise _CannotJudgeError(f"{_named(item)} could not be evaluated: {raised}")
    kind, found = str(item["type"]), dict(result.result or {})
    # Great Expectations fills in defaults and its own batch id: only what the owner wrote is shown.
    kwargs = item.get("kwargs") or {}
    severity = str(item.get("severity") or "critical")
    if not result.success:
        return ValidationRow(
            kind, words.column_words(kwargs), severity, held=False, **_blame(kind, kwargs, found, table)
        )
    if _vacuous(found) or not rules.condition_met(item, table):
        if severity == "critical":
            raise _CannotJudgeError(f"{_named(item)} had no value to look at: every one is missing or filtered out")
        return ValidationRow(
            kind, words.column_words(kwargs), severity, held=False, reason="there is no value to look at"
        )
    return ValidationRow(kind, words.column_words(kwargs), severity, held=True, reason=words.demand_words(kwargs))


def _vacuous(found: Mapping[str, Any]) -> bool:
    """Whether a check of single values has seen none; Great Expectations calls that a success."""
    seen, missing = found.get("element_count"), found.get("missing_count", 0)
    return isinstance(seen, int) and seen == missing


def _blame(kind: str, kwargs: Mapping[str, Any], found: Mapping[str, Any], table: "pd.DataFrame") -> dict[str, Any]:
    return {"reason": words.failure_words(kind, kwargs, found), "samples": _samples(kwargs, found, table)}


def _samples(kwargs: Mapping[str, Any], found: Mapping[str, Any], table: "pd.DataFrame") -> tuple[dict[str, Any], ...]:
    """The first offending rows, cut to the columns at fault; bare values where rows are not known."""
    at = list(found.get("partial_unexpected_index_list") or ())[:SAMPLES]
    named = [name for name in words.column_names(kwargs) if name in table.columns]
    if at and named:
        return tuple(
            {"row": int(row), **{words.encodable(name): words.plain_value(table[name].iloc[row]) for name in named}}
            for row in at
        )
    label = words.column_words(kwargs) or "value"
    return tuple(
        {label: words.plain_value(value)} for value in list(found.get("partial_unexpected_list") or ())[:SAMPLES]
    )


def _raised(info: Mapping[str, Any] | None) -> str:
    """What an expectation raised: told flat, or once for each metric that it is computed from."""
    if not info:
        return ""
    parts = [info] if "raised_exception" in info else [part for part in info.values() if isinstance(part, Mapping)]
    said = [str(part.get("exception_message") or "no reason given") for part in parts if part.get("raised_exception")]
    return "; ".join(dict.fromkeys(line.strip().splitlines()[0] for line in said))


def _named(item: Mapping[str, Any]) -> str:
    about = words.column_words(item.get("kwargs") or {})
    return f"{item['type']} on column {about}" if about else str(item["type"])


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _write(path: Path, page: str) -> str:
    """Put the page in place in one move; nobody ever opens half of it.

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
