"""Judge two versions from another serving system's log, without moving traffic."""

import math
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surefoot.adapters.evidence_providers.source_reading import SourceReader
from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.backtest.observed_records import ObservedPair, ObservedRecords, write_observed_records
from surefoot.backtest.run_backtest import BacktestResult, backtest
from surefoot.backtest.suite_runner import file_digest, make_suite_runner
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import (
    BAD_EVENT_METRICS,
    MEASUREMENT_METRICS,
    Metric,
    Policy,
    ShiftGate,
)

_ELSEWHERE = frozenset(
    {"bundle", "corners", "data_layer", "drill", "evidence", "fallback", "playbook", "rollback", "watch"}
)
"""Sections of a policy that judge no request of a rollout."""
_IN_ONE_ARM = BAD_EVENT_METRICS | MEASUREMENT_METRICS | {Metric.GAUGE, Metric.VALUE}
"""Metrics of requests that one version answered."""


@dataclass(frozen=True, slots=True)
class _ObservedPolicy:
    """A policy as it can be played over another system's log.

    Attributes:
        value: The policy, as JSON values.
        notes: What of it cannot be played there, one sentence each.
    """

    value: Mapping[str, object]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """What Surefoot would have done.

    Attributes:
        found: What the sources hold.
        notes: What of the policy was not played.
        result: How the rollout would have gone.
    """

    found: ObservedRecords
    notes: tuple[str, ...]
    result: BacktestResult


def observe_versions(
    value: Mapping[str, object],
    policy: Policy,
    pair: ObservedPair,
    reader: SourceReader,
    project: Path,
    window: tuple[float, float],
) -> Observation:
    """Play a rollout over what the policy's sources hold about two versions, from the candidate's first request on.

    No registry, journal, gateway or log is opened: all that is written is in a temporary folder.

    Args:
        value: The policy, as JSON values.
        policy: The same, read.
        pair: The two versions.
        reader: Reads the sources.
        project: Folder with expectations/.
        window: Beginning of what is read, and now [Unix seconds].

    Raises:
        SurefootError: A source cannot be read, or holds nothing of one of the versions.
    """
    with tempfile.TemporaryDirectory(prefix="surefoot-observe-") as name:
        folder = Path(name)
        found = write_observed_records(policy, pair, reader, window, folder)
        played = _playable_policy(value, policy, found)
        labels = folder / "labels.parquet"
        records = RecordedRequests(folder / "records.parquet", labels if labels.exists() else None)
        suite = project / "expectations" / f"{policy.suite}.json"
        judged = suite.is_file() and found.before > 0
        notes = played.notes if judged else (*played.notes, _no_suite(suite, found))
        try:
            result = backtest(
                records,
                played.value,
                make_suite_runner(suite) if judged else None,
                suite=file_digest(suite) if judged else "",
                opened=math.nextafter(found.since, -math.inf),
                until=window[1],
            )
        finally:
            records.close()
    return Observation(found, notes, result)


def _no_suite(suite: Path, found: ObservedRecords) -> str:
    why = f"there is no {suite}" if found.before else "no request is older than the candidate's first"
    return f"the expectation suite is not run: {why}"


def _playable_policy(value: Mapping[str, object], policy: Policy, found: ObservedRecords) -> _ObservedPolicy:
    """The parts of a policy that can be played over a log in which each request has one version's answer, or both's.

    Args:
        value: The policy, as JSON values.
        policy: The same, read.
        found: What the log holds.
    """
    made: dict[str, Any] = {key: deepcopy(item) for key, item in value.items() if key not in _ELSEWHERE}
    traffic = {key: item for key, item in made["traffic"].items() if key not in _ENGINE_KEYS}
    made["traffic"] = {**traffic, "engine": "gateway"}  # a simulated one, which has any weight
    notes: list[str] = []
    if found.paired:
        gates = dict(policy.gates)
    else:
        gates = {
            name: gate
            for name, gate in policy.gates.items()
            if gate.metric in _IN_ONE_ARM or (isinstance(gate, ShiftGate) and gate.against != "champion")
        }
        made["data"] = {**made["data"], "answers": "any"}
        if policy.shadow is not None:
            notes.append("the shadow is not played: it needs both versions' answers to the same requests")
    if left := [name for name in policy.gates if name not in gates]:
        notes.append(f"not judged, because each request has one version's answer: {', '.join(left)}")
    steps = [_step(step, gates, paired=found.paired > 0) for step in made["steps"]]
    made["steps"] = [step for step in steps if step is not None]
    made["bake"]["gates"] = _kept(made["bake"]["gates"], gates)
    if not any("weight" in step for step in made["steps"]):
        hold = {"for": made["bake"]["for"], "gates": made["bake"]["gates"] or list(gates)}
        made["steps"].append({"weight": min(max(found.weight, 0.1), 99.0), "hold": hold})
        notes.append(f"the policy has no weights: its bake is played beside the champion, at {found.weight:g} percent")
    named = {
        name for step in made["steps"] for part in step.values() if isinstance(part, dict) for name in part["gates"]
    }
    named |= set(made["bake"]["gates"])
    made["gates"] = {name: gate for name, gate in made["gates"].items() if name in named}
    parse_policy(made)
    return _ObservedPolicy(made, tuple(notes))


_ENGINE_KEYS = frozenset({"engine", "haproxy", "candidate_errors_reach_callers"})


def _step(step: dict[str, Any], gates: Mapping[str, object], *, paired: bool) -> dict[str, Any] | None:
    """A step with the gates that can be judged; None where none can."""
    if "shadow" in step:
        if not paired or step["shadow"].get("source") == "live":
            return None
        return step
    kept = _kept(step["hold"]["gates"], gates)
    return {**step, "hold": {**step["hold"], "gates": kept}} if kept else None


def _kept(names: object, gates: Mapping[str, object]) -> list[str]:
    listed = [names] if isinstance(names, str) else list(names)  # type: ignore[call-overload]
    return [name for name in listed if name in gates]
