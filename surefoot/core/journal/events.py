"""Define the journal events and effects of rollouts, and convert every journal event to JSON and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast, get_args

from surefoot.core.approvals.approval_events import ApprovalEvent
from surefoot.core.domain import Outcome, RolloutKind, Stage, Verdict, Version
from surefoot.core.drills.drill_events import DrillEvent
from surefoot.core.erasure.erasure_events import ErasureEvent
from surefoot.core.errors import InvariantBroken
from surefoot.core.incidents.incident_events import IncidentEvent
from surefoot.core.journal.bundled_files import BundledFile, SetConfig
from surefoot.core.journal.codec import JOURNAL_NAME_KEY, JsonCodec
from surefoot.core.journal.fallback_events import FallbackBegan, FallbackDrilled, FallbackEnded
from surefoot.core.journal.rollback_schedule import RollbackSchedule
from surefoot.core.journal.served_version_events import (
    CorrectionsWritten,
    ExposureListed,
    RollbackTargetChanged,
    ServiceCounted,
    VersionReleased,
)
from surefoot.core.journal.watch_events import ChampionJudged, ChampionWatched, IncidentOpened
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.registry_drift.drift_events import DriftReactionChosen
from surefoot.core.serving_engines.engine_choice import EngineChosen
from surefoot.core.stages.hold_events import FreezeEvent, HoldEvent
from surefoot.core.tables.data_events import DataEvent


@dataclass(frozen=True, slots=True)
class SetSplit:
    """Effect: serve this split.

    Attributes:
        champion: The version that answers everything else.
        candidate: The version on trial, or None.
        weight: Share of units that the candidate answers [percent].
        mirror: Share of requests that the candidate is asked as well, unseen by callers [percent].
        units: Canonical texts of units that the candidate answers whatever their hash.
    """

    champion: Version
    candidate: Version | None
    weight: float
    mirror: float = 0.0
    units: tuple[str, ...] = ()

    @property
    def is_live_drill(self) -> bool:
        """Whether one version is in both arms, as in a live drill only: no rollout has equal bytes in its arms."""
        return self.candidate is not None and self.candidate.digest == self.champion.digest


@dataclass(frozen=True, slots=True)
class SetAlias:
    """Effect: point an alias to a version, or remove it.

    Attributes:
        alias: "champion", "candidate" or "previous".
        number: The version, or None to remove the alias.
        expected: What the alias must say before the change; anything else is drift.
    """

    alias: str
    number: str | None
    expected: str | None


Effect = SetSplit | SetAlias | SetConfig


@dataclass(frozen=True, slots=True)
class ChampionAdopted:
    """The registry's champion was found and is served at 100 percent from now on."""

    champion: Version


@dataclass(frozen=True, slots=True)
class RolloutOpened:
    """One attempt to promote a version, or to roll one back, began under one policy.

    Attributes:
        rollout: Id: a digest of model, version, artifact, policy, champion and attempt.
        kind: Promotion or rollback.
        candidate: The version on trial, or the target of a rollback.
        champion: The version served when the rollout opened.
        policy: The policy as resolved then; later edits change nothing.
        policy_digest: SHA-256 of the policy.
        suite_digest: SHA-256 of the expectation suite; empty for a rollback.
        salt: Salt of the assignment.
        attempt: One-based number of the attempt for the same version.
        reason: Why it was asked for.
        source: What asked for it: "alias", "stage", "hand", or "champion", which a person has set on it; empty in
            journals of the first release.
        passed_over: Of a rollback: later proven-good versions that are quarantined, so that traffic does not go there.
        stepped: Of a rollback: the steps by which traffic goes back; None where it goes at once.
        mode_reason: Of a rollback: why it goes at once or step by step; empty where nothing but that was possible.
        fallback_digest: SHA-256 of the file of the policy's fallback, or of its version's files, when it was opened;
            empty where it has none.
        bundle: Of a promotion: configuration files that go with the candidate.
        authors: Of a promotion that people approve: who made the version, as MLflow names them.
        ticket: Of a promotion: the change ticket; empty where there is none.
        provenance: Of a promotion: what the registry knew of each kind of provenance that the policy demands, and
            whose key has signed the version where the policy demands that.
    """

    rollout: str
    kind: RolloutKind
    candidate: Version
    champion: Version
    policy: Mapping[str, object]
    policy_digest: str
    suite_digest: str
    salt: str
    attempt: int
    reason: str
    source: str = ""
    passed_over: tuple[str, ...] = ()
    stepped: RollbackSchedule | None = None
    mode_reason: str = ""
    fallback_digest: str = ""
    bundle: tuple[BundledFile, ...] = ()
    authors: tuple[str, ...] = ()
    ticket: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageEntered:
    """The rollout moved to a stage (and, while ramping, to a step)."""

    rollout: str
    stage: Stage
    step: int
    reason: str


@dataclass(frozen=True, slots=True)
class GateJudged:
    """A gate was evaluated once, with this verdict.

    Attributes:
        rollout: Id of the rollout.
        stage: Stage in which it was asked.
        step: Step of the ramp.
        look: One-based number of the look within the step.
        verdict: What it answered.
        level: How sure the verdict had to be; None in journals of the first release.
        evidence: The counters that it was judged on, packed; empty when they are no numbers.
        judge: Edition of the judge; another one may come to another verdict on the same counters.
    """

    rollout: str
    stage: Stage
    step: int
    look: int
    verdict: Verdict
    level: DecisionThresholds | None = None
    evidence: str = ""
    judge: int = 0


@dataclass(frozen=True, slots=True)
class EffectIntended:
    """A change of the outside world is about to be made."""

    rollout: str
    effect: Effect


@dataclass(frozen=True, slots=True)
class EffectDone:
    """The change was made and read back.

    Attributes:
        rollout: Id of the rollout; empty outside one.
        intent: Sequence of the intent.
        reconciled: Whether it was found already applied (after a crash or a lost reply).
        took_ms: From command to acknowledgement, on a monotonic clock [ms].
    """

    rollout: str
    intent: int
    reconciled: bool
    took_ms: float


@dataclass(frozen=True, slots=True)
class EffectRefused:
    """The change was not made: the outside world had changed meanwhile, or the bytes were wrong.

    Attributes:
        rollout: Id of the rollout; empty outside one.
        intent: Sequence of the intent.
        reason: Why it was not made.
        unfit: Digests of versions that traffic cannot go back to, as the refusal shows: not loadable, or deleted.
    """

    rollout: str
    intent: int
    reason: str
    unfit: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Paused:
    """The rollout waits; guardrails stay armed, and it goes on when every gate passes."""

    rollout: str
    outcome: Outcome
    gate: str
    reason: str


@dataclass(frozen=True, slots=True)
class EndDecided:
    """The rollout will end; traffic and aliases go back first."""

    rollout: str
    terminal_stage: Stage = field(metadata={JOURNAL_NAME_KEY: "sink"})
    gate: str
    reason: str


@dataclass(frozen=True, slots=True)
class RolloutEnded:
    """The rollout reached a terminal stage."""

    rollout: str
    terminal_stage: Stage = field(metadata={JOURNAL_NAME_KEY: "sink"})
    reason: str


LIVE_SPLIT_DRIFT_NAME = "live split"
"""What a drift of the gateway's split is called."""


@dataclass(frozen=True, slots=True)
class DriftFound:
    """The outside world does not say what the journal says: an incident, never silently repaired.

    Attributes:
        rollout: Id of the rollout; empty outside one.
        what: What disagrees, for example "alias champion".
        expected: What it should say.
        seen: What was found, or why the change could not be made.
        alias: The alias that is concerned; empty for anything else.
        number: Version that the alias must point to; None when it must not exist.
        before: What the alias said when the change was refused; None when that does not matter.
        repeat: Whether the change is Surefoot's own and is repeated; otherwise a person has to decide.
    """

    rollout: str
    what: str
    expected: str
    seen: str
    alias: str = ""
    number: str | None = None
    before: str | None = None
    repeat: bool = False


@dataclass(frozen=True, slots=True)
class DriftResolved:
    """The outside world says again what the journal says.

    Attributes:
        rollout: Id of the rollout that had found the drift; empty outside one.
        what: What disagreed.
        how: How it was resolved.
    """

    rollout: str
    what: str
    how: str


@dataclass(frozen=True, slots=True)
class CandidateRefused:
    """The registry asks for a version that cannot be promoted; said once for each reason.

    Attributes:
        number: The version.
        source: What asked for it: "alias", "stage", or "champion", which a person has set on it.
        reason: Why it is refused, and what to do.
        facts: Digest of what the refusal rests on: policy, suite, aliases, stages, champion.
    """

    number: str
    source: str
    reason: str
    facts: str = ""


Event = (
    ChampionAdopted
    | RolloutOpened
    | StageEntered
    | GateJudged
    | EffectIntended
    | EffectDone
    | EffectRefused
    | Paused
    | EndDecided
    | RolloutEnded
    | DriftFound
    | DriftResolved
    | DriftReactionChosen
    | CandidateRefused
    | EngineChosen
    | ChampionJudged
    | ChampionWatched
    | IncidentOpened
    | IncidentEvent
    | VersionReleased
    | RollbackTargetChanged
    | ServiceCounted
    | ExposureListed
    | CorrectionsWritten
    | FallbackBegan
    | FallbackEnded
    | FallbackDrilled
    | DrillEvent
    | DataEvent
    | ApprovalEvent
    | FreezeEvent
    | HoldEvent
    | ErasureEvent
)
EVENT_TYPES: dict[str, type] = {kind.__name__: kind for kind in get_args(Event)}
_EFFECT_TYPES: dict[str, type] = {kind.__name__: kind for kind in get_args(Effect)}
_EVENT_CODEC = JsonCodec({Effect: ("effect", _EFFECT_TYPES)})
_PLAIN_CODEC = JsonCodec()


def encode_event(event: Event) -> tuple[str, dict[str, object]]:
    """Name and JSON fields of an event."""
    return type(event).__name__, cast("dict[str, object]", _EVENT_CODEC.encode(event))


def as_json(value: object) -> dict[str, object]:
    """JSON fields of any value of the core, for projections and --json output."""
    return cast("dict[str, object]", _PLAIN_CODEC.encode(value))


def decode_event(kind: str, data: Mapping[str, object]) -> Event:
    """Rebuild an event from its name and JSON fields; fields that a newer release added are left out.

    Raises:
        InvariantBroken: The event, or something in it, is not known to this release.
    """
    if kind not in EVENT_TYPES:
        raise InvariantBroken(f"the journal holds a {kind}, which this release of surefoot does not know")
    try:
        return cast("Event", _EVENT_CODEC.decode(EVENT_TYPES[kind], data))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise InvariantBroken(
            f"the journal holds a {kind} that this release of surefoot cannot read: {error}"
        ) from error
