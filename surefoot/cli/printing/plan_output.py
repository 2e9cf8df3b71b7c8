"""Print a promotion's plan: stages, detectable harm, artifact trust, load trial and missing parts."""

import math
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from rich.markup import escape
from rich.table import Table

from surefoot.adapters.replay.version_processes import LoadResult
from surefoot.cli.printing.console import console, print_table
from surefoot.core.domain import Version
from surefoot.core.durations import format_duration, format_estimated_duration, format_frequency
from surefoot.core.planning import Detectability
from surefoot.core.policy.evidence.evidence_section import SqlLabels, SqlPredictions
from surefoot.core.policy.governance.artifact_trust import (
    SIGNATURE_FIELD_NAME,
    ArtifactContents,
    describe_missing_provenance,
    describe_pickles,
    find_artifact_problem,
)
from surefoot.core.policy.policy_types import Approve, LiveShadow, Policy, Shadow
from surefoot.core.policy.recovery.data_layer import DataSource, OnRollback

_ENGINE_MODULES = {"dask": "prefect_dask"}
"""Module that each engine of a policy's `scoring` needs beside Surefoot, and that an extra of that name installs."""


def describe_missing_dependencies(policy: Policy) -> list[str]:
    """Say what to install or to set where the engine of `scoring`, or a thing that `evidence` needs, is not there."""
    engine = policy.scoring.engine
    module = _ENGINE_MODULES.get(engine)
    notes = _missing_source_notes(policy)
    if module is None or find_spec(module):
        return notes
    what = f"scoring.engine '{engine}' is not installed here, so each look asks both versions itself"
    return [f"{what}: pip install 'surefoot[{engine}]'", *notes]


def _missing_source_notes(policy: Policy) -> list[str]:
    """What a source of evidence needs and this host does not have."""
    if policy.evidence is None:
        return []
    notes = []
    for key, source in (("predictions", policy.evidence.predictions), ("labels", policy.evidence.labels)):
        if source is None:
            continue
        if isinstance(source, SqlPredictions | SqlLabels):
            if source.url_variable not in os.environ:
                notes.append(f"environment variable {source.url_variable} of evidence.{key} is not set here")
            continue
        if source.source == "delta" and find_spec("deltalake") is None:
            notes.append(f"evidence.{key} needs deltalake: pip install 'surefoot[delta]'")
        if source.source == "parquet" and source.path.startswith("s3://") and find_spec("s3fs") is None:
            notes.append(f"evidence.{key} needs s3fs: pip install 'surefoot[s3]'")
    counters = policy.evidence.prometheus
    if counters is not None and counters.token_variable and counters.token_variable not in os.environ:
        notes.append(f"environment variable {counters.token_variable} of evidence.prometheus is not set here")
    return notes


def print_artifact_trust(
    policy: Policy, candidate: Version, contents: ArtifactContents, provenance: Mapping[str, str]
) -> None:
    """Print which files a version has, what is known of how it came to be, and what the policy refuses of that."""
    pickles = f"; {describe_pickles(contents.pickles)}" if contents.pickles else "; no pickle"
    console.print(f"files: flavours {', '.join(contents.flavors) or 'none'}{pickles}", markup=False)
    if signer := provenance.get(SIGNATURE_FIELD_NAME):
        console.print(f"{SIGNATURE_FIELD_NAME}: {signer}", markup=False)
    for kind in policy.provenance:
        console.print(f"{kind}: {provenance.get(kind, 'not known to MLflow')}", markup=False)
    problems = (
        find_artifact_problem(policy.artifacts, contents),
        describe_missing_provenance(policy.provenance, provenance),
    )
    for problem in filter(None, problems):
        console.print(f"[magenta]version {candidate.number} would be refused[/magenta]: {escape(problem)}")


def print_load_trial(number: str, found: LoadResult) -> None:
    """Print how a version will be asked, and what it may lack."""
    independence = found.independence
    if independence is not None and independence.row_wise:
        console.print(f"  Version {number} answers each row by itself: requests are predicted together.")
    elif independence is not None:
        console.print(f"  Version {number} is asked one request at a time: {escape(independence.why)}")
    for name in found.missing:
        console.print(f"  [yellow]warning[/yellow] its requirements name {escape(name)}, which is not installed here")


def print_stages(policy: Policy) -> None:
    """Print how long each stage lasts, and how often its gates are evaluated."""
    rows = [
        (
            "data",
            f"requests of the last {format_duration(policy.suite_window)}",
            describe_evaluation_frequency(0.0, policy.suite_every),
        )
    ]
    for step in policy.steps:
        if isinstance(step, Shadow):
            rows.append(
                (
                    "shadow",
                    f"requests of the last {format_duration(step.window)}",
                    describe_evaluation_frequency(0.0, step.every),
                )
            )
        elif isinstance(step, Approve):
            waits = f"{_approvers(step)}, for {format_duration(step.expires)} at most"
            rows.append(("approval", waits, "the gates before it stay armed"))
        elif isinstance(step, LiveShadow):
            lasts = f"{step.share:g} % of the requests for {format_duration(step.hold)}"
            rows.append(("live shadow", lasts, describe_evaluation_frequency(step.hold, step.every)))
        else:
            rows.append(
                (
                    f"weight {step.weight:g} %",
                    format_duration(step.hold),
                    describe_evaluation_frequency(step.hold, step.every),
                )
            )
    rows.append(
        ("bake", format_duration(policy.bake.hold), describe_evaluation_frequency(policy.bake.hold, policy.bake.every))
    )
    for stage, lasts, often_ in rows:
        console.print(f"  {stage}: {lasts}, {often_}")


def _format_traffic_rate(per_minute: float) -> str:
    """Planned traffic in the largest unit in which a request comes, such as "12 requests an hour"."""
    for unit, minutes in (("minute", 1.0), ("hour", 60.0), ("day", 1440.0), ("year", 525_960.0)):
        if per_minute * minutes >= 1.0:
            return f"{per_minute * minutes:,.4g} requests a{'n' if unit == 'hour' else ''} {unit}"
    return "less than one request a year"


def print_detectability(policy: Policy, found: Sequence[Detectability], a_year: float) -> None:
    """Print which degradation each gate can detect at each step, and warnings about it."""
    print_stages(policy)
    console.print(
        f"  What each step sees at {_format_traffic_rate(policy.requests_per_minute)}, with a chance of 80 %:"
    )
    table = Table("step", "gate", "counts", "finds", "equal passes", "needs", box=None, padding=(0, 1))
    for sight in found:
        passes = "" if sight.passes is None else f"{sight.passes:.0%}"
        needs = "" if sight.needs is None else format_estimated_duration(sight.needs)
        table.add_row(
            sight.step,
            sight.gate,
            f"{_format_request_count(sight.n)} {sight.counts}",
            escape(sight.finds),
            passes,
            needs,
        )
    print_table(table)
    for gate, assumes in dict.fromkeys((sight.gate, sight.assumes) for sight in found if sight.assumes):
        console.print(f"  [dim]{escape(gate)}: {escape(assumes)}[/dim]")
    console.print(
        f"  Budget: a good version is rolled back by mistake in at most {policy.false_rollback_budget:.2%} of the"
        f" rollouts. False rollbacks by a bake that goes on beyond its {format_duration(policy.bake.hold)}: at most"
        f" {format_frequency(a_year)}."
    )
    for sight in found:
        if sight.warning:
            where = f"{sight.step}, {sight.gate}"
            longer = ""
            if sight.needs is not None and sight.needs > sight.lasts:
                longer = f"; {format_estimated_duration(sight.needs)} would do"
            console.print(f"  [yellow]warning[/yellow] {escape(where)}: {escape(sight.warning)}{longer}")


def print_plan(policy: Policy, number: str, champion: str) -> None:
    """Print what a promotion would do, step by step."""
    console.print(f"[bold]{policy.model}[/bold]: version {number} against champion {champion}")
    window = f"the requests of the last {format_duration(policy.suite_window)}"
    lines = [f"validate {window} with suite {policy.suite}; {describe_evaluation_frequency(0.0, policy.suite_every)}"]
    if policy.ticket == "required":
        lines.insert(0, "demand a change ticket: --ticket, or the version's tag surefoot.ticket")
    for step in policy.steps:
        gates = "" if isinstance(step, Approve) else ", ".join(step.gates)
        if isinstance(step, Approve):
            lines.append(_approval_line(policy.model, step))
        elif isinstance(step, Shadow):
            lines.append(
                f"replay the requests of the last {format_duration(step.window)}: {gates} must pass;"
                f" {describe_evaluation_frequency(0.0, step.every)}"
            )
        elif isinstance(step, LiveShadow):
            most = f" and {step.min_requests:,} requests that both answer" if step.min_requests else ""
            expected = policy.requests_per_minute * step.share / 100.0 * step.hold / 60.0
            lines.append(
                f"mirror {step.share:g} % of the requests to version {number} for {format_duration(step.hold)}{most}:"
                f" {gates} must pass (about {_format_request_count(expected)} requests; callers get the"
                f" champion's answers, and version {number} waits while the host is busy);"
                f" {describe_evaluation_frequency(step.hold, step.every)}"
            )
        else:
            most = f" and {step.min_requests:,} requests" if step.min_requests else ""
            expected = policy.requests_per_minute * step.weight / 100.0 * step.hold / 60.0
            lines.append(
                f"{step.weight:g} % of the units for {format_duration(step.hold)}{most}: {gates} must pass"
                f" (about {_format_request_count(expected)} requests to the candidate);"
                f" {describe_evaluation_frequency(step.hold, step.every)}"
            )
    bake = policy.bake
    looks = describe_evaluation_frequency(bake.hold, bake.every)
    lines += [_table_line(source) for source in policy.data_layer]
    lines += [
        f"alias previous -> {champion}, alias champion -> {number}, all traffic to {number}",
        f"bake for {format_duration(bake.hold)}: {', '.join(bake.gates)} roll back; {looks}",
    ]
    for index, line_ in enumerate(lines, start=1):
        console.print(f"  {index}. {line_}")


def _approval_line(model: str, step: Approve) -> str:
    """What an approve step waits for, and what follows when that does not come."""
    after = "it is aborted" if step.then == "abort" else "it holds on"
    return (
        f"wait for {_approvers(step)}: surefoot approve {model}; not given within {format_duration(step.expires)}, or"
        f" denied: {after}; what is in force stays, and its gates stay armed"
    )


def _approvers(step: Approve) -> str:
    """Who has to approve."""
    return f"{step.quorum} signed approval{'' if step.quorum == 1 else 's'} by people of group '{step.by}'"


def _table_line(source: DataSource) -> str:
    """What becomes of a table."""
    if source.on_rollback is OnRollback.RESTORE:
        return f"checkpoint table {source.name}, and restore it into a scratch copy: a rollback restores it"
    return f"checkpoint table {source.name}: a rollback leaves it as it is ({source.on_rollback})"


def _format_request_count(n: float) -> str:
    """A number of requests; below ten with the digits that count."""
    return f"{n:,.0f}" if n >= 10.0 or n == 0.0 else f"{n:.2g}"  # noqa: PLR2004 - two digits


def describe_evaluation_frequency(lasts: float, every: float) -> str:
    """How often a stage evaluates its gates, and how many times in all; a replay repeats until it is decided."""
    if not lasts:
        return f"looks at once, then every {format_duration(every)} until it is decided"
    # A look that is due when the stage is over is not needed: it ends on what was seen until then.
    n = max(math.ceil(lasts / every - 1e-9), 1)
    return f"looks every {format_duration(every)}: {n:,} look{'' if n == 1 else 's'}"
