"""Handle the commands that open or end rollouts (promotions and rollbacks), or adopt a champion."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from surefoot.core.actions import FinishEffect
from surefoot.core.domain import RolloutKind, Stage, Version
from surefoot.core.errors import JournalTampered, NotFound, Rejected, RolloutInProgress, StaleLedger, TransitionIllegal
from surefoot.core.journal.chain import canonical_digest
from surefoot.core.journal.event_sentences import describe_rollout
from surefoot.core.journal.events import ChampionAdopted, EndDecided, RolloutOpened, SetSplit
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.journal.served_version_events import VersionReleased
from surefoot.core.operator_reason import clean_reason
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Policy
from surefoot.core.rollback.stepped_rollback import is_rolling_back_in_steps
from surefoot.core.serving_engines.engine_choice import EngineChoice
from surefoot.core.stages.hold_events import FreezeOverridden
from surefoot.rollout.advance_rollout import carry_out_effect, drive_rollout, journal_and_apply_effect
from surefoot.rollout.config_files import store_config_bundle
from surefoot.rollout.decisions.promotion_checks import (
    check_artifact,
    collect_version_claims,
    describe_quarantine,
    refuse_other_champion,
    refuse_repeated_promotion,
)
from surefoot.rollout.journal_differences import describe_journal_behind_gateway
from surefoot.rollout.ports import Ports
from surefoot.rollout.recovery.engine_change import record_engine_change
from surefoot.rollout.recovery.fallback_check import check_fallback_before_rollout
from surefoot.rollout.recovery.live_drill import (
    has_live_drill_route,
    has_unconfirmed_live_drill,
    take_back_live_drill,
)
from surefoot.rollout.recovery.rollback_schedule import resolve_rollback_schedule

_CONFLICT_RETRIES = 100
"""How often a request is made again when another process was faster [count]."""
_GONE_BACK = {Stage.ROLLED_BACK, Stage.FAST_ROLLED_BACK, Stage.ABORTED, Stage.WITHDRAWN, Stage.SUPERSEDED}
"""After these the champion of before serves already."""


@dataclass(frozen=True, slots=True)
class PromotionRequest:
    """A request to promote a version: policy, expectation suite, version and reason.

    Attributes:
        policy: The policy as a mapping of JSON values; it is journalled whole.
        suite_digest: SHA-256 of the expectation suite.
        number: Version to promote.
        reason: Why, for the record.
        force: Try again a version that has already been turned away.
        secret: Secret of the installation; the salt is derived from it, so that an outsider cannot guess an arm.
        source: What asked: "alias", "stage" or "hand".
        fallback_digest: SHA-256 of the file of the policy's fallback; empty where it has none.
        ticket: Change ticket; empty for the one of the version's tag.
        override_freeze: Let the rollout go on in spite of freezes; the reason says why.
        join_only: Join the rollout that is open, and open none: it is not known who asks.
    """

    policy: Mapping[str, object]
    suite_digest: str
    number: str
    reason: str
    force: bool = False
    secret: str = ""
    source: str = "hand"
    fallback_digest: str = ""
    ticket: str = ""
    override_freeze: bool = False
    join_only: bool = False


def adopt_champion(ports: Ports, model: str, engine: EngineChoice | None = None) -> Ledger:
    """Make sure that the model has a champion that the journal knows and its engine serves.

    Args:
        ports: The outside world.
        model: Registered model.
        engine: The engine that is to serve it; what its policy says without it.

    Raises:
        Rejected: The registry has no alias `champion` on this model.
        JournalTampered: The gateway serves what an entry asked for that the journal does not have.
    """
    ledger = record_engine_change(ports, ports.ledger(model), engine or ports.wanted_engine(model))
    if ledger.champion is None:
        live = ports.engine(ledger).live(model)
        if live is not None and live.generation > ledger.head:
            title = ledger.engine.abilities.title
            raise JournalTampered(describe_journal_behind_gateway(model, ledger.head, live.generation, title))
        number = ports.registry.alias(model, "champion")
        if number is None:
            miss = ports.registry.view(model).similar_alias("champion")
            why = f" ({miss})" if miss else ""
            raise Rejected(
                f"{model} has no champion yet: set the alias 'champion' on the version that serves today{why}"
            )
        ledger = ports.append(ledger, ChampionAdopted(ports.registry.resolve(model, number)))
    if ledger.intent and not ledger.open and not has_unconfirmed_live_drill(ledger):
        ledger = carry_out_effect(ports, ledger, FinishEffect(*ledger.intent))
    if not ledger.open and ledger.champion and (ledger.split is None or ports.engine(ledger).live(model) is None):
        ledger = journal_and_apply_effect(ports, ledger, SetSplit(ledger.champion, None, 0.0))
    return ledger


def _rollout_id(request: PromotionRequest, candidate: Version, champion: Version, attempt: int) -> str:
    """Id of a rollout: the same facts join the same rollout."""
    return canonical_digest(
        {
            "artifact": candidate.digest,
            "attempt": attempt,
            "champion": champion.digest,
            "model": request.policy["model"],
            "policy": canonical_digest(request.policy),
            "suite": request.suite_digest,
            "version": candidate.number,
        }
    )[7:19]


def open_promotion(ports: Ports, request: PromotionRequest) -> str:
    """Open a rollout, or join the one that is open for the same facts.

    Returns:
        Id of the rollout.

    Raises:
        Rejected: Nothing to do, or not without `force`; the message says what to do instead.
        RolloutInProgress: Another rollout is open and the policy does not replace it.
        FallbackInvalid: The policy's fallback is a version that cannot be loaded.
    """
    policy = parse_policy(request.policy)
    candidate = ports.registry.resolve(policy.model, request.number)
    ledger = adopt_champion(ports, policy.model, policy.traffic.engine_choice)
    current = ledger.rollout
    if current and current.opened.candidate == candidate and current.opened.kind == RolloutKind.PROMOTION:
        _try(ports, _overridden(ports, ledger, request))
        return ledger.open
    if request.join_only:
        raise TransitionIllegal(
            f"the rollout of version {candidate.number} of {policy.model} that this run was to go on with is over, or"
            " is that of other bytes: ask for a new one"
        )
    refuse_repeated_promotion(ledger, candidate, force=request.force)
    if stale := ledger.drills.promotion_problem(policy.model, policy.drill, ports.clock.now()):
        raise Rejected(f"version {candidate.number} is not promoted: {stale}")
    if not current:
        refuse_other_champion(ports, ledger)
    claims = collect_version_claims(ports, policy, candidate.number, request.ticket)
    provenance = check_artifact(ports, policy, candidate)
    if current:
        ledger = _make_room(ports, ledger, current, policy, candidate)
    champion = ledger.champion
    if champion is None:
        raise Rejected(f"{policy.model} has no champion yet")
    why = clean_reason(request.reason).text
    ledger, fallback_digest = check_fallback_before_rollout(ports, ledger, champion, candidate)
    if candidate.digest in ledger.quarantined:  # asked for by --force: the record says who has lifted it
        ledger = ports.append(ledger, VersionReleased(candidate, why, forced=True))
    if has_live_drill_route(ledger):
        ledger = take_back_live_drill(ports, ledger, f"the promotion of version {candidate.number} begins")
    attempt = len(ledger.attempts(candidate)) + 1
    rollout = _rollout_id(request, candidate, champion, attempt)
    ledger = ports.append(
        ledger,
        RolloutOpened(
            rollout=rollout,
            kind=RolloutKind.PROMOTION,
            candidate=candidate,
            champion=champion,
            policy=request.policy,
            policy_digest=canonical_digest(request.policy),
            suite_digest=request.suite_digest,
            # The same salt for every attempt: a retry must not expose another set of users.
            salt=canonical_digest({"model": policy.model, "secret": request.secret})[7:23],
            attempt=attempt,
            reason=why,
            source=request.source,
            fallback_digest=fallback_digest or request.fallback_digest,
            bundle=store_config_bundle(ports, policy, candidate),
            authors=claims.authors,
            ticket=claims.ticket,
            provenance=provenance,
        ),
    )
    _try(ports, _overridden(ports, ledger, request))
    return rollout


def _overridden(ports: Ports, ledger: Ledger, request: PromotionRequest) -> Ledger:
    """Journal that a rollout goes on in spite of freezes, where that is asked for."""
    rollout = ledger.rollout
    if not request.override_freeze or rollout is None or rollout.overridden:
        return ledger
    return ports.append(ledger, FreezeOverridden(ledger.open, clean_reason(request.reason).text))


def _try(ports: Ports, ledger: Ledger) -> None:
    """Reject a rollout that has just been opened, if its candidate cannot be loaded here: no later run could help."""
    rollout, opened = ledger.rollout, ledger.open
    if rollout is None or rollout.stage is not Stage.SUBMITTED or rollout.ending:
        return
    if not (problem := ports.trial(ledger.model, rollout.opened.candidate)):
        return
    while (now := ports.ledger(ledger.model)).open == opened and now.rollout and not now.rollout.ending:
        try:
            ports.append(now, EndDecided(opened, Stage.REJECTED, "", problem))
        except StaleLedger:  # another process drives it already: only the latest reader may write
            continue
    drive_rollout(ports, ledger.model, until=lambda seen: seen.open != opened)


def _make_room(ports: Ports, ledger: Ledger, current: Rollout, policy: Policy, candidate: Version) -> Ledger:
    promotion = current.opened.kind == RolloutKind.PROMOTION
    what = f" of version {current.opened.candidate.number}" if promotion else f", {describe_rollout(current.opened)},"
    busy = f"rollout {ledger.open}{what} is {current.stage}"
    if policy.on_new_candidate == "reject":
        raise Rejected(f"{busy}, and the policy says on_new_candidate: reject")
    settled = current.stage in {Stage.PROMOTING, Stage.BAKING}  # a champion that bakes is not taken back for a newcomer
    if policy.on_new_candidate == "queue" or current.opened.kind == RolloutKind.ROLLBACK or settled:
        raise RolloutInProgress(f"{busy}; version {candidate.number} waits for its end")
    if not current.ending:
        reason = f"version {candidate.number} came"
        ledger = ports.append(ledger, EndDecided(ledger.open, Stage.SUPERSEDED, "", reason))
    return drive_rollout(ports, ledger.model, until=lambda seen: not seen.open)


def _unknown(ports: Ports, model: str) -> NotFound:
    """The error for a model of which the journal holds nothing; it names the one that was perhaps meant."""
    known = ports.journal.models()
    close = difflib.get_close_matches(model.lower(), [one.lower() for one in known], n=1, cutoff=0.8)
    meant = next((f"; did you mean {one}?" for one in known if close and one.lower() == close[0]), "")
    return NotFound(f"the journal holds nothing of {model}{meant}; known: {', '.join(known) or 'none'}")


def end_rollout(ports: Ports, model: str, terminal_stage: Stage, reason: str, gate: str = "") -> Ledger:
    """Decide that the open rollout ends now; beats every other pending request. An abort ends a live drill as well.

    Args:
        ports: The outside world.
        model: Registered model.
        terminal_stage: Where it ends.
        reason: Why.
        gate: What decided, when it was no person.

    Raises:
        TransitionIllegal: No rollout is open.
    """
    ledger = ports.ledger(model)
    rollout = ledger.rollout
    if not ledger.head:
        raise _unknown(ports, model)
    if rollout is None and terminal_stage is Stage.ABORTED and has_live_drill_route(ledger):
        return take_back_live_drill(ports, ledger, reason)
    if rollout is None:
        raise TransitionIllegal(
            f"no rollout of {model} is open: nothing to {'abort' if terminal_stage is Stage.ABORTED else 'end'}"
        )
    return _decide_end(ports, ledger, rollout, terminal_stage, reason, gate)


def _decide_end(
    ports: Ports, ledger: Ledger, rollout: Rollout, terminal_stage: Stage, reason: str, gate: str = ""
) -> Ledger:
    """Journal that the open rollout of this ledger ends now; StaleLedger where it has moved on meanwhile."""
    why = clean_reason(reason).text
    if rollout.opened.kind == RolloutKind.ROLLBACK:
        # A rollback that shares traffic can be called off; one that has moved it all goes on to its end.
        stepping = not rollout.ending and is_rolling_back_in_steps(ledger, rollout)
        return ports.append(ledger, EndDecided(ledger.open, Stage.ABORTED, gate, why)) if stepping else ledger
    return ledger if rollout.ending else ports.append(ledger, EndDecided(ledger.open, terminal_stage, gate, why))


def open_rollback(ports: Ports, model: str, reason: str, number: str | None = None, mode: str | None = None) -> Ledger:
    """Decide a rollback: of the open rollout, or of the promoted champion to the last proven-good version.

    Needs the journal and nothing else. An open promotion always goes back at once.

    Args:
        ports: The outside world.
        model: Registered model.
        reason: Why.
        number: Version to go back to; the last proven-good one without it.
        mode: "immediate" or "stepped"; what the policy of the champion's promotion says without it. A stepped rollback
            that is open already is finished at once by "immediate".

    Raises:
        Rejected: There is no proven-good version to go back to, or the named one is not proven.
    """
    ledger = ports.ledger(model)
    rollout = ledger.rollout
    if rollout and rollout.opened.kind == RolloutKind.ROLLBACK and number in {None, rollout.rollback_target.number}:
        return _finish_at_once(ports, ledger, rollout, reason) if mode == "immediate" else ledger
    if rollout and number is None:
        ends_as = Stage.ABORTED if rollout.is_before_traffic else Stage.ROLLED_BACK
        return _decide_end(ports, ledger, rollout, ends_as, reason)
    if rollout:
        raise TransitionIllegal(
            f"rollout {ledger.open} of {model} is open: roll back without naming a version, or abort"
        )
    if not ledger.head:
        raise _unknown(ports, model)
    champion = ledger.champion
    target = ledger.target() if number is None else next((v for v in ledger.proven if v.number == number), None)
    held = ledger.quarantined.get(target.digest) if target else None
    if held is not None:
        raise Rejected(
            f"version {number} of {model} is quarantined: 'surefoot release {model} {number} --reason ...' lifts that;"
            f" {describe_quarantine(held)}"
        )
    last = next(reversed(tuple(ledger.rollouts.values())), None)
    stayed = last is not None and last.opened.kind == RolloutKind.ROLLBACK and last.stage is Stage.ABORTED
    if number is None and champion and last and last.stage in _GONE_BACK and not stayed:
        # Asked twice, or a gate was faster: taking the good champion back as well would be the accident.
        raise Rejected(
            f"traffic is back at version {champion.number} already ({last.stage}: {last.reason});"
            " name a proven-good version with --to to go further back"
        )
    if champion is None or target is None or target.digest == champion.digest:
        proven = ", ".join(v.number for v in ledger.proven if v.digest not in ledger.quarantined) or "none"
        raise Rejected(f"{model} has no other proven-good version to go back to (proven-good: {proven})")
    attempt = sum(item.opened.kind == RolloutKind.ROLLBACK for item in ledger.rollouts.values()) + 1
    facts = {"champion": champion.digest, "model": model, "rollback": attempt, "target": target.digest}
    why = clean_reason(reason).text
    steps, mode_reason, policy = resolve_rollback_schedule(ports, ledger, champion, target, mode)
    opened = RolloutOpened(
        rollout=canonical_digest(facts)[7:19],
        kind=RolloutKind.ROLLBACK,
        candidate=target,
        champion=champion,
        policy=policy,
        policy_digest=canonical_digest(policy) if policy else "",
        suite_digest="",
        salt=canonical_digest({"model": model, "rollback": attempt})[7:23] if steps else "",
        attempt=attempt,
        reason=why,
        passed_over=ledger.skipped_targets(target) if number is None else (),
        stepped=steps,
        mode_reason=mode_reason,
    )
    return ports.append(ledger, opened)


def _finish_at_once(ports: Ports, ledger: Ledger, rollout: Rollout, reason: str) -> Ledger:
    """Move all traffic of a stepped rollback back now, also one that is being aborted."""
    finished = rollout.ending is not None and rollout.ending.terminal_stage is Stage.FAST_ROLLED_BACK
    if finished or not is_rolling_back_in_steps(ledger, rollout):
        return ledger
    return ports.append(ledger, EndDecided(ledger.open, Stage.FAST_ROLLED_BACK, "", clean_reason(reason).text))


def retry_on_conflict(request: Callable[[], Ledger]) -> Ledger:
    """Repeat a request until no other process has appended to the journal while it was made.

    The run that drives a rollout appends several times a second; an abort must not lose against that.

    Raises:
        StaleLedger: It lost every time.
    """
    for _ in range(_CONFLICT_RETRIES):
        try:
            return request()
        except StaleLedger:
            continue
    return request()


def end_rollout_cut_by_gateway(ports: Ports, model: str, rollout: str, reason: str) -> None:
    """Journal that the gateway has cut the candidate of a rollout; the run that drives it brings it to its end.

    Raises:
        SurefootError: The journal cannot be written now.
    """
    if rollout and ports.ledger(model).open == rollout:
        retry_on_conflict(lambda: end_rollout(ports, model, Stage.ROLLED_BACK, reason, "tripwire"))
