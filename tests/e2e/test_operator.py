"""What an operator does at 3 a.m.: traffic goes back at once, whatever else is down."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable

from tests.conftest import free_port
from tests.e2e.promotion_fixtures import MODEL, Cabins, Promotion, warm, write_prices
from tests.e2e.stack_scenario import HOUR, Callers, Scenario, wait_for

if TYPE_CHECKING:
    import subprocess


@contextmanager
def asking(callers: Callers) -> Iterator[None]:
    """Callers that do not stop while something happens."""
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            callers.live(HOUR / 2)
            enough.wait(0.1)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def _one_line(done: "subprocess.CompletedProcess[str]") -> str:
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("surefoot: "), line
    assert len(line) <= 300, line
    return line


def test_abort_in_the_ramp_costs_no_caller_anything(cabins: Cabins) -> None:
    """`abort` exits 0 with all traffic back at the champion; the promotion ends as Aborted, and nobody saw an error."""
    model = "cabins-abort"
    callers = warm(cabins, model)
    promotion = cabins.home.start("promote", model, "2", "--here", "--json")
    wait_for(lambda: cabins.scenario.serving(model) == ("1", "2", 25.0), "the weight is live")
    with asking(callers):
        done = cabins.home.run("abort", model, "--reason", "the agents complain")
    said, _ = promotion.communicate(timeout=180)
    assert (done.returncode, done.stderr) == (0, "")
    assert "will end as Aborted: the agents complain" in done.stdout
    assert "traffic was back" in done.stdout
    assert cabins.scenario.serving(model) == ("1", None, 0.0)
    assert cabins.scenario.aliases(model) == {"champion": "1"}
    assert (promotion.returncode, json.loads(said)["stage"]) == (1, "Aborted")
    assert callers.failed == 0, callers.seen


def test_nothing_open_is_nothing_to_abort(cabins: Cabins) -> None:
    """`abort` without an open rollout is refused in one line, and journals nothing."""
    head = len(cabins.home.entries("cabins-abort"))
    done = cabins.home.run("abort", "cabins-abort")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no rollout of cabins-abort is open" in _one_line(done)
    assert len(cabins.home.entries("cabins-abort")) == head


@dataclass
class TakenBack:
    """What was seen of a rollback of a promoted version while MLflow and Prefect were down, and of its end.

    Attributes:
        blocked: What a promotion said: without MLflow, without Prefect, and without a drill that the policy asks for.
    """

    blocked: "dict[str, subprocess.CompletedProcess[str]]"
    first: "subprocess.CompletedProcess[str]"
    serving: tuple[str, str | None, float]
    aliases: dict[str, str]
    failed: int
    rows: int
    again: "subprocess.CompletedProcess[str]"


@pytest.fixture(scope="module")
def taken_back(stack: Scenario, promotion: Promotion) -> TakenBack:
    """Roll house-prices back with MLflow and Prefect down and no drill passed, then once more with both up."""
    home, nothing = stack.folder.parent, f"http://127.0.0.1:{free_port()}"
    undrilled = home / "undrilled"
    for folder in ("configs", "expectations"):
        shutil.copytree(stack.project / folder, undrilled / folder)
    policy = undrilled / "configs" / f"{MODEL}.yaml"
    policy.write_text(f"{policy.read_text()}drill: {{ expires: 14d }}\n")
    down = {"mlflow": nothing, "prefect": nothing, "project": str(undrilled)}
    plain = {"journal": stack.settings.journal_url}
    broken = stack.side(home / "no-tools", **plain, **down)
    write_prices(stack, "2", 30)
    with asking(promotion.callers):
        first = broken.run("rollback", MODEL, "--reason", "complaints", "--json")
    seen = stack.serving(MODEL), stack.aliases(MODEL)
    promotion.callers.seen.clear()
    promotion.callers.live(3 * HOUR)
    assert {version for _, version in promotion.callers.seen} == {"1"}
    rows = DeltaTable(stack.project / "data" / "prices").count()
    again = stack.run("rollback", MODEL, "--json")
    blocked = {
        what: stack.side(home / f"no-{what}", **plain, **{what: value}).run("promote", MODEL, "2", "--force")
        for what, value in down.items()
    }
    return TakenBack(blocked, first, *seen, promotion.callers.failed, rows, again)


def test_rollback_needs_no_mlflow(taken_back: TakenBack) -> None:
    """Without MLflow and Prefect `rollback` moves all traffic, says how fast, and exits 4 with one line of the rest."""
    said: dict[str, Any] = json.loads(taken_back.first.stdout)
    assert taken_back.first.returncode == 4
    assert "traffic has moved; 'reconcile' finishes the rest" in _one_line(taken_back.first)
    assert said["restore_ms"] > 0
    assert [entry["kind"] for entry in said["entries"]][:3] == ["RolloutOpened", "EffectIntended", "EffectDone"]
    assert taken_back.serving == ("1", None, 0.0)
    assert taken_back.failed == 0


@pytest.mark.parametrize(
    ("what", "code", "reason"),
    [
        ("mlflow", 4, "the registry does not answer"),
        ("prefect", 4, "Prefect"),
        ("project", 2, f"surefoot drill {MODEL}"),
    ],
)
def test_a_promotion_is_blocked_where_the_rollback_is_not(
    taken_back: TakenBack, what: str, code: int, reason: str
) -> None:
    """Without MLflow, Prefect, or a drill that the policy asks for, `promote` is one line; the rollback goes."""
    done = taken_back.blocked[what]
    assert (done.returncode, done.stdout) == (code, "")
    assert reason in _one_line(done)
    assert taken_back.serving == ("1", None, 0.0)


def test_rollback_finishes_once_mlflow_answers(stack: Scenario, taken_back: TakenBack) -> None:
    """Until MLflow answers the aliases are as they were; the same command then finishes them and exits 0."""
    assert taken_back.aliases == {"champion": "2", "previous": "1"}
    assert (taken_back.again.returncode, taken_back.again.stderr) == (0, "")
    assert stack.aliases(MODEL)["champion"] == "1"
    assert "previous" not in stack.aliases(MODEL)
    assert stack.stage(MODEL) == "FastRolledBack"
    assert stack.serving(MODEL) == ("1", None, 0.0)


def test_a_table_goes_back_with_its_model(stack: Scenario, taken_back: TakenBack) -> None:
    """While MLflow is down the table stays; then it goes back once, to what was proved each day of the bake."""
    assert taken_back.rows == 430
    assert DeltaTable(stack.project / "data" / "prices").count() == 400
    entries = [(kind, data) for _, kind, data in stack.entries(MODEL) if kind.startswith("Data")]
    kinds = [kind for kind, _ in entries]
    assert kinds[:2] == ["DataCheckpointRequested", "DataCheckpointed"]
    assert kinds[-2:] == ["DataRestoreRequested", "DataRestored"]
    assert set(kinds[2:-2]) == {"DataProved"}
    assert {data["problem"] for kind, data in entries if kind == "DataProved"} == {""}
    assert entries[-1][1]["after"] == entries[1][1]["checkpoint"]["content"]["digest"]
    told = json.loads(stack.run("data", MODEL, "--json").stdout)
    assert [one["state"].partition(" ")[0] for one in told["checkpoints"]] == ["restored"]


def test_a_rollback_by_command_shows_in_every_view(stack: Scenario, taken_back: TakenBack) -> None:
    """After the next reconcile the run that had promoted the version, and the version's page, say what happened.

    The titles name both versions: what was taken back, and what serves again.
    """
    stack.tick()
    said = "rollback of version 2 to version 1"
    (run,) = stack.flow_runs(model=MODEL)
    assert (run["state_type"], run["state_name"]) == ("FAILED", "FastRolledBack")
    assert run["state"]["message"] == f"{said}: complaints"
    tags, description = stack.version(MODEL, "2")
    assert (tags["surefoot.outcome"], tags["surefoot.reason"]) == ("FastRolledBack", f"{said}: complaints")
    assert tags["surefoot.run"] in description
    parent = next(run for run in stack.runs(MODEL) if run["run_id"] == tags["surefoot.run"].rsplit("/", 1)[1])
    assert parent["run_name"].startswith("rollback of 2 to 1 (")
    assert f"last rollout: {said}: FastRolledBack: complaints" in stack.run("status", MODEL).stdout


def test_what_the_version_answered_is_listed_after_its_rollback(
    stack: Scenario, promotion: Promotion, taken_back: TakenBack
) -> None:
    """A tick some minutes later journals counts and list of what callers were answered; commands tell the same."""
    assert taken_back.again.returncode == 0
    promotion.callers.live(HOUR)
    stack.tick()
    kinds = [kind for _, kind, _ in stack.entries(MODEL)]
    assert (kinds.count("ServiceCounted") >= 1, kinds.count("ExposureListed")) == (True, 1)
    (event,) = [data for _, kind, data in stack.entries(MODEL) if kind == "ExposureListed"]
    said = json.loads(stack.run("exposure", MODEL, "--json").stdout)
    assert said["rows"] == event["requests"] > 0
    assert (said["phases"], set(said["unknown"])) == (event["phases"], set())
    shown = json.loads(stack.run("versions", MODEL, "--json").stdout)["versions"]
    assert {one["version"]: one["standing"] for one in shown} == {"1": "champion", "2": "quarantined"}
    corrected = json.loads(stack.run("correct", MODEL, "--json").stdout)
    assert (corrected["by"], corrected["known"]) == ("1", said["rows"])


def test_who_was_taken_back_is_not_promoted_again_by_itself(stack: Scenario, taken_back: TakenBack) -> None:
    """Alias `candidate` on a version that was taken back is refused once; a person must say --force."""
    stack.point(MODEL, "candidate", "2")
    head = len(stack.entries(MODEL))
    done = stack.run("promote", MODEL, "2", "--here")
    assert done.returncode == 2
    assert "--force" in _one_line(done)
    stack.tick()
    assert len(stack.flow_runs(model=MODEL)) == 1

    def news() -> list[str]:
        """What was journalled since, beside the report of the rollback before."""
        return [kind for _, kind, _ in stack.entries(MODEL)[head:] if not kind.startswith(("Incident", "Evidence"))]

    assert news() == ["CandidateRefused"]
    stack.tick()
    assert news() == ["CandidateRefused"]  # said once, not at every tick
