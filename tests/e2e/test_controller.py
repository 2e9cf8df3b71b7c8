"""The controller in front of a real Prefect, MLflow, gateway and worker: what it leaves, what it takes off the list."""

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import psutil
import pytest

from surefoot.adapters import flow_progress
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.cli.local.prefect_runs import AUTO_SCHEDULED_TAG, PrefectRuns
from surefoot.controller.due_work import DueWork
from surefoot.controller.tick_state import TickState
from tests.e2e.promotion_fixtures import QUICK, SUITE
from tests.e2e.stack_scenario import PATIENCE, Scenario, wait_for, write

MODEL, CANCELLED, TOLD = "lodges", "barns", "tents"
FLOWS = ("watch", "reconcile")


@pytest.fixture
def scheduled(stack: Scenario) -> Iterator[Scenario]:
    """The stack with both schedules on."""
    stack.schedules(on=True)
    try:
        yield stack
    finally:
        stack.schedules(on=False)


def _listed(stack: Scenario) -> list[dict[str, Any]]:
    """Scheduled runs that have begun, or should have, some seconds ago."""
    # Asked of the server: of all runs it gives the first 200 alone, and more than that are scheduled ahead.
    begun = {"tags": {"all_": [AUTO_SCHEDULED_TAG]}, "state": {"type": {"not_any_": ["SCHEDULED"]}}}
    query = {"deployments": {"name": {"any_": list(FLOWS)}}, "flow_runs": begun}
    found: list[dict[str, Any]] = stack.prefect(
        "POST", "/flow_runs/filter", {**query, "sort": "EXPECTED_START_TIME_DESC"}
    )
    return found


def _beaten(stack: Scenario, since: float) -> bool:
    return all((flow_progress.last_heartbeat(stack.folder, flow) or 0.0) > since for flow in FLOWS)


def _quiet(stack: Scenario) -> None:
    """Wait for ticks of both flows that found nothing to do: what there was to do has been done."""
    wait_for(lambda: not _working(stack), "no scheduled run is under way", nap=1.0)
    since = time.time()
    wait_for(lambda: _beaten(stack, since) and not _working(stack), "ticks that have nothing to do", nap=0.5)


def _working(stack: Scenario) -> list[dict[str, Any]]:
    return [run for run in _listed(stack) if run["state_type"] in {"PENDING", "RUNNING"}]


def test_ticks_without_work_leave_no_run(scheduled: Scenario) -> None:
    """Ticks go on, as their heartbeats say, while no run of them stays in Prefect's list without work in its name.

    On a busy machine the worker may be faster than the controller; what it runs for nothing does not stay either.
    """
    _quiet(scheduled)
    before = {run["id"] for run in _listed(scheduled)}
    for _ in range(3):
        wait_for(partial(_beaten, scheduled, time.time()), "the next ticks")

    def left() -> list[str]:
        # What other tests have begun may become due meanwhile, such as the report of an incident.
        new = [run for run in _listed(scheduled) if run["id"] not in before]
        worked = tuple(f"{flow}: " for flow in FLOWS)
        return [f"{run['name']} {run['state']}" for run in new if not run["name"].startswith(worked)]

    deadline = time.monotonic() + PATIENCE
    while stayed := left():
        assert time.monotonic() < deadline, stayed
        time.sleep(0.5)


def test_a_tick_with_work_is_a_run_named_for_it(scheduled: Scenario) -> None:
    """A policy for a model with a champion makes the next tick of `reconcile` a run, which says so in its name."""
    _quiet(scheduled)
    (scheduled.project / "expectations").mkdir(exist_ok=True)
    (scheduled.project / "expectations" / "cabins.json").write_text(SUITE.replace("MODEL", "cabins"))
    write(scheduled.project, MODEL, QUICK)
    wait_for(lambda: scheduled.serves(MODEL), "reconcile adopts the champion")
    # A run has its name a moment before its end.
    named = wait_for(
        lambda: [
            run
            for run in _listed(scheduled)
            if run["name"].startswith("reconcile: ") and MODEL in run["name"] and run["state_type"] != "RUNNING"
        ],
        "a run that is named for it, and over",
    )
    assert {run["state_type"] for run in named} == {"COMPLETED"}
    _quiet(scheduled)
    assert not scheduled.ledger(MODEL).rollouts


def test_a_moved_alias_opens_a_rollout_before_the_next_tick(scheduled: Scenario) -> None:
    """MLflow's webhook comes to the controller, and the rollout is opened whether a tick comes or not."""
    write(scheduled.project, TOLD, QUICK)
    wait_for(lambda: scheduled.serves(TOLD), "reconcile adopts the champion")
    _quiet(scheduled)
    scheduled.point(TOLD, "candidate", "2")
    wait_for(lambda: scheduled.ledger(TOLD).rollouts, "the rollout is opened")
    log = scheduled.folder / "logs" / "controller.log"
    wait_for(lambda: f"a webhook names {TOLD}" in log.read_text(), "the webhook has come to the controller")
    told = scheduled.run("abort", TOLD, "--reason", "a test")
    assert told.returncode == 0, told.stderr


def test_forms_offer_models_and_versions(scheduled: Scenario) -> None:
    """The forms in Prefect offer the models that have a policy, and the versions that the registry has of them."""
    write(scheduled.project, MODEL, QUICK)
    deployment = scheduled.deployment("promote")

    def offered(parameter: str) -> list[str]:
        schema = scheduled.prefect("GET", f"/deployments/{deployment}")["parameter_openapi_schema"]
        return list(schema["properties"][parameter].get("enum", []))

    wait_for(lambda: MODEL in offered("model"), "the form offers the model")
    wait_for(lambda: {"1", "2"} <= set(offered("version")), "the form offers its versions")
    younger = {"parameters": {"model": MODEL, "version": "999"}}  # Prefect lets pass what is in no list
    made = scheduled.prefect("POST", f"/deployments/{deployment}/create_flow_run", younger)
    run = f"/flow_runs/{made['id']}"
    wait_for(lambda: scheduled.prefect("GET", run)["state_type"] == "FAILED", "the flow itself refuses the version")
    assert "999" in scheduled.prefect("GET", run)["state"]["message"]


def test_a_paused_schedule_is_obeyed(stack: Scenario) -> None:
    """With both schedules off no tick comes, though there is work; switched on again the work is done."""
    since = time.time()
    stack.point(MODEL, "candidate", "2")
    ticks = PrefectRuns(stack.settings)
    deadline = time.monotonic() + 25.0
    while time.monotonic() < deadline:
        assert [run for run in ticks.scheduled_runs(time.time() + 60.0) if run.scheduled] == []
        time.sleep(1.0)
    assert not _beaten(stack, since)
    assert stack.ledger(MODEL).rollout is None
    stack.schedules(on=True)
    try:
        wait_for(lambda: stack.ledger(MODEL).rollouts, "reconcile opens the rollout")
    finally:
        stack.schedules(on=False)
    told = stack.run("abort", MODEL, "--reason", "a test")
    assert told.returncode == 0, told.stderr


def test_the_next_look_of_a_bake_is_found_in_one_pass(stack: Scenario) -> None:
    """What a look says of the flows is what they do: after a reconcile by hand nothing is left of it."""
    runs = PrefectRuns(stack.settings)
    work = DueWork(TickState(stack.settings), runs, full_at=time.monotonic() + 3600.0)
    for _ in range(3):
        stack.tick()
        wanted = work.find_due_work(FLOWS)
        if not any(wanted.values()):
            break
    assert wanted == {"watch": {}, "reconcile": {}}
    journal = SqlJournal(stack.settings.journal_url, stack.clock)
    assert journal.heads().keys() >= {MODEL}
    journal.close()


def test_the_slot_of_a_run_without_a_process_is_free_at_once(stack: Scenario) -> None:
    """A run that Prefect takes for running stops every other one of its flow until the controller ends it."""
    deployment = stack.prefect("GET", f"/deployments/{stack.deployment('watch')}")
    body = {"flow_id": deployment["flow_id"], "deployment_id": deployment["id"], "name": "gone"}
    dead = stack.prefect("POST", "/flow_runs/", {**body, "state": {"type": "SCHEDULED"}})["id"]
    for state in ("PENDING", "RUNNING"):  # no worker sees it: it is in no queue
        told = stack.prefect("POST", f"/flow_runs/{dead}/set_state", {"state": {"type": state}})
        assert told["status"] == "ACCEPT"
    assert stack.flow_once("watch")["state_type"] == "CANCELLED"
    PrefectRuns(stack.settings).mark_crashed([dead])
    assert stack.prefect("GET", f"/flow_runs/{dead}")["state_type"] == "CRASHED"
    assert stack.flow_once("watch")["state_type"] == "COMPLETED"


def _forked(stack: Scenario) -> list[psutil.Process]:
    """Processes of flow runs that were forked from the controller's forkserver."""
    controller = psutil.Process(stack.settings.processes["controller"][0])
    return [process for server in controller.children() for process in server.children()]


def test_a_run_that_a_person_cancels_ends_with_its_process(stack: Scenario) -> None:
    """A promotion runs in a forked process; cancelled in Prefect it ends at once, and its rollout is aborted."""
    write(stack.project, CANCELLED, QUICK)
    stack.tick()
    stack.point(CANCELLED, "candidate", "2")
    assert stack.flow("reconcile")["name"].startswith("reconcile: opened")
    (run,) = stack.flow_runs(model=CANCELLED)
    wait_for(lambda: stack.prefect("GET", f"/flow_runs/{run['id']}")["state_type"] == "RUNNING", "it runs")
    assert _forked(stack)
    told = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    stack.prefect("POST", f"/flow_runs/{run['id']}/set_state", told)
    wait_for(lambda: stack.prefect("GET", f"/flow_runs/{run['id']}")["state_type"] == "CANCELLED", "it is cancelled")
    wait_for(lambda: not _forked(stack), "its process is gone")
    stack.tick()
    assert stack.stage(CANCELLED) == "Aborted"


@pytest.mark.sweep
def test_without_a_controller_the_worker_takes_the_ticks(stack: Scenario) -> None:
    """After the controller was killed `status` says so, ticks go on as runs of the worker, and `up` starts it again."""
    pid = stack.settings.processes["controller"][0]
    os.kill(pid, signal.SIGKILL)
    stack.schedules(on=True)
    try:
        since = time.time()
        # Each is a fresh interpreter, two at a time. A run that lost its process holds the slot of its flow for five
        # minutes, since no controller ends it; and Prefect's SQLite may keep all writers waiting for a minute.
        wait_for(lambda: _beaten(stack, since), "the worker runs both flows", patience=2.0 * PATIENCE)
        assert {run["state_type"] for run in _listed(stack)} <= {"COMPLETED", "PENDING", "RUNNING", "CANCELLED"}
    finally:
        stack.schedules(on=False)
    assert "controller is not running: 'surefoot up' starts it" in stack.run("status").stdout
    done = stack.run("up")
    assert (done.returncode, done.stderr) == (0, "")
    assert "starting again: controller" in done.stdout
    again = stack.settings.processes["controller"][0]
    assert again != pid
    wait_for(lambda: stack.run("controller").returncode == 3, "a second controller is refused")
