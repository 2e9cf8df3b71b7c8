"""A process is killed in the middle of a rollback, one for each mode; `bench.rollback_kills` kills every process."""

import contextlib
import signal
from typing import Any

import psutil
import pytest

from tests.e2e.promotion_fixtures import QUICK, SUITE, process_of_flow_run, write_rows
from tests.e2e.stack_scenario import HOUR, Callers, Scenario, wait_for, write
from tests.e2e.test_operator import asking

STEPPED = "rollback: { mode: stepped, steps: [20, 60], hold: 6h, gates: [errors] }\n"
WITH_TABLE = "data_layer:\n  - { name: rents, kind: delta, path: data/rents }\n"

BENCH = """
import json
from bench.rollback_killing.differences import find_differences
from bench.rollback_killing.promoting import promote_at_once
from surefoot.settings import read_settings
print(json.dumps(CALL))
"""


def _bench(stack: Scenario, call: str) -> Any:
    """What a function of the bench answers, in a process of its own: MLflow's import warns."""
    return stack.python(BENCH.replace("CALL", call))


def _promoted(stack: Scenario, model: str, more: str = "") -> tuple[Callers, int]:
    """A model whose version 2 has been promoted a moment ago; its callers, and the last entry of its journal."""
    write(stack.project, model, QUICK + more)
    (stack.project / "expectations" / "cabins.json").write_text(SUITE.replace("MODEL", "cabins"))
    stack.tick()
    head = int(_bench(stack, f"promote_at_once(read_settings(), {model!r}, '2').head"))
    assert stack.serving(model) == ("2", None, 0.0)
    return stack.callers(model), head


def _kinds(stack: Scenario, model: str, head: int) -> list[str]:
    return [kind for seq, kind, _ in stack.entries(model) if seq > head]


def _right(stack: Scenario, model: str, head: int, callers: Callers) -> None:
    """Route, aliases, table and MLflow runs are what the journal says, and no caller saw any of it."""
    assert _bench(stack, f"find_differences(read_settings(), {model!r}, {head})") == []
    end = next(seq for seq, kind, _ in stack.entries(model) if kind == "RolloutEnded" and seq > head)
    assert stack.shown(model) >= end
    callers.live(HOUR)
    assert callers.failed == 0, callers.seen


@pytest.mark.sweep
def test_a_rollback_whose_flow_is_killed_is_finished_by_reconcile(stack: Scenario) -> None:
    """The process of the flow is killed as soon as the rollback is in the journal; the next tick ends it, once."""
    model = "huts"
    callers, head = _promoted(stack, model)
    deployment = stack.deployment("rollback")
    body = {"parameters": {"model": model, "reason": "complaints"}}
    with asking(callers):
        run: dict[str, Any] = stack.prefect("POST", f"/deployments/{deployment}/create_flow_run", body)
        engine = process_of_flow_run(run["id"])
        wait_for(lambda: _kinds(stack, model, head), "the rollback is opened", nap=0.002)
        with contextlib.suppress(psutil.NoSuchProcess):  # it was faster
            engine.kill()
        wait_for(
            lambda: stack.prefect("GET", f"/flow_runs/{run['id']}")["state_type"] in {"CRASHED", "COMPLETED"},
            "the end of the run",
            nap=0.5,
        )
        stack.tick()
    _right(stack, model, head, callers)


def test_reconcile_takes_over_a_stepped_rollback(stack: Scenario) -> None:
    """The command is killed at its first weight; ticks widen the steps where it stopped, and none is taken twice."""
    model = "inns"
    callers, head = _promoted(stack, model, STEPPED)
    callers.live(HOUR)
    command = stack.start("rollback", model, "--reason", "complaints")
    wait_for(lambda: stack.serving(model) == ("2", "1", 20.0), "the first weight is live")
    command.kill()
    command.communicate()
    assert command.returncode == -signal.SIGKILL
    stack.tick()
    assert stack.serving(model) == ("2", "1", 20.0)  # the time of the step is not over
    weights = []
    while stack.ledger(model).open:
        callers.live(6.5 * HOUR)
        stack.tick()
        weights.append(stack.serving(model))
        assert len(weights) < 10, weights
    assert weights[0] == ("2", "1", 60.0)
    assert weights[-1] == ("1", None, 0.0)
    steps = [data["step"] for seq, kind, data in stack.entries(model) if kind == "StageEntered" and seq > head]
    assert steps == [0, 1]
    _right(stack, model, head, callers)


def test_a_table_goes_back_though_mlflow_is_killed(stack: Scenario) -> None:
    """MLflow is killed when the rollback begins: traffic is back all the same, and `up` and a tick do the rest."""
    model = "mews"
    write_rows(stack.project / "data" / "rents", "1", 40)
    callers, head = _promoted(stack, model, WITH_TABLE)
    write_rows(stack.project / "data" / "rents", "2", 30)
    with asking(callers):
        command = stack.start("rollback", model, "--reason", "complaints")
        wait_for(lambda: _kinds(stack, model, head), "the rollback is opened", nap=0.002)
        leader = psutil.Process(stack.settings.processes["mlflow"][0])
        for process in (leader, *leader.children(recursive=True)):
            process.kill()
        said = command.communicate(timeout=120)
        assert command.returncode in {0, 4}, said
        assert stack.serving(model) == ("1", None, 0.0)
        up = stack.run("up")
        assert (up.returncode, up.stderr) == (0, "")
        assert "starting again: mlflow" in up.stdout
        stack.tick()
    _right(stack, model, head, callers)
    assert _kinds(stack, model, head).count("DataRestored") == 1
