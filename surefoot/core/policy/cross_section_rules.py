"""Check policy rules that span several sections, such as which gates may be judged in which phase."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from surefoot.core.policy.gates.base import Gate, SlicedGate
from surefoot.core.policy.gates.metrics import (
    LIVE_ONLY_METRICS,
    NOT_MIRRORED_METRIC_REASONS,
    OBSERVABILITY_METRICS,
    PAIRED_METRICS,
    Metric,
)
from surefoot.core.policy.violations import KeyPath, Violation, ViolationKind

_SPOKEN_METRIC_NAMES = {Metric.LATENCY: "live latency"}
"""How a metric is called where its own word would not say what it is."""


class JudgingPhase(Enum):
    """Where a gate is judged; none is in an approval, during which the gates before it stay armed."""

    SHADOW = auto()
    LIVE_SHADOW = auto()
    APPROVAL = auto()
    RAMP = auto()
    BAKE = auto()
    WATCH = auto()
    ROLLBACK = auto()


@dataclass(frozen=True, slots=True)
class PhaseGates:
    """The gates that a step or the bake names.

    Attributes:
        path: Keys that lead to the list.
        phase: Where they are judged.
        names: Names of the gates.
    """

    path: KeyPath
    phase: JudgingPhase
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicyRuleInputs:
    """What the rules look at, of a policy that may be broken elsewhere.

    Attributes:
        gates: Every gate by name, or None for one that cannot be read; None when not even their names can be read.
        named: Which gates are named where.
        steps: Keys that lead to each step, what it is, and its weight; None as weight where there is none.
        dropped: Columns of which the log keeps nothing.
        encrypted: Columns that the log keeps encrypted.
        ramps: Whether the engine can give a candidate a share of the traffic.
    """

    gates: Mapping[str, Gate | None] | None
    named: Sequence[PhaseGates]
    steps: Sequence[tuple[KeyPath, JudgingPhase, float | None]]
    dropped: tuple[str, ...] = ()
    ramps: bool = True
    encrypted: tuple[str, ...] = ()


def broken_rules(outline: PolicyRuleInputs) -> Iterator[Violation]:
    """Every rule between several parts of a policy that is broken."""
    yield from _slices_are_kept(outline)
    yield from _order_of_steps(outline)
    if outline.gates is not None:
        for named in outline.named:
            yield from _judged_where_possible(named, outline.gates)


def never_judged_gates(outline: PolicyRuleInputs) -> Iterator[Violation]:
    """Gates that no step and no bake names; said only of a policy whose steps are otherwise fine."""
    used = {name for named in outline.named for name in named.names}
    for name in outline.gates or ():
        if name not in used:
            yield Violation(
                ("gates", name), f"gate '{name}' is never judged: name it in a step, in bake, in watch or in rollback"
            )


def _slices_are_kept(outline: PolicyRuleInputs) -> Iterator[Violation]:
    for name, gate in (outline.gates or {}).items():
        for column in gate.by if isinstance(gate, SlicedGate) else ():
            if column in outline.dropped:
                yield Violation(("log", "drop"), f"gate '{name}' makes slices of '{column}': hash it, or keep it")
            if column in outline.encrypted:
                yield Violation(
                    ("log", "encrypt"),
                    f"gate '{name}' makes slices of '{column}', whose values a verdict names: hash it",
                )


def _order_of_steps(outline: PolicyRuleInputs) -> Iterator[Violation]:
    if outline.ramps and outline.steps and all(phase is not JudgingPhase.RAMP for _, phase, _ in outline.steps):
        yield Violation(("steps",), "at least one weight step is needed between shadow and promotion")
    highest = 0.0
    for index, (path, phase, weight) in enumerate(outline.steps):
        before = {other for _, other, _ in outline.steps[:index]}
        if phase is JudgingPhase.SHADOW and before:
            yield Violation(path, "the shadow step comes first, once")
        elif phase is JudgingPhase.LIVE_SHADOW and before - {JudgingPhase.SHADOW, JudgingPhase.APPROVAL}:
            yield Violation(path, "a shadow step with 'source: live' comes before the weights, once")
        elif weight is None:
            continue
        elif weight <= highest:
            yield Violation((*path, "weight"), f"weights must grow; {weight:g} follows {highest:g}")
        else:
            highest = weight


def _judged_where_possible(named: PhaseGates, gates: Mapping[str, Gate | None]) -> Iterator[Violation]:
    for name in named.names:
        if name not in gates:
            rule = f"there is no gate '{name}'; gates: {', '.join(gates)}"
            yield Violation(named.path, rule, ViolationKind.NO_SUCH_GATE)
            continue
        gate = gates[name]
        if gate is not None and (why := _impossible(gate.metric, named.phase)):
            yield Violation(named.path, f"gate '{name}' {why}")


def _impossible(metric: Metric, phase: JudgingPhase) -> str:
    """Why a metric cannot be judged in a phase; empty when it can."""
    if phase is JudgingPhase.SHADOW and metric in LIVE_ONLY_METRICS:
        return f"measures {_SPOKEN_METRIC_NAMES.get(metric, metric)}, which a replay cannot show"
    if phase is JudgingPhase.LIVE_SHADOW:
        why = NOT_MIRRORED_METRIC_REASONS.get(metric, "")
        return f"measures {metric}, which mirrored requests do not show: {why}" if why else ""
    if phase is JudgingPhase.WATCH and metric not in PAIRED_METRICS - {Metric.DISAGREEMENT}:
        return f"measures {metric}: a watch compares what both versions make of the same labels, such as a loss"
    if phase is JudgingPhase.ROLLBACK and metric not in OBSERVABILITY_METRICS:
        return f"measures {metric}: a rollback does not wait for labels, name gates of error_rate or latency"
    if phase is JudgingPhase.BAKE and metric in {Metric.VALUE, Metric.GAUGE}:
        return "compares both arms of live traffic; in a bake only one serves"
    if phase is not JudgingPhase.SHADOW and metric is Metric.GOLDEN:
        return "asks golden rows: their answers do not change, name it in the shadow"
    return ""
