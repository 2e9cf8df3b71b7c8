"""A live drill on a real gateway and journal, under load, with MLflow and Prefect down."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from surefoot.adapters.clock import SystemClock
from surefoot.controller.due_work import DueWork
from surefoot.controller.tick_state import TickState
from surefoot.core.drills.live_drill_events import LiveDrillBegan
from surefoot.core.journal.events import ChampionAdopted, SetSplit
from surefoot.drills.live.live_drill import LiveDrillOutcome, LiveDrillParameters, run_live_drill
from surefoot.rollout import begin_live_drill, end_overdue_live_drill, stop_live_drill
from surefoot.rollout.advance_rollout import journal_and_apply_effect
from tests.integration.emergency import MODEL, Emergency
from tests.integration.gateway_harness import GOOD, PATIENCE, SLEEPING, listening
from tests.integration.gateway_process import Models
from tests.integration.waiting import wait_for
from tests.unit.test_controller import FakeScheduler


class LaterClock(SystemClock):
    """A clock that is an hour ahead."""

    def now(self) -> float:
        """The time in an hour."""
        return super().now() + 3600.0


class Callers:
    """Callers that ask for one unit after the other until they are stopped, and what they saw."""

    def __init__(self, emergency: Emergency) -> None:
        self.gateway = emergency.gateway
        self.statuses: list[int] = []
        self.versions: set[str] = set()
        self._over = threading.Event()

    def ask(self, first: int) -> None:
        """Ask until it is over."""
        number = first
        while not self._over.is_set():
            answer = self.gateway.ask(unit=f"N{number}", x=float(number % 7), y=float(number % 5))
            self.statuses.append(answer.status_code)
            self.versions.add(answer.headers.get("x-model-version", "none"))
            number += 2
            self._over.wait(0.02)  # the gateway shares this process

    @contextmanager
    def asking(self) -> Iterator["Callers"]:
        """Ask meanwhile."""
        threads = [threading.Thread(target=self.ask, args=(first,)) for first in (0, 1)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in threads:
                thread.join()


@pytest.fixture
def callers(emergency: Emergency, models: object) -> Iterator[Callers]:
    """Callers under way, of a champion whose files are on this host."""
    digest = emergency.champion.digest.removeprefix("sha256:")
    shutil.copytree(Path(emergency.gateway.models.root) / GOOD, emergency.home / "artifacts" / digest)
    with Callers(emergency).asking() as asking:
        yield asking


def is_drilling(emergency: Emergency) -> bool:
    """Whether the champion is in both arms now, and callers are in the candidate's."""
    if not emergency.live().is_live_drill:
        return False
    return any(record["arm"] == "candidate" for record in emergency.gateway.records())


def start(emergency: Emergency) -> "subprocess.Popen[str]":
    """Start a long live drill in a process of its own, and wait until it is under way."""
    command = [sys.executable, "-m", "surefoot", "drill", MODEL, "--live", "--weight", "50", "--for", "10m"]
    plain = {**os.environ, "SUREFOOT_HOME": str(emergency.home)}
    started = subprocess.Popen(command, env=plain, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(lambda: is_drilling(emergency) or started.poll() is not None)
    assert started.poll() is None
    return started


def test_a_live_drill_proves_the_way_back_under_load(
    emergency: Emergency, callers: Callers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No caller sees an error, the candidate's arm answers, each answer is the champion's own, and traffic is back."""
    made = tmp_path / "drill.json"
    assert emergency.command("drill", MODEL, "--live", "--weight", "40", "--for", "3s", "--json", str(made)) == 0
    assert "the way there and back works in production" in capsys.readouterr().out
    told = json.loads(made.read_text())
    rows = {row["name"]: row["value"] for row in told["rows"]}
    assert all(row["ok"] for row in told["rows"])
    assert rows["answers that differ"] == rows["requests that callers saw fail"] == 0
    logged = [record for record in emergency.gateway.records() if record["rollout"] == told["drill"]]
    arm = [record for record in logged if record["arm"] == "candidate"]
    assert rows["answers compared with the champion's"] == rows["requests in the candidate's arm"] == len(arm) > 0
    assert {record["answered_by"] for record in arm} == {GOOD}
    assert {record["arm"] for record in logged} == {"candidate", "champion"}
    assert set(callers.statuses) == {200}
    assert callers.versions == {GOOD}
    live, ledger = emergency.live(), emergency.ports.ledger(MODEL)
    assert (live.champion, live.candidate) == (emergency.champion, None)
    assert ledger.drills.passed_at is not None
    assert (ledger.open, ledger.rollouts, ledger.quarantined, ledger.drifts) == ("", {}, {}, {})
    assert not ledger.incidents.known


def test_stop_all_ends_a_drill_and_its_command_says_who_did(
    emergency: Emergency, callers: Callers, capsys: pytest.CaptureFixture[str]
) -> None:
    """`drill --stop-all` takes the traffic back at once; the command ends with 1 and says who did, and why."""
    running = start(emergency)
    emergency.command("status", MODEL)
    assert "live drill: version 1 is in both arms" in " ".join(capsys.readouterr().out.split())
    assert emergency.command("drill", "--stop-all", "--reason", "too much at once") == 0
    assert emergency.live().candidate is None
    said, _ = running.communicate(timeout=180)
    assert running.returncode == 1
    assert "stopped by cli:" in said
    assert "too much at once" in said
    assert [entry.kind for entry in emergency.journal.read(MODEL)].count("LiveDrillEnded") == 1
    assert emergency.ports.ledger(MODEL).drills.last is None
    assert set(callers.statuses) == {200}
    assert emergency.command("drill", "--stop-all") == 0


def test_a_killed_command_leaves_a_drill_that_reconcile_takes_back(emergency: Emergency, callers: Callers) -> None:
    """After `kill -9` of the command the drill's route stays until its time is over, then `reconcile` takes it back."""
    running = start(emergency)
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=180)
    assert not end_overdue_live_drill(emergency.ports, MODEL)
    assert emergency.live().is_live_drill
    late = replace(emergency.ports, clock=LaterClock())
    assert end_overdue_live_drill(late, MODEL)
    assert emergency.live().candidate is None
    assert emergency.ports.ledger(MODEL).drills.live is None
    assert set(callers.statuses) == {200}


def test_the_controller_has_reconcile_run_for_a_drill_whose_time_is_over(emergency: Emergency) -> None:
    """A tick names the model whose live drill is to be taken back, with MLflow down, once its time is over."""
    now, due = emergency.ports.clock.now(), f"{MODEL}: a live drill is to be taken back"
    tick = DueWork(TickState(emergency.config), FakeScheduler(), full_at=math.inf)
    for until, expected in ((now + 600.0, False), (now - 600.0, True)):
        began = LiveDrillBegan("d1", emergency.champion, 50.0, (), until)
        begin_live_drill(emergency.ports, emergency.ports.ledger(MODEL), began)
        assert (due in tick.find_due_work(["reconcile"])["reconcile"]) is expected
        stop_live_drill(emergency.ports, MODEL, "test")
    assert due not in tick.find_due_work(["reconcile"])["reconcile"]


def drill_in_thread(emergency: Emergency, weight: float = 50.0) -> "Future[LiveDrillOutcome]":
    """Start a long live drill in a thread of this process, and wait until it is under way."""
    order = LiveDrillParameters(weight, (), 600.0)
    pool = ThreadPoolExecutor(1)
    running = pool.submit(run_live_drill, emergency.config, MODEL, order, "test", lambda _text: None)
    pool.shutdown(wait=False)
    wait_for(lambda: is_journalled(emergency) or running.done())
    return running


def is_journalled(emergency: Emergency) -> bool:
    """Whether the journal says that the champion is in both arms."""
    split = emergency.ports.ledger(MODEL).split
    return split is not None and split.is_live_drill


def test_a_kill_switch_that_is_set_is_no_failure_of_the_drill(emergency: Emergency, callers: Callers) -> None:
    """A cut by the kill switch ends a drill that has shown nothing; the champion alone answers, and none has failed."""
    running = drill_in_thread(emergency)
    emergency.gateway.traffic.set_kill_switch("alerts doubled")
    outcome = running.result(60)
    assert (outcome.by, outcome.reason, outcome.result) == ("the kill switch", "it is set (alerts doubled)", None)
    assert emergency.live().candidate is None
    assert emergency.ports.ledger(MODEL).drills.last is None
    assert set(callers.statuses) == {200}


def test_a_promotion_that_opens_ends_the_drill(emergency: Emergency) -> None:
    """The drill's command says which rollout has begun, takes nothing back from it, and no result is journalled."""
    running = drill_in_thread(emergency)
    emergency.ramp()
    outcome = running.result(60)
    assert (outcome.by, outcome.reason) == ("test", "the promotion of version 2 has begun")
    assert emergency.live().candidate == emergency.candidate
    assert emergency.ports.ledger(MODEL).drills.last is None


def test_a_late_arm_stops_the_drill_and_fails_it(tmp_path: Path, models: Models) -> None:
    """Where the candidate's time limit is too short, the drill ends by itself and has failed; callers have answers."""
    with listening(tmp_path / "home" / "gateway", models, candidate_timeout_s=PATIENCE) as gateway:
        emergency = Emergency(tmp_path / "home", gateway)
        slow = gateway.models.version(SLEEPING)
        emergency.champion = slow
        emergency.append(ChampionAdopted(slow))
        journal_and_apply_effect(emergency.ports, emergency.ports.ledger(MODEL), SetSplit(slow, None, 0.0))
        running = drill_in_thread(emergency, 100.0)
        with ThreadPoolExecutor(4) as pool:
            assert {answer.status_code for answer in pool.map(lambda _: gateway.ask(), range(6))} == {200}
        outcome = running.result(60)
        assert outcome.result is not None
        assert "requests of the candidate's arm were late" in outcome.result.problem
        assert emergency.live().candidate is None
        drills = emergency.ports.ledger(MODEL).drills
        emergency.journal.close()
    assert drills.last is not None
    assert (drills.last.passed, drills.passed_at, drills.live) == (False, None, None)


@pytest.mark.parametrize("words", [("abort", MODEL), ("kill",), ("rollback", MODEL)], ids=lambda words: words[0])
def test_emergency_commands_end_a_drill(emergency: Emergency, callers: Callers, words: tuple[str, ...]) -> None:
    """Abort and kill end a live drill; so does a rollback, also where there is no other version to go back to."""
    began = LiveDrillBegan("d1", emergency.champion, 50.0, (), emergency.ports.clock.now() + 600.0)
    begin_live_drill(emergency.ports, emergency.ports.ledger(MODEL), began)
    wait_for(lambda: is_drilling(emergency))
    assert emergency.command(*words) == (2 if words[0] == "rollback" else 0)
    assert emergency.live().candidate is None
    assert emergency.ports.ledger(MODEL).drills.live is None
    assert set(callers.statuses) == {200}


def test_a_drill_is_refused_in_one_line(emergency: Emergency, capfd: pytest.CaptureFixture[str]) -> None:
    """The kill switch, an open rollout, a wrong weight and a fault beside --live are each refused before anything."""
    emergency.gateway.traffic.set_kill_switch("test")
    head = emergency.ports.ledger(MODEL).head
    for words, said in (
        (("--live",), "the kill switch is set (test)"),
        (("--live", "--weight", "0"), "--weight 0 is no share of the units"),
        (("--live", "--for", "soon"), "--for soon is no length of time above 0s"),
        (("--live", "--fault", "nan"), "--live injects no fault"),
    ):
        assert emergency.command("drill", MODEL, *words) == 2
        assert said in capfd.readouterr().err
    assert emergency.ports.ledger(MODEL).head == head
    emergency.ramp()
    assert emergency.command("drill", MODEL, "--live") == 2
    assert "a live drill waits for its end" in capfd.readouterr().err
