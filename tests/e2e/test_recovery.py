"""A stack of which a part has died is made whole again by `surefoot up`, where it was."""

import os
import signal

from tests.e2e.worlds import World


def test_up_makes_a_stack_whole_again(stack: World) -> None:
    """After the gateway's keeper and Prefect's worker were killed, `up` starts both again and nothing else."""
    before = stack.settings
    for name in ("gateway", "worker"):
        os.kill(before.processes[name][0], signal.SIGKILL)
    done = stack.run("up")
    assert (done.returncode, done.stderr) == (0, "")
    assert "already running: prefect, mlflow, " in done.stdout
    assert "gateway workers without a keeper; starting again: gateway, worker" in done.stdout
    after = stack.settings
    assert (after.mlflow, after.prefect, after.gateway) == (before.mlflow, before.prefect, before.gateway)
    assert {name: after.processes[name] for name in ("mlflow", "prefect")}.items() <= before.processes.items()
    stack.schedules(on=False)  # `up` has deployed the flows again
    assert stack.flow("reconcile")["state_type"] == "COMPLETED"
    assert "a stack is running" in stack.run("up").stderr
