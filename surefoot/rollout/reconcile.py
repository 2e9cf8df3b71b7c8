"""Reconcile rollouts with the present state of scheduler, registry and gateway, and tell what each one needs next."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from surefoot.core.actions import Action, NoRollout, WaitUntil
from surefoot.core.domain import RegistryView, RolloutKind, Split, Stage
from surefoot.core.errors import Conflict, StaleLedger, SurefootError
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.parse import parse_policy
from surefoot.core.served_versions.version_status import current_outcome
from surefoot.core.state_machine import decide_action
from surefoot.rollout.advance_rollout import advance_rollout
from surefoot.rollout.incidents import open_drift_incidents
from surefoot.rollout.journal_differences import (
    describe_split_mismatch,
    is_champion_as_journalled,
    journal_champion_drift,
    journal_config_drift,
    journal_split_drift,
    journal_version_drift,
    repeat_alias_changes,
)
from surefoot.rollout.ports import Ports
from surefoot.rollout.recovery.drift_reactions import DriftRule, react_to_champion_drift
from surefoot.rollout.rollout_commands import adopt_champion, end_rollout, retry_on_conflict

MAX_LATEST_RUNS = 5
"""Promotions of each model whose runs are looked at [count]: only the last ones can still change their outcome."""
MAX_RUNS_WITHOUT_PROGRESS = 3
"""Runs that may end without an entry in the journal before a person has to look [count]."""
_CANCELLED = frozenset({"CANCELLED", "CANCELLING"})
"""Types of the states of a run that was cancelled, or that is about to be."""
RUN_SILENCE_S = 100.0
"""A flow run that beats every 30 seconds and has been silent this long is dead [seconds]."""
UNKNOWN_PERSON_ACTOR = "Prefect UI, not identified"
"""Actor of a cancellation: the scheduler records that a run was cancelled, and not who did it."""


@dataclass(frozen=True, slots=True)
class CancelledRun:
    """A scheduler's run of a promotion that a person has cancelled.

    Attributes:
        name: Name of the run.
        model: Registered model.
        version: Version number that it was to promote.
        at: When it was cancelled [Unix seconds of the host].
        rollout: Id of the rollout that it drives; empty before it has opened or joined one.
    """

    name: str
    model: str
    version: str
    at: float
    rollout: str = ""

    @property
    def reason(self) -> str:
        """Why its rollout ends, for the record."""
        return f"flow run '{self.name}' was cancelled in Prefect"


def _is_cancelled_by_person(message: str) -> bool:
    """Whether a run was cancelled from outside: the scheduler gives its own cancels a message of its own.

    Args:
        message: What the run's last state says.
    """
    return "concurrency limit" not in message.lower()


def find_person_cancel_time(states: Iterable[tuple[str, str, float]]) -> float | None:
    """When a person first cancelled a run [Unix seconds of the host]; None where no person has.

    Every state counts that the run ever had: the scheduler lets a run that is just starting say RUNNING after a
    person has set CANCELLED, and a run that ends say how it ended.

    Args:
        states: Type, message and time of each state of the run, in any order.
    """
    found = (at for kind, message, at in states if kind in _CANCELLED and _is_cancelled_by_person(message))
    return min(found, default=None)


class NextStep(StrEnum):
    """What an open rollout needs next: a flow run, an ending, or nothing."""

    NOTHING = "nothing"
    RUN = "run"
    FINISH = "finish"


def adopt_champions(ports: Ports, models: Iterable[str]) -> dict[str, str]:
    """Have each model's registered champion served; returns what happened, by model."""
    outcome = {}
    for model in models:
        try:
            ledger = adopt_champion(ports, model)
            outcome[model] = f"champion {ledger.champion.number}" if ledger.champion else "no champion"
        except SurefootError as error:
            outcome[model] = str(error)
    return outcome


def end_cancelled_rollouts(ports: Ports, runs: Sequence[CancelledRun]) -> dict[str, CancelledRun]:
    """Abort every open promotion whose run a person has cancelled; returns these runs by model.

    Law: a run that was cancelled before a rollout was opened ends nothing, unless it drives that rollout itself.
    """
    ended = {}
    by_person = replace(ports, actor=UNKNOWN_PERSON_ACTOR)
    for model in ports.journal.models():
        ledger = ports.ledger(model)
        rollout = ledger.rollout
        if rollout is None or rollout.ending or rollout.opened.kind != RolloutKind.PROMOTION:
            continue
        number = rollout.opened.candidate.number
        mine = [run for run in runs if (run.model, run.version) == (model, number)]
        if not mine:
            continue
        opened = _opened_at(ports.journal.read(model), ledger.open)
        run = next((run for run in mine if run.at >= opened or run.rollout == ledger.open), None)
        if run is None:
            continue
        ended[model] = run
        retry_on_conflict(partial(end_rollout, by_person, model, Stage.ABORTED, run.reason))
    return ended


def _opened_at(entries: Sequence[Entry], rollout: str) -> float:
    """When a rollout was opened, by the host's clock; the policies' clock may be a replay's [Unix seconds]."""
    return next(e.wall for e in entries if e.kind == "RolloutOpened" and e.data["rollout"] == rollout)


def next_step(ledger: Ledger, *, driven: bool) -> NextStep:
    """What an open rollout needs: a run that drives it, its ending finished here, or nothing.

    Args:
        ledger: The model's state.
        driven: Whether a run of the scheduler already acts on the model.
    """
    rollout = ledger.rollout
    if rollout is None or driven:
        return NextStep.NOTHING
    if rollout.ending or rollout.opened.kind == RolloutKind.ROLLBACK:
        return NextStep.FINISH
    return NextStep.NOTHING if rollout.stage is Stage.BAKING else NextStep.RUN


def list_ended_outcomes(ledger: Ledger) -> dict[str, list[str]]:
    """Outcome and reason of each of the latest promotions that has ended, by id of its rollout."""
    promotions = [item for item in ledger.rollouts.items() if item[1].opened.kind == RolloutKind.PROMOTION]
    return {
        rollout: [str(part) for part in current_outcome(ledger, item)]
        for rollout, item in promotions[-MAX_LATEST_RUNS:]
        if item.stage.is_terminal
    }


def next_bake_action(ledger: Ledger, now: float) -> Action:
    """What is to be done about a rollout that bakes; WaitUntil when no look is due.

    Raises:
        PolicyInvalid: The policy that it was opened with cannot be read by this release.
    """
    rollout = ledger.rollout
    # The way back needs no policy.
    return decide_action(ledger, parse_policy(rollout.opened.policy) if rollout and not rollout.ending else None, now)


def finish_decided_ending(ports: Ports, model: str) -> None:
    """Bring a decided ending to its terminal state.

    Raises:
        SurefootError: The gateway, the registry or the journal does not let it; the next tick tries again.
    """
    ledger = ports.ledger(model)
    while ledger.open:
        action, ledger = advance_rollout(ports, ledger)
        if isinstance(action, NoRollout | WaitUntil):
            break  # a stepped rollback goes on at a later tick


def journal_model_drift(
    ports: Ports, model: str, rule: DriftRule | None = None, view: RegistryView | None = None
) -> list[str]:
    """Journal each difference of gateway or registry from the journal, and react to a moved alias `champion`.

    Registry changes of a rollback that could not be made are repeated. Each difference that another hand has made opens
    an incident.

    Args:
        ports: The outside world.
        model: Registered model.
        rule: What the policy says about a moved alias; by default it is told and left alone.
        view: What the registry said a moment ago. Only where all is well in it nothing is read again.

    Returns:
        One line for each difference that still holds, and for each that was answered.
    """
    ledger, lines = ports.ledger(model), list[str]()
    if ledger.intent or ledger.champion is None:
        return []
    try:
        live: Split | None = ports.engine(ledger).live(model)
        ledger = repeat_alias_changes(ports, ledger)
        if view is None or not is_champion_as_journalled(ledger, view):
            view = ports.registry.view(model)
        ledger = journal_version_drift(ports, journal_champion_drift(ports, ledger, view), view)
        ledger = journal_config_drift(ports, journal_split_drift(ports, ledger, live))
    except StaleLedger:  # the rollout has gone on meanwhile, so that what was read may be its own doing: the next tick
        return []
    except SurefootError as error:
        return [f"{model}: {error}"]
    try:
        ledger = react_to_champion_drift(ports, ledger, rule or DriftRule())
    except SurefootError as error:  # the next tick goes on with it; what was found is told now
        lines.append(f"{model}: {error}")
    try:
        ledger = open_drift_incidents(ports, ports.ledger(model))
    except Conflict as error:  # another process appends: the next tick opens it
        lines.append(f"{model}: {error}")
    lines += [f"{model}: {drift.what} should be {drift.expected}, {drift.seen}" for drift in ledger.drifts.values()]
    mismatch = describe_split_mismatch(ledger, live)
    if mismatch and (ledger.open or ledger.drills.live):  # no drift is journalled while these move the split themselves
        lines.append(f"{model}: {mismatch}")
    return lines
