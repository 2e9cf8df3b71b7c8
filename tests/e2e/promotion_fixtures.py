"""The stories that several end-to-end tests look at: one long promotion, and small models to kill."""

import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pyarrow as pa
from deltalake import CommitProperties, write_deltalake

from tests.e2e.scientist import CABINS
from tests.e2e.stack_scenario import DAY, HOUR, PATIENCE, Callers, Home, Scenario, wait_for, write

if TYPE_CHECKING:
    import subprocess

MODEL = "house-prices"
POLICY = """\
model: MODEL
owners: [estate-agents]
unit: house
traffic: { requests_per_minute: 0.11 }
data: { suite: MODEL, window: 30d }
gates:
  errors: { metric: error_rate, margin: 5pp }
  accuracy: { metric: absolute_error, margin: 0, labels: { maturity: 12h, coverage: 0.9 }, block: 1d }
  regress: { metric: absolute_error, margin: 5, labels: { maturity: 12h }, block: 1d }
on:
  inconclusive: { hold: 20d, then: pause }
  no_data: { hold: 60d, then: rollback }
steps:
  - shadow: { window: 30d, min_requests: 500, gates: [errors, accuracy] }
  - weight: 25
    hold: { for: 12h, min_requests: 60, gates: [errors] }
  - weight: 50
    hold: { for: 12h, min_requests: 60, gates: [errors] }
bake: { for: 7d, gates: [errors, regress] }
data_layer:
  - { name: prices, kind: delta, path: data/prices }
"""
SUITE = """\
{ "name": "MODEL", "expectations": [
  { "type": "expect_table_row_count_to_be_between", "kwargs": { "min_value": 200 } },
  { "type": "expect_column_values_to_be_between", "kwargs": { "column": "area", "min_value": 20, "max_value": 400 } },
  { "type": "expect_column_values_to_be_in_set",
    "kwargs": { "column": "district", "value_set": ["harbour", "hill", "mill", "station"] } },
  { "type": "expect_column_values_to_not_be_null", "kwargs": { "column": "rooms" } }
] }
"""
QUICK = """\
model: MODEL
traffic: { requests_per_minute: 0.11 }
data: { suite: cabins, window: 30d }
gates:
  errors: { metric: error_rate, margin: 10pp }
steps:
  - shadow: { window: 30d, gates: [errors] }
  - weight: 25
    hold: { for: 6h, gates: [errors] }
  - weight: 50
    hold: { for: 6h, gates: [errors] }
bake: { for: 7d, gates: [errors] }
"""


ADOPT = """
import json
from surefoot import rollout, settings, wiring
config = settings.read_settings()
with wiring.open_ports(config, "test") as ports:
    print(json.dumps(rollout.adopt_champions(ports, wiring.read_policies(config))))
"""


@dataclass
class Promotion:
    """What was seen of the promotion.

    Attributes:
        callers: Who asked for prices meanwhile.
        at_start: Stage and aliases right before alias `candidate` was set.
        run: The flow run that Prefect started, as its REST interface tells it.
        head: Length of the journal when it said Promoted.
    """

    callers: Callers
    at_start: tuple[str, dict[str, str]]
    run: dict[str, Any]
    head: int


def write_prices(scenario: Scenario, version: str, rows: int) -> None:
    """Append prices to the table of house-prices, as a scoring job of a version does."""
    write_rows(scenario.project / "data" / "prices", version, rows)


def write_rows(table: Path, version: str, rows: int) -> None:
    """Append rows to a Delta table, as a scoring job of a version does."""
    write_deltalake(
        table,
        pa.table({"house": pa.array(range(rows)), "price": [one * 1000.0 / 7 for one in range(rows)]}),
        mode="append",
        configuration={"delta.deletedFileRetentionDuration": "interval 30 days"},
        commit_properties=CommitProperties(custom_metadata={"model_version": version}),
    )


def promote(scenario: Scenario) -> Promotion:
    """Write a policy and a suite, serve for ten days, set alias `candidate`, and let time pass until Promoted."""
    write(scenario.project, MODEL, POLICY, SUITE)
    scenario.schedules(on=True)
    wait_for(lambda: scenario.serves(MODEL), "the scheduled reconcile adopts the champion")
    callers = scenario.callers(MODEL)
    callers.live(10 * DAY)
    write_prices(scenario, "1", 400)
    at_start = scenario.stage(MODEL), scenario.aliases(MODEL)
    scenario.point(MODEL, "candidate", "2")
    deadline = time.monotonic() + 900.0
    while (stage := scenario.stage(MODEL)) not in {"Promoted", "Rejected", "RolledBack", "Aborted"}:
        assert time.monotonic() < deadline, f"{MODEL} still is {stage}"
        fast = stage.startswith(("Ramping", "Baking"))
        callers.live(3 * HOUR if fast else HOUR / 2)
        time.sleep(0.1 if fast else 0.5)
    ledger = scenario.ledger(MODEL)
    scenario.schedules(on=False)
    (run,) = scenario.flow_runs(model=MODEL)
    wait_for(lambda: scenario.shown(MODEL) >= ledger.head, "the end of the rollout is shown as an MLflow run")
    return Promotion(callers, at_start, run, ledger.head)


@dataclass
class TurnedAway:
    """What was seen of two candidates that were turned away.

    Attributes:
        rolled_back: Flow run of the one that an operator took back in the first step of its ramp.
        rejected: Flow run of the one whose data were wrong.
        rollout: Id of the first one's rollout.
        rollback: Flow run that took the first one back.
    """

    rolled_back: dict[str, Any]
    rejected: dict[str, Any]
    rollout: str
    rollback: dict[str, Any]


TAKEN_BACK, WRONG_DATA = "cottages", "sheds"
"""Models whose candidate is taken back in the first step, or rejected because of its data."""


def turn_away(scenario: Scenario) -> TurnedAway:
    """Ask for two candidates by alias; take one back in the first step, and let the data gate reject the other."""
    write(scenario.project, TAKEN_BACK, QUICK)
    (scenario.project / "expectations" / "cabins.json").write_text(SUITE.replace("MODEL", "cabins"))
    write(scenario.project, WRONG_DATA, QUICK.replace("suite: cabins", "suite: sheds"), SUITE.replace("200", "1000000"))
    scenario.tick()
    for model in (TAKEN_BACK, WRONG_DATA):
        scenario.callers(model).live(2 * DAY)
        scenario.point(model, "candidate", "2")
    scenario.tick()
    wait_for(lambda: scenario.serving(TAKEN_BACK) == ("1", "2", 25.0), "the ramp begins")
    rollout = scenario.ledger(TAKEN_BACK).open
    rollback = scenario.flow("rollback", model=TAKEN_BACK, reason="the agents complain")

    def over(model: str) -> dict[str, Any] | None:
        (run,) = scenario.flow_runs(model=model)
        return run if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED"} else None

    taken_back, rejected = (
        wait_for(functools.partial(over, model), f"the end of {model}") for model in (TAKEN_BACK, WRONG_DATA)
    )
    return TurnedAway(taken_back, rejected, rollout, rollback)


@dataclass
class Cabins:
    """Small models in a home of their own, so that no scheduled flow takes part."""

    scenario: Scenario
    home: Home

    def callers(self, model: str) -> Callers:
        """Callers of one of them."""
        return self.scenario.callers(model)


def cabins(scenario: Scenario) -> Cabins:
    """Serve version 1 of every small model to a few hundred callers each."""
    folder = scenario.folder.parent / "cabins"
    project = folder / "project"
    for name in CABINS:
        write(project, name, QUICK)
    (project / "expectations" / "cabins.json").write_text(SUITE.replace("MODEL", "cabins"))
    home = scenario.side(folder, project=str(project), journal=f"sqlite:///{folder}/journal.db")
    said = home.python(ADOPT)
    assert said == dict.fromkeys(CABINS, "champion 1"), said
    return Cabins(scenario, home)


def warm(cabins: Cabins, model: str, days: float = 2.0) -> Callers:
    """Callers with some requests behind them, for the shadow to replay."""
    callers = cabins.callers(model)
    callers.live(days * DAY)
    return callers


def follow(process: "subprocess.Popen[str]", callers: Callers) -> int:
    """Let time pass, three hours at a time, until a command has ended; its exit code."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None:
        if time.monotonic() > deadline:  # it must not disturb the tests that follow
            process.kill()
            raise AssertionError(f"the command does not end: {' '.join(process.communicate())[-2000:]}")
        callers.live(3 * HOUR)
        time.sleep(0.1)
    said = process.communicate()
    assert process.returncode in {0, 1}, said
    print(said)  # noqa: T201 - shown with a failure
    return process.returncode


def effects(home: Home, model: str) -> list[dict[str, Any]]:
    """Every effect that the journal says was done, in order."""
    entries = home.entries(model)
    intended = {seq: data["effect"] for seq, kind, data in entries if kind == "EffectIntended"}
    return [intended[data["intent"]] for _, kind, data in entries if kind == "EffectDone"]


def stages(home: Home, model: str) -> list[tuple[str, int]]:
    """Every stage and step that was entered, in order."""
    return [(data["stage"], data["step"]) for _, kind, data in home.entries(model) if kind == "StageEntered"]


def process_of_flow_run(run: str) -> psutil.Process:
    """The process that the worker has started for a flow run."""

    def found() -> psutil.Process | None:
        for process in psutil.process_iter():
            try:
                if process.environ().get("PREFECT__FLOW_RUN_ID") == run and "prefect.engine" in process.cmdline():
                    return process
            except psutil.Error:
                continue
        return None

    process: psutil.Process = wait_for(found, f"the process of flow run {run}")
    return process
