"""Another model, on other data, without a line of Surefoot's Python: a policy, a suite, and an alias."""

import json
from typing import Any

from tests.e2e.promotion_fixtures import MODEL, Promotion
from tests.e2e.stack_scenario import Scenario


def test_setting_alias_candidate_is_all_it_takes(stack: Scenario, promotion: Promotion) -> None:
    """Version 2 is champion, version 1 previous and the request answered, by nobody's hand but the schedule's."""
    assert promotion.at_start == ("", {"champion": "1"})
    assert stack.stage(MODEL) == "Promoted"
    assert stack.aliases(MODEL) == {"champion": "2", "previous": "1"}


def test_every_caller_was_answered(promotion: Promotion) -> None:
    """No request of the whole rollout was answered with anything but 200."""
    assert promotion.callers.failed == 0, promotion.callers.seen
    assert sum(promotion.callers.seen.values()) == promotion.callers.sent > 2000
    assert {version for _, version in promotion.callers.seen} == {"1", "2"}


def test_a_unit_never_goes_back_while_the_weight_grows(promotion: Promotion) -> None:
    """A house that the candidate has answered for is not answered for by the old champion again."""
    houses = promotion.callers.units.values()
    assert sum(len(answered) > 1 for answered in houses) > 500
    assert [answered for answered in houses if answered != sorted(answered)] == []


def test_the_flow_run_shows_every_stage(stack: Scenario, promotion: Promotion) -> None:
    """Prefect has one completed run with one completed task run for each stage, in order."""
    run = promotion.run
    assert (run["name"], run["state_type"], run["state_name"]) == (f"promote {MODEL} 2", "COMPLETED", "Promoted")
    query = {"flow_runs": {"id": {"any_": [run["id"]]}}, "sort": "EXPECTED_START_TIME_ASC"}
    found = stack.prefect("POST", "/task_runs/filter", query)
    names = [task["name"] for task in sorted(found, key=lambda task: task["start_time"])]
    wanted = ["open", "validate", "shadow", "canary step 1", "canary step 2", "promote", "bake"]
    assert len(names) == len(wanted), names
    assert all(name.startswith(stage) for name, stage in zip(names, wanted, strict=True)), names
    assert {task["state_type"] for task in found} == {"COMPLETED"}


def test_mlflow_has_one_run_for_each_transition(stack: Scenario, promotion: Promotion) -> None:
    """The children of the rollout's run carry sequence and hash of the journal's transitions, no more and no less."""
    runs = stack.runs(MODEL)
    parents = [run for run in runs if "mlflow.parentRunId" not in run["tags"]]
    children = [run for run in runs if run not in parents]
    assert [run["run_name"].split(" (")[0] for run in parents] == ["promotion of version 2"]
    assert {run["tags"]["mlflow.parentRunId"] for run in children} == {parents[0]["run_id"]}
    journal: list[dict[str, Any]] = json.loads(stack.run("history", MODEL, "--json").stdout)
    wanted = {(str(e["seq"]), e["hash"]) for e in journal if e["kind"] in {"StageEntered", "RolloutEnded"}}
    assert {(run["params"]["surefoot.seq"], run["params"]["surefoot.hash"]) for run in children} == wanted
    assert len(children) == len(wanted)
    assert parents[0]["params"]["prefect.flow_run"] == promotion.run["id"]


def test_the_chain_verifies(stack: Scenario, promotion: Promotion) -> None:
    """`surefoot verify` re-derives the chain, judges every verdict again, and says ok."""
    done = stack.run("verify", MODEL)
    assert "verdicts follow from their counters" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"ok {MODEL}: {len(stack.entries(MODEL))} entries")


def test_a_dry_run_judges_a_version_and_changes_nothing(stack: Scenario, promotion: Promotion) -> None:
    """The version before is judged again beside the one that serves, on the log alone, and nothing is recorded."""
    before = (stack.aliases(MODEL), stack.live(MODEL), len(stack.entries(MODEL)), len(stack.runs(MODEL)))
    done = stack.run("promote", MODEL, "1", "--dry-run", "--force", "--json")
    assert done.stderr == ""
    said = json.loads(done.stdout)
    judged = [entry["data"]["verdict"] for entry in said["entries"] if entry["kind"] == "GateJudged"]
    assert {verdict["gate"] for verdict in judged} >= {"data", "errors", "accuracy"}
    assert done.returncode == (0 if said["passes"] else 1), said["said"]
    assert (stack.aliases(MODEL), stack.live(MODEL), len(stack.entries(MODEL)), len(stack.runs(MODEL))) == before


def test_the_spread_is_measured_on_the_log_of_the_promotion(stack: Scenario, promotion: Promotion) -> None:
    """`surefoot spread` has a line for each gate, measured with the version that serves and the one before it."""
    done = stack.run("spread", MODEL)
    assert (done.returncode, done.stderr) == (0, "")
    assert "with version 2 and version 1" in done.stdout
    lines = done.stdout.partition("gates:")[2]
    assert all(f"{gate}: " in lines for gate in ("errors", "accuracy", "regress")), done.stdout
    assert "accuracy: { expect: { spread: " in lines


def test_status_agrees_with_the_gateway(stack: Scenario, promotion: Promotion) -> None:
    """`surefoot status --json` says what the gateway says of itself, and that everything runs."""
    done = stack.run("status", MODEL, "--json")
    said = json.loads(done.stdout)
    (model,) = said["models"]
    live = stack.live(MODEL)
    assert (model["champion"], model["rollout"], model["proven_good"]) == ("2", None, ["1", "2"])
    assert model["live"]["champion"]["number"] == live["champion"]["number"] == "2"
    assert model["live"]["generation"] == live["generation"]
    assert set(said["processes"]) == {"mlflow", "prefect", "gateway", "worker", "controller"}
    assert all(said["processes"].values())
