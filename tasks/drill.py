"""Define the Prefect tasks that start and run rollback drills."""

import subprocess
import sys

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from surefoot import wiring
from surefoot.core.drills.drill_events import DrillFinished, describe_drill
from surefoot.core.drills.drill_faults import FAULTS
from surefoot.core.durations import format_duration
from surefoot.core.errors import Unavailable
from surefoot.rollout import DRILL_RETRY_S, is_rollback_drill_due
from surefoot.settings import read_settings
from tasks.progress_artifact import make_artifact_key
from tasks.stage_driver import open_flow_ports
from tasks.states import MAX_MESSAGE_LENGTH, RejectedState

_STOP_TIMEOUT_S = 20.0
_LAST_LINES = 3


@task(name="start due drills")
def start_due_drills() -> list[str]:
    """Start a run of the flow `drill` for each model whose rollback is to be rehearsed.

    Returns:
        One line a model.
    """
    started = []
    with open_flow_ports() as ports:
        now = ports.clock.now()
        for model, policy in wiring.read_policies(read_settings()).items():
            ledger = ports.ledger(model)
            if not is_rollback_drill_due(ledger, policy, now):
                continue
            key = f"drill-{model}-{ledger.drills.last_at:.0f}-{now // DRILL_RETRY_S:.0f}"
            run_deployment("drill/drill", parameters={"model": model}, timeout=0, idempotency_key=key, as_subflow=False)
            started.append(f"{model}: a drill is started")
    return started


@task(name="rehearse the rollback", task_run_name="rehearse the rollback of {model}", timeout_seconds=6 * 3600)
def rehearse_rollback(model: str, faults: list[str]) -> State[str]:
    """Rehearse the rollback of a model in a twin, in a process of its own, and show what each fault has shown.

    Args:
        model: Registered model.
        faults: Faults to inject; those of the policy when empty.
    """
    with open_flow_ports() as ports:
        head = ports.ledger(model).head
    chosen = faults or _chosen(model)
    command = [sys.executable, "-m", "surefoot", "drill", model, *(f"--fault={fault}" for fault in chosen)]
    text = _run(command)
    with open_flow_ports() as ports:
        ledger = ports.ledger(model)
    found = ledger.drills.last
    if ledger.head == head or found is None:
        last = "; ".join(text.strip().splitlines()[-_LAST_LINES:])
        raise Unavailable(f"the drill of {model} has come to no result: {last}")
    said = f"{describe_drill(found)}; it took {format_duration(found.took_s)}"[:MAX_MESSAGE_LENGTH]
    create_table_artifact(key=make_artifact_key("drill", model), table=_drill_table(found), description=said)
    return Completed(message=said, data=model) if found.passed else Failed(cls=RejectedState, message=said, data=model)


def _chosen(model: str) -> list[str]:
    """The faults of the policy; every fault where it says nothing of drills."""
    policy = wiring.read_policies(read_settings()).get(model)
    section = policy.drill if policy is not None else None
    return [fault.value for fault in (section.chosen if section is not None else FAULTS)]


def _run(command: list[str]) -> str:
    """Run a command whose lines go to the log of this run; all that it has printed. It ends when this run ends."""
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:  # noqa: S603 - our own command
        try:
            for line in process.stdout or ():
                lines.append(line)
                get_run_logger().info("%s", line.rstrip())
        except BaseException:
            process.terminate()  # it ends the servers of its twin
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    return "".join(lines)


def _drill_table(found: DrillFinished) -> list[dict[str, object]]:
    """One row a fault, for the Prefect UI."""
    return [
        {
            "fault": result.fault.value,
            "what goes wrong": FAULTS[result.fault].what,
            "seen by": result.gate or "nothing",
            "requests until then": result.requests,
            "detected after": "never" if result.detect_s is None else format_duration(result.detect_s),
            "traffic back after": "never" if result.restore_ms is None else f"{result.restore_ms:.1f} ms",
            "cause named": result.cause,
            "cause right": {True: "yes", False: "no", None: ""}[result.cause_right],
            "failed requests": result.caller_errors,
            "problem": result.problem,
        }
        for result in found.results
    ]
