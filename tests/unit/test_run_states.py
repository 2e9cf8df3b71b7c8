"""States of Prefect runs: named for the end of a rollout, and not green when it was turned away."""

import pytest
from prefect.states import Completed, Failed

from surefoot.core.domain import TERMINAL_STAGES, RolloutKind, Stage
from surefoot.core.journal.events import ChampionAdopted, EndDecided, Event, RolloutEnded
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.judging.evidence import Evidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.rollback.stepped_rollback import waits_for_person
from surefoot.rollout import drive_rollout, open_rollback
from tasks.states import combine_states, read_task_result, rollout_state
from tests.fakes import STEPPED
from tests.scripted import FAIL, scenario, started
from tests.unit.test_state import V1, V2, opened, sealed


def told(*events: Event) -> Ledger:
    """What the journal says after a promotion was opened and these events."""
    return fold_entries("m", sealed([ChampionAdopted(V1), opened("r", V2, V1), *events]))


@pytest.mark.parametrize("terminal_stage", sorted(TERMINAL_STAGES - {Stage.FAST_ROLLED_BACK}))
def test_a_run_is_named_for_the_end_of_its_rollout(terminal_stage: Stage) -> None:
    """A promoted version's run is COMPLETED, every other end is FAILED, with the reason; none is CANCELLED."""
    state = rollout_state(told(RolloutEnded("r", terminal_stage, "because")), "r", "r")
    good = terminal_stage in {Stage.PROMOTED, Stage.FAST_PROMOTED}
    assert (state.type.value, state.name) == ("COMPLETED" if good else "FAILED", terminal_stage.value)
    assert state.message == "promotion of version 2: because"


def test_an_end_that_is_decided_is_not_green_either() -> None:
    """While traffic is still going back the run already says how its rollout will end."""
    state = rollout_state(told(EndDecided("r", Stage.ROLLED_BACK, "", "too slow")), "r")
    assert (state.type.value, state.name) == ("FAILED", "RolledBack")
    assert rollout_state(told(), "r").type.value == "COMPLETED"


def test_a_version_taken_back_later_turns_its_run_red() -> None:
    """The run that promoted a version says FastRolledBack once it was taken back; the run of the rollback is green."""
    back = opened("b", V1, V2, kind=RolloutKind.ROLLBACK)
    events: list[Event] = [
        RolloutEnded("r", Stage.PROMOTED, "baked"),
        back,
        RolloutEnded("b", Stage.FAST_ROLLED_BACK, "complaints"),
    ]
    ledger = told(*events)
    state = rollout_state(ledger, "r")
    assert (state.type.value, state.name) == ("FAILED", "FastRolledBack")
    assert state.message == "rollback of version 2 to version 1: complaints"
    assert rollout_state(ledger, "b", kind=RolloutKind.ROLLBACK).type.value == "COMPLETED"


def test_a_rollback_that_is_held_is_not_green() -> None:
    """The run of a stepped rollback whose target fails a gate is red and named Held, with the gate's reason."""

    def play(question: EvidenceRequest) -> Evidence | None:
        return FAIL if question.kind == "live" and question.candidate.number == "1" else None

    env = scenario(STEPPED, play)
    started(env)
    rollout = open_rollback(env.ports(), "m", "complaints").open
    ledger = drive_rollout(env.ports(), "m", until=lambda seen: waits_for_person(seen.rollout))
    state = rollout_state(ledger, rollout, kind=RolloutKind.ROLLBACK)
    assert (state.type.value, state.name) == ("FAILED", "Held")
    assert state.message is not None
    assert state.message.startswith("rollback of version 2 to version 1: ")


def test_a_run_that_takes_an_open_promotion_back_is_green() -> None:
    """The rollback flow has done what it was for when the promotion has ended; a rollback that was aborted has not."""
    ledger = told(RolloutEnded("r", Stage.ROLLED_BACK, "complaints"))
    assert rollout_state(ledger, "r", kind=RolloutKind.ROLLBACK).type.value == "COMPLETED"
    failed = told(
        RolloutEnded("r", Stage.PROMOTED, ""),
        opened("b", V1, V2, RolloutKind.ROLLBACK),
        RolloutEnded("b", Stage.ABORTED, "x"),
    )
    assert rollout_state(failed, "b", kind=RolloutKind.ROLLBACK).type.value == "FAILED"


def test_an_end_is_an_answer_and_no_error() -> None:
    """What a task returned is read from a state that names an end; another failed state raises what stopped it."""
    ended = rollout_state(told(RolloutEnded("r", Stage.REJECTED, "because")), "r", "answer")
    assert (read_task_result(ended), ended.result()) == ("answer", "answer")
    with pytest.raises(ZeroDivisionError):
        read_task_result(Failed(data=ZeroDivisionError()))


def test_a_flow_that_looked_at_several_bakes_is_named_for_what_ended() -> None:
    """One bake that was rolled back names the flow's state; an error beside it is left to Prefect to count."""
    ended = rollout_state(told(RolloutEnded("r", Stage.ROLLED_BACK, "because")), "r")
    named = combine_states([Completed(), ended])
    assert not isinstance(named, list)
    assert (named.type.value, named.name, named.message) == ("FAILED", "RolledBack", "promotion of version 2: because")
    assert isinstance(combine_states([ended, Failed(message="no journal")]), list)
    assert isinstance(combine_states([Completed(), Completed()]), list)
