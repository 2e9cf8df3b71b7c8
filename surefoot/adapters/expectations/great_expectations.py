"""Wrap the Great Expectations library and its error messages."""

import logging
import os
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from surefoot.adapters.expectations import result_wording as words
from surefoot.adapters.expectations import suite_rules as rules

if TYPE_CHECKING:
    import pandas as pd


class SuiteEvaluationError(Exception):
    """Raised when an expectation suite cannot be evaluated; the message says why, for people."""


def import_great_expectations() -> ModuleType:
    """Import Great Expectations late (it costs 5.5 CPU seconds), and turn its telemetry off."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    noise = logging.getLogger("great_expectations")
    if noise.level == logging.NOTSET:  # at INFO its import alone writes hundreds of lines
        noise.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Great Expectations imports sre_constants
        import great_expectations as gx  # noqa: PLC0415 - lazily, see above
    return gx


def build_expectation(gx: ModuleType, position: int, item: dict[str, Any]) -> Any:
    """Build one expectation; the suite itself would only log one that it does not know, and skip it."""
    configuration = gx.expectations.expectation_configuration.ExpectationConfiguration
    kind = item.get("type")
    if not isinstance(kind, str):
        raise SuiteEvaluationError(f"expectation {position + 1} of the suite has no type")
    if problem := rules.row_condition_problem(item) or rules.expectation_never_fails_reason(item):
        raise SuiteEvaluationError(f"{expectation_phrase(item)} is no check: {problem}")
    # Results come back in another order; the position leads back to what was declared.
    wanted = {"kwargs": {}, **item, "meta": {"position": position}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # conditions on rows are texts in a JSON file
            return configuration(**wanted).to_domain_obj()
    except gx.exceptions.ExpectationNotFoundError:
        raise SuiteEvaluationError(
            f"{expectation_phrase(item)} is unknown to Great Expectations {gx.__version__}; it would be skipped in"
            " silence"
        ) from None
    except (gx.exceptions.GreatExpectationsError, ValueError, TypeError) as error:
        said = "; ".join(line.strip() for line in str(error).splitlines()[:3])
        raise SuiteEvaluationError(f"{expectation_phrase(item)} is not a valid expectation: {said}") from error


def make_gx_batch(gx: ModuleType, table: "pd.DataFrame") -> Any:
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


def gx_exception_message(info: Mapping[str, Any] | None) -> str:
    """What an expectation raised: told flat, or once for each metric that it is computed from."""
    if not info:
        return ""
    parts = [info] if "raised_exception" in info else [part for part in info.values() if isinstance(part, Mapping)]
    said = [str(part.get("exception_message") or "no reason given") for part in parts if part.get("raised_exception")]
    return "; ".join(dict.fromkeys(line.strip().splitlines()[0] for line in said))


def expectation_phrase(item: Mapping[str, Any]) -> str:
    """An expectation as a sentence calls it."""
    about = words.describe_columns(item.get("kwargs") or {})
    return f"{item['type']} on column {about}" if about else str(item["type"])


def first_error_line(error: Exception) -> str:
    """What an error says first, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
