"""Map the runs of the journal to OpenLineage events."""

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from surefoot.core.domain import Stage, Version
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import GateJudged
from surefoot.core.telemetry.journal_runs import FLOW_ACTOR_PREFIX, JournalRun, RunChange, RunKind, RunResult
from surefoot.core.telemetry.lineage_facets import (
    EVENT_SCHEMA,
    PRODUCER,
    Json,
    assertions_facet,
    error_facet,
    job_type_facet,
    ownership_facet,
    parent_facet,
    tags_facet,
    version_facet,
)

_RUNS = uuid.uuid5(uuid.NAMESPACE_URL, "https://pypi.org/project/surefoot/openlineage")
"""Name space of the ids of runs."""
_DATA_GATE = "data"
"""Gate that evaluates the expectation suite."""
_PREFECT = "prefect"
"""Job namespace of Prefect's flows."""


@dataclass(frozen=True, slots=True)
class LineageNamespaces:
    """Namespaces of the events of one installation.

    Attributes:
        jobs: Namespace of its jobs.
        registry: Namespace of registered models and their versions.
        flow_run: Gives the id of the Prefect flow run that wrote an entry; empty where it is not known.
    """

    jobs: str = "surefoot"
    registry: str = "mlflow"
    flow_run: Callable[[Entry], str] = lambda _entry: ""


def lineage_event(change: RunChange, names: LineageNamespaces) -> Json | None:
    """The OpenLineage event of a run that began or ended; None for an effect, which is no job.

    Law: the same journal entry gives the same event, so that an event that is sent again changes nothing.

    Args:
        change: What began or ended.
        names: Namespaces.
    """
    run = change.run
    if run.kind is RunKind.EFFECT:
        return None
    at = dt.datetime.fromtimestamp(change.entry.wall, dt.UTC).isoformat(timespec="milliseconds")
    return {
        "eventTime": at.replace("+00:00", "Z"),
        "eventType": "START" if change.result is None else change.result.value,
        "producer": PRODUCER,
        "schemaURL": EVENT_SCHEMA,
        "run": {"runId": _run_id(run.began.hash), "facets": _run_facets(change, names)},
        "job": _job(run, names),
        "inputs": _inputs(change, names),
        "outputs": _outputs(change, names),
    }


def _run_id(entry_hash: str) -> str:
    """Id of the run that a journal entry began: the same whenever it is told."""
    return str(uuid.uuid5(_RUNS, entry_hash))


def _job_name(run: JournalRun) -> str:
    model, kind = run.began.model, run.opened.kind.value
    if run.is_rollout:
        return f"{model}.{kind}"
    return f"{model}.restore.{run.name}" if run.kind is RunKind.RESTORE else f"{model}.{kind}.{run.name}"


def _job(run: JournalRun, names: LineageNamespaces) -> Json:
    facets: dict[str, object] = {"jobType": job_type_facet(run.kind.value)}
    owners = run.opened.policy.get("owners")
    if isinstance(owners, list | tuple) and owners:
        facets["ownership"] = ownership_facet([str(one) for one in owners])
    return {"namespace": names.jobs, "name": _job_name(run), "facets": facets}


def _run_facets(change: RunChange, names: LineageNamespaces) -> Json:
    run, opened = change.run, change.run.opened
    tags = {
        "surefoot.rollout": opened.rollout,
        "surefoot.entry": str(run.began.seq),
        "surefoot.actor": run.began.actor,
        "surefoot.step": str(run.step) if run.name == Stage.RAMPING else "",
        "surefoot.policy": opened.policy_digest,
        "surefoot.ticket": opened.ticket,
        **{
            f"surefoot.gate.{event.verdict.gate}": event.verdict.outcome.value
            for _, event in change.moments
            if isinstance(event, GateJudged)
        },
    }
    facets: dict[str, object] = {"tags": tags_facet(tags)}
    flow = _flow_run(change.flow, names)
    whole = _run_id(run.root.hash), names.jobs, f"{run.root.model}.{opened.kind.value}"
    if not run.is_rollout:
        facets["parent"] = parent_facet(whole, flow or whole)
    elif flow is not None:
        facets["parent"] = parent_facet(flow, flow)
    if change.reason:
        facets["errorMessage"] = error_facet(change.reason)
    return facets


def _flow_run(entry: Entry | None, names: LineageNamespaces) -> tuple[str, str, str] | None:
    """Id, namespace and job name of the Prefect flow run that wrote an entry."""
    found = "" if entry is None else names.flow_run(entry)
    if entry is None or not found:
        return None
    flow, _, _ = entry.actor.removeprefix(FLOW_ACTOR_PREFIX).partition("/")
    return found, _PREFECT, flow


def _inputs(change: RunChange, names: LineageNamespaces) -> list[Json]:
    """Both versions, what they were trained on, and the requests that were validated."""
    run, model = change.run, change.run.began.model
    if run.kind is RunKind.RESTORE:
        return [_dataset(names.jobs, f"{model}.checkpoint.{run.name}")]
    versions = {one.number: one for one in (run.opened.champion, run.opened.candidate)}
    inputs = [_version(model, one, names) for one in versions.values()]
    digests = dict.fromkeys(one.data_digest for one in versions.values() if one.data_digest)
    inputs += [_dataset(names.registry, f"{model}.training-data", digest) for digest in digests]
    for _, event in change.moments:
        if isinstance(event, GateJudged) and event.verdict.gate == _DATA_GATE:
            requests: dict[str, object] = dict(_dataset(names.jobs, f"{model}.requests"))
            requests["inputFacets"] = {"dataQualityAssertions": assertions_facet(event.verdict)}
            inputs = [one for one in inputs if one["name"] != requests["name"]]
            inputs.append(requests)
    return inputs


def _outputs(change: RunChange, names: LineageNamespaces) -> list[Json]:
    """The champion where the run may change who it is, with its digest once it has; a restored table."""
    run, model = change.run, change.run.began.model
    if run.kind is RunKind.RESTORE:
        return [_dataset(names.jobs, f"{model}.table.{run.name}", _restored_digest(change))]
    if not (run.is_rollout or run.name == Stage.PROMOTING):
        return []
    served = change.served
    return [_dataset(names.registry, f"{model}@champion", served.digest if served is not None else "")]


def _restored_digest(change: RunChange) -> str:
    found: Mapping[str, object] = change.entry.data
    return str(found.get("after", "")) if change.result is RunResult.COMPLETE else ""


def _version(model: str, version: Version, names: LineageNamespaces) -> Json:
    return _dataset(names.registry, f"{model}/{version.number}", version.digest)


def _dataset(namespace: str, name: str, version: str = "") -> Json:
    return {"namespace": namespace, "name": name, "facets": {"version": version_facet(version)} if version else {}}
