"""Ticks without work are taken off the scheduler's list, ticks with work stay there, and nothing is asked in vain."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.adapters import flow_progress
from surefoot.cli.local.controller_lock import hold_controller_lock, is_controller_ready
from surefoot.controller.controller import (
    LEAD_TIME_S,
    MAX_RUN_START_S,
    MAX_SLEEP_S,
    RETRY_DELAY_S,
    Controller,
)
from surefoot.controller.due_work import DueWork, _DueRuns
from surefoot.controller.flow_scheduler import PromoteRun, ScheduledRun
from surefoot.controller.work_backoff import MAX_WAIT_TICKS, Backoff, OneTimeWork
from surefoot.core.errors import Conflict, Unavailable
from surefoot.rollout import CancelledRun
from surefoot.rollout.reconcile import RUN_SILENCE_S
from surefoot.status_page.programs.wake_signal import WakeSignal

if TYPE_CHECKING:
    from surefoot.controller.candidate_opener import CandidateOpener

NOW = 1_000_000.0


@dataclass
class FakeScheduler:
    """A list of runs."""

    runs: list[ScheduledRun] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    cleared: int = 0
    down: bool = False
    crashed: list[str] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)
    paused: bool = False
    offered: list[dict[str, Sequence[str]]] = field(default_factory=list)

    def scheduled_runs(self, until: float) -> Sequence[ScheduledRun]:
        if self.down:
            raise Unavailable("Prefect does not answer")
        return [run for run in self.runs if run.due <= until]

    def skip_runs(self, runs: Sequence[ScheduledRun]) -> None:
        self.dropped += [run.id for run in runs]

    def is_paused(self, flow: str) -> bool:
        if self.down:
            raise Unavailable("down")
        return self.paused

    def mark_crashed(self, runs: Collection[str]) -> None:
        self.crashed += runs
        self.runs = [run for run in self.runs if run.id not in runs]

    def delete_skipped_runs(self) -> None:
        self.cleared += 1

    def offer_choices(self, choices: Mapping[str, Sequence[str]]) -> None:
        if self.down:
            raise Unavailable("down")
        self.offered.append(dict(choices))

    def promote_runs(self) -> Sequence[PromoteRun]:
        return []

    def cancelled_runs(self, models: Collection[str]) -> Sequence[CancelledRun]:
        return []

    def silent_runs(self, runs: Collection[str], since: float) -> Collection[str]:
        return [run for run in runs if run in self.silent]


@dataclass
class FakeWork:
    """Work by the name of the flow."""

    wanted: dict[str, _DueRuns] = field(default_factory=dict)
    full_at: float = 0.0
    versions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    asked: list[set[str]] = field(default_factory=list)

    def known_versions(self) -> dict[str, tuple[str, ...]]:
        return self.versions

    def find_due_work(self, flows: Collection[str]) -> dict[str, _DueRuns]:
        self.asked.append(set(flows))
        return {flow: self.wanted.get(flow, {}) for flow in flows}


def _tick(
    name: str, flow: str = "watch", due: float = NOW, *, waiting: bool = True, scheduled: bool = True
) -> ScheduledRun:
    return ScheduledRun(name, flow, due, waiting, scheduled)


def _controller(
    home: Path, runs: Sequence[ScheduledRun], **wanted: _DueRuns
) -> tuple[Controller, FakeScheduler, FakeWork]:
    scheduler, work = FakeScheduler(list(runs)), FakeWork(dict(wanted))
    return Controller(cast("DueWork", work), scheduler, home), scheduler, work


def test_forms_offer_what_there_is_and_only_news_is_sent(tmp_path: Path) -> None:
    """Models and versions are offered once, again when there is a new one, and again after Prefect was down."""
    controller, scheduler, work = _controller(tmp_path, [])
    steps: Iterator[tuple[dict[str, tuple[str, ...]], bool]] = iter(
        [
            ({"m": ("1",)}, False),
            ({"m": ("1",)}, False),
            ({"m": ("2", "1")}, True),
            ({"m": ("2", "1")}, False),
            ({}, False),
        ]
    )
    ended = []

    def sleep(_seconds: float) -> None:
        found = next(steps, None)
        if found is None:
            ended.append(True)
        else:
            work.versions, scheduler.down = found

    controller.run(sleep, until=lambda: bool(ended))
    assert scheduler.offered == [{"m": ("1",)}, {"m": ("2", "1")}]


def test_a_tick_without_work_is_dropped_and_one_with_work_stays(tmp_path: Path) -> None:
    """Of two flows that are due, the one with work keeps its run, and the other one's tick counts as come."""
    runs = [_tick("a"), _tick("b", "reconcile")]
    controller, scheduler, _ = _controller(tmp_path, runs, watch={"m: a look": 1})
    controller.tick(NOW)
    assert scheduler.dropped == ["b"]
    assert flow_progress.last_heartbeat(tmp_path, "reconcile") is not None
    assert flow_progress.last_heartbeat(tmp_path, "watch") is None


def test_runs_of_people_and_later_ticks_are_left_alone(tmp_path: Path) -> None:
    """A run that a person asked for, one that has begun, and one that is not due yet are never dropped."""
    runs = [
        _tick("by hand", scheduled=False),
        _tick("running", "reconcile", waiting=False),
        _tick("next", due=NOW + LEAD_TIME_S + 1.0),
    ]
    controller, scheduler, work = _controller(tmp_path, runs)
    controller.tick(NOW)
    assert scheduler.dropped == []
    assert work.asked == []


def test_a_flow_that_runs_is_not_asked_again(tmp_path: Path) -> None:
    """A tick that comes while the last run still works is dropped unseen, so that no cancelled run is left behind."""
    runs = [_tick("old", waiting=False), _tick("new")]
    controller, scheduler, work = _controller(tmp_path, runs, watch={"m: a look": 1})
    controller.tick(NOW)
    assert scheduler.dropped == ["new"]
    assert work.asked == [set()]


def _begun(name: str, ago: float, *, running: bool) -> ScheduledRun:
    return replace(_tick(name, due=NOW - ago, waiting=False), running=running, since=NOW - ago)


@pytest.mark.parametrize(
    ("run", "silent", "dead"),
    [
        (_begun("gone", RUN_SILENCE_S + 1.0, running=True), True, True),
        (_begun("beats", RUN_SILENCE_S + 1.0, running=True), False, False),
        (_begun("young", RUN_SILENCE_S - 1.0, running=True), True, False),
        (_begun("never came", MAX_RUN_START_S + 1.0, running=False), True, True),
        (_begun("comes late", MAX_RUN_START_S - 1.0, running=False), True, False),
    ],
    ids=lambda value: value.id if isinstance(value, ScheduledRun) else str(value),
)
def test_a_run_without_a_process_stops_no_later_tick(
    tmp_path: Path, run: ScheduledRun, silent: bool, dead: bool
) -> None:
    """A run that says RUNNING or PENDING though its process is gone is ended, and the next tick is answered."""
    controller, scheduler, work = _controller(tmp_path, [run, _tick("new")], watch={"m: a look": 1})
    scheduler.silent = {run.id} if silent else set()
    controller.tick(NOW)
    assert scheduler.crashed == ([run.id] if dead else [])
    assert work.asked == [{"watch"} if dead else set()]
    assert scheduler.dropped == ([] if dead else ["new"])


def test_of_late_ticks_one_is_enough(tmp_path: Path) -> None:
    """Ticks that piled up while the worker was down become one run when there is work, and no run without."""
    runs = [_tick("a", due=NOW - 120.0), _tick("b", due=NOW - 60.0), _tick("c")]
    controller, scheduler, _ = _controller(tmp_path, runs, watch={"m: a look": 1})
    controller.tick(NOW)
    assert scheduler.dropped == ["a", "b"]
    controller, scheduler, _ = _controller(tmp_path, runs)
    controller.tick(NOW)
    assert scheduler.dropped == ["a", "b", "c"]


def test_what_was_dropped_is_cleared_once_it_is_not_due_any_more(tmp_path: Path) -> None:
    """The list is cleared after the ticks were due, and only after something was answered."""
    controller, scheduler, _ = _controller(tmp_path, [_tick("a")])
    nap = controller.tick(NOW)
    assert nap > LEAD_TIME_S
    assert scheduler.cleared == 0
    scheduler.runs.clear()
    assert controller.tick(NOW + nap) == MAX_SLEEP_S - LEAD_TIME_S / 2.0 - nap  # when the schedules are read again
    assert scheduler.cleared == 1
    controller.tick(NOW + nap + MAX_SLEEP_S)
    assert scheduler.cleared == 1


def test_a_scheduler_that_is_down_is_asked_again(tmp_path: Path) -> None:
    """While the scheduler does not answer no tick counts as come; the loop goes on and answers when it is back."""
    controller, scheduler, _ = _controller(tmp_path, [_tick("a", due=0.0)])
    scheduler.down = True
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        assert flow_progress.last_heartbeat(tmp_path, "watch") is None or not scheduler.down
        scheduler.down = len(naps) < 3

    controller.run(sleep, until=lambda: bool(scheduler.dropped))
    assert naps[:3] == [RETRY_DELAY_S] * 3
    assert flow_progress.last_heartbeat(tmp_path, "watch") is not None


def test_there_is_one_controller_a_home(tmp_path: Path) -> None:
    """A second controller of the same home is refused, and takes nothing; the end of the first makes room."""
    ours = os.getpid()
    assert not is_controller_ready(tmp_path, ours)
    with hold_controller_lock(tmp_path) as say_ready:
        assert not is_controller_ready(tmp_path, ours)
        say_ready()
        second = hold_controller_lock(tmp_path)
        with pytest.raises(Conflict, match="another controller runs"):
            second.__enter__()
        assert is_controller_ready(tmp_path, ours)
        assert not is_controller_ready(tmp_path, ours + 1)
    with hold_controller_lock(tmp_path):
        assert not is_controller_ready(tmp_path, ours)


def test_work_in_vain_is_asked_for_less_and_less_often() -> None:
    """Work of which nothing changes is asked for after 1, 2, 4 and 8 ticks and then every ten; a change starts anew."""
    backoff = Backoff()
    asked = [tick for tick in range(40) if backoff.choose_due({"m": 1})]
    assert asked == [0, 1, 3, 7, 15, 25, 35]
    assert backoff.choose_due({"m": 2}) == ["m"]
    assert backoff.choose_due({}) == []
    assert backoff.choose_due({"m": 2}) == ["m"]


def test_what_can_only_wait_is_asked_for_once() -> None:
    """A wish that waits for the end of a rollout is asked for once, until what it rests on changes."""
    backoff = Backoff()
    assert [bool(backoff.choose_due({"m": OneTimeWork("r1")})) for _ in range(30)] == [True, *[False] * 29]
    assert backoff.choose_due({"m": OneTimeWork("r2")}) == ["m"]


@given(st.lists(st.sets(st.sampled_from("abc")), max_size=60))
def test_no_work_waits_longer_than_ten_ticks(story: list[set[str]]) -> None:
    """Law: whatever comes and goes, work that stays is asked for at least every ten ticks, and new work at once."""
    backoff, waiting = Backoff(), dict.fromkeys("abc", 0)
    before: set[str] = set()
    for wanted in story:
        chosen = backoff.choose_due(dict.fromkeys(sorted(wanted), 0))
        assert wanted - before <= set(chosen) <= wanted
        for name in waiting:
            waiting[name] = 0 if name in chosen or name not in wanted else waiting[name] + 1
            assert waiting[name] < MAX_WAIT_TICKS
        before = wanted


class FakeOpener:
    """Models whose rollouts were to be opened."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def start(self, models: Collection[str]) -> None:
        self.opened += models


def _woken(
    home: Path, runs: Sequence[ScheduledRun], **wanted: _DueRuns
) -> tuple[Controller, FakeScheduler, WakeSignal, FakeOpener]:
    """A controller that a webhook of model m has woken."""
    controller, scheduler, _ = _controller(home, runs, **wanted)
    signal, opener = WakeSignal(), FakeOpener()
    controller.signal, controller.opener = signal, cast("CandidateOpener", opener)
    signal.wake({"m"})
    return controller, scheduler, signal, opener


def test_a_webhook_opens_the_rollout_of_its_model_alone(tmp_path: Path) -> None:
    """Woken for a model with work, its rollout is opened once, and no run is started or skipped for it."""
    later = [_tick("next", "reconcile", due=NOW + 40.0)]
    work: _DueRuns = {"m: version 2 is asked for": 1, "mm: version 3 is asked for": 1}
    controller, scheduler, _, opener = _woken(tmp_path, later, reconcile=work)
    controller.tick(NOW)
    controller.tick(NOW + 1.0)
    assert (scheduler.dropped, opener.opened) == ([], ["m"])
    idle, _, _, unused = _woken(tmp_path, later, reconcile={"mm: version 3 is asked for": 1, "m2: drift": 1})
    idle.tick(NOW)
    assert unused.opened == []


def test_a_run_under_way_keeps_no_webhook_waiting(tmp_path: Path) -> None:
    """A run that has begun may have read the registry before: the rollout is opened beside it."""
    work: _DueRuns = {"m: version 2 is asked for": 1}
    controller, _, _, opener = _woken(tmp_path, [_tick("old", "reconcile", waiting=False)], reconcile=work)
    controller.tick(NOW)
    assert opener.opened == ["m"]


def test_a_paused_reconcile_is_not_woken(tmp_path: Path) -> None:
    """Where a person has paused its schedule, no webhook has anything opened."""
    controller, scheduler, _, opener = _woken(tmp_path, [], reconcile={"m: version 2 is asked for": 1})
    scheduler.paused = True
    controller.tick(NOW)
    assert opener.opened == []


def test_a_webhook_is_not_lost_while_prefect_is_down(tmp_path: Path) -> None:
    """The model stays named until the scheduler answers."""
    controller, scheduler, _, opener = _woken(tmp_path, [], reconcile={"m: version 2 is asked for": 1})
    scheduler.down = True
    with pytest.raises(Unavailable):
        controller.tick(NOW)
    scheduler.down = False
    controller.tick(NOW + 5.0)
    assert opener.opened == ["m"]


class FakeProcess:
    """A process that was started with a command, and runs until it is ended."""

    def __init__(self, command: Sequence[str], **_: object) -> None:
        self.models = list(command[4:])
        self.over = False

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return 0 if self.over else None


def test_a_model_that_is_opened_keeps_no_other_one_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each webhook starts a process for the models that none opens yet, three processes at most."""
    from surefoot.controller import candidate_opener  # noqa: PLC0415 - costs seconds

    begun: list[FakeProcess] = []

    def start(command: Sequence[str], **more: object) -> FakeProcess:
        begun.append(FakeProcess(command, **more))
        return begun[-1]

    monkeypatch.setattr("subprocess.Popen", start)
    opener = candidate_opener.CandidateOpener()
    for named in (["a"], ["a"], ["a", "b"], ["c"], ["d"]):
        opener.start(named)
    assert [one.models for one in begun] == [["a"], ["b"], ["c"]]
    begun[0].over = True
    opener.start(["a", "d"])
    assert begun[-1].models == ["a", "d"]
