"""Read the journal as runs that begin and end, such as rollouts and stages, for traces and lineage."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from surefoot.core.domain import PROMOTED_STAGES, RolloutKind, Stage, Version
from surefoot.core.incidents.redact_incident_reason import TRIPWIRE_GATE_NAME
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import (
    EffectDone,
    EffectIntended,
    EffectRefused,
    EndDecided,
    Event,
    GateJudged,
    Paused,
    RolloutEnded,
    RolloutOpened,
    SetAlias,
    SetSplit,
    StageEntered,
    decode_event,
)
from surefoot.core.journal.served_version_events import RollbackTargetChanged
from surefoot.core.tables.data_events import DataRestored, DataRestoreRefused, DataRestoreRequested

FLOW_ACTOR_PREFIX = "flow:"
"""How the actor of entries begins that a flow run has written."""
_CALLED_OFF = frozenset({Stage.ABORTED, Stage.SUPERSEDED, Stage.WITHDRAWN})
_BACK = frozenset({Stage.ROLLED_BACK, Stage.FAST_ROLLED_BACK})


class RunKind(StrEnum):
    """What a run of the journal is."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    STAGE = "stage"
    EFFECT = "effect"
    RESTORE = "restore"


class RunResult(StrEnum):
    """How a run ended."""

    COMPLETE = "COMPLETE"
    FAIL = "FAIL"
    ABORT = "ABORT"


@dataclass(frozen=True, slots=True)
class JournalRun:
    """Something that the journal says began, and will say how it ended.

    Attributes:
        kind: What it is.
        name: A stage, an effect, a table; the kind of a rollout.
        began: The entry that began it, whose hash identifies it.
        opened: The rollout that it is, or belongs to.
        root: The entry that opened that rollout.
        step: Step of the ramp; 0 outside of one.
    """

    kind: RunKind
    name: str
    began: Entry
    opened: RolloutOpened
    root: Entry
    step: int = 0

    @property
    def is_rollout(self) -> bool:
        """Whether it is a whole rollout."""
        return self.kind in {RunKind.PROMOTION, RunKind.ROLLBACK}


@dataclass(frozen=True, slots=True)
class RunChange:
    """A run began or ended.

    Attributes:
        run: The run.
        entry: The entry that says so.
        result: How it ended; None where it began.
        reason: Why it failed or was called off; empty else.
        served: The version that is the champion after a rollout that is complete; None for anything else.
        moments: Entries that fell into it, with what they say: verdicts that were new, and pauses.
        flow: The first entry of the rollout that a flow run has written; None where there is none yet.
    """

    run: JournalRun
    entry: Entry
    result: RunResult | None = None
    reason: str = ""
    served: Version | None = None
    moments: tuple[tuple[Entry, GateJudged | Paused], ...] = ()
    flow: Entry | None = None


@dataclass
class _OpenRun:
    """A run that has begun, and what fell into it."""

    run: JournalRun
    outcomes: dict[str, str] = field(default_factory=dict)
    moments: list[tuple[Entry, GateJudged | Paused]] = field(default_factory=list)

    def end(self, entry: Entry, result: RunResult, reason: str = "", served: Version | None = None) -> RunChange:
        """The change by which it ends."""
        if result is RunResult.COMPLETE:
            return RunChange(self.run, entry, result, "", served, (*self.moments,))
        return RunChange(self.run, entry, result, reason, None, (*self.moments,))


@dataclass
class _RolloutRuns:
    """The runs of one rollout that are under way."""

    whole: _OpenRun
    target: Version
    stage: _OpenRun | None = None
    effects: dict[int, _OpenRun] = field(default_factory=dict)
    gate: str = ""
    flow: Entry | None = None


class JournalRuns:
    """Follows the journal of one model, entry by entry.

    Law: which changes an entry brings depends on the entries up to it alone, so that reading a journal again brings
    the same ones.
    """

    def __init__(self) -> None:
        """Know of no entry yet."""
        self._rollouts: dict[str, _RolloutRuns] = {}
        self._restores: dict[int, _OpenRun] = {}

    def changes(self, entries: Iterable[Entry]) -> list[tuple[Entry, list[RunChange]]]:
        """What each of the following entries brings.

        Args:
            entries: Entries of the journal that come after those that were read before.
        """
        return [(entry, self._changes(entry)) for entry in entries]

    def _changes(self, entry: Entry) -> list[RunChange]:
        event = decode_event(entry.kind, entry.data)
        changes = self._read(entry, event)
        found = self._rollouts.get(getattr(event, "rollout", ""))
        if found is None:
            return changes
        if found.flow is None and entry.actor.startswith(FLOW_ACTOR_PREFIX):
            found.flow = entry
        return [replace(change, flow=found.flow) for change in changes]

    def _read(self, entry: Entry, event: Event) -> list[RunChange]:
        if isinstance(event, RolloutOpened):
            kind = RunKind(event.kind.value)
            run = JournalRun(kind, kind.value, entry, event, entry)
            self._rollouts[event.rollout] = _RolloutRuns(_OpenRun(run), event.candidate)
            return [RunChange(run, entry)]
        if isinstance(event, DataRestored | DataRestoreRefused):
            return self._end_restore(entry, event)
        found = self._rollouts.get(getattr(event, "rollout", ""))
        if found is None:
            return []
        match event:
            case DataRestoreRequested():
                whole = found.whole.run
                run = JournalRun(RunKind.RESTORE, event.name, entry, whole.opened, whole.began)
                self._restores[entry.seq] = _OpenRun(run)
                return [RunChange(run, entry)]
            case StageEntered():
                before = [] if found.stage is None else [found.stage.end(entry, RunResult.COMPLETE, "", found.target)]
                found.stage = self._begin(found, RunKind.STAGE, str(event.stage), entry, event.step)
                return [*before, RunChange(found.stage.run, entry)]
            case EffectIntended():
                effect = self._begin(found, RunKind.EFFECT, _effect_name(event), entry)
                found.effects[entry.seq] = effect
                return [RunChange(effect.run, entry)]
            case EffectDone() | EffectRefused():
                return _end_effect(found, entry, event)
            case EndDecided() | RolloutEnded():
                return _end(found, entry, event)
            case RollbackTargetChanged():
                found.target = event.target
            case GateJudged() | Paused():
                _note(found.stage or found.whole, entry, event)
            case _:
                pass
        return []

    def _begin(self, found: _RolloutRuns, kind: RunKind, name: str, entry: Entry, step: int = 0) -> _OpenRun:
        whole = found.whole.run
        return _OpenRun(JournalRun(kind, name, entry, whole.opened, whole.began, step))

    def _end_restore(self, entry: Entry, event: DataRestored | DataRestoreRefused) -> list[RunChange]:
        run = self._restores.pop(event.intent, None)
        if run is None:
            return []
        if isinstance(event, DataRestored):
            return [run.end(entry, RunResult.COMPLETE)]
        return [run.end(entry, RunResult.FAIL, f"table {event.name} is not restored: surefoot data {entry.model}")]


def _effect_name(event: EffectIntended) -> str:
    match event.effect:
        case SetSplit():
            return "set split"
        case SetAlias():
            return f"set alias {event.effect.alias}"
        case _:
            return "set configuration"


def _end_effect(found: _RolloutRuns, entry: Entry, event: EffectDone | EffectRefused) -> list[RunChange]:
    run = found.effects.pop(event.intent, None)
    if run is None:
        return []
    if isinstance(event, EffectDone):
        return [run.end(entry, RunResult.COMPLETE)]
    return [run.end(entry, RunResult.FAIL, f"refused: surefoot history {entry.model}")]


def _end(found: _RolloutRuns, entry: Entry, event: EndDecided | RolloutEnded) -> list[RunChange]:
    """The changes when an end is decided, which ends the stage, or reached, which ends the rollout too."""
    opened = found.whole.run.opened
    result = _result(opened.kind, event.terminal_stage)
    if isinstance(event, EndDecided):
        found.gate = event.gate
    # A tripwire, or what could not be judged, may quote what a model said of a request.
    quotes = found.gate == TRIPWIRE_GATE_NAME or (not found.gate and event.terminal_stage is Stage.REJECTED)
    told = f"why: surefoot history {entry.model}" if quotes else event.reason
    reason = f"{event.terminal_stage}: {told}"
    changes = [] if found.stage is None else [found.stage.end(entry, result, reason, found.target)]
    found.stage = None
    if isinstance(event, RolloutEnded):
        changes += [effect.end(entry, RunResult.ABORT, reason) for effect in found.effects.values()]
        found.effects = {}
        changes.append(found.whole.end(entry, result, reason, found.target))
    return changes


def _result(kind: RolloutKind, stage: Stage) -> RunResult:
    """How a rollout ended; a rollback that went back has done what it was for."""
    if stage in PROMOTED_STAGES or (kind == RolloutKind.ROLLBACK and stage in _BACK):
        return RunResult.COMPLETE
    return RunResult.ABORT if stage in _CALLED_OFF else RunResult.FAIL


def _note(run: _OpenRun, entry: Entry, event: GateJudged | Paused) -> None:
    """Note a pause, and a verdict where the gate answers otherwise than at its look before."""
    if isinstance(event, GateJudged):
        gate, outcome = event.verdict.gate, event.verdict.outcome.value
        if run.outcomes.get(gate) == outcome:
            return
        run.outcomes[gate] = outcome
    run.moments.append((entry, event))
