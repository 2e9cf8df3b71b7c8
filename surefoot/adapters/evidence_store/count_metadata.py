"""Read and write counts of excluded records and of replay failures as metadata of stored tables."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from surefoot.adapters.evidence.replay_failures import ReplayFailures
from surefoot.core.judging.excluded_records import ExcludedRecords


def read_excluded_counts(facts: Mapping[str, object]) -> ExcludedRecords:
    """What was left out of some records, as its facts were kept."""
    found: dict[str, Any] = {one.name: facts[one.name] for one in fields(ExcludedRecords)}
    return ExcludedRecords(**{**found, "requests": tuple(found["requests"])})


def add_excluded_counts(one: ExcludedRecords, other: ExcludedRecords) -> ExcludedRecords:
    """Count what was left out of different records."""
    counts = {
        name.name: getattr(one, name.name) + getattr(other, name.name)
        for name in fields(ExcludedRecords)
        if name.name not in {"requests", "what"}
    }
    return ExcludedRecords(**counts)


def decode_replay_failures(facts: Mapping[str, Any]) -> ReplayFailures:
    """Read counts of failures from the facts of a piece."""
    return ReplayFailures(*(int(facts[one.name]) for one in fields(ReplayFailures)))


def encode_replay_failures(counts: ReplayFailures) -> dict[str, object]:
    """Counts of failures as facts of a piece."""
    return asdict(counts)
