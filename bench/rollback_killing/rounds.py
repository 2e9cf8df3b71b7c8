"""Run one rollback during which one process is killed, and record how it ended."""

import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from bench.rollback_killing.differences import TAKEN_BACK, find_differences, find_mlflow_differences
from bench.rollback_killing.load import RequestLoad, running_load
from bench.rollback_killing.promoting import promote_at_once
from bench.rollback_killing.stack import MAX_WAIT_S, ROLLBACK_MODES, RunningStack, model_of_mode, wait_for
from surefoot.core.errors import SurefootError

PROCESSES_TO_KILL = (
    "flow run", "Prefect worker", "Prefect server", "MLflow server", "gateway worker", "gateway supervisor",
    "journal writer",
)  # fmt: skip
_BY_FLOW = PROCESSES_TO_KILL[:3]
"""Processes that are killed while the flow `rollback` runs; else it is the operator's command."""
_PARTS = {
    "Prefect worker": "worker", "Prefect server": "prefect", "MLflow server": "mlflow", "gateway supervisor": "gateway",
}  # fmt: skip
"""Processes that a person starts again by `surefoot up`."""
_ENTRIES = dict(zip(ROLLBACK_MODES, (8, 16, 10), strict=True))
"""Journal entries of a rollback that is not disturbed [count]."""
_LATEST_S = dict(zip(ROLLBACK_MODES, (0.05, 1.5, 0.2), strict=True))
"""How long after an entry a process is killed at most [seconds]."""


@dataclass(slots=True)
class RollbackResult:
    """What became of one rollback.

    Attributes:
        process: What was killed.
        mode: How it was rolled back.
        number: Which round of this process and mode.
        moment: When the process was killed.
        took: Time from the kill until everything was right [seconds].
        wrong: What was not right in the end.
        requests: Requests of callers [count].
        cut: Requests whose first attempt got no answer [count].
        lost: Requests without any answer [count].
        history: The rollback's entries in the journal, kept when something was wrong.
    """

    process: str
    mode: str
    number: int
    moment: str = ""
    took: float = 0.0
    wrong: list[str] = field(default_factory=list)
    requests: int = 0
    cut: int = 0
    lost: int = 0
    history: list[str] = field(default_factory=list)


def run_rollback_and_kill(stack: RunningStack, process: str, mode: str, number: int) -> RollbackResult:
    """Promote version 2, have it rolled back, kill a process, and wait until world and journal agree."""
    found = RollbackResult(process, mode, number)
    model = model_of_mode(mode)
    head = promote_at_once(stack.settings, model, TAKEN_BACK).head
    if mode == "with data":
        stack.write_scores(TAKEN_BACK, 30)
    with running_load(stack.settings.gateway, model, f"{process.replace(' ', '-')}-{number}") as load:
        try:
            _roll_back(stack, found, head)
        except (TimeoutError, subprocess.TimeoutExpired, psutil.Error) as error:
            found.wrong.append(str(error))
        settled = time.monotonic()
        time.sleep(0.5)
    _count(found, load, settled)
    if found.wrong:
        journal = stack.journal()
        found.history = [f"{e.seq} {e.actor} {e.kind} {dict(e.data)}" for e in journal.read(model, after=head)]
        journal.close()
    return found


def _roll_back(stack: RunningStack, found: RollbackResult, head: int) -> None:
    """Ask for the rollback, kill at the moment, restart as a person would, and wait for the end."""
    model, draw = model_of_mode(found.mode), random.Random(f"{found.process}/{found.mode}/{found.number}")  # noqa: S311 - a seed
    run, command = "", None
    engine: psutil.Process | None = None
    if found.process in _BY_FLOW:
        run = stack.start_rollback_flow(model)
        engine = stack.process_of_run(run) if found.process == "flow run" else None
    else:
        command = stack.start("rollback", model, "--reason", "the bench asks")
    place, after = draw.randrange(_ENTRIES[found.mode]), draw.uniform(0.0, _LATEST_S[found.mode])
    found.moment = f"{after * 1000.0:.0f} ms after {_await_entry(stack, model, head, place)}"
    time.sleep(after)
    _kill(stack, found, draw, engine or (psutil.Process(command.pid) if command else None))
    killed = time.monotonic()
    if found.process in _PARTS and (trouble := stack.run("up")):
        found.wrong.append(trouble)
    if command is not None:
        said = command.communicate(timeout=MAX_WAIT_S)
        _judge_exit_code(stack, found, command.returncode, said, head)
    found.wrong += _await_agreement(lambda: find_differences(stack.settings, model, head))
    found.wrong += _await_agreement(lambda: find_mlflow_differences(stack.settings, model, head))
    found.took = time.monotonic() - killed


def _await_entry(stack: RunningStack, model: str, head: int, place: int) -> str:
    """Wait until the rollback has come to its n-th entry, or has ended; which entry that is."""
    journal = stack.journal()
    try:
        wait_for(lambda: journal.heads()[model][0] > head, "the rollback is opened", nap=0.002)

        def come() -> str:
            entries = journal.read(model, after=head)
            kinds = [entry.kind for entry in entries]
            ended = "RolloutEnded" in kinds and (len(kinds) > place or "DataRestoreRequested" not in kinds)
            return f"entry {len(kinds)}, {kinds[-1]}" if len(kinds) > place or ended else ""

        return str(wait_for(come, "the next entry of the rollback", nap=0.002))
    finally:
        journal.close()


def _kill(stack: RunningStack, found: RollbackResult, draw: random.Random, driver: psutil.Process | None) -> None:
    """Kill the process; of a server that has children in every other round these too."""
    if found.process == "gateway worker":
        draw.choice(stack.gateway_workers()).kill()
        return
    victim = stack.part(_PARTS[found.process]) if found.process in _PARTS else driver
    if victim is None:
        return
    family = [victim]
    if found.process in {"Prefect server", "MLflow server"} and found.number % 2 == 0:
        family += victim.children(recursive=True)
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            found.moment += ", when it had ended"


def _judge_exit_code(stack: RunningStack, found: RollbackResult, code: int, said: tuple[str, str], head: int) -> None:
    """Hold what the operator's command has said at its end against the journal of that moment."""
    if found.process == "journal writer":
        return
    if "Traceback" in said[1]:
        found.wrong.append(f"the command ended with a traceback: {said[1][-500:]}")
    if code == 0 and (early := find_differences(stack.settings, model_of_mode(found.mode), head)):
        found.wrong.append(f"the command ended with 0, but {'; '.join(early)}")
    if code not in {0, 3, 4}:
        found.wrong.append(f"the command ended with {code}: {said[1][-300:]}")


def _await_agreement(look: Callable[[], list[str]]) -> list[str]:
    """Wait until nothing differs; what still does after a while."""
    deadline, told = time.monotonic() + MAX_WAIT_S, ["nothing could be read"]
    while told and time.monotonic() < deadline:
        try:
            told = look()
        except SurefootError as error:
            told = [str(error)]
        if told:
            time.sleep(0.1)
    return told


def _count(found: RollbackResult, load: RequestLoad, settled: float) -> None:
    """Add what the callers saw, and what they should not have seen."""
    found.requests, found.cut, found.lost = len(load.answered) + load.lost, load.cut, load.lost
    if load.lost:
        found.wrong.append(f"{load.lost} requests had no answer at the second attempt: {load.first_loss}")
    late = sum(began > settled and version == TAKEN_BACK for began, version in load.answered)
    if late:
        found.wrong.append(f"{late} requests were answered by version {TAKEN_BACK} after the rollback")
