"""Refuse what a policy asks of an engine that cannot do it: weights, live shadows, sticky units, fallbacks and more."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from surefoot.core.policy.gates.base import Gate
from surefoot.core.policy.gates.metrics import Metric
from surefoot.core.policy.recovery.rollback import RollbackSection
from surefoot.core.policy.rules import JudgingPhase, NamedGates
from surefoot.core.policy.steps import LiveShadowStep, PolicyStep, Weight
from surefoot.core.policy.violations import Violation
from surefoot.core.serving_engines.engine_abilities import ENGINES, EngineAbilities, EngineName

_MEASURED = frozenset({Metric.LATENCY, Metric.RESOURCE, Metric.GAUGE})
"""What only an engine that logs each request itself measures."""


@dataclass(frozen=True, slots=True)
class EngineDemands:
    """What a policy asks of its engine.

    Attributes:
        engine: The engine.
        steps: The steps as they are written.
        named: Which gates are named where.
        gates: Every gate by name.
        rollback: How traffic goes back.
        has_unit: Whether the policy names the column of units.
        has_fallback: Whether a fallback answers what no version can.
        has_drill: Whether rollbacks are rehearsed.
    """

    engine: EngineName
    steps: Sequence[PolicyStep]
    named: Sequence[NamedGates]
    gates: Mapping[str, Gate]
    rollback: RollbackSection
    has_unit: bool
    has_fallback: bool
    has_drill: bool


def unmet_demands(asked: EngineDemands) -> Iterator[Violation]:
    """Everything that a policy asks of its engine and that the engine cannot do."""
    able, engine = ENGINES[asked.engine], f"engine '{asked.engine}'"
    yield from _steps(asked, able, engine)
    if asked.has_unit and able.ramps and not able.sticky:
        yield Violation(("unit",), f"{engine} keeps no unit with one version while weights grow: leave 'unit' out")
    yield from _gates(asked, able, engine)
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
    for named in asked.named:
        for name in named.names if named.phase is not JudgingPhase.SHADOW else ():
            gate = asked.gates.get(name)
            if gate is not None and gate.metric in _MEASURED:
                rule = f"gate '{name}' measures {gate.metric}, and {engine} measures no request: leave it out here"
                yield Violation(named.path, rule)


def _rollback(section: RollbackSection, able: EngineAbilities, engine: str) -> Iterator[Violation]:
    if section.mode == "stepped" and not able.steps_back:
        yield Violation(("rollback", "mode"), f"{engine} takes all traffic back at once: write 'immediate'")
