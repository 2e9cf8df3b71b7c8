"""Back-test one rollout on recorded requests, and report each gate evaluation."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from surefoot.adapters.evidence.prediction_log_evidence import ExpectationSuiteRunner, PredictionLogEvidence
from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.adapters.replay.recorded_answers import RecordedAnswers
from surefoot.backtest.simulation import MemoryJournal, MemoryRegistry, RecordedTraffic, SimulatedClock
from surefoot.core.actions import Action
from surefoot.core.domain import Stage, Verdict
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import EndDecided, GateJudged, Paused, RolloutEnded, StageEntered, decode_event
from surefoot.core.journal.ledger import Ledger
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Policy, Weight
from surefoot.core.policy.steps import remove_approval_steps
from surefoot.rollout import Ports, PromotionRequest, drive_rollout, open_promotion

_LONGEST_JUMP_S = 1e12
"""Longest jump of the clock [seconds]; `drive_rollout` never jumps further than to what is due."""

_GOOD = ValidationResult("not run", 1, 1, ())
"""What a suite that is not run says."""


@dataclass(frozen=True, slots=True)
class GateEvaluation:
    """The verdict of one gate at one evaluation.

    Attributes:
        at: When [Unix seconds].
        stage: Stage of the rollout.
        weight: Weight of the candidate [percent]; 100 while it bakes.
        verdict: What it said.
    """

    at: float
    stage: Stage
    weight: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """How a rollout went over recorded traffic.

    Attributes:
        model: Registered model.
        champion: Its champion.
        candidate: The version on trial.
        opened: When the rollout opened [Unix seconds].
        ended: When it ended, or when the records did [Unix seconds].
        stage: Where it stood then.
        gate: Gate that stopped or paused it; empty when none did.
        reason: Why it ended or stands where it stands.
        requests: Request rows in the file [count].
        looks: Every verdict, in order.
        journal: Every entry, as a live rollout would have written them.
    """

    model: str
    champion: str
    candidate: str
    opened: float
    ended: float
    stage: Stage
    gate: str
    reason: str
    requests: int
    looks: tuple[GateEvaluation, ...]
    journal: tuple[Entry, ...]

    @property
    def promoted(self) -> bool:
        """Whether the candidate came to serve everything and was not taken back."""
        return self.stage in {Stage.PROMOTED, Stage.BAKING}


def _label_delay(policy: Policy) -> float:
    """How long the slowest label takes [seconds]."""
    return max((gate.maturity for gate in policy.gates.values()), default=0.0)


class _GoodData(PredictionLogEvidence):
    """Evidence of records whose data is taken for good."""

    def __init__(self, records: RecordedRequests, answers: RecordedAnswers) -> None:
        """Wire the sources."""
        super().__init__(records, answers, lambda _digest, _frame, _name: _GOOD, answers)

    def _data(self, _question: EvidenceRequest) -> ValidationResult:
        return _GOOD


def backtest(
    records: RecordedRequests,
    policy: Mapping[str, object],
    validate: ExpectationSuiteRunner | None,
    *,
    suite: str = "",
    secret: str = "",
    opened: float | None = None,
    answers: RecordedAnswers | None = None,
    until: float = math.inf,
    on_progress: Callable[[float, float], None] = lambda _done, _whole: None,
) -> BacktestResult:
    """Play one rollout over recorded traffic, with the judge and the state machine that run live.

    Args:
        records: The records of both versions.
        policy: The policy as a mapping of JSON values.
        validate: Judges the data of the window; None to take the data for good.
        suite: Digest of the expectation suite.
        secret: Decides who is in which arm; another one is another draw.
        opened: When the rollout opens [Unix seconds]; by default as soon as the records fill the longest window that
            the policy looks back over. As live, labels that are not due by then come while the shadow waits.
        answers: The answers in the records, where other back-tests have asked for them; made anew without.
        until: Nothing is looked at after this moment [Unix seconds].
        on_progress: Called after every step with the time passed and the time in all [seconds].
    """
    # Records hold no model to ask about corner cases, and no people.
    policy = {key: value for key, value in remove_approval_steps(policy).items() if key not in {"corners", "ticket"}}
    read = parse_policy(policy)
    window = max(read.shadow.window if read.shadow else 0.0, read.suite_window)
    start = opened if opened is not None else min(records.first + window, records.last)
    end = min(records.last + _label_delay(read), until)
    clock = SimulatedClock(start)
    journal = MemoryJournal()
    answers = answers or RecordedAnswers(records)
    traffic = RecordedTraffic(records, clock)
    ports = Ports(
        journal,
        MemoryRegistry(records.champion, records.candidate),
        traffic,
        PredictionLogEvidence(records, answers, validate, answers) if validate else _GoodData(records, answers),
        clock,
        "backtest",
        other_engine=lambda _choice: traffic,
    )
    open_promotion(ports, PromotionRequest(policy, suite, records.candidate, "back-test", secret=secret))

    def stepped(_ledger: Ledger, _action: Action) -> None:
        on_progress(clock.now() - start, end - start)

    ledger = drive_rollout(
        ports,
        read.model,
        until=lambda ledger: not ledger.open or clock.now() >= end or _stuck(ledger),
        on_step=stepped,
        poll=_LONGEST_JUMP_S,
    )
    rollout = next(iter(ledger.rollouts.values()))
    gate = rollout.ending.gate if rollout.ending else rollout.paused.gate if rollout.paused else ""
    reason = rollout.reason if not ledger.open or rollout.paused else f"the records end while it is {rollout.stage}"
    return BacktestResult(
        model=read.model,
        champion=records.champion,
        candidate=records.candidate,
        opened=rollout.opened_at,
        ended=clock.now(),
        stage=rollout.stage,
        gate=gate,
        reason=reason,
        requests=records.requests,
        looks=tuple(_looks(journal.entries, read.ramp)),
        journal=tuple(journal.entries),
    )


def _stuck(ledger: Ledger) -> bool:
    """Whether a person would be asked now: before any traffic nothing but old requests can come to help."""
    rollout = ledger.rollout
    return rollout is not None and rollout.paused is not None and rollout.stage in {Stage.VALIDATING, Stage.SHADOWING}


def _looks(entries: list[Entry], ramp: tuple[Weight, ...]) -> list[GateEvaluation]:
    made = []
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, GateJudged):
            ramping = event.stage is Stage.RAMPING  # an engine may have no ramp
            weight = ramp[event.step].weight if ramping else 100.0 * (event.stage is Stage.BAKING)
            made.append(GateEvaluation(entry.at, event.stage, weight, event.verdict))
    return made


def list_rollout_milestones(entries: tuple[Entry, ...]) -> list[tuple[float, str]]:
    """Milestones of a rollout as (time, text), without its gate evaluations."""
    made = []
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        match event:
            case StageEntered():
                made.append(
                    (entry.at, f"{event.stage}{f' step {event.step + 1}' if event.stage is Stage.RAMPING else ''}")
                )
            case Paused():
                made.append((entry.at, f"paused: {event.gate} is {event.outcome}"))
            case EndDecided():
                made.append((entry.at, f"will end as {event.terminal_stage}: {event.reason}"))
            case RolloutEnded():
                made.append((entry.at, f"ended as {event.terminal_stage}"))
            case _:
                pass
    return made
