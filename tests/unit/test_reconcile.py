"""What reconciling decides, without a scheduler."""

from dataclasses import replace

import pytest

from surefoot.core.domain import Stage
from surefoot.rollout import (
    CancelledRun,
    NextStep,
    describe_split_mismatch,
    drive_rollout,
    end_cancelled_rollouts,
    end_rollout,
    find_person_cancel_time,
    finish_decided_ending,
    journal_model_drift,
    next_step,
    open_rollback,
)
from surefoot.rollout.reconcile import UNKNOWN_PERSON_ACTOR
from tests.scripted import POINTS, at, events, scenario, started


@pytest.mark.parametrize("point", POINTS)
def test_an_open_rollout_needs_one_run(point: str) -> None:
    """A rollout that no run drives gets one, a bake gets none, and what a run drives already is left alone."""
    ledger = started(scenario(), POINTS[point])
    baking = ledger.rollout is not None and ledger.rollout.stage is Stage.BAKING
    wanted = NextStep.NOTHING if baking or not ledger.open else NextStep.RUN
    assert next_step(ledger, driven=False) is wanted
    assert next_step(ledger, driven=True) is NextStep.NOTHING


def test_an_ending_is_finished_without_a_run() -> None:
    """A rollout that is to end, and a rollback, are brought to their end at once."""
    env = scenario()
    started(env, at(Stage.RAMPING))
    end_rollout(env.ports(), "m", Stage.ABORTED, "by hand")
    assert next_step(env.ports().ledger("m"), driven=False) is NextStep.FINISH
    finish_decided_ending(env.ports(), "m")
    assert events(env, "RolloutEnded")[-1]["sink"] == "Aborted"
    env = scenario()
    started(env)
    open_rollback(env.ports(), "m", "by hand")
    assert next_step(env.ports().ledger("m"), driven=False) is NextStep.FINISH


def test_a_cancelled_run_ends_the_rollout_that_it_drove() -> None:
    """Only a run of this model and version, cancelled after the rollout was opened, aborts it, in the person's name."""
    env = scenario()
    started(env, at(Stage.RAMPING))
    opened = env.journal.entries[-1].wall
    run = CancelledRun("quick fox", "m", "2", opened + 1e6)
    for other in (replace(run, version="3"), replace(run, model="n"), replace(run, at=opened - 1e9)):
        assert end_cancelled_rollouts(env.ports(), [other]) == {}
    assert end_cancelled_rollouts(env.ports(), [run]) == {"m": run}
    decided = next(entry for entry in env.journal.entries if entry.kind == "EndDecided")
    assert (decided.actor, decided.data["sink"]) == (UNKNOWN_PERSON_ACTOR, "Aborted")
    assert decided.data["reason"] == "flow run 'quick fox' was cancelled in Prefect"
    assert end_cancelled_rollouts(env.ports(), [run]) == {}


def test_a_run_that_was_cancelled_while_it_opened_a_rollout_ends_it() -> None:
    """A cancel a moment before the opening ends the rollout that this very run has opened, and no other one."""
    env = scenario()
    ledger = started(env, at(Stage.RAMPING))
    before = CancelledRun("quick fox", "m", "2", 0.0, "another")
    assert end_cancelled_rollouts(env.ports(), [before]) == {}
    mine = replace(before, rollout=ledger.open)
    assert end_cancelled_rollouts(env.ports(), [mine]) == {"m": mine}


@pytest.mark.parametrize(
    ("states", "at_"),
    [
        ([("PENDING", "", 1.0), ("CANCELLED", "", 2.0), ("RUNNING", "", 3.0)], 2.0),
        ([("COMPLETED", "", 9.0), ("CANCELLED", "Flow run was cancelled.", 4.0), ("CANCELLING", "", 3.0)], 3.0),
        ([("PENDING", "", 1.0), ("CANCELLED", "Deployment concurrency limit reached.", 2.0)], None),
        ([("RUNNING", "", 1.0), ("CRASHED", "no heartbeat", 2.0)], None),
        ([], None),
    ],
)
def test_a_cancel_counts_whatever_a_run_said_afterwards(
    states: list[tuple[str, str, float]], at_: float | None
) -> None:
    """A person's cancel is found among all states of a run; what Prefect cancels by itself is none."""
    assert find_person_cancel_time(states) == at_


def test_a_moved_split_is_journalled_once_and_resolved() -> None:
    """A gateway that serves another split is a drift for as long as it does, journalled once for each value."""
    env = scenario()
    started(env)
    right = env.traffic.split
    assert right is not None
    assert journal_model_drift(env.ports(), "m") == []
    env.traffic.split = replace(right, champion=env.registry.versions["3"])
    line = "m: live split should be version 2, the gateway serves version 3"
    assert [journal_model_drift(env.ports(), "m") for _ in range(3)] == [[line]] * 3
    assert len(events(env, "DriftFound")) == 1
    env.traffic.split = None
    assert journal_model_drift(env.ports(), "m") == ["m: live split should be version 2, the gateway serves no version"]
    env.traffic.split = right
    assert journal_model_drift(env.ports(), "m") == []
    assert len(events(env, "DriftFound")) == 2
    assert len(events(env, "DriftResolved")) == 1


def test_an_open_rollout_is_compared_without_an_entry() -> None:
    """While a rollout moves the split itself a difference is said, and nothing is journalled."""
    env = scenario()
    ledger = started(env, at(Stage.RAMPING, done=1))
    assert env.traffic.split is not None
    env.traffic.split = replace(env.traffic.split, weight=0.0)
    assert describe_split_mismatch(ledger, env.traffic.split)
    (line,) = journal_model_drift(env.ports(), "m")
    assert line.startswith("m: the gateway serves version 1, the journal says version 1, and version 2 at ")
    assert events(env, "DriftFound") == []


def test_a_rollback_resolves_the_drift_of_the_split() -> None:
    """The split that a rollback reads back ends what was known of a wrong one."""
    env = scenario()
    started(env)
    assert env.traffic.split is not None
    env.traffic.split = replace(env.traffic.split, champion=env.registry.versions["3"])
    journal_model_drift(env.ports(), "m")
    assert env.ports().ledger("m").drifts
    open_rollback(env.ports(), "m", "by hand")
    ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert ledger.drifts == {}
    assert env.traffic.split.champion.number == "1"
