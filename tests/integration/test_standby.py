"""Requests that the champion fails are answered by the last proven-good version, and only then by the fallback."""

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.domain import FailoverLevel, Version
from surefoot.core.errors import Rejected, RouteSuperseded
from surefoot.models.model_process import ModelProcess
from surefoot.rollout import begin_fallback_period, end_fallback_period
from tests import local_http
from tests.integration.emergency import MODEL, Emergency
from tests.integration.gateway_harness import (
    BETTER,
    GOOD,
    NAN,
    QUITTING,
    RAISING,
    SLEEPING,
    Gateway,
    listening,
)
from tests.integration.gateway_process import Models
from tests.integration.model_forkserver import ForkedModels, running_forkserver
from tests.integration.remembered_journal import Journal
from tests.integration.test_fallback import CONSTANT, MEMORY_MB, QUIET_S, RealJournal, Sick
from tests.integration.waiting import wait_for


@contextlib.contextmanager
def serving(root: Path, models: Models, journal: Any = None, **more: Any) -> Iterator[Gateway]:
    """A gateway with a fallback, unless it is told otherwise."""
    known = {"fallbacks": {"flights": CONSTANT}, "fallback_quiet_s": QUIET_S, **more}
    with listening(root, models, journal=journal, **known) as gateway:
        yield gateway


def name(gateway: Gateway, number: str | None = GOOD, generation: int = 1) -> None:
    """Name a standby, and wait until it is loaded."""
    standby = None if number is None else gateway.models.version(number)
    gateway.traffic.set_standby("flights", generation, standby)
    wanted = None if number is None else {"version": number, "loaded": True}
    wait_for(lambda: health(gateway)["standby"] == wanted)


def health(gateway: Gateway) -> Any:
    """What the gateway says of the model."""
    return local_http.get(f"{gateway.url}/health").json()["models"]["flights"]


def said(answer: Any) -> tuple[int, str | None, str | None, str | None]:
    """Status, rung, fallback and version of an answer."""
    heads = answer.headers
    return (
        answer.status_code,
        heads.get("x-surefoot-rung"),
        heads.get("x-surefoot-fallback"),
        heads.get("x-model-version"),
    )


FROM_STANDBY = (200, "proven_good", None, GOOD)
FROM_FALLBACK = (200, "fallback", "constant", None)


@pytest.mark.parametrize("champion", [RAISING, NAN, QUITTING])
def test_the_proven_good_version_answers_what_the_champion_fails(tmp_path: Path, models: Models, champion: str) -> None:
    """Header, log, metrics and journal name it; its answers are its own, and the fallback is not asked."""
    journal = RealJournal(tmp_path / "journal.db")
    with serving(tmp_path / "gateway", models, journal) as gateway:
        gateway.shift(0, None, GOOD)
        own = gateway.ask().json()
        gateway.shift(0, None, champion, 2)
        name(gateway, generation=2)
        answers = [gateway.ask(unit=f"u{number}") for number in range(20)]
        assert set(map(said, answers)) == {FROM_STANDBY}
        assert all(answer.json() == own for answer in answers)
        for record in gateway.records()[1:]:
            assert (record["version"], record["answered_by"], record["rung"]) == (champion, GOOD, "proven_good")
            assert record["error"]
            assert record["prediction"]
        counts: Any = gateway.traffic.stats("flights")
        assert (counts["proven_good_answers"], counts["fallback_answers"]) == (20, 0)
        assert counts["versions"][champion]["caller_errors"] == 0
        assert "surefoot_proven_good_answers_total" in local_http.get(f"{gateway.url}/metrics").text
        assert health(gateway)["proven_good"]
        wait_for(lambda: journal.kinds() == ["FallbackBegan"])
    assert journal.told()[0].startswith(f"callers get answers of proven-good version {GOOD}: version {champion} fails")


def test_each_rung_answers_only_what_all_rungs_above_fail(tmp_path: Path, models: Models) -> None:
    """Champion, proven-good, fallback: whatever is asked beside, each answer is that of the first rung that can."""

    def load(model: str, version: Version) -> Any:
        limit = {GOOD: 2.0, BETTER: 1.0}[version.number]
        return Sick(models(model, version), threading.Event(), limit)

    with serving(tmp_path, models, load=load) as gateway:
        gateway.shift(0, None, BETTER)
        name(gateway)

        @settings(max_examples=25, deadline=None)
        @given(st.lists(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=4), min_size=1, max_size=8))
        def ask(requests: list[list[float]]) -> None:
            bodies = [{"dataframe_records": [{"x": x, "y": 1.0} for x in rows]} for rows in requests]
            with ThreadPoolExecutor(8) as callers:
                answers = list(callers.map(gateway.post, bodies))
            for rows, answer in zip(requests, answers, strict=True):
                worst = max(rows)
                expected = (
                    (200, None, None, BETTER) if worst <= 1.0 else FROM_STANDBY if worst <= 2.0 else FROM_FALLBACK
                )
                assert said(answer) == expected
                assert len(answer.json()["predictions"]) == len(rows)

        ask()
        rungs = {record.get("rung"): record["answered_by"] for record in gateway.records()}
        assert rungs == {None: BETTER, "proven_good": GOOD, "fallback": None}
    log = PredictionLog(tmp_path / "log")
    rows = sorted(log.query_rows("flights", "SELECT DISTINCT rung, answered_by FROM log", ()), key=str)
    compact_log(tmp_path / "log", "flights")
    assert sorted(log.query_rows("flights", "SELECT DISTINCT rung, answered_by FROM log", ()), key=str) == rows
    assert {tuple(row) for row in rows} == {(None, BETTER), ("proven_good", GOOD), ("fallback", None)}


@pytest.mark.parametrize("fallback", [None, CONSTANT])
def test_the_last_rung_has_the_time_of_a_champion(tmp_path: Path, models: Models, fallback: Any) -> None:
    """Where nothing is below it, a standby answers though it is slower than a candidate may be."""
    with serving(tmp_path, models, fallbacks={"flights": fallback}, candidate_timeout_s=0.01) as gateway:
        gateway.shift(0, None, RAISING)
        name(gateway, SLEEPING)
        answer = gateway.ask()
        assert said(answer) == ((200, "proven_good", None, SLEEPING) if fallback is None else FROM_FALLBACK)


def test_no_caller_fails_though_the_standby_is_slow_and_the_champion_cannot_start(
    tmp_path: Path, models: Models
) -> None:
    """The process of a version with damaged files ends: a slow standby answers everything, also after its own end."""
    with contextlib.ExitStack() as stack:
        hosted = ForkedModels(tmp_path / "copies", stack.enter_context(running_forkserver()), MEMORY_MB)
        for number in (GOOD, SLEEPING):
            shutil.copytree(models.root / number, hosted.root / number)

        def load(model: str, version: Version) -> ModelProcess:
            if version.number == GOOD and (hosted.root / "gone").exists():
                raise Rejected("the version is damaged")
            return hosted(model, version)

        more = {"fallbacks": {"flights": None}, "candidate_timeout_s": 0.01, "load": load}
        gateway = stack.enter_context(serving(tmp_path / "gateway", hosted, **more))
        gateway.shift(0, None)
        champion = hosted.started[-1][1]
        name(gateway, SLEEPING)
        standby = hosted.started[-1][1]
        (hosted.root / "gone").touch()
        (hosted.root / GOOD / "MLmodel").write_text("damaged")
        with ThreadPoolExecutor(4) as callers:
            answers = [callers.submit(gateway.ask, unit=f"u{number}") for number in range(4)]
            os.kill(champion, signal.SIGKILL)
            answers += [callers.submit(gateway.ask, unit=f"v{number}") for number in range(4)]
            assert {answer.result().status_code for answer in answers} == {200}
        os.kill(standby, signal.SIGKILL)  # the standby's own process ends: it is waited for
        assert said(gateway.ask()) == (200, "proven_good", None, SLEEPING)


def test_a_champion_that_hangs_and_then_fails_is_answered_for(tmp_path: Path, models: Models) -> None:
    """However long it has taken, the request that it fails in the end goes to the standby."""
    release = threading.Event()

    class Hanging:
        """A champion that answers a caller's row only when the test ends."""

        def __init__(self, model: Any) -> None:
            self._model = model

        def __getattr__(self, attribute: str) -> Any:
            return getattr(self._model, attribute)

        def answer(self, *_: Any) -> Any:
            """Hang."""
            release.wait()
            raise RuntimeError("it hung")

    def load(model: str, version: Version) -> Any:
        loaded = models(model, version)
        return Hanging(loaded) if version.number == BETTER else loaded

    with serving(tmp_path, models, load=load) as gateway:
        gateway.shift(0, None, BETTER)
        name(gateway)
        with ThreadPoolExecutor(1) as caller:
            answer = caller.submit(gateway.ask)
            wait_for(lambda: bool(health(gateway)))
            release.set()
            assert said(answer.result()) == FROM_STANDBY


def test_both_times_end_by_themselves(tmp_path: Path, models: Models) -> None:
    """The fallback's time ends when the proven-good version answers, that one's when the champion does."""
    sick = {GOOD: threading.Event(), BETTER: threading.Event()}
    journal = RealJournal(tmp_path / "journal.db")

    def load(model: str, version: Version) -> Any:
        return Sick(models(model, version), sick[version.number])

    with serving(tmp_path / "gateway", models, journal, load=load) as gateway:
        gateway.shift(0, None, BETTER)
        name(gateway)
        sick[BETTER].set()
        sick[GOOD].set()
        assert said(gateway.ask()) == FROM_FALLBACK
        sick[GOOD].clear()
        assert said(gateway.ask()) == FROM_STANDBY
        wait_for(lambda: journal.kinds().count("FallbackEnded") == 1)
        sick[BETTER].clear()
        assert said(gateway.ask()) == (200, None, None, BETTER)
        wait_for(lambda: journal.kinds().count("FallbackEnded") == 2)
        wait_for(lambda: not list((tmp_path / "gateway" / "alarms").glob("*.json")))
    assert journal.told()[-1] == f"version {BETTER} answers again: no other version answers for it any more"


def test_no_version_is_asked_that_the_route_does_not_name(tmp_path: Path, models: Models) -> None:
    """A version that is warm and not named is not asked; one that was named and is not any more neither."""
    with serving(tmp_path, models, fallbacks={"flights": None}) as gateway:
        gateway.shift(0, None, GOOD)
        gateway.shift(0, None, RAISING, 2)  # the former champion stays warm
        assert gateway.ask().status_code == 400
        name(gateway, generation=2)
        assert said(gateway.ask()) == FROM_STANDBY
        name(gateway, None, 2)
        assert gateway.ask().status_code == 400


def test_a_candidate_is_not_blamed_for_what_the_champion_fails(tmp_path: Path, models: Models) -> None:
    """Both fail: the proven-good version answers, and the tripwire counts nothing."""
    journal = Journal()
    with serving(tmp_path, models, journal) as gateway:
        gateway.shift(100, NAN, RAISING)
        name(gateway)
        answers = [gateway.ask(unit=f"u{number}") for number in range(30)]
        assert set(map(said, answers)) == {FROM_STANDBY}
        assert {(record["arm"], record["version"], record["answered_by"]) for record in gateway.records()} == {
            ("candidate", NAN, GOOD)
        }
        assert journal.reports == []


def test_a_standby_belongs_to_one_route(tmp_path: Path, models: Models) -> None:
    """One for another route is refused; a new champion forgets it, a new weight keeps it, and so does a restart."""
    with serving(tmp_path, models) as gateway:
        gateway.shift(0, None, BETTER)
        name(gateway)
        with pytest.raises(RouteSuperseded):
            gateway.traffic.set_standby("flights", 7, None)
        with pytest.raises(Rejected):
            gateway.traffic.set_standby("flights", -1, None)
        gateway.shift(50, RAISING, BETTER, 2)
        assert health(gateway)["standby"] == {"version": GOOD, "loaded": True}
    with serving(tmp_path, models) as gateway:
        wait_for(lambda: health(gateway)["standby"] == {"version": GOOD, "loaded": True})
        gateway.shift(0, None, RAISING, 3)
        assert health(gateway)["standby"] is None


def test_naming_none_unloads_what_was_kept(tmp_path: Path, models: Models) -> None:
    """Outside of the window nothing stays loaded beside the route; going back then loads again."""
    loads: list[str] = []

    def load(model: str, version: Version) -> Any:
        loads.append(version.number)
        return models(model, version)

    with serving(tmp_path, models, load=load) as gateway:
        gateway.shift(0, None, GOOD)
        gateway.shift(0, None, BETTER, 2)
        name(gateway, generation=2)
        gateway.shift(0, None, GOOD, 3)
        assert loads == [GOOD, BETTER]  # inside of the window nothing is loaded on the way
        gateway.shift(0, None, BETTER, 4)
        name(gateway, None, 4)
        wait_for(lambda: _gone(gateway))
        gateway.shift(0, None, GOOD, 5)
        assert loads == [GOOD, BETTER, GOOD]


def _gone(gateway: Gateway) -> bool:
    """Whether the good version is not loaded: only a loaded one has its resources counted."""
    counts: Any = gateway.traffic.stats("flights")
    return "row_wise" not in counts["versions"].get(GOOD, {})


def test_status_names_the_version_that_answers(emergency: Emergency, capfd: pytest.CaptureFixture[str]) -> None:
    """`surefoot status` says who answers for whom and why, and falls silent when it is over."""
    begin_fallback_period(emergency.ports, MODEL, emergency.candidate, "proven_good", "it is down", emergency.champion)
    begin_fallback_period(emergency.ports, MODEL, emergency.candidate, "constant", "it is down too")
    assert emergency.command("status", "--json") == 1
    shown = capfd.readouterr().out
    assert "callers get answers of proven-good version 1" in shown
    assert "callers get the policy's constant" in shown
    end_fallback_period(emergency.ports, MODEL, emergency.candidate, FailoverLevel.PROVEN_GOOD)
    emergency.command("status", "--json")
    shown = capfd.readouterr().out
    assert "proven-good version 1" not in shown
    assert "callers get the policy's constant" in shown


def test_naming_a_standby_does_not_disturb_a_candidate_that_is_being_loaded(tmp_path: Path, models: Models) -> None:
    """A tick may name it while a shift has its candidate loaded: the shift ends with that candidate in force."""
    loading, go_on = threading.Event(), threading.Event()

    def load(model: str, version: Version) -> Any:
        if version.number == BETTER:
            loading.set()
            go_on.wait(60.0)
        return models(model, version)

    with serving(tmp_path, models, load=load) as gateway, ThreadPoolExecutor(1) as other:
        gateway.shift(0, None, GOOD)
        shift = other.submit(gateway.shift, 50, BETTER, GOOD, 2)
        loading.wait(60.0)
        gateway.traffic.set_standby("flights", 1, gateway.models.version(NAN))
        go_on.set()
        wanted = shift.result()
        assert gateway.traffic.live("flights") == wanted
        assert health(gateway)["candidate_missing"] is False
