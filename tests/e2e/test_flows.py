"""What the flows rely on in Prefect and MLflow, on the stack that `surefoot up` starts."""

import contextlib
import datetime as dt
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from surefoot.adapters.config.policy_file import read_policy
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.cli.local.prefect_runs import PrefectRuns
from surefoot.cli.local.start_services import SERVER_ENVIRONMENT
from surefoot.core.domain import RolloutKind, Split, Stage, Version
from surefoot.core.journal.events import ChampionAdopted, EndDecided, RolloutOpened, encode_event
from tests.e2e.promotion_fixtures import QUICK, SUITE
from tests.e2e.stack_scenario import Home, Scenario, wait_for, write
from tests.integration.log_writing import record
from tests.integration.log_writing import write as write_lines

SILENCE = 20.0
"""A heartbeat is written to the database up to five seconds after it was sent [seconds]."""


@pytest.fixture(scope="module")
def asked(stack: Scenario) -> str:
    """A model with a policy and a champion, of which version 2 was moved to the old stage Staging."""
    model = "staged"
    write(stack.project, model, QUICK)
    (stack.project / "expectations" / "cabins.json").write_text(SUITE.replace("MODEL", "cabins"))
    stack.mlflow("POST", "model-versions/transition-stage", name=model, version="2", stage="Staging")
    return model


def _in(state: str, name: str = "") -> dict[str, object]:
    return {"type": state, "name": name or state.capitalize()}


@pytest.fixture(scope="module", autouse=True)
def runs(stack: Scenario) -> Iterator[dict[str, str]]:
    """Runs of the promote deployment in several states; only `beating` sends heartbeats."""
    deployment = stack.prefect("GET", f"/deployments/{stack.deployment('promote')}")
    made = {}
    for name, state in (
        ("dead", _in("RUNNING")),
        ("beating", _in("RUNNING")),
        ("paused", _in("PAUSED")),
        ("suspended", _in("PAUSED", "Suspended")),
    ):
        body = {"flow_id": deployment["flow_id"], "deployment_id": deployment["id"], "name": name}
        parameters = {"model": f"nobody-{name}", "version": "1"}
        run = stack.prefect("POST", "/flow_runs/", {**body, "parameters": parameters, "state": _in("PENDING")})
        made[name] = run["id"]
        for step in (_in("RUNNING"), state):
            stack.prefect("POST", f"/flow_runs/{run['id']}/set_state", {"state": step, "force": True})
    enough = threading.Event()

    def beat() -> None:
        while not enough.is_set():
            event = {
                "occurred": dt.datetime.now(dt.UTC).isoformat(),  # noqa: TID251 - the server compares with the host's clock
                "event": "prefect.flow-run.heartbeat",
                "resource": {"prefect.resource.id": f"prefect.flow-run.{made['beating']}"},
                "id": f"{int(time.time() * 1000):032x}",
            }
            stack.prefect("POST", "/events", [event])
            enough.wait(2.0)

    began = time.monotonic()
    thread = threading.Thread(target=beat)
    thread.start()
    yield {**made, "began": str(began)}
    enough.set()
    thread.join()
    for run in made.values():
        stack.prefect("DELETE", f"/flow_runs/{run}")


def test_a_cron_schedule_yields_a_scheduled_run(stack: Scenario) -> None:
    """Prefect's scheduler, with the pins of this project, makes a SCHEDULED run of a deployment with a cron."""
    flow = stack.prefect("GET", f"/deployments/{stack.deployment('watch')}")["flow_id"]
    schedule = {"schedule": {"cron": "0 3 1 1 *", "timezone": "UTC"}, "active": True}
    made = stack.prefect("POST", "/deployments/", {"name": "yearly", "flow_id": flow, "schedules": [schedule]})
    query = {"deployments": {"id": {"any_": [made["id"]]}}}
    found = wait_for(lambda: stack.prefect("POST", "/flow_runs/filter", query), "a run of the schedule", nap=0.5)
    assert {(run["state_type"], run["auto_scheduled"]) for run in found} == {("SCHEDULED", True)}
    stack.prefect("DELETE", f"/deployments/{made['id']}")


def test_every_process_is_told_to_keep_quiet(stack: Scenario) -> None:
    """The switches that stop telemetry are in the environment of every process that `up` started."""
    processes = [psutil.Process(pid) for pid, _ in stack.settings.processes.values()]
    processes += [child for process in processes for child in process.children(recursive=True)]
    assert len(processes) >= len(stack.settings.processes)
    told = {}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # a command of a server, which has ended meanwhile
            told[process.pid] = process.environ()
    assert told.keys() >= {pid for pid, _ in stack.settings.processes.values()}
    assert [pid for pid, environment in told.items() if not SERVER_ENVIRONMENT.items() <= environment.items()] == []


def _flow(*calls: str) -> str:
    """A program that makes these calls of tasks.reconcile inside one flow run and prints their answers."""
    return f"""
import contextlib
import json
from prefect import flow
from tasks import reconcile as r

@flow
def asked() -> None:
    print(json.dumps([{", ".join(f"r.{call}" for call in calls)}]))

asked()
"""


def _move(stack: Scenario, model: str, stage: str) -> None:
    stack.mlflow("POST", "model-versions/transition-stage", name=model, version="2", stage=stage)


def _of(model: str, found: dict[str, list[str]], what: str) -> list[str]:
    return [line for line in found[what] if line.startswith((f"{model} ", f"{model}:"))]


def test_the_registry_asks_withdraws_and_is_refused(stack: Scenario, asked: str) -> None:
    """A version in Staging opens a rollout once; moved away it is withdrawn, and moved there again it is tried again.

    A policy without a model is no obstacle, and one that is wrong is named.
    """
    write(stack.project, "absent", QUICK)
    (stack.project / "configs" / "wrong.yaml").write_text("model: wrong\n", encoding="utf-8")
    first, second = stack.python(_flow("apply_registry_changes()", "apply_registry_changes()"))
    (stack.project / "configs" / "wrong.yaml").unlink()
    (stack.project / "configs" / "absent.yaml").unlink()
    assert (_of(asked, first, "opened"), _of(asked, second, "opened")) == ([f"{asked} 2"], [])
    assert any(line.startswith("policy of wrong is wrong: ") for line in first["said"])
    opened = stack.ledger(asked).rollout
    assert opened is not None
    assert (opened.opened.source, opened.opened.reason) == ("stage", "it was moved to stage Staging")
    _move(stack, asked, "None")
    (third,) = stack.python(_flow("apply_registry_changes()"))
    assert _of(asked, third, "withdrawn") == [f"{asked}: it was moved from stage Staging to None"]
    assert stack.stage(asked) == "Withdrawn"
    _move(stack, asked, "Staging")
    (fourth,) = stack.python(_flow("apply_registry_changes()"))
    assert _of(asked, fourth, "opened") == [f"{asked} 2"]


def test_a_cancelled_run_aborts_its_rollout_and_is_not_started_again(stack: Scenario, asked: str) -> None:
    """An open rollout gets one run; a person who cancels it in Prefect ends the rollout for good."""
    stack.python(_flow("apply_registry_changes()"))
    first, again = stack.python(_flow("resume_rollouts()", "resume_rollouts()"))
    assert ([line for line in first if asked in line], [line for line in again if asked in line]) == (
        [f"{asked} 2"],
        [],
    )
    runs: list[dict[str, Any]] = stack.flow_runs(model=asked)
    assert [run["parameters"]["version"] for run in runs] == ["2"]
    assert runs[0]["idempotency_key"].startswith(f"{asked}-2-")
    (before,) = stack.python(_flow("abort_cancelled_rollouts()"))
    assert before == []
    # It may be just starting, and say RUNNING after this: the cancel counts all the same.
    told = {"state": {"type": "CANCELLED", "name": "Cancelled"}, "force": True}
    stack.prefect("POST", f"/flow_runs/{runs[0]['id']}/set_state", told)
    ended, resumed = stack.python(_flow("abort_cancelled_rollouts()", "resume_rollouts()"))
    for line in ended:  # none where a tick of the stack itself has been first
        assert line.startswith(f"{asked} 2: flow run '")
        assert line.endswith("was cancelled in Prefect")
    assert [line for line in resumed if asked in line] == []
    wait_for(lambda: stack.stage(asked) == "Aborted", "the rollout is aborted")
    journal = SqlJournal(stack.settings.journal_url, stack.clock)
    decided = [entry for entry in journal.read(asked) if entry.kind == "EndDecided"][-1]
    journal.close()
    assert decided.actor == "Prefect UI, not identified"
    assert str(decided.data["reason"]).endswith("was cancelled in Prefect")


def _cancelled_before_it_runs(stack: Scenario, model: str) -> str:
    """Id of a promote run that a person has cancelled when its process was about to start."""
    deployment = stack.prefect("GET", f"/deployments/{stack.deployment('promote')}")
    body = {"flow_id": deployment["flow_id"], "deployment_id": deployment["id"], "name": f"hasty {model}"}
    made = stack.prefect(
        "POST", "/flow_runs/", {**body, "parameters": {"model": model, "version": "2"}, "state": _in("PENDING")}
    )
    path = f"/flow_runs/{made['id']}/set_state"
    assert stack.prefect("POST", path, {"state": _in("CANCELLED"), "force": True})["status"] == "ACCEPT"
    return str(made["id"])


def _journal_with_rollout(stack: Scenario, folder: Path, model: str) -> Home:
    """A home with a journal of its own, in which the promotion of version 2 of a model is open."""
    champion, candidate = (Version(number, "sha256:" + number * 64) for number in ("1", "2"))
    policy, _ = read_policy(stack.project / "configs" / "staged.yaml")
    opened = RolloutOpened("r1", RolloutKind.PROMOTION, candidate, champion, policy, "", "", "salt", 1, "a test")
    home = stack.side(folder, journal=f"sqlite:///{folder}/journal.db")
    journal = SqlJournal(home.settings.journal_url, stack.clock)
    for event in (ChampionAdopted(champion), opened):
        kind, data = encode_event(event)
        journal.append(model, len(journal.read(model)), stack.clock.now(), "test", kind, data)
    journal.close()
    return home


def test_a_cancel_counts_though_the_run_says_running_after_it(stack: Scenario, asked: str, tmp_path: Path) -> None:
    """Prefect lets a run that is just starting go from CANCELLED to RUNNING; controller and flow see the cancel."""
    home = _journal_with_rollout(stack, tmp_path / "home", "hasty")
    run = _cancelled_before_it_runs(stack, "hasty")
    assert stack.prefect("POST", f"/flow_runs/{run}/set_state", {"state": _in("RUNNING")})["status"] == "ACCEPT"
    (seen,) = PrefectRuns(stack.settings).cancelled_runs(["hasty"])
    assert (seen.model, seen.version) == ("hasty", "2")
    ((line,),) = home.python(_flow("abort_cancelled_rollouts()"))
    assert line == "hasty 2: flow run 'hasty hasty' was cancelled in Prefect"
    rollout = home.ledger("hasty").rollout
    assert rollout is not None
    assert rollout.ending is not None
    assert rollout.ending.terminal_stage is Stage.ABORTED
    stack.prefect("DELETE", f"/flow_runs/{run}")


RUN_PROMOTE = """
import json
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from flows.promote import promote

with get_client(sync_client=True) as client:
    run = client.read_flow_run(RUN)
state = run_flow(promote, flow_run=run, parameters=run.parameters, return_type="state")
print(json.dumps([state.type.value, state.message]))
"""


def test_a_run_that_was_cancelled_before_it_began_opens_nothing(stack: Scenario, asked: str) -> None:
    """The flow itself finds that it was cancelled before it said RUNNING, and ends CANCELLED without a rollout."""
    run = _cancelled_before_it_runs(stack, asked)
    head = len(stack.entries(asked))
    said = stack.python(RUN_PROMOTE.replace("RUN)", f"{run!r})"))
    assert said == ["CANCELLED", "a person had cancelled this run before it began"]
    assert stack.prefect("GET", f"/flow_runs/{run}")["state_type"] == "CANCELLED"
    assert len(stack.entries(asked)) == head
    stack.prefect("DELETE", f"/flow_runs/{run}")


def test_a_wish_that_can_only_be_refused_is_said_once(stack: Scenario, asked: str) -> None:
    """A version that was turned away and is still asked for is one entry and one line, not one a tick."""
    first, second = stack.python(_flow("apply_registry_changes()", "apply_registry_changes()"))
    (line,) = _of(asked, first, "said")
    assert "version 2 is not taken, though stage Staging asks for it: " in line
    assert "--force" in line
    assert _of(asked, second, "said") == []
    assert list(stack.ledger(asked).refusals) == ["2"]


def test_the_reaper_marks_only_what_is_dead(stack: Scenario, runs: dict[str, str]) -> None:
    """A silent RUNNING run becomes CRASHED; one that beats, a Paused and a Suspended one stay as they are."""
    time.sleep(max(0.0, float(runs["began"]) + SILENCE + 1.0 - time.monotonic()))
    assert stack.python(_flow(f"mark_dead_runs_crashed({SILENCE})")) == [["dead"]]
    names = ("dead", "beating", "paused", "suspended")
    states = {name: stack.prefect("GET", f"/flow_runs/{runs[name]}")["state_name"] for name in names}
    assert states == {"dead": "Crashed", "beating": "Running", "paused": "Paused", "suspended": "Suspended"}


RESOLVE = """
import json
from surefoot import wiring
from surefoot.settings import read_settings
print(json.dumps(wiring.make_registry(read_settings()).resolve("staged", "1").digest))
"""


def test_one_models_trouble_stops_no_other(stack: Scenario, asked: str, tmp_path: Path) -> None:
    """`resume` leaves an abort that cannot be finished for later, and does not fail for the models behind it."""
    champion = Version("1", stack.python(RESOLVE))
    # A journal of its own: what can never be finished would stay on the list of every later reconcile.
    home = stack.side(tmp_path, journal=f"sqlite:///{tmp_path}/journal.db")
    config = home.settings
    # Somebody else's gateway route, newer than all that this journal will ever ask for.
    GatewayTraffic(config.gateway, config.token).shift("ghost", Split(champion, generation=1000))
    candidate = Version("2", "sha256:" + "1" * 64)
    policy, _ = read_policy(stack.project / "configs" / f"{asked}.yaml")
    opened = RolloutOpened("r1", RolloutKind.PROMOTION, candidate, champion, policy, "", "", "salt", 1, "a test")
    journal = SqlJournal(config.journal_url, stack.clock)
    for event in (ChampionAdopted(champion), opened, EndDecided("r1", Stage.ABORTED, "", "a test")):
        kind, data = encode_event(event)
        journal.append("ghost", len(journal.read("ghost")), stack.clock.now(), "test", kind, data)
    journal.close()
    (resumed,) = home.python(_flow("resume_rollouts()"))
    assert [line for line in resumed if line.startswith("ghost")] == []
    assert home.ledger("ghost").open == "r1"


def test_the_log_is_compacted(stack: Scenario) -> None:
    """`compact` makes tables of closed segments, and a log that it may not touch stops no other."""
    log, now = stack.settings.log, stack.clock.now()
    write_lines(log, [record(0, now, v=2)], model="a-later-release")
    write_lines(log, [record(1, now), record(2, now)], model="closed")
    # The scheduled flow may have been faster: what counts is what is there afterwards.
    (done,) = stack.python(_flow("compact_all_logs()"))
    assert [line for line in done if line.startswith("a-later-release")] == []
    assert [path.suffix for path in (log / "closed").iterdir() if path.is_file()] == [".parquet"]
    assert [path.suffix for path in (log / "a-later-release").iterdir() if path.is_file()] == [".jsonl"]
    shutil.rmtree(log / "a-later-release")
