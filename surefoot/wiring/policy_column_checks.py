"""Check the columns that a policy's corner cases and its expectation suite name."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from surefoot.adapters.config.policy_file import find_line
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.errors import EvidenceUnavailable, Rejected
from surefoot.core.naming.model_names import model_file_name
from surefoot.core.policy.corners import ColumnKind, determine_column_kind
from surefoot.core.policy.policy_types import Policy
from surefoot.settings import read_settings
from surefoot.wiring.adapters import make_clock

_SAMPLE_S = 86400.0
"""Requests of so long before the latest one tell what the columns are [seconds]."""
_SAMPLE_ROWS = 500
_ALL_COLUMNS = {
    "expect_table_columns_to_match_set": "column_set",
    "expect_table_columns_to_match_ordered_list": "column_list",
}
"""Expectations that name every column, and the argument that does."""
_TEXT_EXPECTATIONS = ("expect_column_value_lengths_", "expect_column_values_to_match_regex")
"""How expectations of texts begin."""


def find_corner_problems(file: Path, policy: Policy, suite: Path) -> list[str]:
    """Problems of a policy's corner cases, one line each: file, line and what to do.

    Args:
        file: The policy file.
        policy: What it means.
        suite: Its expectation suite.
    """
    if policy.corners is None:
        return []
    kinds, complete = _suite_columns(suite)
    if logged := _logged_columns(file.resolve().parent.parent, policy.model):
        kinds, complete = {**kinds, **logged}, True
    return [
        f"{file}:{find_line(file, ('corners', *wrong.path))}: corners.{wrong}"
        for wrong in policy.corners.problems(kinds, complete=complete)
    ]


def find_encrypted_expectations(policy: Policy, suite: Path) -> list[str]:
    """Columns that the log keeps encrypted and a suite checks, one sentence each: its results would name their values.

    Args:
        policy: The policy.
        suite: Its expectation suite.
    """
    if not policy.log.encrypted:
        return []
    named = _suite_columns(suite)[0]
    return [
        f"the suite checks column '{column}', which log.encrypt hides from it: leave one of the two out"
        for column in policy.log.encrypted
        if column in named
    ]


def _suite_columns(suite: Path) -> tuple[dict[str, ColumnKind], bool]:
    """Columns that a suite names, and whether these are all."""
    try:
        found = orjson.loads(suite.read_bytes())["expectations"]
        named = [(str(one["type"]), dict(one.get("kwargs", {}))) for one in found]
    except (OSError, ValueError, KeyError, TypeError):
        return {}, False  # what is wrong with a suite is said elsewhere
    kinds: dict[str, ColumnKind] = {}
    complete = False
    for kind, said in named:
        every = said.get(_ALL_COLUMNS.get(kind, ""))
        if isinstance(every, list):
            complete = complete or said.get("exact_match", True) is True
            kinds |= {str(name): ColumnKind.UNKNOWN for name in every if str(name) not in kinds}
        if isinstance(column := said.get("column"), str):
            told = _kind(kind, said)
            if told is not ColumnKind.UNKNOWN or column not in kinds:
                kinds[column] = told
    return kinds, complete


def _kind(expectation: str, said: Mapping[str, Any]) -> ColumnKind:
    """What an expectation says of the values of its column."""
    if expectation.startswith(_TEXT_EXPECTATIONS):
        return ColumnKind.TEXT
    if expectation == "expect_column_values_to_be_in_set" and isinstance(said.get("value_set"), list):
        return determine_column_kind(said["value_set"])
    if expectation == "expect_column_values_to_be_between":
        found = determine_column_kind([said.get("min_value"), said.get("max_value")])
        return found if found in {ColumnKind.WHOLE, ColumnKind.NUMBER} else ColumnKind.UNKNOWN
    return ColumnKind.UNKNOWN


def _logged_columns(project: Path, model: str) -> dict[str, ColumnKind]:
    """Columns of the latest logged requests of the stack that runs on this project; none without one."""
    with contextlib.suppress(Rejected, EvidenceUnavailable):
        config = read_settings()
        if config.project.resolve() != project or not (config.log / model_file_name(model)).is_dir():
            return {}
        log = PredictionLog(config.log)
        newest = log.newest_request_time(model, make_clock(config).now())
        if newest is not None:
            found = log.read_requests(model, newest - _SAMPLE_S, newest, limit=_SAMPLE_ROWS)
            names = dict.fromkeys(name for request in found for name in request.features)
            return {name: determine_column_kind(request.features.get(name) for request in found) for name in names}
    return {}
