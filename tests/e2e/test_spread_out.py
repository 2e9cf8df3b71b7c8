"""A promotion whose policy names an engine has its replay counted by workers of that engine, on a real stack."""

import json

from tests.e2e.promotion_fixtures import QUICK, SUITE
from tests.e2e.stack_scenario import DAY, Scenario, wait_for, write
from tests.integration.log_writing import write as write_lines

MODEL = "mills"
PARTS = "abc"


def _closed_parts(stack: Scenario) -> None:
    """Log what callers have asked so far again under other ids, three times, and compact it each time."""
    folder = stack.settings.log / MODEL
    lines = [line for path in folder.glob("predictions-*.jsonl") for line in path.read_bytes().splitlines()]
    records = [json.loads(line) for line in lines]
    for part in PARTS:
        again = [{**served, "request": f"{part}-{served['request']}"} for served in records]
        write_lines(stack.settings.log, [json.dumps(served).encode() + b"\n" for served in again], model=MODEL)
        done = stack.run("compact", MODEL)
        assert done.returncode == 0, done.stderr


def test_a_promotion_has_its_replay_counted_by_workers(stack: Scenario) -> None:
    """The run has one subflow between validate and shadow, in which each part is a task; then the ramp begins."""
    write(stack.project, MODEL, f"{QUICK}scoring: {{ engine: dask, workers: 2 }}\n")
    (stack.project / "expectations" / "cabins.json").write_text(SUITE.replace("MODEL", "cabins"))
    stack.tick()
    wait_for(lambda: stack.serves(MODEL), "the champion is served")
    stack.callers(MODEL).live(2 * DAY)
    _closed_parts(stack)
    stack.point(MODEL, "candidate", "2")
    stack.tick()
    wait_for(lambda: stack.serving(MODEL) == ("1", "2", 25.0), "the ramp begins")
    (run,) = stack.flow_runs(model=MODEL)
    tasks = stack.tasks(run["id"])
    assert list(tasks)[:4] == ["open", "validate", "score-0", "shadow"]
    assert tasks["score-0"] == ("COMPLETED", "Completed", f"{len(PARTS)} of {len(PARTS)} parts counted")
    (spread,) = stack.prefect("POST", "/flow_runs/filter", {"flows": {"name": {"any_": ["score"]}}})
    names = {path.name for path in (stack.settings.log / MODEL).glob("predictions-*.parquet")}
    assert {name.removeprefix("count ") for name in stack.tasks(spread["id"])} == names
    assert stack.run("abort", MODEL, "-m", "the test is over").returncode == 0
