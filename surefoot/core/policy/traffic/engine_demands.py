"""List the demands of a policy that its serving engine cannot meet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from surefoot.core.policy.cross_section_rules import JudgingPhase, PhaseGates
from surefoot.core.policy.evidence.evidence_section import EvidenceSection
from surefoot.core.policy.gates.base import Gate, SlicedGate
from surefoot.core.policy.gates.metrics import Metric
from surefoot.core.policy.recovery.rollback import RollbackSection
from surefoot.core.policy.steps import LiveShadowStep, PolicyStep, Weight
from surefoot.core.policy.violations import Violation
from surefoot.core.serving_engines.engine_abilities import EngineAbilities, EngineName
from surefoot.core.serving_engines.engine_choice import EngineChoice

_MEASURED = frozenset({Metric.LATENCY, Metric.RESOURCE, Metric.GAUGE})
"""What only an engine that logs each request itself measures."""


@dataclass(frozen=True, slots=True)
class EngineDemands:
    """What a policy asks of its engine.

    Attributes:
        choice: The engine, with what reaches it.
        steps: The steps as they are written.
        named: Which gates are named where.
        gates: Every gate by name.
        rollback: How traffic goes back.
        unit: Column of units; None without one.
        has_fallback: Whether a fallback answers what no version can.
        has_drill: Whether rollbacks are rehearsed.
        evidence: Where evidence is that is recorded elsewhere; None without any.
    """

    choice: EngineChoice
    steps: Sequence[PolicyStep]
    named: Sequence[PhaseGates]
    gates: Mapping[str, Gate]
    rollback: RollbackSection
    unit: str | None
    has_fallback: bool
    has_drill: bool
    evidence: EvidenceSection | None = None


def unmet_demands(asked: EngineDemands) -> Iterator[Violation]:
    """Everything that a policy asks of its engine and that the engine cannot do."""
    able, engine = asked.choice.abilities, f"engine '{asked.choice.name}'"
    yield from _steps(asked, able, engine)
    if asked.unit is not None and able.ramps and not able.sticky:
        yield Violation(("unit",), f"{engine} keeps no unit with one version while weights grow: leave 'unit' out")
    if asked.choice.name is EngineName.RAY and asked.choice.settings.get("unit") != asked.unit:
        rule = f"the router on Ray Serve must know the unit: write 'unit: {asked.unit}' here too"
        said = rule if asked.unit is not None else "the policy has no unit: write 'unit' beside 'traffic' too"
        yield Violation(("traffic", "ray", *(() if asked.choice.settings.get("unit") is None else ("unit",))), said)
    yield from _gates(asked, able, engine)
    if asked.evidence is not None:
        yield from _evidence(asked, asked.evidence, able, engine)
    yield from _rollback(asked.rollback, able, engine)
    if asked.has_fallback and not able.fallback:
        yield Violation(("fallback",), f"{engine} has no fallback: only the gateway answers what no version can")
    if asked.has_drill and not able.drills:
        yield Violation(("drill",), f"{engine} is not rehearsed: only the gateway's rollback is, leave 'drill' out")


def _steps(asked: EngineDemands, able: EngineAbilities, engine: str) -> Iterator[Violation]:
    for index, step in enumerate(asked.steps):
        if isinstance(step, Weight):
            if not able.ramps:
                rule = f"{engine} moves all traffic at once, from the shadow to the bake: leave steps with 'weight' out"
                yield Violation(("steps", index, "weight"), rule)
            elif problem := able.weight_problem(step.weight):
                yield Violation(("steps", index, "weight"), f"{engine} {problem}: choose another weight")
        elif isinstance(step, LiveShadowStep) and not able.mirrors:
            rule = f"{engine} mirrors no requests: only a shadow with 'source: replay' is possible"
            yield Violation(("steps", index, "shadow", "source"), rule)


def _gates(asked: EngineDemands, able: EngineAbilities, engine: str) -> Iterator[Violation]:
    """Gates whose measurements nothing writes."""
    if able.logs_requests:
        return
    measured = _recorded_elsewhere(asked.evidence)
    for named in asked.named:
        for name in named.names if named.phase is not JudgingPhase.SHADOW else ():
            gate = asked.gates.get(name)
            if gate is not None and gate.metric in _MEASURED - measured:
                rule = f"gate '{name}' measures {gate.metric}, and {engine} measures no request: leave it out here"
                yield Violation(named.path, rule)


def _recorded_elsewhere(evidence: EvidenceSection | None) -> frozenset[Metric]:
    """Metrics of single requests that a source of evidence holds."""
    if evidence is None:
        return frozenset()
    columns = evidence.predictions.columns.named if evidence.predictions else {}
    counted = evidence.prometheus is not None and evidence.prometheus.latency is not None
    return frozenset({Metric.LATENCY} if counted or columns.keys() & {"latency_ms", "latency_s"} else ())


def _evidence(
    asked: EngineDemands, evidence: EvidenceSection, able: EngineAbilities, engine: str
) -> Iterator[Violation]:
    """An engine that writes the log has its own records, and counters have neither units nor slices."""
    if able.logs_requests:
        for key in ("predictions", "prometheus"):
            if getattr(evidence, key) is not None:
                rule = f"{engine} records each request itself: only 'labels' may come from elsewhere"
                yield Violation(("evidence", key), rule)
    if evidence.prometheus is None:
        return
    counted = {Metric.ERROR_RATE} if evidence.prometheus.errors else set()
    counted |= {Metric.LATENCY} if evidence.prometheus.latency else set()
    for named in asked.named:
        for name in named.names if named.phase is not JudgingPhase.SHADOW else ():
            gate = asked.gates.get(name)
            if gate is not None and gate.metric in counted and isinstance(gate, SlicedGate) and gate.by:
                yield Violation(("gates", name, "by"), "counters in Prometheus have no slices: leave 'by' out")
    if asked.unit is not None and able.ramps:
        yield Violation(("evidence", "prometheus"), "counters know no units: leave 'unit' out, or the counters")


def _rollback(section: RollbackSection, able: EngineAbilities, engine: str) -> Iterator[Violation]:
    if section.mode == "stepped" and not able.steps_back:
        yield Violation(("rollback", "mode"), f"{engine} takes all traffic back at once: write 'immediate'")
