"""Collect the facts for the ML Test Score of a model from its policy and its journal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from surefoot.core.domain import Outcome, RolloutKind, Stage
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import GateJudged, decode_event
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.journal.watch_events import ChampionWatched
from surefoot.core.policy.policy_types import Policy

_BEFORE_TRAFFIC = frozenset({Stage.VALIDATING, Stage.SHADOWING, Stage.LIVE_SHADOWING})
_SERVING = frozenset({Stage.RAMPING, Stage.BAKING})


@dataclass(frozen=True, slots=True)
class JudgedGate:
    """A gate of the policy, with what the journal says of its looks at the champion.

    Attributes:
        name: Its name.
        metric: What it measures.
        by: Columns whose values are judged by themselves.
        offline: Looks before any traffic [count].
        online: Looks while the version had traffic [count].
        passed: Looks that passed [count].
    """

    name: str
    metric: str
    by: tuple[str, ...] = ()
    offline: int = 0
    online: int = 0
    passed: int = 0

    @property
    def looks(self) -> int:
        """Looks at any stage [count]."""
        return self.offline + self.online


@dataclass(frozen=True, slots=True)
class ScorecardFacts:
    """What is known of a model.

    Attributes:
        policy: The policy in force.
        promotion: The promotion of the version that serves; None where it was adopted as it was.
        gates: Gates by name, of the policy and of that promotion.
        watches: Looks at the champion after its bake [count].
        rollbacks: Rollouts that took traffic back, and ended [count].
        drilled_at: When a drill last passed [Unix seconds]; None before the first.
        ledger: What the journal says.
        now: The time [Unix seconds].
        provenance: What the registry knew of that version, by kind.
    """

    policy: Policy
    promotion: Rollout | None
    gates: Mapping[str, JudgedGate]
    watches: int
    rollbacks: int
    drilled_at: float | None
    ledger: Ledger
    now: float
    provenance: Mapping[str, str] = field(default_factory=dict)

    def judged(self, metrics: Iterable[str], *, by: bool = False) -> list[JudgedGate]:
        """Gates of these metrics that were judged, those that judge groups alone where `by`."""
        wanted = set(metrics)
        return [
            gate for gate in self.gates.values() if gate.metric in wanted and gate.looks and (bool(gate.by) or not by)
        ]

    def planned(self, metrics: Iterable[str], *, by: bool = False) -> list[JudgedGate]:
        """Gates of these metrics that the policy has, judged or not."""
        wanted = set(metrics)
        return [gate for gate in self.gates.values() if gate.metric in wanted and (bool(gate.by) or not by)]


def collect_scorecard_facts(policy: Policy, ledger: Ledger, entries: Iterable[Entry], now: float) -> ScorecardFacts:
    """Collect the facts.

    Args:
        policy: The policy in force.
        ledger: What the journal says of the model.
        entries: The model's journal.
        now: Time of the installation's clock [Unix seconds].
    """
    promotion = _promotion(ledger)
    looks: dict[str, tuple[str, int, int, int]] = {}
    watches = 0
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, ChampionWatched):
            watches += 1
        if not isinstance(event, GateJudged) or promotion is None or event.rollout != promotion.opened.rollout:
            continue
        metric, offline, online, passed = looks.get(event.verdict.gate, (event.verdict.metric, 0, 0, 0))
        looks[event.verdict.gate] = (
            metric,
            offline + (event.stage in _BEFORE_TRAFFIC),
            online + (event.stage in _SERVING),
            passed + (event.verdict.outcome is Outcome.PASS),
        )
    gates = {
        name: JudgedGate(name, str(gate.metric), tuple(getattr(gate, "by", ()))) for name, gate in policy.gates.items()
    }
    for name, (metric, offline, online, passed) in looks.items():
        by = gates[name].by if name in gates else ()
        gates[name] = JudgedGate(name, str(metric), by, offline, online, passed)
    return ScorecardFacts(
        policy=policy,
        promotion=promotion,
        gates=gates,
        watches=watches,
        rollbacks=sum(
            one.opened.kind == RolloutKind.ROLLBACK and one.stage.is_terminal for one in ledger.rollouts.values()
        ),
        drilled_at=ledger.drills.passed_at,
        ledger=ledger,
        now=now,
        provenance=promotion.opened.provenance if promotion else {},
    )


def _promotion(ledger: Ledger) -> Rollout | None:
    """The promotion by which the champion came to serve."""
    if ledger.champion is None:
        return None
    found = [
        one
        for one in ledger.rollouts.values()
        if one.opened.kind == RolloutKind.PROMOTION
        and one.opened.candidate.digest == ledger.champion.digest
        and one.stage in {Stage.BAKING, Stage.PROMOTED}
    ]
    return found[-1] if found else None
