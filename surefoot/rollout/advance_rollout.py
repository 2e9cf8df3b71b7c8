"""Advance a rollout by one step or until a condition holds; journal each change (an effect) before applying it."""

from collections.abc import Callable

from surefoot.core.actions import (
    AbandonEffect,
    Action,
    ApplyEffect,
    CheckpointData,
    FinishEffect,
    JudgeGates,
    NoRollout,
    RecordEvent,
    WaitUntil,
)
from surefoot.core.domain import Outcome, RolloutKind
from surefoot.core.errors import (
    AliasDrift,
    ArtifactTampered,
    Conflict,
    NewerWrite,
    NotFound,
    OutcomeUnknown,
    Rejected,
    RouteSuperseded,
    SurefootError,
    Unavailable,
    VersionUnavailable,
)
from surefoot.core.journal.bundled_files import SetConfig
from surefoot.core.journal.events import (
    DriftFound,
    Effect,
    EffectDone,
    EffectIntended,
    EffectRefused,
    GateJudged,
    SetAlias,
    SetSplit,
)
from surefoot.core.journal.ledger import Ledger, Rollout, derive_split_from_effect, fold_entries
from surefoot.core.journal.served_version_events import RollbackTargetChanged
from surefoot.core.judging.evidence import Evidence, MissingEvidence
from surefoot.core.judging.evidence_json import encode_evidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.judge import JUDGE_RULES_VERSION, judge
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Policy
from surefoot.core.rollback.stepped_rollback import rollback_is_aborted
from surefoot.core.state_machine import decide_action
from surefoot.rollout.config_files import build_config_drift_event, write_config
from surefoot.rollout.decisions.freezes import find_calendar_freeze_event
from surefoot.rollout.evidence_requests import evidence_requests, read_stepped_rollback_policy
from surefoot.rollout.ports import Ports
from surefoot.rollout.recovery.standby import send_standby
from surefoot.rollout.recovery.table_restores import checkpoint_table

_MAX_OUTAGE_S = 600.0
"""How long `drive_rollout` keeps trying while the outside world does not answer [seconds]."""
_READ_BACKS, _READ_BACK_PAUSE_S = 150, 0.1
"""How often the split is read back while a worker of the gateway still loads a version [count], and the pause [s]."""


def advance_rollout(ports: Ports, ledger: Ledger) -> tuple[Action, Ledger]:
    """Take one step of a rollout; a change is made only where it is still missing, and read back after.

    Raises:
        Unavailable: The world does not answer; the journal says how far things came.
        Conflict: Somebody else moves this rollout.
    """
    if (frozen := find_calendar_freeze_event(ports, ledger)) is not None:
        return RecordEvent(frozen), ports.append(ledger, frozen)
    rollout = ledger.rollout
    # The way back needs no policy: one that a newer release cannot read must not stand in its way.
    forward = rollout is not None and rollout.opened.kind == RolloutKind.PROMOTION and not rollout.ending
    policy = parse_policy(rollout.opened.policy) if rollout and forward else read_stepped_rollback_policy(rollout)
    action = decide_action(ledger, policy, ports.clock.now())
    match action:
        case FinishEffect():
            return action, carry_out_effect(ports, ledger, action)
        case AbandonEffect():
            return action, ports.append(ledger, EffectRefused(ledger.open, action.seq, "given up to go back"))
        case ApplyEffect():
            if (changed := _other_than_deleted(ports, ledger, action.effect)) is not None:
                return RecordEvent(changed), ports.append(ledger, changed)
            return action, journal_and_apply_effect(ports, ledger, action.effect)
        case RecordEvent():
            return action, ports.append(ledger, action.event)
        case CheckpointData():
            return action, checkpoint_table(ports, ledger, action.source)
        case JudgeGates() if rollout and policy:
            return action, _ask(ports, ledger, rollout, policy, action)
        case _:
            return action, ledger


def _ask(ports: Ports, ledger: Ledger, rollout: Rollout, policy: Policy, look: JudgeGates) -> Ledger:
    for question in evidence_requests(ledger.model, rollout, policy, look, ports.clock.now()):
        gate = question.gate
        evidence = _gather(ports, rollout, question)
        verdict = judge(gate, evidence, look.level)
        judged = GateJudged(
            rollout=ledger.open,
            stage=rollout.stage,
            step=rollout.step,
            look=look.look,
            verdict=verdict,
            level=look.level,
            evidence=encode_evidence(evidence),
            judge=JUDGE_RULES_VERSION,
        )
        ledger = ports.append(ledger, judged)
    return ledger


def _gather(ports: Ports, rollout: Rollout, question: EvidenceRequest) -> Evidence:
    """The evidence of a gate; what keeps a rollback from it is evidence that is missing, and holds nothing up."""
    if rollout.opened.kind == RolloutKind.PROMOTION:
        return ports.evidence_source.gather(question)
    try:
        return ports.evidence_source.gather(question)
    except Exception as error:  # noqa: BLE001 - a rollback needs nothing that may be broken
        return MissingEvidence(Outcome.ERROR, f"the evidence cannot be gathered: {error}")


def journal_and_apply_effect(ports: Ports, ledger: Ledger, effect: Effect) -> Ledger:
    """Journal the intended change, then make it."""
    started = ports.clock.monotonic()
    ledger = ports.append(ledger, EffectIntended(ledger.open, effect))
    return carry_out_effect(ports, ledger, FinishEffect(ledger.head, effect), started)


def carry_out_effect(ports: Ports, ledger: Ledger, settle: FinishEffect, started: float | None = None) -> Ledger:
    """Make a change (look, apply, read back, journal); one that was already made is only journalled."""
    began = ports.clock.monotonic() if started is None else started
    try:
        if isinstance(settle.effect, SetSplit):
            # An intent of this very moment cannot have been applied: look first only at what may be older.
            already, done = _shift(ports, ledger, settle.seq, settle.effect, look=started is None)
        elif isinstance(settle.effect, SetConfig):
            already, done = write_config(ports, settle.effect), ports.clock.monotonic()
        else:
            already, done = _point(ports, ledger, settle.effect), ports.clock.monotonic()
    except (AliasDrift, NewerWrite, RouteSuperseded, ArtifactTampered, Rejected, VersionUnavailable) as error:
        return _give_up(ports, ledger, settle, error)
    took = (done - began) * 1000.0
    return ports.append(ledger, EffectDone(ledger.open, settle.seq, already, round(took, 3)))


def _give_up(ports: Ports, ledger: Ledger, settle: FinishEffect, error: Exception) -> Ledger:
    """The effect cannot be: going forward that ends the rollout, going back it stays open as a drift."""
    rollout = ledger.rollout
    # A rollback that is finished at once may still find that its target cannot be served.
    finished = rollout is not None and rollout.opened.kind == RolloutKind.ROLLBACK and not rollback_is_aborted(rollout)
    back = rollout is None or (rollout.ending is not None and not finished)
    if rollout is not None and (unfit := _unfit_versions(ports, ledger, rollout, settle.effect, error)):
        return ports.append(ledger, EffectRefused(ledger.open, settle.seq, str(error), unfit))
    if isinstance(settle.effect, SetSplit):
        if back or isinstance(error, VersionUnavailable):
            raise error
    elif isinstance(settle.effect, SetConfig):
        if back or isinstance(error, NewerWrite) or (rollout and rollout.opened.kind == RolloutKind.ROLLBACK):
            ledger = ports.append(ledger, build_config_drift_event(ledger.open, settle.effect, error))
    elif back or (rollout is not None and rollout.opened.kind == RolloutKind.ROLLBACK):
        ledger = ports.append(ledger, _left_open(ledger.open, settle.effect, error))
    elif isinstance(error, AliasDrift) and settle.effect.alias == "champion":
        expected = settle.effect.expected or ""
        ledger = ports.append(ledger, DriftFound(ledger.open, "alias champion", expected, str(error)))
    return ports.append(ledger, EffectRefused(ledger.open, settle.seq, str(error)))


def _unfit_versions(
    ports: Ports, ledger: Ledger, rollout: Rollout, effect: Effect, error: Exception
) -> tuple[str, ...]:
    """Digests of versions that traffic cannot go back to, as a refusal shows; none where no other is proven-good."""
    back = rollout.rollback_target
    unfit: tuple[str, ...] = ()
    if isinstance(effect, SetSplit):
        serves = ledger.split is not None and ledger.split.champion.digest == back.digest
        step = effect.candidate is not None and effect.candidate.digest == back.digest
        if (step or effect == SetSplit(back, None, 0.0)) and not serves and not isinstance(error, RouteSuperseded):
            unfit = (back.digest,)
    elif effect == SetAlias("champion", back.number, effect.expected) and isinstance(error, NotFound):
        unfit = _deleted_versions(ports, ledger, rollout)
    backwards = rollout.ending is not None or rollout.opened.kind == RolloutKind.ROLLBACK
    return unfit if backwards and unfit and ledger.next_target(rollout, unfit) else ()


def _other_than_deleted(ports: Ports, ledger: Ledger, effect: Effect) -> RollbackTargetChanged | None:
    """The change to the next proven-good version before any traffic goes to one that the registry has deleted.

    Only what the registry says in a moment counts. Where it says nothing, or no other version is proven-good, traffic
    goes to the bytes that are loaded.
    """
    rollout = ledger.rollout
    if rollout is None or not isinstance(effect, SetSplit) or _goes_forward(rollout):
        return None
    back, split = rollout.rollback_target, ledger.split
    shared = split is not None and split.candidate == back and split.weight > 0.0
    if shared or (split is not None and split.champion == back) or back not in {effect.champion, effect.candidate}:
        return None
    target = ledger.next_target(rollout)
    if target is None or not ports.is_deleted(ledger.model, back.number):
        return None
    return RollbackTargetChanged(ledger.open, back, target, "it is not in the registry")


def _goes_forward(rollout: Rollout) -> bool:
    """Whether a rollout is not on its way back: a promotion that was not ended, or a rollback that is called off."""
    if rollout.opened.kind == RolloutKind.PROMOTION:
        return rollout.ending is None
    return rollback_is_aborted(rollout)


def _deleted_versions(ports: Ports, ledger: Ledger, rollout: Rollout) -> tuple[str, ...]:
    """Digests of the versions to go back to that the registry does not have any more; none when it does not tell."""
    try:
        view = ports.registry.view(ledger.model)
    except SurefootError:
        return ()
    if not view.exists or rollout.rollback_target.number in view.stages:
        return ()
    gone = (version.digest for version in ledger.proven if version.number not in view.stages)
    return tuple(dict.fromkeys((rollout.rollback_target.digest, *gone)))


def _left_open(rollout: str, effect: SetAlias, error: Exception) -> DriftFound:
    """What a registry change on the way back leaves behind when it cannot be made."""
    return DriftFound(
        rollout,
        f"alias {effect.alias}",
        effect.number or "removed",
        str(error),
        alias=effect.alias,
        number=effect.number,
        before=effect.expected,
        # Somebody else's choice is theirs to keep; what was merely refused is asked for again.
        repeat=not isinstance(error, AliasDrift),
    )


def _shift(ports: Ports, ledger: Ledger, seq: int, effect: SetSplit, *, look: bool) -> tuple[bool, float]:
    """Move traffic and read it back; whether it had already moved, and when it was acknowledged."""
    wanted = derive_split_from_effect(ledger, seq, effect)
    traffic, engine = ports.engine(ledger), ledger.engine.abilities.title
    if look and traffic.settled(ledger.model, wanted):
        return True, ports.clock.monotonic()
    traffic.shift(ledger.model, wanted)
    acknowledged = ports.clock.monotonic()
    for _ in range(_READ_BACKS):
        if (live := traffic.live(ledger.model)) is not None:
            break
        ports.clock.sleep(_READ_BACK_PAUSE_S)  # one of its workers was started a moment ago: it loads the version still
    else:
        raise OutcomeUnknown(f"{engine} has acknowledged generation {seq}, and serves no version of {ledger.model}")
    if live != wanted:
        raise RouteSuperseded(f"{engine} serves generation {live.generation}, not {seq}")
    send_standby(ports, ledger, wanted)
    return False, acknowledged


def _point(ports: Ports, ledger: Ledger, effect: SetAlias) -> bool:
    """Move an alias; whether it had already moved. A human's choice is never overwritten."""
    live = ports.registry.alias(ledger.model, effect.alias)
    if live == effect.number:
        return True
    if effect.expected is not None and live != effect.expected:
        raise AliasDrift(f"{effect.alias} points to {live or 'nothing'}, not to {effect.expected}")
    ports.registry.set_alias(ledger.model, effect.alias, effect.number)
    return False


def drive_rollout(
    ports: Ports,
    model: str,
    *,
    until: Callable[[Ledger], bool],
    on_step: Callable[[Ledger, Action], None] = lambda _ledger, _action: None,
    patience: float = _MAX_OUTAGE_S,
    poll: float = 0.5,
    wait: bool = True,
) -> Ledger:
    """Advance until a condition holds or no rollout is open, waiting and retrying as needed.

    Args:
        ports: The outside world.
        model: Registered model.
        until: Stop when this holds of the ledger.
        on_step: Called after every step.
        patience: How long to keep trying while the world does not answer [seconds].
        poll: Longest sleep between two looks at the clock [seconds].
        wait: Whether to sleep when nothing is due; otherwise that is the end.

    Raises:
        Unavailable: The world did not answer for `patience`.
        Conflict: Lost against another writer again and again.
    """
    ledger, trouble, lost = ports.ledger(model), None, 0
    while not until(ledger):
        try:
            action, ledger = advance_rollout(ports, ledger)
        except (Unavailable, OutcomeUnknown):
            ledger = ports.ledger(model)
            trouble = ports.clock.monotonic() if trouble is None else trouble
            if ports.clock.monotonic() - trouble >= patience:
                raise
            ports.clock.sleep(min(poll * 4.0, 2.0))
            continue
        except RouteSuperseded:
            raise
        except Conflict:
            # Somebody appended (an abort, another driver): read again; the journal decides who acts.
            ledger, lost = ports.ledger(model), lost + 1
            if lost > 50:  # noqa: PLR2004 - a bound, not a tuning
                raise
            continue
        trouble, lost = None, 0
        on_step(ledger, action)
        if isinstance(action, NoRollout) or (isinstance(action, WaitUntil) and not wait):
            break
        if isinstance(action, WaitUntil):
            ports.clock.sleep(min(poll, max(action.until - ports.clock.now(), 0.01)))
            ledger = fold_entries(model, ports.journal.read(model, after=ledger.head), ledger)
    return ledger
