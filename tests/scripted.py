"""Worlds whose evidence follows a script, and the points at which a rollout can be stopped."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from surefoot.core.domain import Stage
from surefoot.core.journal.ledger import Ledger
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import BadEventCounts, BadEventStratum, DistributionShift, Evidence, FeatureShift
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.policy_types import Metric
from surefoot.rollout import drive_rollout, open_promotion
from tests.fakes import MIRRORED, POLICY, SAME_SHAPE, Scenario

PASS = BadEventCounts((BadEventStratum(0.5, 0, 20_000, 0, 20_000),), 0.0, recent=40_000)
FAIL = BadEventCounts((BadEventStratum(0.5, 8_000, 12_000, 0, 20_000),), 0.0, recent=40_000)
ALONE = {
    True: BadEventCounts((BadEventStratum(1.0, 8_000, 12_000, 0, 0),), 0.0),
    False: BadEventCounts((BadEventStratum(1.0, 0, 20_000, 0, 0),), 0.0),
}
STILL, MOVED = (DistributionShift("before", (FeatureShift("f", d, 10**6, 10**6),)) for d in (0.0, 0.5))
TWO = {
    **POLICY,
    "gates": {
        "errors": {"metric": "error_rate", "margin": "1pp"},
        "drift": {"metric": "input_shift", "role": "signal", "max": 0.1},
    },
    "steps": [
        {"weight": 5, "hold": {"for": "10m", "gates": ["errors"]}},
        {"weight": 50, "hold": {"for": "10m", "gates": ["drift"]}},
    ],
}


@dataclass
class Script:
    """Evidence as a function of the question; everything else is good."""

    play: Callable[[EvidenceRequest], Evidence | None] = lambda _question: None
    asked: list[EvidenceRequest] = field(default_factory=list)

    def gather(self, question: EvidenceRequest) -> Evidence:
        """What the script says, otherwise what lets a rollout go on."""
        self.asked.append(question)
        if found := self.play(question):
            return found
        if question.kind == "data":
            return ValidationResult("m", 100, 3, ())
        if question.gate.metric is Metric.ANSWER_SHAPE:
            return SAME_SHAPE
        return STILL if question.gate.name == "drift" else ALONE[False] if question.kind == "bake" else PASS


def scenario(
    policy: Mapping[str, object] = POLICY, play: Callable[[EvidenceRequest], Evidence | None] = lambda _: None
) -> Scenario:
    """A world whose evidence follows a script."""
    made = Scenario(policy=dict(policy))
    made.evidence_source = Script(play)  # type: ignore[assignment]
    return made


def events(env: Scenario, kind: str) -> list[Mapping[str, object]]:
    """Data of every entry of one kind."""
    return [entry.data for entry in env.journal.entries if entry.kind == kind]


def started(env: Scenario, until: Callable[[Ledger], bool] = lambda ledger: not ledger.open) -> Ledger:
    """Open the promotion of version 2 and drive it."""
    open_promotion(env.ports(), env.request())
    return drive_rollout(env.ports(), "m", until=until)


def at(stage: Stage, step: int = 0, done: int = 0) -> Callable[[Ledger], bool]:
    """Whether the open rollout is there, with so many effects done."""

    def there(ledger: Ledger) -> bool:
        here = ledger.rollout
        return here is not None and (here.stage, here.step) == (stage, step) and len(here.done) >= done

    return there


POINTS = {
    "submitted": at(Stage.SUBMITTED),
    "validating": at(Stage.VALIDATING),
    "shadowing": at(Stage.SHADOWING),
    "entered the ramp": at(Stage.RAMPING),
    "ramping": at(Stage.RAMPING, 0, 1),
    "entered the second step": at(Stage.RAMPING, 1, 1),
    "ramping on": at(Stage.RAMPING, 1, 2),
    "promoting": at(Stage.PROMOTING),
    "previous is set": at(Stage.PROMOTING, 0, 3),
    "champion is set": at(Stage.PROMOTING, 0, 4),
    "traffic is moved": at(Stage.PROMOTING, 0, 5),
    "candidate is gone": at(Stage.PROMOTING, 0, 6),
    "baking": at(Stage.BAKING),
}
MIRROR_POINTS = {
    "entered the live shadow": at(Stage.LIVE_SHADOWING),
    "mirroring": at(Stage.LIVE_SHADOWING, 0, 1),
    "entered the ramp after it": at(Stage.RAMPING, 0, 1),
    "ramping after it": at(Stage.RAMPING, 0, 2),
}
CASES = {**{name: (POLICY, point) for name, point in POINTS.items()}} | {
    name: (MIRRORED, point) for name, point in MIRROR_POINTS.items()
}
"""Every point at which a rollout can be stopped, with the policy whose rollout comes there."""
