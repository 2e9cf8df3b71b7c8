"""What Prefect and MLflow show of a candidate that was turned away."""

from typing import Any

from tests.e2e.promotion_fixtures import TAKEN_BACK, WRONG_DATA, TurnedAway
from tests.e2e.stack_scenario import Scenario


def _tracebacks(stack: Scenario, run: dict[str, Any]) -> list[str]:
    """Lines of a flow run's log that tell of an error of the program."""
    query = {"logs": {"flow_run_id": {"any_": [run["id"]]}}, "limit": 200}
    lines: list[str] = [line["message"] for line in stack.prefect("POST", "/logs/filter", query)]
    assert any("Finished in state" in line for line in lines)
    return [line for line in lines if "Traceback" in line or "exited" in line]


def test_a_rolled_back_rollout_is_not_green(stack: Scenario, turned_away: TurnedAway) -> None:
    """The run and the task in which it ended are FAILED and named RolledBack; the tasks after it are named Skipped."""
    run, reason = turned_away.rolled_back, "the agents complain"
    assert (run["state_type"], run["state_name"]) == ("FAILED", "RolledBack")
    assert run["state"]["message"] == f"promotion of version 2: {reason}"
    assert run["run_count"] == 1
    assert _tracebacks(stack, run) == []
    tasks = stack.tasks(run["id"])
    assert list(tasks) == [
        "open",
        "validate",
        "shadow",
        "canary step 1",
        "canary step 2",
        "promote",
        f"bake {TAKEN_BACK}",
    ]
    assert {state[:2] for name, state in tasks.items() if name in {"open", "validate", "shadow"}} == {
        ("COMPLETED", "Completed")
    }
    assert tasks["canary step 1"] == ("FAILED", "RolledBack", f"promotion of version 2: {reason}")
    skipped = ("COMPLETED", "Skipped", f"the rollout had ended as RolledBack: {reason}")
    assert [tasks[name] for name in ("canary step 2", "promote", f"bake {TAKEN_BACK}")] == [skipped] * 3


def test_a_rejected_rollout_is_not_green(stack: Scenario, turned_away: TurnedAway) -> None:
    """A candidate whose data are wrong ends as FAILED, named Rejected, with the gate's reason; no later task ran."""
    run = turned_away.rejected
    assert (run["state_type"], run["state_name"]) == ("FAILED", "Rejected")
    assert run["state"]["message"].startswith("promotion of version 2: data is FAIL: ")
    assert _tracebacks(stack, run) == []
    tasks = stack.tasks(run["id"])
    assert tasks["validate"][:2] == ("FAILED", "Rejected")
    after = [name for name in tasks if name not in {"open", "validate"}]
    assert len(after) == 5
    assert {tasks[name][:2] for name in after} == {("COMPLETED", "Skipped")}


def test_the_run_of_a_rollback_says_what_was_taken_back(stack: Scenario, turned_away: TurnedAway) -> None:
    """The rollback flow is green and named for the end that it brought about; its title names both versions."""
    run = turned_away.rollback
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "RolledBack")
    assert run["name"] == f"{TAKEN_BACK}: rollback of 2 to 1"
    assert {state[:2] for state in stack.tasks(run["id"]).values()} == {("COMPLETED", "Completed")}


def test_what_was_turned_away_is_not_started_again(stack: Scenario, turned_away: TurnedAway) -> None:
    """Later ticks start no run for it and change nothing of the run's state; alias candidate still asks for it."""
    stack.tick()
    stack.tick()
    for model, before in ((TAKEN_BACK, turned_away.rolled_back), (WRONG_DATA, turned_away.rejected)):
        (run,) = stack.flow_runs(model=model)
        assert (run["id"], run["state"]["id"]) == (before["id"], before["state"]["id"])


def test_the_versions_page_says_what_became_of_it(stack: Scenario, turned_away: TurnedAway) -> None:
    """Tags and a line of the description name the outcome, why, and the run of the rollout."""
    tags, description = stack.version(TAKEN_BACK, "2")
    assert (tags["surefoot.outcome"], tags["surefoot.rollout"]) == ("RolledBack", turned_away.rollout)
    assert "the agents complain" in tags["surefoot.reason"]
    assert description.startswith("Surefoot outcome: RolledBack on ")
    assert f"([rollout {turned_away.rollout}]({tags['surefoot.run']}))" in description
    parent = next(run for run in stack.runs(TAKEN_BACK) if run["run_id"] == tags["surefoot.run"].rsplit("/", 1)[1])
    assert (parent["run_name"].split(" (")[0], parent["status"]) == ("promotion of version 2", "FAILED")
    assert stack.version(WRONG_DATA, "2")[0]["surefoot.outcome"] == "Rejected"
    assert stack.version(TAKEN_BACK, "1") == ({}, "")


def test_a_run_that_lost_its_outcome_is_told_again(stack: Scenario, turned_away: TurnedAway) -> None:
    """A run that still says Baking when its rollout has ended is set to the outcome, once."""
    run = turned_away.rolled_back["id"]
    baking = {"type": "COMPLETED", "name": "Baking"}
    stack.prefect("POST", f"/flow_runs/{run}/set_state", {"state": baking, "force": True})
    told = "import json\nfrom prefect import flow\nfrom tasks.promote_flow_runs import update_ended_runs\n"
    told += "@flow\ndef asked():\n    print(json.dumps([update_ended_runs(), update_ended_runs()]))\nasked()\n"
    first, second = stack.python(told)
    assert first == [f"promote {TAKEN_BACK} 2: RolledBack: promotion of version 2: the agents complain"]
    assert second == []
    now = stack.prefect("GET", f"/flow_runs/{run}")
    assert f"rollout:{turned_away.rollout}" in now["tags"]
    assert (now["state_type"], now["state_name"]) == ("FAILED", "RolledBack")
