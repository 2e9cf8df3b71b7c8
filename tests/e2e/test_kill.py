"""A promotion that is killed anywhere ends where it would have ended, with every effect made once."""

import signal
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.promotion_fixtures import QUICK, SUITE, Cabins, effects, follow, process_of_flow_run, stages, warm
from tests.e2e.stack_scenario import HOUR, Callers, Home, Scenario, wait_for, write
from tests.e2e.tollgate import tollgate


@dataclass
class Ending:
    """Where a promotion of version 2 came to, and how."""

    effects: list[dict[str, Any]]
    stages: list[tuple[str, int]]
    serving: tuple[str, str | None, float]
    aliases: dict[str, str]


def _ending(scenario: Scenario, home: Home, model: str) -> Ending:
    return Ending(effects(home, model), stages(home, model), scenario.serving(model), scenario.aliases(model))


def _named(ending: Ending) -> list[str]:
    return [f"{e.get('alias', 'split')} {e.get('number', e.get('weight'))}" for e in ending.effects]


@pytest.fixture(scope="module")
def whole(cabins: Cabins) -> Ending:
    """The ending of a promotion that nobody kills."""
    callers = warm(cabins, "cabins-whole")
    assert follow(cabins.home.start("promote", "cabins-whole", "2", "--here"), callers) == 0
    assert callers.failed == 0
    return _ending(cabins.scenario, cabins.home, "cabins-whole")


def test_an_undisturbed_promotion_bakes(whole: Ending) -> None:
    """Version 2 serves everything, and every effect was made in the order of the design."""
    assert whole.serving == ("2", None, 0.0)
    assert whole.aliases == {"champion": "2", "previous": "1"}
    wanted = ["split 0", "split 25", "split 50", "previous 1", "champion 2", "split 0", "candidate None"]
    assert _named(whole) == wanted
    entered = [("Validating", 0), ("Shadowing", 0), ("Ramping", 0), ("Ramping", 1), ("Promoting", 0), ("Baking", 0)]
    assert whole.stages == entered


@pytest.mark.sweep
@pytest.mark.parametrize(("model", "at"), [("cabins-shadow", "Shadowing"), ("cabins-ramp", "Ramping1")])
def test_a_kill_at_a_stage_changes_nothing_of_the_end(cabins: Cabins, whole: Ending, model: str, at: str) -> None:
    """After a SIGKILL while shadowing, or with a live weight, the same command ends as if nothing had happened."""
    callers = warm(cabins, model)
    process = cabins.home.start("promote", model, "2", "--here")
    wait_for(lambda: cabins.home.stage(model) == at, f"{model} comes to {at}", nap=0.02)
    if at == "Ramping1":
        wait_for(lambda: cabins.scenario.serving(model) == ("1", "2", 25.0), "the weight is live")
        callers.live(6 * HOUR)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert follow(cabins.home.start("promote", model, "2", "--here"), callers) == 0
    assert _ending(cabins.scenario, cabins.home, model) == whole
    assert callers.failed == 0, callers.seen


@pytest.mark.parametrize(
    ("model", "through"), [pytest.param("cabins-before", False, marks=pytest.mark.sweep), ("cabins-after", True)]
)
def test_a_kill_at_the_commit_point_is_repaired(cabins: Cabins, whole: Ending, model: str, through: bool) -> None:
    """A SIGKILL between intent and effect of alias champion, or between effect and done, leaves no trace at the end."""
    callers = warm(cabins, model)
    with tollgate(cabins.scenario.settings.mlflow, through=through) as gate:
        plain = cabins.home.settings
        behind = cabins.scenario.side(
            cabins.home.folder / model, project=str(plain.project), journal=plain.journal, mlflow=gate.url
        )
        process = behind.start("promote", model, "2", "--here")
        while not gate.arrived.is_set():
            assert process.poll() is None, process.communicate()
            callers.live(3 * HOUR)
            gate.arrived.wait(0.1)
        process.kill()
        process.communicate()
    ledger = cabins.home.ledger(model)
    assert ledger.intent is not None
    assert getattr(ledger.intent[1], "alias", "") == "champion"
    assert cabins.scenario.aliases(model)["champion"] == ("2" if through else "1")
    assert follow(cabins.home.start("promote", model, "2", "--here"), callers) == 0
    assert _ending(cabins.scenario, cabins.home, model) == whole
    assert callers.failed == 0, callers.seen


@dataclass
class Resumed:
    """What was seen of a promotion whose flow run was killed in the ramp.

    Attributes:
        model: Registered model.
        runs: Flow runs after the first one, which was killed.
        ending: Where the promotion came to.
        callers: Who asked for prices meanwhile.
    """

    model: str
    runs: list[dict[str, Any]]
    ending: Ending
    callers: Callers


@pytest.fixture(scope="module")
def resumed(stack: Scenario) -> Resumed:
    """Kill a flow run in the ramp, and let `reconcile` start another one."""
    model = "flats"
    write(stack.project, model, QUICK)
    (stack.project / "expectations" / "cabins.json").write_text(SUITE.replace("MODEL", "cabins"))
    stack.tick()
    callers = stack.callers(model)
    callers.live(48 * HOUR)
    stack.point(model, "candidate", "2")
    stack.tick()
    wait_for(lambda: stack.stage(model) == "Ramping1" and stack.serving(model)[2] == 25.0, "the ramp begins")
    (run,) = stack.flow_runs(model=model)
    process_of_flow_run(run["id"]).kill()
    callers.live(6 * HOUR)
    wait_for(lambda: stack.flow_runs(model=model)[0]["state_type"] == "CRASHED", "the worker sees the kill", nap=0.5)
    stack.tick()

    def baking() -> bool:
        callers.live(3 * HOUR)
        return stack.stage(model) == "Baking"

    wait_for(baking, "the second run brings it to the bake")
    runs = wait_for(
        lambda: [r for r in stack.flow_runs(model=model) if r["state_type"] in {"CRASHED", "COMPLETED"}][1:],
        "the second run completes",
        nap=0.5,
    )
    return Resumed(model, runs, _ending(stack, stack, model), callers)


def test_a_killed_flow_run_is_resumed_by_reconcile(stack: Scenario, whole: Ending, resumed: Resumed) -> None:
    """When a flow run's process is killed in the ramp, `reconcile` starts another one, which ends like any.

    The stages that the first run had come through are named Skipped in the second one.
    """
    (second,) = resumed.runs
    assert second["state_name"] == "Baking"
    assert resumed.ending == whole
    assert resumed.callers.failed == 0, resumed.callers.seen
    tasks = stack.tasks(second["id"])
    skipped = ("COMPLETED", "Skipped", "the rollout had come to Ramping already")
    assert [tasks[name] for name in ("validate", "shadow")] == [skipped] * 2
    assert tasks["canary step 1"][:2] == ("COMPLETED", "Completed")


def test_a_run_is_told_that_its_bake_was_rolled_back(stack: Scenario, resumed: Resumed) -> None:
    """A bake that the gateway cuts turns red in the `watch` that ends it and in the run that had promoted the version.

    The run that was killed before stays CRASHED.
    """
    rollout, reason = stack.ledger(resumed.model).open, "failed 20 requests in a row"
    stack.python(
        "import json\nfrom surefoot import rollout, settings, wiring\n"
        "with wiring.open_ports(settings.read_settings(), 'gateway') as ports:\n"
        f"    rollout.end_rollout_cut_by_gateway(ports, {resumed.model!r}, {rollout!r}, {reason!r})\n"
        "print(json.dumps(None))"
    )
    watched = stack.flow("watch")
    assert (watched["state_type"], watched["state_name"]) == ("FAILED", "RolledBack")
    assert watched["state"]["message"] == f"promotion of version 2: {reason}"
    assert stack.tasks(watched["id"])[f"bake {resumed.model}"][:2] == ("FAILED", "RolledBack")
    found = {run["state_name"]: run["state_type"] for run in stack.flow_runs(model=resumed.model)}
    assert found == {"Crashed": "CRASHED", "RolledBack": "FAILED"}
    assert stack.version(resumed.model, "2")[0]["surefoot.outcome"] == "RolledBack"
    assert stack.serving(resumed.model) == ("1", None, 0.0)
