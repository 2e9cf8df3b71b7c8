"""A stack of which a part has died is made whole again by `surefoot up`, where it was."""

import os
import signal

from tests.e2e.stack_scenario import Scenario


def _dead_run(stack: Scenario) -> str:
    """Id of a run of `watch` that Prefect takes for running though no process runs it."""
    deployment = stack.prefect("GET", f"/deployments/{stack.deployment('watch')}")
    body = {"flow_id": deployment["flow_id"], "deployment_id": deployment["id"], "name": "cut off"}
    work = {"work_queue_name": "default", "work_pool_name": "surefoot"}
    run = stack.prefect("POST", "/flow_runs/", {**body, **work, "state": {"type": "PENDING", "name": "Pending"}})
    for state in ("Pending", "Running"):
        told = {"state": {"type": state.upper(), "name": state}, "force": state == "Running"}
        stack.prefect("POST", f"/flow_runs/{run['id']}/set_state", told)
    return str(run["id"])


def test_up_makes_a_stack_whole_again(stack: Scenario) -> None:
    """After the gateway's supervisor and Prefect's worker were killed, `up` starts both again and nothing else."""
    before = stack.settings
    dead = _dead_run(stack)
    for name in ("gateway", "worker"):
        os.kill(before.processes[name][0], signal.SIGKILL)
    done = stack.run("up")
    assert (done.returncode, done.stderr) == (0, "")
    assert "already running: prefect, mlflow, " in done.stdout
    assert "gateway workers without a supervisor; starting again: gateway, worker" in done.stdout
    after = stack.settings
    assert (after.mlflow, after.prefect, after.gateway) == (before.mlflow, before.prefect, before.gateway)
    assert {name: after.processes[name] for name in ("mlflow", "prefect")}.items() <= before.processes.items()
    # What a dead run held is free again, and what somebody has turned off stays off, and is said.
    assert stack.prefect("GET", f"/flow_runs/{dead}")["state_type"] == "CRASHED"
    assert "flow run 'cut off' was cut off when the stack was stopped" in done.stdout
    for name in ("watch", "reconcile"):
        assert stack.prefect("GET", f"/deployments/{stack.deployment(name)}")["paused"]
        assert f"the schedule of '{name}' is off in Prefect" in done.stdout
    stack.tick()
    assert "a stack is running" in stack.run("up").stderr
