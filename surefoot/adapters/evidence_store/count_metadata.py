"""Encode and decode failure and exclusion counts, as the metadata of stored tables."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from surefoot.adapters.evidence.replay_failures import ReplayFailures
from surefoot.core.judging.excluded_records import ExcludedRecords


def decode_excluded_counts(facts: Mapping[str, object]) -> ExcludedRecords:
    """Read counts of excluded records from the metadata of a stored table."""
    found: dict[str, Any] = {one.name: facts[one.name] for one in fields(ExcludedRecords)}
    return ExcludedRecords(**{**found, "requests": tuple(found["requests"])})


def add_excluded_counts(one: ExcludedRecords, other: ExcludedRecords) -> ExcludedRecords:
    """Add up two counts of excluded records, which are of different records."""
    counts = {
        name.name: getattr(one, name.name) + getattr(other, name.name)
        for name in fields(ExcludedRecords)
        if name.name not in {"requests", "what"}
    }
    return ExcludedRecords(**counts)


def decode_replay_failures(facts: Mapping[str, Any]) -> ReplayFailures:
    """Read counts of replay failures from the metadata of a stored table."""
    return ReplayFailures(*(int(facts[one.name]) for one in fields(ReplayFailures)))


def encode_replay_failures(counts: ReplayFailures) -> dict[str, object]:
    """Convert counts of replay failures to metadata of a stored table."""
    return asdict(counts)
