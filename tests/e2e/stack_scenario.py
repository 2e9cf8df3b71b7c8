"""A whole stack in a temporary folder, the callers in front of it, and the ways to ask both."""

import contextlib
import http.client
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from surefoot.adapters.clock import ReplayClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.controller.forked_run import FORKSERVER_SOCKET_NAME
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.settings import Settings, read_settings
from tests import local_http
from tests.commands import run_command
from tests.e2e.scientist import BLOCK, FEATURES, NAMES, houses

ROOT = Path(__file__).resolve().parents[2]
START = 1_704_067_200.0
"""Noon of no special day, on a day's border: 2024-01-01 [Unix seconds]."""
PACE = 540.0
"""Time between two requests: 160 a day [seconds]."""
HOUR, DAY = 3600.0, 86400.0
CALLERS = 32
PATIENCE = 180.0
"""How long a test waits for what must come, on a busy machine [seconds]."""

UNANSWERED = "not answer|did not say|cannot be brought to its end"
"""What a tick says of a server that did not answer in time."""


def wait_for(what: Callable[[], Any], said: str, patience: float = PATIENCE, nap: float = 0.1) -> Any:
    """Wait until something is true and return it."""
    deadline = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < deadline, f"it never came: {said}"
        time.sleep(nap)
    return found


@dataclass
class Home:
    """One SUREFOOT_HOME: what a person at a terminal sees."""

    folder: Path

    @property
    def settings(self) -> Settings:
        """What `surefoot up` wrote there."""
        return read_settings(self.folder)

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a terminal at which this home is in use."""
        return {**os.environ, "SUREFOOT_HOME": str(self.folder), "COLUMNS": "1000"}

    def start(self, *words: str, cwd: Path | None = None) -> "subprocess.Popen[str]":
        """Start the real command and do not wait for it."""
        pipe = subprocess.PIPE
        command = [str(Path(sys.executable).with_name("surefoot")), *words]
        return subprocess.Popen(
            command, env=self.environment, stdout=pipe, stderr=pipe, text=True, cwd=cwd or self.folder
        )

    def run(self, *words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end: `up` and `down` as a person does, the others forked, which is faster."""
        if words[0] not in {"up", "down"}:
            return run_command(*words, environment=self.environment, folder=cwd or self.folder, timeout=PATIENCE)
        with self.start(*words, cwd=cwd) as process:
            try:
                out, err = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def python(self, code: str) -> Any:
        """Run a program in the stack's environment; the JSON on its last line is the answer.

        It is forked as the runs of flows are, from the controller's process with all imports.
        """
        from surefoot.cli.local.start_services import build_stack_environment  # noqa: PLC0415 - only some tests need the command line's modules

        done = subprocess.run(
            [sys.executable, "-m", "surefoot.controller.forked_run", "tests.e2e.program", code],
            env={**build_stack_environment(self.settings), "SUREFOOT_HOME": str(self.folder), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    def ledger(self, model: str) -> Ledger:
        """What the journal says of a model."""
        journal = SqlJournal(self.settings.journal_url, ReplayClock("never"))
        try:
            return fold_entries(model, journal.read(model))
        finally:
            journal.close()

    def entries(self, model: str) -> list[tuple[int, str, dict[str, Any]]]:
        """Sequence, kind and data of every journal entry."""
        journal = SqlJournal(self.settings.journal_url, ReplayClock("never"))
        try:
            return [(entry.seq, entry.kind, dict(entry.data)) for entry in journal.read(model)]
        finally:
            journal.close()

    def stage(self, model: str) -> str:
        """Stage of the newest rollout, with its step while it ramps; empty before the first."""
        last = next(reversed(tuple(self.ledger(model).rollouts.values())), None)
        return "" if last is None else f"{last.stage}{last.step + 1 if last.stage == 'Ramping' else ''}"


@dataclass
class Callers:
    """Thirty-two threads that ask for prices and later tell what the houses were sold for; time follows them."""

    url: str
    model: str
    clock: ReplayClock
    seen: Counter[tuple[int, str]] = field(default_factory=Counter)
    units: dict[str, list[str]] = field(default_factory=dict)
    sent: int = 0
    by_area: bool = False
    _block: tuple[int, list[dict[str, Any]]] = (-1, [])
    _labels: list[tuple[float, dict[str, Any]]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Requests that were not answered with 200 [count]."""
        return sum(count for (status, _), count in self.seen.items() if status != http.client.OK)

    def live(self, seconds: float) -> None:
        """Let time pass: send its requests, and the labels that have become known (six hours after each)."""
        now = self.clock.now()
        until = now + seconds
        due = [self._request(now + PACE * step) for step in range(1, int(seconds // PACE) + 1)]
        lines = [http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60) for _ in due[:CALLERS]]
        with ThreadPoolExecutor(CALLERS) as pool, contextlib.ExitStack() as open_lines:
            for line in lines:
                open_lines.callback(line.close)
            for first in range(0, len(due), CALLERS):
                batch = due[first : first + CALLERS]
                self.clock.set(batch[-1][0])
                for unit, status, version in pool.map(self._ask, lines, batch):
                    self.seen[status, version] += 1
                    self.units.setdefault(unit, []).append(version)
        self.clock.set(until)
        known = [label for at, label in self._labels if at <= until]
        self._labels = [pair for pair in self._labels if pair[0] > until]
        if known:
            local_http.post(f"{self.url}/models/{self.model}/labels", json=known).raise_for_status()

    def _request(self, at: float) -> tuple[float, str, dict[str, Any]]:
        block, row = divmod(self.sent, BLOCK)
        if self._block[0] != block:
            self._block = (block, [{str(k): v for k, v in row.items()} for row in houses(block).to_dict("records")])
        house = self._block[1][row]
        name = f"{self.model}-{self.sent}"
        self.sent += 1
        known = at + 6 * HOUR
        # When the market pays for nothing but the area, a model of the area alone is right.
        price = 70.0 + 3.0 * house["area"] if self.by_area else house["price"]
        self._labels.append((known, {"request": name, "label": price, "at": known}))
        # Each house is asked for four times, by one caller after the other: of two requests at the same moment, while
        # the weight changes, neither is the first.
        turn, place = divmod(self.sent, CALLERS)
        body = {**{key: house[key] for key in FEATURES}, "house": f"house-{turn // 4}-{place}"}
        return at, name, body

    def _ask(
        self, line: http.client.HTTPConnection, request: tuple[float, str, dict[str, Any]]
    ) -> tuple[str, int, str]:
        _, name, row = request
        body = json.dumps({"dataframe_records": [row]})
        headers = {"content-type": "application/json", "x-request-id": name}
        line.request("POST", f"/models/{self.model}/invocations", body, headers)
        answer = line.getresponse()
        answer.read()
        return row["house"], answer.status, answer.headers.get("x-model-version", "")


@dataclass
class Scenario(Home):
    """A running stack: a home, a project, a clock that the tests move."""

    project: Path
    clock: ReplayClock

    def callers(self, model: str) -> Callers:
        """Callers of one model."""
        return Callers(self.settings.gateway, model, self.clock)

    def side(self, folder: Path, **changes: str) -> Home:
        """Make another home over the same stack, for example with a journal or a project of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        plain = json.loads((self.folder / "stack.json").read_text())
        (folder / "stack.json").write_text(json.dumps(plain | changes))
        (folder / FORKSERVER_SOCKET_NAME).symlink_to(self.folder / FORKSERVER_SOCKET_NAME)
        return Home(folder)

    def mlflow(self, method: str, path: str, **body: Any) -> Any:
        """Ask MLflow's REST interface."""
        url = f"{self.settings.mlflow}/api/2.0/mlflow/{path}"
        params, data = (body, None) if method == "GET" else (None, body)
        said = local_http.request(method, url, timeout=90.0, params=params, json=data)
        return said.raise_for_status().json()

    def point(self, model: str, alias: str, number: str) -> None:
        """Set an alias: all that a data scientist does."""
        self.mlflow("POST", "registered-models/alias", name=model, alias=alias, version=number)

    def aliases(self, model: str) -> dict[str, str]:
        """Every alias of a model."""
        found = self.mlflow("GET", "registered-models/get", name=model)["registered_model"]
        return {item["alias"]: item["version"] for item in found.get("aliases", [])}

    def prefect(self, method: str, path: str, body: object = None) -> Any:
        """Ask Prefect's REST interface."""
        url = f"{self.settings.prefect}/api{path}"

        def asked() -> httpx.Response | None:
            try:
                answer = local_http.request(method, url, json=body, timeout=90.0)
            except httpx.TimeoutException:  # with SQLite a writer waits for up to 60 s for the one before
                return None
            # With SQLite, 503 is its way to say that somebody else was writing: ask again.
            return None if answer.status_code == http.client.SERVICE_UNAVAILABLE else answer

        answer = wait_for(asked, f"an answer to {method} {path}").raise_for_status()
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> str:
        """Id of a deployment."""
        return str(self.prefect("GET", f"/deployments/name/{name}/{name}")["id"])

    def schedules(self, *, on: bool) -> None:
        """Let the scheduled flows run, or not; each costs seconds of processor time that other tests need."""
        for name in ("reconcile", "watch"):
            self.prefect("PATCH", f"/deployments/{self.deployment(name)}", {"paused": not on})
        if not on:  # what has begun must not act in the tests that follow
            wait_for(lambda: not any(self._stragglers() for _ in range(3)), "the end of the scheduled runs", nap=0.5)

    def _stragglers(self) -> list[dict[str, Any]]:
        """Scheduled runs that are not over; Prefect's scheduler may add some while a deployment is being paused."""
        unfinished = {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING"]}}
        query = {"deployments": {"name": {"any_": ["reconcile", "watch"]}}, "flow_runs": {"state": unfinished}}
        found: list[dict[str, Any]] = self.prefect("POST", "/flow_runs/filter", query)
        for run in found:
            if run["state_type"] == "SCHEDULED":  # deleted: while a cancelled one is kept, its tick never comes again
                with contextlib.suppress(httpx.HTTPStatusError):  # the pause itself was faster
                    self.prefect("DELETE", f"/flow_runs/{run['id']}")
        time.sleep(0.5)
        return found

    def flow(self, name: str, **parameters: str) -> dict[str, Any]:
        """Run a deployed flow now, again if it gave way to a scheduled run, and give its run when it is over."""
        while (run := self.flow_once(name, **parameters))["state_type"] == "CANCELLED":
            time.sleep(0.5)
        return run

    def flow_once(self, name: str, **parameters: str) -> dict[str, Any]:
        """Run a deployed flow now, and give its run when it is over."""
        body = {"idempotency_key": f"{name}-{time.monotonic_ns()}", "parameters": parameters}
        made = self.prefect("POST", f"/deployments/{self.deployment(name)}/create_flow_run", body)

        def over() -> dict[str, Any] | None:
            run: dict[str, Any] = self.prefect("GET", f"/flow_runs/{made['id']}")
            return run if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None

        run: dict[str, Any] = wait_for(over, f"the end of {name}", nap=0.5)
        return run

    def tick(self) -> dict[str, Any]:
        """Run `reconcile` now, and again where a server was too busy to answer: what one tick leaves the next does."""
        for _ in range(3):
            run = self.flow("reconcile")
            asked = {"flow_run_id": {"any_": [run["id"]]}, "level": {"ge_": logging.WARNING}}
            said = [line["message"] for line in self.prefect("POST", "/logs/filter", {"logs": asked})]
            assert run["state_type"] == "COMPLETED", said
            if not any(re.search(UNANSWERED, line) for line in said):
                break
        return run

    def flow_runs(self, **wanted: object) -> list[dict[str, Any]]:
        """Flow runs of the promote deployment whose parameters are these, oldest first."""
        query = {"deployments": {"id": {"any_": [self.deployment("promote")]}}, "sort": "START_TIME_ASC"}
        found = self.prefect("POST", "/flow_runs/filter", query)
        return [run for run in found if wanted.items() <= run["parameters"].items()]

    def tasks(self, run: str) -> dict[str, tuple[str, str, str]]:
        """Type, name and message of the state of each task run of a flow run, by the task run's name, in order."""
        query = {"flow_runs": {"id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_ASC"}
        found = self.prefect("POST", "/task_runs/filter", query)
        found.sort(key=lambda task: task["start_time"])
        return {task["name"]: (task["state_type"], task["state_name"], task["state"]["message"]) for task in found}

    def version(self, model: str, number: str) -> tuple[dict[str, str], str]:
        """Surefoot's tags on a version's page in MLflow, and its description."""
        found = self.mlflow("GET", "model-versions/get", name=model, version=number)["model_version"]
        tags = {tag["key"]: tag["value"] for tag in found.get("tags", []) if tag["key"].startswith("surefoot.")}
        return tags, found.get("description", "")

    def runs(self, model: str) -> list[dict[str, Any]]:
        """Every MLflow run that shows the journal of a model: tags, params and info."""
        found = self.mlflow("GET", "experiments/search", max_results=100, filter=f"name = 'surefoot/{model}'")
        known = [item["experiment_id"] for item in found.get("experiments", [])]
        runs = (
            self.mlflow("POST", "runs/search", experiment_ids=known, max_results=1000).get("runs", []) if known else []
        )
        made = []
        for run in runs:
            data = {kind: {x["key"]: x["value"] for x in run["data"].get(kind, [])} for kind in ("tags", "params")}
            made.append({**data, **run["info"]})
        return made

    def shown(self, model: str) -> int:
        """Sequence of the last transition that MLflow shows whole; its writer says so last."""
        return max((int(run["tags"].get("surefoot.head", 0)) for run in self.runs(model)), default=0)

    def serving(self, model: str) -> tuple[str, str | None, float]:
        """Champion, candidate and weight that the gateway says it serves."""
        split = self.live(model)
        candidate = split["candidate"]
        return split["champion"]["number"], candidate and candidate["number"], split["weight"]

    def live(self, model: str) -> dict[str, Any]:
        """The split that the gateway says it serves."""
        url = f"{self.settings.gateway}/models/{model}/route"
        return dict(local_http.get(url, timeout=90.0).json())

    def serves(self, model: str) -> bool:
        """Whether the gateway answers for a model."""
        url = f"{self.settings.gateway}/models/{model}/route"
        return local_http.get(url, timeout=90.0).status_code == http.client.OK


def leftovers(home: Path) -> Iterator[str]:
    """Every process of this machine that was started for a home and still runs."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("SUREFOOT_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                yield f"{process.pid} {' '.join(process.cmdline())[:200]}"
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue


def write(project: Path, model: str, policy: str, suite: str | None = None) -> None:
    """Write what a platform engineer writes: a policy, and a suite."""
    (project / "configs").mkdir(parents=True, exist_ok=True)
    (project / "expectations").mkdir(exist_ok=True)
    (project / "configs" / f"{model}.yaml").write_text(policy.replace("MODEL", model))
    if suite is not None:
        (project / "expectations" / f"{model}.json").write_text(suite.replace("MODEL", model))


@contextlib.contextmanager
def running_stack(folder: Path) -> Iterator[Scenario]:
    """Start a stack with every model registered, and insist that nothing of it is left afterwards."""
    project, clock = folder / "project", ReplayClock(folder / "clock")
    project.mkdir(parents=True)
    for name in ("flows", "tasks", "prefect.yaml"):
        (project / name).symlink_to(ROOT / name)
    clock.set(START)
    scenario = Scenario(folder / "home", project, clock)
    scenario.folder.mkdir()
    done = scenario.run("up", "--tick", "10", "--clock", f"replay:{clock.path}", "--project", str(project))
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        scenario.schedules(on=False)
        _register(scenario)
        yield scenario
    finally:
        done = scenario.run("down")
        left = list(leftovers(scenario.folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not left, f"'surefoot down' left {left}"


def _register(scenario: Scenario) -> None:
    """Let the data scientist's script register every model, and give each its champion."""
    uri = {"MLFLOW_TRACKING_URI": scenario.settings.mlflow, "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run(
        [sys.executable, "-m", "tests.e2e.scientist"],
        cwd=ROOT,
        env={**os.environ, **uri},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    for name in NAMES:
        if name != "lost":
            scenario.point(name, "champion", "1")
