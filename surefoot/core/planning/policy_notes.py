"""List notes for the author of a valid policy, on its gates, renamed keys and serving engine."""

from collections.abc import Iterator

from surefoot.core.durations import format_duration
from surefoot.core.policy.policy_types import CLASS_LOSS_METRICS, ClassGate, Gate, InputShiftGate, Metric, Policy
from surefoot.core.serving_engines.engine_abilities import missing_abilities
from surefoot.core.verdicts.excluded_report import MAX_MISSING_MIRRORED_SHARE


def list_policy_notes(policy: Policy) -> tuple[str, ...]:
    """One sentence for each key with an old name, and for each thing that a gate takes for granted or cannot see."""
    renamed = (f"'{old}' has a new name: write '{new}'" for old, new in policy.renamed_keys.items())
    of_gates = (note for gate in policy.gates.values() for note in _of_gate(gate))
    return (
        *renamed,
        *of_gates,
        *_of_live_shadow(policy),
        *_of_rollback(policy),
        *_of_fallback(policy),
        *_of_corners(policy),
        *_of_artifacts(policy),
        *list_engine_notes(policy),
    )


def list_engine_notes(policy: Policy) -> Iterator[str]:
    """What the policy's engine cannot do that the gateway does, and what follows from it."""
    traffic = policy.traffic
    evidence = policy.evidence
    elsewhere = evidence is not None and (evidence.predictions is not None or evidence.prometheus is not None)
    yield from missing_abilities(traffic.engine, recorded_elsewhere=elsewhere)
    if not traffic.engine_choice.abilities.logs_requests and traffic.stale_after is None:
        yield (
            f"the log is stale after {format_duration(traffic.quiet)} of silence: where applications record batches,"
            " write 'traffic.stale_after', longer than the time between two of them"
        )


def _of_artifacts(policy: Policy) -> Iterator[str]:
    if policy.artifacts.pickle == "warn":
        yield (
            "versions may hold pickles, which run their author's code when they are loaded: 'artifacts: {pickle:"
            " refuse}' takes none, and 'pickle: allow' says that you know"
        )


def _of_corners(policy: Policy) -> Iterator[str]:
    declared = policy.corners
    if declared is None:
        return
    if count := declared.count:
        yield (
            f"the shadow asks both versions about {declared.rows} synthetic rows or more of each of {count} corners; a"
            " candidate that breaks on one that the champion answers is rejected before any traffic"
        )
    if declared.rare_groups is not None:
        reach = format_duration(declared.rare_groups.reach)
        yield (
            f"groups that are too rare in the shadow's window get older real requests, up to {reach} old: their"
            " verdicts say since when"
        )


def _of_fallback(policy: Policy) -> Iterator[str]:
    named = policy.fallback_reference
    if named is not None:
        yield (
            f"each front worker of the gateway keeps {named.uri} loaded as the fallback, in a process of its own;"
            " 'surefoot plan' tries to load it, and a promotion does not open without it"
        )


def _of_live_shadow(policy: Policy) -> Iterator[str]:
    step = policy.live_shadow
    if step is None:
        return
    yield (
        f"the live shadow takes about {step.share:g} % more processor time than the champion needs, if the candidate is"
        f" as fast; it is asked only while the host has processors to spare, and of what it has no room for at most"
        f" {MAX_MISSING_MIRRORED_SHARE:.0%} may be missing, or no gate passes"
    )
    for gate in (policy.gates[name] for name in step.gates):
        if gate.metric is Metric.LATENCY:
            yield (
                f"gate '{gate.name}' compares the models' own times in the live shadow, without queues, batches and the"
                " gateway: what callers wait for shows in a weight step"
            )


def _of_rollback(policy: Policy) -> Iterator[str]:
    section = policy.rollback
    if section.mode == "immediate":
        ignored = sorted(section.model_fields_set - {"mode"})
        names = ", ".join("steps" if name == "weights" else name for name in ignored)
        if ignored:
            yield f"rollback.mode is immediate: of {names} nothing is used but by 'surefoot rollback --stepped'"
        return
    cohort = section.cohort.hold if section.cohort else 0.0
    whole = format_duration(section.hold * len(section.weights) + cohort)
    callers = f"the version that is taken back answers callers for {whole} more; 'surefoot rollback --now' ends that"
    judged = ", ".join(policy.rollback_gates)
    yield f"a stepped rollback: {callers}" + ("" if judged else "; no gate judges its steps")
    if judged:
        hold = format_duration(section.hold)
        yield f"a step of a rollback that {judged} cannot judge within {hold} is widened all the same"


def _of_gate(gate: Gate) -> Iterator[str]:
    if isinstance(gate, ClassGate) and not gate.classes:
        more = " or labels of more than two classes" if gate.metric in CLASS_LOSS_METRICS else ""
        words = "; texts are compared as they are" if gate.metric is Metric.ZERO_ONE else ""
        yield (
            f"gate '{gate.name}' reads labels as 0 or 1 and answers as probabilities of 1{words}:"
            f" give 'classes' where probabilities meet labels that are texts{more}"
        )
    if isinstance(gate, InputShiftGate) and gate.against == "champion":
        yield (
            f"gate '{gate.name}' compares what two scikit-learn pipelines are fed after their first steps; of any other"
            " model it sees the row as it came, which is the same for both versions"
        )
    if isinstance(gate, InputShiftGate) and gate.against == "before" and not gate.ignored:
        yield (
            f"gate '{gate.name}' compares every column with the window before: name those that follow the calendar,"
            " such as a month or a date, in 'calendar'"
        )
