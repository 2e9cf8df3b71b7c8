"""An MLflow version is the fallback of a model: loaded before it is needed, asked when no other version answers."""

import contextlib
import os
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
from surefoot.core.domain import Version
from surefoot.core.errors import Rejected, SurefootError
from surefoot.core.fallback import FallbackAnswer, FallbackReference, FallbackVersion
from tests import local_http
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
from tests.integration.gateway_process import TOKEN, Models
from tests.integration.model_forkserver import ForkedModels, running_forkserver
from tests.integration.test_fallback import QUIET_S, RealJournal, Sick
from tests.integration.test_standby import FROM_STANDBY, health, name, said
from tests.integration.waiting import wait_for

MEMORY_MB = 6000
BASE = FallbackReference("base", BETTER)
FROM_VERSION = (200, "fallback", "pyfunc", None)


@contextlib.contextmanager
def serving(root: Path, models: Models, journal: Any = None, **more: Any) -> Iterator[Gateway]:
    """A gateway whose policy names a version of another model as fallback, unless it is told otherwise."""
    known = {"fallbacks": {"flights": BASE}, "fallback_quiet_s": QUIET_S, **more}
    with listening(root, models, journal=journal, **known) as gateway:
        yield gateway


def send_fallback_version(gateway: Gateway, number: str | None = BETTER, model: str = "base") -> None:
    """Name a version as fallback, and wait until it is loaded."""
    fallback = None if number is None else FallbackVersion(model, gateway.models.version(number))
    gateway.traffic.set_fallback("flights", fallback)
    wanted = None if fallback is None else {"uri": fallback.uri, "loaded": True}
    wait_for(lambda: health(gateway)["fallback_version"] == wanted)


def own_answer(models: Models, number: str, row: dict[str, float]) -> object:
    """What a version answers to a row."""
    loaded: Any = models("base", models.version(number))
    return loaded.answer(list(row), [list(row.values())])[0]


@pytest.mark.parametrize("champion", [RAISING, NAN, QUITTING])
def test_a_version_answers_what_the_champion_fails(tmp_path: Path, models: Models, champion: str) -> None:
    """Header, log, metrics, health and journal mark it; in the log it is no version's answer."""
    journal = RealJournal(tmp_path / "journal.db")
    expected = own_answer(models, BETTER, {"x": 1.0, "y": 2.0})
    with serving(tmp_path / "gateway", models, journal) as gateway:
        gateway.shift(0, None, champion)
        send_fallback_version(gateway)
        answers = [gateway.ask(unit=f"u{number}") for number in range(20)]
        assert set(map(said, answers)) == {FROM_VERSION}
        assert all(answer.json() == {"predictions": [expected]} for answer in answers)
        assert len(gateway.records()) == 20
        for record in gateway.records():
            assert (record["version"], record["answered_by"], record["prediction"]) == (champion, None, None)
            assert (record["rung"], record["fallback"]) == ("fallback", "pyfunc")
            assert record["fallback_answer"] == expected
            assert record["error"]
        counts: Any = gateway.traffic.stats("flights")
        assert counts["versions"][champion]["caller_errors"] == counts["fallback_answers"] == 20
        assert "surefoot_fallback_answers_total" in local_http.get(f"{gateway.url}/metrics").text
        assert health(gateway)["fallback"]
        wait_for(lambda: journal.kinds() == ["FallbackBegan"])
    assert journal.told()[0].startswith(f"callers get the policy's pyfunc: version {champion} fails (")
    log = PredictionLog(tmp_path / "gateway" / "log")
    columns = "SELECT DISTINCT answered_by, prediction IS NULL, fallback, rung FROM log"
    rows = [(None, True, "pyfunc", "fallback")]
    assert [tuple(row) for row in log.query_rows("flights", columns, ())] == rows
    compact_log(tmp_path / "gateway" / "log", "flights")
    assert [tuple(row) for row in log.query_rows("flights", columns, ())] == rows


def test_each_rung_answers_only_what_all_rungs_above_fail(tmp_path: Path, models: Models) -> None:
    """Champion, proven-good, fallback, refusal: whatever is asked, the first that can answers."""

    def load(model: str, version: Version) -> Any:
        limit = 3.0 if model == "base" else {GOOD: 2.0, BETTER: 1.0}[version.number]
        return Sick(models(model, version), threading.Event(), limit)

    with serving(tmp_path, models, load=load) as gateway:
        gateway.shift(0, None, BETTER)
        name(gateway)
        send_fallback_version(gateway)

        @settings(max_examples=25, deadline=None)
        @given(st.lists(st.lists(st.floats(0.0, 4.0), min_size=1, max_size=4), min_size=1, max_size=8))
        def ask(requests: list[list[float]]) -> None:
            bodies = [{"dataframe_records": [{"x": x, "y": 1.0} for x in rows]} for rows in requests]
            with ThreadPoolExecutor(8) as callers:
                answers = list(callers.map(gateway.post, bodies))
            for rows, answer in zip(requests, answers, strict=True):
                rungs = [(1.0, (200, None, None, BETTER)), (2.0, FROM_STANDBY), (3.0, FROM_VERSION)]
                expected = next((rung for limit, rung in rungs if max(rows) <= limit), None)
                if expected is None:
                    assert answer.status_code == 400
                else:
                    assert said(answer) == expected
                    assert len(answer.json()["predictions"]) == len(rows)

        ask()
        assert {(one.get("rung"), one["answered_by"], one.get("fallback")) for one in gateway.records()} <= {
            (None, BETTER, None),
            ("proven_good", GOOD, None),
            ("fallback", None, "pyfunc"),
            (None, None, None),
        }


@pytest.mark.parametrize(("fallback", "more"), [(RAISING, {}), (NAN, {}), (SLEEPING, {"champion_timeout_s": 0.25})])
def test_what_the_fallback_fails_too_is_refused(
    tmp_path: Path, models: Models, fallback: str, more: dict[str, float]
) -> None:
    """The caller gets the champion's error, and the record says nothing of the fallback."""
    with serving(tmp_path, models, **more) as gateway:
        gateway.shift(0, None, RAISING)
        send_fallback_version(gateway, fallback)
        answer = gateway.ask()
        assert (answer.status_code, "no such tree" in answer.text) == (400, True)
        (record,) = gateway.records()
        assert (record["error"], record["answered_by"]) == ("RuntimeError: no such tree", None)
        assert not record.keys() & {"rung", "fallback", "fallback_answer"}
        assert not health(gateway)["fallback"]


def test_a_champion_that_recovers_answers_again(tmp_path: Path, models: Models) -> None:
    """The time of the fallback's answers ends by itself, and both its ends are journalled."""
    sick, journal = threading.Event(), RealJournal(tmp_path / "journal.db")

    def load(model: str, version: Version) -> Any:
        loaded = models(model, version)
        return loaded if model == "base" else Sick(loaded, sick)

    with serving(tmp_path / "gateway", models, journal, load=load) as gateway:
        gateway.shift(0, None)
        send_fallback_version(gateway)
        sick.set()
        assert said(gateway.ask()) == FROM_VERSION
        wait_for(lambda: journal.kinds() == ["FallbackBegan"])
        sick.clear()
        assert said(gateway.ask()) == (200, None, None, GOOD)
        wait_for(lambda: journal.kinds() == ["FallbackBegan", "FallbackEnded"])


def test_the_fallback_stays_whatever_the_route_is(tmp_path: Path, models: Models) -> None:
    """Another champion, a cut candidate, the kill switch and a restart keep it; naming none unloads it."""
    with serving(tmp_path, models) as gateway:
        gateway.shift(0, None, GOOD)
        send_fallback_version(gateway)
        gateway.shift(50, NAN, RAISING, 2)
        gateway.traffic.set_kill_switch("a test")
        gateway.traffic.lift_kill_switch()
        gateway.shift(0, None, RAISING, 3)
        assert said(gateway.ask()) == FROM_VERSION
    # The control plane is not there, and no policy can be read: the route file says which version it is.
    with serving(tmp_path, models, fallbacks={}) as gateway:
        wait_for(lambda: health(gateway)["fallback_version"] == {"uri": "models:/base/2", "loaded": True})
        assert said(gateway.ask()) == FROM_VERSION
        send_fallback_version(gateway, None)
        assert gateway.ask().status_code == 400


def test_the_policy_decides_whether_the_version_is_asked(tmp_path: Path, models: Models) -> None:
    """One that names a constant, or refuses, is followed at the next request, though a version is loaded."""
    policy: dict[str, Any] = {"flights": BASE}
    with serving(tmp_path, models, fallbacks=policy) as gateway:
        gateway.shift(0, None, RAISING)
        assert gateway.ask().status_code == 400  # nothing is loaded yet
        send_fallback_version(gateway)
        assert said(gateway.ask()) == FROM_VERSION
        policy["flights"] = FallbackAnswer("constant", "[0.82,0.18]")
        assert said(gateway.ask()) == (200, "fallback", "constant", None)
        policy["flights"] = None
        assert gateway.ask().status_code == 400
        policy["flights"] = FallbackReference("base", GOOD)  # it answers until a drill has loaded that
        assert said(gateway.ask()) == FROM_VERSION


def test_a_fallback_that_cannot_be_loaded_leaves_the_one_that_answers(tmp_path: Path, models: Models) -> None:
    """Health and the notes of `status` say that it is not loaded; the earlier one answers meanwhile."""

    def load(model: str, version: Version) -> Any:
        if model == "spoiled":
            raise Rejected("its files are gone")
        return models(model, version)

    with serving(tmp_path, models, load=load) as gateway:
        gateway.shift(0, None, RAISING)
        send_fallback_version(gateway)
        gateway.traffic.set_fallback("flights", FallbackVersion("spoiled", gateway.models.version(GOOD)))
        wait_for(lambda: health(gateway)["fallback_version"] == {"uri": "models:/spoiled/1", "loaded": False})
        assert said(gateway.ask()) == FROM_VERSION
        told = "fallback models:/spoiled/1 is not loaded: it cannot answer when no version can"
        assert told in gateway.traffic.serving_notes("flights")


def test_a_champion_that_cannot_be_loaded_is_answered_for(tmp_path: Path, models: Models) -> None:
    """After a restart without any champion the fallback's version answers."""
    with serving(tmp_path, models) as gateway:
        gateway.shift(0, None)
        send_fallback_version(gateway)

    def load(model: str, version: Version) -> Any:
        if model == "flights":
            raise Rejected("the store is empty")
        return models(model, version)

    with serving(tmp_path, models, load=load) as gateway:
        wait_for(lambda: health(gateway)["fallback_version"]["loaded"])
        assert said(gateway.ask()) == FROM_VERSION


def test_rows_that_do_not_fit_are_the_callers_mistake(tmp_path: Path, models: Models) -> None:
    """A row that the champion's signature refuses is refused as before: the version is not asked."""
    with serving(tmp_path, models) as gateway:
        gateway.shift(0, None)
        send_fallback_version(gateway)
        assert gateway.ask(x="far").status_code == 400
        assert health(gateway)["fallback"] == ""


def test_tensors_are_answered_too(tmp_path: Path, models: Models) -> None:
    """A caller of the Open Inference Protocol gets the version's answers as a tensor, named as the fallback's."""
    tensor = {"name": "x", "shape": [2], "datatype": "FP64", "data": [1.0, 2.0]}
    body = {"id": "a", "inputs": [tensor, {**tensor, "name": "y"}]}
    with serving(tmp_path, models) as gateway:
        gateway.shift(0, None, RAISING)
        send_fallback_version(gateway)
        answer = gateway.post(body, "/v2/models/flights/infer")
        assert (answer.status_code, answer.headers["x-surefoot-fallback"]) == (200, "pyfunc")
        assert (answer.json()["model_version"], answer.json()["outputs"][0]["shape"]) == ("pyfunc", [2, 2])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"fallback": 3}',
        b'{"fallback": {"model": "base"}}',
        b'{"fallback": {"model": "../base", "version": {"number": "1", "digest": "sha256:0"}}}',
        b'{"fallback": {"model": 1, "version": {"number": "1", "digest": "sha256:0"}}}',
        b'{"fallback": {"model": "base", "version": null}}',
        b'{"fallback": null, "more": 1}',
    ],
)
def test_what_names_no_version_is_refused(routed: Gateway, body: bytes) -> None:
    """A body that is wrong is told so in one line; nothing is changed, and without the token nothing is read."""
    url = f"{routed.url}/models/flights/fallback"
    answer = local_http.put(url, content=body, headers={"authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST")
    assert "\n" not in answer.json()["message"]
    assert local_http.put(url, content=body).status_code == 401
    assert health(routed)["fallback_version"] is None


def test_a_model_without_a_route_has_no_fallback(gateway: Gateway) -> None:
    """A fallback is named once something is served."""
    with pytest.raises(SurefootError, match="no route has been set"):
        gateway.traffic.set_fallback("flights", None)


def test_the_version_has_a_process_of_its_own_that_is_started_again(tmp_path: Path, models: Models) -> None:
    """Its process is killed: nothing else can answer, so requests wait for the next one, which starts by itself."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_forkserver())
        hosted = ForkedModels(models.root, server, MEMORY_MB)

        def load(model: str, version: Version) -> Any:
            return hosted(model, version) if model == "base" else models(model, version)

        gateway = stack.enter_context(serving(tmp_path / "gateway", models, load=load))
        gateway.shift(0, None, RAISING)
        send_fallback_version(gateway)
        expected = gateway.ask().json()
        (started,) = hosted.started
        assert started[1] != os.getpid()
        os.kill(started[1], signal.SIGKILL)
        seen = list[Any]()

        def answers_again() -> bool:
            seen.append(gateway.ask())
            return len(hosted.started) > 1 and said(seen[-1]) == FROM_VERSION

        wait_for(answers_again)
        assert set(map(said, seen)) == {FROM_VERSION}
        assert all(one.json() == expected for one in seen)
