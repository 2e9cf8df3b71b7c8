"""A candidate is cut for all at once: by the fuse, by a person, or because the control plane is silent."""

import time
from pathlib import Path

import pytest

from surefoot.core.domain import Split
from surefoot.core.errors import Rejected, RouteSuperseded
from surefoot.gateway.control.model_controller import ModelController
from surefoot.gateway.inference.tripwire import TripLimits
from tests import local_http
from tests.integration.gateway_harness import BETTER, GOOD, NAN, RAISING, Gateway, listening
from tests.integration.gateway_process import TOKEN, Models
from tests.integration.remembered_journal import Journal
from tests.integration.waiting import wait_for


def health(gateway: Gateway) -> dict[str, object]:
    """What the gateway says of itself."""
    told: dict[str, object] = local_http.get(gateway.url + "/health").json()
    return told


def weight(gateway: Gateway) -> float:
    """The share that a candidate really gets, as anybody may ask for it."""
    return float(local_http.get(gateway.url + "/models/flights/route").json()["weight"])


@pytest.mark.parametrize("candidate", [RAISING, NAN])
def test_a_candidate_that_fails_outright_is_cut_and_reported(tmp_path: Path, models: Models, candidate: str) -> None:
    """After so many failures in a row it gets nothing more, no caller has noticed, and the journal hears of it."""
    journal = Journal(failures=2)
    with listening(tmp_path, models, journal=journal, trip=TripLimits(failures=5)) as gateway:
        gateway.shift(100, candidate)
        answers = [gateway.ask(unit=f"u{number}") for number in range(12)]
        assert {answer.status_code for answer in answers} == {200}
        assert [record["arm"] for record in gateway.records()] == ["candidate"] * 5 + ["champion"] * 7
        assert weight(gateway) == 0.0
        wait_for(lambda: len(journal.reports) >= 3)
        assert len(set(journal.reports)) == 1
        model, rollout, reason = journal.reports[0]
        assert (model, rollout) == ("flights", "rollout-7")
        assert reason.startswith(f"version {candidate} failed 5 requests in a row")
        assert health(gateway)["models"]["flights"]["cut"] == reason  # type: ignore[index]


def test_a_candidate_that_answers_now_and_then_is_left_to_the_gates(tmp_path: Path, models: Models) -> None:
    """Failures with an answer in between do not blow the fuse: half a failure is for a judge."""
    with listening(tmp_path, models, trip=TripLimits(failures=3)) as gateway:
        gateway.shift(100, BETTER)
        for _ in range(4):
            for x in ("far", "far", 1.0):  # what the champion refuses as well is not the candidate's failure
                gateway.ask(x=x)
        assert weight(gateway) == 100.0


def test_a_cut_route_stays_cut(tmp_path: Path, models: Models) -> None:
    """The same route is refused from then on, also after a restart; the next one counts again."""
    with listening(tmp_path, models, trip=TripLimits(failures=2)) as gateway:
        split = gateway.shift(100, RAISING)
        for number in range(3):
            gateway.ask(unit=f"u{number}")
        with pytest.raises(RouteSuperseded, match="another route of generation 1"):
            gateway.traffic.shift("flights", split)
        wait_for(lambda: b'"weight": 0.0' in (tmp_path / "routes" / "flights.json").read_bytes())
    with listening(tmp_path, models, trip=TripLimits(failures=2)) as gateway:
        assert weight(gateway) == 0.0
        gateway.shift(100, BETTER, generation=2)
        assert gateway.ask().headers["x-model-version"] == BETTER


def test_an_alarm_survives_the_worker_that_raised_it(tmp_path: Path, models: Models) -> None:
    """A gateway that stops before the journal has heard leaves the alarm to the next one."""
    deaf = Journal(failures=float("inf"))
    with listening(tmp_path, models, journal=deaf, trip=TripLimits(failures=1)) as gateway:
        gateway.shift(100, RAISING)
        gateway.ask()
        assert deaf.asked.wait(30)
    journal = Journal()
    with listening(tmp_path, models, journal=journal):
        wait_for(lambda: bool(journal.reports))
        wait_for(lambda: not (tmp_path / "alarms" / "flights.json").exists())
    with listening(tmp_path, models, journal=journal) as gateway:
        gateway.ask()
    assert len(journal.reports) == 1


def test_a_cut_that_fails_costs_no_answer(tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the cut cannot be made the callers are answered all the same, and the tripwire trips again later."""
    reasons: list[str] = []

    def refuse(_controller: ModelController, _split: Split, reason: str) -> bool:
        reasons.append(reason)
        raise OSError("too many open files")

    monkeypatch.setattr(ModelController, "cut_candidate_traffic", refuse)
    with listening(tmp_path, models, trip=TripLimits(failures=3)) as gateway:
        gateway.shift(100, RAISING)
        answers = [gateway.ask(unit=f"u{number}") for number in range(6)]
        assert {answer.headers["x-model-version"] for answer in answers} == {GOOD}
    assert len(reasons) == 2


def test_a_silent_control_plane_leaves_everything_to_the_champion(tmp_path: Path, models: Models) -> None:
    """Beyond the time to live the champion answers everything; a word with the token brings the route back."""
    with listening(tmp_path, models, control_ttl_s=5.0) as gateway:
        gateway.shift(100, BETTER)
        assert gateway.ask().headers["x-model-version"] == BETTER
        wait_for(lambda: gateway.ask().headers["x-model-version"] == GOOD)
        assert weight(gateway) == 0.0  # without the token: the control plane has not spoken
        assert health(gateway)["models"]["flights"]["silent"] is True  # type: ignore[index]
        live = gateway.traffic.live("flights")
        assert live is not None
        assert live.weight == 100.0
        assert gateway.ask().headers["x-model-version"] == BETTER


def test_a_control_plane_that_speaks_keeps_its_route(tmp_path: Path, models: Models) -> None:
    """As long as somebody with the token asks now and then, nothing changes."""
    with listening(tmp_path, models, control_ttl_s=5.0) as gateway:
        gateway.shift(100, BETTER)
        until = time.monotonic() + 8.0
        while time.monotonic() < until:
            gateway.traffic.live("flights")
            assert gateway.ask().headers["x-model-version"] == BETTER
            time.sleep(0.2)


def test_one_call_cuts_every_candidate_until_it_is_lifted(tmp_path: Path, models: Models) -> None:
    """The kill switch sets every model to its champion, outlives a restart, and refuses candidates meanwhile."""
    with listening(tmp_path, models, units={"flights": "unit", "later": None}) as gateway:
        for model in ("flights", "later"):
            gateway.traffic.shift(model, gateway.split(100))
        gateway.traffic.set_kill_switch("it smells")
        for model in ("flights", "later"):
            assert local_http.get(f"{gateway.url}/models/{model}/route").json()["weight"] == 0.0
        assert gateway.ask().headers["x-model-version"] == GOOD
        assert health(gateway)["killed"] == "it smells"
        with pytest.raises(Rejected, match="the kill switch is set \\(it smells\\)"):
            gateway.shift(10, generation=2)
        gateway.shift(0, generation=2)  # going back is always possible
    with listening(tmp_path, models) as gateway:
        assert health(gateway)["killed"] == "it smells"
        with pytest.raises(Rejected, match="the kill switch is set"):
            gateway.shift(10, generation=3)
        gateway.traffic.lift_kill_switch()
        assert weight(gateway) == 0.0
        gateway.shift(100, generation=3)
        assert gateway.ask().headers["x-model-version"] == BETTER


def test_a_switch_that_cannot_be_written_is_in_force_and_says_so(tmp_path: Path, models: Models) -> None:
    """On a disk that takes no file every candidate is cut all the same, and the answer says what a restart forgets."""
    with listening(tmp_path, models) as gateway:
        gateway.shift(100)
        (tmp_path / "killed").mkdir()  # no file can be written in its place
        assert "a restart forgets it" in gateway.traffic.set_kill_switch("a full disk")
        assert weight(gateway) == 0.0
        with pytest.raises(Rejected, match="the kill switch is set"):
            gateway.shift(50, generation=2)
        (tmp_path / "killed").rmdir()


def test_strangers_cannot_kill(tmp_path: Path, models: Models) -> None:
    """Without the token the switch stays as it is."""
    with listening(tmp_path, models) as gateway:
        gateway.shift(100)
        assert local_http.put(gateway.url + "/kill", content=b"why not").status_code == 401
        assert weight(gateway) == 100.0


@pytest.mark.parametrize("body", [b"", b"  ", b"\xff\xfe no text", b"long " * 1000, b"x" * (2 << 20), b"\0\x1b[31m"])
def test_no_reason_stops_the_kill_switch(tmp_path: Path, models: Models, body: bytes) -> None:
    """An empty, long or unreadable reason is replaced, and every candidate is cut all the same."""
    with listening(tmp_path, models) as gateway:
        gateway.shift(100)
        answer = local_http.put(gateway.url + "/kill", content=body, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
        assert 0 < len(answer.json()["killed"]) <= 500
        assert weight(gateway) == 0.0
        assert gateway.traffic.set_kill_switch("  ") == ""


def test_the_kill_switch_finishes_a_rollback_that_is_stepping(tmp_path: Path, models: Models) -> None:
    """Where the candidate is what traffic goes back to, it gets everything; a later split without it counts."""
    with listening(tmp_path, models) as gateway:
        gateway.shift(10, GOOD, BETTER)
        gateway.traffic.set_standby("flights", 1, gateway.models.version(GOOD), going_back=True)
        gateway.shift(50, GOOD, BETTER, 2)  # the next step of the same rollback
        gateway.traffic.set_kill_switch("enough")
        live = gateway.traffic.live("flights")
        assert live is not None
        assert (live.champion.number, live.candidate) == (GOOD, None)
        assert {gateway.ask(unit=f"u{number}").headers["x-model-version"] for number in range(50)} == {GOOD}
        with pytest.raises(Rejected):
            gateway.shift(60, GOOD, BETTER, 3)
        gateway.shift(0, None, GOOD, 4)
    with listening(tmp_path / "other", models) as gateway:
        gateway.shift(10, GOOD, BETTER)
        gateway.traffic.set_standby("flights", 1, gateway.models.version(GOOD))  # a promotion of a proven version
        gateway.traffic.set_kill_switch("enough")
        live = gateway.traffic.live("flights")
        assert live is not None
        assert (live.champion.number, live.weight) == (BETTER, 0.0)
