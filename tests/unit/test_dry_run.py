"""A look before a tick says that there is work exactly when the use case would change something."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surefoot.core.actions import NoRollout, WaitUntil
from surefoot.core.domain import Stage
from surefoot.core.errors import SurefootError
from surefoot.rollout import (
    CancelledRun,
    Ports,
    adopt_champion,
    drive_rollout,
    end_cancelled_rollouts,
    end_withdrawn_rollout,
    find_wanted_change,
    journal_model_drift,
    open_rollback,
)
from surefoot.rollout.reconcile import next_bake_action
from tests.fakes import Scenario
from tests.scripted import POINTS, scenario, started
from tests.sweeps import EVERYTHING

UseCase = Callable[[Ports], object]
USE_CASES: dict[str, UseCase] = {
    "adopt": partial(adopt_champion, model="m"),
    "compare": partial(journal_model_drift, model="m"),
    "withdraw": lambda ports: end_withdrawn_rollout(ports, "m", ports.registry.view("m")),
    "cancel": partial(end_cancelled_rollouts, runs=[CancelledRun("quick fox", "m", "2", 1e12)]),
}


def _state(env: Scenario) -> tuple[object, ...]:
    return len(env.journal.entries), dict(env.registry.aliases), list(env.registry.changes), list(env.traffic.changes)


def _outcome(use_case: UseCase, ports: Ports) -> str:
    """What a dry run says; an error of the use case is no change."""
    try:
        return find_wanted_change(use_case, ports)
    except SurefootError:
        return ""


@st.composite
def _scenarios(draw: st.DrawFn) -> Scenario:
    """Build a rollout that was stopped at any call, after which an alias or the split may have been moved by hand."""
    env = scenario()
    point = draw(st.sampled_from([None, "fresh", *POINTS]))
    if point is not None and point != "fresh":
        started(env, POINTS[point])
    elif point is None:
        started(env)
    for alias in draw(st.sets(st.sampled_from(["champion", "candidate", "previous"]))):
        number = draw(st.sampled_from([None, "1", "2", "3"]))
        env.registry.aliases.pop(alias, None)
        if number is not None:
            env.registry.aliases[alias] = number
    moved = draw(st.sampled_from(["not", "gone", "other"]))
    if moved == "gone":
        env.traffic.split = None
    elif moved == "other" and env.traffic.split is not None:
        env.traffic.split = replace(env.traffic.split, champion=env.registry.versions["3"])
    return env


@pytest.mark.parametrize("name", USE_CASES)
@settings(max_examples=120 if EVERYTHING else 60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(env=_scenarios())
def test_a_dry_run_is_right(name: str, env: Scenario) -> None:
    """A dry run changes nothing; it wants a change exactly when the use case then makes one."""
    before = _state(env)
    said = _outcome(USE_CASES[name], env.ports())
    assert _state(env) == before
    with suppress(SurefootError):  # what it did before that counts
        USE_CASES[name](env.ports())
    assert bool(said) == (_state(env) != before)


@pytest.mark.parametrize("wait", [0.0, 10.0, 1e6])
def test_a_bake_that_waits_is_left_alone(wait: float) -> None:
    """Driving a bake changes something exactly when the look before it says that something is due."""
    env = scenario()
    ledger = started(env, lambda ledger: ledger.rollout is not None and ledger.rollout.stage is Stage.BAKING)
    ledger = drive_rollout(env.ports(), "m", until=lambda _: False, wait=False)  # the first look
    env.clock.time += wait
    due = not isinstance(next_bake_action(ledger, env.clock.now()), WaitUntil | NoRollout)
    before = _state(env)
    drive_rollout(env.ports(), "m", until=lambda _: False, wait=False)
    assert (_state(env) != before) == due
    assert due == (wait == 1e6)


def test_a_rollback_of_a_bake_needs_no_policy() -> None:
    """A bake that is to be taken back is due at once, also when its policy cannot be read any more."""
    env = scenario()
    started(env, lambda ledger: ledger.rollout is not None and ledger.rollout.stage is Stage.BAKING)
    ledger = open_rollback(env.ports(), "m", "a test")
    assert not isinstance(next_bake_action(ledger, env.clock.now()), WaitUntil | NoRollout)
