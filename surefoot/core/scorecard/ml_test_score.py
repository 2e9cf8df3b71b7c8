"""Score a model by the ML Test Score, a rubric of 28 tests in four sections.

Source: Breck, Cai, Nielsen, Salib, Sculley (2017), The ML Test Score: A Rubric for ML Production Readiness and
    Technical Debt Reduction, IEEE Big Data: half a point for a test that was done by hand and documented, one for a
    test that runs by itself and again and again; the score is that of the weakest of four sections.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from surefoot.core.durations import format_duration
from surefoot.core.scorecard.scorecard_facts import JudgedGate, ScorecardFacts

_LOSSES = (
    "brier", "log_loss", "zero_one", "absolute_error", "squared_error", "rmse", "pinball", "cost_per_request", "auc",
)  # fmt: skip
_GAPS = ("tpr_gap", "fpr_gap", "selection_gap", "loss_gap")
_COSTS = ("latency", "resource", "gauge")
_HALF, _WHOLE = 0.5, 1.0
_UNSEEN = "Surefoot sees nothing of it: count it yourself"


class Section(StrEnum):
    """A section of the rubric."""

    DATA = "data"
    MODEL = "model"
    INFRASTRUCTURE = "infrastructure"
    MONITORING = "monitoring"


@dataclass(frozen=True, slots=True)
class ScoredTest:
    """One test of the rubric with its points.

    Attributes:
        section: Where it belongs.
        number: One-based number within the section.
        asks: What it asks for.
        points: 0, 0.5 or 1.
        evidence: What the points rest on, or what is missing.
    """

    section: Section
    number: int
    asks: str
    points: float
    evidence: str


@dataclass(frozen=True, slots=True)
class Scorecard:
    """All tests of a model.

    Attributes:
        tests: In the order of the rubric.
    """

    tests: tuple[ScoredTest, ...]

    def section_points(self, section: Section) -> float:
        """Points of a section, 0 to 7."""
        return sum(test.points for test in self.tests if test.section is section)

    @property
    def score(self) -> float:
        """The smallest of the four sections, 0 to 7."""
        return min(self.section_points(section) for section in Section)


_Finding = tuple[float, str]


def _names(gates: Sequence[JudgedGate]) -> str:
    return ", ".join(f"{gate.name} ({gate.looks:,} looks)" for gate in gates)


def _by_gates(facts: ScorecardFacts, metrics: Sequence[str], what: str, *, by: bool = False) -> _Finding:
    """A whole point for gates that were judged, half of one for gates that the policy has."""
    if judged := facts.judged(metrics, by=by):
        return _WHOLE, f"gates {_names(judged)} judged the version that serves"
    if planned := facts.planned(metrics, by=by):
        return _HALF, f"gate {planned[0].name} is in the policy, and has judged no version that serves"
    return 0.0, f"no gate {what}"


def _schema(facts: ScorecardFacts) -> _Finding:
    looked = facts.gates.get("data")
    if looked is not None and looked.looks:
        return _WHOLE, f"suite '{facts.policy.suite}' was checked at {looked.looks:,} looks"
    return _HALF, f"suite '{facts.policy.suite}' is in the policy, and has judged no version that serves"


def _privacy(facts: ScorecardFacts) -> _Finding:
    kept = facts.policy.log_policy
    hidden = [*kept.hashed, *kept.dropped, *kept.encrypted]
    if hidden:
        return (
            _HALF,
            f"the log hashes, drops or encrypts {', '.join(hidden)}; the training data is not seen",
        )
    return 0.0, "the log keeps every column: see log.hash, log.drop and log.encrypt"


def _provenance(kind: str, what: str) -> Callable[[ScorecardFacts], _Finding]:
    def found(facts: ScorecardFacts) -> _Finding:
        if told := facts.provenance.get(kind):
            return _HALF, f"{what}: {told}"
        return 0.0, f"'provenance: [{kind}]' in the policy would demand it of each version"

    return found


def _proxy(facts: ScorecardFacts) -> _Finding:
    both = [gate for gate in facts.judged((*_LOSSES, "value")) if gate.online]
    if both and facts.judged(_LOSSES):
        return _WHOLE, f"the loss was judged on logged requests, and {_names(both)} while it served"
    return 0.0, "no gate compares the loss, or a value, while a version serves"


def _staleness(facts: ScorecardFacts) -> _Finding:
    watch = facts.policy.watch
    if watch is not None and watch.gates:
        points = _WHOLE if facts.watches else _HALF
        return points, f"the version before is asked too, every {format_duration(watch.every)}: {facts.watches:,} looks"
    return 0.0, "no 'watch' compares the version that serves with the one before"


def _before_serving(facts: ScorecardFacts) -> _Finding:
    judged = [gate for gate in facts.judged((*_LOSSES, *_GAPS, "golden", "disagreement")) if gate.offline]
    if judged:
        return _WHOLE, f"gates {_names(judged)} passed before any traffic"
    if planned := facts.planned((*_LOSSES, *_GAPS, "golden", "disagreement")):
        return _HALF, f"gate {planned[0].name} is in the policy; the version that serves came without"
    return 0.0, "no gate compares answers or losses before traffic"


def _canary(facts: ScorecardFacts) -> _Finding:
    if facts.promotion is not None and (ramped := [gate for gate in facts.gates.values() if gate.online]):
        return _WHOLE, f"its share grew behind {_names(ramped)}"
    if facts.policy.ramp:
        return _HALF, "the policy has a ramp; the version that serves came without"
    return 0.0, "the policy has no weight below 100 %"


def _way_back(facts: ScorecardFacts) -> _Finding:
    drill = facts.policy.drill
    if facts.drilled_at is not None and (drill is None or facts.now - facts.drilled_at < drill.expires):
        age = format_duration(facts.now - facts.drilled_at)
        return _WHOLE, f"a drill passed {age} ago; {facts.rollbacks} rollbacks are in the journal"
    if facts.rollbacks or facts.drilled_at is not None:
        return _HALF, f"{facts.rollbacks} rollbacks are in the journal; no drill passed lately: 'surefoot drill'"
    return 0.0, "no rollback and no drill is in the journal: 'surefoot drill'"


def _debugging(facts: ScorecardFacts) -> _Finding:
    traced = [one for one in facts.ledger.incidents.known.values() if one.triaged is not None]
    if traced:
        return _HALF, f"{len(traced)} incidents trace sampled requests through each stage of both versions"
    return 0.0, "no incident has traced a request through the version yet"


def _stable(facts: ScorecardFacts) -> _Finding:
    points, said = _by_gates(facts, ("error_rate",), "counts failed requests")
    return points, f"an answer that is NaN or infinite is a failure: {said}"


def _fresh(facts: ScorecardFacts) -> _Finding:
    watch = facts.policy.watch
    if watch is not None and watch.retrain:
        return _WHOLE, f"an incident starts '{watch.retrain}'"
    if watch is not None:
        return _HALF, "the watch tells when the version before would do better; nothing retrains by itself"
    return 0.0, "no 'watch' in the policy"


def _unseen(_facts: ScorecardFacts) -> _Finding:
    return 0.0, _UNSEEN


def _regression(facts: ScorecardFacts) -> _Finding:
    if judged := [gate for gate in facts.judged(_LOSSES) if gate.online]:
        return _WHOLE, f"gates {_names(judged)} judged it while it served"
    if facts.watches and facts.policy.watch is not None and facts.policy.watch.gates:
        return _WHOLE, f"the watch has judged it at {facts.watches:,} looks"
    return 0.0, "no gate of the loss has judged it while it served"


_RUBRIC: tuple[tuple[Section, str, Callable[[ScorecardFacts], _Finding]], ...] = (
    (Section.DATA, "expectations of the features are written down as a schema", _schema),
    (Section.DATA, "each feature is of use", _unseen),
    (Section.DATA, "no feature costs more than it is worth", _unseen),
    (Section.DATA, "features keep to the rules for them", _unseen),
    (Section.DATA, "the data pipeline controls who sees private data", _privacy),
    (Section.DATA, "new features can be added quickly", _unseen),
    (Section.DATA, "all code of input features is tested", _unseen),
    (Section.MODEL, "the model's code is reviewed and versioned", _provenance("code", "the version names its code")),
    (Section.MODEL, "offline metrics go with what users see", _proxy),
    (Section.MODEL, "all hyperparameters are tuned", _provenance("hyperparameters", "the version names them")),
    (Section.MODEL, "the effect of staleness is known", _staleness),
    (Section.MODEL, "no simpler model is better", _unseen),
    (
        Section.MODEL,
        "quality is good enough on every important slice",
        lambda facts: _by_gates(facts, _LOSSES, "judges slices (by:)", by=True),
    ),
    (
        Section.MODEL,
        "the model was tested for inclusion",
        lambda facts: _by_gates(facts, _GAPS, "compares groups (tpr_gap, loss_gap ...)"),
    ),
    (Section.INFRASTRUCTURE, "training is reproducible", _provenance("data", "the version names its training data")),
    (Section.INFRASTRUCTURE, "the model's specification is unit tested", _unseen),
    (Section.INFRASTRUCTURE, "the whole pipeline is integration tested", _unseen),
    (Section.INFRASTRUCTURE, "quality is judged before the model serves", _before_serving),
    (Section.INFRASTRUCTURE, "the model can be debugged step by step on one example", _debugging),
    (Section.INFRASTRUCTURE, "models are tested by a canary before they serve everything", _canary),
    (Section.INFRASTRUCTURE, "models can be rolled back quickly and safely", _way_back),
    (Section.MONITORING, "changes of dependencies are told", _unseen),
    (Section.MONITORING, "invariants of the data hold in training and in serving", _schema),
    (
        Section.MONITORING,
        "training and serving compute the same features",
        lambda facts: _by_gates(facts, ("input_shift", "golden"), "compares inputs (input_shift, golden)"),
    ),
    (Section.MONITORING, "models are not too old", _fresh),
    (Section.MONITORING, "the model is numerically stable", _stable),
    (
        Section.MONITORING,
        "no regression in latency, throughput or memory",
        lambda facts: _by_gates(facts, _COSTS, "measures latency or resources"),
    ),
    (Section.MONITORING, "no regression in quality on served data", _regression),
)


def make_scorecard(facts: ScorecardFacts) -> Scorecard:
    """Score every test of the rubric.

    Args:
        facts: What is known of the model.

    Law: what Surefoot cannot see has no point, so a score is never too high for what it can see.
    """
    numbers = dict.fromkeys(Section, 0)
    made = []
    for section, asks, find in _RUBRIC:
        numbers[section] += 1
        points, evidence = find(facts)
        made.append(ScoredTest(section, numbers[section], asks, points, evidence))
    return Scorecard(tuple(made))
